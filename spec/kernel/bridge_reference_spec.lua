-- SPDX-License-Identifier: Apache-2.0
-- The policy bridge beside Debian's plugin of that name: the same configuration on two nodes, and what each of them says
-- and leaves in the kernel. Debian's is v1.1.1, which knows neither cniVersion 1.1.0 nor portIsolation, vlanTrunk,
-- disableContainerInterface and ipMasqBackend; VLANs are in spec/vm.

local attach = require "spec.support.attach"
local core = require "mncni.core"
local mncni = require "mncni"
local spaces = require "spec.support.netns"

local function ranges(...)
  local list = core.json.array {}
  for i, subnet in ipairs { ... } do
    list[i] = core.json.array { { subnet = subnet } }
  end
  return { type = "host-local", ranges = list }
end

local v4, v6 = "10.1.2.0/24", "2001:db8:1::/64"

local function with_routes(...)
  local ipam = ranges(v4, v6)
  ipam.routes = { ... }
  return ipam
end

local cases = {
  ["a gateway"] = { isGateway = true, ipam = ranges(v4) },
  ["no gateway"] = { ipam = ranges(v4) },
  ["no ipam"] = { ipam = false },
  ["a default gateway of both families"] = { isDefaultGateway = true, ipam = ranges(v4, v6) },
  ["two IPv6 networks"] = { isDefaultGateway = true, ipam = ranges(v6, "2001:db8:2::/64") },
  ["routes of ipam"] = { isGateway = true, ipam = with_routes({ dst = "0.0.0.0/0" },
    { dst = "192.168.0.0/16", gw = "10.1.2.9" }, { dst = "2001:db8:f::/48" }) },
  ["a default route of ipam with its gateway"] = { isDefaultGateway = true,
    ipam = with_routes { dst = "0.0.0.0/0", gw = "10.1.2.9" } },
  ["MTU and hairpin"] = { isGateway = true, mtu = 1400, hairpinMode = true, ipam = ranges(v4) },
  ["promiscuous mode"] = { isGateway = true, promiscMode = true, ipam = ranges(v4) },
  ["duplicate address detection"] = { isGateway = true, enabledad = true, ipam = ranges(v6) },
  ["a MAC address and DNS"] = { isGateway = true, ipam = ranges(v4), args = { cni = { mac = "02:00:00:00:00:42" } },
    dns = { nameservers = { "192.0.2.53" }, search = { "example.org" } } },
}

-- Theirs asks for an ipam plugin where there is none, and looks for IPv6 routes as they were not made.
local their_check_fails = { ["no ipam"] = true, ["routes of ipam"] = true }

-- Settings that are compared; the others in which they differ are told below.
local node_sysctls = { "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/cni0/accept_ra" }
local pod_sysctls = {
  "net/ipv6/conf/eth0/accept_dad", "net/ipv6/conf/eth0/disable_ipv6", "net/ipv4/conf/eth0/arp_notify",
}

