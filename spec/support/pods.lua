-- SPDX-License-Identifier: Apache-2.0
-- Pods that serve, in a lab (spec.support.lab): made, waited for, looked into, and asked from one another.
--
--   local pods = require("spec.support.pods").new(lab)
--   pods:deploy("many", 60)            -- a Deployment of 60; pods:deploy "each" is a DaemonSet
--   local list = pods:wait("role=web", 63)
--   pods:run(list[1], "ip route")      -- in the pod's network namespace, with the node's programs
--   pods:ask_all(list)                 -- every one asks all on other nodes
--
-- A pod answers http://ADDRESS/ with "hello" and http://ADDRESS/cgi-bin/from with the address that it was asked from.

local pods = {}

local Pods = {}
Pods.__index = Pods

local SERVE = [[busybox mkdir -p /tmp/www/cgi-bin
busybox printf '#!/bin/busybox sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n$REMOTE_ADDR"' >/tmp/www/cgi-bin/from
busybox chmod 755 /tmp/www/cgi-bin/from
echo hello >/tmp/www/index.html
busybox httpd -p '[::]:86' -h /tmp/www
exec busybox httpd -f -p 0.0.0.0:80 -h /tmp/www]]

-- The ports by family: as one for both, an IPv4 address that asks would be told as an IPv6 one.
local ports = { inet = "", inet6 = ":86" }

function pods.new(lab)
  return setmetatable({ lab = lab, spaces = {} }, Pods)
end

-- Applies a DaemonSet, or a Deployment of so many, of such pods; container: more fields of theirs.
function Pods:deploy(name, replicas, container)
  local one = {
    name = "web", image = self.lab.image, imagePullPolicy = "Never", command = { "busybox", "sh", "-c", SERVE },
  }
  for key, value in pairs(container or {}) do
    one[key] = value
  end
  self.lab:apply {
    apiVersion = "apps/v1", kind = replicas and "Deployment" or "DaemonSet", metadata = { name = name },
    spec = {
      replicas = replicas, selector = { matchLabels = { app = name } },
      template = {
        metadata = { labels = { app = name, role = "web" } },
        spec = { containers = { one }, terminationGracePeriodSeconds = 0 },
      },
    },
  }
end

-- Waits until so many pods of a label selector run, and returns them.
function Pods:wait(selector, count, seconds)
  return self.lab:wait(seconds or 180, ("%d pods of %s to run"):format(count, selector), function()
    local list = self.lab:running(selector)
    return #list == count and list
  end)
end

-- A pod's addresses, as text.
function pods.addresses(pod)
  local list = {}
  for i, entry in ipairs(pod.status.podIPs) do
    list[i] = entry.ip
  end
  return list
end

local function url(address, path)
  local inet6 = address:find(":", 1, true)
  return ("http://%s%s/%s"):format(inet6 and "[" .. address .. "]" or address, ports[inet6 and "inet6" or "inet"],
    path or "")
end

-- Runs a shell script in the network namespace of a pod, with the node's programs, and returns what it prints.
function Pods:run(pod, script, ...)
  local node, address = pod.spec.nodeName, pod.status.podIP
  if not self.spaces[address] then
    local said = self.lab:must(node, "sh", "-c", [[for ns in /run/netns/*; do
      echo $ns $(nsenter --net=$ns ip -4 -o addr show eth0 2>/dev/null); done]])
    for ns, of in said:gmatch "(%S+) [^\n]- inet ([%d.]+)/" do
      self.spaces[of] = ns
    end
  end
  return self.lab:must(node, "nsenter", "--net=" .. self.spaces[address], "sh", "-c", script, "sh", ...)
end

-- What a pod is answered by an address: get(pod, "10.244.1.5", "cgi-bin/from").
function Pods:get(pod, address, path)
  return self:run(pod, "timeout 5 busybox wget -q -O - " .. url(address, path))
end

-- Every pod of the list asks all those on other nodes, by each of their addresses, and the first of them by whom it is
-- asked, which has to be its own address. Returns how many requests there were.
function Pods:ask_all(list)
  local script = [[asked=0
    for peer; do
      said=$(timeout 10 busybox wget -q -O - $peer/)
      [ "$said" = hello ] && asked=$((asked + 1)) || echo "$peer said: $said"
    done
    echo "$asked $(timeout 10 busybox wget -q -O - $1/cgi-bin/from)"]]
  local total = 0
  for _, pod in ipairs(list) do
    for i, own in ipairs(pods.addresses(pod)) do
      local peers = {}
      for _, other in ipairs(list) do
        local address = other.spec.nodeName ~= pod.spec.nodeName and pods.addresses(other)[i]
        peers[#peers + 1] = address and url(address):gsub("/$", "") or nil
      end
      local said = self:run(pod, script, table.unpack(peers))
      if said ~= ("%d %s"):format(#peers, own) and said ~= ("%d [%s]"):format(#peers, own) then
        error(("%s (%s), which asked %d: %s"):format(pod.metadata.name, own, #peers, said), 2)
      end
      total = total + #peers
    end
  end
  return total
end

-- Makes a Service of all pods with role=web, and has each pod of a list ask it, in every family that pods have.
function Pods:ask_service(list)
  local lab = self.lab
  local families = #pods.addresses(list[1])
  lab:apply {
    apiVersion = "v1", kind = "Service", metadata = { name = "web" },
    spec = {
      selector = { role = "web" }, ports = { { name = "http", port = 80 }, { name = "http6", port = 86 } },
      ipFamilyPolicy = families > 1 and "RequireDualStack" or nil,
    },
  }
  local spec = lab:get("service", "web").spec
  local addresses = spec.clusterIPs or { spec.clusterIP }
  assert(#addresses == families, #addresses .. " addresses of the Service")
  for _, pod in ipairs(list) do
    for _, address in ipairs(addresses) do
      lab:wait(20, "the Service to answer", function() return self:get(pod, address) == "hello" end)
      for _ = 1, 5 do
        local said = self:get(pod, address)
        assert(said == "hello", ("%s was answered %q by %s"):format(pod.metadata.name, said, address))
      end
    end
  end
end

-- Makes a pod with a host port, and asks it from outside by each address of its node. Returns how many there are.
function Pods:ask_host_port()
  local lab = self.lab
  self:deploy("port", 1, {
    ports = { { containerPort = 80, hostPort = 8088 }, { containerPort = 86, hostPort = 8086 } },
  })
  local pod = self:wait("app=port", 1)[1]
  local asked = 0
  for _, address in ipairs(lab:get("node", pod.spec.nodeName).status.addresses) do
    if address.type == "InternalIP" then
      local inet6 = address.address:find(":", 1, true)
      local said = lab:must("outside", "timeout", "5", "busybox", "wget", "-q", "-O", "-",
        (inet6 and "http://[%s]:8086/" or "http://%s:8088/"):format(address.address))
      assert(said == "hello", ("%s was answered %q"):format(address.address, said))
      asked = asked + 1
    end
  end
  return asked
end

-- The addresses of a list of pods, each of which may be there once.
function pods.count_addresses(list)
  local seen, count = {}, 0
  for _, pod in ipairs(list) do
    for _, address in ipairs(pods.addresses(pod)) do
      assert(not seen[address], address)
      seen[address], count = true, count + 1
    end
  end
  return count
end

return pods
