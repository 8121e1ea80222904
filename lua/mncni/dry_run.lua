-- SPDX-License-Identifier: Apache-2.0
-- A prompt that looks and does not touch: every namespace that is opened is copied into the recorded net (mncni.recorded),
-- which tells what would be changed as lines of ip, nft and the like, refuses what the kernel would, and remembers it.

local core = require "mncni.core"
local mncni = require "mncni"
local model = require "mncni.recorded_model"
local net = require "mncni.net"
local recorded = require "mncni.recorded"

local dry_run = {}

-- An address, route, rule, neighbour or entry as the model keeps it: with its link in place of a name.
local function modelled(space, object)
  local made = {}
  for key, value in pairs(object) do
    made[key] = model.copy(value)
  end
  made.link = model.find_link(space, nil, object.ifindex) or model.find_link(space, tostring(object.dev))
  made.dev, made.ifindex = nil, nil
  for i, hop in ipairs(made.nexthops or {}) do
    made.nexthops[i] = modelled(space, hop)
  end
  return made
end

local function copy_links(space, real)
  space.links = {}
  local masters = {}
  for link in real.link.list {} do
    local made = model.copy(link)
    masters[made] = made.master
    made.space, made.master, made.link = space, nil, nil
    made.group = math.tointeger(made.group) or 0
    table.insert(space.links, made)
    space.last_index = math.max(space.last_index, made.ifindex)
  end
  for made, master in pairs(masters) do
    made.master = model.find_link(space, tostring(master)) or model.find_link(space, nil, math.tointeger(master))
  end
end

-- Tables, chains, sets, elements and rules, as far as the model knows them.
local function copy_nft(own, real)
  for _, object in ipairs { "table", "chain", "set", "rule" } do
    for have in real.nft[object].list {} do
      pcall(own.nft[object].add, have)
      if object == "set" then
        for element in real.nft.element.list { family = have.family, table = have.table, name = have.name } do
          pcall(own.nft.element.add, element)
        end
      end
    end
  end
end

-- Fills a namespace of the world with what a net of the kernel has.
local function copy(world, name, real)
  local space, own = world.spaces[name], world.namespaces[name]
  world.quiet = true
  copy_links(space, real)
  for key, family in pairs { addrs = "addr", routes = "route", rules = "rule", neighs = "neigh", fdbs = "fdb" } do
    space[key] = {}
    for object in real[family].list {} do
      if object.table ~= "local" and object.type ~= "multicast" or family == "rule" then
        table.insert(space[key], modelled(space, object))
      end
    end
  end
  space.sysctls = setmetatable({}, { __index = function(_, key) return real.sysctl.get(key) end })
  mncni.try(copy_nft, own, real)
  world.quiet = false
end

-- From now on every net that is opened is one of the recorded world; out(line) is told of each change.
function dry_run.begin(out)
  local world = recorded.new {}
  local record, open = world.record, net.open
  function world.record(self, ...)
    local told = #self.log
    record(self, ...)
    for i = told + 1, #self.log do
      out(self.log[i].line)
    end
  end
  copy(world, "host", open())

  -- The namespace that a path, a name or a process id means, copied when it is first asked for.
  local function enter(what)
    local named = type(what) == "string" and what:match "[^/]+$"
    if type(what) == "table" and (what.mncni_marker or rawget(what, "backend")) or named and world.spaces[named] then
      return world:space_of(what).marker
    end
    local handle = core.netns.open(what)
    local name = tostring(handle:path() or handle:id()):match "[^/]+$"
    name = name == "net" and "process " .. tostring(what) or name
    if not world.spaces[name] then
      world.netns.create(name)
      copy(world, name, net.of(handle))
    end
    return world.spaces[name].marker
  end
  local own = { open = enter }
  mncni.netns = setmetatable(own, { __index = world.netns })
  mncni.open = function(what)
    return world.open(what ~= nil and enter(what) or nil)
  end
  net.open = mncni.open
end

return dry_run