describe("bridge and the reference's", function()
  local before, nodes

  before_each(function()
    before = spaces.snapshot()
    nodes = { ours = attach.node { plugins = { "bridge" }, name = "ours" }, theirs = attach.node { name = "theirs" } }
  end)

  after_each(function()
    for _, node in pairs(nodes) do
      node:close()
    end
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  local function args(whose, keys, more)
    local conf = { type = "bridge", cniVersion = "1.0.0" }
    for key, value in pairs(keys) do
      conf[key] = value or nil
    end
    local all = { conf = conf, container = "web", pod = whose .. "-web", path = attach.REFERENCE }
    if whose == "theirs" then
      all.bin = attach.REFERENCE .. "/bridge"
    end
    for key, value in pairs(more or {}) do
      all[key] = value
    end
    return all
  end

  local function plain_name(ifname)
    return ifname and ifname:gsub("^veth.*", "veth")
  end

  -- What a namespace has, without what names, indexes and MAC addresses make different.
  local function network(net, sysctl, keys)
    local state = { links = {}, addresses = {}, routes = {}, sysctls = {} }
    for link in net.link.list {} do
      local port = link.bridge_slave or {}
      table.insert(state.links, ("%s %s mtu %d%s%s master %s hairpin %s"):format(plain_name(link.ifname), link.kind,
        link.mtu, link.up and " up" or "", link.promisc and " promisc" or "", link.master, port.hairpin))
    end
    for address in net.addr.list {} do
      if not address.address:find "^fe80:" then
        table.insert(state.addresses, ("%s %s %s"):format(address.address, plain_name(address.dev), address.scope))
      end
    end
    for _, family in ipairs { "inet", "inet6" } do
      for route in net.route.list { family = family, table = "main" } do
        if not tostring(route.dst):find "^fe80:" then
          table.insert(state.routes, ("%s via %s dev %s scope %s metric %s protocol %s"):format(route.dst,
            route.gateway, plain_name(route.dev), route.scope, route.metric, route.protocol))
        end
      end
    end
    for _, list in pairs(state) do
      table.sort(list)
    end
    for _, key in ipairs(keys) do
      state.sysctls[key] = sysctl(key)
    end
    return state
  end

  local function states(whose)
    local node = nodes[whose]
    local pod = node:pod(whose .. "-web")
    local inside <close> = mncni.open(pod.ns)
    return {
      node = network(node.host, function(key) return core.sysctl.get(node.space.ns, key) end, node_sysctls),
      pod = network(inside, function(key) return core.sysctl.get(pod.ns, key) end, pod_sysctls),
    }
  end

  -- A result without names and MAC addresses.
  local function comparable(result)
    local copy = core.json.decode(core.json.encode(result))
    for _, interface in ipairs(copy.interfaces or {}) do
      interface.mac, interface.sandbox = nil, interface.sandbox and "sandbox"
      interface.name = plain_name(interface.name)
    end
    copy.dns = copy.dns and next(copy.dns) and copy.dns or nil -- some versions say {} for none
    return copy
  end

  for name, keys in pairs(cases) do
    it("answer and do the same for " .. name, function()
      for _, version in ipairs { "0.3.1", "0.4.0", "1.0.0" } do
        local results = {}
        for whose, node in pairs(nodes) do
          keys.cniVersion = version
          results[whose] = node:add(args(whose, keys))
        end
        assert.same(comparable(results.theirs), comparable(results.ours))
        if keys.args then
          assert.equal(results.theirs.interfaces[3].mac, results.ours.interfaces[3].mac)
        end
        local ours, theirs = states "ours", states "theirs"
        if not keys.ipam then
          theirs.pod.sysctls, ours.pod.sysctls = nil, nil -- theirs sets them with an address only
        end
        assert.same(theirs, ours)
        if version ~= "0.3.1" then
          for whose, node in pairs(nodes) do
            local call = args(whose, keys)
            call.conf.prevResult = results[whose]
            local out = node:run("CHECK", call)
            assert.equal(whose == "theirs" and their_check_fails[name] and 1 or 0, out.status, out.stdout)
          end
        end
        for whose, node in pairs(nodes) do
          node:must("DEL", args(whose, keys))
        end
        if not keys.mtu then -- ours keeps an MTU that was asked for
          assert.same(states "theirs".node, states "ours".node)
        end
        assert.same(nodes.theirs:reserved(), nodes.ours:reserved())
        for whose, node in pairs(nodes) do
          node:end_pod(whose .. "-web")
          node.host.link.del { ifname = "cni0" }
        end
      end
    end)
  end

  it("answer the same in the versions without interfaces", function()
    for _, version in ipairs { "0.1.0", "0.2.0" } do
      local results = {}
      for whose, node in pairs(nodes) do
        local call = args(whose, { cniVersion = version, isDefaultGateway = true, ipam = ranges(v4) })
        results[whose] = comparable(node:add(call))
        node:must("DEL", call)
      end
      assert.same(results.theirs, results.ours)
    end
  end)

  it("refuse the same, ours with a code of its own and nothing left", function()
    for name, case in pairs {
      ["hairpin and promiscuous mode"] = { keys = { hairpinMode = true, promiscMode = true }, code = 7 },
      ["a VLAN beyond 4094"] = { keys = { vlan = 4095 }, code = 7 },
      ["a name that is no bridge's"] = { keys = {}, code = 103, before = "ip link add cni0 type veth peer name p" },
      ["another gateway on the bridge"] = { keys = {}, code = 103,
        before = "ip link add cni0 type bridge && ip addr add 10.9.9.1/24 dev cni0" },
      ["an interface that is there"] = { keys = {}, code = 103, inside = "ip link add eth0 type veth peer name p" },
    } do
      for whose, node in pairs(nodes) do
        local keys = { isGateway = true, ipam = ranges(v4) }
        for key, value in pairs(case.keys) do
          keys[key] = value
        end
        node:must_sh(case.before or "true")
        node:pod(whose .. "-web"):must(case.inside or "true")
        local links = node:links()
        local err = node:refused(args(whose, keys))
        assert.equal(whose == "ours" and case.code or 999, err.code, name)
        if whose == "ours" then
          assert.same(links, node:links())
          assert.same({}, node:reserved())
        end
        node:end_pod(whose .. "-web")
        node:must_sh "ip link del cni0 2>/dev/null; true"
        spaces.must("rm -rf %s/networks", node.scratch)
      end
    end
  end)

  -- Where ours is meant to be different.
  it("differ in a bridge's MAC address, forwarding delay and IPv6, and in what a port tells", function()
    for whose, node in pairs(nodes) do
      node:add(args(whose, { isDefaultGateway = true, ipam = ranges(v4) }))
      local bridge = node.host.link.get { ifname = "cni0" }
      assert.equal(whose == "ours", bridge.address == "0a:58:0a:01:02:01")
      assert.equal(whose == "ours" and 0 or 1500, bridge.bridge.forward_delay)
      local port = node.host.link.list { kind = "veth" }()
      for _, key in ipairs { "net/ipv6/conf/cni0/autoconf", "net/ipv6/conf/cni0/accept_redirects" } do
        assert.equal(whose == "ours" and "0" or "1", core.sysctl.get(node.space.ns, key), key)
      end
      assert.equal(whose == "ours" and "1" or "0",
        core.sysctl.get(node:pod(whose .. "-web").ns, "net/ipv6/conf/eth0/keep_addr_on_down"))
      assert.equal(whose == "ours" and 78 or 0, tonumber(port.group) or 0)
      assert.equal(whose == "ours" and "mncni testnet web eth0" or nil, port.ifalias)
    end
  end)

  it("differ where isDefaultGateway meets a default route of ipam without gw, which theirs adds twice", function()
    local keys = { isDefaultGateway = true, ipam = ranges(v4) }
    keys.ipam.routes = { { dst = "0.0.0.0/0" } }
    assert.same({ { dst = "0.0.0.0/0" } }, nodes.ours:add(args("ours", keys)).routes)
    assert.equal("default via 10.1.2.1 dev eth0 ", nodes.ours:pod("ours-web"):must "ip route show default")
    assert.is_truthy(nodes.theirs:refused(args("theirs", keys)).msg:find("file exists", 1, true))
  end)

  it("differ in what is left of masquerading and of spoof filters after a DEL without CNI_NETNS", function()
    for whose, node in pairs(nodes) do
      local keys = { isDefaultGateway = true, ipMasq = true, macspoofchk = true, ipam = ranges(v4) }
      node:add(args(whose, keys))
      node:must("DEL", args(whose, keys, { netns = "" }))
      local left = node:must_sh "iptables-save -t nat" .. node:must_sh "nft list ruleset"
      assert.equal(whose == "theirs", left:find("10.1.2.2", 1, true) ~= nil, left)
    end
  end)
end)
