-- SPDX-License-Identifier: Apache-2.0
-- The recorded net: namespaces that exist only as tables, with the interface of mncni.open, for specs and dry runs
-- without a kernel. It refuses what the kernel would refuse and keeps a log of what was changed.
--
--   local world = recorded.new "spec/fixtures/node.json"
--   world.host.link.add { ifname = "cbr0", kind = "bridge", up = true }
--   print(table.concat(world.lines(), "\n"))       --> ip link add dev cbr0 up type bridge
--
-- What a fixture may have is told in mncni.recorded_fixture. A handle of mncni.netns is here a marker: world.netns.open
-- "pod", or world.pod itself, serve as `netns` in arguments.

local core = require "mncni.core"
local fixtures = require "mncni.recorded_fixture"
local model = require "mncni.recorded_model"
local nft = require "mncni.recorded_nft"
local net = require "mncni.net"
local objects = require "mncni.objects"
local print_lines = require "mncni.print"
local sorted_keys = require "mncni.keys"
local suggestion = require("mncni.declaration").suggestion

local recorded = {}

local neighbours = require "mncni.recorded_neigh"

-- Object -> its verbs over the model.
local verbs_of = {
  link = require "mncni.recorded_link", addr = require "mncni.recorded_addr", route = require "mncni.recorded_route",
  rule = require "mncni.recorded_rule", neigh = neighbours.neigh, fdb = neighbours.fdb, nsid = neighbours.nsid,
  vlan = require "mncni.recorded_vlan",
}
for object, verbs in pairs(require "mncni.recorded_tc") do
  verbs_of[object] = verbs
end
for object, verbs in pairs(nft.objects) do
  verbs_of[object] = verbs
end

-- asm-generic/errno-base.h and errno.h, as far as the model refuses with them.
local numbers = {
  ENOENT = 2, ESRCH = 3, EBUSY = 16, EEXIST = 17, ENODEV = 19, EINVAL = 22, ENOSPC = 28, ERANGE = 34, ELOOP = 40,
  EOPNOTSUPP = 95, EADDRNOTAVAIL = 99, ENETDOWN = 100, ENETUNREACH = 101, ENOTCONN = 107, EHOSTUNREACH = 113,
}

local Space = { named = require("mncni.ensure").named }
Space.__index = Space

-- Raises what the kernel would: an error object like the codec's.
function Space:refuse(verb, object, args, name, extack, attribute)
  error(core.error {
    op = verb, object = Space.named(object, args), netns = self.name, errno = numbers[name],
    extack = extack, attribute = attribute, code = 102,
  }, 0)
end

function Space:next_index(wanted)
  if wanted then
    self.last_index = math.max(self.last_index, wanted)
    return wanted
  end
  self.last_index = self.last_index + 1
  return self.last_index
end

-- The id by which this namespace knows another; given out when first needed, as the kernel does.
function Space:nsid_of(other, wanted)
  if not self.nsids[other] then
    local highest = -1
    for _, id in pairs(self.nsids) do
      highest = math.max(highest, id)
    end
    self.nsids[other] = wanted or highest + 1
    self:event("new", "nsid", { nsid = self.nsids[other] })
  end
  return self.nsids[other]
end

local group_of = { qdisc = "tc", class = "tc", filter = "tc" }

function Space:event(event, object, value)
  for _, monitor in ipairs(self.world.monitors) do
    local nsid = monitor.space ~= self and monitor.space.nsids[self] or nil
    local group = group_of[object] or object:match("^nft") or object
    if monitor.groups[group] and (monitor.space == self or monitor.all_netns and nsid) then
      table.insert(monitor.events, { event = event, object = object, value = model.copy(value), nsid = nsid })
    end
  end
end

-- Keys that the codec does not know are refused here too.
local function check_keys(space, verb, object, args, known, path)
  known = known or core.schema and core.schema()[object]
  if not known then
    return
  end
  for key, value in pairs(args) do
    local row = known[key]
    if type(key) == "string" and not row then
      error(core.error {
        op = verb, object = object, netns = space.name,
        message = ("unknown key %q%s"):format((path or "") .. key, suggestion(key, sorted_keys(known))),
      }, 0)
    elseif type(value) == "table" and row and (row.fields or row.of) and not getmetatable(value) and #value == 0 then
      check_keys(space, verb, object, value, row.fields or core.schema()[row.of], (path or "") .. key .. ".")
    end
  end
end

-- The socket of one namespace: core.socket's methods over the model.
local Socket = {}
Socket.__index = Socket

local reading = { get = true }

