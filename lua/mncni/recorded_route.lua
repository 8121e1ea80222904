-- SPDX-License-Identifier: Apache-2.0
-- Routes of the recorded net: see mncni.recorded_model.

local core = require "mncni.core"
local model = require "mncni.recorded_model"
local objects = require "mncni.objects"

local copy, view_entry, views = model.copy, model.view_entry, model.views

local function covers(route, address)
  if route.family ~= address.family then
    return false
  end
  return route.dst == "default" or core.cidr(route.dst):contains(address.address)
end

local function prefix_of(route)
  return route.dst == "default" and 0 or core.cidr(route.dst).prefix
end

-- The route that traffic to an address takes: the longest prefix in the main table, then the smallest metric.
local function lookup(space, address, wanted)
  local best
  for _, route in ipairs(space.routes) do
    if objects.number("table", route.table) == 254 and covers(route, address) and (not wanted or wanted(route)) then
      local longer = not best or prefix_of(route) > prefix_of(best)
        or prefix_of(route) == prefix_of(best) and (route.metric or 0) < (best.metric or 0)
      best = longer and route or best
    end
  end
  return best
end

local function is_local(space, address)
  for _, have in ipairs(space.addrs) do
    if core.cidr(have.address).address == address.address then
      return have
    end
  end
end

local no_device = { blackhole = true, unreachable = true, prohibit = true, throw = true }

local function has_flag(hop, flag)
  for _, have in ipairs(hop.flags or {}) do
    if have == flag then
      return true
    end
  end
  return false
end

-- The next hop as the kernel would resolve it: its device, from the route to the gateway where none is given.
local function resolve(space, verb, args, hop, family)
  local dev
  if hop.dev ~= nil or hop.ifindex ~= nil then
    dev = model.link_of(space, verb, "route", { dst = args.dst, dev = hop.dev, ifindex = hop.ifindex })
  end
  local via = hop.gateway or type(hop.via) == "table" and hop.via.host
  if via then
    local gateway = core.cidr(tostring(via))
    local down = dev and not dev.up
    if family == "inet6" and is_local(space, gateway) then
      space:refuse(verb, "route", args, "EINVAL", "Gateway can not be a local address")
    elseif has_flag(hop, "onlink") then
      if not dev then
        space:refuse(verb, "route", args, family == "inet" and "ENODEV" or "EINVAL",
          "Nexthop device required for onlink")
      elseif down then
        space:refuse(verb, "route", args, "ENETDOWN", "Nexthop device is not up")
      end
    else
      local way = lookup(space, gateway, function(route)
        return not route.gateway and not route.nexthops and (not dev or route.link == dev)
      end)
      if not way and not (family == "inet6" and dev and gateway.address:find("^fe80")) then
        space:refuse(verb, "route", args, family == "inet" and "ENETUNREACH" or "EHOSTUNREACH",
          family == "inet" and "Nexthop has invalid gateway" or nil)
      end
      dev = dev or way.link
    end
  elseif not dev then
    space:refuse(verb, "route", args, "ENODEV")
  elseif not dev.up then
    space:refuse(verb, "route", args, "ENETDOWN", family == "inet" and "Device for nexthop is not up"
      or "Nexthop device is not up")
  end
  return {
    link = dev, gateway = hop.gateway and core.cidr(tostring(hop.gateway)).address, via = copy(hop.via),
    weight = hop.weight, flags = copy(hop.flags),
  }
end

