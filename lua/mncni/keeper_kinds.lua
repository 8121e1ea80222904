-- SPDX-License-Identifier: Apache-2.0
-- What mncni.keeper has to know of each kind of object:
--   object, word   what it is called in the API, and in messages
--   mark(object)   a copy that carries our mark, with values as the kernel tells them
--   key(object)    what identifies one, wanted or there: two wanted objects of one key are one object
--   list(host)     iterates what is there
--   ours(object)   whether our mark is on it
--   compared(want) what of a wanted object is looked at
--   made(args)     how a wanted object looks once it is made
--   remove(have)   the arguments of its deletion
--   exactly(have)  the same of one of several under one key, where the kernel allows that
--   change         the verb that changes one in place
--   blocked(key)   what is known to stand where one is wanted
--   yields(object) whether something that is not ours may be replaced all the same
--   send           where a batch does not do
-- The mark of routes, rules, addresses and neighbours is the protocol 78, mncni; of links their group, which the kernel
-- takes at creation. On links that are ours, so are forwarding entries, addresses and what was set for good of
-- neighbours: older kernels keep no protocol with them.

local core = require "mncni.core"
local objects = require "mncni.objects"

local kinds = {}

-- The group of the agent's links: 78 and 79 are those of pods.
kinds.GROUP = 80

local PROTOCOL = "mncni"

local function is_ours(object)
  return object.protocol == PROTOCOL
end

local function on_our_link(object, names)
  local link = names.name[object.dev or ""]
  return link ~= nil and link.group == kinds.GROUP
end

local function same(object)
  return object
end

-- Spellings that were looked at, because the same few thousand come again with every change of the cluster.
local REMEMBERED = 50000
local prefixes, addresses, remembered = {}, {}, 0

local function remember(memory, value, spelled)
  if type(value) == "string" then
    remembered = remembered + 1
    if remembered > REMEMBERED then
      prefixes, addresses, remembered = {}, {}, 0
    end
    memory[value] = spelled
  end
  return spelled
end

-- One spelling of a prefix, which may be a cidr value: as the kernel tells it.
local function prefix(value)
  return value and (prefixes[value] or remember(prefixes, value, objects.canonical(value)))
end

-- The same of an address.
local function address(value)
  return value and (addresses[value] or remember(addresses, value, objects.canonical(value):match "^[^/]+"))
end

local function family_of(route, dst)
  if dst and dst ~= "default" then
    return dst:find(":", 1, true) and "inet6" or "inet"
  end
  return objects.family_of(route)
end

local function copy(object, more)
  local new = {}
  for key, value in pairs(object) do
    new[key] = value
  end
  for key, value in pairs(more or {}) do
    new[key] = value
  end
  return new
end

local function text(...)
  local words = table.pack(...)
  for i = 1, words.n do
    words[i] = tostring(words[i] == nil and "" or words[i])
  end
  return table.concat(words, " ")
end

local function fields(object, ...)
  local new = {}
  for _, key in ipairs { ... } do
    new[key] = object[key]
  end
  return new
end

kinds.routes = {
  object = "route", word = "a route", change = "replace", ours = is_ours, compared = same, made = same,
  mark = function(route)
    local marked = copy(route)
    local dst = prefix(route.dst)
    marked.protocol, marked.dst, marked.table = PROTOCOL, dst, route.table or "main"
    marked.gateway, marked.prefsrc = address(route.gateway), address(route.prefsrc)
    marked.family = route.family or family_of(route, dst)
    return marked
  end,
  key = function(route)
    local dst = route.dst or "default"
    if dst ~= "default" and not dst:find("/", 1, true) then
      dst = prefix(dst)
    end
    local family = route.family or family_of(route, dst)
    return family .. " " .. dst .. " " .. (route.table or "main") .. " " .. (route.tos or 0) .. " "
      .. (route.metric or (family == "inet6" and 1024 or 0))
  end,
  list = function(host)
    return host.route.list {}
  end,
  remove = function(have)
    return fields(have, "family", "dst", "table", "tos", "metric", "type", "protocol")
  end,
  exactly = function(have)
    return fields(have, "family", "dst", "table", "tos", "metric", "type", "protocol", "dev", "gateway", "via",
      "prefsrc")
  end,
}

