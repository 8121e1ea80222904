-- SPDX-License-Identifier: Apache-2.0
-- The model behind the recorded net: links, addresses, routes, rules, neighbours, fdb entries and namespace ids of one
-- namespace, with the refusals of the kernel (net/core/rtnetlink.c, net/ipv4/fib_semantics.c, net/ipv6/route.c).
--
-- Not modelled: the local table, IPv6 link-local addresses, carrier, address lifetimes passing, MAC learning.

local core = require "mncni.core"
local objects = require "mncni.objects"

local model = {}

local kinds = {}
for _, kind in ipairs { "bridge", "veth", "dummy", "vlan", "vxlan", "macvlan", "ipvlan", "ifb", "vrf", "wireguard",
  "netkit", "tun", "gre", "sit", "ipip", "nlmon" } do
  kinds[kind] = true
end

-- A deep copy with addresses as strings; a namespace's marker stays itself.
local function copy(value)
  if type(value) == "userdata" then
    return tostring(value)
  elseif type(value) ~= "table" or (getmetatable(value) or {}).mncni_marker then
    return value
  end
  local made = {}
  for key, item in pairs(value) do
    made[key] = copy(item)
  end
  return made
end
model.copy = copy

local function merge(into, from)
  for key, value in pairs(from) do
    into[key] = copy(value)
  end
end

-- Links ---------------------------------------------------------------------------------------------------------------

local function find_link(space, name, index)
  for _, link in ipairs(space.links) do
    if name and link.ifname == name or not name and link.ifindex == index then
      return link
    end
  end
end

-- The link that `dev` (a name or an index) or `ifindex` names; raises ENODEV.
local function link_of(space, verb, object, args, key)
  key = key or "dev"
  local dev = args[key]
  if dev == nil and key == "dev" then
    dev = args.ifindex
  end
  local link
  if math.type(dev) == "integer" then
    link = find_link(space, nil, dev)
  elseif dev ~= nil then
    link = find_link(space, tostring(dev))
  end
  return link or space:refuse(verb, object, args, "ENODEV")
end

local function view_link(space, link)
  local seen = {}
  for key, value in pairs(link) do
    if key ~= "peer" and key ~= "master" and key ~= "lower" and key ~= "space"
      and key ~= "mtu_was_set" then
      seen[key] = copy(value)
    end
  end
  if link.master then
    seen.master = link.master.ifname
  end
  local other = link.peer or link.lower
  if other and other.space == space then
    seen.link = other.ifname
  elseif other then
    seen.link = other.ifindex
    seen.link_netnsid = space:nsid_of(other.space)
  end
  local running = link.up and (not link.peer or link.peer.up)
  seen.operstate = not link.up and "DOWN" or link.ifname == "lo" and "UNKNOWN" or running and "UP" or "LOWERLAYERDOWN"
  seen.flags = link.ifname == "lo" and { "LOOPBACK" } or { "BROADCAST", "MULTICAST" }
  if link.up then
    table.insert(seen.flags, "UP")
    if running then
      table.insert(seen.flags, "LOWER_UP")
    end
  end
  seen.group = link.group ~= 0 and link.group or "default"
  seen.promisc, seen.allmulti = link.promisc or false, link.allmulti or false
  seen.up = link.up or false
  return seen
end

local function check_name(space, verb, args, name)
  if #name > 15 then
    space:refuse(verb, "link", args, "ERANGE", "Attribute failed policy validation", "IFLA_IFNAME")
  elseif name == "" or name == "." or name == ".." or name:find("[/:%s]") then
    space:refuse(verb, "link", args, "EINVAL", nil, "IFLA_IFNAME")
  end
end

