-- SPDX-License-Identifier: Apache-2.0
-- nodeipam: gives every node its range of addresses for pods, as kube-controller-manager's controller of that name does,
-- where the control plane does not. A policy of `mncni-agent --controller`. What a node has stays; the API lets nobody
-- change it. Ranges are given in turn, and one whose node is gone rests first: other nodes may still have routes to it.

local mncni = require "mncni"

local policy = {}

local function cidrs(doc, max, default)
  return { type = "list", of = { type = "cidr" }, min = default and 0 or 1, max = max, default = default, doc = doc }
end

policy.options = {
  cluster_cidrs = cidrs("what nodes get ranges of: one of a family; the first one's is the node's podCIDR", 2),
  service_cidrs = cidrs("of services: no node gets anything of them", 2, {}),
  mask_ipv4 = { type = "integer", min = 1, max = 30, default = 24, doc = "size of a node's range" },
  mask_ipv6 = { type = "integer", min = 1, max = 126, default = 64, doc = "the same" },
  rest = { type = "integer", min = 0, max = 86400, default = 60, doc = "seconds until a range is given again" },
}
policy.options.cluster_cidrs.required = true

function policy.desired(world, conf)
  local ranges = mncni.node_ranges.new(world, { reserved = conf.service_cidrs, rest = conf.rest })
  local pools, families = {}, {}
  for i, cidr in ipairs(conf.cluster_cidrs) do
    if families[cidr.family] then
      error(mncni.error { code = 7, object = "cluster_cidrs", message = "two of one family; a node has one of each" })
    end
    families[cidr.family] = true
    pools[i] = ranges:pool(cidr, cidr.family == "inet" and conf.mask_ipv4 or conf.mask_ipv6)
  end
  for _, node in ipairs(ranges:waiting()) do
    ranges:give(node, pools)
  end
  return ranges:result()
end

return policy
