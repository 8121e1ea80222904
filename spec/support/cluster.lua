-- SPDX-License-Identifier: Apache-2.0
-- A cluster on one kernel: nodes and their pods as namespaces, what joins the nodes, and the list of nodes that
-- mncni-agent reads.
--
--   local cluster = clusters.new { nodes = 3, segments = 2, families = { "inet", "inet6" }, fabric = "bridge" }
--   cluster.n1:start_agent { policy = "routes", set = { "routes.mode=direct" } }
--   cluster.n1:wait_routes(cluster.n1:expected "direct")
--   assert.are.same({}, cluster:ping_matrix())      -- what does not reach what
--   cluster:cleanup()
--
-- Node N is 10.0.SEGMENT.(10 + N) and fd00:0:0:SEGMENT::(10 + N), and its pods are in 10.244.N.0/24 and
-- fd00:10:244:N::/64. The router is host 1 of each segment.

local cluster_node = require "spec.support.cluster_node"
local fabric = require "spec.support.fabric"
local node_list = require "spec.support.node_list"
local spaces = require "spec.support.netns"

local cluster = {}
cluster.__index = cluster

-- Makes it. args: nodes (how many, 3), segments (1; nodes take turns), families (both), fabric ("bridge" or "azure"), pods
-- (of each node, 1), files ("shared", or "each": a nodes file for every node), provider_id (a prefix: "azure:///").
-- The nodes are fields (cluster.n1) and in cluster.nodes; the list is written.
function cluster.new(args)
  local self = setmetatable({
    nodes = {}, extra = {}, args = args, families = args.families or { "inet", "inet6" },
    scratch = spaces.must "mktemp -d", one_file = args.files ~= "each", segments = args.segments or 1,
  }, cluster)
  self.fabric = fabric[args.fabric or "bridge"](self.segments, self.families)
  self.router = self.fabric.router
  for number = 1, args.nodes or 3 do
    self:add_node(number)
  end
  self:write_nodes()
  return self
end

