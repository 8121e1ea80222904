-- SPDX-License-Identifier: Apache-2.0
-- Many pods at the same moment, as after a node's start.

local lab = require "spec.support.containerd"

local count = 20

describe("twenty pods run by containerd at once", function()
  local before

  setup(function()
    lab.network(lab.naivebridge("crowd", { bridge = "crowd0", ipam = { type = "host-local",
      ranges = { { { subnet = "10.244.2.0/24" } } },
      routes = { { dst = "0.0.0.0/0" } } } }))
    lab.run_pod()
    lab.clean()
    before = lab.footprint()
  end)

  after_each(function() lab.clean() end)

  it("get twenty addresses and work, and leave nothing when they are stopped at once", function()
    local calls = {}
    for index = 1, count do calls[index] = { "RunPodSandbox", lab.sandbox_request {} } end
    local pods, seen = {}, {}
    for index, answer in ipairs(lab.cri_batch(calls)) do
      assert(answer.ok, answer.error)
      local pod = lab.pod(answer.response.pod_sandbox_id)
      assert.is_nil(seen[pod.ip], "the same address twice: " .. pod.ip)
      seen[pod.ip] = true
      pods[index] = pod
    end
    assert.equal(count, #lab.addresses "crowd")
    for index, pod in ipairs(pods) do
      assert.is_true(pod:pings(pods[index % count + 1].ip))
      assert.is_true(pod:pings "127.0.0.1")
    end

    local stops = {}
    for index, pod in ipairs(pods) do stops[index] = { "StopPodSandbox", { pod_sandbox_id = pod.id } } end
    for _, answer in ipairs(lab.cri_batch(stops)) do assert(answer.ok, answer.error) end
    assert.same({}, lab.addresses "crowd")
    assert.same({}, lab.leftovers(before))
  end)

  it("may be stopped while others start", function()
    local first = {}
    for index = 1, count // 2 do first[index] = { "RunPodSandbox", lab.sandbox_request {} } end
    local calls = {}
    for index, answer in ipairs(lab.cri_batch(first)) do
      assert(answer.ok, answer.error)
      calls[2 * index - 1] = { "StopPodSandbox", { pod_sandbox_id = answer.response.pod_sandbox_id } }
      calls[2 * index] = { "RunPodSandbox", lab.sandbox_request {} }
    end
    for _, answer in ipairs(lab.cri_batch(calls)) do assert(answer.ok, answer.error) end
    assert.equal(count // 2, #lab.addresses "crowd")
  end)
end)
