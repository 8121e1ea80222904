-- SPDX-License-Identifier: Apache-2.0
-- The kit for specs of policies, over the policies that are shipped.
local core = require "mncni.core"
local testing = require "mncni.testing"

describe("a scratch node", function()
  local node

  before_each(function() node = testing.node { subnets = { "10.244.1.0/24", "fd00:1::/64" } } end)
  after_each(function() node:close() end)

  local function has(line)
    for _, have in ipairs(node.lines()) do
      if have:find(line, 1, true) then
        return true
      end
    end
    return false
  end

  it("wires pods by a policy, each with addresses of its own", function()
    local web, db = node:pod "web", node:pod "db"
    local first, second = node:add("naivebridge", web), node:add("naivebridge", db, { hairpinMode = false })
    assert.same({ "10.244.1.2/24", "fd00:1::2/64" }, { first.ips[1].address, first.ips[2].address })
    assert.same("10.244.1.3/24", second.ips[1].address)
    assert.same("cbr0", node.host.link.get { ifname = web.host_ifname }.master)
    assert.same("10.244.1.1", db.net.route.list { family = "inet", dst = "default" }().gateway)
    assert.is_true(has("type bridge_slave hairpin on"))
    assert.is_true(has("type bridge_slave hairpin off"))
    node.clear()
    assert.same({}, node.lines())
  end)

  it("goes on with a chain from what was added before", function()
    local web = node:pod { name = "web", namespace = "shop" }
    local result = node:add("bridge", web, { isGateway = true })
    assert.same(result, node:add("portmap", web, {
      runtimeConfig = { portMappings = { { hostPort = 8080, containerPort = 80, protocol = "tcp" } } },
    }))
    assert.is_true(has "add element inet mncni hostports4")
    local _, err = pcall(node.add, node, "portmap", node:pod "late")
    assert.equal(7, err.code)
  end)

  it("has room for every policy that makes an interface", function()
    for name, conf in pairs {
      bridge = {}, ptp = {}, macvlan = { master = "eth0" }, ipvlan = { master = "eth0" }, dummy = {},
      vlan = { master = "eth0", vlanId = 5 }, loopback = { ipam = false },
    } do
      local result = node:add(name, node:pod(name), conf)
      assert.is_truthy(result.interfaces[1], name)
    end
  end)

  it("runs a file, and hooks that stand in a spec", function()
    local web = node:pod { name = "web", annotations = { ["example.com/address"] = "10.244.1.77" } }
    local ipam = { type = "examples/fixed-address.lua", subnet = "10.244.1.0/24" }
    assert.same("10.244.1.77/24", node:lease(ipam, web).addresses[1].address)
    local result = node:add("policies/ptp.lua", node:pod { name = "db", annotations = web.annotations }, {
      ipam = { type = "examples/fixed-address.lua", subnet = "10.244.1.0/25", dataDir = node.directory .. "/other" },
    })
    assert.same("10.244.1.77/25", result.ips[1].address)
    local seen
    node:add({ add = function(pod)
      seen = pod.annotations["example.com/address"]
      return pod:result {}
    end }, node:pod { name = "other", annotations = { ["example.com/address"] = "x" } }, { ipam = false })
    assert.equal("x", seen)
  end)

  it("raises what a runtime would be told, with its code", function()
    local web = node:pod "web"
    local _, err = pcall(node.add, node, { add = function() error "no" end }, web)
    assert.is_true(core.is_error(err))
    assert.same({ "no", 100 }, { err.message, err.code })
    assert.matches("testing_spec.lua$", err.file)
    _, err = pcall(node.add, node, "naivebridge", web, { bridge = 5 })
    assert.equal(7, err.code)
    _, err = pcall(node.add, node, "host-local", web)
    assert.equal(7, err.code)
    _, err = pcall(node.add, node, "naivebrige", web)
    assert.matches("there is none of that name", err.message)
    node:add("naivebridge", web)
    _, err = pcall(node.add, node, "naivebridge", web)
    assert.equal(103, err.code)
  end)

  it("gives what IPAM gives, from its own directory", function()
    local lease = node:lease({ type = "host-local", subnet = "10.5.0.0/29" }, node:pod "web")
    assert.equal("10.5.0.2/29", lease.addresses[1].address)
    local directory = node.directory
    assert.is_truthy(io.open(directory .. "/pods/10.5.0.2"))
    node:close()
    assert.is_nil(io.open(directory .. "/pods/10.5.0.2"))
  end)

  it("names a key that it does not know", function()
    assert.has_error(function() testing.node { subnet = {} } end, 'testing.node: unknown key "subnet"; '
      .. 'did you mean "subnets"?')
    assert.has_error(function() node:pod { name = "a", annotation = {} } end, 'node:pod: unknown key "annotation"; '
      .. 'did you mean "annotations"?')
  end)
end)

describe("a scratch world", function()
  it("has peers on the link, to be changed one by one", function()
    local world = testing.world { peers = { {}, { pod_cidrs = { "10.99.0.0/24" } } }, underlay = {} }
    assert.same({ "n3", "n4" }, { world.peers[1].name, world.peers[2].name })
    local want = testing.desired("routes", world, { mode = "direct" })
    local dsts = {}
    for _, route in ipairs(want.routes) do
      dsts[#dsts + 1] = route.gateway and route.dst
    end
    assert.same({ "10.244.3.0/24", "fd00:0:0:3::/64", "10.99.0.0/24" }, dsts)
  end)

  it("refuses what the agent would refuse of a policy's answer", function()
    local _, err = pcall(testing.desired, { desired = function() return { rutes = {} } end }, testing.world())
    assert.matches('"rutes"', tostring(err))
    _, err = pcall(testing.desired, "routes", testing.world(), { mode = "sideways" })
    assert.equal(7, err.code)
  end)
end)
