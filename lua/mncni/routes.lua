-- SPDX-License-Identifier: Apache-2.0
-- Ways between nodes, for the policy routes: which peers' ranges can be routed, whether a packet may go as it is
-- (directly) or has to be carried to the other node (VXLAN, RFC 7348), and what the tunnel looks like. Pure functions of
-- the world that a policy's desired is given.

local core = require "mncni.core"

local routes = {}

-- Bytes that VXLAN puts in front of a packet: outer IP, UDP (8), VXLAN (8), inner Ethernet (14).
routes.OVERHEAD = { inet = 50, inet6 = 70 }

local spoken = { inet = "IPv4", inet6 = "IPv6" }
local order = { "inet", "inet6" }

-- What is worked out of a node once, for as long as it is the same: its address and tunnel's MAC by family, and its
-- ranges as { cidr, text, family, inside = whether its own address is in it }, with the last refusal and what it was
-- judged by.
local facts_of = setmetatable({}, { __mode = "k" })

local function facts(node)
  local known = facts_of[node]
  if known and known.pod_cidrs == node.pod_cidrs and known.addresses == node.addresses then
    return known
  end
  known = {
    pod_cidrs = node.pod_cidrs, addresses = node.addresses, inet = node:address "inet", inet6 = node:address "inet6",
    mac = {}, link_local = {}, ranges = {},
  }
  for i, cidr in ipairs(node.pod_cidrs) do
    local family = cidr.family
    known.ranges[i] = {
      cidr = cidr, text = tostring(cidr), family = family,
      inside = known[family] and cidr:contains(known[family]) or false,
    }
  end
  facts_of[node] = known
  return known
end

-- mac(address) is the MAC address that the tunnel of the node with this InternalIP has, on every node alike:
-- 4e:43 and the four bytes of an IPv4 address; of an IPv6 address a hash of 46 bits. Locally administered, unicast.
function routes.mac(address)
  local value = core.cidr(address)
  if value.family == "inet6" then
    return require("mncni.pod").mac(value.bytes)
  end
  return ("4e:43:%02x:%02x:%02x:%02x"):format(value.bytes:byte(1, 4))
end

