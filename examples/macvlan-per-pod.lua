-- A policy for CNI: a pod with the annotation example.com/uplink has an interface of the node's for itself (macvlan in mode
-- passthru: a second pod is refused), with addresses from that network's own ipam. All other pods are wired by naivebridge.
local mncni = require "mncni"
local policy = {}

policy.options = {
  uplinks = { type = "table", of = { type = "table" }, default = {}, doc = "name of an interface -> its ipam section" },
}

function policy.add(pod, conf)
  local uplink = pod.annotations["example.com/uplink"]
  if not uplink then
    return pod:wire("naivebridge", pod.config)
  elseif not conf.uplinks[uplink] then
    error(mncni.error { code = 7, object = "example.com/uplink", message = uplink .. " is no uplink of this network" })
  end
  return pod:wire("macvlan", { master = uplink, mode = "passthru", ipam = conf.uplinks[uplink] })
end

return policy
