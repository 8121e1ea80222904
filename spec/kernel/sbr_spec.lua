-- SPDX-License-Identifier: Apache-2.0
-- The plugin with sbr on a real kernel: a pod with two interfaces, and a peer behind the second that only that one leads to.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local results = require "mncni.result"
local spaces = require "spec.support.netns"

local node, before, far, first, second

-- The second network: a bridge that is no gateway; that is the peer.
local NET1 = {
  bridge = "br1", name = "net1", isGateway = false, isDefaultGateway = false, ipMasq = false, ipam = {
    type = "static", addresses = {
      { address = "10.50.0.2/24", gateway = "10.50.0.9" }, { address = "fd00:50::2/64", gateway = "fd00:50::9" },
    },
  },
}

-- A call of sbr behind the second network. more: keys of the configuration.
local function call(verb, more)
  local conf = { type = "sbr", name = "net1", ipam = false, prevResult = second }
  for key, value in pairs(more or {}) do conf[key] = value end
  return node:call(verb, { name = "sbr", pod = "web", ifname = "net1", conf = conf })
end

local function must(...)
  local outcome = call(...)
  assert.are.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
  return outcome.json
end

local function rules()
  local text = node:pod "web":must "ip rule; ip -6 rule"
  local list = {}
  for line in text:gmatch "from [^\n]+" do
    list[#list + 1] = not line:find "^from all" and line or nil
  end
  return list
end

local function routes(words)
  return node:pod "web":must("ip route show " .. words .. "; ip -6 route show " .. words .. " | grep -v ^fe80; true")
end

-- Whether the pod's answer finds back to the peer, whose address none of its subnets has. A bridge that has just got a
-- port may lose the first question for an IPv6 neighbour.
local function answers()
  local _, v4 = far:sh "ping -c 4 -i 0.5 -W 1 -I 203.0.113.9 10.50.0.2"
  local _, v6 = far:sh "ping -c 4 -i 0.5 -W 1 -I 2001:db8:9::9 fd00:50::2"
  return { v4 == 0, v6 == 0 }
end

local function reaches(address)
  local _, status = node:pod "web":sh("ping -c 1 -W 3 %s", address)
  return status == 0
end

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "web" }, subnets = { "10.244.1.0/24", "fd00:244::/64" } }
  first = node:add { pod = "web" }
  second = node:must("ADD", { pod = "web", ifname = "net1", conf = NET1 })
  far = spaces.new "far"
  node.space:must "ip link add far0 type veth peer name eth0 netns far && ip link set far0 up master br1"
  far:must "ip addr add 10.50.0.9/24 dev eth0; ip addr add fd00:50::9/64 dev eth0 nodad; ip link set eth0 up"
  far:must "ip addr add 203.0.113.9/32 dev lo; ip addr add 2001:db8:9::9/128 dev lo nodad"
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

