-- SPDX-License-Identifier: Apache-2.0
-- The plugin with ptp on a real kernel: routes, packets, and what CHECK, DEL, GC and STATUS make of them.

local mncni = require "mncni"
local nodes = require "spec.support.node"
local results = require "mncni.result"
local spaces = require "spec.support.netns"

local node, before

-- A configuration of both families with a default route in each, and what else is given.
local function config(more)
  local conf = {
    type = "ptp",
    ipam = {
      type = "host-local", ranges = { { { subnet = "10.1.2.0/24" } }, { { subnet = "fd00:1::/64" } } },
      routes = { { dst = "0.0.0.0/0" }, { dst = "::/0" } },
    },
  }
  for key, value in pairs(more or {}) do conf[key] = value end
  return conf
end

local function args_of(pod, more)
  return { name = "ptp", pod = pod or "web", conf = config(more) }
end

local function add(pod, more)
  return node:must("ADD", args_of(pod, more))
end

-- Whether an address answers, asked from a pod or, without one, the node.
local function answers(from, address)
  local space = from and node:pod(from) or node.space
  local _, status = space:sh("ping -c 1 -W 5 %s", address)
  return status == 0
end

-- A neighbour on the node's uplink, which has no way back to pods' addresses.
local function outside()
  local space = spaces.new "outside"
  node:sh "ip addr add fd00:2::10/64 dev up0 nodad; ip -6 route add default via fd00:2::1"
  node:sh "ip link set up1 netns outside"
  space:must "ip link set up1 up; ip addr add 192.0.2.1/24 dev up1; ip addr add fd00:2::1/64 dev up1 nodad"
  return space
end

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "web", "db" } }
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

