-- SPDX-License-Identifier: Apache-2.0
-- examples/vlan-per-namespace.lua, as a user's policy.

local plugged = require "spec.support.plugged"

describe("the example vlan-per-namespace", function()
  local node

  before_each(function()
    node = plugged.new { "vlan-per-namespace" }
    node.space:must("cp examples/vlan-per-namespace.lua %s", node.scratch .. "/policies/vlan-per-namespace.lua")
    for _, id in ipairs { 5, 6 } do
      node.outside:must(("ip link add link out0 name out0.%d type vlan id %d && ip link set out0.%d up && "
        .. "ip addr add 10.%d.0.254/24 dev out0.%d"):format(id, id, id, id, id))
    end
  end)
  after_each(function() node:close() end)

  local function call(pod, namespace)
    local function vlan(id)
      local subnet = ("10.%d.0.0/24"):format(id)
      return { id = id, ipam = { type = "host-local", subnet = subnet, dataDir = node.scratch .. "/networks" .. id } }
    end
    return { type = "vlan-per-namespace", pod = pod, args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=" .. namespace,
      conf = { master = "up0", vlans = { red = vlan(5), blue = vlan(6) } } }
  end

  it("lets pods of a namespace reach each other, and what is in its VLAN, and nobody else", function()
    node:must("ADD", call("web", "red"))
    node:must("ADD", call("db", "red"))
    node:must("ADD", call("cache", "blue"))
    assert.is_true(node:reaches("web", "10.5.0.2"))
    assert.is_true(node:reaches("db", "10.5.0.254"))
    assert.is_true(node:reaches("cache", "10.6.0.254"))
    node:pod("cache"):must "ip addr add 10.5.0.99/24 dev eth0" -- it pretends
    assert.is_false(node:reaches("cache", "10.5.0.254"))
    assert.is_false(node:reaches("web", "10.5.0.99"))
    node:must("DEL", call("web", "red"))
    assert.is_nil(node:link "web")
    assert.is_true(node:reaches("db", "10.5.0.254"))
  end)

  it("refuses pods of a namespace without a VLAN", function()
    local err = node:refused("ADD", 7, call("web", "green"))
    assert.matches("namespace green has none", err.msg, 1, true)
  end)

  it("leaves a link of the node that has the VLAN's name", function()
    node.space:must "ip link add up0.5 type dummy"
    node:refused("ADD", 103, call("web", "red"))
    assert.equal("dummy", node:link(nil, "up0.5").kind)
  end)

  it("has fewer than 40 lines", function()
    local _, lines = io.open("examples/vlan-per-namespace.lua"):read("a"):gsub("\n", "")
    assert.is_true(lines < 40)
  end)
end)
