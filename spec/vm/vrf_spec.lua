-- SPDX-License-Identifier: Apache-2.0
-- The policy vrf, behind others and behind the reference plugin's.

local core = require "mncni.core"
local plugged = require "spec.support.plugged"

describe("vrf", function()
  local node, previous

  local function ipam(network)
    return { type = "host-local", dataDir = node.scratch .. "/networks", routes = {
      { dst = "0.0.0.0/0" }, { dst = "10.9.0.0/16", gw = "10.1.0.253" }, { dst = "::/0" },
    }, ranges = {
      { { subnet = "10.1.0.0/24", rangeStart = network or "10.1.0.10", gateway = "10.1.0.254" } },
      { { subnet = "fd00:1::/64", rangeStart = "fd00:1::10", gateway = "fd00:1::fe" } },
    } }
  end

  -- An interface by macvlan, for the chain to go on with.
  local function interface(pod, ifname, reference)
    return node:must("ADD", { type = "macvlan", pod = pod, ifname = ifname, reference = reference,
      conf = { name = ifname, master = "up0", ipam = ipam() } })
  end

  before_each(function()
    node = plugged.new { "macvlan", "vrf" }
    previous = interface("web", "eth0")
  end)
  after_each(function() node:close() end)

  local function call(more)
    local args = { type = "vrf", pod = "web", prev = previous, conf = { vrfname = "red" } }
    for key, value in pairs(more or {}) do
      args[key] = value
    end
    return args
  end

  -- The routes of the pod's main table, but for link-local ones.
  local function routes()
    return node:pod("web"):must "ip route show; ip -6 route show | grep -v ^fe80 | sort"
  end

  it("puts the interface into a VRF, with addresses and routes, and takes it out again", function()
    for _, version in ipairs { "0.3.1", "0.4.0", "1.0.0" } do
      local main = routes()
      local result = node:must("ADD", call { version = version, prev = version == "1.0.0" and previous or {
        cniVersion = version, interfaces = previous.interfaces, routes = previous.routes, ips = {
          { version = "4", address = previous.ips[1].address, interface = 0 },
        },
      } })
      assert.equal(version, result.cniVersion)
      assert.same(previous.interfaces, result.interfaces)
      assert.same(previous.routes, result.routes)
      assert.equal("red", node:link("web").master)
      local vrf = node:link("web", "red")
      assert.same({ "vrf", 1, true }, { vrf.kind, vrf.vrf.table, vrf.up })
      local pod = node:pod "web"
      local moved = pod:must "ip route show table 1 | grep -v -e ^broadcast -e ^local"
      assert.matches("default via 10.1.0.254 dev eth0", moved, 1, true)
      assert.matches("10.9.0.0/16 via 10.1.0.253 dev eth0", moved, 1, true)
      assert.matches("10.1.0.0/24 dev eth0 proto kernel", moved, 1, true)
      assert.matches("default via fd00:1::fe dev eth0", pod:must "ip -6 route show table 1", 1, true)
      assert.equal("", pod:must "ip route show table main")
      assert.equal(0, select(2, pod:sh "ping -I red -c 1 -W 3 10.1.0.254"))
      assert.equal(0, select(2, pod:sh "ping -I red -c 1 -W 3 fd00:1::fe"))
      node:must("DEL", call { version = version })
      assert.is_nil(node:link("web").master)
      assert.is_nil(node:link("web", "red"))
      assert.equal(main, routes())
      node:must("DEL", { type = "macvlan", pod = "web", conf = { name = "eth0", master = "up0", ipam = ipam() } })
      previous = interface("web", "eth0")
    end
  end)

  it("lets interfaces of a pod share a VRF, which goes with the last of them", function()
    node:must("ADD", call())
    local second = interface("web", "net1")
    node:must("ADD", call { ifname = "net1", prev = second })
    assert.same({ "red", "red" }, { node:link("web").master, node:link("web", "net1").master })
    node:must("CHECK", call { ifname = "net1", prev = second })
    node:must("DEL", call { prev = false })
    assert.is_truthy(node:link("web", "red"))
    assert.equal("red", node:link("web", "net1").master)
    node:must("DEL", call { ifname = "net1" })
    assert.is_nil(node:link("web", "red"))
  end)

  it("takes along a route to a gateway that only another route leads to, and brings both back", function()
    local pod = node:pod "web"
    pod:must "ip route add 192.0.2.1 dev eth0 scope link && ip route add default via 192.0.2.1 metric 5"
    local main = routes()
    node:must("ADD", call())
    assert.matches("default via 192.0.2.1 dev eth0 metric 5", pod:must "ip route show table 1", 1, true)
    node:must("DEL", call())
    assert.equal(main, routes())
  end)

  it("lets networks with the same addresses live in one pod", function()
    node:must("ADD", call())
    local second = interface("web", "net1")
    node:must("ADD", call { ifname = "net1", prev = second, conf = { vrfname = "blue" } })
    assert.same({ 1, 2 }, { node:link("web", "red").vrf.table, node:link("web", "blue").vrf.table })
    for _, name in ipairs { "red", "blue" } do
      assert.equal(0, select(2, node:pod("web"):sh("ping -I %s -c 1 -W 3 10.1.0.254", name)))
    end
  end)

  it("takes the table that is asked for, and refuses another one for a VRF that is there", function()
    node:must("ADD", call { conf = { vrfname = "red", table = 1001 } })
    assert.equal(1001, node:link("web", "red").vrf.table)
    local second = interface("web", "net1")
    local err = node:refused("ADD", 7,
      call { ifname = "net1", prev = second, conf = { vrfname = "red", table = 1002 } })
    assert.matches("VRF red already exist with different routing table 1001", err.msg, 1, true)
    assert.is_nil(node:link("web", "net1").master)
  end)

  it("refuses what it cannot do, and changes nothing", function()
    local pod = node:pod "web"
    node:refused("ADD", 7, call { prev = false })
    node:refused("ADD", 7, call { conf = {} })
    node:refused("ADD", 7, call { conf = { vrfname = "a-name-too-long-for-a-link" } })
    node:refused("ADD", 7, call { ifname = "none" })
    pod:must "ip link add other type dummy"
    assert.matches("no VRF", node:refused("ADD", 103, call { conf = { vrfname = "other" } }).msg, 1, true)
    pod:must "ip link add br0 type bridge && ip link set eth0 master br0"
    assert.matches("has already a master set: br0", node:refused("ADD", 103, call()).msg, 1, true)
    assert.is_nil(node:link("web", "red"))
  end)

  it("leaves a VRF that somebody else has made", function()
    node:pod("web"):must "ip link add red type vrf table 7 && ip link set red up"
    node:must("ADD", call())
    assert.equal("red", node:link("web").master)
    node:must("DEL", call())
    assert.is_nil(node:link("web").master)
    assert.equal(7, node:link("web", "red").vrf.table)
  end)

  it("finds with CHECK what has changed", function()
    node:must("ADD", call())
    node:must("CHECK", call())
    node:pod("web"):must "ip link set eth0 nomaster"
    assert.matches("its master is none, and should be red", node:refused("CHECK", 106, call()).msg, 1, true)
    node:pod("web"):must "ip link del red"
    node:refused("CHECK", 106, call())
  end)

  it("ends when the pod's namespace is gone, twice, and with GC", function()
    node:must("ADD", call { version = "1.1.0" })
    node:must("GC", { type = "vrf", version = "1.1.0",
      conf = { vrfname = "red", ["cni.dev/valid-attachments"] = core.json.array {} } })
    assert.is_nil(node:link("web", "red"))
    node:must("ADD", call())
    node:pod("web"):close()
    node:must("DEL", call { netns = "/run/netns/web" })
    node:must("DEL", call { netns = "/run/netns/web" })
  end)

  it("leaves the links and addresses that the reference plugin leaves, and says the same", function()
    local found = {}
    for i, reference in ipairs { false, true } do
      local result = node:must("ADD", call { reference = reference })
      local pod = node:pod "web"
      found[i] = {
        result.interfaces, result.ips, result.routes, node:link("web").master, node:link("web", "red").vrf.table,
        pod:must "ip -o addr show dev eth0 scope global | awk '{ print $3, $4 }'",
        pod:must "ip route show table 1 type unicast proto kernel",
      }
      node:must("DEL", call { reference = reference })
      assert.is_nil(node:link("web", "red"))
    end
    assert.same(found[2], found[1])
  end)

  it("works behind the reference plugin's macvlan", function()
    local result = interface("db", "eth0", true)
    node:must("ADD", call { pod = "db", prev = result })
    assert.equal("red", node:link("db").master)
    assert.equal(0, select(2, node:pod("db"):sh "ping -I red -c 1 -W 3 10.1.0.254"))
    node:must("DEL", call { pod = "db", prev = result })
    node:must("DEL", { type = "macvlan", pod = "db", reference = true,
      conf = { name = "eth0", master = "up0", ipam = ipam() } })
  end)
end)