local function check_values(space, verb, args, link)
  local most = link.kind == "bridge" and 65535 or link.ifname == "lo" and 4294967295 or 65535
  if args.mtu and args.mtu < (link.ifname == "lo" and 0 or 68) then
    space:refuse(verb, "link", args, "EINVAL", "mtu less than device minimum")
  elseif args.mtu and args.mtu > most then
    space:refuse(verb, "link", args, "EINVAL", "mtu greater than device maximum")
  end
  local first = args.address and tonumber(tostring(args.address):sub(1, 2), 16)
  if first and first % 2 == 1 then
    space:refuse(verb, "link", args, "EADDRNOTAVAIL") -- a multicast MAC
  end
end

local function drop(list, unwanted)
  for i = #list, 1, -1 do
    if unwanted(list[i]) then
      table.remove(list, i)
    end
  end
end

local function uses(link)
  return function(route)
    if route.link == link then
      return true
    end
    for _, hop in ipairs(route.nexthops or {}) do
      if hop.link == link then
        return true
      end
    end
    return false
  end
end

local function connected(space, link, addr)
  local cidr = core.cidr(addr.address)
  if addr.noprefixroute or not link.up or link.ifname == "lo" or cidr.family == "inet" and cidr.prefix == 32 then
    return
  end
  table.insert(space.routes, {
    family = cidr.family, dst = tostring(cidr.network), table = "main", protocol = "kernel",
    scope = cidr.family == "inet" and "link" or "global", type = "unicast", link = link,
    prefsrc = cidr.family == "inet" and cidr.address or nil, metric = cidr.family == "inet6" and 256 or nil,
    of = addr,
  })
end

local function set_up(space, link, up)
  if (link.up or false) == up then
    return
  end
  link.up = up
  if not up then
    drop(space.routes, uses(link))
    drop(space.addrs, function(addr)
      return addr.link == link and addr.family == "inet6" and link.ifname ~= "lo"
    end)
    return
  end
  if link.ifname == "lo" and #space.addrs == 0 then
    for _, address in ipairs { "127.0.0.1/8", "::1/128" } do
      table.insert(space.addrs, {
        family = address:find(":") and "inet6" or "inet", address = address, link = link, scope = "host",
        label = not address:find(":") and "lo" or nil, flags = { "permanent" },
      })
    end
  end
  for _, addr in ipairs(space.addrs) do
    if addr.link == link then
      connected(space, link, addr)
    end
  end
end

-- A bridge whose MTU nobody set has the smallest of its ports' (net/bridge/br_if.c, br_mtu_auto_adjust).
local function adjust_mtu(space, bridge)
  if bridge.kind ~= "bridge" or bridge.mtu_was_set then
    return
  end
  local least
  for _, port in ipairs(space.links) do
    if port.master == bridge and (not least or port.mtu < least) then
      least = port.mtu
    end
  end
  bridge.mtu = least or 1500
end

local function set_master(space, verb, args, link)
  if args.master == nil then
    return
  elseif args.master == false or args.master == 0 then
    local left = link.master
    link.master, link.bridge_slave = nil, nil
    if left then
      adjust_mtu(space, left)
    end
    return
  end
  local master = link_of(space, verb, "link", args, "master")
  if master.kind ~= "bridge" and master.kind ~= "vrf" and master.kind ~= "bond" and master.kind ~= "team" then
    space:refuse(verb, "link", args, "EOPNOTSUPP")
  elseif link.kind == "bridge" and master.kind == "bridge" then
    space:refuse(verb, "link", args, "ELOOP", "Can not enslave a bridge to a bridge")
  end
  link.master = master
  adjust_mtu(space, master)
end

