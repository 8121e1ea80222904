-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local mncni = require "mncni"
local recorded = require "mncni.recorded"

local function refusal(f, args)
  local ok, err = pcall(f, args)
  assert.is_false(ok)
  assert.is_true(core.is_error(err))
  return err
end

local function names(iterator, key)
  local list = {}
  for value in iterator do
    list[#list + 1] = value[key]
  end
  return list
end

describe("the recorded net", function()
  local world, host, pod

  before_each(function()
    world = recorded.new {
      host = {
        links = { { ifname = "eth0", mtu = 1450, up = true } },
        addresses = { { dev = "eth0", address = "192.0.2.10/24" }, { dev = "eth0", address = "2001:db8::10/64" } },
        routes = { { dst = "default", gateway = "192.0.2.1", protocol = "dhcp" } },
        sysctls = { ["net/ipv4/ip_forward"] = 0, ["net/ipv4/conf/default/rp_filter"] = 2 },
      },
    }
    host, pod = world.host, world.pod
  end)

  it("has what its fixture says, with the connected routes that follow", function()
    assert.same({ "lo", "eth0" }, names(host.link.list(), "ifname"))
    assert.same({ "192.0.2.0/24", "default" }, names(host.route.list { family = "inet" }, "dst"))
    assert.same({ "2001:db8::/64" }, names(host.route.list { family = "inet6" }, "dst"))
    assert.same({ "lo" }, names(pod.link.list(), "ifname"))
    assert.same({}, world.lines())
  end)

  it("reads its fixture from a JSON file", function()
    local node = recorded.new "spec/fixtures/node.json"
    assert.equal(1450, node.run(mncni.route_mtu))
    assert.is_nil(node.host.link.get { ifname = "cbr0" })
    assert.same({ "lo" }, names(node.pod.link.list(), "ifname"))
    assert.equal("0", node.host.sysctl.get "net/ipv4/ip_forward")
    assert.equal("2001:db8::1", node.host.route.list { family = "inet6", dst = "default" }().gateway)
  end)

  it("names the part of a fixture that it does not know", function()
    local err = refusal(recorded.new, { host = { adresses = {} } })
    assert.equal(7, err.code)
    assert.matches('"adresses"', err.message)
  end)

  it("makes both ends of a veth, each in its namespace", function()
    host.link.add { ifname = "cbr0", kind = "bridge", up = true }
    host.link.add {
      ifname = "vweb", kind = "veth", master = "cbr0", up = true, peer = { ifname = "eth0", netns = pod },
    }
    assert.equal("cbr0", host.link.get { ifname = "vweb" }.master)
    assert.equal("LOWERLAYERDOWN", host.link.get { ifname = "vweb" }.operstate)
    pod.link.set { ifname = "eth0", up = true }
    assert.equal("UP", host.link.get { ifname = "vweb" }.operstate)
    assert.equal(0, pod.link.get { ifname = "eth0" }.link_netnsid)
    host.link.del { ifname = "vweb" }
    assert.is_nil(pod.link.get { ifname = "eth0" })
  end)

  it("keeps a log of changes as command lines", function()
    host.link.add { ifname = "cbr0", kind = "bridge", up = true, bridge = { stp_state = false } }
    pod.link.set { ifname = "lo", up = true }
    host.sysctl.set("net.ipv4.ip_forward", true)
    host.sysctl.set("net/ipv4/ip_forward", 1)
    assert.same({
      "ip link add dev cbr0 up type bridge stp_state 0",
      "ip -n pod link set dev lo up",
      "sysctl -w net/ipv4/ip_forward=1",
    }, world.lines())
    world.clear()
    assert.same({}, world.lines())
  end)

  it("refuses what the kernel refuses", function()
    host.link.add { ifname = "cbr0", kind = "bridge" }
    assert.equal("EEXIST", refusal(host.link.add, { ifname = "cbr0", kind = "bridge" }).name)
    assert.equal("EOPNOTSUPP", refusal(host.link.add, { ifname = "x", kind = "brigde" }).name)
    assert.equal("ERANGE", refusal(host.link.add, { ifname = "a-name-much-too-long", kind = "dummy" }).name)
    assert.equal("ENODEV", refusal(host.link.set, { ifname = "none", up = true }).name)
    assert.equal("ENODEV", refusal(host.link.del, { ifname = "none" }).name)
    assert.equal("ENODEV", refusal(host.addr.add, { dev = "none", address = "10.0.0.1/24" }).name)
    assert.equal("EEXIST", refusal(host.addr.add, { dev = "eth0", address = "192.0.2.10/24" }).name)
    assert.equal("EADDRNOTAVAIL", refusal(host.addr.del, { dev = "eth0", address = "192.0.2.11/24" }).name)
    assert.equal("EEXIST", refusal(host.route.add, { dst = "default", gateway = "192.0.2.1" }).name)
    assert.equal("ENETUNREACH", refusal(host.route.add, { dst = "10.0.0.0/8", gateway = "10.9.9.9" }).name)
    assert.equal("ENETDOWN", refusal(host.route.add, { dst = "10.0.0.0/8", dev = "cbr0" }).name)
    assert.equal("ESRCH", refusal(host.route.del, { dst = "10.0.0.0/8" }).name)
    assert.equal("ENOENT", refusal(host.neigh.del, { dev = "eth0", dst = "192.0.2.7" }).name)
    assert.equal("ENOENT", refusal(host.sysctl.set, "net/bridge/bridge-nf-call-iptables").name)
    assert.same({ "ip link add dev cbr0 type bridge" }, world.lines())
  end)

  it("names the namespace and the object in a refusal", function()
    local err = refusal(pod.link.set, { ifname = "eth7", up = true })
    assert.equal("set", err.op)
    assert.equal('link "eth7"', err.object)
    assert.equal("pod", err.netns)
    assert.matches('^set link "eth7" %(netns pod%): ENODEV No such device', tostring(err))
  end)

  it("drops routes when a link goes down and addresses when it is deleted", function()
    host.link.add { ifname = "d0", kind = "dummy", up = true }
    host.addr.add { dev = "d0", address = "10.0.0.1/24" }
    host.route.add { dst = "10.1.0.0/16", gateway = "10.0.0.2" }
    assert.same({ "10.0.0.0/24", "10.1.0.0/16" }, names(host.route.list { dev = "d0" }, "dst"))
    host.link.set { ifname = "d0", up = false }
    assert.same({}, names(host.route.list { dev = "d0" }, "dst"))
    assert.same({ "10.0.0.1/24" }, names(host.addr.list { dev = "d0" }, "address"))
    host.link.del { ifname = "d0" }
    assert.is_nil(host.addr.list { address = "10.0.0.1/24" }())
  end)

  it("answers route.get as the kernel's look-up does", function()
    host.route.add { dst = "10.244.3.0/24", gateway = "192.0.2.13" }
    assert.equal("192.0.2.13", host.route.get { dst = "10.244.3.9" }.gateway)
    assert.equal("192.0.2.1", host.route.get { dst = "203.0.113.9" }.gateway)
    assert.equal("192.0.2.10", host.route.get { dst = "192.0.2.200" }.prefsrc)
    assert.equal("local", host.route.get { dst = "192.0.2.10" }.type)
    assert.is_nil(pod.route.get { dst = "203.0.113.9" })
  end)

  it("gives each link the sysctls of conf/default", function()
    assert.equal("2", host.sysctl.get "net/ipv4/conf/eth0/rp_filter")
    assert.is_nil(host.sysctl.get "net/ipv4/conf/eth9/rp_filter")
    local previous, changed = host.sysctl.set("net/ipv4/conf/eth0/rp_filter", 0)
    assert.equal("2", previous)
    assert.is_true(changed)
    assert.equal("0", host.sysctl.get "net/ipv4/conf/eth0/rp_filter")
    assert.equal("2", host.sysctl.get "net/ipv4/conf/lo/rp_filter")
    assert.same({ "0", nil, "2", n = 3 }, table.pack(host.sysctl.get("net/ipv4/conf/eth0/rp_filter",
      "net/ipv4/conf/eth9/rp_filter", "net/ipv4/conf/lo/rp_filter")))
  end)

  it("passes over an optional sysctl that is not there", function()
    local list = { { "net/ipv6/conf/eth0/accept_ra", 0, optional = true }, { "net/ipv4/ip_forward", 1 } }
    assert.same({
      { key = "net/ipv6/conf/eth0/accept_ra", changed = false },
      { key = "net/ipv4/ip_forward", previous = "0", changed = true },
    }, host.sysctl.batch(list))
    assert.is_nil(host.sysctl.batch(list, true))
    list[1].optional = nil
    assert.equal(1, refusal(host.sysctl.batch, list).index)
  end)

  it("goes on after a refused step of a batch and names the step", function()
    local err = refusal(function()
      host:batch {
        { "set", "link", { ifname = "eth0", mtu = 1400 } },
        { "set", "link", { ifname = "none", mtu = 1400 } },
        { "set", "link", { ifname = "lo", mtu = 1400 } },
      }
    end)
    assert.equal(2, err.index)
    assert.equal("ENODEV", err.name)
    assert.equal(1400, host.link.get { ifname = "lo" }.mtu)
  end)

  it("tells monitors of changes, also those of a peer's namespace", function()
    local events = host:monitor { "link", all_netns = true }
    host.link.add { ifname = "v0", kind = "veth", peer = { ifname = "eth0", netns = pod } }
    pod.link.set { ifname = "eth0", up = true }
    local seen = {}
    for event in events do
      seen[#seen + 1] = { event.event, event.value.ifname, event.nsid }
    end
    assert.same({ { "new", "v0" }, { "new", "eth0", 0 } }, seen)
    events:close()
  end)

  it("stands in for mncni.open and mncni.netns while a function runs", function()
    local open = mncni.open
    world.run(function()
      local here <close> = mncni.open()
      assert.equal("eth0", here.link.get { ifname = "eth0" }.ifname)
      local there = mncni.open(mncni.netns.open "/run/netns/pod")
      assert.is_nil(there.link.get { ifname = "eth0" })
      assert.equal(1450, mncni.route_mtu())
      mncni.netns.open("pod"):run(function()
        assert.equal(1500, mncni.route_mtu())
      end)
    end)
    assert.equal(open, mncni.open)
  end)

  it("has a rule list like a fresh namespace's", function()
    assert.same({ 0, 32766, 32767 }, names(pod.rule.list { family = "inet" }, "priority"))
    pod.rule.add { src = "10.0.0.0/8", table = 100 }
    assert.same({ 0, 32765, 32766, 32767 }, names(pod.rule.list { family = "inet" }, "priority"))
    assert.equal("ENOENT", refusal(pod.rule.del, { src = "10.1.0.0/16", table = 100 }).name)
    pod.rule.del { src = "10.0.0.0/8", table = 100 }
    assert.same({ 0, 32766, 32767 }, names(pod.rule.list { family = "inet" }, "priority"))
  end)

  describe("of nftables", function()
    local nft

    local function of(args)
      args.family, args.table = "inet", "t"
      return args
    end

    before_each(function()
      nft = host.nft
      nft.batch {
        { "add", "table", { family = "inet", name = "t" } },
        { "add", "chain", of { name = "post", type = "nat", hook = "postrouting", prio = 100 } },
        { "add", "set", of { name = "masq4", type = "ipv4_addr", flags = { "interval" } } },
        { "add", "element", of { name = "masq4", elem = { "10.0.0.0/8", core.cidr "192.168.1.0/24" } } },
      }
    end)

    it("keeps tables, chains, sets, elements and rules", function()
      nft.rule.add(of { chain = "post", comment = "x", expr = { { kind = "lookup", sreg = 1, set = "masq4" } } })
      assert.equal("accept", nft.chain.get(of { name = "post" }).policy)
      assert.equal("ipv4_addr", nft.set.get(of { name = "masq4" }).type)
      assert.same({ "10.0.0.0/8", "192.168.1.0/24" }, names(nft.element.list(of { name = "masq4" }), "elem"))
      assert.same({ "x" }, names(nft.rule.list(of { chain = "post" }), "comment"))
      assert.equal("EBUSY", refusal(nft.set.del, of { name = "masq4" }).name)
      nft.batch { { "flush", "rule", of { chain = "post" } }, { "del", "set", of { name = "masq4" } } }
      assert.is_nil(nft.set.get(of { name = "masq4" }))
    end)

    it("finds the interval that an address is in", function()
      assert.equal("10.0.0.0/8", nft.element.get(of { name = "masq4", elem = { "10.1.2.3" } }).elem)
      assert.is_nil(nft.element.get(of { name = "masq4", elem = { "11.1.2.3" } }))
      assert.equal("EEXIST", refusal(nft.element.add, of { name = "masq4", elem = { "10.1.0.0/16" } }).name)
      assert.equal("EEXIST", refusal(nft.element.replace, of { name = "masq4", elem = { "8.0.0.0/5" } }).name)
      nft.element.replace(of { name = "masq4", elem = { "10.0.0.0/8" } })
    end)

    it("does all of a batch or nothing, and logs nothing of what was not done", function()
      world.clear()
      local err = refusal(nft.batch, {
        { "add", "element", of { name = "masq4", elem = { "172.16.0.0/12" } } },
        { "add", "element", of { name = "none", elem = { "172.16.0.0/12" } } },
      })
      assert.equal(2, err.index)
      assert.equal("ENOENT", err.name)
      assert.is_nil(nft.element.get(of { name = "masq4", elem = { "172.16.0.1" } }))
      assert.same({}, world.lines())
    end)

    it("ensures elements, adding only what is missing", function()
      world.clear()
      local wanted = of { name = "masq4", elem = { "10.0.0.0/8", "172.16.0.0/12" } }
      assert.is_true(select(2, nft.element.ensure(wanted)))
      assert.is_false(select(2, nft.element.ensure(wanted)))
      assert.same({ "nft 'add element inet t masq4 { 172.16.0.0/12 }'" }, world.lines())
      assert.is_true(nft.element.absent(of { name = "masq4", elem = { "172.16.0.0/12", "1.2.3.0/24" } }))
      assert.is_false(nft.element.absent(of { name = "masq4", elem = { "172.16.0.0/12" } }))
      assert.is_false(nft.element.absent(of { name = "none", elem = { "172.16.0.0/12" } }))
    end)

    it("ensures tables, chains and sets", function()
      local _, first = nft.table.ensure { family = "ip", name = "u" }
      local _, second = nft.table.ensure { family = "ip", name = "u" }
      assert.same({ true, false }, { first, second })
      local chain = of { name = "post", type = "nat", hook = "postrouting", prio = 100, policy = "drop" }
      assert.is_true(select(2, nft.chain.ensure(chain)))
      assert.is_false(select(2, nft.chain.ensure(chain)))
      chain.prio = 101
      assert.equal("prio", refusal(nft.chain.ensure, chain).field)
      assert.equal("type", refusal(nft.set.ensure, of { name = "masq4", type = "ipv6_addr" }).field)
      assert.is_true(nft.table.absent { family = "ip", name = "u" })
      assert.is_false(nft.table.absent { family = "ip", name = "u" })
    end)
  end)
end)
