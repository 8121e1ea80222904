-- SPDX-License-Identifier: Apache-2.0
-- mncni.open(): a network namespace as a table of verbs.
--
--   local host <close> = mncni.open()
--   host.link.ensure { ifname = "cbr0", kind = "bridge", up = true }
--   for route in host.route.list { protocol = "mncni" } do print(route) end
--
-- The families are link, addr, route, rule, neigh, fdb, vlan, nsid, qdisc, class and filter, each with the verbs add,
-- replace, set, del, get, list, ensure and absent as far as the kernel has them, called with one table whose keys are those of `ip -json`;
-- nft.table, nft.chain, nft.rule, nft.set and nft.element likewise. Errors are raised as objects.
--
-- A net speaks through a backend: backend.socket(protocol, netns) makes something with core.socket's methods request,
-- batch, dump and close; backend.sysctl and backend.conntrack are core's or alike; backend.monitor(args) makes a monitor. The
-- recorded net (mncni.recorded) is another backend, and everything in this file runs on it unchanged.

local core = require "mncni.core"
local contains = require "mncni.contains"

local net = {}

-- What is known about each kind of object; most calls of a pod do without.
local function info_of(object)
  return require("mncni.objects").info[object]
end

local rtnetlink = {
  link = { "add", "replace", "set", "del", "get", "list", "ensure", "absent" },
  addr = { "add", "replace", "del", "get", "list", "ensure", "absent" },
  route = { "add", "replace", "append", "del", "get", "list", "ensure", "absent" },
  rule = { "add", "del", "get", "list", "ensure", "absent" },
  neigh = { "add", "replace", "set", "del", "get", "list", "ensure", "absent" },
  fdb = { "add", "replace", "append", "del", "get", "list", "ensure", "absent" },
  vlan = { "add", "del", "get", "list" },
  nsid = { "add", "get", "list", "ensure" },
  qdisc = { "add", "replace", "set", "del", "get", "list", "ensure", "absent" },
  class = { "add", "replace", "set", "del", "get", "list", "ensure", "absent" },
  filter = { "add", "replace", "set", "del", "flush", "get", "list", "ensure", "absent" },
}

-- `replace` of nftables leaves what is there and changes what the kernel can change of it.
local nftables = {
  table = { "add", "replace", "del", "get", "list", "ensure", "absent" },
  chain = { "add", "replace", "del", "get", "list", "ensure", "absent" },
  rule = { "add", "append", "insert", "replace", "del", "flush", "get", "list", "absent" },
  set = { "add", "replace", "del", "get", "list", "ensure", "absent" },
  element = { "add", "replace", "del", "flush", "get", "list", "ensure", "absent" },
}

-- Family -> its verbs, for help().
net.families = { route = rtnetlink, netfilter = nftables }

local tagged = {}

-- tag(object, value) gives a decoded value its printing: tostring is the `ip` or `nft` line that would make it.
local function tag(object, value)
  if type(value) ~= "table" then
    return value
  end
  local meta = tagged[object]
  if not meta then
    meta = {
      __name = "mncni." .. object,
      __tostring = function(self)
        return require("mncni.print").describe(object, self)
      end,
    }
    tagged[object] = meta
  end
  return setmetatable(value, meta)
end
net.tag = tag

local Net = {}

local function is_net(value)
  local meta = type(value) == "table" and getmetatable(value)
  return meta and meta.mncni_net == true
end

-- A namespace in arguments may be given as a net: its handle is what the kernel is told.
local function handle_of(value)
  if not is_net(value) then
    return value
  end
  return rawget(value, "netns") or value:here()
end

-- The arguments as the backend takes them: a copy where a net stands for its namespace, else the table itself.
local function prepare(args)
  local peer = args.peer
  local peer_netns = type(peer) == "table" and is_net(peer.netns)
  if not is_net(args.netns) and not peer_netns then
    return args
  end
  local copy = {}
  for key, value in pairs(args) do
    copy[key] = value
  end
  copy.netns = handle_of(args.netns)
  if peer_netns then
    copy.peer = {}
    for key, value in pairs(peer) do
      copy.peer[key] = value
    end
    copy.peer.netns = handle_of(peer.netns)
  end
  return copy
end

local function check_args(object, verb, args)
  if type(args) ~= "table" then
    error(("%s.%s takes one table of arguments, not %s"):format(object, verb,
      args == nil and "nothing" or type(args)), 3)
  end
end

net.check_args = check_args

local function request(verb)
  return function(self, object, wire)
    return function(args)
      check_args(object, verb, args)
      return self:socket(wire.protocol):request(verb, wire.object, prepare(args))
    end
  end
end

local makers = {
  add = request "add", replace = request "replace", append = request "append", set = request "set",
  insert = request "insert", del = request "del", flush = request "flush",
}

