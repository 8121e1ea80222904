-- SPDX-License-Identifier: Apache-2.0
-- masquerade: what pods send out of the cluster has the node's address. A policy of the agent: kubenet's rule, for both
-- families, for packets of pods only, and with every destination that is to see a pod's own address.

local mncni = require "mncni"

local policy = {}

local function ranges(doc)
  return { type = "list", of = { type = "cidr" }, default = {}, doc = doc }
end

policy.options = {
  cluster_cidrs = ranges "the cluster's pod ranges; those of the nodes are never masqueraded anyway",
  service_cidrs = ranges "the cluster's service ranges, where something else than each node's kube-proxy has them",
  non_masquerade_cidrs = ranges "other networks that route the pods' addresses back to their nodes",
  link_local = { type = "boolean", default = false, doc = "masquerade 169.254.0.0/16 and fe80::/10, too" },
}

function policy.desired(world, conf)
  local except = {}
  for _, list in ipairs { conf.cluster_cidrs, conf.service_cidrs, conf.non_masquerade_cidrs } do
    table.move(list, 1, #list, #except + 1, except)
  end
  if not conf.link_local then
    table.insert(except, mncni.cidr "169.254.0.0/16")
    table.insert(except, mncni.cidr "fe80::/10")
  end
  for _, peer in ipairs(world.peers) do
    table.move(peer.pod_cidrs, 1, #peer.pod_cidrs, #except + 1, except)
  end
  return { nft = { mncni.masquerade.desired { sources = world.node.pod_cidrs, except = except } } }
end

return policy
