-- SPDX-License-Identifier: Apache-2.0
-- Node objects of the size and shape that a cluster has, for specs and measurements: 15 KB each, most of it images.
--   lua5.4 spec/support/nodes.lua 5000 > nodelist.json

local nodes = {}

local function hex(seed, length)
  local parts = {}
  for i = 1, length // 8 + 1 do
    seed = (seed * 6364136223846793005 + 1442695040888963407 + i) & 0x7fffffffffffffff
    parts[i] = ("%08x"):format(seed >> 31)
  end
  return table.concat(parts):sub(1, length)
end

local function image(i, n)
  local name = ("registry.example.org/platform/team-%d/service-%d"):format(n % 7, n)
  return ('{"names":["%s@sha256:%s","%s:v1.%d.%d-%s"],"sizeBytes":%d}'):format(
    name, hex(n * 131 + i % 3, 64), name, n % 40, n % 9, hex(n, 7), 1000000 + n * 7919)
end

local function condition(type, status, reason, i)
  return ('{"type":"%s","status":"%s","lastHeartbeatTime":"2026-01-02T03:04:%02dZ",'
    .. '"lastTransitionTime":"2026-01-01T00:00:00Z","reason":"%s",'
    .. '"message":"kubelet says: \\"%s\\" \\u003cok\\u003e"}'):format(type, status, i % 60, reason, reason)
end

-- The JSON of node number i (from 1), with resourceVersion `version` or i.
function nodes.node(i, version)
  local name = ("node-%05d"):format(i)
  local conditions, images, managed = {}, {}, {}
  for k, type in ipairs { "NetworkUnavailable", "MemoryPressure", "DiskPressure", "PIDPressure", "Ready" } do
    conditions[k] = condition(type, type == "Ready" and "True" or "False", "KubeletHas" .. type, i)
  end
  for k = 1, 50 do images[k] = image(i, k) end
  for k, manager in ipairs { "kube-controller-manager", "kubelet", "kubectl" } do
    managed[k] = ('{"manager":"%s","operation":"Update","apiVersion":"v1","time":"2026-01-01T00:00:00Z",'
      .. '"fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:node.alpha.kubernetes.io/ttl":{}'
      .. '},'
      .. '"f:labels":{".":{},"f:beta.kubernetes.io/arch":{},"f:kubernetes.io/hostname":{}}},"f:status":{"f:conditions":'
      .. '{"k:{\\"type\\":\\"Ready\\"}":{"f:lastHeartbeatTime":{},"f:status":{}}},"f:images":{}}}}'):format(manager)
  end
  return ('{"metadata":{"name":"%s","uid":"%s-0000-4000-8000-%s","resourceVersion":"%d","creationTimestamp":'
    .. '"2026-01-01T00:00:00Z","labels":{"beta.kubernetes.io/arch":"amd64","kubernetes.io/hostname":"%s","zone":"z%d'
    .. '"},'
    .. '"annotations":{"node.alpha.kubernetes.io/ttl":"0","volumes.kubernetes.io/controller-managed-attach-detach":'
    .. '"true"},'
    .. '"managedFields":[%s]},"spec":{"podCIDR":"10.%d.%d.0/24","podCIDRs":["10.%d.%d.0/24"],"providerID":"cloud:///%s'
    .. '"},'
    .. '"status":{"capacity":{"cpu":"8","memory":"32886184Ki","pods":"110"},"allocatable":{"cpu":"8",'
    .. '"memory":"32783784Ki",'
    .. '"pods":"110"},"conditions":[%s],"addresses":[{"type":"InternalIP","address":"10.200.%d.%d"},{"type":"Hostname",'
    .. '"address":"%s"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":10250}},"nodeInfo":{"machineID":"%s","kernel'
    .. 'Version":'
    .. '"6.1.0","osImage":"Debian GNU/Linux 12","kubeletVersion":"v1.31.0","operatingSystem":"linux","architecture":'
    .. '"amd64"},"images":[%s]}}'):format(name, hex(i, 8), hex(i + 7, 12), version or i, name, i % 3,
    table.concat(managed, ","), i >> 8 & 255, i & 255, i >> 8 & 255, i & 255, name, table.concat(conditions, ","),
    i >> 8 & 255, i & 255, name, hex(i + 3, 32), table.concat(images, ","))
end

-- The NodeList of nodes 1 to count, a line without white space.
function nodes.list(count, version)
  local items = {}
  for i = 1, count do items[i] = nodes.node(i) end
  return ('{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"%d"},"items":[%s]}\n'):format(
    version or count, table.concat(items, ","))
end

-- What an agent keeps of a node.
nodes.keep = {
  metadata = { name = true, uid = true, resourceVersion = true, labels = true, annotations = true,
    deletionTimestamp = true },
  spec = { podCIDR = true, podCIDRs = true, providerID = true, unschedulable = true, taints = true },
  status = { addresses = true, conditions = { type = true, status = true, reason = true } },
}

if arg and arg[0] and arg[0]:find "support/nodes.lua$" then
  io.stdout:write(nodes.list(tonumber(arg[1]) or 5000))
end

return nodes