function Socket:request(verb, object, args)
  local verbs = verbs_of[object]
  local act = verbs and verbs[verb]
  if not act then
    error(core.error {
      op = verb, object = object, netns = self.space.name, message = "the recorded net has no such verb here",
    }, 0)
  end
  check_keys(self.space, verb, object, args)
  local result = act(self.space, args)
  if reading[verb] then
    return result
  end
  self.space.world:record(self.space, verb, object, args)
  return true
end

function Socket:batch(steps, collect)
  local transaction = self.protocol == "netfilter" and nft.snapshot(self.space)
  local logged = #self.space.world.log
  local refused
  local refusals = {}
  for i, step in ipairs(steps) do
    local ok, err = pcall(self.request, self, step[1], step[2], step[3] or {})
    if not ok then
      if not core.is_error(err) then
        error(err, 0)
      end
      err.index = i
      refused, refusals[i] = refused or err, err
      if transaction then
        break
      end
    end
  end
  if refused and transaction then
    nft.restore(self.space, transaction)
    for i = #self.space.world.log, logged + 1, -1 do
      self.space.world.log[i] = nil
    end
  end
  if collect then
    return refusals
  elseif refused then
    error(refused, 0)
  end
  return true
end

function Socket:dump(object, filter)
  check_keys(self.space, "list", object, filter or {})
  local list = verbs_of[object].dump(self.space)
  local i = 0
  return function()
    repeat
      i = i + 1
    until list[i] == nil or objects.matches(object, filter or {}, list[i])
    return list[i]
  end
end

function Socket:close()
  self.closed = true
end

-- A marker stands for the handle of a namespace.
local Marker = { mncni_marker = true, __name = "mncni.netns" }
Marker.__index = Marker

function Marker:path()
  return "/run/netns/" .. self.name
end

function Marker:id()
  return "4:" .. self.number
end

function Marker:fd()
  error(core.error { op = "fd", object = "netns " .. self.name, message = "a recorded namespace has none" }, 0)
end

-- run(fn, ...) makes this the caller's namespace while fn runs.
function Marker:run(fn, ...)
  local world = self.world
  local before = world.current
  world.current = self.name
  local results = table.pack(pcall(fn, ...))
  world.current = before
  if not results[1] then
    error(results[2], 0)
  end
  return table.unpack(results, 2, results.n)
end

function Marker.close()
end
Marker.__close = Marker.close

function Marker:__tostring()
  return "netns " .. self.name
end

local Monitor = {}
Monitor.__index = Monitor

-- Events that were not read yet; nil when there are none, for nothing else can happen while one waits.
function Monitor:next()
  return table.remove(self.events, 1)
end

function Monitor.fd()
  return -1
end

function Monitor:close()
  for i, monitor in ipairs(self.world.monitors) do
    if monitor == self then
      table.remove(self.world.monitors, i)
      return
    end
  end
end
Monitor.__close = Monitor.close

local World = {}

-- space_of(what) is the model of the namespace that a marker, a net or a name means.
function World:space_of(what)
  if what == nil then
    return self.spaces[self.current]
  end
  local name = what
  if type(what) == "table" then
    name = rawget(what, "name")
    local handle = not name and rawget(what, "netns")
    name = handle and handle.name or name
  end
  name = type(name) == "string" and name:match("[^/]+$") or name
  local space = self.spaces[name]
  if not space then
    error(core.error {
      op = "open", object = "netns " .. tostring(name), code = 8, errno = numbers.ENOENT,
    }, 0)
  end
  return space
end

function World:record(space, verb, object, args)
  if self.quiet then
    return
  end
  local netns = space.name ~= "host" and space.name or nil
  local shown = args
  for _, key in ipairs { "dev", "master" } do
    local link = math.type(args[key]) == "integer" and model.find_link(space, nil, args[key])
    if link then
      shown = shown == args and model.copy(args) or shown
      shown[key] = link.ifname
    end
  end
  for _, line in ipairs(print_lines.commands(verb, object, shown, netns)) do
    table.insert(self.log, { netns = space.name, verb = verb, object = object, args = args, line = line })
  end
end

local function make_backend(world)
  return {
    socket = function(protocol, netns)
      return setmetatable({ protocol = protocol, space = world:space_of(netns) }, Socket)
    end,
    monitor = function(args)
      local groups = {}
      for _, group in ipairs(args.groups) do
        groups[group] = true
      end
      local monitor = setmetatable({
        world = world, space = world:space_of(args.netns), groups = groups, events = {}, all_netns = args.all_netns,
      }, Monitor)
      table.insert(world.monitors, monitor)
      return monitor
    end,
    current = function()
      return world.spaces[world.current].marker
    end,
    sysctl = require("mncni.recorded_sysctl").over(world),
    conntrack = { flush = function() return 0 end }, -- no packet has ever passed
  }
end

