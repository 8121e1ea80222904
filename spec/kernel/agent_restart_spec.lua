-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent ended, by whatever signal, and started again: no packet is lost, and what became wrong meanwhile is right
-- at once. MNCNI_RESTARTS sets how often it is killed during a ping (10; the issue asks for 100).

local clock = require "spec.support.clock"
local clusters = require "spec.support.cluster"
local spaces = require "spec.support.netns"

local RESTARTS = tonumber(os.getenv "MNCNI_RESTARTS" or "10")
local GHOSTS = 500

-- Milliseconds in which a node is to be right after a start; sanitizers have their own time.
local LIMIT = os.getenv "RING_PRELOAD" and 10000 or 2000

describe("the agent, started again,", function()
  local before, cluster, node

  lazy_setup(function()
    before = spaces.snapshot()
    cluster = clusters.new { nodes = 3, segments = 2 }
    node = cluster.n1
  end)

  lazy_teardown(function()
    cluster:cleanup()
    spaces.assert_nothing_left(before)
  end)

  after_each(function()
    cluster:each(function(each) each:stop_agents() end)
    cluster.extra = {}
    cluster:write_nodes()
  end)

  local function tunnel_has(neighbours, entries)
    return clock.wait(function()
      local have, there = node:tunnel_entries()
      return have == neighbours and there == entries
    end)
  end

  it("removes what belonged to nodes that went meanwhile", function()
    local want = node:expected(cluster:by_segment "vxlan")
    cluster.extra = cluster.ghosts(GHOSTS)
    cluster:write_nodes()
    local agent = node:start_agent { policy = "routes" }
    local all = node:expected(cluster:by_segment "vxlan")
    node:wait_routes(all, 10000)
    clock.figure(("start with %d nodes, to the last route"):format(GHOSTS + 3), clock.now() - agent.started)
    assert.is_true(tunnel_has(2 * (GHOSTS + 1), GHOSTS + 1))
    agent:stop "KILL"
    cluster.extra = {}
    cluster:write_nodes()
    agent = node:start_agent { policy = "routes" }
    node:wait_routes(want, LIMIT)
    local taken = clock.now() - agent.started
    clock.figure(("start after %d nodes went, to the exact table"):format(GHOSTS), taken)
    assert.is_true(taken < LIMIT)
    assert.is_true(tunnel_has(2, 1))
  end)

  it("finishes what it was killed in the middle of", function()
    local want = node:expected(cluster:by_segment "vxlan")
    cluster.extra = cluster.ghosts(GHOSTS)
    cluster:write_nodes()
    local all = node:expected(cluster:by_segment "vxlan")
    for i = 1, 5 do
      local agent = node:start_agent { policy = "routes" }
      clock.sleep(15 * i)
      agent:stop "KILL"
    end
    node:start_agent { policy = "routes" }
    node:wait_routes(all)
    cluster.extra = {}
    cluster:write_nodes()
    node:wait_routes(want)
  end)

  it(("loses no packet while it is killed %d times"):format(RESTARTS), function()
    -- A further node in the list, whose route goes while no agent runs, shows when the next one has done its work.
    cluster.extra = cluster.ghosts(1)
    local ghost = cluster.extra[1].pod_cidrs[1]
    cluster:write_nodes()
    cluster:start_agents { policy = "routes" }
    cluster:wait_routes(cluster:by_segment "vxlan")
    assert.are.same({}, (cluster:ping_matrix()))
    local want = node:expected(cluster:by_segment "vxlan")
    local pings = {}
    for _, peer in ipairs { cluster.n2, cluster.n3 } do
      for _, family in ipairs(cluster.families) do
        pings[#pings + 1] = {
          what = family .. " to " .. peer.name,
          ping = cluster.ping(node.pod_list[1], peer.pod_list[1].addresses[family]),
        }
      end
    end
    local events, kernel = {}, node:kernel()
    local monitor <close> = node.net:monitor { "route", "link" }
    for i = 1, RESTARTS do
      node:stop_agents "KILL"
      if i % 2 == 0 then
        node.net.route.absent { dst = ghost }
      end
      local agent = node:start_agent { policy = "routes" }
      if i % 2 == 0 then
        node:wait_routes(want)
      else
        clock.sleep(7 * (i % 16))
      end
      assert.is_true(agent:alive(), agent:stderr())
    end
    node:stop_agents "KILL"
    for _, one in ipairs(pings) do
      local sent, received = one.ping.stop()
      assert.are.equal(sent, received, one.what)
      assert.is_true(sent > RESTARTS)
      clock.figure(one.what, ("%d of %d packets received"):format(received, sent))
    end
    while true do
      local event = monitor:next(0)
      if not event then
        break
      end
      local value = event.value or {}
      if (value.protocol == "mncni" or event.object == "link") and tostring(value.dst) ~= ghost then
        events[#events + 1] = tostring(event)
      end
    end
    assert.are.same({}, events)
    assert.are.equal(kernel, node:kernel())
  end)

  it("leaves everything as it is when it is told to stop", function()
    node:start_agent { policy = "routes" }
    node:wait_routes(node:expected(cluster:by_segment "vxlan"))
    for _, signal in ipairs { "TERM", "INT" } do
      local kernel = node:kernel()
      local agent = node:agent()
      assert.are.equal(0, agent:stop(signal))
      assert.are.equal(kernel, node:kernel())
      node:start_agent { policy = "routes" }
      clock.sleep(100)
    end
  end)
end)
