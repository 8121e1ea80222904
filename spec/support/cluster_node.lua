-- SPDX-License-Identifier: Apache-2.0
-- One node of a cluster of specs (spec/support/cluster.lua): what spec/support/node.lua's node has, with an uplink on its
-- segment, pods that the plugin wires, routes to read and wait for, and agents.

local agent = require "spec.support.agent"
local clock = require "spec.support.clock"
local fabric = require "spec.support.fabric"
local mncni = require "mncni"
local nodes = require "spec.support.node"

local node = setmetatable({}, { __index = nodes })
node.__index = node

-- What a pod's ADD is told; a spec may change it before it adds pods.
local POD = { isDefaultGateway = true, ipMasq = false }

local function record(self)
  local fields = { name = self.name, addresses = {}, pod_cidrs = {}, provider_id = self.provider_id }
  for i, family in ipairs(self.families) do
    fields.addresses[i] = self.addresses[family]
    fields.pod_cidrs[i] = self.pod_cidrs[family]
  end
  return fields
end

-- The node's addresses and default routes, as a machine's own network configuration would make them.
local function configure(self)
  local lines = { "link set up0 up" }
  for _, family in ipairs(self.families) do
    local length = fabric.prefix(self.segment, family):match "/(%d+)$"
    lines[#lines + 1] = ("addr add %s/%s dev up0"):format(self.addresses[family], length)
  end
  for _, family in ipairs(self.families) do
    lines[#lines + 1] = ("%s route replace default via %s dev up0"):format(family == "inet" and "-4" or "-6",
      fabric.address(self.segment, family, 1))
  end
  fabric.ip(self.space, lines)
end

local function addresses_at(self, host)
  local addresses = {}
  for _, family in ipairs(self.families) do
    addresses[family] = fabric.address(self.segment, family, host)
  end
  return addresses
end

local function cidrs_at(self, number)
  local cidrs = {}
  for _, family in ipairs(self.families) do
    cidrs[family] = (family == "inet" and "10.244.%d.0/24" or "fd00:10:244:%d::/64"):format(number)
  end
  return cidrs
end

-- Makes the node number `number` and its pods; see cluster.new.
function node.new(cluster, number, args)
  local name = args.name or "n" .. number
  local made = nodes.new { space = fabric.space(name), subnets = {} }
  local self = setmetatable(made, node)
  self.name, self.number, self.cluster, self.agents = name, number, cluster, {}
  self.families, self.segment, self.provider_id = cluster.families, args.segment or 1, args.provider_id
  self.nodes_file = cluster.one_file and cluster.scratch .. "/nodes.json" or self.scratch .. "/nodes.json"
  self.addresses, self.pod_cidrs = addresses_at(self, 10 + number), cidrs_at(self, number)
  self.net = mncni.netns.open(self.space.path)
  cluster.fabric:attach(self)
  configure(self)
  cluster.fabric:moved(self, nil, self.addresses)
  self.record = record(self)
  self:range()
  self.pod_list = {}
  for i = 1, args.pods or 1 do
    self:add_pod(("%sp%d"):format(name, i))
  end
  return self
end

-- Pods added from now on have their addresses from the node's podCIDRs.
function node:range()
  local list = {}
  for i, family in ipairs(self.families) do
    list[i] = self.pod_cidrs[family]
  end
  self:subnets(list)
end

-- A pod, by the plugin's ADD. Its fields: name, space, addresses (by family).
function node:add_pod(name)
  local result = self:must("ADD", { pod = name, conf = POD })
  local pod = { name = name, node = self, space = self.pods[name], addresses = {} }
  for _, ip in ipairs(result.ips) do
    local address = ip.address:match "^[^/]+"
    pod.addresses[address:find(":", 1, true) and "inet6" or "inet"] = address
  end
  self.pod_list[#self.pod_list + 1] = pod
  return pod
end

-- Gives the node other podCIDRs, those of another number, in the list of nodes and for its pods, which are made anew.
function node:give_cidrs(number)
  local pods = self.pod_list
  for _, pod in ipairs(pods) do
    self:must("DEL", { pod = pod.name, conf = POD })
  end
  self.space:sh "ip link del cbr0"
  self.pod_cidrs, self.pod_list = cidrs_at(self, number), {}
  self.record = record(self)
  self:range()
  for _, pod in ipairs(pods) do
    self:add_pod(pod.name)
  end
end

-- Gives the node other addresses, in the kernel (where all routes through the uplink go with the old ones), in the
-- fabric and in the list of nodes.
function node:readdress(host)
  local old = self.addresses
  self.addresses = addresses_at(self, host)
  local lines = {}
  for _, family in ipairs(self.families) do
    lines[#lines + 1] = ("addr del %s/%s dev up0"):format(old[family],
      fabric.prefix(self.segment, family):match "/(%d+)$")
  end
  fabric.ip(self.space, lines)
  configure(self)
  self.cluster.fabric:moved(self, old, self.addresses)
  self.record = record(self)
end

-- What stands in the kernel with our mark for other nodes: { [dst] = "via 10.0.1.12 dev up0" or "vxlan" }. A list of
-- what else is marked (blackholes and so on) is the second result.
function node:routes()
  local routes, others = {}, {}
  local net = self.net
  local kinds = {}
  for link in net.link.list {} do
    kinds[link.ifname] = link.kind
  end
  for route in net.route.list { protocol = "mncni" } do
    local kind = route.type or "unicast"
    if kind ~= "unicast" then
      others[#others + 1] = kind .. " " .. tostring(route.dst)
    elseif kinds[route.dev] == "vxlan" then
      routes[tostring(route.dst)] = "vxlan"
    else
      routes[tostring(route.dst)] = ("via %s dev %s"):format(tostring(route.gateway), tostring(route.dev))
    end
  end
  table.sort(others)
  return routes, others
end

-- The routes that there ought to be for the other nodes of the list (or of a list of records given): how(node, peer,
-- family) tells "direct", "vxlan" or nil for none, and may be one of these words. Direct routes to other segments lead to the
-- router.
function node:expected(how, records)
  local routes = {}
  for _, peer in ipairs(records or self.cluster:records()) do
    if peer.name ~= self.name then
      for _, cidr in ipairs(peer.pod_cidrs or {}) do
        local family = cidr:find(":", 1, true) and "inet6" or "inet"
        local way = how
        if type(how) == "function" then
          way = how(self, peer, family)
        end
        local address
        for _, candidate in ipairs(peer.addresses) do
          if (candidate:find(":", 1, true) and "inet6" or "inet") == family then
            address = address or candidate
          end
        end
        local real = self.cluster[peer.name]
        if way == "direct" then
          local beyond = real and real.segment ~= self.segment
          routes[cidr] = ("via %s dev up0"):format(beyond and fabric.address(self.segment, family, 1) or address)
        else
          routes[cidr] = way
        end
      end
    end
  end
  return routes
end

-- Lines that tell how two tables of routes differ; empty when they do not.
local function differences(have, want)
  local lines = {}
  for dst, way in pairs(want) do
    if have[dst] ~= way then
      lines[#lines + 1] = ("%s: wanted %s, is %s"):format(dst, way, tostring(have[dst]))
    end
  end
  for dst, way in pairs(have) do
    if not want[dst] then
      lines[#lines + 1] = ("%s: not wanted, is %s"):format(dst, way)
    end
  end
  table.sort(lines)
  return lines
end

-- Waits, by the kernel's events, until the routes for other nodes are exactly these (a table as routes() and expected()
-- return); returns the milliseconds it took, or raises with the differences after the deadline (5 s).
function node:wait_routes(want, deadline)
  local began, events = clock.now(), 0
  local monitor <close> = self.net:monitor { "route", "link" }
  while true do
    local differing = differences(self:routes(), want)
    if #differing == 0 then
      return clock.now() - began
    end
    local left = (deadline or 5000) - (clock.now() - began)
    if left <= 0 or self:agent() and self:agent():status() then
      local said = {}
      for _, running in ipairs(self.agents) do
        said[#said + 1] = running:stderr()
      end
      error(("node %s, after %d events: %s\nagent: %s"):format(self.name, events,
        table.concat(differing, "\n  ", 1, math.min(#differing, 10)), table.concat(said, "\n"):sub(-3000)), 2)
    end
    -- One event, then what comes right after it, the more the more there is to look at.
    if monitor:next(math.min(50, math.ceil(left))) then
      local until_then = clock.now() + math.min(200, #differing / 10)
      while monitor:next(1) and clock.now() < until_then do
        events = events + 1
      end
    end
  end
end

-- What the kernel tells of the node's network that an agent could change: one text.
function node:kernel()
  return self.space:must [[
    ip -o link show | sed 's/ qlen [0-9]*//'; ip -o addr show | sed 's/ valid_lft.*//'; ip -4 route show table all
    ip -6 route show table all; ip rule show; ip -6 rule show; ip neigh show nud permanent; bridge fdb show dynamic
    nft list ruleset; cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding]]
end

function node:start_agent(args)
  return agent.start(self, args)
end

function node:run_agent(args)
  return agent.run(self, args)
end

-- The agent that was started last.
function node:agent()
  return self.agents[#self.agents]
end

-- Ends all agents of the node.
function node:stop_agents(signal)
  for _, running in ipairs(self.agents) do
    running:stop(signal)
  end
  self.agents = {}
end

-- Ends the agents and closes what is open; the namespaces are the caller's to remove.
function node:close()
  self:stop_agents "KILL"
  self.net:close()
end

-- Writes a file of the node, published by its rename; returns its path.
function node:write(name, text)
  local path = self.scratch .. "/" .. name
  do
    local file <close> = assert(io.open(path .. ".new", "w"))
    file:write(text)
  end
  assert(os.rename(path .. ".new", path))
  return path
end

-- How many neighbours and forwarding entries the node's tunnels have.
function node:tunnel_entries()
  local neighbours, entries = 0, 0
  for _, link in ipairs(self:vxlans()) do
    for neigh in self.net.neigh.list { dev = link.ifname } do
      neighbours = neighbours + (neigh.state and neigh.state[1] == "permanent" and 1 or 0)
    end
    for entry in self.net.fdb.list { dev = link.ifname } do
      entries = entries + (entry.dst and 1 or 0)
    end
  end
  return neighbours, entries
end

-- The vxlan devices of ours, with their details.
function node:vxlans()
  local list = {}
  for link in self.net.link.list { kind = "vxlan" } do
    list[#list + 1] = link
  end
  return list
end

return node