-- A MAC that is the same in every run, so that what a spec sees is stable.
local function next_mac(world)
  world.macs = (world.macs or 0) + 1
  return ("02:00:00:00:%02x:%02x"):format(world.macs // 256 % 256, world.macs % 256)
end

local fields_of_a_link = {
  "mtu", "address", "broadcast", "promisc", "allmulti", "txqlen", "group", "addrgenmode", "ifalias", "bridge", "vlan",
  "vxlan", "macvlan", "ipvlan", "vrf",
}

local function new_link(space, args, kind)
  local link = {
    ifname = args.ifname, kind = kind, mtu = 1500, space = space, group = 0, up = false,
    address = next_mac(space.world), txqlen = 1000, ifindex = space:next_index(args.ifindex),
  }
  for _, key in ipairs(fields_of_a_link) do
    if args[key] ~= nil then
      link[key] = copy(args[key])
    end
  end
  link.mtu_was_set = args.mtu ~= nil
  table.insert(space.links, link)
  return link
end

-- The name the kernel chooses when none is given: veth0, veth1, ...
local function free_name(space, kind)
  local i = 0
  while find_link(space, kind .. i) do
    i = i + 1
  end
  return kind .. i
end

local link = {}

function link.add(space, args)
  local kind = args.kind
  local at = args.netns and space.world:space_of(args.netns) or space
  args = copy(args)
  args.ifname = args.ifname or free_name(at, kind or "dev")
  check_name(space, "add", args, args.ifname)
  if find_link(at, args.ifname) then
    space:refuse("add", "link", args, "EEXIST")
  elseif not kind or not kinds[kind] then
    space:refuse("add", "link", args, "EOPNOTSUPP", "Unknown device type", "IFLA_LINKINFO")
  end
  local lower
  if args.link then
    lower = link_of(space, "add", "link", args, "link")
  end
  if args.master then
    link_of(at, "add", "link", args, "master")
  end
  check_values(space, "add", args, args)
  local peer_space, peer_args
  if kind == "veth" then
    peer_args = args.peer or {}
    peer_space = peer_args.netns and space.world:space_of(peer_args.netns) or space
    peer_args.ifname = peer_args.ifname or free_name(peer_space, "veth")
    check_name(space, "add", peer_args, peer_args.ifname)
    if peer_args.up then
      -- The kernel says ENOTCONN, for the peer of the peer does not exist yet; the codec does not ask it.
      error(core.error {
        op = "add", object = space.named("link", args), netns = space.name, attribute = "peer.up (ifi_flags)",
        message = "a peer cannot be set up while it is created; set it up afterwards",
      }, 0)
    elseif find_link(peer_space, peer_args.ifname) or peer_space == at and peer_args.ifname == args.ifname then
      space:refuse("add", "link", args, "EEXIST")
    end
    check_values(space, "add", peer_args, peer_args)
  end
  local peer = kind == "veth" and new_link(peer_space, peer_args, kind)
  local made = new_link(at, args, kind)
  if peer then
    made.peer, peer.peer = peer, made
  end
  made.lower = lower
  set_master(at, "add", args, made)
  if args.bridge_slave then
    made.bridge_slave = copy(args.bridge_slave)
  end
  set_up(at, made, args.up or false)
  space:event("new", "link", view_link(at, made))
end

local function find_for(space, verb, args)
  return find_link(space, args.ifname, args.ifindex)
    or space:refuse(verb, "link", args, "ENODEV")
end

function link.set(space, args)
  local found = args.ifindex and find_link(space, nil, args.ifindex)
    or find_for(space, "set", { ifname = args.ifname, ifindex = args.ifindex })
  if args.kind and found.kind ~= args.kind then
    space:refuse("set", "link", args, "EOPNOTSUPP", nil, "IFLA_LINKINFO")
  end
  check_values(space, "set", args, found)
  if args.ifindex and args.ifname and args.ifname ~= found.ifname then
    check_name(space, "set", args, args.ifname)
    if find_link(space, args.ifname) then
      space:refuse("set", "link", args, "EEXIST")
    end
  end
  set_master(space, "set", args, found)
  if args.bridge_slave then
    if not found.master then
      space:refuse("set", "link", args, "EOPNOTSUPP")
    end
    found.bridge_slave = found.bridge_slave or {}
    merge(found.bridge_slave, args.bridge_slave)
  end
  for _, key in ipairs(fields_of_a_link) do
    if key == "group" and args.group == "default" then
      found.group = 0
    elseif type(args[key]) == "table" then
      found[key] = found[key] or {}
      merge(found[key], args[key])
    elseif args[key] ~= nil then
      found[key] = args[key]
    end
  end
  if args.mtu then
    found.mtu_was_set = true
    if found.master then
      adjust_mtu(space, found.master)
    end
  end
  if args.ifindex and args.ifname then
    found.ifname = args.ifname
  end
  if args.up ~= nil then
    set_up(space, found, args.up)
  end
  local to = args.netns and space.world:space_of(args.netns)
  if to and to ~= space then
    if find_link(to, found.ifname) then
      space:refuse("set", "link", args, "EEXIST")
    end
    set_up(space, found, false)
    drop(space.addrs, function(addr)
      return addr.link == found
    end)
    drop(space.links, function(other)
      return other == found
    end)
    found.space, found.master = to, nil
    table.insert(to.links, found)
  end
  space:event("new", "link", view_link(found.space, found))
end

local function remove_link(space, gone)
  set_up(space, gone, false)
  space:event("del", "link", view_link(space, gone))
  for _, list in ipairs { space.addrs, space.neighs, space.fdbs } do
    drop(list, function(entry)
      return entry.link == gone
    end)
  end
  drop(space.routes, uses(gone))
  drop(space.links, function(other)
    return other == gone
  end)
  for _, other in ipairs(space.links) do
    if other.master == gone then
      other.master, other.bridge_slave = nil, nil
    end
  end
  local peer = gone.peer
  if peer then
    gone.peer, peer.peer = nil, nil
    remove_link(peer.space, peer)
  end
end

function link.del(space, args)
  if args.group and not args.ifname and not args.ifindex then
    local members = {}
    for _, other in ipairs(space.links) do
      if other.group == args.group and other.kind then
        members[#members + 1] = other
      end
    end
    if #members == 0 then
      space:refuse("del", "link", args, "ENODEV")
    end
    for _, member in ipairs(members) do
      remove_link(space, member)
    end
    return
  end
  local gone = find_for(space, "del", args)
  if not gone.kind then
    space:refuse("del", "link", args, "EOPNOTSUPP")
  end
  remove_link(space, gone)
end

function link.get(space, args)
  local found = find_link(space, args.ifname, args.ifindex)
  return found and view_link(space, found)
end

function link.dump(space)
  local list = {}
  for i, each in ipairs(space.links) do
    list[i] = view_link(space, each)
  end
  return list
end

-- Addresses -----------------------------------------------------------------------------------------------------------

local function view_entry(entry)
  local seen = {}
  for key, value in pairs(entry) do
    if key == "link" then
      seen.dev, seen.ifindex = value.ifname, value.ifindex
    elseif key == "nexthops" then
      seen.nexthops = {}
      for i, hop in ipairs(value) do
        seen.nexthops[i] = view_entry(hop)
        seen.nexthops[i].ifindex = nil
      end
    elseif key ~= "of" and key ~= "noprefixroute" then
      seen[key] = copy(value)
    end
  end
  return seen
end

local function views(list)
  local seen = {}
  for i, entry in ipairs(list) do
    seen[i] = view_entry(entry)
  end
  return seen
end

local function full_address(text)
  local cidr = core.cidr(tostring(text))
  return ("%s/%d"):format(cidr.address, cidr.prefix), cidr
end

local function find_addr(space, dev, address)
  for i, addr in ipairs(space.addrs) do
    if addr.link == dev and addr.address == address then
      return addr, i
    end
  end
end

local addr = {}

local function put_addr(space, verb, args)
  local dev = link_of(space, verb, "addr", args)
  local address, cidr = full_address(args.address)
  local made, old = find_addr(space, dev, address)
  if made and verb == "add" then
    space:refuse(verb, "addr", args, "EEXIST", cidr.family == "inet" and "ipv4: Address already assigned"
      or "ipv6: address already assigned")
  end
  local flags, noprefixroute = { "permanent" }, false
  for _, flag in ipairs(args.flags or {}) do
    flags[#flags + 1] = flag
    noprefixroute = noprefixroute or flag == "noprefixroute"
  end
  if made then
    table.remove(space.addrs, old)
    drop(space.routes, function(route)
      return route.of == made
    end)
  end
  made = {
    family = cidr.family, link = dev, address = address, flags = flags, noprefixroute = noprefixroute,
    scope = args.scope or "global",
    label = args.label or cidr.family == "inet" and dev.ifname or nil,
    broadcast = args.broadcast and tostring(args.broadcast), peer = args.peer and tostring(args.peer),
    valid_life_time = args.valid_life_time, preferred_life_time = args.preferred_life_time,
    metric = args.metric, protocol = args.protocol,
  }
  table.insert(space.addrs, made)
  connected(space, dev, made)
  space:event("new", "addr", view_entry(made))
end

function addr.add(space, args)
  put_addr(space, "add", args)
end

function addr.replace(space, args)
  put_addr(space, "replace", args)
end

function addr.del(space, args)
  local dev = link_of(space, "del", "addr", args)
  local gone, index = find_addr(space, dev, (full_address(args.address)))
  if not gone then
    space:refuse("del", "addr", args, "EADDRNOTAVAIL", core.cidr(tostring(args.address)).family == "inet"
      and "ipv4: Address not found" or "ipv6: address not found")
  end
  table.remove(space.addrs, index)
  local host = core.cidr(gone.address).address
  drop(space.routes, function(route)
    return route.of == gone or route.prefsrc == host and route.protocol ~= "kernel"
  end)
  space:event("del", "addr", view_entry(gone))
end

function addr.dump(space)
  return views(space.addrs)
end

-- Routes --------------------------------------------------------------------------------------------------------------

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
    dev = link_of(space, verb, "route", { dst = args.dst, dev = hop.dev, ifindex = hop.ifindex })
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
    route.link = find_link(space, "lo")
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

-- Rules, neighbours, fdb, namespace ids -------------------------------------------------------------------------------

local rule = {}

local function same_rule(wanted, have)
  return objects.matches("rule", wanted, have)
end

function rule.add(space, args)
  local made = copy(args)
  made.family, made.action = objects.family_of(args), args.action or "to_table"
  made.table = args.table and objects.name("table", args.table) or nil
  if made.action == "to_table" and not made.table then
    made.table = "main"
  end
  if not made.priority then
    made.priority = 32766
    for _, have in ipairs(space.rules) do
      if have.family == made.family and have.priority > 0 and have.priority <= made.priority then
        made.priority = have.priority - 1
      end
    end
  end
  for _, have in ipairs(space.rules) do
    if same_rule(made, have) and same_rule(have, made) then
      space:refuse("add", "rule", args, "EEXIST")
    end
  end
  local at = #space.rules + 1
  for i, have in ipairs(space.rules) do
    if have.priority > made.priority then
      at = i
      break
    end
  end
  table.insert(space.rules, at, made)
  space:event("new", "rule", made)
end

function rule.del(space, args)
  local wanted = copy(args)
  wanted.family = objects.family_of(args)
  for i, have in ipairs(space.rules) do
    if same_rule(wanted, have) then
      table.remove(space.rules, i)
      space:event("del", "rule", have)
      return
    end
  end
  space:refuse("del", "rule", args, "ENOENT")
end

function rule.dump(space)
  return views(space.rules)
end

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
    return views(space[list_name])
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
  if space.nsids[other] then
    space:refuse("add", "nsid", args, "EEXIST")
  end
  for _, used in pairs(space.nsids) do
    if used == args.nsid then
      space:refuse("add", "nsid", args, "ENOSPC")
    end
  end
  space:nsid_of(other, args.nsid)
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

model.objects = { link = link, addr = addr, route = route, rule = rule, neigh = neigh, fdb = fdb, nsid = nsid }

return model
