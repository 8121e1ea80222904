-- SPDX-License-Identifier: Apache-2.0
-- The limits of the bandwidth plugin, on paper.
local policies = require "mncni.testing"
local shaping = require "mncni.shaping"

local function limits(conf, runtime)
  local read = shaping.limits(conf, runtime)
  return { read.ingress and read.ingress.rate, read.ingress and read.ingress.burst },
    { read.egress and read.egress.rate, read.egress and read.egress.burst }
end

describe("the limits of a pod", function()
  it("are given in bits and kept in bytes", function()
    local ingress, egress = limits { ingressRate = 8000, ingressBurst = 80000, egressRate = 16, egressBurst = 24 }
    assert.same({ { 1000, 10000 }, { 2, 3 } }, { ingress, egress })
  end)

  it("may be for one direction only, or none", function()
    local ingress, egress = limits { egressRate = 16, egressBurst = 24 }
    assert.same({ {}, { 2, 3 } }, { ingress, egress })
    assert.same({}, shaping.limits {})
    assert.same({}, shaping.limits { ingressRate = 0, ingressBurst = 0, egressRate = 0, egressBurst = 0 })
  end)

  it("are the runtime's where the configuration says nothing, and its own where it says anything", function()
    local runtime = { ingressRate = 80, ingressBurst = 4294967295 }
    assert.same({ 10, 536870911 }, (limits({}, runtime)))
    assert.same({}, (limits({ egressRate = 16, egressBurst = 24 }, runtime)))
  end)

  it("are refused by the name of the key", function()
    for key, case in pairs {
      ingressBurst = { ingressRate = 8 }, ingressRate = { ingressBurst = 8 }, egressBurst = { egressRate = 8 },
      egressRate = { egressRate = 7, egressBurst = 8 },
    } do
      assert.error_matches(function() shaping.limits(case) end, key, nil, true)
    end
    assert.error_matches(function() shaping.limits { egressRate = 8, egressBurst = 8 * 0xffffffff } end,
      "egressBurst.*4 GiB")
    assert.error_matches(function() shaping.limits({}, { ingressRate = 1.5, ingressBurst = 8 }) end,
      "ingressRate.*got 1.5")
  end)
end)

-- What the policy records for a pod on a veth with this MTU.
local function recorded(conf, mtu)
  local steps, warnings = {}, {}
  local function recorder(object)
    return { add = function(args)
      args.object = object
      steps[#steps + 1] = args
    end }
  end
  local pod = {
    network = "net", container = "web", ifname = "eth0", runtime = {}, config = { cniVersion = "1.0.0" },
    host = { qdisc = recorder "qdisc", class = recorder "class", filter = recorder "filter" },
    host_link = function() return { ifname = "veth", mtu = mtu or 1500 } end,
    node_link = function(_, args) return args end,
    result = function(_, parts) return parts end,
    warn = function(_, message) warnings[#warnings + 1] = message end,
  }
  return steps, policies.load("bandwidth").add(pod, conf), warnings
end

describe("the bandwidth policy", function()
  it("lets wait for 25 ms what is more than the burst", function()
    local steps = recorded { ingressRate = 8000000, ingressBurst = 800000 }
    assert.same({ rate = 1000000, burst = 100000, limit = 125000 }, steps[1].tbf)
  end)

  it("raises a burst that no frame of the MTU would fit, and says so", function()
    local steps, _, warnings = recorded({ ingressRate = 8000, ingressBurst = 8 }, 9000)
    assert.equal(9018, steps[1].tbf.burst)
    assert.matches("ingressBurst is less than a frame of 9018 bytes", warnings[1])
  end)

  it("takes a burst without end for the longest that the kernel can count", function()
    local steps = recorded { ingressRate = 8000000, ingressBurst = 4294967295 }
    assert.equal(274000000, steps[1].tbf.burst)
  end)

  it("makes a device for what the pod sends only", function()
    local _, parts = recorded { ingressRate = 8000, ingressBurst = 80000 }
    assert.same({}, parts)
    local steps, more = recorded { egressRate = 8000, egressBurst = 80000 }
    assert.matches("^bwp%x%x%x%x%x%x%x%x%x%x%x$", more[1].ifname)
    assert.same({ "tbf", "ingress", "u32" }, { steps[1].kind, steps[2].kind, steps[3].kind })
  end)

  it("compares subnets of both families by what is far from the pod", function()
    local cidr = require("mncni").cidr
    local steps = recorded {
      ingressRate = 8000000, ingressBurst = 800000, shapedSubnets = { cidr "10.1.0.0/16", cidr "fd00:1:2:3::/60" },
    }
    assert.same({ "qdisc", "class", "class", "filter", "filter" }, {
      steps[1].object, steps[2].object, steps[3].object, steps[4].object, steps[5].object,
    })
    assert.same({ { val = 0x0a010000, mask = 0xffff0000, off = 12 } }, steps[4].u32.sel.keys)
    assert.same({ { val = 0xfd000001, mask = 0xffffffff, off = 8 }, { val = 0x00020000, mask = 0xfffffff0, off = 12 } },
      steps[5].u32.sel.keys)
    assert.same({ 1, steps[1].handle .. "30" }, { steps[1].htb.default, steps[5].u32.flowid })
  end)
end)
