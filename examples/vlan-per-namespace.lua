-- A policy for CNI: a VLAN per Kubernetes namespace. Pods of one namespace share a VLAN of the node's uplink, and reach each
-- other on all nodes; a namespace without a VLAN gets no pods.
local mncni = require "mncni"
local policy = {}

policy.options = {
  master = { type = "string", required = true, doc = "the uplink that carries the VLANs" },
  vlans = {
    type = "table", required = true, doc = "namespace -> { id, ipam }",
    of = { type = "table", fields = { id = { type = "integer", min = 1, max = 4094 }, ipam = { type = "table" } } },
  },
}

function policy.add(pod, conf)
  local of_namespace = conf.vlans[pod.namespace or ""]
  if not of_namespace then
    error(mncni.error { code = 7, object = "vlans", message = ("namespace %s has none"):format(pod.namespace or "-") })
  end
  local vlan = mncni.uplink.vlan { master = conf.master, id = of_namespace.id }
  pod:commit() -- it has to be there before anything can stand on it
  return pod:wire("macvlan", { master = vlan.ifname, ipam = of_namespace.ipam })
end

return policy
