-- SPDX-License-Identifier: Apache-2.0
-- The cluster that the specs of mncni-agent run on (spec/support/cluster.lua), proven with routes put by hand.

local clock = require "spec.support.clock"
local clusters = require "spec.support.cluster"
local fabric = require "spec.support.fabric"
local spaces = require "spec.support.netns"

local MARK = "proto 78"

-- What `routes.mode=direct` stands for, by hand.
local function direct(node, peer, family)
  fabric.ip(node.space, {
    ("route add %s via %s dev up0 %s"):format(peer.pod_cidrs[family], peer.addresses[family], MARK),
  })
end

-- What `routes.mode=vxlan` stands for, by hand: a device for each family. It has an address of the podCIDR, which the
-- node's own packets to pods then come from: to the address of its uplink the answers would not go through the tunnel.
local function vxlan(node, family, peers)
  local dev = family == "inet" and "vx4" or "vx6"
  local function mac(of)
    return ("02:00:00:00:%s:%02x"):format(family == "inet" and "04" or "06", of.number)
  end
  local lines = {
    ("link add %s address %s type vxlan id %d dstport 4789 nolearning local %s dev up0"):format(dev, mac(node),
      family == "inet" and 4 or 6, node.addresses[family]),
    ("link set %s up"):format(dev),
    ("addr add %s/%d dev %s"):format(node.pod_cidrs[family]:match "^[^/]+", family == "inet" and 32 or 128, dev),
  }
  for _, peer in ipairs(peers) do
    local via = peer.pod_cidrs[family]:match "^[^/]+"
    lines[#lines + 1] = ("neigh add %s lladdr %s dev %s nud permanent"):format(via, mac(peer), dev)
    lines[#lines + 1] = ("route add %s via %s dev %s onlink %s"):format(peer.pod_cidrs[family], via, dev, MARK)
  end
  fabric.ip(node.space, lines)
  for _, peer in ipairs(peers) do
    node.space:must("bridge fdb append %s dev %s dst %s self permanent", mac(peer), dev, peer.addresses[family])
  end
end

describe("a cluster of specs", function()
  local before, cluster

  before_each(function() before = spaces.snapshot() end)
  after_each(function()
    cluster:cleanup()
    spaces.assert_nothing_left(before)
  end)

  local function peers_of(node)
    local peers = {}
    cluster:each(function(peer)
      if peer ~= node then
        peers[#peers + 1] = peer
      end
    end)
    return peers
  end

  local function by_hand(how)
    cluster:each(function(node)
      for _, family in ipairs(cluster.families) do
        if how == "vxlan" then
          vxlan(node, family, peers_of(node))
        else
          for _, peer in ipairs(peers_of(node)) do
            direct(node, peer, family)
          end
        end
      end
    end)
  end

  -- Nodes reach each other's addresses, whatever the fabric.
  local function nodes_reach_each_other()
    cluster:each(function(node)
      for _, peer in ipairs(peers_of(node)) do
        for _, family in ipairs(cluster.families) do
          node.space:must("ping -n -q -c 1 -i 0.1 -w 2 %s", peer.addresses[family])
        end
      end
    end)
  end

  it("has pods that reach nobody until there are routes, and then each other, on a switch", function()
    cluster = clusters.new { nodes = 3, pods = 2 }
    nodes_reach_each_other()
    local failed, count = cluster:ping_matrix()
    assert.are.equal(count, #failed)
    assert.are.equal(3 * 3 * 4 * 2, count)
    by_hand "direct"
    assert.are.same({}, (cluster:ping_matrix()))
    for _, node in ipairs(cluster.nodes) do
      assert.are.same(node:expected "direct", (node:routes()))
    end
    -- A route gone is seen.
    cluster.n1.space:must "ip route del 10.244.2.0/24"
    assert.are.same({ "n1 -> n2p1 10.244.2.2", "n1 -> n2p2 10.244.2.3", "n1p1 -> n2p1 10.244.2.2",
      "n1p1 -> n2p2 10.244.2.3", "n1p2 -> n2p1 10.244.2.2", "n1p2 -> n2p2 10.244.2.3",
      "n2p1 -> n1p1 10.244.1.2", "n2p1 -> n1p2 10.244.1.3", "n2p2 -> n1p1 10.244.1.2", "n2p2 -> n1p2 10.244.1.3" },
      (cluster:ping_matrix()))
  end)

  it("joins segments by a router, which knows no pods", function()
    cluster = clusters.new { nodes = 3, segments = 2 }
    nodes_reach_each_other()
    for _, name in ipairs { "n1", "n3" } do
      local other = name == "n1" and cluster.n3 or cluster.n1
      direct(cluster[name], other, "inet")
      direct(cluster[name], other, "inet6")
    end
    assert.is_false(pcall(direct, cluster.n1, cluster.n2, "inet"))
    for _, line in ipairs((cluster:ping_matrix())) do
      assert.truthy(line:find("n2", 1, true), line)
    end
    cluster:each(function(node)
      node.space:must "ip route flush proto 78; ip -6 route flush proto 78"
    end)
    by_hand "vxlan"
    assert.are.same({}, (cluster:ping_matrix()))
    assert.are.same(cluster.n1:expected "vxlan", (cluster.n1:routes()))
  end)

  it("has a fabric like Azure's, where direct routes lead nowhere and vxlan does", function()
    cluster = clusters.new { nodes = 3, fabric = "azure", provider_id = "azure:///" }
    nodes_reach_each_other()
    local seen = {}
    for mac in cluster.n1.space:must("ip neigh show dev up0; ip -6 neigh show dev up0"):gmatch "lladdr (%S+)" do
      seen[mac] = true
    end
    assert.are.same({ [fabric.AZURE_MAC] = true }, seen)
    -- What no node has is answered for as well, and dropped.
    cluster.n1.space:sh "ping -n -q -c 1 -W 0.1 10.0.1.77"
    assert.truthy(cluster.n1.space:must("ip neigh show 10.0.1.77"):find(fabric.AZURE_MAC, 1, true))
    by_hand "direct"
    local dropped = cluster.fabric:dropped()
    local failed, count = cluster:ping_matrix()
    assert.are.equal(count, #failed)
    assert.is_true(cluster.fabric:dropped() >= dropped + count)
    cluster:each(function(node) node.space:must "ip route flush proto 78; ip -6 route flush proto 78" end)
    by_hand "vxlan"
    assert.are.same({}, (cluster:ping_matrix()))
  end)

  it("gives a node other addresses and another podCIDR", function()
    for _, kind in ipairs { "bridge", "azure" } do
      if cluster then
        cluster:cleanup()
      end
      cluster = clusters.new { nodes = 2, fabric = kind }
      nodes_reach_each_other()
      cluster.n2:readdress(42)
      cluster.n2:give_cidrs(77)
      assert.are.equal("10.0.1.42", cluster.n2.addresses.inet)
      nodes_reach_each_other()
      by_hand "vxlan"
      assert.are.same({}, (cluster:ping_matrix()))
      assert.are.same({ ["10.244.77.0/24"] = "vxlan", ["fd00:10:244:77::/64"] = "vxlan" }, (cluster.n1:routes()))
    end
  end)

  it("works with one family", function()
    cluster = clusters.new { nodes = 2, families = { "inet6" } }
    by_hand "direct"
    assert.are.same({}, (cluster:ping_matrix()))
    assert.are.same({ ["fd00:10:244:2::/64"] = "via fd00:0:0:1::12 dev up0" }, (cluster.n1:routes()))
  end)

  it("writes the list of nodes as kubectl prints it, shared or for each", function()
    cluster = clusters.new { nodes = 2, pods = 0, files = "each" }
    local function names(node)
      return node.space:must("jq -r '.items[] | .metadata.name + \" \" + .spec.podCIDRs[1] + \" \" + "
        .. "(.status.addresses[] | select(.type == \"InternalIP\") | .address)' %s", node.nodes_file)
    end
    assert.are.equal("n1 fd00:10:244:1::/64 10.0.1.11\nn1 fd00:10:244:1::/64 fd00:0:0:1::11\n"
      .. "n2 fd00:10:244:2::/64 10.0.1.12\nn2 fd00:10:244:2::/64 fd00:0:0:1::12", names(cluster.n1))
    cluster:remove_node "n2"
    cluster:write_nodes()
    assert.are.equal("n1 fd00:10:244:1::/64 10.0.1.11\nn1 fd00:10:244:1::/64 fd00:0:0:1::11", names(cluster.n1))
    cluster.extra = cluster.ghosts(3)
    cluster:write_nodes()
    assert.are.equal("4", spaces.must("jq '.items | length' %s", cluster.n1.nodes_file))
    cluster:write_nodes("nonsense", { "n1" })
    assert.are.equal("nonsense", spaces.must("cat %s", cluster.n1.nodes_file))
  end)

  it("measures from an event to the kernel's answer", function()
    cluster = clusters.new { nodes = 2, pods = 0, families = { "inet" } }
    local node = cluster.n1
    direct(node, cluster.n2, "inet")
    -- Somebody who puts the route back after 50 ms.
    local pid = node.space:must [[setsid sh -c 'ip monitor route | while read -r word rest; do
      [ "$word" != Deleted ] || { sleep 0.05; ip route add 10.244.2.0/24 via 10.0.1.12 proto 78; break; }
    done' >/dev/null 2>&1 & echo $!]]
    clock.sleep(100)
    local taken = clock.until_event(node.space, { "route" }, function()
      node.net.route.del { dst = "10.244.2.0/24" }
    end, function(event) return event.event == "new" and tostring(event.value.dst) == "10.244.2.0/24" end)
    spaces.sh("kill -- -%s", pid)
    assert.is_true(taken and taken >= 50 and taken < 1000, tostring(taken))
    assert.is_true(node:wait_routes(node:expected "direct") < 1000)
    local ok, message = pcall(node.wait_routes, node, {}, 20)
    assert.is_false(ok)
    assert.truthy(tostring(message):find("10.244.2.0/24: not wanted, is via 10.0.1.12 dev up0", 1, true))
  end)

  it("pings in the background and counts what is lost", function()
    cluster = clusters.new { nodes = 2, families = { "inet" } }
    by_hand "direct"
    local ping = cluster.ping(cluster.n1.pod_list[1], cluster.n2.pod_list[1].addresses.inet)
    clock.sleep(200)
    cluster.n1.space:must "ip route del 10.244.2.0/24"
    clock.sleep(100)
    direct(cluster.n1, cluster.n2, "inet")
    clock.sleep(100)
    local sent, received = ping.stop()
    assert.is_true(sent > 20 and received < sent and received > 10, ("%d %d"):format(sent, received))
  end)
end)
