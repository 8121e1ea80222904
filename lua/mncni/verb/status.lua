-- SPDX-License-Identifier: Apache-2.0
-- STATUS: whether an ADD would work. Source: CNI specification 1.1.0, "STATUS".

local core = require "mncni.core"
local attachment = require "mncni.attachment"
local policies = require "mncni.policy"

local status = {}

-- STATUS: raises code 50 (an ADD would fail) or 51 (containers that exist are affected, too: they cannot be deleted, or
-- what they are attached to is not what it was) with the reason. Takes no lock and changes nothing.
function status.run(call)
  local function try(object, fn, ...)
    local ok, result = pcall(fn, ...)
    if ok then
      return result
    elseif core.is_error(result) and (result.code == 50 or result.code == 51) then
      error(result, 0)
    end
    error(core.error {
      code = 50, object = object, message = tostring(result), details = core.is_error(result) and result.details or nil,
    }, 0)
  end
  local usable, why = pcall(core.directory.usable,
    ("%s/attachments/%s"):format(attachment.state_dir(call), call.network))
  if not usable then
    error(core.error { code = why.op == "read" and 51 or 50, object = "state directory", message = tostring(why) }, 0)
  end
  local policy = try(("policy %q"):format(call.policy), policies.load, call.policy)
  local ipam = attachment.ipam(call, policy)
  if not attachment.is_ipam(policy) then
    if not policy.add then
      error(core.error {
        code = 50, object = ("policy %q"):format(call.policy),
        message = "it has no add hook, so it cannot attach a container",
      }, 0)
    end
    local conf = try("configuration", attachment.checked, call, policy)
    if policy.status then
      try("configuration", policy.status, conf)
    end
  end
  local own = policy.options and policy.options.ipam -- it says which, where the configuration does not
  if ipam and not (own and ipam.type == nil and ipam.policy == nil) then
    try("ipam", require("mncni.lease").status, call, ipam)
  end
end

return status
