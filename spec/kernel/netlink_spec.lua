-- SPDX-License-Identifier: Apache-2.0
-- Netlink sockets against a real kernel: each object with each verb, refusals, transactions, dumps and events.
local core = require "mncni.core"
local spaces = require "spec.support.netns"

local function refusal(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  return err
end

local function collect(iterator)
  local list = {}
  for value in iterator do
    list[#list + 1] = value
  end
  return list
end

local function has(list, wanted)
  for _, value in ipairs(list or {}) do
    if value == wanted then
      return true
    end
  end
  return false
end

describe("a netlink socket", function()
  local before, space, route, nft

  local function count(object, filter)
    return #collect(route:dump(object, filter))
  end

  before_each(function()
    before = spaces.snapshot()
    space = spaces.new()
    route = core.socket { protocol = "route", netns = space.ns }
    nft = core.socket { protocol = "netfilter", netns = space.ns }
  end)

  after_each(function()
    route:close()
    nft:close()
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  -- A veth pair v0 and v1, both up, v1 with addresses of both families.
  local function wire()
    route:request("add", "link", { ifname = "v0", kind = "veth", up = true, peer = { ifname = "v1" } })
    route:request("set", "link", { ifname = "v1", up = true })
    route:request("add", "addr", { dev = "v1", address = "10.0.0.2/24", flags = { "nodad" } })
    route:request("add", "addr", { dev = "v1", address = "fd00::2/64", flags = { "nodad" } })
  end

  describe("with links", function()
    it("makes, reads, changes and deletes a bridge", function()
      assert.is_true(route:request("add", "link", {
        ifname = "br0", kind = "bridge", address = "02:00:00:00:00:01", mtu = 1400, group = 42, up = true,
        ifalias = "pods", bridge = { stp_state = false, ageing_time = 1000, priority = 16384 },
      }))
      local link = route:request("get", "link", { ifname = "br0" })
      assert.equal("bridge", link.kind)
      assert.equal("02:00:00:00:00:01", link.address)
      assert.equal(1400, link.mtu)
      assert.equal(42, link.group)
      assert.equal("pods", link.ifalias)
      assert.is_true(link.up)
      assert.is_true(has(link.flags, "UP"))
      assert.is_false(link.bridge.stp_state)
      assert.equal(1000, link.bridge.ageing_time)
      assert.equal(16384, link.bridge.priority)
      assert.is_nil(link.raw, "an attribute of this kernel has no row")
      route:request("set", "link", { ifname = "br0", mtu = 1300, up = false, bridge = { ageing_time = 2000 } })
      link = route:request("get", "link", { ifindex = link.ifindex })
      assert.equal(1300, link.mtu)
      assert.is_false(link.up)
      assert.equal(2000, link.bridge.ageing_time)
      route:request("replace", "link", { ifname = "br0", kind = "bridge", mtu = 1200 })
      assert.equal(1200, route:request("get", "link", { ifname = "br0" }).mtu)
      route:request("set", "link", { ifindex = link.ifindex, ifname = "br1" })
      assert.is_nil(route:request("get", "link", { ifname = "br0" }))
      route:request("del", "link", { ifname = "br1" })
      assert.is_nil(route:request("get", "link", { ifname = "br1" }))
    end)

    it("names the port that takes over when another one loses its carrier", function()
      for _, ifname in ipairs { "v0", "v1" } do
        route:request("add", "link", { ifname = ifname, kind = "veth", peer = { ifname = "to-" .. ifname } })
      end
      route:request("add", "link", { ifname = "br0", kind = "bridge" })
      route:request("set", "link", { ifname = "v0", master = "br0" })
      route:request("set", "link", { ifname = "v1", master = "br0" })
      route:request("set", "link", { ifname = "v0", bridge_slave = { backup_port = "v1" } })
      assert.equal("v1", route:request("get", "link", { ifname = "v0" }).bridge_slave.backup_port)
      local shown = core.json.decode(space:must "ip -d -json link show dev v0")[1]
      assert.equal("v1", shown.linkinfo.info_slave_data.backup_port)
    end)

    it("creates a veth with its peer in another namespace, by preset indexes, as a port with its settings", function()
      local pod = spaces.new()
      local inside <close> = core.socket { netns = pod.ns }
      route:request("add", "link", { ifname = "br0", kind = "bridge", up = true })
      route:request("add", "link", {
        ifname = "vx", kind = "veth", ifindex = 101, master = "br0", up = true, ifalias = "web",
        bridge_slave = { hairpin = true, isolated = true, learning = false, cost = 50 },
        peer = { ifname = "eth0", ifindex = 201, mtu = 1400, address = "02:00:00:00:00:07", netns = pod.ns },
      })
      local link = route:request("get", "link", { ifname = "vx" })
      local peer = inside:request("get", "link", { ifname = "eth0" })
      assert.equal(101, link.ifindex)
      assert.equal("br0", link.master)
      assert.equal("web", link.ifalias)
      assert.is_true(link.bridge_slave.hairpin)
      assert.is_true(link.bridge_slave.isolated)
      assert.is_false(link.bridge_slave.learning)
      assert.equal(50, link.bridge_slave.cost)
      assert.equal(201, peer.ifindex)
      assert.equal(1400, peer.mtu)
      assert.equal("02:00:00:00:00:07", peer.address)
      assert.equal(201, link.link, "an index in another namespace has no name here")
      assert.is_nil(route:request("get", "link", { ifname = "eth0" }))
      route:request("set", "link", { ifname = "vx", master = false })
      assert.is_nil(route:request("get", "link", { ifname = "vx" }).master)
    end)

    it("moves a link to another namespace", function()
      local pod = spaces.new()
      local inside <close> = core.socket { netns = pod.ns }
      route:request("add", "link", { ifname = "v0", kind = "veth", peer = { ifname = "v1" } })
      route:request("set", "link", { ifname = "v1", netns = pod.ns })
      assert.is_nil(route:request("get", "link", { ifname = "v1" }))
      assert.equal("veth", inside:request("get", "link", { ifname = "v1" }).kind)
    end)

    it("makes a vxlan", function()
      route:request("add", "link",
        { ifname = "vx0", kind = "vxlan", vxlan = { id = 42, port = 4789, learning = false, ["local"] = "10.0.0.1" } })
      local link = route:request("get", "link", { ifname = "vx0" })
      assert.equal(42, link.vxlan.id)
      assert.equal(4789, link.vxlan.port)
      assert.is_false(link.vxlan.learning)
      assert.equal("10.0.0.1", link.vxlan["local"])
    end)

    it("lists by kind and by master, and deletes by group", function()
      for i = 1, 3 do
        route:request("add", "link", { ifname = "b" .. i, kind = "bridge", group = i > 1 and 7 or 0 })
      end
      wire()
      route:request("set", "link", { ifname = "v0", master = "b1" })
      assert.equal(3, count("link", { kind = "bridge" }))
      assert.equal("v0", collect(route:dump("link", { master = "b1" }))[1].ifname)
      assert.equal(1, count("link", { master = "b1" }))
      assert.equal(0, count("link", { master = "no-such" }))
      assert.equal("v1", route:request("get", "link", { ifname = "v0" }).link)
      route:request("del", "link", { group = 7 })
      assert.equal(1, count("link", { kind = "bridge" }))
    end)

    it("leaves no link behind when its second message is refused", function()
      local err = refusal(route.request, route, "add", "link",
        { ifname = "v0", kind = "veth", peer = { ifname = "v1" }, bridge_slave = { hairpin = true } })
      assert.equal('link "v0"', err.object)
      assert.is_nil(route:request("get", "link", { ifname = "v0" }))
    end)

    it("does not touch a link that was there before", function()
      route:request("add", "link", { ifname = "br0", kind = "bridge", ifalias = "mine" })
      local err = refusal(route.request, route, "add", "link", { ifname = "br0", kind = "bridge", ifalias = "yours" })
      assert.equal("EEXIST", err.name)
      assert.equal("mine", route:request("get", "link", { ifname = "br0" }).ifalias)
      assert.has_error(function()
        route:batch { { "add", "link", { ifname = "br0", kind = "bridge", ifalias = "yours" } } }
      end)
      assert.equal("mine", route:request("get", "link", { ifname = "br0" }).ifalias)
    end)
  end)

  describe("with addresses", function()
    before_each(wire)

    it("adds, reads, lists and deletes both families", function()
      local address = route:request("get", "addr", { dev = "v1", address = "fd00::2/64" })
      assert.equal("inet6", address.family)
      assert.equal("v1", address.dev)
      assert.is_true(has(address.flags, "nodad"))
      assert.is_false(has(address.flags, "tentative"))
      assert.equal("10.0.0.2/24", collect(route:dump("addr", { dev = "v1", family = "inet" }))[1].address)
      assert.equal(0, count("addr", { dev = "v0", family = "inet" }))
      assert.is_nil(route:request("get", "addr", { dev = "v1", address = "10.0.0.3/24" }))
      assert.is_nil(route:request("get", "addr", { dev = "no-such", address = "10.0.0.3/24" }))
      route:request("del", "addr", { dev = "v1", address = "10.0.0.2/24" })
      assert.equal(0, count("addr", { dev = "v1", family = "inet" }))
    end)

    it("carries label, broadcast, scope, lifetimes, metric and peer", function()
      route:request("add", "addr", {
        dev = "v1", address = "10.1.0.1/24", label = "v1:x", broadcast = "10.1.0.255", scope = "link", metric = 77,
        valid_life_time = 1000, preferred_life_time = 500, flags = { "noprefixroute" },
      })
      local address = route:request("get", "addr", { dev = "v1", address = "10.1.0.1/24" })
      assert.equal("v1:x", address.label)
      assert.equal("10.1.0.255", address.broadcast)
      assert.equal("link", address.scope)
      assert.equal(77, address.metric)
      assert.is_true(address.valid_life_time > 900 and address.valid_life_time <= 1000)
      assert.is_true(address.preferred_life_time > 400 and address.preferred_life_time <= 500)
      assert.is_nil(route:request("get", "route", { dst = "10.1.0.0/24" }))
      route:request("add", "addr", { dev = "v1", address = "10.2.0.1/32", peer = "10.2.0.2/32" })
      address = route:request("get", "addr", { dev = "v1", address = "10.2.0.1/32" })
      assert.equal("10.2.0.2/32", address.peer)
      route:request("replace", "addr", { dev = "v1", address = "10.1.0.1/24", valid_life_time = 5000 })
      assert.is_true(route:request("get", "addr", { dev = "v1", address = "10.1.0.1/24" }).valid_life_time > 4000)
    end)

    it("works by index without asking for a name", function()
      local index = route:request("get", "link", { ifname = "v1" }).ifindex
      route:request("add", "addr", { ifindex = index, address = "10.5.0.1/24" })
      assert.equal("v1", route:request("get", "addr", { ifindex = index, address = "10.5.0.1/24" }).dev)
      route:request("del", "addr", { ifindex = index, dev = "a name that nobody looks up", address = "10.5.0.1/24" })
    end)
  end)

  describe("with routes", function()
    before_each(wire)

    it("adds, reads, changes and deletes", function()
      local key = { dst = "10.9.0.0/16", table = 1000, metric = 5 }
      route:request("add", "route", { dst = "10.9.0.0/16", table = 1000, metric = 5, gateway = "10.0.0.1",
        protocol = "mncni", prefsrc = "10.0.0.2", metrics = { mtu = 1300, advmss = 1200, initcwnd = 20, quickack = true,
        lock = { "mtu" }, congctl = "cubic" } })
      local entry = route:request("get", "route", key)
      assert.equal("10.0.0.1", entry.gateway)
      assert.equal("v1", entry.dev)
      assert.equal("mncni", entry.protocol)
      assert.equal("10.0.0.2", entry.prefsrc)
      assert.equal("global", entry.scope)
      assert.equal("unicast", entry.type)
      assert.same({ mtu = 1300, advmss = 1200, initcwnd = 20, quickack = true, lock = { "mtu" }, congctl = "cubic" },
        entry.metrics)
      route:request("replace", "route", { dst = "10.9.0.0/16", table = 1000, metric = 5, gateway = "10.0.0.9" })
      assert.equal("10.0.0.9", route:request("get", "route", key).gateway)
      assert.equal("EEXIST", refusal(route.request, route, "add", "route",
        { dst = "10.9.0.0/16", table = 1000, metric = 5, gateway = "10.0.0.1" }).name)
      route:request("append", "route", { dst = "10.9.0.0/16", table = 1000, metric = 5, gateway = "10.0.0.1" })
      assert.equal(2, count("route", { table = 1000 }))
      route:request("del", "route", { dst = "10.9.0.0/16", table = 1000, gateway = "10.0.0.1" })
      route:request("del", "route", { dst = "10.9.0.0/16", table = 1000 })
      assert.equal(0, count("route", { table = 1000 }))
      assert.equal("ESRCH", refusal(route.request, route, "del", "route", key).name)
    end)

    it("keeps multipath, onlink, via, blackholes and the rest of the types apart", function()
      route:request("add", "route", { dst = "10.8.0.0/16", nexthops = {
        { gateway = "10.0.0.3", weight = 2 }, { gateway = "192.0.2.1", dev = "v1", flags = { "onlink" } },
      } })
      local hops = route:request("get", "route", { dst = "10.8.0.0/16" }).nexthops
      assert.equal(2, hops[1].weight)
      assert.equal("v1", hops[1].dev)
      assert.equal("10.0.0.3", hops[1].gateway)
      assert.same({ "onlink" }, hops[2].flags)
      route:request("add", "route", { dst = "10.7.0.0/16", gateway = "192.0.2.2", dev = "v1", flags = { "onlink" } })
      assert.is_true(has(route:request("get", "route", { dst = "10.7.0.0/16" }).flags, "onlink"))
      route:request("add", "route", { dst = "10.6.0.0/16", dev = "v1", via = { family = "inet6", host = "fd00::1" } })
      assert.same({ family = "inet6", host = "fd00::1" }, route:request("get", "route", { dst = "10.6.0.0/16" }).via)
      for _, type in ipairs { "blackhole", "unreachable", "prohibit", "throw" } do
        for _, dst in ipairs { "10.5.0.0/16", "fd05::/16" } do
          route:request("add", "route", { dst = dst, type = type, metric = 1024 })
          assert.equal(type, route:request("get", "route", { dst = dst, metric = 1024 }).type)
          route:request("del", "route", { dst = dst, type = type, metric = 1024 })
        end
      end
    end)

    it("looks up what a packet would do, both families", function()
      route:request("add", "route", { dst = "default", gateway = "10.0.0.1" })
      route:request("add", "route", { dst = "default", gateway = "fd00::1" })
      local way = route:request("get", "route", { dst = "192.0.2.1" })
      assert.equal("10.0.0.1", way.gateway)
      assert.equal("10.0.0.2", way.prefsrc)
      assert.equal("main", way.table)
      way = route:request("get", "route", { dst = "2001:db8::1" })
      assert.equal("fd00::1", way.gateway)
      assert.equal("v1", way.dev)
      assert.equal("10.0.0.1", route:request("get", "route", { dst = "default" }).gateway)
      route:request("del", "route", { dst = "default", gateway = "10.0.0.1" })
      assert.is_nil(route:request("get", "route", { dst = "192.0.2.1" }))
    end)

    it("lists what matches and nothing else", function()
      for i = 1, 300 do
        route:request("add", "route", { dst = ("10.%d.%d.0/24"):format(64 + i // 256, i % 256), dev = "v1",
          protocol = i % 3 == 0 and "mncni" or "static", table = i % 2 == 0 and 1000 or "main" })
      end
      assert.equal(50, count("route", { protocol = "mncni", table = 1000 }))
      assert.equal(100, count("route", { protocol = "mncni" }))
      assert.equal(150, count("route", { table = 1000 }))
      assert.equal(0, count("route", { table = 4242, family = "inet" }))
      assert.equal(1, count("route", { dst = "10.64.7.0/24" }))
      assert.equal(1, count("route", { dst = core.cidr "10.64.7.0/24" }))
      for entry in route:dump("route", { table = 1000 }) do
        if entry.protocol == "mncni" then
          route:request("del", "route", { dst = entry.dst, table = 1000 }) -- the socket is free in the loop
        end
      end
      assert.equal(100, count("route", { table = 1000 }))
    end)
  end)

  describe("with rules, neighbours and nsids", function()
    before_each(wire)

    it("adds, lists, replaces and deletes rules", function()
      local rule = { priority = 100, src = "10.0.0.0/8", fwmark = 1, fwmask = 255, table = 1000, iif = "v1",
        ipproto = "tcp", dport = "80-90", protocol = "mncni" }
      route:request("add", "rule", rule)
      local got = route:request("get", "rule", { priority = 100 })
      for key, value in pairs(rule) do
        assert.equal(value, got[key], key)
      end
      assert.is_nil(got.suppress_prefixlength)
      assert.equal("EEXIST", refusal(route.request, route, "add", "rule", rule).name)
      assert.is_true(route:request("replace", "rule", rule))
      assert.is_true(route:batch { { "replace", "rule", rule } })
      assert.equal(1, count("rule", { protocol = "mncni" }))
      route:request("add", "rule", { priority = 50, family = "inet6", table = "main", suppress_prefixlength = 0 })
      assert.equal(0, route:request("get", "rule", { priority = 50, family = "inet6" }).suppress_prefixlength)
      route:request("del", "rule", { priority = 100 })
      assert.is_nil(route:request("get", "rule", { priority = 100 }))
      assert.equal("to_table", route:request("get", "rule", { priority = 32766, family = "inet" }).action)
    end)

    it("adds, gets, changes and deletes neighbours, proxies too", function()
      route:request("add", "neigh", { dst = "10.0.0.9", dev = "v1", lladdr = "02:00:00:00:00:09" })
      local entry = route:request("get", "neigh", { dst = "10.0.0.9", dev = "v1" })
      assert.equal("02:00:00:00:00:09", entry.lladdr)
      assert.same({ "permanent" }, entry.state)
      route:request("replace", "neigh",
        { dst = "10.0.0.9", dev = "v1", lladdr = "02:00:00:00:00:0a", state = { "stale" } })
      assert.equal("02:00:00:00:00:0a", collect(route:dump("neigh", { dev = "v1", dst = "10.0.0.9" }))[1].lladdr)
      route:request("add", "neigh", { dst = "fd00::99", dev = "v1", flags = { "proxy" } })
      assert.equal(1, count("neigh", { flags = { "proxy" } }))
      route:request("del", "neigh", { dst = "10.0.0.9", dev = "v1" })
      assert.is_nil(route:request("get", "neigh", { dst = "10.0.0.9", dev = "v1" }))
    end)

    it("adds, gets and deletes forwarding entries of a bridge port and of a vxlan", function()
      route:request("add", "link", { ifname = "br0", kind = "bridge" })
      route:request("set", "link", { ifname = "v0", master = "br0" })
      route:request("add", "fdb", { mac = "02:00:00:00:00:07", dev = "v0", flags = { "master" } })
      assert.equal("br0", route:request("get", "fdb", { mac = "02:00:00:00:00:07", dev = "v0" }).master)
      assert.equal(1, count("fdb", { mac = "02:00:00:00:00:07" }))
      route:request("del", "fdb", { mac = "02:00:00:00:00:07", dev = "v0", flags = { "master" } })
      assert.equal(0, count("fdb", { mac = "02:00:00:00:00:07" }))
      route:request("add", "link", { ifname = "vx0", kind = "vxlan", vxlan = { id = 1, port = 4789 } })
      route:request("append", "fdb", { mac = "00:00:00:00:00:00", dev = "vx0", dst = "192.0.2.1" })
      route:request("append", "fdb", { mac = "00:00:00:00:00:00", dev = "vx0", dst = "192.0.2.2" })
      assert.equal(2, count("fdb", { dev = "vx0", mac = "00:00:00:00:00:00" }))
      assert.equal(1, count("fdb", { dev = "vx0", dst = "192.0.2.2" }))
      assert.equal(0, count("neigh", { lladdr = "00:00:00:00:00:00" }))
    end)

    it("numbers other namespaces", function()
      local pod = spaces.new()
      assert.is_nil(route:request("get", "nsid", { netns = pod.ns }))
      route:request("add", "nsid", { netns = pod.ns, nsid = 12 })
      assert.equal(12, route:request("get", "nsid", { netns = pod.ns }).nsid)
      assert.equal(1, count("nsid", { nsid = 12 }))
      assert.equal("EEXIST", refusal(route.request, route, "add", "nsid", { netns = pod.ns, nsid = 13 }).name)
    end)
  end)

  describe("when the kernel refuses", function()
    it("says what was attempted, where, and in the kernel's own words", function()
      local err = refusal(route.request, route, "add", "link", { ifname = "x0", kind = "no-such-kind" })
      assert.equal("add", err.op)
      assert.equal('link "x0"', err.object)
      assert.equal(95, err.errno)
      assert.equal("EOPNOTSUPP", err.name)
      assert.equal("Unknown device type", err.extack)
      assert.equal(102, err.code)
      assert.is_truthy(err.netns:find("%d"))
      assert.matches('^add link "x0" %(netns .*%): EOPNOTSUPP .*Unknown device type', tostring(err))
    end)

    it("names the attribute, nested ones by their path, and the range", function()
      wire()
      local err = refusal(route.request, route, "set", "link", { ifname = "v0", raw = { [4] = "\1" } })
      assert.equal("mtu (IFLA_MTU)", err.attribute)
      assert.equal("ERANGE", err.name)
      assert.matches("allowed is 0 to 4294967295", err.message)
      err = refusal(route.request, route, "add", "link",
        { ifname = "br0", kind = "bridge", bridge = { raw = { [1] = "x" } } })
      assert.equal("bridge.forward_delay (IFLA_BR_FORWARD_DELAY)", err.attribute)
      err = refusal(route.request, route, "add", "link",
        { ifname = "x", kind = "veth", peer = { raw = { [4] = "\1" } } })
      assert.equal("peer.mtu (IFLA_MTU)", err.attribute)
      err = refusal(nft.request, nft, "add", "nft_chain", { family = "inet", table = "none", name = "c" })
      assert.equal("table (NFTA_CHAIN_TABLE)", err.attribute)
    end)

    it("names an unknown link, and knows links that are made earlier in a batch", function()
      local err = refusal(route.request, route, "add", "addr", { dev = "eth7", address = "10.0.0.1/8" })
      assert.equal("ENODEV", err.name)
      assert.matches('there is no link "eth7"', err.message)
      assert.equal("dev (ifa_index)", err.attribute)
      route:batch {
        { "add", "link", { ifname = "br0", kind = "bridge", up = true } },
        { "add", "addr", { dev = "br0", address = "10.0.0.1/8" } },
        { "add", "link", { ifname = "v0", kind = "veth", master = "br0", peer = { ifname = "v1" } } },
      }
      assert.equal("br0", route:request("get", "addr", { address = "10.0.0.1/8" }).dev)
      assert.equal("br0", route:request("get", "link", { ifname = "v0" }).master)
    end)

    it("does not look up a link whose index it is told", function()
      route:batch { { "add", "link", { ifname = "br0", kind = "bridge" } } }
      local known = { eth7 = route:request("get", "link", { ifname = "br0" }).ifindex, eth8 = 0, lo = "lo" }
      route:batch({ { "add", "addr", { dev = "eth7", address = "10.0.0.1/8" } } }, false, known)
      assert.equal("br0", route:request("get", "addr", { address = "10.0.0.1/8" }).dev)
      assert.equal("ENODEV",
        refusal(route.batch, route, { { "add", "addr", { dev = "eth8", address = "10.0.0.2/8" } } }, false, known).name)
      assert.same({}, route:batch({ { "add", "addr", { dev = "lo", address = "10.0.0.3/8" } } }, true, known))
      assert.equal("lo", route:request("get", "addr", { address = "10.0.0.3/8" }).dev)
    end)

    it("tells which message of a batch it was, and goes on with what follows", function()
      local err = refusal(route.batch, route, {
        { "add", "link", { ifname = "b1", kind = "bridge" } },
        { "add", "link", { ifname = "b1", kind = "bridge" } },
        { "del", "link", { ifname = "none" } },
        { "add", "link", { ifname = "b2", kind = "bridge" } },
      })
      assert.equal(2, err.index)
      assert.equal("EEXIST", err.name)
      assert.is_table(route:request("get", "link", { ifname = "b2" }))
      err = refusal(route.batch, route,
        { { "add", "link", { ifname = "b3", kind = "bridge" } }, { "add", "link", { iname = "x" } } })
      assert.matches("unknown key", tostring(err))
      assert.is_nil(route:request("get", "link", { ifname = "b3" }), "nothing is sent when an argument is wrong")
    end)

    it("collects many refusals without losing its place", function()
      local list = {}
      for i = 1, 400 do
        list[i] = { "del", "link", { ifname = "none" .. i } }
      end
      assert.equal(1, refusal(route.batch, route, list).index)
      assert.equal("lo", route:request("get", "link", { ifname = "lo" }).ifname)
    end)

    it("works with a thousand changes in one batch", function()
      wire()
      local list = {}
      for i = 1, 1000 do
        list[i] = { "add", "route",
          { dst = ("10.%d.%d.0/24"):format(100 + i // 250, i % 250), dev = "v1", protocol = 78 } }
      end
      route:batch(list)
      assert.equal(1000, count("route", { protocol = "mncni" }))
    end)
  end)

  it("is closed once and for all, by every way there is", function()
    local fd
    do
      local sock <close> = core.socket { netns = space.ns }
      fd = sock:fd()
      local flags = io.open("/proc/self/fdinfo/" .. fd):read("a"):match "flags:%s*(%d+)"
      assert.equal(1, tonumber(flags, 8) >> 19 & 1, "close on exec")
      sock:close()
      sock:close()
      assert.matches("the handle is closed", tostring(refusal(sock.request, sock, "get", "link", { ifname = "lo" })))
    end
    assert.has_error(function() core.socket { protcol = "route" } end)
    assert.has_error(function() core.socket { protocol = "rout" } end)
  end)

  it("stays in its namespace while the caller stays at home", function()
    local here <close> = core.socket {}
    local home <close> = core.netns.current()
    wire()
    assert.is_nil(here:request("get", "link", { ifname = "v0" }))
    local now <close> = core.netns.current()
    assert.is_true(home == now)
  end)

  it("lists completely while another process changes what is listed", function()
    wire()
    for i = 1, 250 do
      route:request("add", "link", { ifname = ("stay%d"):format(i), kind = "bridge" })
    end
    local script = os.tmpname()
    local file <close> = assert(io.open(script, "w"))
    for i = 1, 60 do
      file:write(("link add churn%d type bridge\nlink del churn%d\n"):format(i % 7, i % 7))
    end
    file:close()
    local pid = space:must("(ip -batch %s >/dev/null 2>&1 & echo $!)", script)
    local rounds = 0
    repeat
      local stay = 0
      local ok, err = pcall(function()
        for link in route:dump "link" do
          stay = stay + (link.ifname:match "^stay" and 1 or 0)
        end
      end)
      if ok then
        assert.equal(250, stay)
      else
        assert.equal("EINTR", err.name) -- said so, after trying often enough
      end
      rounds = rounds + 1
    until not io.open("/proc/" .. pid .. "/stat")
    os.remove(script)
    assert.is_true(rounds > 5)
  end)
end)

describe("nf_tables over a socket", function()
  local before, space, nft
  local table_of = { family = "inet", table = "mncni" }

  local function with(args)
    for key, value in pairs(table_of) do
      args[key] = args[key] or value
    end
    return args
  end

  -- Matches sources in one set, destinations not in another nor local, and masquerades.
  local function masquerade(version)
    local v6 = version == 6
    local offset, len = v6 and 8 or 12, v6 and 16 or 4
    return {
      { kind = "meta", key = "nfproto", dreg = 1 },
      { kind = "cmp", sreg = 1, op = "eq", data = { u8 = v6 and 10 or 2 } },
      { kind = "payload", base = "network", offset = offset, len = len, dreg = 1 },
      { kind = "lookup", set = "masq" .. version, sreg = 1 },
      { kind = "payload", base = "network", offset = offset + len, len = len, dreg = 1 },
      { kind = "lookup", set = "nonmasq" .. version, sreg = 1, invert = true },
      { kind = "fib", dreg = 1, result = "type", flags = { "daddr" } },
      { kind = "cmp", sreg = 1, op = "neq", data = { u32 = 2 } },
      { kind = "masq" },
    }
  end

  local function rule_set()
    local list = {
      { "add", "nft_table", { family = "inet", name = "mncni" } },
      { "add", "nft_chain", with { name = "postrouting", type = "nat", hook = "postrouting", prio = 100,
        policy = "accept" } },
    }
    for _, version in ipairs { 4, 6 } do
      for _, name in ipairs { "masq", "nonmasq" } do
        list[#list + 1] = { "add", "nft_set", with { name = name .. version, type = ("ipv%d_addr"):format(version),
          flags = { "interval" } } }
      end
      list[#list + 1] = { "add", "nft_rule", with { chain = "postrouting", expr = masquerade(version),
        comment = "leaves the cluster" } }
    end
    return list
  end

  local function elements(name, socket)
    local list = {}
    for element in (socket or nft):dump("nft_element", with { name = name }) do
      list[#list + 1] = element.elem
    end
    return table.concat(list, " ")
  end

  before_each(function()
    before = spaces.snapshot()
    space = spaces.new()
    nft = core.socket { protocol = "netfilter", netns = space.ns }
  end)

  after_each(function()
    nft:close()
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  it("loads a masquerade rule set that nft prints as meant", function()
    nft:batch(rule_set())
    nft:request("add", "nft_element", with { name = "masq4", elem = { "10.244.1.0/24", "10.244.2.7" } })
    nft:request("add", "nft_element", with { name = "nonmasq6", elem = "fd00::/8" })
    local text = space:must "nft list ruleset"
    for _, line in ipairs {
      "type nat hook postrouting priority srcnat; policy accept;",
      'ip saddr @masq4 ip daddr != @nonmasq4 fib daddr type != local masquerade comment "leaves the cluster"',
      "ip6 saddr @masq6 ip6 daddr != @nonmasq6 fib daddr type != local masquerade",
      "elements = { 10.244.1.0/24, 10.244.2.7 }", "elements = { fd00::/8 }", "flags interval",
    } do
      assert.is_truthy(text:find(line, 1, true), line .. "\nis not in\n" .. text)
    end
  end)

  it("loads the same rule that nft loads", function()
    nft:batch(rule_set())
    local function decoded()
      local rule = nft:request("get", "nft_rule", with { chain = "postrouting" })
      return rule.expr
    end
    local ours = decoded()
    nft:request("flush", "nft_rule", with { chain = "postrouting" })
    assert.is_nil(nft:request("get", "nft_rule", with { chain = "postrouting" }))
    space:must("nft add rule inet mncni postrouting "
      .. "meta nfproto ipv4 ip saddr @masq4 ip daddr != @nonmasq4 fib daddr type != local masquerade")
    assert.same(decoded(), ours)
  end)

  it("applies all of a transaction or nothing, and tells which message was refused", function()
    nft:batch(rule_set())
    local err = refusal(nft.batch, nft, {
      { "add", "nft_table", { family = "inet", name = "other" } },
      { "add", "nft_element", with { name = "masq4", elem = { "10.1.0.0/16" } } },
      { "add", "nft_rule", with { chain = "postrouting", expr = { { kind = "lookup", set = "none", sreg = 1 } } } },
      { "add", "nft_chain", with { name = "never" } },
    })
    assert.equal(3, err.index)
    assert.equal("ENOENT", err.name)
    assert.equal('nft_rule "inet mncni postrouting"', err.object)
    assert.is_nil(nft:request("get", "nft_table", { family = "inet", name = "other" }))
    assert.equal("", elements "masq4")
    assert.equal("EEXIST", refusal(nft.batch, nft, rule_set()).name)
  end)

  it("gets, lists and deletes each object", function()
    nft:batch(rule_set())
    assert.equal("mncni", nft:request("get", "nft_table", { family = "inet", name = "mncni" }).name)
    assert.is_nil(nft:request("get", "nft_table", { family = "ip", name = "mncni" }))
    local chain = nft:request("get", "nft_chain", with { name = "postrouting" })
    assert.equal("nat", chain.type)
    assert.equal("postrouting", chain.hook)
    assert.equal(100, chain.prio)
    assert.equal("accept", chain.policy)
    local set = nft:request("get", "nft_set", with { name = "masq6" })
    assert.equal("ipv6_addr", set.type)
    assert.equal(16, set.key_len)
    assert.same({ "interval" }, set.flags)
    assert.is_nil(set.raw, "an attribute of this kernel has no row")
    assert.equal(4, #collect(nft:dump("nft_set", with {})))
    assert.equal(2, #collect(nft:dump("nft_set", with { type = "ipv4_addr" })))
    assert.equal(0, #collect(nft:dump("nft_rule", with { chain = "none" })))
    local rules = collect(nft:dump("nft_rule", with { chain = "postrouting" }))
    assert.equal(2, #rules)
    assert.equal("leaves the cluster", rules[1].comment)
    assert.equal(rules[1].handle, nft:request("get", "nft_rule", with { chain = "postrouting",
      handle = rules[1].handle }).handle)
    nft:request("del", "nft_rule", with { chain = "postrouting", handle = rules[1].handle })
    nft:request("insert", "nft_rule",
      with { chain = "postrouting", expr = { { kind = "counter" } }, comment = "first" })
    nft:request("add", "nft_rule", with { chain = "postrouting", expr = { { kind = "immediate", dreg = 0,
      data = { verdict = "accept" } } }, comment = "last" })
    rules = collect(nft:dump("nft_rule", with { chain = "postrouting" }))
    assert.equal("first", rules[1].comment)
    assert.equal("last", rules[3].comment)
    assert.same({ verdict = "accept" }, rules[3].expr[1].data)
    nft:request("replace", "nft_rule", with { chain = "postrouting", handle = rules[3].handle,
      expr = { { kind = "notrack" } }, comment = "other" })
    assert.equal("other", collect(nft:dump("nft_rule", with { chain = "postrouting" }))[3].comment)
    nft:batch { { "flush", "nft_rule", with { chain = "postrouting" } } }
    nft:request("del", "nft_chain", with { name = "postrouting" })
    nft:request("del", "nft_set", with { name = "masq4" })
    assert.is_nil(nft:request("get", "nft_set", with { name = "masq4" }))
    nft:request("del", "nft_table", { family = "inet", name = "mncni" })
    assert.equal(0, #collect(nft:dump "nft_table"))
    assert.equal("ENOENT", refusal(nft.request, nft, "del", "nft_table", { family = "inet", name = "mncni" }).name)
  end)

  it("reads and writes the elements of a set as CIDRs", function()
    nft:batch(rule_set())
    local cidrs = { "0.0.0.0/5", "10.0.0.0/9", "10.128.0.0/9", "172.16.0.1", "192.0.2.9-192.0.2.20", "255.0.0.0/8" }
    nft:request("add", "nft_element", with { name = "masq4", elem = cidrs })
    assert.equal(table.concat(cidrs, " "), elements "masq4")
    for _, text in ipairs(cidrs) do
      assert.equal(text, nft:request("get", "nft_element", with { name = "masq4", elem = text }).elem)
    end
    assert.equal("10.0.0.0/9", nft:request("get", "nft_element", with { name = "masq4", elem = "10.5.0.7" }).elem)
    assert.is_nil(nft:request("get", "nft_element", with { name = "masq4", elem = "11.0.0.1" }))
    assert.is_nil(nft:request("get", "nft_element", with { name = "none", elem = "11.0.0.1" }))
    nft:request("replace", "nft_element", with { name = "masq4", elem = cidrs })
    assert.equal("EEXIST", refusal(nft.request, nft, "add", "nft_element",
      with { name = "masq4", elem = "10.0.0.0/10" }).name)
    nft:request("del", "nft_element", with { name = "masq4", elem = { cidrs[1], cidrs[3], cidrs[4], cidrs[5] } })
    assert.equal("10.0.0.0/9 255.0.0.0/8", elements "masq4")
    nft:request("flush", "nft_element", with { name = "masq4" })
    assert.equal("", elements "masq4")
    nft:request("add", "nft_element", with { name = "masq6", elem = { core.cidr "fd00:1::/64", "fd00::1" } })
    assert.equal("fd00::1 fd00:1::/64", elements "masq6")
    assert.equal(0, #collect(nft:dump("nft_element", with { name = "none" })))
  end)

  it("keeps an address one address, whether the set has intervals or not", function()
    nft:batch(rule_set())
    nft:batch {
      { "add", "nft_set", with { name = "plain", type = "ipv4_addr" } },
      { "add", "nft_set", with { name = "ranges", type = "ipv4_addr", flags = { "interval" } } },
      { "add", "nft_element", with { name = "plain", elem = { "10.0.0.1", "10.0.0.2/32" } } },
      { "add", "nft_element", with { name = "ranges", elem = { "10.0.0.1", "10.0.0.9/32" } } },
    }
    assert.equal("10.0.0.1 10.0.0.2", elements "plain")
    assert.equal("10.0.0.1 10.0.0.9", elements "ranges")
    assert.matches("elements = { 10.0.0.1, 10.0.0.9 }", space:must "nft list set inet mncni ranges")
  end)

  it("carries comments and timeouts of elements", function()
    nft:batch(rule_set())
    nft:request("add", "nft_set", with { name = "timed", type = "ipv4_addr", flags = { "timeout" }, timeout = 60000 })
    nft:request("add", "nft_element", with { name = "timed", elem = { { val = "10.0.0.1", comment = "web",
      timeout = 30000 } } })
    local element = nft:request("get", "nft_element", with { name = "timed", elem = "10.0.0.1" })
    assert.equal("web", element.comment)
    assert.equal(30000, element.timeout)
    assert.is_true(element.expires > 20000 and element.expires <= 30000)
  end)

  it("writes thousands of elements in one transaction", function()
    nft:batch(rule_set())
    local list = {}
    for i = 0, 4999 do
      list[#list + 1] = ("10.%d.%d.0/25"):format(i // 200, i % 200)
    end
    nft:request("add", "nft_element", with { name = "masq4", elem = list })
    assert.equal(5000, #collect(nft:dump("nft_element", with { name = "masq4" })))
    assert.equal("10.24.199.0/25",
      nft:request("get", "nft_element", with { name = "masq4", elem = "10.24.199.1" }).elem)
  end)

  it("really masquerades, both families, except where the sets say not to", function()
    local pod, outside = spaces.new(), spaces.new()
    local node <close> = core.socket { netns = space.ns }
    local inner <close> = core.socket { netns = pod.ns }
    local outer <close> = core.socket { netns = outside.ns }
    local function wire(sock, ifname, addresses, gateways)
      sock:request("set", "link", { ifname = ifname, up = true })
      for _, address in ipairs(addresses) do
        sock:request("add", "addr", { dev = ifname, address = address, flags = { "nodad" } })
      end
      for _, gateway in ipairs(gateways or {}) do
        sock:request("add", "route", { dst = "default", gateway = gateway })
      end
    end
    node:request("add", "link", { ifname = "pod", kind = "veth", peer = { ifname = "eth0", netns = pod.ns } })
    node:request("add", "link", { ifname = "out", kind = "veth", peer = { ifname = "eth0", netns = outside.ns } })
    wire(node, "pod", { "10.244.1.1/24", "fd00:1::1/64" })
    wire(node, "out", { "192.0.2.1/24", "2001:db8::1/64" })
    wire(inner, "eth0", { "10.244.1.7/24", "fd00:1::7/64" }, { "10.244.1.1", "fd00:1::1" })
    wire(outer, "eth0", { "192.0.2.2/24", "2001:db8::2/64" })
    core.sysctl.batch(space.ns, { { "net/ipv4/ip_forward", 1 }, { "net/ipv6/conf/all/forwarding", 1 } })
    local function reaches(address)
      return select(2, pod:sh("ping -n -c 1 -W 1 %s", address)) == 0
    end
    -- The outside knows no way to pods, so only what was masqueraded comes back.
    assert.is_false(reaches "192.0.2.2")
    assert.is_false(reaches "2001:db8::2")
    nft:batch(rule_set())
    nft:request("add", "nft_element", with { name = "masq4", elem = "10.244.1.0/24" })
    nft:request("add", "nft_element", with { name = "masq6", elem = "fd00:1::/64" })
    assert.is_true(reaches "192.0.2.2")
    assert.is_true(reaches "2001:db8::2")
    nft:request("add", "nft_element", with { name = "nonmasq4", elem = "192.0.2.0/24" })
    nft:request("add", "nft_element", with { name = "nonmasq6", elem = "2001:db8::/32" })
    assert.is_false(reaches "192.0.2.2")
    assert.is_false(reaches "2001:db8::2")
  end)
end)

describe("a monitor", function()
  local before, space, route

  before_each(function()
    before = spaces.snapshot()
    space = spaces.new()
    route = core.socket { netns = space.ns }
  end)

  after_each(function()
    route:close()
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  -- The next event that fits, within a second.
  local function expect(monitor, event, object, key, value)
    while true do
      local got = monitor:next(1000)
      assert.is_table(got, ("no %s %s %s"):format(event, object, value))
      if got.event == event and got.object == object and (not key or got.value[key] == value) then
        return got
      end
    end
  end

  it("waits no longer than it was told when the clock goes on between two looks at it", function()
    -- Each wait is over at once, and each thousandth or so sees the clock go on by a millisecond meanwhile.
    local script = [[
      local core = require "mncni.core"
      local monitor <close> = core.monitor { groups = { "rule" } }
      for _ = 1, 500000 do monitor:next(0) end]]
    local _, status = spaces.sh("timeout 60 " .. os.getenv "RING_LUA" .. " -e %s", script)
    assert.equal(0, status)
  end)

  it("tells of each kind of change, by whom, and nothing that was not asked for", function()
    local monitor <close> = core.monitor { groups = { "link", "addr", "route", "rule", "neigh" }, netns = space.ns }
    assert.is_nil(monitor:next(0))
    route:request("add", "link", { ifname = "v0", kind = "veth", up = true, peer = { ifname = "v1" } })
    assert.equal("veth", expect(monitor, "new", "link", "ifname", "v0").value.kind)
    route:request("set", "link", { ifname = "v1", up = true })
    route:request("add", "addr", { dev = "v1", address = "10.0.0.2/24" })
    local event = expect(monitor, "new", "addr", "address", "10.0.0.2/24")
    assert.equal("v1", event.value.dev)
    assert.is_true(event.portid ~= 0)
    assert.is_true(event.seq ~= 0)
    assert.is_nil(event.nsid)
    expect(monitor, "new", "route", "dst", "10.0.0.0/24")
    route:request("add", "rule", { priority = 7, table = 1000 })
    expect(monitor, "new", "rule", "priority", 7)
    route:request("add", "neigh", { dst = "10.0.0.9", dev = "v1", lladdr = "02:00:00:00:00:09" })
    expect(monitor, "new", "neigh", "dst", "10.0.0.9")
    route:request("del", "link", { ifname = "v0" })
    expect(monitor, "del", "link", "ifname", "v0")
    local quiet <close> = core.monitor { groups = { "rule" }, netns = space.ns }
    route:request("add", "link", { ifname = "b0", kind = "bridge" })
    assert.is_nil(quiet:next(20))
  end)

  it("does not take a port's leaving its bridge for its end", function()
    route:request("add", "link", { ifname = "br0", kind = "bridge" })
    route:request("add", "link", { ifname = "v0", kind = "veth", master = "br0", peer = { ifname = "v1" } })
    local monitor <close> = core.monitor { groups = { "link" }, netns = space.ns }
    route:request("set", "link", { ifname = "v0", master = false })
    local seen = 0
    for event in function() return monitor:next(50) end do
      assert.equal("new", event.event)
      seen = seen + 1
    end
    assert.is_true(seen > 0)
  end)

  it("tells of every numbered namespace, and of nf_tables with the process that did it", function()
    local pod = spaces.new()
    local inside <close> = core.socket { netns = pod.ns }
    local nft <close> = core.socket { protocol = "netfilter", netns = pod.ns }
    route:request("add", "nsid", { netns = pod.ns, nsid = 9 })
    local monitor <close> = core.monitor { groups = { "link", "nsid", "nft" }, netns = space.ns, all_netns = true }
    inside:request("add", "link", { ifname = "br7", kind = "bridge" })
    assert.equal(9, expect(monitor, "new", "link", "ifname", "br7").nsid)
    nft:request("add", "nft_table", { family = "inet", name = "t" })
    assert.equal(9, expect(monitor, "new", "nft_table", "name", "t").nsid)
    local generation = expect(monitor, "new", "nft_gen").value
    assert.equal("integer", math.type(generation.pid))
    assert.is_string(generation.process)
    route:request("add", "link", { ifname = "br8", kind = "bridge" })
    assert.is_nil(expect(monitor, "new", "link", "ifname", "br8").nsid)
    assert.equal("integer", math.type(monitor:fd()))
    local deaf <close> = core.monitor { groups = { "link" }, netns = space.ns }
    inside:request("del", "link", { ifname = "br7" })
    assert.is_nil(deaf:next(20))
  end)

  it("says when events were lost, and goes on", function()
    route:request("add", "link", { ifname = "br0", kind = "bridge", up = true })
    local index = route:request("get", "link", { ifname = "br0" }).ifindex
    local monitor <close> = core.monitor { groups = { "route" }, netns = space.ns }
    local changes = {}
    for _ = 1, 500 do
      changes[#changes + 1] = { "add", "route", { dst = "10.6.0.0/16", ifindex = index } }
      changes[#changes + 1] = { "del", "route", { dst = "10.6.0.0/16" } }
    end
    for _ = 1, 30 do
      route:batch(changes)
    end
    local overruns, events = 0, 0
    for event in function() return monitor:next(20) end do
      events = events + 1
      overruns = overruns + (event.event == "overrun" and 1 or 0)
    end
    assert.is_true(overruns >= 1)
    assert.is_true(events > 1000 and events < 30000)
    route:request("add", "route", { dst = "10.7.0.0/16", ifindex = index })
    expect(monitor, "new", "route", "dst", "10.7.0.0/16")
  end)

  it("is closed once and for all, and refuses groups that are none", function()
    local monitor = core.monitor { groups = { "link" }, netns = space.ns }
    monitor:close()
    monitor:close()
    assert.matches("the handle is closed", tostring(refusal(monitor.next, monitor, 0)))
    assert.matches('no group "lnik"', tostring(refusal(core.monitor, { groups = { "lnik" } })))
    assert.has_error(function() core.monitor { groups = {} } end)
    assert.has_error(function() core.monitor { group = { "link" } } end)
  end)
end)
