-- SPDX-License-Identifier: Apache-2.0
-- vrf: the interface that the plugins before it have made is put into a VRF of the pod's, with a routing table of its own,
-- so that addresses of several networks may overlap. A configuration of the reference plugin works as it is.

local policy = { chained = true }

policy.options = {
  vrfname = { type = "string", required = true, min = 1, max = 15, doc = "name of the VRF; made when missing" },
  table = { type = "integer", min = 0, max = 4294967295, default = 0, doc = "its routing table; 0: one that is free" },
}

function policy.add(pod, conf)
  pod:vrf { ifname = conf.vrfname, table = conf.table > 0 and conf.table or nil }
  return pod:result {}
end

return policy