-- link_local(mac) is the IPv6 address of a link that goes with a MAC address (RFC 4291, appendix A). As a gateway it has
-- the advantage that the kernel takes no other that a route over another device leads to, even if that route is the one
-- to be replaced.
function routes.link_local(mac)
  local bytes = {}
  for byte in mac:gmatch "%x%x" do
    bytes[#bytes + 1] = tonumber(byte, 16)
  end
  return core.cidr(("fe80::%x:%x:%x:%x"):format((bytes[1] ~ 2) << 8 | bytes[2], bytes[3] << 8 | 0xff,
    0xfe00 | bytes[4], bytes[5] << 8 | bytes[6])).address
end

-- Providers whose network looks at where a packet goes, and not at the next hop that a node chose; by providerID.
local strict = {
  azure = "routes by destination and drops what it does not know",
  gce = "routes by destination and drops what it does not know",
  aws = "drops what is not from and for an instance, unless its source/destination check is off",
  openstack = "drops what is not from and for a port, unless its port security allows it",
}

-- fabric(world, family) tells, as text, why the network between the nodes will not carry a packet to the next hop
-- that a node chooses, or that this is not known (unless it is to be presumed to); nil when it will. That is
-- world.fabric, which waits for an answer, or what can be said without.
function routes.fabric(world, family, presumed)
  local provider = (world.node.provider_id or ""):match "^(%w+):"
  if strict[provider] then
    return ("the network of %s %s"):format(provider, strict[provider])
  end
  local verdict
  if world.fabric and not presumed then
    verdict = world.fabric[family]
  else
    verdict = require("mncni.fabric").judge(world, family)
  end
  return verdict and not verdict.forwards and not (presumed and verdict.unknown) and verdict.why or nil
end

-- notes(fabric) is what people are told of the network, by family: a list of lines.
function routes.notes(fabric)
  local lines = {}
  for _, family in ipairs(order) do
    if fabric[family] then
      lines[#lines + 1] = ("no direct routes over %s: %s"):format(spoken[family], fabric[family])
    end
  end
  return lines
end

-- What is said of several nodes is said once: reason -> names.
local Warnings = {}
Warnings.__index = Warnings

-- add(reason, name) notes why something of a node (or "") is left out; each name once.
function Warnings:add(reason, name)
  local names = self.names[reason] or { known = {} }
  self.names[reason] = names
  if not names.known[name] then
    names.known[name] = true
    table.insert(names, name)
  end
end

-- The reasons that one name has, sorted.
function Warnings:of(name)
  local reasons = {}
  for reason, names in pairs(self.names) do
    if names.known[name] then
      reasons[#reasons + 1] = reason
    end
  end
  table.sort(reasons)
  return reasons
end

-- One line for each reason, sorted.
function Warnings:lines()
  local lines = {}
  for reason, names in pairs(self.names) do
    local shown = table.concat(names, ", ", 1, math.min(#names, 5))
    lines[#lines + 1] = ("%s%s: %s"):format(shown, #names > 5 and (" and %d more"):format(#names - 5) or "", reason)
  end
  table.sort(lines)
  return lines
end

function routes.warnings()
  return setmetatable({ names = {} }, Warnings)
end

-- What no route may lead away, by family: { { cidr, how to say that } } of this node's own ranges and of the addresses
-- by which it is reached. The second result is a text that is the same for the same ones.
local function kept(world, own)
  local list, text = { inet = {}, inet6 = {} }, {}
  for _, cidr in ipairs(own) do
    text[#text + 1] = tostring(cidr)
    table.insert(list[cidr.family], { cidr, "its range %s overlaps this node's " .. text[#text] })
  end
  for _, family in ipairs(order) do
    local gateway = (world.gateway or {})[family] or {}
    for _, address in pairs { world.node:address(family), gateway.address } do
      local why = ("its range %%s has %s in it, by which this node is reached"):format(address)
      table.insert(list[family], { core.cidr(address), why })
      text[#text + 1] = address
    end
  end
  return list, table.concat(text, " ")
end

-- Why a range may not be routed elsewhere, or nil.
local function refusal(cidr, keeps)
  for _, keep in ipairs(keeps) do
    if keep[1]:overlaps(cidr) then
      return keep[2]:format(tostring(cidr))
    end
  end
end

-- pod_cidrs(world, warnings) iterates over peer, cidr and its text, for every range that can be routed to a peer: each
-- once, none that would cut this node off. Says of the others why not.
function routes.pod_cidrs(world, warnings)
  local keeps, judge = kept(world, world.node.pod_cidrs)
  local taken, peers, ranges = {}, {}, {}
  for _, peer in ipairs(world.peers) do
    for _, range in ipairs(facts(peer).ranges) do
      local text = range.text
      if range.judge ~= judge then
        range.judge, range.refusal = judge, refusal(range.cidr, keeps[range.family])
      end
      local why = range.refusal or range.inside and ("its range %s has its own address in it"):format(text)
        or taken[text] and ("its range %s is %s's already"):format(text, taken[text])
      if why then
        warnings:add(why, peer.name)
      else
        taken[text] = peer.name
        peers[#peers + 1], ranges[#ranges + 1] = peer, range
      end
    end
  end
  local i = 0
  return function()
    i = i + 1
    if peers[i] then
      return peers[i], ranges[i].cidr, ranges[i].text
    end
  end
end

-- cluster(world, cidrs, warnings) returns those of the cluster's ranges that can be made unreachable where no node has
-- them: not one that this node is reached by.
function routes.cluster(world, cidrs, warnings)
  local keeps, list = kept(world, {}), {}
  for _, cidr in ipairs(cidrs) do
    local why = refusal(cidr.network, keeps[cidr.family])
    if why then
      warnings:add(why, "cluster_cidrs")
    else
      list[#list + 1] = cidr.network
    end
  end
  return list
end

-- forwarding(world, family, sysctls) adds to sysctls what makes this node a router. A kernel that forwards IPv6 drops the
-- default routes that router advertisements gave it, and hears no more of them, unless accept_ra is 2 on their links
-- before (Documentation/networking/ip-sysctl.rst).
function routes.forwarding(world, family, sysctls)
  if family == "inet" then
    sysctls["net.ipv4.ip_forward"] = "1"
    return
  end
  local keys = {}
  for i, dev in ipairs(world.advertised or {}) do
    keys[i] = ("net/ipv6/conf/%s/accept_ra"):format(dev)
    sysctls[keys[i]] = "2"
  end
  sysctls["net.ipv6.conf.all.forwarding"] = #keys > 0 and { value = "1", after = keys } or "1"
end

-- tunnels(world, device) returns the tunnels that this node takes part in, the better first: { family, dev, address,
-- mac, mtu, vxlan }. A VXLAN device speaks one family on the outside and carries both. That over IPv6 is there only
-- where this node, or a peer, has no IPv4.
function routes.tunnels(world, device)
  local list = {}
  local function add(family, dev)
    local address, link = world.node:address(family), (world.underlay or {})[family]
    if address and link then
      list[#list + 1] = {
        family = family, dev = dev, address = address, mac = routes.mac(address),
        mtu = link.mtu and link.mtu - routes.OVERHEAD[family] or nil,
        vxlan = { [family == "inet" and "local" or "local6"] = address, learning = false },
      }
    end
  end
  add("inet", device)
  local needed = #list == 0
  for _, peer in ipairs(world.peers) do
    needed = needed or not facts(peer).inet
  end
  if needed then
    add("inet6", device .. "6")
  end
  return list
end

-- Why this node has no tunnel at all: none of its addresses is on a link. Said once, of this node.
local function without_underlay(world)
  local addresses = {}
  for _, family in ipairs(order) do
    addresses[#addresses + 1] = world.node:address(family)
  end
  if #addresses == 0 then
    return "this node has no address in the list of nodes, so that no packet can be carried to others; set one "
      .. "(kubelet --node-ip)"
  end
  return ("this node's address %s is on no link, so that no packet can be carried to others; add it to a link, or "
    .. "correct the list of nodes (kubelet --node-ip), or --node if this is another one"):format(
    table.concat(addresses, ", "))
end

-- way(world, peer, family, tunnels, mode, fabric) tells how packets of a family reach a peer's pods; mode is "auto",
-- "direct" or "vxlan", and fabric what fabric() said, by family. Returns { gateway, dev } to go directly,
-- { tunnel, mac, link_local, address } to be carried, or nil, the reason why there is no way, and the node that this is
-- a reason of.
function routes.way(world, peer, family, tunnels, mode, fabric)
  local known = facts(peer)
  local address = known[family]
  local reach = world.reach and world.reach[peer.name]
  reach = reach and reach[family]
  if address and address == facts(world.node)[family] then
    return nil, ("it has this node's own address %s; is it a Node object that was left over?"):format(address)
  elseif mode == "direct" then
    if not address then
      return nil, ("it has no %s address"):format(spoken[family])
    elseif reach and reach.error then
      return nil, ("no way to %s: %s"):format(address, reach.error)
    end
    return { gateway = reach and reach.gateway or address, dev = reach and reach.dev }
  elseif mode == "auto" and address and reach and not reach.gateway and not reach.error
    and not fabric[family] then
    return { gateway = address, dev = reach.dev }
  end
  for _, tunnel in ipairs(tunnels) do
    local outer = known[tunnel.family]
    if outer then
      local mac = known.mac[tunnel.family] or routes.mac(outer)
      known.mac[tunnel.family] = mac
      known.link_local[tunnel.family] = known.link_local[tunnel.family] or routes.link_local(mac)
      return { tunnel = tunnel, mac = mac, link_local = known.link_local[tunnel.family], address = outer }
    end
  end
  if #tunnels == 0 then
    return nil, without_underlay(world), world.node
  end
  return nil, "it has no address of a family that this node has one of", peer
end

return routes
