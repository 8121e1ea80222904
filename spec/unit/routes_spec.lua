-- SPDX-License-Identifier: Apache-2.0
-- The policy routes: what it desires of a node for a world that is given.

local options = require "mncni.options"
local policies = require "mncni.testing"
local routes = require "mncni.routes"

local policy = policies.load "routes"

-- A world with this node and peers 3, 4, ... on its link; changes are laid over it.
local function world(args)
  args = args or {}
  local peers, reach = {}, {}
  for i, given in ipairs(args.peers or { {} }) do
    peers[i] = { name = given.name, addresses = given.addresses, pod_cidrs = given.pod_cidrs }
    reach[given.name or "n" .. i + 2] = given.reach
  end
  return policies.world {
    node = { addresses = args.addresses, provider_id = args.provider_id, pod_cidrs = args.pod_cidrs }, peers = peers,
    reach = reach, underlay = args.underlay, gateway = args.gateway,
  }
end

local function desired(given, conf)
  return policies.desired(policy, given, conf)
end

-- Routes to other nodes as lines: "dst via gateway dev link", with what else there is.
local function lines(want)
  local list = {}
  for _, route in ipairs(want.routes) do
    if not route.type then
      list[#list + 1] = ("%s via %s dev %s%s"):format(route.dst, route.gateway, route.dev or "-",
        route.flags and " " .. table.concat(route.flags, " ") or "")
    end
  end
  return list
end

