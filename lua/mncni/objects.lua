-- SPDX-License-Identifier: Apache-2.0
-- What is known about each kind of object: what identifies one, which of its fields can be compared and how, and what
-- the kernel says when one is not there. The verbs `ensure`, `absent`, `get` and `list` are built on this.

local core = require "mncni.core"

local objects = {}

-- Names of the kernel's numbers, as iproute2 prints them; linux/rtnetlink.h, and 78 is ours (rt_protos.d/mncni.conf).
objects.names = {
  table = { default = 253, main = 254, ["local"] = 255 },
  protocol = {
    unspec = 0, redirect = 1, kernel = 2, boot = 3, static = 4, gated = 8, ra = 9, mrt = 10, zebra = 11, bird = 12,
    dnrouted = 13, xorp = 14, ntk = 15, dhcp = 16, keepalived = 18, mncni = 78, babel = 42, bgp = 186, isis = 187,
    ospf = 188, rip = 189, eigrp = 192,
  },
  scope = { global = 0, site = 200, link = 253, host = 254, nowhere = 255 },
  type = {
    unicast = 1, ["local"] = 2, broadcast = 3, anycast = 4, multicast = 5, blackhole = 6, unreachable = 7,
    prohibit = 8, throw = 9, nat = 10,
  },
  group = { default = 0 },
}

-- What sort of thing a key holds where plain equality would be too strict.
local sorts = {
  link = { address = "mac", broadcast = "mac", master = "dev", link = "dev", flags = "flags", group = "group" },
  addr = {
    dev = "dev", address = "prefix", peer = "prefix", broadcast = "ip", scope = "scope", protocol = "protocol",
    flags = "flags", valid_life_time = "lifetime", preferred_life_time = "lifetime",
  },
  route = {
    dst = "prefix", gateway = "ip", prefsrc = "ip", src = "prefix", dev = "dev", iif = "dev", table = "table",
    protocol = "protocol", scope = "scope", type = "type", flags = "flags", host = "ip",
  },
  rule = {
    src = "prefix", dst = "prefix", iif = "dev", oif = "dev", table = "table", protocol = "protocol", flags = "flags",
  },
  neigh = { dst = "ip", dev = "dev", lladdr = "mac", state = "flags", flags = "flags", master = "dev" },
  nft_table = { flags = "flags" }, nft_chain = { flags = "flags" }, nft_set = { flags = "flags" },
  fdb = { mac = "mac", dev = "dev", dst = "ip", state = "flags", flags = "flags", master = "dev" },
  vlan = { dev = "dev", flags = "flags", master = "dev" },
  qdisc = {
    burst = "burst", minburst = "burst", loss = "share", duplicate = "share", corrupt = "share", reorder = "share",
  }, class = { burst = "burst", cburst = "burst" },
}

-- canonical("10.0.0.5") is "10.0.0.5/32", canonical("default") is "default": one spelling per prefix. Text that is no
-- address comes back as it is.
function objects.canonical(value)
  local cidr = value
  if type(value) == "string" then
    if value == "default" then
      return value
    end
    cidr = core.cidr.parse(value)
    if not cidr then
      return value
    end
  end
  if type(cidr) ~= "userdata" then
    return value
  end
  if cidr.prefix == 0 then
    return "default"
  end
  return cidr.address .. "/" .. cidr.prefix
end

-- number("protocol", "mncni") is 78; a number, or a name not known here, comes back as it is.
function objects.number(kind, value)
  local names = objects.names[kind]
  return names and names[value] or tonumber(value) or value
end

local by_number = {}

-- name("protocol", 78) is "mncni"; a number without a name comes back as it is.
function objects.name(kind, value)
  local names = by_number[kind]
  if not names then
    names = {}
    for name, number in pairs(objects.names[kind]) do
      names[number] = name
    end
    by_number[kind] = names
  end
  return names[tonumber(value)] or value
end

local FOREVER = 0xffffffff

local same

