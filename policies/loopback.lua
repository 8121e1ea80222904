-- SPDX-License-Identifier: Apache-2.0
-- loopback: the pod's lo is up, whatever interface the runtime names. containerd runs it beside every network.

local mncni = require "mncni"

local policy = {}

function policy.add(pod)
  for found in pod.inside.addr.list { dev = "lo" } do
    local address = mncni.cidr(found.address)
    if not (mncni.cidr "127.0.0.0/8"):contains(address) and address.address ~= "::1" then
      error(mncni.error {
        code = 103, object = "link \"lo\"",
        message = ("it has a non-loopback address, %s; remove that, lo was left as it is"):format(address),
      })
    end
  end
  pod.inside.link.set { ifname = "lo", up = true }
  return pod:result(pod.prev_result and {} or { pod:interface "lo" })
end

return policy
