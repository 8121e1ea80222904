-- SPDX-License-Identifier: Apache-2.0
-- What mncni-agent finds of the network between the nodes, with the policy routes in mode auto: it asks before it makes
-- the first route, and keeps to what it found until there is better evidence.

local clock = require "spec.support.clock"
local clusters = require "spec.support.cluster"
local spaces = require "spec.support.netns"

describe("the agent, looking at the network between the nodes,", function()
  local before, cluster, node

  before_each(function() before = spaces.snapshot() end)
  after_each(function()
    cluster:cleanup()
    spaces.assert_nothing_left(before)
  end)

  -- Runs a function, and returns the events of routes to other nodes' pods meanwhile that had another device than dev.
  local function others_than(dev, fn)
    local events = {}
    local monitor <close> = node.net:monitor { "route" }
    fn()
    for event in function() return monitor:next(0) end do
      local value = event.value or {}
      if value.protocol == "mncni" and event.event == "new" and value.dev ~= dev and value.type ~= "blackhole" then
        events[#events + 1] = tostring(event)
      end
    end
    return events
  end

  local function cold() node.space:must "ip neigh flush all; ip -6 neigh flush all" end

  -- Node n1, with two others that a single machine answers for.
  local function one_mac()
    cluster = clusters.new { nodes = 1 }
    node = cluster.n1
    node.space:must "ip route del default; ip -6 route del default"
    for i = 2, 3 do
      cluster.router:must("ip addr add 10.0.1.1%s/24 dev s1; ip addr add fd00:0:0:1::1%s/64 dev s1", i, i)
      cluster.extra[i - 1] = {
        name = "x" .. i, addresses = { "10.0.1.1" .. i, "fd00:0:0:1::1" .. i },
        pod_cidrs = { ("10.244.%d.0/24"):format(i), ("fd00:10:244:%d::/64"):format(i) },
      }
    end
    cluster:write_nodes()
  end

  it("asks before it makes a route, also with --once, where one MAC address answers for all nodes", function()
    one_mac()
    cold()
    assert.same({}, others_than("mncni-vxlan", function()
      local outcome = node:run_agent { policy = "routes", args = { "--once" } }
      assert.equal(0, outcome.status, outcome.stderr)
      assert.matches("all nodes answer with one MAC address", outcome.stderr)
    end))
    assert.same(node:expected "vxlan", (node:routes()))
  end)

  it("keeps to it when the uplink goes down and comes up again", function()
    one_mac()
    cold()
    assert.same({}, others_than("mncni-vxlan", function()
      node:start_agent { policy = "routes" }
      node:wait_routes(node:expected "vxlan")
      for _ = 1, 3 do
        node.space:must "ip link set up0 down && ip link set up0 up && ip addr replace fd00:0:0:1::11/64 dev up0"
        clock.sleep(700)
      end
      node:wait_routes(node:expected "vxlan")
    end))
  end)

  it("carries packets where nobody answers, and not after somebody did", function()
    cluster = clusters.new { nodes = 3 }
    node = cluster.n1
    cluster.fabric.switches[1]:must "ip link set n2 down; ip link set n3 down"
    cold()
    local agent = node:start_agent { policy = "routes" }
    node:wait_routes(node:expected "vxlan")
    assert.matches("it is not known yet whether the network carries", agent:stderr())
    cluster.fabric.switches[1]:must "ip link set n2 up; ip link set n3 up"
    node:wait_routes(node:expected "direct")
  end)

  it("keeps direct routes through restarts, whoever answers, and when the uplink goes down and comes up", function()
    cluster = clusters.new { nodes = 3 }
    node = cluster.n1
    node:start_agent { policy = "routes" }
    node:wait_routes(node:expected "direct")
    cluster.fabric.switches[1]:must "ip link set n3 down"
    assert.same({}, others_than("up0", function()
      for i = 1, 10 do
        node:stop_agents "KILL"
        cold()
        local agent = node:start_agent { policy = "routes", args = i % 2 == 0 and { "--once" } or nil }
        clock.sleep(i * 40)
        assert.is_true(i % 2 == 0 or agent:alive())
      end
    end))
    node:stop_agents "KILL"
    node:start_agent { policy = "routes" }
    clock.sleep(300)
    node.space:must "ip link set up0 down && ip link set up0 up && ip addr replace fd00:0:0:1::11/64 dev up0"
    node:wait_routes(node:expected "direct")
  end)
end)
