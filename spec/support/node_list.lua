-- SPDX-License-Identifier: Apache-2.0
-- Node objects as `kubectl get nodes -o json` prints them, from the few fields that a spec cares for.
--
--   local text = node_list.text { { name = "n1", addresses = { "10.0.1.11" }, pod_cidrs = { "10.244.1.0/24" } } }

local core = require "mncni.core"

local node_list = {}

local array = core.json.array

local function condition(kind, status, reason)
  return {
    type = kind, status = status, reason = reason, message = "kubelet: " .. reason,
    lastHeartbeatTime = "2026-01-01T00:05:00Z", lastTransitionTime = "2026-01-01T00:00:00Z",
  }
end

local function image(name)
  return {
    names = array {
      ("registry.example/%s@sha256:%s"):format(name, ("0123456789abcdef"):rep(4)),
      ("registry.example/%s:v1"):format(name),
    },
    sizeBytes = 123456789,
  }
end

local RESOURCES = {
  cpu = "4", memory = "16393188Ki", pods = "110", ["ephemeral-storage"] = "129886128Ki",
  ["hugepages-1Gi"] = "0", ["hugepages-2Mi"] = "0",
}

-- A Node object. fields: name, addresses (texts, or { type =, address = }), pod_cidrs, uid, labels, annotations,
-- provider_id, resource_version; raw is taken as the object itself.
function node_list.object(fields)
  if fields.raw then
    return fields.raw
  end
  local labels = {
    ["beta.kubernetes.io/arch"] = "amd64", ["kubernetes.io/arch"] = "amd64", ["kubernetes.io/os"] = "linux",
    ["kubernetes.io/hostname"] = fields.name,
  }
  for key, value in pairs(fields.labels or {}) do
    labels[key] = value
  end
  local annotations = {
    ["node.alpha.kubernetes.io/ttl"] = "0", ["volumes.kubernetes.io/controller-managed-attach-detach"] = "true",
  }
  for key, value in pairs(fields.annotations or {}) do
    annotations[key] = value
  end
  local addresses = array {}
  for i, address in ipairs(fields.addresses or {}) do
    addresses[i] = type(address) == "table" and address or { type = "InternalIP", address = address }
  end
  addresses[#addresses + 1] = { type = "Hostname", address = fields.name }
  local cidrs = fields.pod_cidrs or {}
  local uid = ("00000000-0000-4000-8000-%012x"):format(core.journal.hash(fields.name) & 0xffffffffffff)
  return {
    apiVersion = "v1", kind = "Node",
    metadata = {
      name = fields.name, uid = fields.uid or uid,
      creationTimestamp = "2026-01-01T00:00:00Z", resourceVersion = tostring(fields.resource_version or 1000),
      labels = labels, annotations = annotations,
    },
    spec = {
      podCIDR = cidrs[1], podCIDRs = cidrs[1] and array { table.unpack(cidrs) } or nil, providerID = fields.provider_id,
    },
    status = {
      addresses = addresses, capacity = RESOURCES, allocatable = RESOURCES,
      conditions = array {
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID"), condition("Ready", "True", "KubeletReady"),
      },
      daemonEndpoints = { kubeletEndpoint = { Port = 10250 } },
      images = array { image "pause", image "coredns" },
      nodeInfo = {
        architecture = "amd64", bootID = "3c1b1a3e-0000-4000-8000-000000000000",
        machineID = ("0123456789abcdef"):rep(2),
        containerRuntimeVersion = "containerd://1.6.20", kernelVersion = "6.1.0", kubeletVersion = "v1.30.0",
        kubeProxyVersion = "v1.30.0", operatingSystem = "linux", osImage = "Debian GNU/Linux 12 (bookworm)",
        systemUUID = "3c1b1a3e-0000-4000-8000-000000000001",
      },
    },
  }
end

-- The whole list.
function node_list.text(records)
  local items = array {}
  for i, fields in ipairs(records) do
    items[i] = node_list.object(fields)
  end
  return core.json.encode({
    apiVersion = "v1", items = items, kind = "List", metadata = { resourceVersion = "" },
  }, { pretty = true }) .. "\n"
end

return node_list
