-- SPDX-License-Identifier: Apache-2.0
-- Neighbours, fdb entries and namespace ids of the recorded net: see mncni.recorded_model.

local model = require "mncni.recorded_model"
local objects = require "mncni.objects"

local copy, link_of, view_entry = model.copy, model.link_of, model.view_entry

-- Neighbours and fdb entries differ in their key and in where they are kept.
local function entries(object, list_name, same_entry, defaults)
  local entry = {}
  local function find(space, dev, args)
    for i, have in ipairs(space[list_name]) do
      if have.link == dev and same_entry(args, have) then
        return have, i
      end
    end
  end
  local function put(space, verb, args)
    local dev = link_of(space, verb, object, args)
    local have, at = find(space, dev, args)
    if have and verb == "add" then
      space:refuse(verb, object, args, "EEXIST")
    elseif not have and verb == "set" then
      space:refuse(verb, object, args, "ENOENT")
    end
    local made = copy(args)
    made.dev, made.ifindex, made.link = nil, nil, dev
    defaults(made, have)
    space[list_name][at or #space[list_name] + 1] = made
    space:event("new", object, view_entry(made))
  end
  for _, verb in ipairs { "add", "replace", "set" } do
    entry[verb] = function(space, args)
      put(space, verb, args)
    end
  end
  function entry.append(space, args)
    put(space, "replace", args)
  end
  function entry.del(space, args)
    local have, at = find(space, link_of(space, "del", object, args), args)
    if not have then
      space:refuse("del", object, args, "ENOENT")
    end
    table.remove(space[list_name], at)
    space:event("del", object, view_entry(have))
  end
  function entry.get(space, args)
    local have = find(space, link_of(space, "get", object, args), args)
    return have and view_entry(have)
  end
  function entry.dump(space)
    return model.views(space[list_name])
  end
  return entry
end

local neigh = entries("neigh", "neighs", function(args, have)
  return objects.canonical(args.dst) == objects.canonical(have.dst)
end, function(made)
  made.family = objects.family_of(made)
  made.state = made.state or { "permanent" }
  made.lladdr = made.lladdr and made.lladdr:lower()
end)

local fdb = entries("fdb", "fdbs", function(args, have)
  return args.mac:lower() == have.mac and (args.vlan or 0) == (have.vlan or 0)
    and (args.dst == nil or objects.canonical(args.dst) == objects.canonical(have.dst))
end, function(made)
  made.mac = made.mac:lower()
  made.state = made.state or { "permanent" }
end)

local nsid = {}

function nsid.add(space, args)
  local other = space.world:space_of(args.netns)
  local wanted = args.nsid ~= -1 and args.nsid or nil -- -1: whichever is free
  if space.nsids[other] then
    space:refuse("add", "nsid", args, "EEXIST")
  end
  for _, used in pairs(space.nsids) do
    if used == wanted then
      space:refuse("add", "nsid", args, "ENOSPC")
    end
  end
  space:nsid_of(other, wanted)
end

function nsid.get(space, args)
  local id = space.nsids[space.world:space_of(args.netns)]
  return id and { nsid = id }
end

function nsid.dump(space)
  local list = {}
  for _, id in pairs(space.nsids) do
    list[#list + 1] = { nsid = id }
  end
  table.sort(list, function(a, b)
    return a.nsid < b.nsid
  end)
  return list
end

return { neigh = neigh, fdb = fdb, nsid = nsid }