describe("sbr", function()
  it("sends answers back by the interface that was asked, and leaves the other one's ways alone", function()
    assert.are.same({ false, false }, answers())
    local main = routes "table main"
    assert.are.same(second, must "ADD")
    assert.are.same({ true, true }, answers())
    assert.is_true(reaches "10.244.1.1")
    assert.is_true(reaches "fd00:244::1")
    must("CHECK")
    assert.is_nil(node:check({ pod = "web", ifname = "net1", conf = NET1 }, second))
    assert.is_nil(node:check({ pod = "web" }, first))
    for _ = 1, 2 do
      must "DEL"
      assert.are.same({ {}, main }, { rules(), routes "table main" })
    end
    assert.are.same({ false, false }, answers())
  end)

  it("gives each address a rule and a table, and takes the interface's routes out of the main one", function()
    must "ADD"
    assert.are.same({ "from 10.50.0.2 lookup 100", "from fd00:50::2 lookup 101" }, rules())
    local one, two, main = routes "table 100", routes "table 101", routes "table main"
    assert.truthy(one:find("default via 10.50.0.9 dev net1", 1, true), one)
    assert.truthy(one:find("10.50.0.0/24 dev net1 proto kernel scope link src 10.50.0.2", 1, true), one)
    assert.truthy(two:find("default via fd00:50::9 dev net1", 1, true), two)
    assert.truthy(two:find("fd00:50::/64 dev net1", 1, true), two)
    assert.falsy(main:find("net1", 1, true), main)
    assert.truthy(node:pod "web":must "ip -6 route show table main":find("fe80::/64 dev net1", 1, true))
  end)

  it("takes the first tables that nobody uses", function()
    node:pod "web":must "ip route add 198.51.100.0/24 dev eth0 table 100; ip rule add from 10.244.1.99 lookup 102"
    must "ADD"
    local list = rules()
    table.sort(list)
    assert.are.same({ "from 10.244.1.99 lookup 102", "from 10.50.0.2 lookup 101", "from fd00:50::2 lookup 103" }, list)
  end)

  it("believes a configured gateway before the result's", function()
    far:must "ip addr add 10.50.0.8/24 dev eth0"
    must("ADD", { gateways = { "10.50.0.8" } })
    local one = routes "table 100"
    assert.truthy(one:find("default via 10.50.0.8 dev net1", 1, true), one)
    assert.are.same({ true, true }, answers())
  end)

  it("makes rules alone for a table of somebody else", function()
    local main = routes "table main"
    must("ADD", { table = 5001 })
    assert.are.same({ { "from 10.50.0.2 lookup 5001", "from fd00:50::2 lookup 5001" }, main },
      { rules(), routes "table main" })
    must("CHECK", { table = 5001 })
    must("DEL", { table = 5001 })
    assert.are.same({}, rules())
  end)

  it("leaves the routes in the main table with source hints, and the node's answer knows the address", function()
    node:pod "web":must "ip route add 203.0.113.0/24 via 10.50.0.9"
    local main = routes "table main"
    must("ADD", { addSourceHints = true })
    assert.truthy(routes "table main":find("203.0.113.0/24 via 10.50.0.9 dev net1 src 10.50.0.2", 1, true))
    assert.is_true(reaches "203.0.113.9")
    assert.are.same({ true, true }, answers())
    must("CHECK", { addSourceHints = true })
    must("DEL", { addSourceHints = true })
    assert.are.same({ {}, main }, { rules(), routes "table main" })
  end)

  it("answers in every version of the contract", function()
    for _, version in ipairs(results.versions) do
      local result = results.convert(results.canonical(second, "1.1.0"), version)
      assert.are.same(result, must("ADD", { cniVersion = version, prevResult = result }))
      assert.are.equal(2, #rules())
      must("DEL", { cniVersion = version, prevResult = result })
    end
    assert.are.same({}, rules())
  end)

  it("refuses an interface that the result has no address of, and bad values by their key", function()
    for pattern, more in pairs {
      ["no address of net1"] = { prevResult = { cniVersion = "1.1.0", interfaces = second.interfaces } },
      ["table"] = { table = 0 }, ["gateways[1]"] = { gateways = { "10.50.0.999" } },
      ["addSourceHints"] = { addSourceHints = 1 },
    } do
      local outcome = call("ADD", more)
      assert.are.equal(7, outcome.json.code, outcome.stdout)
      assert.truthy(outcome.json.msg:find(pattern, 1, true), outcome.stdout)
    end
    assert.are.same({}, rules())
  end)

  it("takes everything back when the kernel refuses a part", function()
    local main = routes "table main"
    local previous = core.json.decode(core.json.encode(second))
    previous.ips[2].gateway = "fd00:51::9" -- out of reach
    local outcome = call("ADD", { prevResult = previous })
    assert.are.equal(102, outcome.json.code, outcome.stdout)
    assert.are.same({ {}, main }, { rules(), routes "table main" })
  end)

  it("misses, in CHECK, a rule or a route that is gone", function()
    must "ADD"
    node:pod "web":must "ip rule del from 10.50.0.2 lookup 100"
    assert.truthy(call "CHECK".json.msg:find("rule", 1, true))
    node:pod "web":must "ip rule add from 10.50.0.2 lookup 100; ip -6 route del default table 101"
    assert.truthy(call "CHECK".json.msg:find("route ::/0", 1, true))
  end)

  it("goes, with its rules, when the link is down or gone, and is collected", function()
    must "ADD"
    node:pod "web":must "ip link set net1 down"
    must "DEL"
    assert.are.same({}, rules())
    node:pod "web":must "ip link set net1 up"
    node:must("DEL", { pod = "web", ifname = "net1", conf = NET1 })
    second = node:must("ADD", { pod = "web", ifname = "net1", conf = NET1 })
    must "ADD"
    node:must("DEL", { pod = "web", ifname = "net1", conf = NET1 }) -- out of order
    assert.are.equal(2, #rules())
    node:must("GC", { name = "sbr", conf = {
      type = "sbr", name = "net1", ipam = false,
      ["cni.dev/valid-attachments"] = { { containerID = "web", ifname = "eth0" } },
    } })
    assert.are.same({}, rules())
    assert.is_nil(node:check({ pod = "web" }, first))
  end)
end)
