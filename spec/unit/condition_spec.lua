-- SPDX-License-Identifier: Apache-2.0
-- The policy condition, and the example of one that looks at labels.

local core = require "mncni.core"
local node = require "mncni.node"
local policies = require "mncni.testing"

describe("the policy condition", function()
  local policy = policies.load "condition"

  local function desired(cidrs, ready)
    return policies.desired(policy, { node = node.new { name = "n1", pod_cidrs = cidrs }, peers = {}, ready = ready })
  end

  it("says that the network is there once the node has a range and all routes stand", function()
    assert.same({ node = { conditions = { {
      type = "NetworkUnavailable", status = "False", reason = "MncniIsUp", message = "mncni-agent keeps the routes",
    } } } }, desired({ "10.244.1.0/24" }, { ok = true, reasons = {} }))
  end)

  it("says nothing before, nor that it is gone: one bad peer must not close all nodes", function()
    assert.same({}, desired({ "10.244.1.0/24" }, { ok = false, reasons = { "route 10.244.3.0/24: unreachable" } }))
    assert.same({}, desired({}, { ok = true, reasons = {} }))
  end)

  it("says the same each time, for a condition is written only where it differs", function()
    local ready = { ok = true, reasons = {} }
    assert.same(desired({ "10.244.1.0/24" }, ready), desired({ "10.244.1.0/24", "fd00::/64" }, ready))
  end)
end)

describe("the example of a policy that looks at labels", function()
  local policy = policies.load "examples/storage.lua"

  local function rules(labels)
    return policies.desired(policy, { node = node.new { name = "n1", labels = labels }, peers = {} }).rules
  end

  it("adds one rule to nodes that have the label, and none to others", function()
    local list = rules { ["example.com/storage"] = "fast" }
    assert.same({ { dst = "198.51.100.0/24", table = 100, priority = 1000 } }, list)
    assert.truthy(core.encode("add", "rule", list[1]))
    assert.same({}, rules { ["example.com/storage"] = "slow" })
    assert.same({}, rules {})
  end)

  it("is ten lines long", function()
    local count = 0
    for _ in io.lines "examples/storage.lua" do
      count = count + 1
    end
    assert.is_true(count <= 10)
  end)
end)
