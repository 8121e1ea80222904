-- SPDX-License-Identifier: Apache-2.0
-- loopback: the pod's lo is up. containerd runs it beside every network.

local policy = {}

function policy.add(pod)
  pod.inside.link.set { ifname = "lo", up = true }
  return pod:result { pod:interface "lo" }
end

return policy
