-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent follows the list of nodes: whatever becomes of a node is right on every other one, and what a list cannot
-- mean is not done.

local clock = require "spec.support.clock"
local clusters = require "spec.support.cluster"
local core = require "mncni.core"
local spaces = require "spec.support.netns"

describe("the agent, while the list of nodes changes,", function()
  local before, cluster

  -- One cluster for all; n1 and n3 are on one segment, n2 is on another.
  lazy_setup(function()
    before = spaces.snapshot()
    cluster = clusters.new { nodes = 3, segments = 2 }
    cluster:start_agents { policy = "routes" }
  end)

  lazy_teardown(function()
    cluster:cleanup()
    spaces.assert_nothing_left(before)
  end)

  before_each(function()
    cluster.extra = {}
    cluster:write_nodes()
    cluster:wait_routes(cluster:by_segment "vxlan")
  end)

  local function settles(what)
    local began = clock.now()
    cluster:write_nodes()
    cluster:wait_routes(cluster:by_segment "vxlan")
    clock.figure(what .. ", on every node", clock.now() - began)
    assert.are.same({}, (cluster:ping_matrix()))
  end

  it("has a new node's pods reached, and forgets those of one that is gone", function()
    assert.are.same({ 2, 1 }, { cluster.n1:tunnel_entries() })
    cluster:add_node(4):start_agent { policy = "routes" }
    settles "a node added"
    assert.are.same({ 4, 2 }, { cluster.n1:tunnel_entries() })
    local gone = cluster:remove_node "n4"
    gone:stop_agents()
    settles "a node removed"
    assert.are.same({ 2, 1 }, { cluster.n1:tunnel_entries() })
  end)

  it("follows a node to other addresses", function()
    cluster.n2:readdress(42)
    settles "a node beyond the router re-addressed"
    assert.are.same({ 2, 1 }, { cluster.n1:tunnel_entries() })
    cluster.n3:readdress(43)
    settles "a node on the link re-addressed"
    -- Long before the list says so, and long after.
    cluster.n3:readdress(44)
    clock.sleep(100)
    settles "a node re-addressed long ago"
    local record = cluster.n3.record
    cluster.n3.record = setmetatable({ addresses = { "10.0.1.45", "fd00:0:0:1::45" } }, { __index = record })
    cluster:write_nodes()
    cluster.n1:wait_routes(cluster.n1:expected(cluster:by_segment "vxlan"))
    clock.sleep(100)
    cluster.n3:readdress(45)
    settles "a node said to have other addresses, when it has them"
  end)

  it("follows a node to another podCIDR", function()
    cluster.n2:give_cidrs(72)
    cluster.n3:give_cidrs(73)
    settles "two nodes given other podCIDRs"
  end)

  it("hands a podCIDR from one node to another", function()
    local two, three = cluster.n2.pod_cidrs, cluster.n3.pod_cidrs
    cluster.n2:give_cidrs(82)
    cluster.n3:give_cidrs(tonumber(two.inet:match "^10%.244%.(%d+)"))
    settles "a podCIDR handed over"
    assert.are_not.same(three, cluster.n3.pod_cidrs)
  end)

  -- Writes a list that cannot be meant, waits until the agent has said so, and returns what it said.
  local function refused(text, pattern)
    local agent, kernel = cluster.n1:agent(), cluster.n1:kernel()
    local said = #agent:stderr()
    cluster:write_nodes(text)
    local line = agent:wait_stderr(pattern, 3000, said + 1)
    clock.sleep(100)
    assert.are.equal(kernel, cluster.n1:kernel())
    assert.is_true(agent:alive())
    return line
  end

  it("removes nothing for an empty list", function()
    refused({}, "n1")
  end)

  it("removes nothing for a list without its own node", function()
    refused({ cluster.n2.record }, "n1")
  end)

  it("removes nothing for a file that is broken, half there or gone, and says where", function()
    refused('{ "kind": "List",\n "items": [ ', "nodes%.json.*line 2")
    cluster:write_nodes()
    clock.sleep(50)
    refused('{ "items": 3 }', "nodes%.json.*items")
    local kernel = cluster.n1:kernel()
    assert(os.remove(cluster.n1.nodes_file))
    clock.sleep(200)
    assert.are.equal(kernel, cluster.n1:kernel())
  end)

  it("passes over a node that it cannot use, by name, and serves the others", function()
    local said = #cluster.n1:agent():stderr()
    cluster:add_node(5):start_agent { policy = "routes" }
    cluster.extra = {
      { name = "crooked", addresses = { "10.0.1.99" }, pod_cidrs = { "10.244.300.0/24" } },
      { name = "lost", addresses = { "somewhere" }, pod_cidrs = { "10.244.98.0/24" } },
      { raw = { kind = "Node", metadata = core.json.array {}, spec = 3 } },
    }
    cluster:write_nodes()
    local function usable(node)
      return node:expected(cluster:by_segment "vxlan", { table.unpack(cluster:records(), 1, #cluster.nodes) })
    end
    cluster:each(function(node) node:wait_routes(usable(node)) end)
    assert.truthy(cluster.n1:agent():wait_stderr("crooked.*10%.244%.300%.0/24", 3000, said + 1))
    assert.are.same({}, (cluster:ping_matrix()))
    cluster:remove_node("n5"):stop_agents()
  end)

  it("does not route a node's podCIDR that would cut it off", function()
    cluster.extra = {
      { name = "greedy", addresses = { "10.0.1.99" }, pod_cidrs = { "10.0.0.0/8" } },
      { name = "twin", addresses = { "10.0.1.98" }, pod_cidrs = { cluster.n1.pod_cidrs.inet } },
    }
    local said = #cluster.n1:agent():stderr()
    cluster:write_nodes()
    cluster.n1:agent():wait_stderr("greedy", 3000, said + 1)
    cluster.n1:agent():wait_stderr("twin", 3000, said + 1)
    local routes = cluster.n1:routes()
    assert.is_nil(routes["10.0.0.0/8"])
    assert.is_nil(routes[cluster.n1.pod_cidrs.inet])
    assert.are.same({}, (cluster:ping_matrix()))
  end)
end)
