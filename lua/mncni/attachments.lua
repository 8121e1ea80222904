-- SPDX-License-Identifier: Apache-2.0
-- The attachments on this node, from their journals and the kernel.

local judge = require "mncni.judge"

local attachments = {}

local function include(list, values)
  local known = {}
  for _, value in ipairs(list) do
    known[value] = true
  end
  for _, value in ipairs(values) do
    if not known[value] then
      known[value], list[#list + 1] = true, value
    end
  end
end

-- What one journal adds to what is known of its attachment: each plugin of a chain has one.
local function take(one, look, item)
  local head = item.head or {}
  local judged, verdict, reason = pcall(look.judge, look, item, 0)
  if not judged then
    verdict, reason = "doubt", tostring(verdict)
  elseif verdict ~= "dead" and head.format and not item.finished then
    verdict, reason = "unfinished", "its ADD has not come to its end, or is at work"
  end
  one.pod, one.netns = one.pod or head.pod, one.netns or head.netns
  include(one.policies, { head.policy })
  include(one.addresses, item.given or item.addresses)
  one.age = head.time and head.boot == look.boot and math.max(one.age or 0, look.now - head.time) or one.age
  if verdict ~= "alive" and (one.state == "alive" or verdict == "dead") then
    one.state, one.reason = verdict == "dead" and "stale" or verdict, reason
  end
  local link = look:link_of(item)
  if link and not one.link then
    one.link, one.master = link.ifname, link.master
  end
end

-- list{ state_dir =, network = nil for all } returns a list of { network, container, ifname, pod ("default/web", if its
-- runtime told), netns, policies, addresses, link and master (names of links on the node), age (seconds), state, reason }, by
-- network, pod and interface. state is "alive", "stale" (what it was for is gone; GC takes it), "doubt" (nothing can be
-- proven) or "unfinished"; reason says why it is not "alive".
function attachments.list(args)
  local look <close> = judge.look(args)
  local list, known = {}, {}
  for item in look:journals() do
    local key = ("%s\n%s\n%s"):format(item.network or "", item.container or item.path, item.ifname or "")
    local one = known[key]
    if not one then
      one = {
        network = item.network, container = item.container, ifname = item.ifname, policies = {}, addresses = {},
        state = "alive", key = ("%s\n%s\n%s"):format(item.network or "", item.head and item.head.pod or "", key),
      }
      known[key], list[#list + 1] = one, one
    end
    take(one, look, item)
  end
  table.sort(list, function(a, b) return a.key < b.key end)
  for _, one in ipairs(list) do
    one.key = nil
  end
  return list
end

return attachments
