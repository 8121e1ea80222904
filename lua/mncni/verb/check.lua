-- SPDX-License-Identifier: Apache-2.0
-- CHECK: compares, by mncni.check, and asks those whom a policy has asked.

local core = require "mncni.core"
local attachment = require "mncni.attachment"
local policies = require "mncni.policy"
local steps = require "mncni.steps"

local check = {}

-- CHECK: the attachment is as it was made, as far as prevResult and later plugins of the chain left it to us.
function check.run(call)
  local policy = policies.load(call.policy)
  if not call.prev_result then
    error(core.error { code = 7, object = "prevResult", message = "Required prevResult missing" }, 0)
  end
  local journal <close> = attachment.journal(call, false)
  if not journal then
    error(core.error {
      code = 106, object = ("attachment %s of %s"):format(call.ifname, call.container),
      message = "there is no record of it on this node: it was never added, or it was deleted",
    }, 0)
  end
  local list = attachment.entries(journal)
  if attachment.is_ipam(policy) then
    require("mncni.lease").check(call, steps.new {}, attachment.ipam(call, policy))
    return
  end
  local conf = attachment.checked(call, policy)
  local netns <close> = attachment.netns(call)
  if list[1] and list[1].netns_id and list[1].netns_id ~= netns:id() then
    error(core.error {
      code = 106, object = call.netns, message = "it is another namespace than the one that was attached",
    }, 0)
  end
  local net = require "mncni.net"
  local host <close> = net.open()
  local inside <close> = net.open(netns)
  require("mncni.check").run { host = host, pod = inside, entries = list, prev_result = call.prev_result, call = call }
  if list[1] and list[#list].leased and type(conf.ipam) == "table" and conf.ipam.type then
    require("mncni.lease").check(call, steps.new {}, conf.ipam)
  end
  if policy.check then
    policy.check(call, conf)
  end
end

return check