-- list{...} streams every object for which all given fields are so; the kernel filters where it can, the socket the
-- rest. A socket receives all before the first is handed out, so that the loop's body may use it too.
function makers.list(self, object, wire)
  return function(filter)
    check_args(object, "list", filter or {})
    local step, state, control, closing = self:socket(wire.protocol):dump(wire.object, prepare(filter or {}))
    return function()
      control = step(state, control)
      return tag(wire.object, control)
    end, nil, nil, closing
  end
end

-- get{...} returns the one object meant, or nil. A route's get is the kernel's look-up of a destination. With a second
-- argument, a list of keys ("mtu", "bridge.vlan_filtering"), a link has those, as far as it has them, and perhaps others: it
-- takes less time.
function makers.get(self, object, wire)
  local kernel_gets = wire.protocol == "netfilter" or object == "link" or object == "route"
    or info_of(wire.object) and info_of(wire.object).get
  return function(args, keys)
    check_args(object, "get", args)
    if kernel_gets then
      local value = self:socket(wire.protocol):request("get", wire.object, prepare(args),
        object == "link" and keys or nil)
      if object == "nsid" and value and value.nsid == -1 then
        return nil -- the kernel's word for none given out yet
      end
      return tag(wire.object, value)
    end
    local step, state, control, closing <close> = makers.list(self, object, wire)(args)
    return step(state, control), closing and nil
  end
end

function makers.ensure(self, object, wire)
  return function(want)
    check_args(object, "ensure", want)
    return require("mncni.ensure").ensure(self, wire.object, want)
  end
end

function makers.absent(self, object, wire)
  return function(args)
    check_args(object, "absent", args)
    return require("mncni.ensure").absent(self, wire.object, args)
  end
end