describe("ptp", function()
  it("reports the node's end, then the pod's, and what IPAM gave", function()
    local result = add()
    local port = node.port "web"
    assert.are.same({ port, "eth0" }, { result.interfaces[1].name, result.interfaces[2].name })
    assert.is_nil(result.interfaces[1].sandbox)
    assert.are.equal(node:pod "web".path, result.interfaces[2].sandbox)
    assert.are.same({
      { address = "10.1.2.2/24", gateway = "10.1.2.1", interface = 1 },
      { address = "fd00:1::2/64", gateway = "fd00:1::1", interface = 1 },
    }, result.ips)
    assert.are.same({ { dst = "0.0.0.0/0" }, { dst = "::/0" } }, result.routes)
    local host <close> = mncni.open(node.space.ns)
    local pod <close> = mncni.open(node:pod "web".ns)
    assert.are.equal(result.interfaces[1].mac, host.link.get({ ifname = port }).address)
    assert.are.equal(result.interfaces[2].mac, pod.link.get({ ifname = "eth0" }).address)
  end)

  it("gives the node the gateway's address alone and a route to the pod's, in both families", function()
    add()
    local port = node.port "web"
    local addresses = node:sh("ip -o addr show dev %s", port)
    assert.truthy(addresses:find("inet 10.1.2.1/32 ", 1, true), addresses)
    assert.truthy(addresses:find("inet6 fd00:1::1/128 ", 1, true), addresses)
    assert.falsy(addresses:find("fd00:1::1/128 [^\n]*tentative"), addresses)
    assert.truthy(node:sh "ip route":find(("10.1.2.2 dev %s scope host"):format(port), 1, true))
    assert.truthy(node:sh "ip -6 route":find(("fd00:1::2 dev %s "):format(port), 1, true))
    assert.falsy(node:sh "ip route":find("10.1.2.0/24", 1, true))
  end)

  it("leads the pod to everything through the gateway, its own subnet too", function()
    add()
    local v4, v6 = node:pod "web":must "ip route", node:pod "web":must "ip -6 route"
    for _, line in ipairs { "10.1.2.1 dev eth0 scope link src 10.1.2.2",
      "10.1.2.0/24 via 10.1.2.1 dev eth0 src 10.1.2.2", "default via 10.1.2.1 dev eth0" } do
      assert.truthy(v4:find(line, 1, true), v4)
    end
    for _, line in ipairs { "fd00:1::1 dev eth0 src fd00:1::2", "fd00:1::/64 via fd00:1::1 dev eth0 src fd00:1::2",
      "default via fd00:1::1 dev eth0" } do
      assert.truthy(v6:find(line, 1, true), v6)
    end
    assert.falsy(v4:find("10.1.2.0/24 dev", 1, true), v4)
    assert.falsy(v6:find("fd00:1::/64 dev", 1, true), v6)
  end)

  it("carries packets between pods, to the node and from it", function()
    add "web"
    add "db"
    for _, case in ipairs {
      { "web", "10.1.2.1" }, { "web", "fd00:1::1" }, { "web", "192.0.2.10" }, { nil, "10.1.2.2" }, { nil, "fd00:1::2" },
      { "web", "10.1.2.3" }, { "web", "fd00:1::3" }, { "db", "10.1.2.2" }, { "db", "fd00:1::2" },
    } do
      assert.is_true(answers(case[1], case[2]), ("%s to %s"):format(case[1] or "node", case[2]))
    end
  end)

  it("leads out of the node with its address as source where ipMasq says so, and not otherwise", function()
    local far = outside()
    add "web"
    assert.is_false((select(2, node:pod "web":sh "ping -c 1 -W 1 192.0.2.1")) == 0)
    node:must("DEL", args_of "web")
    for _, backend in ipairs { "iptables", "nftables" } do
      local result = add("web", { ipMasq = true, ipMasqBackend = backend })
      assert.is_true(answers("web", "192.0.2.1"))
      assert.is_true(answers("web", "fd00:2::1"))
      assert.is_nil(node:check(args_of("web", { ipMasq = true }), result))
      node:must("DEL", args_of("web", { ipMasq = true }))
    end
    far:close()
  end)

  it("shows pods to each other as they are although it masquerades", function()
    add("web", { ipMasq = true })
    add("db", { ipMasq = true })
    node:pod "db":must "nft add table ip seen; nft add chain ip seen in '{ type filter hook input priority 0; }'"
    node:pod "db":must "nft add rule ip seen in ip saddr 10.1.2.2 icmp type echo-request counter"
    assert.is_true(answers("web", "10.1.2.3"))
    local seen = node:pod "db":must "nft list table ip seen"
    assert.truthy(seen:find("counter packets 1 ", 1, true), seen)
  end)

  it("switches forwarding on where it is off, for the families that it has", function()
    local function forwarding()
      return node:sh "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding":gsub("%s+", " ")
    end
    node:sh "echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding"
    local ipam = { type = "host-local", subnet = "10.1.2.0/24" }
    local result = add("web", { ipam = ipam })
    assert.are.equal("1 0", (forwarding()))
    add "db"
    assert.are.equal("1 1", (forwarding()))
    node:sh "echo 0 >/proc/sys/net/ipv4/ip_forward"
    local message = node:check(args_of("web", { ipam = ipam }), result)
    assert.truthy(message:find("sysctl net/ipv4/ip_forward: it is 0, and should be 1", 1, true), message)
  end)

  it("makes the pair with the MTU that is asked for", function()
    add("web", { mtu = 1400 })
    local host <close> = mncni.open(node.space.ns)
    local pod <close> = mncni.open(node:pod "web".ns)
    assert.are.equal(1400, host.link.get({ ifname = node.port "web" }).mtu)
    assert.are.equal(1400, pod.link.get({ ifname = "eth0" }).mtu)
    local outcome = node:call("ADD", args_of("db", { mtu = -1 }))
    assert.are.equal(7, outcome.json.code)
    assert.truthy(outcome.json.msg:find('"mtu"', 1, true), outcome.stdout)
  end)

  it("prefers its own dns to IPAM's where it says anything", function()
    local file = node.scratch .. "/resolv.conf"
    spaces.must("echo nameserver 10.0.0.53 >%s", file)
    local ipam = { type = "host-local", subnet = "10.1.2.0/24", resolvConf = file }
    assert.are.same({ nameservers = { "10.0.0.53" } }, add("web", { ipam = ipam, dns = {} }).dns)
    assert.are.same({ search = { "x.test" } }, add("db", { ipam = ipam, dns = { search = { "x.test" } } }).dns)
  end)

  it("answers in every version of the contract, and goes again", function()
    for _, version in ipairs(results.versions) do
      local result = add("web", { cniVersion = version })
      assert.are.equal(version, result.cniVersion)
      local address = result.ip4 and result.ip4.ip or result.ips[1].address
      assert.truthy(address:find("^10%.1%.2%.%d+/24$"), version)
      assert.is_true(answers(nil, address:match "^[^/]+"), version)
      if results.at_least(version, "0.4.0") then
        assert.is_nil(node:check(args_of("web", { cniVersion = version }), result))
      end
      for _ = 1, 2 do
        node:must("DEL", args_of("web", { cniVersion = version }))
      end
      assert.are.same({ {}, {}, {} }, { node:links(), node:journals(), node:reserved() })
    end
  end)

  it("wires an address that is alone in its subnet, and two that share a gateway", function()
    local static = { type = "static", addresses = {
      { address = "10.5.0.5/32", gateway = "169.254.1.1" }, { address = "10.6.0.5/24", gateway = "10.6.0.1" },
      { address = "10.6.0.6/24", gateway = "10.6.0.1" },
    } }
    local result = add("web", { ipam = static })
    for _, address in ipairs { "10.5.0.5", "10.6.0.5", "10.6.0.6" } do
      assert.is_true(answers(nil, address), address)
    end
    assert.is_true(answers("web", "169.254.1.1"))
    assert.is_nil(node:check(args_of("web", { ipam = static }), result))
  end)
end)