-- The protocols of addresses have names of their own.
local ADDRESS_PROTOCOL = 78

kinds.addresses = {
  object = "addr", word = "an address", change = "replace", made = same,
  ours = function(addr, names)
    return addr.protocol == ADDRESS_PROTOCOL or addr.scope ~= "link" and on_our_link(addr, names)
  end,
  mark = function(addr)
    return copy(addr, { protocol = ADDRESS_PROTOCOL, address = prefix(addr.address), peer = prefix(addr.peer) })
  end,
  compared = function(want)
    local compared = copy(want)
    compared.flags, compared.protocol = nil, nil -- of the moment at which it is added
    return compared
  end,
  key = function(addr)
    return text(addr.dev, prefix(addr.address))
  end,
  list = function(host)
    return host.addr.list {}
  end,
  remove = function(have)
    return fields(have, "dev", "address", "peer")
  end,
}

kinds.neighbours = {
  object = "neigh", word = "a neighbour", change = "replace", compared = same, made = same,
  ours = function(neigh, names)
    return is_ours(neigh) or neigh.state ~= nil and neigh.state[1] == "permanent" and on_our_link(neigh, names)
  end,
  mark = function(neigh)
    return copy(neigh, {
      protocol = PROTOCOL, dst = address(neigh.dst), lladdr = neigh.lladdr and neigh.lladdr:lower(),
      state = neigh.state or { "permanent" },
    })
  end,
  key = function(neigh)
    return text(neigh.dev, neigh.dst)
  end,
  list = function(host)
    return host.neigh.list {}
  end,
  -- What the kernel has learned, it learns again.
  yields = function(neigh)
    for _, state in ipairs(neigh.state or {}) do
      if state == "permanent" or state == "noarp" then
        return false
      end
    end
    return true
  end,
  remove = function(have)
    return fields(have, "dev", "dst")
  end,
}

