-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent on a node whose IPv6 default route comes by router advertisements: it makes the node a router, and the
-- kernel goes on following them.

local clock = require "spec.support.clock"
local clusters = require "spec.support.cluster"
local merge = require "mncni.merge"
local reconcile = require "mncni.reconcile"
local spaces = require "spec.support.netns"

describe("the agent, where routers advertise themselves,", function()
  local before, cluster, node

  before_each(function()
    before = spaces.snapshot()
    cluster = clusters.new { nodes = 2, pods = 0 }
    node = cluster.n1
    node.space:must "ip -6 route del default"
  end)

  after_each(function()
    cluster:cleanup()
    spaces.assert_nothing_left(before)
  end)

  -- Sends an advertisement to the node until it has had its effect.
  local function advertise(is_there)
    return clock.wait(function()
      cluster.fabric.router:must "python3 spec/support/advertise.py s1 fd00:0:0:1::"
      return is_there()
    end)
  end

  local function learned()
    return node.space:must "ip -6 route show default proto ra" :find("via fe80", 1, true) ~= nil
  end

  local function setting(key) return node.space:must("cat /proc/sys/net/ipv6/conf/" .. key) end

  it("keeps the default route that came by one, and learns it again when it is lost", function()
    node.space:must "ip link set up0 name up0.7 && echo 1 >/proc/sys/net/ipv6/conf/up0.7/accept_ra"
    assert.is_true(advertise(learned))
    assert.equal("0", setting "all/forwarding")
    local outcome = node:run_agent { policy = "routes", set = { "routes.mode=vxlan" }, args = { "--once" } }
    assert.equal(0, outcome.status, outcome.stderr)
    assert.same({ "1", "2" }, { setting "all/forwarding", setting "up0.7/accept_ra" })
    assert.is_true(learned())
    node.space:must "ip -6 route del default"
    assert.is_true(advertise(learned))
  end)

  it("goes on listening where none has come yet", function()
    node.space:must "echo 1 >/proc/sys/net/ipv6/conf/up0/accept_ra"
    node:run_agent { policy = "routes", set = { "routes.mode=vxlan" }, args = { "--once" } }
    assert.equal("1", setting "all/forwarding")
    assert.is_true(advertise(learned))
  end)

  it("leaves a link alone on which the kernel is told not to follow them", function()
    node.space:must "ip -6 route add default via fd00:0:0:1::1 dev up0 proto ra"
    node:run_agent { policy = "routes", set = { "routes.mode=vxlan" }, args = { "--once" } }
    assert.same({ "1", "0" }, { setting "all/forwarding", setting "up0/accept_ra" })
  end)

  it("sets nothing that is to be set after what cannot be set", function()
    local reconciler = reconcile.new { host = node.net }
    local absent, forwarding = "net/ipv6/conf/none/accept_ra", "net.ipv6.conf.all.forwarding"
    reconciler:want(merge.merge { { "spec", merge.read("spec", { sysctls = {
      [absent] = 2, [forwarding] = { value = 1, after = { absent } }, ["net.ipv4.ip_forward"] = 1,
    } }) } })
    reconciler:apply(1)
    assert.equal("0", setting "all/forwarding")
    local problems = reconciler:problems()
    assert.equal(2, #problems)
    assert.equal(("it is not set before %s is"):format(absent), problems[1].message)
    assert.matches('there is no interface "none"', problems[2].message, 1, true)
  end)
end)