describe("ptp refuses", function()
  local function refused(code, pattern, more, pod)
    local outcome = node:call("ADD", args_of(pod, more))
    assert.are.equal(code, outcome.json and outcome.json.code, outcome.stdout .. outcome.stderr)
    assert.truthy(outcome.json.msg:find(pattern, 1, true), outcome.stdout)
    assert.are.same({ {}, {}, {} }, { node:links(), node:journals(), node:reserved() })
  end

  it("an address without a gateway, and IPAM without an address", function()
    refused(7, "without a gateway", { ipam = { type = "static", addresses = { { address = "10.5.0.5/24" } } } })
    refused(7, "it gives no address", { ipam = { type = "static" } })
    refused(7, "ipam", { ipam = false })
  end)

  it("what stands in its way, and leaves it", function()
    node:pod "web":must "ip link add eth0 type veth peer name other"
    refused(103, 'link "eth0"')
    assert.truthy(node:pod "web":sh "ip link show eth0":find("other", 1, true))
  end)

  it("a backend that is none", function()
    refused(7, "ipMasqBackend", { ipMasqBackend = "nftabels" })
  end)

  it("a namespace that is missing", function()
    local outcome = node:call("ADD", { name = "ptp", netns = "/run/netns/none", conf = config() })
    assert.are.equal(8, outcome.json.code, outcome.stdout)
    assert.are.same({ {}, {} }, { node:links(), node:reserved() })
  end)
end)

describe("ptp's CHECK", function()
  local function complains(pattern, result)
    local message = node:check(args_of "web", result)
    assert.truthy(message and message:find(pattern, 1, true), tostring(message))
  end

  for name, case in pairs {
    ["the pod's address"] = { "web", "ip addr del 10.1.2.2/24 dev eth0", "route 10.1.2.1: it is gone" },
    ["the pod's default route"] = { "web", "ip route del default", "0.0.0.0/0" },
    ["the route to the gateway"] = { "web", "ip route del 10.1.2.1", "route 10.1.2.1" },
    ["the gateway's address"] = { nil, "ip addr del fd00:1::1/128 dev PORT", "fd00:1::1/128" },
    ["the route to the pod"] = { nil, "ip route del 10.1.2.2", "route 10.1.2.2" },
    ["the link"] = { nil, "ip link del PORT", "it is gone" },
  } do
    it("misses " .. name, function()
      local result = add()
      assert.is_nil(node:check(args_of "web", result))
      local space = case[1] and node:pod(case[1]) or node.space
      space:must((case[2]:gsub("PORT", node.port "web")))
      complains(case[3], result)
    end)
  end
end)

