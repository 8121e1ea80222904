-- SPDX-License-Identifier: Apache-2.0
-- Links of pods on the host that have to go, many at a time: taking a link down costs the kernel some 20 ms in which
-- nothing else on the node can be wired, and as much for a whole group of them.

local core = require "mncni.core"
local steps = require "mncni.steps"

local links = {}

local function is_gone(err)
  return core.is_error(err) and err.name == "ENODEV"
end

local function delete(host, args)
  local ok, err = pcall(host.link.del, args)
  if not ok and not is_gone(err) then
    error(err, 0)
  end
end

-- Moves the links into the group of the dead. Those that were gone already do not matter, and hold up no other.
local function bury(host, list)
  local batch = {}
  for i, link in ipairs(list) do
    -- With an alias, whoever finishes this after us knows whose they are.
    batch[i] = { "set", "link", {
      ifindex = link.ifindex, group = steps.DEAD_GROUP, ifalias = link.ifalias or "mncni left over",
    } }
  end
  local ok, err = pcall(host.batch, host, batch)
  if not ok and not is_gone(err) then
    error(err, 0)
  end
end

-- Whether the group of the dead has members, and whether all of them are ours.
local function ours_alone(host)
  local ours, others = false, false
  for link in host.link.list { group = steps.DEAD_GROUP } do
    local mine = link.ifalias and link.ifalias:find("^mncni ") ~= nil
    ours, others = ours or mine, others or not mine
  end
  return ours, not others
end

-- Deletes links { ifindex, ifalias } that are proven dead, by moving them into a group of their own and deleting that:
-- the group of the living (steps.GROUP) is never deleted. Links that are gone already are fine.
function links.delete(host, list)
  if #list == 0 then
    return
  elseif #list == 1 then
    return delete(host, { ifindex = list[1].ifindex })
  end
  bury(host, list)
  local ours, alone = ours_alone(host)
  if ours and alone then
    return delete(host, { group = steps.DEAD_GROUP })
  end
  -- Somebody else uses the group as well: one by one, then.
  for _, link in ipairs(list) do
    delete(host, { ifindex = link.ifindex })
  end
end

return links
