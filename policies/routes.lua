-- SPDX-License-Identifier: Apache-2.0
-- routes: a way to every other node's pods, as the cloud's route table was for kubenet. A policy of the agent.

local mncni = require "mncni"
local routes = mncni.routes

local policy = {}

policy.options = {
  mode = {
    type = "string", choices = { "auto", "direct", "vxlan" }, default = "auto",
    doc = "direct: by the network's own routers and switches, which then have to know the pods' ranges where a node is "
      .. "behind a gateway; vxlan: carried in UDP; auto: direct to a node on the same link, where the network lets it",
  },
  vni = { type = "integer", min = 1, max = 16777215, default = 78, doc = "VXLAN network, the same on all nodes" },
  port = { type = "integer", min = 1, max = 65535, default = 8472, doc = "UDP port; 8472 is flannel's and Linux's" },
  device = { type = "string", min = 1, max = 14, default = "mncni-vxlan", doc = "link; over IPv6 a 6 is appended" },
  cluster_cidrs = {
    type = "list", of = { type = "cidr" }, default = {},
    doc = "the cluster's pod ranges: what no node has of them is unreachable, and does not leave by the default route",
  },
  metric = {
    type = "integer", min = 1025, max = 0x7fffffff, default = 2048,
    doc = "of blackhole routes, and one more of unreachable ones; worse than the bridge's and any other",
  },
}

function policy.desired(world, conf)
  local links, addresses, list, neighbours, fdb, sysctls = {}, {}, {}, {}, {}, {}
  local warnings, presumed = routes.warnings(), conf.mode == "direct"
  local fabric = conf.mode == "vxlan" and {} or {
    inet = routes.fabric(world, "inet", presumed), inet6 = routes.fabric(world, "inet6", presumed),
  }
  local tunnels = conf.mode == "direct" and {} or routes.tunnels(world, conf.device)
  for _, tunnel in ipairs(tunnels) do
    tunnel.vxlan.id, tunnel.vxlan.port = conf.vni, conf.port
    table.insert(links, {
      ifname = tunnel.dev, kind = "vxlan", vxlan = tunnel.vxlan, address = tunnel.mac, mtu = tunnel.mtu, up = true,
    })
  end

  local has = {} -- families that there are pods of here
  for _, cidr in ipairs(world.node.pod_cidrs) do
    local v4 = cidr.family == "inet"
    has[cidr.family] = true
    routes.forwarding(world, cidr.family, sysctls)
    table.insert(list, { type = "blackhole", dst = tostring(cidr), metric = conf.metric })
    -- What the node itself sends through a tunnel needs a source that is answered through it.
    for _, tunnel in ipairs(tunnels) do
      local address = cidr.address .. (v4 and "/32" or "/128")
      table.insert(addresses, { dev = tunnel.dev, address = address, flags = not v4 and { "nodad" } or nil })
    end
  end
  for _, cidr in ipairs(routes.cluster(world, conf.cluster_cidrs, warnings)) do
    table.insert(list, { type = "unreachable", dst = tostring(cidr), metric = conf.metric + 1 })
  end

  local known = {}
  for peer, cidr, dst in routes.pod_cidrs(world, warnings) do
    local way, why, of = routes.way(world, peer, cidr.family, tunnels, conf.mode, fabric)
    if not way then
      warnings:add(why, (of or peer).name)
    elseif not way.tunnel then
      table.insert(list, { dst = dst, gateway = way.gateway, dev = way.dev })
    elseif has[cidr.family] then
      -- The peer's end of the tunnel has the first address of its range, which no pod gets, or an IPv6 one of the link.
      local v4, dev, key = cidr.family == "inet", way.tunnel.dev, way.tunnel.dev .. way.mac
      local gateway = v4 and cidr.address or way.link_local
      table.insert(list, { dst = dst, gateway = gateway, dev = dev, flags = v4 and { "onlink" } or nil })
      if not known[dev .. gateway] then
        table.insert(neighbours, { dev = dev, dst = gateway, lladdr = way.mac, state = { "permanent" } })
      end
      if not known[key] then
        table.insert(fdb, { dev = dev, mac = way.mac, dst = way.address, state = { "permanent" } })
      end
      known[key], known[dev .. gateway] = true, true
    end
  end
  return {
    links = links, addresses = addresses, routes = list, neighbours = neighbours, fdb = fdb, sysctls = sysctls,
    warnings = warnings:lines(), notes = routes.notes(fabric), unready = warnings:of(world.node.name),
  }
end

return policy