describe("ptp's attachments", function()
  it("go without a namespace, a configuration or a policy", function()
    add()
    node:kill "web"
    local outcome = node:call("DEL", { name = "ptp", pod = "web", netns = "", conf = { type = "ptp", ipam = false } })
    assert.are.equal(0, outcome.status, outcome.stdout)
    assert.are.same({ {}, {}, {} }, { node:links(), node:journals(), node:reserved() })
    assert.falsy(node:sh "ip route; ip -6 route":find("10.1.2.2", 1, true))
  end)

  it("are collected when the runtime does not list them, and by an administrator", function()
    add "web"
    add "db"
    local listed = { ["cni.dev/valid-attachments"] = { { containerID = "db", ifname = "eth0" } } }
    local db = { name = "ptp", conf = config(listed) }
    for _ = 1, 2 do
      node:must("GC", db)
      assert.are.same({ node.port "db" }, node:links())
    end
    assert.is_true(answers(nil, "10.1.2.3"))
    node:kill "db"
    node:gc "--grace=0"
    assert.are.same({ {}, {}, {} }, { node:links(), node:journals(), node:reserved() })
  end)

  it("are told of by STATUS before they fail", function()
    node:must("STATUS", args_of())
    local function status(more)
      return node:call("STATUS", args_of("web", more)).json.code
    end
    assert.are.equal(50, status { ipam = false })
    assert.are.equal(50, status { mtu = "big" })
    local small = { type = "host-local", subnet = "10.1.3.0/30" }
    node:must("STATUS", args_of("web", { ipam = small }))
    add("web", { ipam = small })
    assert.are.equal(50, status { ipam = small })
  end)

  it("have no name but the attachment's: a collision is refused and undone", function()
    node.space:must("ip link add %s type veth peer name x0", node.port "web")
    local outcome = node:call("ADD", args_of())
    assert.are.equal(103, outcome.json.code, outcome.stdout)
    assert.are.same({}, node:reserved())
    node.space:must("ip link del %s", node.port "web")
  end)
end)

describe("ptp with others' plugins", function()
  local function reference(name)
    spaces.must("ln -sf /usr/lib/cni/%s %s", name, node.scratch .. "/bin/reference-" .. name)
    return "reference-" .. name
  end

  it("has addresses from the reference host-local", function()
    local more = { cniVersion = "1.0.0", ipam = config().ipam }
    more.ipam.type = reference "host-local"
    local result = add("web", more)
    assert.are.equal("10.1.2.2/24", result.ips[1].address)
    assert.is_true(answers("web", "10.1.2.1"))
    assert.is_nil(node:check(args_of("web", more), result))
    node:must("DEL", args_of("web", more))
    assert.are.same({ {}, {}, {} }, { node:links(), node:journals(), node:reserved() })
  end)

  it("lends its static to the reference ptp", function()
    local conf = { type = reference "ptp", cniVersion = "1.0.0", ipam = {
      type = "static", addresses = { { address = "10.7.0.5/24", gateway = "10.7.0.1" } },
      routes = { { dst = "0.0.0.0/0" } },
    } }
    local args = { name = "reference-ptp", pod = "web", conf = conf }
    local result = node:must("ADD", args)
    assert.are.equal("10.7.0.5/24", result.ips[1].address)
    assert.is_true(answers("web", "10.7.0.1"))
    conf.prevResult = result
    node:must("CHECK", args)
    node:must("DEL", args)
    assert.are.same({}, node:journals())
  end)
end)
