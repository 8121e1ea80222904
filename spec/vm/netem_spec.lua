-- SPDX-License-Identifier: Apache-2.0
-- Traffic control that a small kernel lacks: netem, matchall, police, fq_codel; and the example that delays pods.

local core = require "mncni.core"
local mncni = require "mncni"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

describe("traffic control of a whole kernel", function()
  local space, net

  before_each(function()
    space = spaces.new "tc"
    space:must "ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up"
    net = mncni.open(space.ns)
  end)

  after_each(function()
    net:close()
    spaces.cleanup()
  end)

  it("has netem as tc shows it", function()
    net.qdisc.add { dev = "v0", handle = "1:", netem = {
      delay = 10000000, jitter = 2000000, loss = 0.25, duplicate = 0.5, corrupt = 0.125, rate = 125000, limit = 50,
    } }
    local options = core.json.decode(space:must "tc -json qdisc show dev v0 root")[1].options
    assert.equal(50, options.limit)
    assert.equal(0.01, options.delay.delay)
    assert.equal(0.002, options.delay.jitter)
    assert.is_true(math.abs(options["loss-random"].loss - 0.25) < 1e-6)
    assert.is_true(math.abs(options.duplicate.duplicate - 0.5) < 1e-6)
    assert.is_true(math.abs(options.corrupt.corrupt - 0.125) < 1e-6)
    assert.equal(125000, options.rate.rate)
    local have = net.qdisc.get { dev = "v0", parent = "root" }
    assert.same({ 10000000, 2000000, 125000 }, { have.netem.delay, have.netem.jitter, have.netem.rate })
    local want = { dev = "v0", kind = "netem", netem = { delay = 10000000, loss = 0.25 } }
    assert.is_false(select(2, net.qdisc.ensure(want)))
    net.qdisc.del { dev = "v0" }
    space:must(tostring(have))
    assert.same(have.netem, net.qdisc.get({ dev = "v0", parent = "root" }).netem)
  end)

  it("has fq_codel", function()
    net.qdisc.add { dev = "v0", handle = "1:",
      fq_codel = { limit = 500, target = 5000, interval = 100000, ecn = true } }
    local options = core.json.decode(space:must "tc -json qdisc show dev v0 root")[1].options
    assert.same({ 500, true }, { options.limit, options.ecn })
    local have = net.qdisc.get { dev = "v0", parent = "root" }
    assert.is_true(math.abs(have.fq_codel.target - 5000) <= 2, have.fq_codel.target)
  end)

  it("matches everything, polices and drops", function()
    net.link.add { ifname = "ifb9", kind = "ifb", up = true }
    net.qdisc.add { dev = "v0", kind = "clsact" }
    net.filter.add { dev = "v0", parent = "ffff:fff2", prio = 1, matchall = { actions = {
      { kind = "mirred", eaction = "egress redirect", to_dev = "ifb9", action = "stolen" },
    } } }
    net.filter.add { dev = "v0", parent = "ffff:fff3", prio = 1, matchall = { actions = {
      { kind = "police", rate = 125000, burst = 20000, action = "drop" },
    } } }
    net.filter.add { dev = "v0", parent = "ffff:fff3", prio = 2, protocol = "arp", matchall = { actions = {
      { kind = "gact", action = "drop" },
    } } }
    local ingress = core.json.decode(space:must "tc -json filter show dev v0 ingress")
    assert.equal("ifb9", ingress[#ingress].options.actions[1].to_dev)
    local egress = space:must "tc filter show dev v0 egress"
    assert.truthy(egress:find("rate 1Mbit burst 20000b", 1, true), egress)
    assert.truthy(egress:find("gact action drop", 1, true), egress)
    local actions = {}
    for filter in net.filter.list { dev = "v0", parent = "ffff:fff3" } do
      for _, action in ipairs(filter.matchall and filter.matchall.actions or {}) do
        actions[#actions + 1] = action.kind .. " " .. action.action .. " " .. tostring(action.rate)
      end
    end
    assert.same({ "police drop 125000", "gact drop nil" }, actions)
    assert.is_false(select(2, net.filter.ensure { dev = "v0", parent = "ffff:fff2", prio = 1, matchall = { actions = {
      { kind = "mirred", eaction = "egress redirect", to_dev = "ifb9", action = "stolen" },
    } } }))
  end)
end)

describe("the example latency", function()
  local node, result

  before_each(function()
    node = nodes.new { pods = { "web" } }
    local file <close> = assert(io.open "examples/latency.lua")
    node:policy("latency", file:read "a")
    result = node:add { pod = "web", conf = { ipMasq = false } }
  end)

  after_each(function() node:cleanup() end)

  local function call(verb, delay, previous)
    return node:call(verb, { pod = "web", policy = "latency", conf = {
      ipam = false, prevResult = previous or result,
      runtimeConfig = { ["io.kubernetes.cri.pod-annotations"] = { ["example.com/delay-ms"] = delay } },
    } })
  end

  local function milliseconds()
    local text = node.pods.web:must "busybox ping -c 3 10.244.1.1"
    return tonumber(text:match "min/avg/max = ([%d.]+)/")
  end

  it("delays what a pod sends by what its annotation says, until its end", function()
    local outcome = call("ADD", "300")
    assert.equal(0, outcome.status, outcome.stdout)
    assert.same(result, outcome.json)
    assert.is_true(milliseconds() >= 300)
    assert.equal(0, call("CHECK", "300").status)
    node.pods.web:must "tc qdisc change dev eth0 root netem delay 1ms"
    assert.equal(106, call("CHECK", "300").json.code)
    assert.equal(0, call("DEL", "300").status)
    assert.is_nil(node.pods.web:must "tc qdisc show dev eth0":find "netem")
  end)

  it("leaves others alone, and refuses what is no delay", function()
    assert.equal(0, call("ADD").status)
    assert.is_nil(node.pods.web:must "tc qdisc show dev eth0":find "netem")
    assert.equal(0, call("DEL").status)
    for _, delay in ipairs { "soon", "-1", "10001" } do
      local outcome = call("ADD", delay)
      assert.equal(7, outcome.json.code)
      assert.truthy(outcome.json.msg:find("example.com/delay-ms", 1, true), outcome.stdout)
    end
  end)
end)
