-- SPDX-License-Identifier: Apache-2.0
-- Links of the recorded net: see mncni.recorded_model.

local core = require "mncni.core"
local model = require "mncni.recorded_model"

local copy, drop, find_link, link_of = model.copy, model.drop, model.find_link, model.link_of

local kinds = {}
for _, kind in ipairs { "bridge", "veth", "dummy", "vlan", "vxlan", "macvlan", "macvtap", "ipvlan", "ifb", "vrf",
  "wireguard", "netkit", "tun", "gre", "sit", "ipip", "nlmon" } do
  kinds[kind] = true
end

-- The namespace that this one knows by a number; itself without one.
local function space_by_number(space, number)
  for other, id in pairs(space.nsids) do
    if id == number then
      return other
    end
  end
  return space
end

local function view_link(space, link)
  local seen = {}
  for key, value in pairs(link) do
    if key ~= "peer" and key ~= "master" and key ~= "lower" and key ~= "space" and key ~= "vlans"
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
      model.connected(space, link, addr)
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
    link.master, link.bridge_slave, link.vlans = nil, nil, nil
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
  "vxlan", "macvlan", "macvtap", "ipvlan", "vrf",
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
    lower = link_of(space_by_number(space, args.link_netnsid), "add", "link", args, "link")
    args.link_netnsid = nil
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
    model.merge(found.bridge_slave, args.bridge_slave)
  end
  for _, key in ipairs(fields_of_a_link) do
    if key == "group" and args.group == "default" then
      found.group = 0
    elseif type(args[key]) == "table" then
      found[key] = found[key] or {}
      model.merge(found[key], args[key])
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
  for _, list in ipairs { space.addrs, space.neighs, space.fdbs, space.qdiscs, space.classes, space.filters } do
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

return link
