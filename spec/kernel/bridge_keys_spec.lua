-- SPDX-License-Identifier: Apache-2.0
-- The keys of the policy bridge that are about frames and packets: what gets through, and what does not. And chains with
-- plugins of the reference's.

local attach = require "spec.support.attach"
local clock = require "spec.support.clock"
local core = require "mncni.core"
local frames = require "spec.support.frames"
local mncni = require "mncni"
local spaces = require "spec.support.netns"

describe("bridge with", function()
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

  local function conf(keys)
    local all = { type = "bridge", isDefaultGateway = true, ipam = { type = "host-local", subnet = "10.1.2.0/24" } }
    for key, value in pairs(keys or {}) do
      all[key] = value ~= false and value or nil
    end
    return all
  end

  -- A machine beyond the node, without a route to pods.
  local function outside()
    local space = spaces.new "outside"
    node:must_sh "ip link add up0 type veth peer name up1 && ip link set up1 netns outside && ip link set up0 up"
    node:must_sh "ip addr add 192.0.2.10/24 dev up0 && ip addr add 2001:db8:f::10/64 dev up0 nodad"
    space:must "ip link set up1 up && ip addr add 192.0.2.1/24 dev up1 && ip addr add 2001:db8:f::1/64 dev up1 nodad"
    return space
  end

  describe("ipMasq", function()
    for _, backend in ipairs { false, "iptables", "nftables" } do
      it(("%s hides pods behind the node's address, in both families"):format(backend or "and no backend"), function()
        outside()
        local ipam = { type = "host-local", ranges = {
          { { subnet = "10.1.2.0/24" } }, { { subnet = "2001:db8:1::/64" } },
        } }
        node:add { conf = conf { ipMasq = true, ipMasqBackend = backend, ipam = ipam } }
        node:add { pod = "db", conf = conf { name = "plain", bridge = "cni1",
          ipam = { type = "host-local", subnet = "10.1.3.0/24" } } }
        -- There is no way back to a pod, so an answer proves that the node's address was seen.
        assert.is_true(node:pings("web", "192.0.2.1"))
        assert.is_true(node:pings("web", "2001:db8:f::1"))
        assert.is_true(node:is_cut_off("db", "192.0.2.1"))
      end)
    end

    it("leaves what pods of a range say to each other alone, and their multicast", function()
      node:add { conf = conf { ipMasq = true } }
      node:add { pod = "db", conf = conf { ipMasq = true } }
      node:must_sh "nft add table inet watch"
      node:must_sh [[nft 'add chain inet watch seen { type filter hook postrouting priority 200 ; }']]
      node:must_sh [[nft 'add rule inet watch seen ip saddr 10.1.2.1 ip daddr 10.1.2.3 counter']]
      assert.is_true(node:pings("web", "10.1.2.3"))
      node:pod("db"):must "ip neigh flush all"
      assert.is_truthy(node:must_sh("nft list table inet watch"):find("packets 0", 1, true))
    end)

    it("is off unless asked for", function()
      outside()
      node:add { conf = conf() }
      assert.equal("", node:must_sh "nft list ruleset")
      assert.is_true(node:is_cut_off("web", "192.0.2.1"))
    end)
  end)

  it("portIsolation keeps isolated pods apart, and lets them reach the node and others", function()
    for name, isolated in pairs { web = true, db = true, cache = false } do
      node:add { pod = name, conf = conf { portIsolation = isolated } }
    end
    local address = {}
    for _, name in ipairs { "web", "db", "cache" } do
      address[name] = node:pod(name):must "ip -4 -o addr show eth0":match "inet ([%d.]+)"
    end
    assert.is_true(node:pings("web", "10.1.2.1"))
    assert.is_true(node:pings("web", address.cache))
    assert.is_true(node:pings("cache", address.db))
    assert.is_true(node:is_cut_off("web", address.db))
    assert.is_true(node:is_cut_off("db", address.web))
  end)

  it("macspoofchk drops what a pod sends from a MAC address that is not its own, and nothing else", function()
    local web = node:add { conf = conf { macspoofchk = true } }.interfaces[3].mac
    local db = node:add { pod = "db", conf = conf { macspoofchk = true } }.interfaces[3].mac
    local function arrives(from)
      return frames.arrives {
        frame = frames.ether { to = db, from = from, type = 0x0800, payload = frames.ipv4("10.1.2.2", "10.1.2.3") },
        from = node:pod "web", to = node:pod "db", mark = function(text)
          return frames.ether { to = "ff:ff:ff:ff:ff:ff", from = web, type = 0x0800,
            payload = frames.ipv4("10.1.2.2", "10.1.2.255", text) }
        end,
      }
    end
    assert.is_true(arrives(web))
    assert.is_false(arrives "02:00:00:00:00:99")
    assert.is_true(node:pings("web", "10.1.2.3"))
    node:must("DEL", { conf = conf { macspoofchk = true } })
    assert.is_nil(node:must_sh("nft list set bridge mncni macs"):find(web, 1, true))
  end)

  it("promiscMode has the bridge take every frame, also after a network that does not ask for it", function()
    node:add { conf = conf { promiscMode = true } }
    assert.is_true(node.host.link.get({ ifname = "cni0" }).promisc)
    node:add { pod = "db", conf = conf() }
    assert.is_true(node.host.link.get({ ifname = "cni0" }).promisc)
    local keys = conf { promiscMode = true, name = "again" }
    keys.prevResult = node:add { pod = "cache", conf = keys }
    node:must("CHECK", { pod = "cache", conf = keys })
    node:must_sh "ip link set cni0 promisc off"
    assert.equal(106, node:run("CHECK", { pod = "cache", conf = keys }).json.code)
  end)

  it("hairpinMode lets a pod's frames come back to it", function()
    for name, hairpin in pairs { web = true, db = false } do
      local port = node:add({ pod = name, conf = conf { hairpinMode = hairpin } }).interfaces[2].name
      assert.equal(hairpin, node.host.link.get({ ifname = port }).bridge_slave.hairpin)
    end
  end)

  it("disableContainerInterface leaves the interface there and down, and CHECK content", function()
    local keys = conf { isDefaultGateway = false, ipam = false, disableContainerInterface = true }
    keys.prevResult = node:add { conf = keys }
    local web <close> = mncni.open(node:pod("web").ns)
    assert.is_false(web.link.get({ ifname = "eth0" }).up)
    node:must("CHECK", { conf = keys })
    node:pod("web"):must "ip link set eth0 up" -- whoever it was left for
    node:must("CHECK", { conf = keys })
    node:must("DEL", { conf = keys })
    assert.same({ "cni0" }, node:links())
  end)

  describe("enabledad", function()
    local ipam = { type = "host-local", subnet = "2001:db8:1::/64" }

    it("waits until an address is known to be nobody else's", function()
      node:add { pod = "db", conf = conf { ipam = ipam } }
      local result = node:add { conf = conf { ipam = ipam, enabledad = true } }
      assert.equal("2001:db8:1::3/64", result.ips[1].address)
      assert.equal("1", core.sysctl.get(node:pod("web").ns, "net/ipv6/conf/eth0/accept_dad"))
      assert.equal("0", core.sysctl.get(node:pod("db").ns, "net/ipv6/conf/eth0/accept_dad"))
      assert.is_nil(node:pod("web"):must("ip -6 addr show dev eth0"):find("tentative", 1, true))
      assert.is_true(node:pings("web", "2001:db8:1::2"))
    end)

    it("refuses one that another host has", function()
      node:add { pod = "db", conf = conf { ipam = ipam } }
      node:pod("db"):must "ip addr add 2001:db8:1::3/64 dev eth0 nodad"
      local err = node:refused { conf = conf { ipam = ipam, enabledad = true } }
      assert.equal(103, err.code)
      assert.is_truthy(err.msg:find("2001:db8:1::3/64", 1, true), err.msg)
      assert.same({ "2001:db8:1::2" }, node:reserved())
      assert.equal("", node:pod("web"):sh "ip -o link show eth0 2>/dev/null")
    end)
  end)

  it("two interfaces gives a pod two networks", function()
    node:add { conf = conf() }
    node:add { ifname = "net1", conf = conf { name = "second", bridge = "cni1", isDefaultGateway = false,
      isGateway = true, ipam = { type = "host-local", subnet = "10.1.3.0/24" } } }
    assert.is_true(node:pings("web", "10.1.2.1"))
    assert.is_true(node:pings("web", "10.1.3.1"))
    node:must("DEL", { ifname = "net1", conf = conf { name = "second", bridge = "cni1" } })
    assert.is_true(node:pings("web", "10.1.2.1"))
    assert.same({ "10.1.2.2" }, node:reserved())
  end)

  -- A web server in the pod, until the function has returned.
  local function serving(pod, text, fn)
    local dir = node.scratch .. "/www"
    spaces.must("mkdir -p %s", dir)
    spaces.must("printf %s >%s", text, dir .. "/index.html")
    local pid = node:pod(pod):must("busybox httpd -f -p 80 -h %s >/dev/null 2>&1 & echo $!", dir)
    local ok, err = pcall(fn)
    spaces.sh("kill %s", pid)
    if not ok then
      error(err, 0)
    end
  end

  local function fetches(space, url)
    return (clock.wait(function()
      return space:sh("curl -s -m 5 %s", url) == "hello"
    end))
  end

  it("the reference's portmap after it, which makes host ports of its result", function()
    local there = outside()
    local keys = { cniVersion = "1.0.0", name = "testnet", type = "portmap",
      runtimeConfig = { portMappings = { { hostPort = 8080, containerPort = 80, protocol = "tcp" } } } }
    local portmap = { conf = keys, bin = attach.REFERENCE .. "/portmap" }
    local own = conf { cniVersion = "1.0.0", ipMasq = true }
    keys.prevResult = node:add { conf = own }
    assert.same(keys.prevResult.ips, node:add(portmap).ips)
    serving("web", "hello", function()
      assert.is_true(fetches(there, "http://192.0.2.10:8080/"))
      assert.is_true(fetches(node.space, "http://10.1.2.1:8080/"))
    end)
    own.prevResult = keys.prevResult
    node:must("CHECK", { conf = own })
    node:must("DEL", portmap)
    node:must("DEL", { conf = own })
    assert.same({}, node:reserved())
    assert.equal("", node:sh "ip -o link show group 78")
    assert.is_nil(node:must_sh("iptables-save -t nat"):find("10.1.2.2", 1, true))
  end)

  it("the reference's bridge asks our host-local", function()
    local args = { conf = conf { cniVersion = "1.0.0" }, bin = attach.REFERENCE .. "/bridge",
      path = node.scratch .. "/bin" }
    assert.equal("10.1.2.2/24", node:add(args).ips[1].address)
    assert.is_true(node:pings("web", "10.1.2.1"))
    assert.is_truthy(node:journals():find("@host-local@", 1, true))
    node:must("DEL", args)
    assert.same({}, node:reserved())
  end)

  it("the reference's host-local gives addresses, and takes them back", function()
    -- Under another name: host-local is a policy of ours.
    spaces.must("ln -s /usr/lib/cni/host-local %s/bin/debian-host-local", node.scratch)
    local keys = conf { cniVersion = "1.0.0" }
    keys.ipam.type, keys.ipam.dataDir = "debian-host-local", node.scratch .. "/networks"
    local args = { conf = keys, path = node.scratch .. "/bin" }
    assert.equal("10.1.2.2/24", node:add(args).ips[1].address)
    assert.same({ "10.1.2.2" }, node:reserved())
    node:must("DEL", args)
    assert.same({}, node:reserved())
  end)
end)
