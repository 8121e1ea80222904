-- SPDX-License-Identifier: Apache-2.0
-- VLANs of bridges and their ports in the recorded net: see mncni.recorded_model. A port has those that it was given;
-- the one that a bridge gives to every port is not modelled.

local model = require "mncni.recorded_model"

local vlan = {}

-- VLAN -> its flags, of the port or bridge that the arguments name.
local function of_link(space, verb, args)
  local link = model.link_of(space, verb, "vlan", args)
  if not link.master and link.kind ~= "bridge" then
    space:refuse(verb, "vlan", args, "EOPNOTSUPP")
  end
  link.vlans = link.vlans or {}
  return link.vlans
end

local function each(space, verb, args, fn)
  local vlans = of_link(space, verb, args)
  for _, entry in ipairs(args.vlans) do
    for id = entry.vlan, entry.vlanEnd or entry.vlan do
      fn(vlans, id, entry)
    end
  end
end

function vlan.add(space, args)
  each(space, "add", args, function(vlans, id, entry)
    vlans[id] = model.copy(entry.flags or {})
  end)
end

function vlan.del(space, args)
  each(space, "del", args, function(vlans, id)
    vlans[id] = nil
  end)
end

-- VLANs that follow each other are one range where none has a flag, as the kernel tells them.
local function ranges(vlans)
  local list = {}
  for id = 1, 4094 do
    local last = list[#list]
    if vlans[id] and #vlans[id] == 0 and last and not last.flags and (last.vlanEnd or last.vlan) == id - 1 then
      last.vlanEnd = id
    elseif vlans[id] then
      list[#list + 1] = { vlan = id, flags = #vlans[id] > 0 and model.copy(vlans[id]) or nil }
    end
  end
  return list
end

function vlan.dump(space)
  local list = {}
  for _, link in ipairs(space.links) do
    if link.vlans and next(link.vlans) then
      list[#list + 1] = { dev = link.ifname, ifindex = link.ifindex, master = link.master and link.master.ifname,
        vlans = ranges(link.vlans) }
    end
  end
  return list
end

return vlan
