-- SPDX-License-Identifier: Apache-2.0
-- examples/macvlan-per-pod.lua, as a user's policy.

local plugged = require "spec.support.plugged"

describe("the example macvlan-per-pod", function()
  local node

  before_each(function()
    node = plugged.new { "macvlan-per-pod" }
    node.space:must("cp examples/macvlan-per-pod.lua %s", node.scratch .. "/policies/macvlan-per-pod.lua")
  end)
  after_each(function() node:close() end)

  local function call(pod, uplink)
    return { type = "macvlan-per-pod", pod = pod, conf = {
      uplinks = { up0 = node:ipam() }, ipMasq = false,
      ipam = { type = "host-local", subnet = "10.244.1.0/24", dataDir = node.scratch .. "/networks2" },
      runtimeConfig = { ["io.kubernetes.cri.pod-annotations"] = { ["example.com/uplink"] = uplink } },
    } }
  end

  it("gives an interface to one pod alone, and wires the others by naivebridge", function()
    node:must("ADD", call("web", "up0"))
    assert.same({ "macvlan", "passthru" }, { node:link("web").kind, node:link("web").macvlan.mode })
    assert.is_true(node:reaches("web", "10.1.0.254"))
    node:must("ADD", call "db")
    assert.equal("veth", node:link("db").kind)
    assert.is_true(node:reaches("node", "10.244.1.2"))
    node:refused("ADD", 102, call("other", "up0"))
    node:must("DEL", call("web", "up0"))
    node:must("ADD", call("other", "up0"))
  end)

  it("refuses an interface that the network does not have", function()
    local err = node:refused("ADD", 7, call("web", "eth7"))
    assert.matches("eth7 is no uplink of this network", err.msg, 1, true)
  end)

  it("has fewer than 40 lines", function()
    local _, lines = io.open("examples/macvlan-per-pod.lua"):read("a"):gsub("\n", "")
    assert.is_true(lines < 40)
  end)
end)
