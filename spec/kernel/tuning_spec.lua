-- SPDX-License-Identifier: Apache-2.0
-- The plugin with tuning on a real kernel, behind ptp: what is set, who decides, and what is as before after DEL.

local core = require "mncni.core"
local mncni = require "mncni"
local nodes = require "spec.support.node"
local results = require "mncni.result"
local spaces = require "spec.support.netns"

local node, before, previous

local PTP = { type = "ptp", ipam = { type = "host-local", subnet = "10.1.2.0/24" } }
local MAC = "0a:58:0a:01:02:03"

local function ptp(verb, version)
  local conf = { cniVersion = version }
  for key, value in pairs(PTP) do conf[key] = value end
  return node:must(verb, { name = "ptp", pod = "web", conf = conf })
end

-- A call of tuning behind ptp. more: keys of the configuration; env: more of the environment.
local function call(verb, more, env)
  local conf = { type = "tuning", ipam = false, prevResult = previous }
  for key, value in pairs(more or {}) do conf[key] = value end
  node.env.CNI_ARGS = env and env.CNI_ARGS
  local outcome = node:call(verb, { name = "tuning", pod = "web", conf = conf })
  node.env.CNI_ARGS = nil
  return outcome
end

local function must(...)
  local outcome = call(...)
  assert.are.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
  return outcome.json
end

local function link()
  local pod <close> = mncni.open(node:pod "web".ns)
  return pod.link.get { ifname = "eth0" }
end

local function sysctl(key)
  return core.sysctl.get(node:pod "web".ns, key)
end

-- What tuning may change, of the link and of the namespace.
local function state()
  local eth0 = link()
  return {
    eth0.address, eth0.mtu, eth0.promisc, eth0.allmulti, eth0.txqlen, sysctl "net/ipv4/conf/eth0/arp_filter",
    sysctl "net/ipv4/ip_local_port_range",
  }
end

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "web" } }
  previous = ptp "ADD"
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

local EVERYTHING = {
  mac = "0A-58-0A-01-02-03", mtu = 1400, promisc = true, allmulti = true, txQLen = 50, dataDir = "/run/elsewhere",
  sysctl = { ["net.ipv4.conf.IFNAME.arp_filter"] = "1", ["net.ipv4.ip_local_port_range"] = "1024 65000" },
}

