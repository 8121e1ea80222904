-- SPDX-License-Identifier: Apache-2.0
-- flannel: a stand-in for flannel's own CNI plugin. flanneld gives the node a range and keeps the routes; this reads what
-- it wrote (subnet.env), and naivebridge wires the pod with it. A conflist of flannel's works as it is, and a node
-- switches over in place: bridge and addresses stay.

local mncni = require "mncni"

local policy = {}

policy.options = {
  subnetFile = { type = "string", default = "/run/flannel/subnet.env", doc = "what flanneld writes" },
  dataDir = {
    type = "string", default = "/var/lib/cni/flannel",
    doc = "where flannel's own plugin noted what it made: pods from before are deleted by that",
  },
  ipam = { type = "table", doc = "more of host-local, as dataDir or routes; its ranges are the node's" },
  delegate = { type = "table", default = {}, doc = "options of naivebridge; defaults are those of the plugin bridge" },
}

local function strings(list)
  local texts = {}
  for i, value in ipairs(list) do
    texts[i] = tostring(value)
  end
  return texts
end

-- Addresses of the node's range, and routes to the whole network besides those that are configured.
local function ipam_of(conf, env)
  local ipam = { type = "host-local" }
  for key, value in pairs(conf.ipam or {}) do
    ipam[key] = value
  end
  ipam.ranges, ipam.routes = {}, table.move(ipam.routes or {}, 1, #(ipam.routes or {}), 1, {})
  for i, subnet in ipairs(strings(env.subnets)) do
    ipam.ranges[i] = { { subnet = subnet } }
  end
  for _, network in ipairs(strings(env.networks)) do
    table.insert(ipam.routes, { dst = network })
  end
  return ipam
end

function policy.add(pod, conf)
  local given = conf.delegate
  for _, key in ipairs { "name", "ipam" } do
    if given[key] then
      error(mncni.error { code = 7, object = "delegate." .. key, message = "flannel sets it; leave it out" })
    end
  end
  if given.type and given.type ~= "bridge" then
    error(mncni.error { code = 7, object = "delegate.type", message = "this policy wires bridges; leave it out" })
  end
  local env = mncni.flannel.env(conf.subnetFile)
  local config = {
    bridge = "cni0", mtu = env.mtu, hairpinMode = false, isDefaultGateway = false, dns = conf.dns,
    ipam = ipam_of(conf, env),
    ipMasq = not env.ip_masq, nonMasqueradeCIDRs = strings(env.networks), -- where flanneld does not masquerade
  }
  for key, value in pairs(given) do
    config[key] = value
  end
  return pod:wire("naivebridge", config)
end

function policy.del(call, conf)
  mncni.flannel.forget(call, conf.dataDir)
end

function policy.status(conf)
  mncni.flannel.env(conf.subnetFile)
end

return policy