local equal = {
  mac = function(want, have)
    return tostring(want):lower() == tostring(have):lower()
  end,
  ip = function(want, have)
    return objects.canonical(want) == objects.canonical(have)
  end,
  prefix = function(want, have)
    return objects.canonical(want) == objects.canonical(have)
  end,
  dev = function(want, have)
    return want == have or want == false and have == 0
  end,
  -- Every wanted word must be there; the kernel may have more. `nodad` and `optimistic` matter only while an address
  -- is being added.
  flags = function(want, have)
    if type(want) ~= "table" then
      want = { want }
    end
    local there = {}
    for _, flag in ipairs(type(have) == "table" and have or { have }) do
      there[flag] = true
    end
    for _, flag in ipairs(want) do
      if not there[flag] and flag ~= "nodad" and flag ~= "optimistic" then
        return false
      end
    end
    return true
  end,
  -- The kernel keeps a burst as the time that it takes at its rate, in steps of 64 ns: one in a thousand is that.
  burst = function(want, have)
    return math.abs(want - have) <= math.max(64, want // 1000)
  end,
  -- 32 bits on the wire.
  share = function(want, have)
    return math.abs(want - have) < 1e-6
  end,
  -- Seconds that count down: what is left may be less by the time that passed since it was set.
  lifetime = function(want, have)
    want, have = tonumber(want) or FOREVER, tonumber(have) or FOREVER
    return want == have or want ~= FOREVER and have <= want and have >= want - 1
  end,
}
for kind in pairs(objects.names) do
  equal[kind] = function(want, have)
    return objects.number(kind, want) == objects.number(kind, have)
  end
end

local function same_table(object, want, have)
  if #want > 0 or #have > 0 then
    if #want ~= #have then
      return false
    end
  end
  for key, value in pairs(want) do
    if not same(object, key, value, have[key]) then
      return false
    end
  end
  return true
end

-- same(object, key, want, have) tells whether what the kernel has is what was asked for, whatever the spelling: names
-- and numbers, letter case of a MAC, 1 and true, cidr values and strings. Of tables, only what is wanted is looked at.
function same(object, key, want, have)
  local sort = sorts[object] and sorts[object][key]
  if have == nil then
    return want == false or want == nil
  end
  if sort then
    return equal[sort](want, have)
  end
  if type(want) == "boolean" or type(have) == "boolean" then
    return (want ~= false and want ~= 0) == (have ~= false and have ~= 0)
  end
  if type(want) == "table" and type(have) == "table" then
    return same_table(object, want, have)
  end
  return want == have or tostring(want) == tostring(have)
end
objects.same = same

-- A device may be asked for by name or by index where results carry both.
local function same_field(object, key, want, have)
  if key == "dev" and math.type(want) == "integer" and have.ifindex then
    return want == have.ifindex
  end
  if key == "dev" and have.dev == nil then
    return want == have.ifname or same(object, key, want, have.ifindex)
  end
  if object == "fdb" and key == "flags" and have.master then
    -- The kernel tells whose entry it is by its master, not by the flag that puts it there.
    return same(object, key, want, { "master", table.unpack(have.flags or {}) })
  end
  return same(object, key, want, have[key])
end

-- matches(object, want, have) tells whether every field of `want` is so in `have`.
function objects.matches(object, want, have)
  for key, value in pairs(want) do
    if not same_field(object, key, value, have) then
      return false, key
    end
  end
  return true
end

-- family_of(args) is the address family that the arguments speak of: "inet" or "inet6". A gateway of the other family
-- ("via") says nothing about it.
function objects.family_of(args)
  if args.family then
    return args.family
  end
  for _, value in ipairs { args.dst or false, args.gateway or false, args.address or false, args.src or false,
    args.prefsrc or false } do
    local cidr = value
    if type(value) == "string" then
      cidr = core.cidr.parse(value)
    end
    if type(cidr) == "userdata" then
      return cidr.family
    end
  end
  for _, hop in ipairs(args.nexthops or {}) do
    if hop.gateway then
      return objects.family_of { gateway = hop.gateway }
    end
  end
  return "inet"
end

local function fields(want, list)
  local picked = {}
  for _, key in ipairs(list) do
    if want[key] ~= nil then
      picked[key] = want[key]
    end
  end
  return picked
end

-- For each object:
--   protocol  the socket it is spoken of on
--   needs     keys (or alternatives) without which `ensure` and `absent` cannot tell which one is meant
--   get       the kernel has a request for exactly one of them; else a dump is searched
--   key       the fields that identify one, from the arguments given
--   fixed     fields that cannot change once it exists
--   change    the verb that changes one in place
local info = {
  link = {
    needs = { { "ifname", "ifindex" } }, get = true, change = "set",
    key = function(want)
      return { ifname = want.ifname, ifindex = not want.ifname and want.ifindex or nil }
    end,
    fixed = { kind = true },
  },
  addr = {
    needs = { { "dev", "ifindex" }, { "address" } }, change = "replace",
    key = function(want)
      return fields(want, { "dev", "ifindex", "address", "peer" })
    end,
    fixed = { label = true, scope = true, broadcast = true },
  },
  route = {
    needs = { { "dst" } }, change = "replace",
    -- linux/net/ipv4/fib_trie.c and ipv6/ip6_fib.c: table, prefix, tos and priority. The default priority of an IPv6
    -- route is 1024 (IP6_RT_PRIO_USER).
    key = function(want)
      local family = objects.family_of(want)
      return {
        family = family, table = want.table or "main", dst = want.dst, tos = want.tos,
        metric = want.metric or (family == "inet6" and 1024 or nil),
      }
    end,
    fixed = { protocol = true },
  },
  rule = {
    needs = {}, change = nil,
    key = function(want)
      local key = {}
      for name, value in pairs(want) do
        key[name] = value
      end
      key.family = objects.family_of(want)
      return key
    end,
  },
  neigh = {
    needs = { { "dev", "ifindex" }, { "dst" } }, get = true, change = "replace",
    key = function(want)
      return fields(want, { "dev", "ifindex", "dst" })
    end,
  },
  fdb = {
    needs = { { "dev", "ifindex" }, { "mac" } }, change = "replace",
    key = function(want)
      return fields(want, { "dev", "ifindex", "mac", "vlan", "dst" })
    end,
  },
  -- linux/net/sched/sch_api.c: a link has one discipline at each place, and its root is the place meant unless given.
  qdisc = {
    needs = { { "dev", "ifindex" } }, change = "set",
    key = function(want)
      local key = fields(want, { "dev", "ifindex", "parent" })
      local incoming = want.kind == "ingress" or want.kind == "clsact"
      key.parent = incoming and "ingress" or key.parent or "root"
      return key
    end,
    fixed = { kind = true, handle = true },
  },
  class = {
    needs = { { "dev", "ifindex" }, { "handle" } }, change = "set",
    key = function(want)
      return fields(want, { "dev", "ifindex", "handle" })
    end,
    fixed = { kind = true },
  },
  filter = {
    needs = { { "dev", "ifindex" }, { "prio" } }, change = "set",
    key = function(want)
      return fields(want, { "dev", "ifindex", "parent", "prio", "protocol", "chain", "handle" })
    end,
    fixed = { kind = true },
  },
  vlan = {
    needs = { { "dev", "ifindex" } },
    key = function(want)
      return fields(want, { "dev", "ifindex" })
    end,
  },
  nsid = {
    needs = { { "netns", "pid", "fd", "nsid" } }, get = true,
    key = function(want)
      return fields(want, { "netns", "pid", "fd" })
    end,
    fixed = { nsid = true },
  },
}
for object, key in pairs {
  nft_table = { "family", "name" }, nft_chain = { "family", "table", "name" }, nft_set = { "family", "table", "name" },
  nft_rule = { "family", "table", "chain", "handle" }, nft_element = { "family", "table", "name", "elem" },
} do
  local needs = {}
  for i, name in ipairs(key) do
    needs[i] = { name }
  end
  info[object] = {
    needs = needs, get = true, change = object == "nft_chain" and "replace" or nil,
    key = function(want)
      return fields(want, key)
    end,
    fixed = { type = true, hook = true, prio = true, map = true },
  }
end

objects.info = info

-- A route has no metric field when its metric is 0, and no tos when it is 0.
function objects.is_same_route(key, have)
  return objects.family_of(have) == key.family
    and same("route", "table", key.table, have.table or "main")
    and same("route", "dst", key.dst, have.dst or "default")
    and (tonumber(key.metric) or 0) == (tonumber(have.metric) or (key.family == "inet6" and 1024 or 0))
    and same("route", "tos", key.tos or 0, have.tos or 0)
end

-- What the kernel answers when the object of a `del` is not there.
objects.gone = { ENODEV = true, ENOENT = true, ESRCH = true, EADDRNOTAVAIL = true, ENXIO = true }

return objects