local function add_space(world, name)
  world.count = world.count + 1
  local space = setmetatable({
    world = world, name = name, links = {}, addrs = {}, routes = {}, rules = {}, neighs = {}, fdbs = {}, nsids = {},
    sysctls = {}, tables = {}, qdiscs = {}, classes = {}, filters = {}, last_index = 0,
  }, Space)
  space.marker = setmetatable({ name = name, world = world, number = 4026531000 + world.count }, Marker)
  for _, family in ipairs { "inet", "inet6" } do
    for priority, id in pairs { [0] = "local", [32766] = "main", [32767] = "default" } do
      if family == "inet" or id ~= "default" then
        table.insert(space.rules,
          { family = family, priority = priority, table = id, action = "to_table", protocol = "kernel" })
      end
    end
  end
  table.sort(space.rules, function(a, b)
    return a.priority < b.priority or a.priority == b.priority and a.family < b.family
  end)
  world.spaces[name] = space
  local object = net.over(world.backend, space.marker)
  rawset(object, "name", name)
  world.namespaces[name] = object
  return space
end

local function add_lo(space)
  if model.find_link(space, "lo") then
    return
  end
  table.insert(space.links, 1, {
    ifname = "lo", ifindex = 1, mtu = 65536, address = "00:00:00:00:00:00", up = false, space = space, group = 0,
    txqlen = 1000,
  })
  space.last_index = math.max(space.last_index, 1)
end

-- new([fixture]) makes a world from a fixture: the path of a JSON file, or the same as a table. It has
--   host, pod, and any other namespace of the fixture as nets, also in the table `namespaces`
--   lines()          what was changed since it was made, as command lines, oldest first
--   log              the same as a list of {netns, verb, object, args, line}
--   open, netns      stand-ins for mncni.open and mncni.netns
--   run(fn, ...)     calls fn while mncni.open, require("mncni.net").open and mncni.netns are these stand-ins
--   clear()          empties the log
--   add(name, part)  makes one more namespace, with that part of a fixture in it, and returns it
-- Raises when the fixture does not fit the model (an address on a device that is not there, ...).
function recorded.new(fixture)
  if type(fixture) == "string" then
    fixture = fixtures.read(fixture)
  end
  fixture = fixture or {}
  local world = setmetatable({
    spaces = {}, namespaces = {}, log = {}, monitors = {}, count = 0, current = "host", quiet = true,
  }, {
    __index = function(self, key)
      return World[key] or rawget(self, "namespaces")[key]
    end,
  })
  world.backend = make_backend(world)
  local names = { "host", "pod" }
  for name in pairs(fixture) do
    if name ~= "host" and name ~= "pod" then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    add_lo(add_space(world, name))
  end
  for _, name in ipairs(names) do
    fixtures.load(world.spaces[name], fixture[name] or {}, verbs_of)
  end
  world.quiet = false

  function world.add(name, part)
    local space = add_space(world, name)
    add_lo(space)
    world.quiet = true
    fixtures.load(space, part or {}, verbs_of)
    world.quiet = false
    return space.marker
  end

  function world.lines()
    local lines = {}
    for i, entry in ipairs(world.log) do
      lines[i] = entry.line
    end
    return lines
  end

  function world.clear()
    world.log = {}
  end

  function world.open(what)
    local space = world:space_of(what)
    local object = net.over(world.backend, space.marker)
    rawset(object, "name", space.name)
    return object
  end

  world.netns = {
    open = function(what)
      return world:space_of(what).marker
    end,
    current = function()
      return world.spaces[world.current].marker
    end,
    create = function(name)
      name = name or "unnamed" .. world.count
      if world.spaces[name] then
        error(core.error { op = "create", object = "netns " .. name, code = 8, errno = numbers.EEXIST }, 0)
      end
      return world.add(name)
    end,
    remove = function(name)
      local space = world:space_of(name)
      for i = #space.links, 1, -1 do
        local link = space.links[i]
        if link and link.peer then
          verbs_of.link.del(space, { ifname = link.ifname })
        end
      end
      world.spaces[space.name], world.namespaces[space.name] = nil, nil
    end,
    list = function()
      local list = {}
      for name in pairs(world.spaces) do
        list[#list + 1] = name ~= "host" and name or nil
      end
      table.sort(list)
      return list
    end,
  }

  function world.run(fn, ...)
    local mncni = require "mncni"
    local open, netns, open_net = rawget(mncni, "open"), rawget(mncni, "netns"), net.open
    mncni.open, mncni.netns, net.open = world.open, world.netns, world.open
    local results = table.pack(pcall(fn, ...))
    mncni.open, mncni.netns, net.open = open, netns, open_net
    if not results[1] then
      error(results[2], 0)
    end
    return table.unpack(results, 2, results.n)
  end

  return world
end

return recorded
