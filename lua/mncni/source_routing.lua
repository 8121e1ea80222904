-- SPDX-License-Identifier: Apache-2.0
-- Routing by source address, for the policy sbr: which rules and routes it takes. A pure function over lists.

local core = require "mncni.core"
local route = require "mncni.route"

local source_routing = {}

-- The first table for an address; those below are for people. Source: the reference plugin.
source_routing.FIRST_TABLE = 100

local BITS = { inet = 32, inet6 = 128 }
local ANY = { inet = "0.0.0.0/0", inet6 = "::/0" }
local METRIC = { inet = 0, inet6 = 1024 } -- what the kernel gives a route that asks for none (IP6_RT_PRIO_USER)

-- Where a packet of a link-local address goes is told by its interface alone.
local function is_movable(have)
  local dst = core.cidr.parse(have.dst)
  return have.table == "main" and not (dst and dst.family == "inet6" and (core.cidr "fe80::/10"):contains(dst))
end

-- Whether a route of the interface is one of this address's: it names an address of the subnet, or none at all.
local function belongs(have, address)
  if have.family ~= address.family then
    return false
  end
  return not have.prefsrc and not have.gateway or have.prefsrc and address:contains(have.prefsrc)
    or have.gateway and address:contains(have.gateway) or false
end

-- The next table from a number on that neither a rule nor a route uses; it is used from then on.
local function free_table(used, from)
  while used[from] do
    from = from + 1
  end
  used[from] = true
  return from
end

-- The gateway of an address: one of those configured that is in its subnet, else what the result said.
local function gateway_for(entry, gateways)
  for _, gateway in ipairs(gateways) do
    if gateway.family == entry.address.family and entry.address:contains(gateway) then
      return gateway.address
    end
  end
  return entry.gateway
end

-- The routes of an address's table: the default route first, then those of the interface.
local function routes_for(entry, args, number)
  local list, seen = {}, {}
  local function add(one, metric)
    local key = ("%s %s %s"):format(one.dst, metric, one.tos or 0)
    if not seen[key] then
      seen[key] = true
      one.table = number
      list[#list + 1] = one
    end
  end
  local family, gateway = entry.address.family, gateway_for(entry, args.gateways)
  if gateway then
    add({ dst = ANY[family], gateway = gateway, dev = args.ifname }, METRIC[family])
  end
  for _, have in ipairs(args.routes) do
    if is_movable(have) and belongs(have, entry.address) then
      add(route.settable(have), have.metric or METRIC[family])
    end
  end
  return list
end

-- The routes that leave the main table, those through a gateway first.
local function leaving(args)
  local list = {}
  for _, through in ipairs { true, false } do
    for _, have in ipairs(args.routes) do
      if is_movable(have) and (have.gateway ~= nil) == through then
        list[#list + 1] = route.settable(have)
      end
    end
  end
  return list
end

-- Those without a source that are some address's, and the same with that address as source: a gateway's own route before
-- what leads through it.
local function hinted(args)
  local without, with = {}, {}
  for _, have in ipairs(leaving(args)) do
    for _, entry in ipairs(have.prefsrc and {} or args.addresses) do
      if belongs(have, entry.address) then
        local better = route.settable(have)
        better.prefsrc = entry.address.address
        without[#without + 1] = have
        table.insert(with, 1, better)
        break
      end
    end
  end
  return without, with
end

-- plan{ ifname, addresses = { { address = cidr value, gateway = text or nil } }, routes (of the interface) and rules, as
-- list returns them, taken = numbers of tables that other routes are in, table = the only one to use, which keeps its
-- routes, gateways = cidr values, hints = boolean } returns { rules, add, del, back }: rules to add, routes to add, to
-- delete and to add again, in this order.
function source_routing.plan(args)
  local out, used = { rules = {}, add = {}, del = {}, back = {} }, {}
  if args.hints and not args.table then
    out.del, out.back = hinted(args)
  elseif not args.table then
    out.del = leaving(args)
  end
  for _, number in ipairs(args.taken) do
    used[number] = true
  end
  for _, rule in ipairs(args.rules) do
    used[rule.table or 0] = true
  end
  local number = source_routing.FIRST_TABLE
  for _, entry in ipairs(args.addresses) do
    local address = entry.address
    number = args.table or free_table(used, number)
    out.rules[#out.rules + 1] = { src = ("%s/%d"):format(address.address, BITS[address.family]), table = number }
    if not args.table then
      for _, one in ipairs(routes_for(entry, args, number)) do
        out.add[#out.add + 1] = one
      end
    end
  end
  return out
end

return source_routing
