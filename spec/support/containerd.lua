-- SPDX-License-Identifier: Apache-2.0
-- What the containerd ring needs: real containerd, through CRI as a kubelet speaks to it, and a look at what a pod
-- leaves on its node. Works only on the node that deploy/private-containerd.sh makes (`make check-containerd`).

local json = require "dkjson"

local lab = {}

lab.image = os.getenv "MNCNI_IMAGE" or error("run this through `make check-containerd`", 0)
lab.cgroup = os.getenv "MNCNI_CGROUP"
local cri_client = "spec/support/cri"
local conf_dir = "/etc/cni/net.d"

-- Quotes one word for the shell.
local function quote(word)
  return "'" .. tostring(word):gsub("'", "'\\''") .. "'"
end

-- Runs a program with the arguments given. Returns its output (both streams, last newline gone), whether it succeeded,
-- and its exit status.
function lab.try(...)
  local words = {}
  for index, word in ipairs { ... } do words[index] = quote(word) end
  local pipe = assert(io.popen(table.concat(words, " ") .. " 2>&1 </dev/null"))
  local output = pipe:read "a"
  local ok, _, status = pipe:close()
  return output:gsub("\n$", ""), ok or false, status
end

-- The same, raising when the program fails. Returns its output.
function lab.run(...)
  local output, ok, status = lab.try(...)
  if not ok then
    error(("`%s` failed (%d): %s"):format(table.concat({ ... }, " "), status, output), 2)
  end
  return output
end

-- Runs a line of shell, raising when it fails. Returns its output.
function lab.shell(line)
  return lab.run("sh", "-c", line)
end

-- Calls condition until it returns something true, and returns that; raises after the seconds given (default 20).
function lab.wait_until(what, condition, seconds)
  local deadline = os.time() + (seconds or 20)
  while true do
    local value = condition()
    if value then return value end
    if os.time() > deadline then error("waited too long for " .. what, 2) end
    lab.run("sleep", "0.05")
  end
end

function lab.read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- Writes a file under a name that nobody looks at and renames it into place.
function lab.write(path, text)
  local aside = path .. ".new"
  local file = assert(io.open(aside, "wb"))
  assert(file:write(text))
  assert(file:close())
  assert(os.rename(aside, path))
end

lab.decode = function(text)
  local value, _, message = json.decode(text)
  if message then error(message .. " in: " .. text, 2) end
  return value
end
lab.encode = json.encode

-- The names in a directory, sorted; none when there is no such directory.
function lab.list(directory)
  local names = {}
  for name in lab.try("find", directory, "-mindepth", "1", "-maxdepth", "1", "-printf", "%f\n"):gmatch "[^\n]+" do
    if not name:find("No such file", 1, true) then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- ------------------------------------------------------------------------------------------------------------ CRI

local client = {}

-- Sends calls, a list of { method, request }, all at once. Returns the list of answers, { ok, response | code, error,
-- seconds }. One client process serves the whole ring: starting one takes longer than most calls.
function lab.cri_batch(calls)
  if not client.requests then
    local fifos = lab.run("mktemp", "-d", "/run/cri.XXXXXX")
    lab.run("mkfifo", fifos .. "/requests", fifos .. "/answers")
    assert(os.execute(("%s batch <%s/requests >%s/answers &"):format(cri_client, fifos, fifos)))
    client.requests = assert(io.open(fifos .. "/requests", "w"))
    client.answers = assert(io.open(fifos .. "/answers", "r"))
  end
  client.requests:write(json.encode(calls), "\n")
  client.requests:flush()
  return lab.decode(client.answers:read "l" or error("the CRI client has ended", 2))
end

-- Sends one call and returns the answer.
function lab.cri_try(method, request)
  return lab.cri_batch { { method, request or setmetatable({}, { __jsontype = "object" }) } }[1]
end

-- Sends one call and returns its response, or raises with the runtime's error.
function lab.cri(method, request)
  local answer = lab.cri_try(method, request)
  if not answer.ok then error(method .. ": " .. answer.error, 2) end
  return answer.response
end

local serial = 0

-- The request a kubelet sends for a pod { name, namespace, annotations, ports, dns }. Each has a uid of its own.
function lab.sandbox_request(pod)
  serial = serial + 1
  local name = pod.name or ("pod-" .. serial)
  return { config = {
    metadata = { name = name, uid = ("uid-%d-%d"):format(serial, os.time()), namespace = pod.namespace or "default" },
    hostname = name,
    annotations = pod.annotations,
    port_mappings = pod.ports,
    dns_config = pod.dns,
    linux = { cgroup_parent = lab.cgroup },
  } }
end

local Pod = {}
Pod.__index = Pod