-- Raises for a name that is not among `known`, with the nearest that is.
local function unknown(what, name, known, level)
  local names = {}
  for key, value in pairs(known) do
    names[#names + 1] = type(key) == "string" and key or value
  end
  table.sort(names)
  local near = core.nearest(tostring(name), names)
  local hint = near and ("did you mean %q?"):format(near) or "it has " .. table.concat(names, ", ")
  error(("%s has no %q; %s"):format(what, tostring(name), hint), level + 1)
end

net.unknown = unknown

-- The verbs of one object, each made when first used.
local function family(self, object, protocol, list)
  local wire = { protocol = protocol, object = protocol == "netfilter" and "nft_" .. object or object }
  return setmetatable({}, {
    __index = function(verbs, name)
      if not contains(list, name) then
        unknown(protocol == "netfilter" and "nft." .. object or object, name, list, 2)
      end
      local verb = makers[name](self, object, wire)
      rawset(verbs, name, verb)
      return verb
    end,
  })
end

-- net.sysctl: get(key, ...) -> string or nil for each, set(key, value) -> previous, changed, batch{ {key, value}, ... },
-- in the net's namespace.
local function sysctl_family(self)
  local backend, netns = self.backend.sysctl, rawget(self, "netns")
  return {
    get = function(...)
      return backend.get(netns, ...)
    end,
    set = function(key, value)
      return backend.set(netns, key, value)
    end,
    batch = function(list, quiet)
      return backend.batch(netns, list, quiet)
    end,
  }
end

-- net.conntrack: flush{ family =, protocol = number, ports =, to =, answerer = } -> number of entries, see
-- core.conntrack.
local function conntrack_family(self)
  local backend, netns = self.backend.conntrack, rawget(self, "netns")
  return {
    flush = function(args)
      return backend.flush(netns, args)
    end,
  }
end

-- The socket of a protocol ("route" or "netfilter") in the net's namespace, opened when first needed.
function Net:socket(protocol)
  local sockets = rawget(self, "sockets")
  if not sockets then
    error(core.error { op = "use", object = "net", netns = self.name, message = "it is closed" }, 0)
  end
  local socket = sockets[protocol]
  if not socket then
    socket = self.backend.socket(protocol, rawget(self, "netns"))
    sockets[protocol] = socket
  end
  return socket
end

-- A handle of the namespace that a net opened without one speaks of: the caller's.
function Net:here()
  local own = rawget(self, "own")
  if not own then
    own = self.backend.current()
    rawset(self, "own", own)
  end
  return own
end

-- net:batch{ {verb, object, args}, ... } sends all at once and collects every answer; the first refusal is raised with
-- `index`, its place in the list. Messages after a refused one may have been applied. Objects are those of rtnetlink;
-- nft.batch is for nftables, and atomic. net:batch(list, true) tries all (of routes, addresses, neighbours ..., not
-- links) and returns the refusals, a table from place to error object. `known` is what the caller knows of links, a table
-- from name to index: those are not looked up.
function Net:batch(list, collect, known)
  local wire
  for i, step in ipairs(list) do
    if not rtnetlink[step[2]] then
      unknown("batch", step[2], rtnetlink, 2)
    end
    local args = prepare(step[3])
    if args ~= step[3] then
      wire = wire or table.move(list, 1, #list, 1, {})
      wire[i] = { step[1], step[2], args }
    end
  end
  return self:socket("route"):batch(wire or list, collect, known)
end

-- net:monitor{ "link", "route", all_netns = true, timeout = milliseconds }: see mncni.monitor.
function Net:monitor(args)
  check_args("net", "monitor", args)
  return require("mncni.monitor").open(self, args)
end

-- Closes the sockets, and the namespace handle if the net opened it. Closing twice is fine.
function Net:close()
  local sockets = rawget(self, "sockets")
  if not sockets then
    return
  end
  rawset(self, "sockets", nil)
  for _, socket in pairs(sockets) do
    socket:close()
  end
  for _, key in ipairs { "own", "opened" } do
    local handle = rawget(self, key)
    rawset(self, key, nil)
    if handle then
      handle:close()
    end
  end
end

local meta = { __name = "mncni.net", __close = Net.close, __gc = Net.close, mncni_net = true }

local fields = { netns = true, name = true }

function meta.__index(self, key)
  local value
  if Net[key] then
    return Net[key]
  elseif rtnetlink[key] then
    value = family(self, key, "route", rtnetlink[key])
  elseif key == "nft" then
    value = require("mncni.net_nft")(self, nftables, family)
  elseif key == "sysctl" then
    value = sysctl_family(self)
  elseif key == "conntrack" then
    value = conntrack_family(self)
  elseif fields[key] or type(key) ~= "string" then
    return nil
  else
    local known = { "nft", "sysctl", "conntrack" }
    for _, list in ipairs { Net, rtnetlink, fields } do
      for name in pairs(list) do
        known[#known + 1] = name
      end
    end
    unknown("net", key, known, 2)
  end
  rawset(self, key, value)
  return value
end

function meta.__tostring(self)
  return ("net(%s)"):format(self.name or "own namespace")
end

-- The object that a verb of a net is about ("link" of host.link.add), nil for anything else: a verb holds its net, which
-- has it among those of one object.
function net.object_of(verb)
  local self
  for i = 1, type(verb) == "function" and debug.getinfo(verb, "u").nups or 0 do
    local _, value = debug.getupvalue(verb, i)
    self = getmetatable(value) == meta and value or self
  end
  if not self then
    return nil
  end
  for prefix, objects in pairs { [""] = self, nft_ = rawget(self, "nft") } do
    for object in pairs(prefix == "" and rtnetlink or nftables) do
      for _, known in next, rawget(objects, object) or {} do
        if known == verb then
          return prefix .. object
        end
      end
    end
  end
end

-- net.over(backend, netns, opened) makes a net; `opened` is a handle that the net closes with itself.
function net.over(backend, netns, opened)
  local self = { backend = backend, netns = netns, opened = opened, sockets = {} }
  if netns then
    self.name = netns.path and netns:path() or nil
  end
  return setmetatable(self, meta)
end

local kernel = setmetatable({
  socket = function(protocol, netns)
    return core.socket { protocol = protocol, netns = netns }
  end,
  monitor = function(args)
    return core.monitor(args)
  end,
  current = function()
    return core.netns.current()
  end,
}, {
  __index = core, -- sysctl, conntrack
})

-- of(handle) is a net over a namespace handle that stays the caller's.
function net.of(handle)
  return net.over(kernel, handle)
end

-- net.open([what]) opens a network namespace: the caller's without argument; else a handle of mncni.netns, which stays
-- the caller's to close, another net, or whatever mncni.netns.open takes (path, name, pid), which the net closes.
-- Opens no socket yet. Raises what mncni.netns.open raises.
function net.open(what)
  if what == nil then
    return net.over(kernel)
  elseif is_net(what) then
    return net.over(what.backend, rawget(what, "netns"))
  elseif type(what) == "userdata" then
    return net.of(what)
  end
  local handle = core.netns.open(what)
  return net.over(kernel, handle, handle)
end

-- try(f, ...) returns what f returns, or nil and the error when f raises an error object that says that the world is
-- not as hoped (the kernel refused, a file is missing, a namespace is gone). What only an edit of the script can put
-- right is raised again: a plain Lua error, and an error object that carries neither errno nor code, which is how an
-- unknown key or a value of a wrong type is told.
function net.try(f, ...)
  local results = table.pack(pcall(f, ...))
  if results[1] then
    return table.unpack(results, 2, results.n)
  end
  local err = results[2]
  if core.is_error(err) and (err.errno or err.code) then
    return nil, err
  end
  error(err, 0)
end

return net