local function new_route(space, verb, args)
  local family = objects.family_of(args)
  local dst = "default"
  if args.dst ~= nil and tostring(args.dst) ~= "default" then
    local cidr = core.cidr(tostring(args.dst))
    if cidr ~= cidr.network then
      space:refuse(verb, "route", args, "EINVAL", "Invalid prefix for given prefix length")
    end
    dst = cidr.prefix == 0 and "default" or cidr:is_host() and cidr.address or tostring(cidr)
  end
  local kind = args.type or "unicast"
  local route = {
    family = family, dst = dst, table = objects.name("table", args.table or "main"), type = kind,
    protocol = objects.name("protocol", args.protocol or "boot"), tos = args.tos,
    metric = args.metric or family == "inet6" and 1024 or nil, metrics = copy(args.metrics),
    prefsrc = args.prefsrc and core.cidr(tostring(args.prefsrc)).address,
  }
  if route.metric == 0 and family == "inet" then
    route.metric = nil
  end
  if args.nexthops then
    route.nexthops = {}
    for i, hop in ipairs(args.nexthops) do
      route.nexthops[i] = resolve(space, verb, args, hop, family)
    end
  elseif not no_device[kind] then
    for key, value in pairs(resolve(space, verb, args, args, family)) do
      route[key] = value
    end
  elseif family == "inet6" then
    route.link = model.find_link(space, "lo")
  end
  if route.prefsrc and not is_local(space, core.cidr(route.prefsrc)) then
    space:refuse(verb, "route", args, "EINVAL", family == "inet" and "Invalid prefsrc address"
      or "Invalid source address")
  end
  local direct = not route.gateway and not route.via and not route.nexthops and not no_device[kind]
  route.scope = family == "inet" and (args.scope and objects.name("scope", args.scope)
    or kind == "local" and "host" or direct and "link") or "global"
  route.flags = route.flags or {}
  return route
end

local function find_route(space, made)
  for i, route in ipairs(space.routes) do
    if route.family == made.family and route.dst == made.dst and route.table == made.table
      and (route.tos or 0) == (made.tos or 0) and (route.metric or 0) == (made.metric or 0) then
      return route, i
    end
  end
end

local route = {}

function route.add(space, args)
  local made = new_route(space, "add", args)
  if find_route(space, made) then
    space:refuse("add", "route", args, "EEXIST")
  end
  table.insert(space.routes, made)
  space:event("new", "route", view_entry(made))
end

function route.append(space, args)
  local made = new_route(space, "append", args)
  table.insert(space.routes, made)
  space:event("new", "route", view_entry(made))
end

function route.replace(space, args)
  local made = new_route(space, "replace", args)
  local _, index = find_route(space, made)
  if index then
    space.routes[index] = made
  else
    table.insert(space.routes, made)
  end
  space:event("new", "route", view_entry(made))
end

-- A deletion names what it likes of a route; the first that fits goes.
function route.del(space, args)
  local wanted = copy(args)
  wanted.family, wanted.table = objects.family_of(args), wanted.table or "main"
  wanted.dst = wanted.dst or "default"
  for i, have in ipairs(space.routes) do
    local seen = view_entry(have)
    if (not wanted.metric and true or wanted.metric == (seen.metric or 0))
      and objects.matches("route", wanted, setmetatable({ metric = wanted.metric }, { __index = seen })) then
      table.remove(space.routes, i)
      space:event("del", "route", seen)
      return
    end
  end
  space:refuse("del", "route", args, "ESRCH")
end

-- A host address alone asks the kernel's look-up: which way traffic to it goes; nil when there is none. With a prefix,
-- or any of the keys that a look-up has no use for, the entry of the table is meant.
function route.get(space, args)
  local address = args.dst ~= nil and core.cidr.parse(tostring(args.dst))
  if not address or not address:is_host() or args.table or args.protocol or args.metric or args.type or args.scope
    or args.gateway then
    for _, have in ipairs(views(space.routes)) do
      if objects.matches("route", args, have) then
        return have
      end
    end
    return nil
  end
  local own = is_local(space, address)
  if own then
    return {
      family = address.family, type = "local", dst = address.address, dev = "lo", table = "local",
      prefsrc = address.address,
    }
  end
  local way = lookup(space, address)
  if not way or no_device[way.type] then
    return nil
  end
  local hop = way.nexthops and way.nexthops[1] or way
  local source = way.prefsrc
  for _, have in ipairs(not source and space.addrs or {}) do
    if have.link == hop.link and have.family == address.family then
      source = core.cidr(have.address).address
      break
    end
  end
  return {
    family = address.family, type = "unicast", dst = address.address, gateway = hop.gateway, dev = hop.link.ifname,
    ifindex = hop.link.ifindex, prefsrc = source, table = way.table, metrics = copy(way.metrics),
  }
end

function route.dump(space)
  return views(space.routes)
end

return route