-- What containerd knows of the pod: its address, the others, the path of its namespace, the CNI result.
function lab.pod(id)
  local answer = lab.cri("PodSandboxStatus", { pod_sandbox_id = id, verbose = true })
  local info = lab.decode(answer.info.info)
  local pod = { id = id, ip = answer.status.network.ip, ips = { answer.status.network.ip }, state = answer.status.state,
    pid = info.pid, result = info.cniResult }
  for _, more in ipairs(answer.status.network.additional_ips) do pod.ips[#pod.ips + 1] = more.ip end
  for _, namespace in ipairs(info.runtimeSpec.linux.namespaces) do
    if namespace.type == "network" then pod.netns = namespace.path end
  end
  return setmetatable(pod, Pod)
end

-- Runs a pod and returns it.
function lab.run_pod(pod)
  return lab.pod(lab.cri("RunPodSandbox", lab.sandbox_request(pod or {})).pod_sandbox_id)
end

-- Runs a program in the pod's network namespace. Returns what lab.try does.
function Pod:try(...)
  return lab.try("nsenter", "--net=" .. self.netns, ...)
end

-- Runs a program in the pod's network namespace, raising when it fails.
function Pod:run(...)
  return lab.run("nsenter", "--net=" .. self.netns, ...)
end

-- What `ip -json` says in the pod, decoded.
function Pod:ip_json(...)
  return lab.decode(self:run("ip", "-json", "-details", ...))
end

-- Whether the pod gets an answer from an address within 3 seconds.
function Pod:pings(address)
  local _, ok = self:try("ping", "-c", "1", "-W", "3", address)
  return ok
end

function Pod:stop()
  return lab.cri("StopPodSandbox", { pod_sandbox_id = self.id })
end

function Pod:remove()
  return lab.cri("RemovePodSandbox", { pod_sandbox_id = self.id })
end

-- ------------------------------------------------------------------------------------------------------------ node

-- Makes the network given (a network configuration list as a table, or its text) the only one, and waits until
-- containerd has read it.
function lab.network(conflist)
  local text = type(conflist) == "string" and conflist or json.encode(conflist, { indent = true })
  local name = lab.decode(text).name
  for _, file in ipairs(lab.list(conf_dir)) do
    if file ~= "10-lab.conflist" then os.remove(conf_dir .. "/" .. file) end
  end
  lab.write(conf_dir .. "/10-lab.conflist", text)
  lab.wait_until("containerd to load network " .. name, function()
    local info = lab.cri("Status", { verbose = true }).info
    if info.lastCNILoadStatus ~= "OK" then return false end
    for _, network in ipairs(lab.decode(info.cniconfig).Networks) do
      if network.Config.Source == text then return true end
    end
    return false
  end)
end

-- A network list with one plugin, the shipped naivebridge conflist changed by the keys given.
function lab.naivebridge(name, keys)
  local conflist = lab.decode(lab.read "deploy/naivebridge.conflist")
  conflist.name = name
  for key, value in pairs(keys or {}) do conflist.plugins[1][key] = value end
  return conflist
end

-- Counts the echo requests that arrive in a network namespace (a path) from an address while run is called.
function lab.count_pings(netns, source, run)
  local nft = "nsenter --net=" .. quote(netns) .. " nft "
  lab.shell(nft .. quote("add table ip count; add chain ip count input { type filter hook input priority 0; }; " ..
    "add rule ip count input icmp type echo-request ip saddr " .. source .. " counter"))
  local ok, message = pcall(run)
  local packets = lab.shell(nft .. "list table ip count"):match "counter packets (%d+)"
  lab.shell(nft .. "delete table ip count")
  if not ok then error(message, 0) end
  return tonumber(packets)
end

-- Files of host-local's that stand for an address.
function lab.addresses(network)
  local found = {}
  for _, name in ipairs(lab.list("/var/lib/cni/networks/" .. network)) do
    if name:find "^[%x:]+%.?[%d.]*$" and name ~= "lock" then found[#found + 1] = name end
  end
  return found
end

-- Everything on the node that a pod may leave behind, as a list of lines.
function lab.footprint()
  local lines = {}
  for _, link in ipairs(lab.decode(lab.run("ip", "-json", "link"))) do lines[#lines + 1] = "link " .. link.ifname end
  for _, name in ipairs(lab.list "/run/netns") do lines[#lines + 1] = "netns " .. name end
  for _, network in ipairs(lab.list "/var/lib/cni/networks") do
    for _, address in ipairs(lab.addresses(network)) do lines[#lines + 1] = "address " .. network .. "/" .. address end
  end
  for _, name in ipairs(lab.list "/var/lib/cni/results") do lines[#lines + 1] = "result " .. name end
  local journals = lab.try("sh", "-c", "cd /run/mncni/attachments && find . -type f")
  for name in journals:gmatch "%./([^\n]+)" do lines[#lines + 1] = "journal " .. name end
  for rule in lab.run("nft", "--stateless", "list", "ruleset"):gmatch "[^\n]+" do lines[#lines + 1] = "nft " .. rule end
  return lines
end

-- The lines of the footprint that were not there before.
function lab.leftovers(before)
  local known, new = {}, {}
  for _, line in ipairs(before) do known[line] = true end
  for _, line in ipairs(lab.footprint()) do
    if not known[line] then new[#new + 1] = line end
  end
  return new
end

-- Removes every sandbox and every container of ctr's, whatever state a failed spec left them in.
function lab.clean()
  local calls = {}
  for _, item in ipairs(lab.cri("ListPodSandbox").items) do
    lab.cri_try("StopPodSandbox", { pod_sandbox_id = item.id })
    calls[#calls + 1] = { "RemovePodSandbox", { pod_sandbox_id = item.id } }
  end
  if #calls > 0 then lab.cri_batch(calls) end
  for name in lab.run("ctr", "containers", "list", "--quiet"):gmatch "[^\n]+" do
    lab.try("ctr", "task", "delete", "--force", name)
    lab.try("ctr", "container", "delete", name)
  end
end

-- Stops containerd if it still runs, leaving what it has started, and starts it again.
function lab.restart()
  lab.run("sh", "deploy/private-containerd.sh", "restart")
  -- A kubelet connects anew too; the client ends with its standard input.
  if client.requests then
    client.requests:close()
    client.answers:close()
    client.requests, client.answers = nil, nil
  end
  lab.wait_until("containerd to serve CRI", function() return lab.cri_try("ListPodSandbox").ok end)
end

return lab
