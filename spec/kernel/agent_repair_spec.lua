-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent keeps what it made, and nothing else: what is lost comes back at once, and what is foreign stays, also
-- where ours should be.

local clock = require "spec.support.clock"
local clusters = require "spec.support.cluster"
local spaces = require "spec.support.netns"

-- Milliseconds; the figures are printed, and are some hundred times smaller.
local LIMIT = 2000

describe("the agent", function()
  local before, cluster, node

  -- n1 and n3 are on one segment, n2 on another: from n1 there are direct routes to n3 and a tunnel to n2.
  before_each(function()
    before = spaces.snapshot()
    cluster = clusters.new { nodes = 3, segments = 2 }
    node = cluster.n1
  end)

  after_each(function()
    cluster:cleanup()
    spaces.assert_nothing_left(before)
  end)

  local function want() return node:expected(cluster:by_segment "vxlan") end

  local function start()
    local agent = node:start_agent { policy = "routes" }
    return agent
  end

  local function repaired(what, groups, action, is_it)
    local taken, seen = clock.until_event(node.space, groups, action, function(event)
      return event.event == "new" and is_it(event.value)
    end, LIMIT)
    assert.is_truthy(taken, ("%s: not repaired within %d ms; seen:\n%s\n%s"):format(what, LIMIT, seen,
      node:agent():stderr()))
    clock.figure("repaired: " .. what, taken)
  end

  local function route_to(dst)
    return function(value) return tostring(value.dst) == dst and value.protocol == "mncni" end
  end

  it("puts back routes that somebody removes", function()
    start()
    node:wait_routes(want())
    for dst in pairs(want()) do
      repaired("route " .. dst, { "route" }, function() node.net.route.del { dst = dst } end, route_to(dst))
      node:wait_routes(want())
    end
    repaired("all routes", { "route" }, function()
      node.space:must "ip route flush proto 78; ip -6 route flush proto 78"
    end, route_to "fd00:10:244:3::/64")
    node:wait_routes(want())
  end)

  it("puts back what its tunnel needs", function()
    start()
    node:wait_routes(want())
    local dev = node:vxlans()[1].ifname
    local neigh
    for candidate in node.net.neigh.list { dev = dev } do
      neigh = candidate.state[1] == "permanent" and candidate or neigh
    end
    repaired("neighbour " .. neigh.dst, { "neigh" }, function()
      node.net.neigh.del { dev = dev, dst = neigh.dst }
    end, function(value) return value.dst == neigh.dst and value.lladdr == neigh.lladdr end)
    local entry
    for candidate in node.net.fdb.list { dev = dev } do
      entry = candidate.dst and candidate or entry
    end
    repaired("forwarding entry " .. entry.mac, { "fdb" }, function()
      node.net.fdb.del { dev = dev, mac = entry.mac, dst = entry.dst }
    end, function(value) return value.mac == entry.mac and value.dst == entry.dst end)
    repaired("device " .. dev, { "link", "route" }, function() node.net.link.del { ifname = dev } end,
      route_to "fd00:10:244:2::/64")
    node:wait_routes(want())
    repaired("device set down", { "route" }, function() node.net.link.set { ifname = dev, up = false } end,
      route_to "fd00:10:244:2::/64")
    node:wait_routes(want())
    repaired("mtu", { "link" }, function() node.net.link.set { ifname = dev, mtu = 1300 } end,
      function(value) return value.ifname == dev and value.mtu == 1450 end)
  end)

  it("puts back routes when the uplink comes up again, or an address of it", function()
    start()
    node:wait_routes(want())
    node.net.link.set { ifname = "up0", up = false }
    clock.sleep(100)
    repaired("uplink down and up", { "route" }, function() node.net.link.set { ifname = "up0", up = true } end,
      route_to "10.244.3.0/24")
    -- The machine's own network configuration would put back what went with the uplink.
    node.space:must "ip -6 addr add fd00:0:0:1::11/64 dev up0; ip -6 route replace default via fd00:0:0:1::1"
    node.space:must "ip route replace default via 10.0.1.1"
    node:wait_routes(want())
    repaired("uplink's address", { "route" }, function()
      node.space:must "ip addr del 10.0.1.11/24 dev up0; ip addr add 10.0.1.11/24 dev up0"
      node.space:must "ip route replace default via 10.0.1.1"
    end, route_to "10.244.3.0/24")
    node:wait_routes(want())
  end)

  it("finds what went in a flood of events that it could not read", function()
    local agent = start()
    node:wait_routes(want())
    local lines = {}
    for i = 0, 19999 do
      local route = ("blackhole 10.200.%d.%d"):format(i // 256, i % 256)
      lines[i + 1], lines[20003 + i] = "route add " .. route, "route del " .. route
    end
    lines[20001], lines[20002] = "route del 10.244.2.0/24", "route del 10.244.3.0/24"
    agent:signal "STOP"
    node.space:must("ip -batch %s", node:write("flood", table.concat(lines, "\n") .. "\n"))
    agent:signal "CONT"
    clock.figure("repaired: routes that went in a flood", node:wait_routes(want()))
    assert.is_true(agent:alive())
  end)

  it("reaches nodes through another gateway when the machine's routes change", function()
    start()
    node:wait_routes(want())
    -- n3 is now said to be behind the router.
    node.space:must "ip route add 10.0.1.13/32 via 10.0.1.1"
    local moved = want()
    moved["10.244.3.0/24"] = "vxlan"
    node:wait_routes(moved)
    node.space:must "ip route del 10.0.1.13/32"
    node:wait_routes(want())
  end)

  -- Everything of a text of `ip` that has one of these words, sorted by `ip` itself.
  local function lines_with(words)
    return node.space:must("{ ip route show table all; ip -6 route show table all; ip addr; ip link; ip rule; "
      .. "ip neigh show nud permanent; nft list ruleset; } | grep -E %s | sed 's/ metric 1024//'", words)
  end

  it("leaves alone what is not ours", function()
    node.space:must [[
      ip link add foreign type vxlan id 999 dstport 5999 local 10.0.1.11 && ip link set foreign up
      ip addr add 192.0.2.1/32 dev foreign
      ip route add 10.99.0.0/16 via 10.0.1.1
      ip route add 10.244.200.0/24 via 10.0.1.13 proto static
      ip route add 10.244.2.0/24 via 10.0.1.1 table 100
      ip route add 10.244.2.0/25 via 10.0.1.1 metric 50
      ip -6 route add fd00:10:244:200::/64 via fd00:0:0:1::13
      ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev foreign nud permanent
      ip rule add from 192.0.2.0/24 lookup 100 pref 999
      nft add table inet foreign]]
    local words = "foreign|192.0.2|10.99|244.200|244:200|table 100|/25|lookup 100"
    local there = lines_with(words)
    start()
    node:wait_routes(want())
    node.space:must "ip route del 10.244.3.0/24"
    node:wait_routes(want())
    node:stop_agents()
    assert.are.equal(there, lines_with(words))
  end)

  it("reports what stands in its way, makes the rest, and takes its place when that goes", function()
    node.space:must "ip route add 10.244.3.0/24 via 10.0.1.1 proto static"
    node.space:must "ip -6 route add fd00:10:244:2::/64 via fd00:0:0:1::1 metric 1024 proto static"
    local agent = start()
    local rest = want()
    rest["10.244.3.0/24"], rest["fd00:10:244:2::/64"] = nil, nil
    node:wait_routes(rest)
    agent:wait_stderr "10%.244%.3%.0/24.*not ours"
    agent:wait_stderr "fd00:10:244:2::/64.*not ours"
    -- Other changes are made meanwhile.
    node.space:must "ip route del 10.244.2.0/24"
    node:wait_routes(rest)
    assert.truthy(node.space:must("ip route show 10.244.3.0/24"):find("via 10.0.1.1 dev up0 proto static", 1, true))
    repaired("a foreign route in the way removed", { "route" }, function()
      node.net.route.del { dst = "10.244.3.0/24" }
      node.net.route.del { dst = "fd00:10:244:2::/64" }
    end, route_to "fd00:10:244:2::/64")
    node:wait_routes(want())
  end)

  it("gives way to a foreign route that replaces its own, until that goes", function()
    local agent = start()
    node:wait_routes(want())
    local rest = want()
    rest["10.244.3.0/24"] = nil
    node.space:must "ip route replace 10.244.3.0/24 via 10.0.1.1 proto static"
    agent:wait_stderr "10%.244%.3%.0/24.*not ours"
    node:wait_routes(rest)
    repaired("a foreign route that had replaced ours removed", { "route" },
      function() node.net.route.del { dst = "10.244.3.0/24" } end, route_to "10.244.3.0/24")
    node:wait_routes(want())
  end)

  it("does not take over a device of the name of its own", function()
    node.space:must "ip link add mncni-vxlan type bridge && ip link set mncni-vxlan up"
    local there = node.space:must "ip addr show dev mncni-vxlan scope global; ip neigh show dev mncni-vxlan"
    local agent = start()
    node:wait_routes(node:expected(cluster:by_segment()))
    agent:wait_stderr "mncni%-vxlan.*not ours"
    assert.truthy(node.space:must("ip -d link show mncni-vxlan"):find("bridge", 1, true))
    assert.are.equal(there, node.space:must "ip addr show dev mncni-vxlan scope global; ip neigh show dev mncni-vxlan")
    repaired("a foreign device in the way removed", { "route" },
      function() node.net.link.del { ifname = "mncni-vxlan" } end, route_to "fd00:10:244:2::/64")
    node:wait_routes(want())
  end)
end)