local function without_type(want)
  local list = {}
  for _, route in ipairs(want.routes) do
    list[#list + 1] = route.type and ("%s %s metric %d"):format(route.type, route.dst, route.metric) or nil
  end
  return list
end

local DIRECT = { "10.244.3.0/24 via 10.0.0.3 dev eth0", "fd00:0:0:3::/64 via fd01::3 dev eth0" }
local TUNNEL = {
  "10.244.3.0/24 via 10.244.3.0 dev mncni-vxlan onlink", "fd00:0:0:3::/64 via fe80::4c43:aff:fe00:3 dev mncni-vxlan",
}
local BEHIND = {
  inet = { address = "10.0.0.3", dev = "eth0", gateway = "10.0.0.1" },
  inet6 = { address = "fd01::3", dev = "eth0", gateway = "fe80::1" },
}

describe("the policy routes", function()
  it("goes directly to a peer on the link, each family by its own address", function()
    for _, mode in ipairs { "auto", "direct" } do
      local want = desired(world(), { mode = mode })
      assert.same(DIRECT, lines(want))
      assert.same({ {}, {}, {}, {} }, { want.neighbours, want.fdb, want.warnings, want.notes })
    end
  end)

  it("does so for a world in which nobody has asked the kernel, where it is told to", function()
    local given = world()
    given.reach, given.underlay, given.gateway = nil, nil, nil
    assert.same({ "10.244.3.0/24 via 10.0.0.3 dev -", "fd00:0:0:3::/64 via fd01::3 dev -" },
      lines(desired(given, { mode = "direct" })))
    assert.same({}, lines(desired(given, { mode = "auto" })))
  end)

  it("carries packets to a peer behind a gateway, unless it is told to go directly: then by that gateway", function()
    local given = world { peers = { { reach = BEHIND } } }
    assert.same(TUNNEL, lines(desired(given)))
    assert.same({ "10.244.3.0/24 via 10.0.0.1 dev eth0", "fd00:0:0:3::/64 via fe80::1 dev eth0" },
      lines(desired(given, { mode = "direct" })))
  end)

  it("decides for each peer and each family by itself", function()
    local given = world { peers = {
      {}, { reach = BEHIND }, { reach = { inet = BEHIND.inet, inet6 = {
        address = "fd01::5", dev = "eth0", lladdr = "02:00:00:00:00:05",
      } } },
    } }
    assert.same({
      DIRECT[1], DIRECT[2], "10.244.4.0/24 via 10.244.4.0 dev mncni-vxlan onlink",
      "fd00:0:0:4::/64 via fe80::4c43:aff:fe00:4 dev mncni-vxlan",
      "10.244.5.0/24 via 10.244.5.0 dev mncni-vxlan onlink", "fd00:0:0:5::/64 via fd01::5 dev eth0",
    }, lines(desired(given)))
  end)

  it("carries a range where the peer has no address of its family, and cannot go there directly", function()
    local given = world { peers = { { addresses = { "10.0.0.3" } } } }
    assert.same({ DIRECT[1], TUNNEL[2] }, lines(desired(given)))
    local want = desired(given, { mode = "direct" })
    assert.same({ DIRECT[1] }, lines(want))
    assert.same({ "n3: it has no IPv6 address" }, want.warnings)
  end)

  it("has one neighbour and one route for each range, and one forwarding entry for each peer", function()
    local want = desired(world(), { mode = "vxlan" })
    assert.same(TUNNEL, lines(want))
    assert.same({
      { dev = "mncni-vxlan", dst = "10.244.3.0", lladdr = "4e:43:0a:00:00:03", state = { "permanent" } },
      { dev = "mncni-vxlan", dst = "fe80::4c43:aff:fe00:3", lladdr = "4e:43:0a:00:00:03", state = { "permanent" } },
    }, want.neighbours)
    assert.same({
      { dev = "mncni-vxlan", mac = "4e:43:0a:00:00:03", dst = "10.0.0.3", state = { "permanent" } },
    }, want.fdb)
  end)

  it("has one device, which does not learn, with an address for what the node itself sends", function()
    local want = desired(world(), { mode = "vxlan" })
    assert.same({ {
      ifname = "mncni-vxlan", kind = "vxlan", address = "4e:43:0a:00:00:02", mtu = 1450, up = true,
      vxlan = { id = 78, port = 8472, learning = false, ["local"] = "10.0.0.2" },
    } }, want.links)
    assert.same({
      { dev = "mncni-vxlan", address = "10.244.2.0/32" },
      { dev = "mncni-vxlan", address = "fd00:0:0:2::/128", flags = { "nodad" } },
    }, want.addresses)
  end)

  it("has the device in mode auto, too, for peers that decide otherwise; and none in mode direct", function()
    assert.equal(1, #desired(world()).links)
    local want = desired(world(), { mode = "direct" })
    assert.same({ {}, {} }, { want.links, want.addresses })
  end)

  it("gives the device another network, port and name where it is told", function()
    local want = desired(world(), { mode = "vxlan", vni = 5, port = 4789, device = "vx" })
    assert.same({ "vx", 5, 4789 }, { want.links[1].ifname, want.links[1].vxlan.id, want.links[1].vxlan.port })
    assert.equal("10.244.3.0/24 via 10.244.3.0 dev vx onlink", lines(want)[1])
  end)

  it("speaks IPv6 outside with the peers that have nothing else", function()
    local want = desired(world { peers = { {}, { addresses = { "fd01::4" } } } }, { mode = "vxlan" })
    assert.same({ "mncni-vxlan", "mncni-vxlan6" }, { want.links[1].ifname, want.links[2].ifname })
    assert.same({ 1430, "fd01::2" }, { want.links[2].mtu, want.links[2].vxlan.local6 })
    assert.equal(4, #want.addresses)
    assert.equal("10.244.4.0/24 via 10.244.4.0 dev mncni-vxlan6 onlink", lines(want)[3])
    assert.same({ dev = "mncni-vxlan6", mac = routes.mac "fd01::4", dst = "fd01::4", state = { "permanent" } },
      want.fdb[2])
  end)

  it("speaks IPv6 outside where this node has nothing else", function()
    local want = desired(world {
      addresses = { "fd01::2" }, underlay = { inet6 = { dev = "eth0", address = "fd01::2", mtu = 9000 } },
    }, { mode = "vxlan" })
    assert.same({ "mncni-vxlan6", 8930 }, { want.links[1].ifname, want.links[1].mtu })
    assert.equal("10.244.3.0/24 via 10.244.3.0 dev mncni-vxlan6 onlink", lines(want)[1])
  end)

  it("says so where two nodes have no family in common", function()
    local want = desired(world {
      addresses = { "fd01::2" }, underlay = { inet6 = { mtu = 1500 } }, peers = { { addresses = { "10.0.0.3" } } },
    }, { mode = "vxlan" })
    assert.same({}, lines(want))
    assert.same({ "n3: it has no address of a family that this node has one of" }, want.warnings)
  end)

  it("carries nothing of a family that there are no pods of here", function()
    assert.same({ TUNNEL[1] }, lines(desired(world { pod_cidrs = { "10.244.2.0/24" } }, { mode = "vxlan" })))
    assert.same({}, lines(desired(world { pod_cidrs = {} }, { mode = "vxlan" })))
  end)

  it("keeps packets for pods that are not there from leaving by the default route", function()
    local want = desired(world(), { cluster_cidrs = { "10.244.0.0/16", "fd00::7/48" } })
    assert.same({
      "blackhole 10.244.2.0/24 metric 2048", "blackhole fd00:0:0:2::/64 metric 2048",
      "unreachable 10.244.0.0/16 metric 2049", "unreachable fd00::/48 metric 2049",
    }, without_type(want))
    assert.same({}, without_type(desired(world { pod_cidrs = {} })))
  end)

  it("does not take such a metric that the bridge's own route would lose", function()
    local ok, err = pcall(options.check, policy.options, { metric = 1024 })
    assert.is_false(ok)
    assert.matches("an integer from 1025", tostring(err), 1, true)
  end)

  it("does not make unreachable what this node is reached by", function()
    local want = desired(world(), { cluster_cidrs = { "10.0.0.0/8", "fd00::/8" } })
    assert.same({ "blackhole 10.244.2.0/24 metric 2048", "blackhole fd00:0:0:2::/64 metric 2048" }, without_type(want))
    assert.equal(2, #want.warnings)
    assert.matches("^cluster_cidrs: its range 10.0.0.0/8 has 10.0.0.%d in it", want.warnings[1])
  end)

  it("has the families forwarded that there are pods of", function()
    assert.same({ ["net.ipv4.ip_forward"] = "1", ["net.ipv6.conf.all.forwarding"] = "1" }, desired(world()).sysctls)
    assert.same({ ["net.ipv4.ip_forward"] = "1" }, desired(world { pod_cidrs = { "10.244.2.0/24" } }).sysctls)
    local given = world()
    given.advertised = { "eth0.7" }
    local accept = "net/ipv6/conf/eth0.7/accept_ra"
    assert.same({
      ["net.ipv4.ip_forward"] = "1", [accept] = "2",
      ["net.ipv6.conf.all.forwarding"] = { value = "1", after = { accept } },
    }, desired(given).sysctls)
  end)

  for what, case in pairs {
    ["this node's range"] = { { pod_cidrs = { "10.244.2.0/24" } },
      "its range 10.244.2.0/24 overlaps this node's 10.244.2.0/24" },
    ["a part of this node's range"] = { { pod_cidrs = { "10.244.2.128/25" } },
      "its range 10.244.2.128/25 overlaps this node's 10.244.2.0/24" },
    ["this node's address"] = { { pod_cidrs = { "10.0.0.0/30" }, addresses = { "10.1.0.3" } },
      "its range 10.0.0.0/30 has 10.0.0.%d in it, by which this node is reached" },
    ["everything"] = { { pod_cidrs = { "::/0" } }, "its range ::/0 overlaps this node's fd00:0:0:2::/64" },
    ["its own address"] = { { pod_cidrs = { "10.1.0.0/24" }, addresses = { "10.1.0.3" } },
      "its range 10.1.0.0/24 has its own address in it" },
  } do
    it("routes no range of a peer that covers " .. what .. ", in any mode", function()
      for _, mode in ipairs { "auto", "direct", "vxlan" } do
        local want = desired(world { peers = { case[1] } }, { mode = mode })
        assert.same({}, lines(want))
        assert.equal(1, #want.warnings)
        assert.matches("^n3: " .. case[2]:gsub("[-]", "%%-"), want.warnings[1])
      end
    end)
  end

  it("believes the first of two peers that have one range", function()
    local want = desired(world { peers = { {}, { pod_cidrs = { "10.244.3.0/24" } } } })
    assert.same(DIRECT, lines(want))
    assert.same({ "n4: its range 10.244.3.0/24 is n3's already" }, want.warnings)
  end)

  it("does not go round in circles for a peer that has this node's address", function()
    local want = desired(world { peers = { { addresses = { "10.0.0.2" }, pod_cidrs = { "10.244.3.0/24" } } } })
    assert.same({}, lines(want))
    assert.matches("n3: it has this node's own address 10.0.0.2", want.warnings[1], 1, true)
  end)

  it("knows peers with one address as one end of the tunnel", function()
    local want = desired(world { peers = { {}, { addresses = { "10.0.0.3" } } } }, { mode = "vxlan" })
    assert.same({ 4, 3, 1 }, { #lines(want), #want.neighbours, #want.fdb })
  end)

  it("says once what is so of many", function()
    local peers = {}
    for i = 1, 7 do
      peers[i] = { reach = { inet = { address = "x", error = "Network is unreachable" } }, addresses = { "10.0.1.1" },
        pod_cidrs = { ("10.244.%d.0/24"):format(100 + i) } }
    end
    assert.same({ "n3, n4, n5, n6, n7 and 2 more: no way to 10.0.1.1: Network is unreachable" },
      desired(world { peers = peers }, { mode = "direct" }).warnings)
  end)

  it("says once that this node's own address is on no link, and what to do", function()
    for _, mode in ipairs { "auto", "vxlan" } do
      local given = world { peers = { { reach = BEHIND }, { reach = BEHIND } } }
      given.underlay = {}
      local warnings = desired(given, { mode = mode }).warnings
      assert.equal(1, #warnings)
      assert.matches("^n2: this node's address 10.0.0.2, fd01::2 is on no link", warnings[1])
      assert.matches("add it to a link", warnings[1], 1, true)
    end
  end)

  it("names a node once", function()
    local given = world { peers = { { addresses = {} } } }
    assert.same({ "n3: it has no address of a family that this node has one of" }, desired(given).warnings)
  end)

  it("changes nothing of the world, and says the same of it each time", function()
    local given = world { peers = { {}, { reach = BEHIND } } }
    local first = desired(given, { cluster_cidrs = { "10.244.0.0/16" } })
    assert.same(first, desired(given, { cluster_cidrs = { "10.244.0.0/16" } }))
  end)
end)

describe("the network between the nodes", function()
  local function macs(...)
    local given = world { peers = { {}, {}, {} } }
    for i, mac in ipairs { ... } do
      given.reach["n" .. i + 2].inet.lladdr = mac or nil
    end
    return given
  end

  it("forwards directly where nothing speaks against it", function()
    assert.is_nil(routes.fabric(world(), "inet"))
    assert.is_nil(routes.fabric(world { provider_id = "kind://docker/kind/n2" }, "inet"))
  end)

  it("is not judged by too few of the nodes on the link: packets are carried meanwhile", function()
    for _, given in ipairs { macs(false, false, "02:00:00:00:00:0a"), macs(false, false, false) } do
      assert.matches("^it is not known yet", routes.fabric(given, "inet"))
      assert.equal(TUNNEL[1], lines(desired(given))[1])
      assert.matches("^no direct routes over IPv4: it is not known yet", desired(given).notes[1])
    end
    assert.is_nil(routes.fabric(macs(false, "02:00:00:00:00:0b", "02:00:00:00:00:0a"), "inet"))
  end)

  it("is judged by a single node on the link when the gateway answers otherwise, or there is none", function()
    local given = world()
    given.gateway.inet.lladdr = nil
    assert.matches("^it is not known yet", routes.fabric(given, "inet"))
    given.gateway.inet = nil
    assert.is_nil(routes.fabric(given, "inet"))
    given.reach.n3.inet.lladdr = nil
    assert.matches("^it is not known yet", routes.fabric(given, "inet"))
  end)

  it("is what the world says of it, where it does", function()
    local given = macs(false, false, false)
    given.fabric = { inet = { forwards = true } }
    assert.is_nil(routes.fabric(given, "inet"))
    given = world()
    given.fabric = { inet = { forwards = false, why = "so it is" } }
    assert.equal("so it is", routes.fabric(given, "inet"))
  end)

  it("is known by the provider", function()
    for _, provider in ipairs { "azure", "gce", "aws", "openstack" } do
      local given = world { provider_id = provider .. ":///x" }
      assert.matches("^the network of " .. provider, routes.fabric(given, "inet"))
      assert.same(TUNNEL, lines(desired(given)))
    end
  end)

  it("is known by one MAC address for all nodes", function()
    local one = "02:00:00:00:00:0a"
    local given = macs(one, one, false)
    assert.equal("all nodes answer with one MAC address, " .. one, routes.fabric(given, "inet"))
    assert.is_nil(routes.fabric(given, "inet6"))
    assert.is_nil(routes.fabric(macs(one, one, "02:00:00:00:00:0b"), "inet"))
    local want = desired(given)
    assert.same({ TUNNEL[1], DIRECT[2] }, { table.unpack(lines(want), 1, 2) })
    assert.same({ "no direct routes over IPv4: all nodes answer with one MAC address, " .. one }, want.notes)
  end)

  it("is known by a node that answers as the gateway or as Azure's router, but is not the gateway", function()
    assert.equal("n4 answers with the gateway's MAC address 02:00:00:00:00:01",
      routes.fabric(macs(false, "02:00:00:00:00:01", "02:00:00:00:00:0b"), "inet"))
    assert.matches("Azure", routes.fabric(macs("12:34:56:78:9a:bc"), "inet"))
    local given = macs("02:00:00:00:00:01", "02:00:00:00:00:0b")
    given.gateway.inet.address = "10.0.0.3"
    assert.is_nil(routes.fabric(given, "inet"))
  end)

  it("is not judged by nodes behind a gateway", function()
    local one = "02:00:00:00:00:0a"
    local given = macs(one, one, "02:00:00:00:00:0b")
    given.reach.n5.inet.gateway = "10.0.0.1"
    assert.truthy(routes.fabric(given, "inet"))
    given.reach.n4.inet.gateway = "10.0.0.1"
    assert.is_nil(routes.fabric(given, "inet")) -- a single one
    given.reach.n3.inet.gateway = "10.0.0.1"
    assert.is_nil(routes.fabric(given, "inet"))
  end)

  it("is told of where direct routes are asked for, and does not stop them", function()
    local want = desired(world { provider_id = "azure:///x" }, { mode = "direct" })
    assert.same(DIRECT, lines(want))
    assert.equal(2, #want.notes)
    assert.same({}, desired(world { provider_id = "azure:///x" }, { mode = "vxlan" }).notes)
  end)
end)

describe("the MAC address of a tunnel", function()
  it("is made of the node's address, readable for IPv4", function()
    assert.equal("4e:43:0a:00:00:03", routes.mac "10.0.0.3")
    assert.equal("4e:43:ff:fe:fd:fc", routes.mac "255.254.253.252")
  end)

  it("is one and the same for every spelling", function()
    assert.equal(routes.mac "fd01::3", routes.mac "FD01:0:0:0:0:0:0:3")
    assert.equal(routes.mac "10.0.0.3", routes.mac "::ffff:10.0.0.3")
    assert.equal("96:cb:e8:75:d7:c6", routes.mac "fd01::3")
  end)

  it("is locally administered and of one station, and differs between addresses", function()
    local seen = {}
    for i = 1, 2000 do
      for _, address in ipairs { ("10.0.%d.%d"):format(i >> 8, i & 255), ("fd01::%x"):format(i) } do
        local mac = routes.mac(address)
        assert.is_nil(seen[mac])
        seen[mac] = true
        assert.equal(2, tonumber(mac:sub(1, 2), 16) & 3)
      end
    end
  end)
end)