-- A further node, of this number, at the end of the list (which is not written).
function cluster:add_node(number, args)
  args = args or {}
  local node = cluster_node.new(self, number, {
    name = args.name, segment = args.segment or (number - 1) % self.segments + 1, pods = args.pods or self.args.pods,
    provider_id = self.args.provider_id and ("%sn%d"):format(self.args.provider_id, number),
  })
  self.nodes[#self.nodes + 1] = node
  self[node.name] = node
  return node
end

-- Takes a node out of the list and leaves it as it is; it is no longer in cluster.nodes. Returns it.
function cluster:remove_node(name)
  for i, node in ipairs(self.nodes) do
    if node.name == name then
      self.gone = self.gone or {}
      table.insert(self.gone, table.remove(self.nodes, i))
      return node
    end
  end
  error("there is no node " .. name, 2)
end

-- The records of the list, as spec/support/node_list.lua takes them: the nodes, and what is in cluster.extra.
function cluster:records()
  local records = {}
  for i, node in ipairs(self.nodes) do
    records[i] = node.record
  end
  for _, extra in ipairs(self.extra) do
    records[#records + 1] = extra
  end
  return records
end

-- Records of nodes that are in the list only: count of them, each in a segment that only the router could know.
function cluster.ghosts(count)
  local records = {}
  for i = 1, count do
    records[i] = {
      name = ("ghost%d"):format(i),
      addresses = { ("10.1.%d.%d"):format(i // 200, i % 200 + 1), ("fd00:0:1::%x"):format(i) },
      pod_cidrs = { ("10.%d.%d.0/24"):format(100 + i // 256, i % 256), ("fd00:99:%x::/64"):format(i) },
    }
  end
  return records
end

-- Writes the list, or other records or another text, into the file of every node, or of those whose names are given.
function cluster:write_nodes(what, names)
  what = what or self:records()
  local text = type(what) == "string" and what or node_list.text(what)
  local written = {}
  for _, node in ipairs(self.nodes) do
    local wanted = not names
    for _, name in ipairs(names or {}) do
      wanted = wanted or name == node.name
    end
    if wanted and not written[node.nodes_file] then
      written[node.nodes_file] = true
      do
        local file <close> = assert(io.open(node.nodes_file .. ".new", "w"))
        file:write(text)
      end
      assert(os.rename(node.nodes_file .. ".new", node.nodes_file))
    end
  end
end

-- Calls a function with every node.
function cluster:each(fn)
  for _, node in ipairs(self.nodes) do
    fn(node)
  end
end

-- Starts an agent on every node.
function cluster:start_agents(args)
  self:each(function(node) node:start_agent(args) end)
end

-- Waits on every node for the routes of node:expected(how).
function cluster:wait_routes(how, deadline)
  self:each(function(node) node:wait_routes(node:expected(how), deadline) end)
end

-- "direct" for a peer on the node's own segment, else another word.
function cluster:by_segment(other)
  return function(node, peer)
    local real = self[peer.name]
    return real and real.segment == node.segment and "direct" or other
  end
end

-- Who pings whom: every pod each pod of other nodes, and every node likewise.
local function pairs_of(self, families)
  local sources = {}
  for _, node in ipairs(self.nodes) do
    local places = { { name = node.name, space = node.space } }
    for _, pod in ipairs(node.pod_list) do
      places[#places + 1] = pod
    end
    for _, place in ipairs(places) do
      local targets = {}
      for _, peer in ipairs(self.nodes) do
        for _, pod in ipairs(peer ~= node and peer.pod_list or {}) do
          for _, family in ipairs(families) do
            targets[#targets + 1] = { name = pod.name, address = pod.addresses[family] }
          end
        end
      end
      sources[#sources + 1] = { name = place.name, space = place.space, targets = targets }
    end
  end
  return sources
end

-- Pings every pod of other nodes from every pod and every node, all at once; a list of what got no answer within a
-- second ("n1p1 -> n2p1 10.244.2.2"), sorted, and how many were tried. args: families, size (bytes of a packet's data,
-- which may then not be fragmented).
function cluster:ping_matrix(args)
  args = args or {}
  local script, count = {}, 0
  for _, source in ipairs(pairs_of(self, args.families or self.families)) do
    local lines = {}
    for _, target in ipairs(source.targets) do
      count = count + 1
      lines[#lines + 1] = ("ping -n -q -c 1 -i 0.1 -w 1 %s %s >/dev/null 2>&1 || echo '%s -> %s %s' &"):format(
        args.size and ("-M do -s %d"):format(args.size) or "", target.address, source.name, target.name, target.address)
    end
    script[#script + 1] = ("nsenter --net=%s sh -c %s &"):format(source.space.path,
      spaces.quote(table.concat(lines, "\n") .. "\nwait"))
  end
  local failed = {}
  for line in spaces.must(table.concat(script, "\n") .. "\nwait"):gmatch "[^\n]+" do
    failed[#failed + 1] = line
  end
  table.sort(failed)
  return failed, count
end

-- Starts a ping at intervals (seconds) in the background; its stop() returns packets sent and received.
function cluster.ping(from, address, interval)
  local out = spaces.must "mktemp"
  local pid = from.space:must("ping -n -q -i %s %s >%s 2>&1 & echo $!", interval or "0.01", address, out)
  return {
    stop = function()
      spaces.must("kill -INT %s; while kill -0 %s 2>/dev/null; do sleep 0.01; done", pid, pid)
      local file <close> = assert(io.open(out))
      local text = file:read "a"
      os.remove(out)
      local sent, received = text:match "(%d+) packets transmitted, (%d+) received"
      return assert(tonumber(sent), text), tonumber(received)
    end,
  }
end

-- Ends agents and removes everything.
function cluster:cleanup()
  for _, list in ipairs { self.nodes, self.gone or {} } do
    for _, node in ipairs(list) do
      node:close()
      spaces.must("rm -rf %s", node.scratch)
    end
  end
  spaces.cleanup()
  spaces.must("rm -rf %s", self.scratch)
end

return cluster
