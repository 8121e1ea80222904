-- SPDX-License-Identifier: Apache-2.0
-- An IPAM policy: host-local's addresses, but a pod says in its annotation example.com/address which it has, and is refused
-- one that another pod holds. In the network: "capabilities": { "io.kubernetes.cri.pod-annotations": true }, "ipam":
-- { "type": "fixed-address", "subnet": "10.244.1.0/24" }. A pod with no such annotation has any address of the range.
local mncni = require "mncni"
local host_local = mncni.policy.load "host-local"
local policy = {}

for hook, value in pairs(host_local) do
  policy[hook] = value
end

function policy.lease(request, conf)
  local wanted = request.annotations["example.com/address"]
  if wanted then
    request.wanted = {}
    for address in wanted:gmatch "[^,%s]+" do
      table.insert(request.wanted, address)
    end
  end
  return host_local.lease(request, conf)
end

return policy