describe("tuning", function()
  it("sets what it is asked for, says so in the result, and puts back what was before", function()
    local was = state()
    local result = must("ADD", EVERYTHING)
    assert.are.same({ MAC, 1400, true, true, 50, "1", "1024\t65000" }, state())
    assert.are.same({ MAC, 1400 }, { result.interfaces[2].mac, result.interfaces[2].mtu })
    assert.are.same(previous.interfaces[1], result.interfaces[1])
    assert.are.same({ previous.ips, previous.routes }, { result.ips, result.routes })
    must("CHECK", { prevResult = result })
    assert.is_nil(node:check({ name = "ptp", pod = "web", conf = PTP }, result))
    local _, status = node:pod "web":sh "ping -c 1 -W 5 10.1.2.1"
    assert.are.equal(0, status)
    for _ = 1, 2 do
      must("DEL", EVERYTHING)
      assert.are.same(was, state())
    end
    assert.is_nil(node:check({ name = "ptp", pod = "web", conf = PTP }, previous))
  end)

  it("changes nothing when it is asked for nothing", function()
    local was = state()
    assert.are.same(previous, must("ADD", { mtu = 0, promisc = false, sysctl = {} }))
    assert.are.same(was, state())
    must("CHECK", { prevResult = previous })
    must "DEL"
  end)

  it("makes a setting that can only be written", function()
    local result = must("ADD", { sysctl = { ["net.ipv4.route.flush"] = "1" } })
    must("CHECK", { prevResult = result })
    must "DEL"
  end)

  it("lets args.cni win over runtimeConfig, that over CNI_ARGS, and that over the configuration", function()
    local env = { CNI_ARGS = "MAC=0a:58:00:00:00:02" }
    local runtime, args = { mac = "0a:58:00:00:00:03" }, { cni = { mac = "0a:58:00:00:00:04" } }
    for i, case in ipairs {
      { {} }, { {}, env }, { { runtimeConfig = runtime }, env }, { { runtimeConfig = runtime, args = args }, env },
    } do
      case[1].mac = "0a:58:00:00:00:01"
      local result = must("ADD", case[1], case[2])
      assert.are.equal("0a:58:00:00:00:0" .. i, link().address)
      assert.are.equal("0a:58:00:00:00:0" .. i, result.interfaces[2].mac)
      must("DEL", case[1])
    end
    local more = {
      mtu = 1400, promisc = true, allmulti = true, txQLen = 10, sysctl = { ["net.ipv4.conf.eth0.arp_filter"] = "2" },
      args = { cni = {
        mtu = 1300, promisc = false, allmulti = false, txQLen = 20,
        sysctl = { ["net.ipv4.conf.eth0.arp_filter"] = "1" },
      } },
    }
    must("ADD", more)
    local now = state()
    assert.are.same({ 1300, false, false, 20, "1" }, { now[2], now[3], now[4], now[5], now[6] })
  end)

  it("answers in every version of the contract", function()
    ptp "DEL"
    for _, version in ipairs(results.versions) do
      previous = ptp("ADD", version)
      local result = must("ADD", { cniVersion = version, mac = MAC })
      assert.are.equal(version, result.cniVersion)
      assert.are.equal(MAC, link().address)
      if result.interfaces then
        assert.are.equal(MAC, result.interfaces[2].mac)
      end
      if results.at_least(version, "0.4.0") then
        must("CHECK", { cniVersion = version, mac = MAC, prevResult = result })
      end
      must("DEL", { cniVersion = version, mac = MAC })
      ptp("DEL", version)
    end
    assert.are.same({}, node:journals())
  end)

  it("keeps to the node's list of settings, where there is one", function()
    spaces.must "mount -t tmpfs tmpfs /etc/cni && mkdir /etc/cni/tuning"
    spaces.must([[echo '^net\.ipv4\.conf\.IFNAME\.[a-z_]*$' >/etc/cni/tuning/allowlist.conf]])
    local _ <close> = setmetatable({}, { __close = function() spaces.must "umount /etc/cni" end })
    must("ADD", { sysctl = { ["net.ipv4.conf.IFNAME.arp_filter"] = "1" } })
    must "DEL"
    local refused = { sysctl = { ["net.ipv4.conf.IFNAME.arp_filter"] = "1", ["net.ipv4.ip_forward"] = "1" } }
    local outcome = call("ADD", refused)
    assert.are.equal(7, outcome.json.code, outcome.stdout)
    assert.truthy(outcome.json.msg:find("net.ipv4.ip_forward", 1, true), outcome.stdout)
    assert.are.equal("0", sysctl "net/ipv4/conf/eth0/arp_filter")
    local conf = { type = "tuning", sysctl = refused.sysctl, ipam = false }
    outcome = node:call("STATUS", { name = "tuning", conf = conf })
    assert.are.equal(50, outcome.json.code, outcome.stdout)
  end)

  it("refuses bad values, names the key, and has changed nothing", function()
    local was = state()
    for pattern, more in pairs {
      ["mac"] = { mac = "0a:58" }, ["mtu"] = { mtu = -1, mac = MAC }, ["txQLen"] = { txQLen = "long" },
      ["sysctl.kernel.hostname"] = { sysctl = { ["kernel.hostname"] = "x" }, mac = MAC },
      ["sysctl.net.core.somaxconn"] = { sysctl = { ["net.core.somaxconn"] = 7 }, mac = MAC },
      ["args.cni.promisc"] = { args = { cni = { promisc = "yes" } }, mac = MAC },
    } do
      local outcome = call("ADD", more)
      assert.are.equal(7, outcome.json.code, outcome.stdout)
      assert.truthy(outcome.json.msg:find(pattern, 1, true), outcome.stdout)
    end
    assert.are.same(was, state())
  end)

  it("refuses a key that is there twice", function()
    local text = [[{ "cniVersion": "1.0.0", "name": "testnet", "type": "tuning", "prevResult": {},
      "sysctl": { "net.core.somaxconn": "1", "net.core.somaxconn": "2" } }]]
    local env = {
      CNI_COMMAND = "ADD", CNI_CONTAINERID = "web", CNI_IFNAME = "eth0", CNI_NETNS = node:pod "web".path,
    }
    for key, value in pairs(node.env) do env[key] = value end
    local outcome = node:exec({ node.scratch .. "/bin/tuning" }, env, text)
    assert.are.equal(6, core.json.decode(outcome.stdout).code, outcome.stdout)
    assert.truthy(outcome.stdout:find("net.core.somaxconn", 1, true), outcome.stdout)
  end)

  it("takes everything back when the kernel refuses a part", function()
    local was = state()
    for _, more in ipairs {
      { mac = MAC, mtu = 20, sysctl = { ["net.ipv4.conf.IFNAME.arp_filter"] = "1" } },
      { mac = MAC, sysctl = { ["net.ipv4.conf.IFNAME.arp_filter"] = "1", ["net.ipv4.conf.IFNAME.no_such"] = "1" } },
      { mac = MAC, sysctl = { ["net.ipv4.conf.IFNAME.arp_filter"] = "1", ["net.ipv4.ip_local_port_range"] = "x" } },
    } do
      assert.are.equal(102, call("ADD", more).json.code)
      assert.are.same(was, state())
    end
    assert.are.same({ "testnet/web@ptp@eth0" }, node:journals())
  end)

  it("is refused without a plugin before it", function()
    local outcome = node:call("ADD", { name = "tuning", pod = "web", conf = { type = "tuning", ipam = false } })
    assert.are.equal(7, outcome.json.code, outcome.stdout)
  end)

  it("misses, in CHECK, what somebody has changed", function()
    local result = must("ADD", EVERYTHING)
    for pattern, command in pairs {
      ["MAC address"] = "ip link set eth0 address 0a:58:00:00:00:09", ["MTU"] = "ip link set eth0 mtu 1450",
      ["promiscuous mode"] = "ip link set eth0 promisc off",
      ["all-multicast mode"] = "ip link set eth0 allmulticast off",
      ["transmit queue length"] = "ip link set eth0 txqueuelen 60",
      ["arp_filter"] = "echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_filter",
    } do
      node:pod "web":must(command)
      local outcome = call("CHECK", { prevResult = result })
      assert.are.equal(106, outcome.json and outcome.json.code, pattern .. outcome.stdout)
      assert.truthy(outcome.json.msg:find(pattern, 1, true), outcome.stdout)
      node:pod "web":must("ip link set eth0 address %s mtu 1400 promisc on allmulticast on txqueuelen 50", MAC)
      node:pod "web":must "echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_filter"
      must("CHECK", { prevResult = result })
    end
  end)

  it("goes with the link or the namespace gone, and is collected", function()
    must("ADD", EVERYTHING)
    ptp "DEL" -- out of order
    must("DEL", EVERYTHING)
    assert.are.same({}, node:journals())
    previous = ptp "ADD"
    must("ADD", EVERYTHING)
    node:kill "web"
    assert.are.equal(0, call("DEL", EVERYTHING).status)
    assert.are.same({ "testnet/web@ptp@eth0" }, node:journals())
    node:pod "web"
    node:must("GC", { name = "tuning", conf = {
      type = "tuning", ipam = false, ["cni.dev/valid-attachments"] = core.json.array {},
    } })
    assert.are.same({}, node:journals())
  end)
end)
