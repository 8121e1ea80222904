-- SPDX-License-Identifier: Apache-2.0
-- The policy bridge: what the reference plugin of that name does, over the versions of CNI. What it does with frames is
-- in bridge_keys_spec; VLANs need a kernel that has them, and are in spec/vm.

local attach = require "spec.support.attach"
local core = require "mncni.core"
local mncni = require "mncni"
local spaces = require "spec.support.netns"

local versions = { "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" }
local with_interfaces = { "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" }
local with_check = { "0.4.0", "1.0.0", "1.1.0" }

local v4, v6, more_v6 = "10.1.2.0/24", "2001:db8:1::/64", "2001:db8:2::/64"

local function ranges(...)
  local list = core.json.array {}
  for i, subnet in ipairs { ... } do
    list[i] = core.json.array { { subnet = subnet } }
  end
  return { type = "host-local", ranges = list }
end

describe("bridge", function()
  local before, node

  before_each(function()
    before = spaces.snapshot()
    node = attach.node { plugins = { "bridge" } }
  end)

  after_each(function()
    node:close()
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  -- A configuration: the keys given over those that most specs want.
  local function conf(keys)
    local all = { type = "bridge", isDefaultGateway = true, ipam = ranges(v4) }
    for key, value in pairs(keys or {}) do
      all[key] = value ~= false and value or nil
    end
    return all
  end

  local function inside(name)
    return mncni.open(node:pod(name or "web").ns)
  end

  local function sysctl(pod, key)
    return core.sysctl.get(pod and node:pod(pod).ns or node.space.ns, key)
  end

  -- Addresses of a link of a net, without those that the kernel gives by itself.
  local function addresses(net, dev)
    local list = {}
    for address in net.addr.list { dev = dev } do
      list[#list + 1] = address.scope ~= "link" and address.address or nil
    end
    table.sort(list)
    return list
  end

  local function nothing_of_pods_is_left(network)
    assert.same({}, node:reserved(network))
    assert.equal("", node:journals())
    assert.equal("", node:sh "ip -o link show group 78")
  end

  describe("gives a pod", function()
    for _, version in ipairs(versions) do
      it(("an IPv4 address, and a default route to the bridge, with cniVersion %s"):format(version), function()
        local result = node:add { conf = conf { cniVersion = version } }
        assert.equal(version, result.cniVersion)
        local web <close> = inside()
        local bridge = node.host.link.get { ifname = "cni0" }
        local eth = web.link.get { ifname = "eth0" }
        if version < "0.3.0" then
          assert.same({ ip = "10.1.2.2/24", gateway = "10.1.2.1", routes = { { dst = "0.0.0.0/0", gw = "10.1.2.1" } } },
            result.ip4)
          assert.is_nil(result.interfaces)
        else
          local port = node.host.link.get { ifname = result.interfaces[2].name }
          local mtu = version >= "1.1.0" and 1500 or nil
          assert.same({
            { name = "cni0", mac = bridge.address, mtu = mtu }, { name = port.ifname, mac = port.address, mtu = mtu },
            { name = "eth0", mac = eth.address, mtu = mtu, sandbox = node:pod("web").path },
          }, result.interfaces)
          assert.same({ {
            address = "10.1.2.2/24", gateway = "10.1.2.1", interface = 2, version = version < "1.0.0" and "4" or nil,
          } }, result.ips)
          assert.same({ { dst = "0.0.0.0/0", gw = "10.1.2.1" } }, result.routes)
          assert.same({ "cni0", port.ifname }, node:links())
          assert.equal("cni0", port.master)
          assert.not_equal(bridge.address, port.address)
        end
        assert.same({ "10.1.2.1/24" }, addresses(node.host, "cni0"))
        assert.same({ "10.1.2.2/24" }, addresses(web, "eth0"))
        assert.is_true(eth.up)
        assert.is_not_true(bridge.bridge.vlan_filtering)
        assert.is_not_true(bridge.promisc)
        assert.is_truthy(node:pod("web"):must("ip route"):find("default via 10.1.2.1 dev eth0", 1, true))
        assert.is_true(node:pings("web", "10.1.2.1"))
        node:must("DEL", { conf = conf { cniVersion = version } })
        nothing_of_pods_is_left()
      end)
    end

    for _, version in ipairs(with_interfaces) do
      for name, subnets in pairs {
        ["an IPv6 address"] = { v6 }, ["an address of each family"] = { v4, v6 },
        ["one IPv4 and two IPv6 addresses"] = { v4, v6, more_v6 },
      } do
        it(("%s, with cniVersion %s"):format(name, version), function()
          local result = node:add { conf = conf { cniVersion = version, ipam = ranges(table.unpack(subnets)) } }
          local web <close> = inside()
          local gateways, own = {}, {}
          for i, subnet in ipairs(subnets) do
            local range = core.cidr(subnet)
            gateways[i] = ("%s/%d"):format(range:nth(1).address, range.prefix)
            own[i] = ("%s/%d"):format(range:nth(2).address, range.prefix)
            assert.equal(own[i], result.ips[i].address)
            assert.equal(2, result.ips[i].interface)
          end
          table.sort(gateways)
          table.sort(own)
          assert.same(gateways, addresses(node.host, "cni0"))
          assert.same(own, addresses(web, "eth0"))
          local families = 0
          for _, route in ipairs(result.routes) do
            families = families + ((route.dst == "0.0.0.0/0" or route.dst == "::/0") and 1 or 0)
          end
          assert.equal(#subnets == 1 and 1 or 2, families)
          for address in web.addr.list { dev = "eth0" } do
            for _, flag in ipairs(address.scope ~= "link" and address.flags or {}) do
              assert.not_equal("tentative", flag)
            end
          end
          for _, ip in ipairs(result.ips) do
            assert.is_true(node:pings("web", ip.gateway))
          end
        end)
      end
    end

    it("no default route with isGateway alone, and the node no address without it", function()
      node:add { conf = conf { isDefaultGateway = false, isGateway = true } }
      assert.same({ "10.1.2.1/24" }, addresses(node.host, "cni0"))
      assert.equal("", node:pod("web"):must "ip route show default")
      node:add { pod = "db", conf = conf {
        isDefaultGateway = false, bridge = "cni1", name = "other", ipam = ranges "10.1.3.0/24",
      } }
      assert.same({}, addresses(node.host, "cni1"))
      assert.equal("10.1.3.0/24 dev eth0 proto kernel scope link src 10.1.3.2 ", node:pod("db"):must "ip route")
    end)

    it("the routes of ipam, by its gateway or their own, with what they say of MTU and metric", function()
      local ipam = ranges(v4)
      ipam.routes = {
        { dst = "0.0.0.0/0" }, { dst = "192.168.0.0/16", gw = "10.1.2.9" },
        { dst = "192.0.2.0/24", mtu = 1400, advmss = 1300, priority = 50 },
      }
      local result = node:add { conf = conf { isDefaultGateway = false, isGateway = true, ipam = ipam } }
      assert.same({ "0.0.0.0/0", "192.168.0.0/16", "192.0.2.0/24" },
        { result.routes[1].dst, result.routes[2].dst, result.routes[3].dst })
      local routes = node:pod("web"):must "ip route"
      for _, line in ipairs { "default via 10.1.2.1 dev eth0", "192.168.0.0/16 via 10.1.2.9 dev eth0",
        "192.0.2.0/24 via 10.1.2.1 dev eth0 metric 50 mtu 1400 advmss 1300" } do
        assert.is_truthy(routes:find(line, 1, true), routes)
      end
    end)

    it("the first address of the subnet as gateway where ipam names none", function()
      local result = node:add { conf = conf {
        cniVersion = "1.0.0", ipam = { type = "static", addresses = { { address = "10.1.2.7/24" } } },
      } }
      assert.equal("10.1.2.1", result.ips[1].gateway)
      assert.same({ "10.1.2.1/24" }, addresses(node.host, "cni0"))
      assert.is_true(node:pings("web", "10.1.2.1"))
    end)

    it("one route with several next hops where ipam names one destination several times", function()
      for family, case in pairs {
        inet = { subnet = v4, dst = "192.0.2.0/24", gateways = { "10.1.2.5", "10.1.2.6" } },
        inet6 = { subnet = v6, dst = "2001:db8:9::/64", gateways = { "2001:db8:1::5", "2001:db8:1::6" } },
      } do
        local ipam = ranges(case.subnet)
        ipam.routes = {
          { dst = case.dst, gw = case.gateways[1] }, { dst = case.dst, gw = case.gateways[2] },
          { dst = case.dst, gw = case.gateways[1] },
        }
        local keys = conf { name = family, bridge = family, isDefaultGateway = false, isGateway = true, ipam = ipam }
        local result = node:add { pod = family, conf = keys }
        assert.equal(3, #result.routes)
        local net <close> = inside(family)
        local found = {}
        for route in net.route.list { family = family, dst = case.dst } do
          for _, hop in ipairs(route.nexthops) do
            found[#found + 1] = hop.gateway
          end
        end
        table.sort(found)
        assert.same(case.gateways, found)
        keys.prevResult = result
        node:must("CHECK", { pod = family, conf = keys })
        node:pod(family):must(("ip %s route del %s"):format(family == "inet6" and "-6" or "", case.dst))
        local out = node:run("CHECK", { pod = family, conf = keys })
        assert.equal(106, out.json.code, out.stdout)
        keys.prevResult = nil
        node:must("DEL", { pod = family, conf = keys })
      end
    end)

    it("the DNS settings of ipam, and the configuration's own instead where it has any", function()
      local file = node.scratch .. "/resolv.conf"
      spaces.must("printf 'nameserver 192.0.2.53\nsearch example.org\n' >%s", file)
      local ipam = ranges(v4)
      ipam.resolvConf = file
      assert.same({ nameservers = { "192.0.2.53" }, search = { "example.org" } },
        node:add({ conf = conf { ipam = ipam } }).dns)
      assert.same({ nameservers = { "192.0.2.54" } },
        node:add({ pod = "db", conf = conf { ipam = ipam, dns = { nameservers = { "192.0.2.54" } } } }).dns)
    end)

    it("the MTU that is asked for, which the result tells, and else the kernel's", function()
      node:must_sh "ip link add up0 mtu 1400 type veth peer name up1 && ip link set up0 up && ip link set up1 up"
      node:must_sh "ip addr add 192.0.2.10/24 dev up0 && ip route add default via 192.0.2.1"
      local result = node:add { conf = conf { mtu = 1450 } }
      local db = node:add { pod = "db", conf = conf { bridge = "cni1", name = "b", ipam = ranges "10.1.3.0/24" } }
      for i = 1, 3 do
        assert.same({ 1450, 1500 }, { result.interfaces[i].mtu, db.interfaces[i].mtu })
      end
      local web <close> = inside()
      assert.equal(1450, web.link.get({ ifname = "eth0" }).mtu)
      assert.equal(1450, node.host.link.get({ ifname = "cni0" }).mtu)
    end)

    it("the MAC address of runtimeConfig.mac, else of args.cni.mac, else of CNI_ARGS", function()
      local keys, args = { isDefaultGateway = true }, "IgnoreUnknown=1;MAC=c2:11:22:33:44:55"
      local wanted = { "c2:11:22:33:44:55", "c2:11:22:33:44:66", "c2:11:22:33:44:77" }
      for i, mac in ipairs(wanted) do
        keys.args = i >= 2 and { cni = { mac = wanted[2] } } or nil
        keys.runtimeConfig = i >= 3 and { mac = wanted[3] } or nil
        local result = node:add { conf = conf(keys), args = args }
        assert.equal(mac, result.interfaces[3].mac)
        local web <close> = inside()
        assert.equal(mac, web.link.get({ ifname = "eth0" }).address)
        node:must("DEL", { conf = conf(keys), args = args })
      end
    end)

    it("a place on the bridge and no address where there is no ipam", function()
      for _, version in ipairs(with_interfaces) do
        for _, ipam in ipairs { false, {} } do
          local keys = conf { cniVersion = version, isDefaultGateway = false, ipam = ipam }
          local result = node:add { conf = keys }
          assert.equal(3, #result.interfaces)
          assert.is_nil(result.ips)
          local web <close> = inside()
          assert.is_true(web.link.get({ ifname = "eth0" }).up)
          assert.same({}, addresses(web, "eth0"))
          if version >= "0.4.0" then
            keys.prevResult = result
            node:must("CHECK", { conf = keys })
            keys.prevResult = nil
          end
          node:must("DEL", { conf = keys })
          nothing_of_pods_is_left()
        end
      end
    end)

    it("no result without an address where the version has none", function()
      for _, version in ipairs { "0.1.0", "0.2.0" } do
        local keys = conf { cniVersion = version, isDefaultGateway = false, ipam = false }
        local err = node:refused { conf = keys }
        assert.equal(1, err.code)
        assert.is_truthy(err.msg:find("cannot convert: no valid IP addresses", 1, true))
        nothing_of_pods_is_left()
        assert.same({}, node:links())
      end
    end)
  end)

  describe("keeps the bridge", function()
    it("of that name, with its index and its MAC address over pods that come and go", function()
      node:must_sh "ip link add cni0 type bridge"
      local made = node.host.link.get { ifname = "cni0" }
      local mac
      for _, name in ipairs { "web", "db", "cache" } do
        node:add { pod = name, conf = conf() }
        local now = node.host.link.get { ifname = "cni0" }
        assert.equal(made.ifindex, now.ifindex)
        mac = mac or now.address
        assert.equal(mac, now.address)
      end
      for _, name in ipairs { "web", "cache", "db" } do
        node:must("DEL", { pod = name, conf = conf() })
        assert.equal(mac, node.host.link.get({ ifname = "cni0" }).address)
      end
    end)

    it("and refuses what is none", function()
      node:must_sh "ip link add cni0 type veth peer name other"
      local err = node:refused { conf = conf() }
      assert.equal(103, err.code)
      assert.is_truthy(err.msg:find('link "cni0"', 1, true), err.msg)
      nothing_of_pods_is_left()
    end)

    it("with one IPv4 gateway, or the new one with forceAddress", function()
      node:add { conf = conf() }
      local other = conf { ipam = ranges "10.1.3.0/24", name = "other" }
      local err = node:refused { pod = "db", conf = other }
      assert.equal(103, err.code)
      assert.is_truthy(err.msg:find("10.1.2.1/24", 1, true), err.msg)
      assert.same({ "10.1.2.1/24" }, addresses(node.host, "cni0"))
      assert.same({}, node:reserved "other")
      other.forceAddress = true
      node:add { pod = "db", conf = other }
      assert.same({ "10.1.3.1/24" }, addresses(node.host, "cni0"))
      assert.is_true(node:pings("db", "10.1.3.1"))
    end)

    it("with IPv6 gateways side by side, as long as their ranges do not overlap", function()
      node:add { conf = conf { ipam = ranges "2001:db8:1::/64" } }
      node:add { pod = "db", conf = conf { ipam = ranges "2001:db8:2::/64", name = "b" } }
      assert.same({ "2001:db8:1::1/64", "2001:db8:2::1/64" }, addresses(node.host, "cni0"))
      local wide = conf { ipam = ranges "2001:db8:1::/48", name = "c" }
      wide.ipam = { type = "host-local", subnet = "2001:db8:1::/48", gateway = "2001:db8:1::5" }
      local err = node:refused { pod = "cache", conf = wide }
      assert.equal(103, err.code)
      wide.forceAddress = true
      node:add { pod = "cache", conf = wide }
      assert.same({ "2001:db8:1::5/48", "2001:db8:2::1/64" }, addresses(node.host, "cni0"))
    end)
  end)

  it("switches forwarding on for the families of its gateways, and writes nothing that is so already", function()
    local key4, key6 = "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"
    core.sysctl.set(node.space.ns, key4, "0")
    core.sysctl.set(node.space.ns, key6, "0")
    node:add { conf = conf { isDefaultGateway = false } }
    assert.same({ "0", "0" }, { sysctl(nil, key4), sysctl(nil, key6) })
    node:add { pod = "db", conf = conf() }
    assert.same({ "1", "0" }, { sysctl(nil, key4), sysctl(nil, key6) })
    -- Writing 1 where it is 1 would switch this one on again.
    core.sysctl.set(node.space.ns, "net/ipv4/conf/lo/forwarding", "0")
    node:add { pod = "cache", conf = conf { ipam = ranges(v4, v6) } }
    assert.same({ "1", "1" }, { sysctl(nil, key4), sysctl(nil, key6) })
    assert.equal("0", sysctl(nil, "net/ipv4/conf/lo/forwarding"))
  end)

  it("keeps a pod's IPv6 address while its interface goes down and up", function()
    node:add { conf = conf { ipam = ranges(v6) } }
    node:pod("web"):must "ip link set eth0 down && ip link set eth0 up"
    local web <close> = inside()
    assert.same({ "2001:db8:1::2/64" }, addresses(web, "eth0"))
  end)

  describe("DEL", function()
    it("takes both ends and the address, leaves the bridge, and may come twice, or first", function()
      node:must("DEL", { conf = conf() })
      local result = node:add { conf = conf() }
      for _ = 1, 2 do
        node:must("DEL", { conf = conf { prevResult = result } })
        nothing_of_pods_is_left()
        assert.equal("", node:pod("web"):sh "ip -o link show eth0 2>/dev/null")
        assert.same({ "cni0" }, node:links())
      end
    end)

    for name, netns in pairs { ["without CNI_NETNS"] = "", ["with the namespace gone"] = "/run/netns/web" } do
      it(name .. " leaves nothing of masquerading and of spoof filters", function()
        local keys = { ipMasq = true, macspoofchk = true }
        node:add { pod = "first", conf = conf(keys) } -- what the node has for good is there
        local rules = node:must_sh "nft list ruleset"
        node:add { conf = conf(keys) }
        assert.not_equal(rules, node:must_sh "nft list ruleset")
        if netns ~= "" then
          node:end_pod "web"
        end
        node:must("DEL", { conf = conf(keys), netns = netns })
        assert.equal(rules, node:must_sh "nft list ruleset")
        assert.same({ "10.1.2.2" }, node:reserved())
      end)
    end
  end)

  describe("CHECK", function()
    for _, version in ipairs(with_check) do
      for name, subnets in pairs { IPv4 = { v4 }, IPv6 = { v6 }, ["both families"] = { v4, v6 } } do
        it(("passes after ADD, with %s and cniVersion %s"):format(name, version), function()
          local keys = conf { cniVersion = version, ipam = ranges(table.unpack(subnets)), ipMasq = true }
          keys.prevResult = node:add { conf = keys }
          node:must("CHECK", { conf = keys })
        end)
      end
    end

    it("needs prevResult", function()
      node:add { conf = conf() }
      local out = node:run("CHECK", { conf = conf() })
      assert.equal(7, out.json.code)
      assert.is_truthy(out.json.msg:find("Required prevResult missing", 1, true))
    end)

    for damage, case in pairs {
      ["the address is gone"] = { "ip addr del 10.1.2.2/24 dev eth0", "10.1.2.2/24", default = false },
      ["the default route is gone"] = { "ip route del default", "0.0.0.0/0" },
      ["the interface is gone"] = { "ip link del eth0", "gone" },
      ["the interface is down"] = { "ip link set eth0 down", "eth0" },
      ["the MAC address is another"] = { "ip link set eth0 address 02:00:00:00:00:99", "02:00:00:00:00:99" },
    } do
      it("fails where " .. damage .. ", and says so", function()
        local keys = conf { isDefaultGateway = case.default ~= false, isGateway = true }
        keys.prevResult = node:add { conf = keys }
        node:pod("web"):must(case[1])
        local out = node:run("CHECK", { conf = keys })
        assert.equal(106, out.json.code, out.stdout)
        assert.is_truthy(out.json.msg:find(case[2], 1, true), out.json.msg)
      end)
    end

    for damage, command in pairs {
      ["the bridge is gone"] = "ip link del cni0",
      ["the bridge has lost the gateway's address"] = "ip addr del 10.1.2.1/24 dev cni0",
      ["the node does not forward"] = "sysctl -qw net.ipv4.ip_forward=0",
      ["the port has left the bridge"] =
        "ip link set $(ip -o link show group 78 | sed 's/^[0-9]*: //; s/@.*//') nomaster",
      ["the rules are gone"] = "nft flush ruleset",
    } do
      it("fails where " .. damage, function()
        local keys = conf { ipMasq = true }
        keys.prevResult = node:add { conf = keys }
        node:must_sh(command)
        local out = node:run("CHECK", { conf = keys })
        assert.equal(106, out.json.code, out.stdout)
      end)
    end

    it("fails in another namespace than the one that was attached", function()
      local keys = conf()
      keys.prevResult = node:add { conf = keys }
      local out = node:run("CHECK", { conf = keys, netns = node:pod("db").path })
      assert.equal(106, out.json.code, out.stdout)
    end)
  end)

  describe("refuses, and leaves nothing where", function()
    local function nothing_at_all()
      nothing_of_pods_is_left()
      assert.same({}, node:links())
      assert.equal("", node:must_sh "nft list ruleset")
      assert.equal("", node:pod("web"):sh "ip -o link show eth0 2>/dev/null")
    end

    it("there is an interface of that name, which stays as it is", function()
      node:pod("web"):must "ip link add eth0 type veth peer name eth9 && ip link set eth0 address 02:00:00:00:00:42"
      for _, keys in ipairs { conf(), conf { isDefaultGateway = false, ipam = false } } do
        local err = node:refused { conf = keys }
        assert.equal(103, err.code)
        assert.is_truthy(err.msg:find("eth0", 1, true), err.msg)
        assert.same({}, node:links())
        nothing_of_pods_is_left()
      end
      assert.is_truthy(node:pod("web"):must("ip link show eth0"):find("02:00:00:00:00:42", 1, true))
    end)

    it("the namespace is missing", function()
      local err = node:refused { conf = conf(), netns = "/run/netns/none" }
      assert.equal(8, err.code)
      nothing_at_all()
    end)

    it("the pool is exhausted, which STATUS tells", function()
      local keys = conf { ipam = { type = "host-local", subnet = "10.1.2.0/30" } }
      node:must("STATUS", { conf = keys })
      node:add { pod = "first", conf = keys }
      local err = node:refused { conf = keys }
      assert.equal(104, err.code)
      assert.equal("", node:pod("web"):sh "ip -o link show eth0 2>/dev/null")
      assert.equal(50, node:run("STATUS", { conf = keys }).json.code)
    end)

    it("something fails after ipam has answered", function()
      local ipam = ranges(v4)
      ipam.routes = { { dst = "192.0.2.0/24", gw = "203.0.113.1" } } -- no way leads to this gateway
      local err = node:refused { conf = conf { ipam = ipam, ipMasq = true, macspoofchk = true } }
      assert.equal(102, err.code)
      nothing_of_pods_is_left()
      assert.same({}, node:links())
      assert.equal("", node:pod("web"):sh "ip -o link show eth0 2>/dev/null")
      assert.is_nil(node:sh("nft list ruleset"):find("veth", 1, true))
    end)

    it("ipam answers with the index of an interface that there is not", function()
      local ipam = node.scratch .. "/bin/wrong"
      for _, index in ipairs { "-1", "7", "null" } do
        spaces.must(("cat >%%s <<'END'\n#!/bin/sh\n[ $CNI_COMMAND = ADD ] && cat <<'X'\n{\"cniVersion\":\"1.1.0\","
          .. "\"ips\":[{\"address\":\"10.1.2.2/24\",\"gateway\":\"10.1.2.1\",\"interface\":%s}]}\nX\nexit 0\nEND")
          :format(index), ipam)
        spaces.must("chmod +x %s", ipam)
        local keys = conf { ipam = { type = "wrong" } }
        if index ~= "null" then
          node:refused { conf = keys }
          nothing_at_all()
        else
          assert.equal(2, node:add({ conf = keys }).ips[1].interface)
        end
      end
    end)

    for name, case in pairs {
      ["hairpinMode and promiscMode are both on"] = { { hairpinMode = true, promiscMode = true }, "promiscMode" },
      ["disableContainerInterface meets ipam"] = { { disableContainerInterface = true }, "disableContainerInterface" },
      ["vlan is 4095"] = { { vlan = 4095 }, "vlan" },
      ["vlan is negative"] = { { vlan = -1 }, "vlan" },
      ["ipMasqBackend is none"] = { { ipMasqBackend = "ipchains" }, "ipMasqBackend" },
      ["the bridge's name is none"] = { { bridge = "a-name-of-16-byte" }, "bridge" },
      ["mtu is no number"] = { { mtu = "big" }, "mtu" },
      ["the MAC address is none"] = { { runtimeConfig = { mac = "c2:11:22" } }, "runtimeConfig.mac" },
      ["the MAC address is a group's"] = { { args = { cni = { mac = "01:00:5e:00:00:01" } } }, "args.cni.mac" },
      ["an entry of vlanTrunk has a wrong id"] = { { vlanTrunk = { { id = 4095 } } }, "vlanTrunk[1].id" },
      ["one has a wrong minID"] = { { vlanTrunk = { { id = 5 }, { minID = 0, maxID = 5 } } }, "vlanTrunk[2].minID" },
      ["one has a wrong maxID"] = { { vlanTrunk = { { minID = 5, maxID = 4095 } } }, "vlanTrunk[1].maxID" },
      ["one has minID alone"] = { { vlanTrunk = { { minID = 5 } } }, "maxID is missing" },
      ["one has maxID alone"] = { { vlanTrunk = { { maxID = 5 } } }, "minID is missing" },
      ["one has minID greater than maxID"] = { { vlanTrunk = { { minID = 9, maxID = 5 } } }, "greater than maxID" },
      ["one names nothing"] = { { vlanTrunk = { core.json.decode "{}" } }, "names no VLAN" },
    } do
      it(name, function()
        local err = node:refused { conf = conf(case[1]) }
        assert.equal(7, err.code, err.msg)
        assert.is_truthy(err.msg:find(case[2], 1, true), err.msg)
        nothing_at_all()
      end)
    end
  end)

  it("answers STATUS without ipam, and says when something else has the bridge's name", function()
    local keys = conf { ipam = false }
    node:must("STATUS", { conf = keys })
    node:must_sh "ip link add cni0 type veth peer name other"
    assert.equal(51, node:run("STATUS", { conf = keys }).json.code)
  end)

  it("collects the pods that GC does not list, of its own network", function()
    for _, name in ipairs { "web", "db", "cache" } do
      node:add { pod = name, conf = conf { macspoofchk = true } }
    end
    node:add { pod = "other", conf = conf { name = "second", bridge = "cni1", ipam = ranges "10.1.3.0/24" } }
    local keys = conf { ["cni.dev/valid-attachments"] = { { containerID = "db", ifname = "eth0" } } }
    for _ = 1, 2 do
      node:must("GC", { conf = keys })
      assert.same({ "10.1.2.3" }, node:reserved())
      assert.same({ "10.1.3.2" }, node:reserved "second")
      local _, ports = node:must_sh("ip -o link show group 78"):gsub("\n?[^\n]+", "")
      assert.equal(2, ports)
      local _, elements = node:must_sh("nft list set bridge mncni macs"):gsub("veth", "")
      assert.equal(1, elements)
    end
    assert.is_true(node:pings("db", "10.1.2.1"))
  end)
end)