kinds.fdb = {
  object = "fdb", word = "a forwarding entry", change = "replace", made = same,
  -- An entry with a destination, which only tunnels have: those without are the link's own.
  ours = function(entry, names)
    return entry.dst ~= nil and on_our_link(entry, names)
  end,
  mark = function(entry)
    return copy(entry, { mac = entry.mac:lower(), dst = address(entry.dst) })
  end,
  compared = function(want)
    return fields(want, "dev", "mac", "dst", "port", "vni", "via")
  end,
  key = function(entry)
    return text(entry.dev, entry.mac, entry.vlan)
  end,
  -- Of our own links alone: those of bridges are the bridges' business.
  list = function(host, names)
    local ours = {}
    for name, link in pairs(names.name) do
      if link.group == kinds.GROUP then
        ours[#ours + 1] = name
      end
    end
    return coroutine.wrap(function()
      for _, name in ipairs(ours) do
        for entry in host.fdb.list { dev = name } do
          coroutine.yield(entry)
        end
      end
    end)
  end,
  remove = function(have)
    return fields(have, "dev", "mac", "dst", "vlan")
  end,
}

local table_names = { [253] = "default", [254] = "main", [255] = "local" } -- linux/rtnetlink.h

-- One spelling of a table: its name where it has one, else its number, which may be given as text.
local function table_of(value)
  local number = math.tointeger(tonumber(value))
  return table_names[number] or number or value
end

-- One spelling of a range of ports: 80 or "80-90".
local function ports(value)
  local first, last = tostring(value):match "^(%d+)%-(%d+)$"
  return math.tointeger(tonumber(first == last and first or value)) or value
end

-- A rule with what the kernel would add to it: all bits of a mark, the table that it sends to.
local function completed(rule)
  local action = rule.action or (rule["goto"] and "goto" or "to_table")
  local mark = rule.fwmark ~= 0 and rule.fwmark or nil
  return {
    action = action, fwmark = mark, fwmask = rule.fwmask or mark and 0xffffffff or nil,
    table = action == "to_table" and (table_of(rule.table) or not rule.l3mdev and "main") or nil,
  }
end

kinds.rules = {
  object = "rule", word = "a rule", change = "replace", ours = is_ours, made = same,
  mark = function(rule)
    local complete = completed(rule)
    local marked = copy(rule, complete)
    marked.fwmark, marked.table = complete.fwmark, complete.table
    marked.protocol, marked.family = PROTOCOL, rule.family or objects.family_of(rule)
    marked.src, marked.dst = prefix(rule.src), prefix(rule.dst)
    marked.sport, marked.dport = ports(rule.sport), ports(rule.dport)
    return marked
  end,
  -- All of a rule is its key: a changed one is another one, made before the old one goes. So nothing is left to compare.
  key = function(rule)
    local complete = completed(rule)
    local inverted = false
    for _, flag in ipairs(rule.flags or {}) do
      inverted = inverted or flag == "not"
    end
    return text(rule.family, rule.priority, inverted and "not" or "", prefix(rule.src), prefix(rule.dst), rule.iif,
      rule.oif, complete.fwmark, complete.fwmask, rule.tos or 0, rule.ipproto, ports(rule.sport), ports(rule.dport),
      complete.table, complete.action, rule["goto"], rule.l3mdev or "", rule.uidrange, rule.tun_id,
      rule.suppress_prefixlength, rule.suppress_ifgroup, rule.flow)
  end,
  compared = function(want)
    return fields(want, "family", "priority")
  end,
  list = function(host)
    return host.rule.list {}
  end,
  remove = same,
}

-- Whether the kernel, or mncni.ensure on its behalf, said that a link cannot be changed in place to what is wanted.
local function unchangeable(err)
  return core.is_error(err) and (err.code == 103 or err.name == "EOPNOTSUPP")
end

-- Makes, changes or removes one link. Raises what is refused.
local function send_link(host, operation)
  local args = operation.args
  if operation.verb == "del" then
    host.link.absent(args)
    return
  elseif not operation.was then
    host.link.add(args)
    return
  end
  local ok, err = pcall(host.link.ensure, args)
  if not ok and unchangeable(err) then
    -- It takes another link of that name. Nothing else is ever deleted before its successor is there.
    host.link.absent { ifindex = operation.was.ifindex }
    host.link.add(args)
  elseif not ok then
    error(err, 0)
  end
end

-- Links are few, and what a change of one needs differs: one by one, through `ensure`.
local function send_links(self, operations, now, done)
  local count = 0
  local fail = require("mncni.reconcile").fail
  for _, operation in ipairs(operations) do
    local ok, err = pcall(send_link, self.host, operation)
    if ok then
      done(self, operation, now)
      count = count + 1
    elseif operation.verb == "add" and core.is_error(err) and err.name == "EEXIST" then
      self.names:resync()
      if self.names.name[operation.key] then
        self:look_again({ [operation.key] = true }, now)
      else
        fail(self, operation.key, now, tostring(err)) -- the name is free: another one has its number
      end
    else
      fail(self, operation.key, now, tostring(err))
    end
  end
  if count > 0 then
    self.names:resync()
    self:resync()
  end
  return count
end

kinds.links = {
  object = "link", word = "a link", change = "set", made = same, send = send_links,
  ours = function(link)
    return link.group == kinds.GROUP
  end,
  mark = function(link)
    return copy(link, {
      group = kinds.GROUP, ifalias = link.ifalias or "mncni-agent", address = link.address and link.address:lower(),
    })
  end,
  compared = function(want)
    local compared = copy(want)
    compared.peer, compared.netns, compared.addrgenmode = nil, nil, nil
    return compared
  end,
  key = function(link)
    return link.ifname
  end,
  blocked = function(key, names)
    local link = names.name[key]
    return link and link.group ~= kinds.GROUP and link or nil
  end,
  list = function(host)
    return host.link.list {}
  end,
  remove = function(have)
    return { ifindex = have.ifindex, ifname = not have.ifindex and have.ifname or nil }
  end,
}

return kinds
