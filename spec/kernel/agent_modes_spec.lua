-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent with the policy routes on clusters of namespaces: pods reach each other in every mode, over every fabric,
-- with either family and with both.

local clock = require "spec.support.clock"
local clusters = require "spec.support.cluster"
local fabric = require "spec.support.fabric"
local spaces = require "spec.support.netns"

describe("the agent's routes", function()
  local before, cluster

  before_each(function() before = spaces.snapshot() end)
  after_each(function()
    cluster:cleanup()
    spaces.assert_nothing_left(before)
  end)

  local function run(mode)
    cluster:each(function(node) node:stop_agents() end)
    cluster:start_agents { policy = "routes", set = { "routes.mode=" .. mode } }
  end

  local function all_reach_all(args)
    assert.are.same({}, (cluster:ping_matrix(args)))
  end

  it("lead to every pod on a switch, in each mode and from one to another", function()
    cluster = clusters.new { nodes = 3 }
    for _, case in ipairs {
      { "direct", "direct" }, { "vxlan", "vxlan" }, { "auto", "direct" }, { "vxlan", "vxlan" },
    } do
      run(case[1])
      cluster:wait_routes(case[2])
      all_reach_all()
    end
    -- A packet as large as the tunnel takes, which may not be fragmented.
    local link = cluster.n1:vxlans()[1]
    assert.are.equal(1450, link.mtu)
    all_reach_all { size = 1450 - 48 }
    cluster.n1.space:must "ip link set up0 mtu 1400"
    assert.are.equal(1350, clock.wait(function()
      local mtu = cluster.n1:vxlans()[1].mtu
      return mtu ~= 1450 and mtu
    end))
    run "direct"
    cluster:wait_routes "direct"
    assert.is_true(clock.wait(function() return #cluster.n1:vxlans() == 0 end))
  end)

  it("lead through a router, by vxlan or where the router knows the pods", function()
    cluster = clusters.new { nodes = 3, segments = 2 }
    run "auto"
    cluster:wait_routes(cluster:by_segment "vxlan")
    all_reach_all()
    run "vxlan"
    cluster:wait_routes "vxlan"
    all_reach_all()
    run "direct"
    cluster:wait_routes "direct"
    for _, line in ipairs((cluster:ping_matrix())) do
      assert.truthy(line:find("n2", 1, true), line)
    end
    local lines = {}
    cluster:each(function(node)
      for _, family in ipairs(cluster.families) do
        lines[#lines + 1] = ("route add %s via %s"):format(node.pod_cidrs[family], node.addresses[family])
      end
    end)
    fabric.ip(cluster.router, lines)
    all_reach_all()
  end)

  for _, case in ipairs {
    { "recognised by the nodes' providerID", "azure:///subscriptions/0/vm/" },
    { "recognised by its one MAC address", nil },
  } do
    it("go through a tunnel on a fabric like Azure's, " .. case[1], function()
      cluster = clusters.new { nodes = 3, fabric = "azure", provider_id = case[2] }
      run "auto"
      cluster:wait_routes "vxlan"
      all_reach_all()
      all_reach_all { size = 1450 - 48 }
      run "direct"
      cluster:wait_routes "direct"
      local failed, count = cluster:ping_matrix()
      assert.are.equal(count, #failed)
    end)
  end

  for _, family in ipairs { "inet", "inet6" } do
    it(("work with %s alone"):format(family), function()
      cluster = clusters.new { nodes = 2, segments = 2, families = { family } }
      run "auto"
      cluster:wait_routes "vxlan"
      all_reach_all()
    end)
  end

  it("keep what no pod has from leaving, behind the bridge's own route", function()
    cluster = clusters.new { nodes = 2, segments = 2 }
    local node = cluster.n1
    node:start_agent { policy = "routes", set = { "routes.cluster_cidrs=10.244.0.0/16,fd00:10:244::/48" } }
    node:wait_routes(node:expected(cluster:by_segment "vxlan"))
    local others
    clock.wait(function() -- these may come after the routes to nodes
      others = select(2, node:routes())
      return #others == 4
    end)
    assert.are.same({ "blackhole 10.244.1.0/24", "blackhole fd00:10:244:1::/64", "unreachable 10.244.0.0/16",
      "unreachable fd00:10:244::/48" }, others)
    for route in node.net.route.list { protocol = "mncni" } do
      assert.is_true((route.type or "unicast") == "unicast" or route.metric >= 1024)
    end
    local _, status = node.space:sh "ip route get 10.244.99.1"
    assert.are_not.equal(0, status)
    assert.truthy(node.space:must("ip route get 10.244.1.2"):find("cbr0", 1, true))
  end)
end)
