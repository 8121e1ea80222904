-- SPDX-License-Identifier: Apache-2.0
-- What containerd tells the kubelet when a pod cannot be wired, and what the failed attempt leaves.

local lab = require "spec.support.containerd"

describe("a range of three addresses", function()
  local before

  setup(function()
    lab.network(lab.naivebridge("small", { bridge = "small0", ipam = { type = "host-local",
      ranges = { { { subnet = "10.244.3.0/24", rangeStart = "10.244.3.10", rangeEnd = "10.244.3.12" } } },
      routes = { { dst = "0.0.0.0/0" } } } }))
    lab.run_pod()
    lab.clean()
    before = lab.footprint()
  end)

  after_each(function() lab.clean() end)

  it("serves three pods and refuses the fourth with a message that says why and names the network", function()
    local pods = { lab.run_pod(), lab.run_pod(), lab.run_pod() }
    assert.same({ "10.244.3.10", "10.244.3.11", "10.244.3.12" }, lab.addresses "small")
    local full = lab.footprint()

    local answer = lab.cri_try("RunPodSandbox", lab.sandbox_request {})
    assert.is_false(answer.ok)
    assert.matches("failed to setup network for sandbox", answer.error)
    assert.matches("naivebridge", answer.error)
    assert.matches("no IP addresses available", answer.error)
    assert.matches("small", answer.error)
    assert.matches("10.244.3.10", answer.error, 1, true)
    assert.same({}, lab.leftovers(full))

    pods[2]:stop()
    local late = lab.run_pod()
    assert.equal(pods[2].ip, late.ip)
    assert.is_true(late:pings(pods[1].ip))
  end)

  it("is whole again after refusals at once", function()
    local calls = {}
    for index = 1, 8 do calls[index] = { "RunPodSandbox", lab.sandbox_request {} } end
    local served = 0
    for _, answer in ipairs(lab.cri_batch(calls)) do
      if answer.ok then served = served + 1 else assert.matches("no IP addresses available", answer.error) end
    end
    assert.equal(3, served)
    lab.clean()
    assert.same({}, lab.leftovers(before))
    assert.same({}, lab.addresses "small")
  end)
end)

describe("a range of both families", function()
  setup(function()
    lab.network(lab.naivebridge("dual", { bridge = "dual0", ipam = { type = "host-local",
      ranges = { { { subnet = "10.244.4.0/24" } }, { { subnet = "fd00:10:244:4::/64" } } },
      routes = { { dst = "0.0.0.0/0" }, { dst = "::/0" } } } }))
  end)

  after_each(function() lab.clean() end)

  it("gives a pod an address of each, both of which work at once", function()
    local one, other = lab.run_pod(), lab.run_pod()
    assert.equal(2, #one.ips)
    assert.matches("^10%.244%.4%.", one.ips[1])
    assert.matches("^fd00:10:244:4::", one.ips[2])
    assert.is_true(one:pings(other.ips[1]))
    assert.is_true(one:pings(other.ips[2]))
    assert.is_true(one:pings "fd00:10:244:4::1")
    assert.is_true(one:pings "203.0.113.1")
    assert.is_true(one:pings "2001:db8:113::1")
  end)
end)
