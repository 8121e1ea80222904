-- SPDX-License-Identifier: Apache-2.0
-- What the parts of the recorded net share: links, addresses, routes, rules, neighbours, fdb entries and namespace ids of
-- one namespace ("space"), each a list of tables in it, with the refusals of the kernel (net/core/rtnetlink.c,
-- net/ipv4/fib_semantics.c, net/ipv6/route.c).
--
-- Not modelled: the local table, IPv6 link-local addresses, carrier, address lifetimes passing, MAC learning.

local core = require "mncni.core"

local model = {}

-- A deep copy with addresses as strings; a namespace's marker stays itself.
function model.copy(value)
  if type(value) == "userdata" then
    return tostring(value)
  elseif type(value) ~= "table" or (getmetatable(value) or {}).mncni_marker then
    return value
  end
  local made = {}
  for key, item in pairs(value) do
    made[key] = model.copy(item)
  end
  return made
end

-- Sets the fields of one table in another.
function model.merge(into, from)
  for key, value in pairs(from) do
    into[key] = model.copy(value)
  end
end

-- Takes out of a list what unwanted(item) says.
function model.drop(list, unwanted)
  for i = #list, 1, -1 do
    if unwanted(list[i]) then
      table.remove(list, i)
    end
  end
end

-- The link of that name or, without one, of that index; nil when there is none.
function model.find_link(space, name, index)
  for _, link in ipairs(space.links) do
    if name and link.ifname == name or not name and link.ifindex == index then
      return link
    end
  end
end

-- The link that `dev` (a name or an index) or `ifindex` names; raises ENODEV.
function model.link_of(space, verb, object, args, key)
  key = key or "dev"
  local dev = args[key]
  if dev == nil and key == "dev" then
    dev = args.ifindex
  end
  local link
  if math.type(dev) == "integer" then
    link = model.find_link(space, nil, dev)
  elseif dev ~= nil then
    link = model.find_link(space, tostring(dev))
  end
  return link or space:refuse(verb, object, args, "ENODEV")
end

-- Gives an address of a link that is up the route to its network, as the kernel does.
function model.connected(space, link, addr)
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

-- An address, route, rule, neighbour or fdb entry as a caller sees it.
function model.view_entry(entry)
  local seen = {}
  for key, value in pairs(entry) do
    if key == "link" then
      seen.dev, seen.ifindex = value.ifname, value.ifindex
    elseif key == "nexthops" then
      seen.nexthops = {}
      for i, hop in ipairs(value) do
        seen.nexthops[i] = model.view_entry(hop)
        seen.nexthops[i].ifindex = nil
      end
    elseif key ~= "of" and key ~= "noprefixroute" then
      seen[key] = model.copy(value)
    end
  end
  return seen
end

-- The same of a list of them.
function model.views(list)
  local seen = {}
  for i, entry in ipairs(list) do
    seen[i] = model.view_entry(entry)
  end
  return seen
end

return model
