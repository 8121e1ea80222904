-- SPDX-License-Identifier: Apache-2.0
-- A whole Kubernetes for specs: the lab of deploy/lab, in a directory of the spec's. Runs in the kubernetes ring.
--
--   local lab = labs.up { nodes = 2, layout = "l3", families = "dual" }   -- 15 s and 3 s a node on two idle cores
--   lab:import "build/image/mncni.tar"                        -- into every node, and those that join later
--   lab:kubectl("apply", "-k", "deploy/overlays/bare-metal")  -- what it prints; raises with its words when it fails
--   lab:apply "apiVersion: v1\nkind: Pod\n..."                -- a manifest as text, or a table
--   local nodes = lab:get "nodes"                             -- a list of decoded objects; lab:get("nodes", "n1") is one
--   lab:wait_ready()                                          -- every node
--   lab:wait(60, "all pods to run", function() return #lab:running "app=web" == 60 end)
--   local text, status = lab:exec("n1", "ip", "-br", "addr")  -- on a node, or on router, outside, switch or control
--   lab:node("add", "n3")                                     -- and remove, stop, start, reboot: deploy/lab/node
--   labs.cleanup()                                            -- teardown, always: ends what is still there
--
-- Its fields: directory, settings, image (a busybox image that all nodes have; use imagePullPolicy: Never), outside and
-- outside6 (addresses; http://ADDRESS/cgi-bin/from there answers with the address that it was asked from). A node's
-- /etc/cni, /opt/cni, /var/lib/cni and so on are at lab:path("n1", "/opt/cni"); its logs are at lab:path("n1", "/log").

local core = require "mncni.core"
local processes = require "spec.support.process"
local spaces = require "spec.support.netns"

local labs = {}
local lab = {}
lab.__index = lab

local open = {}
local gone = {} -- ids of labs that are down
local count = 0

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

-- Runs a program with the lab's directory in its environment. Returns its stdout, its exit status and its stderr.
local function run(self, seconds, ...)
  local errors = os.tmpname()
  local outcome = core.exec {
    argv = { "/bin/sh", "-c", 'errors=$1; shift; exec "$@" 2>"$errors"', "sh", errors, "env",
      "MNCNI_LAB_DIR=" .. self.directory, ... },
    timeout = seconds * 1000, max_output = 1 << 28,
  }
  local said = read(errors)
  os.remove(errors)
  if outcome.timed_out then said = said .. ("\nended after %d s"):format(seconds) end
  return (outcome.stdout:gsub("\n$", "")), outcome.status or 128 + (outcome.signal or 0), (said:gsub("\n$", ""))
end

-- The same; a program that fails is an error with what it said.
local function must(self, seconds, ...)
  local output, status, said = run(self, seconds, ...)
  if status ~= 0 then
    error(("%s: exit status %d: %s%s"):format(table.concat({ ... }, " "), status, output, said), 3)
  end
  return output
end

-- Makes a lab and waits until its nodes are there, NotReady. args: nodes (2), layout ("l2", "l3"), families ("ipv4",
-- "dual"), env (further variables for deploy/lab/up).
function labs.up(args)
  local self = labs.new()
  args = args or {}
  local argv = {
    "env", "NODES=" .. (args.nodes or 2), "LAYOUT=" .. (args.layout or "l2"), "FAMILIES=" .. (args.families or "ipv4"),
  }
  for name, value in pairs(args.env or {}) do argv[#argv + 1] = name .. "=" .. value end
  argv[#argv + 1] = "deploy/lab/up"
  must(self, 600, table.unpack(argv))
  self.settings = {}
  for name, value in read(self:path "settings"):gmatch "([%u_]+)='?([^\n']*)" do self.settings[name] = value end
  self.image = self.settings.IMAGE
  return self
end

-- A lab that is not up: its directory does not exist.
function labs.new()
  count = count + 1
  local self = setmetatable({
    directory = ("/run/lab%d"):format(count), outside = "203.0.113.2", outside6 = "2001:db8:113::2",
  }, lab)
  open[self] = true
  return self
end

-- Ends the lab and removes everything of it.
function lab:down()
  local known, id = pcall(read, self:path "id")
  if known then gone[#gone + 1] = id:match "%S+" end
  must(self, 120, "deploy/lab/down")
  open[self] = nil
end

-- Ends every lab that is still there.
function labs.cleanup()
  for self in pairs(open) do self:down() end
end

-- A file of the lab's, or of a node's: path "settings", path("n1", "/opt/cni/bin").
function lab:path(name, file)
  if not file then return self.directory .. "/" .. name end
  return self.directory .. "/nodes/" .. name .. file
end

-- ----------------------------------------------------------------------------------------------------- the cluster

-- kubectl, as the administrator; returns what it prints, and raises when it fails.
function lab:kubectl(...)
  return must(self, 180, "deploy/lab/kubectl", ...)
end

-- The same, which may fail: returns stdout, the exit status and stderr.
function lab:try_kubectl(...)
  return run(self, 180, "deploy/lab/kubectl", ...)
end

-- Objects, decoded: get("pods", "-n", "kube-system") is a list, get("node", "n1") is one object.
function lab:get(...)
  local answer = core.json.decode(self:kubectl("get", "-o", "json", ...))
  return answer.items or answer
end

-- Applies a manifest: YAML text, or a table.
function lab:apply(manifest, ...)
  local path = os.tmpname()
  write(path, type(manifest) == "table" and core.json.encode(manifest) or manifest)
  local ok, message = pcall(self.kubectl, self, "apply", "-f", path, ...)
  os.remove(path)
  if not ok then error(message, 2) end
  return message
end

-- The pods of a label selector that are Running and ready, as objects; in all namespaces.
function lab:running(selector)
  local list = {}
  for _, pod in ipairs(self:get("pods", "-A", "-l", selector)) do
    local ready = pod.status.phase == "Running" and not pod.metadata.deletionTimestamp
    for _, condition in ipairs(pod.status.conditions or {}) do
      if condition.type == "Ready" and condition.status ~= "True" then ready = false end
    end
    if ready then list[#list + 1] = pod end
  end
  return list
end

-- What the Ready condition of a node says: "True", "False" or "Unknown", and its message.
function lab:ready(name)
  for _, condition in ipairs(self:get("node", name).status.conditions) do
    if condition.type == "Ready" then return condition.status, condition.message end
  end
end

-- Waits until every node is Ready.
function lab:wait_ready(seconds)
  seconds = seconds or 60
  return must(self, seconds + 10, "deploy/lab/kubectl", "wait", "--for=condition=Ready", "node", "--all",
    ("--timeout=%ds"):format(seconds))
end

-- Calls condition, with what it raises counting as false, until it returns something true, and returns that; raises
-- after so many seconds.
function lab:wait(seconds, what, condition) -- luacheck: no self
  local last
  local value = processes.wait(seconds, function()
    local ok, answer = pcall(condition)
    last = answer
    return ok and answer
  end)
  return value or error(("waited %d s for %s (%s)"):format(seconds, what, tostring(last)), 2)
end

-- -------------------------------------------------------------------------------------------------------- the nodes

-- Runs a program on a node, or on router, outside, switch or control. Returns stdout, the exit status and stderr.
function lab:exec(name, ...)
  return run(self, 120, "deploy/lab/node", "exec", name, ...)
end

-- The same, which must succeed; returns stdout.
function lab:must(name, ...)
  return must(self, 120, "deploy/lab/node", "exec", name, ...)
end

-- deploy/lab/node: node("add", "n3", "n4"), and remove, stop, start, reboot.
function lab:node(verb, ...)
  return must(self, 300, "deploy/lab/node", verb, ...)
end

-- Runs a program in a container of a pod of the default namespace. Returns stdout, the exit status and stderr.
function lab:pod_exec(pod, ...)
  return self:try_kubectl("exec", pod, "--", ...)
end

-- Imports an image archive into every node, and into those that join later.
function lab:import(file)
  return must(self, 120, "deploy/lab/image", "import", file)
end

-- Copies files into the /opt/cni/bin of a node.
function lab:plugins(name, ...)
  local words = {}
  for i, file in ipairs { ... } do words[i] = spaces.quote(file) end
  spaces.must(("cp -a --remove-destination %s %s"):format(table.concat(words, " "),
    spaces.quote(self:path(name, "/opt/cni/bin/"))))
end

-- Gives a node a network configuration list, a table, as the reference plugins or any other understand it.
function lab:network(name, conflist)
  local path = self:path(name, "/etc/cni/net.d/10-lab.conflist")
  write(path .. ".new", core.json.encode(conflist))
  assert(os.rename(path .. ".new", path))
end

-- ------------------------------------------------------------------------------------------------ what may be left

-- What a lab could leave on the machine, as lines: processes, namespaces, mounts, links, files and system settings.
function labs.footprint()
  local text = spaces.must [[
    for process in /proc/[0-9]*; do
      [ $process != /proc/$PPID ] && [ "$(cut -d ' ' -f 4 $process/stat 2>/dev/null)" != $$ ] || continue # ours
      readlink $process/ns/net $process/ns/mnt $process/ns/pid | sed 's/^/namespace /'
      echo "process $(tr '\0' ' ' <$process/cmdline | cut -c 1-120)"
    done 2>/dev/null | grep -v -e '^process *$' -e '^process sh -c ' | sort -u
    cut -d ' ' -f 5 /proc/self/mountinfo | sort | sed 's/^/mount /'
    ip -o link show | sed -E 's/^[0-9]+: ([^:@]+).*/link \1/'
    find /run /etc/cni /opt/cni /var/lib/cni /var/lib/kubelet /var/lib/containerd /var/log/pods \
      /usr/libexec/kubernetes "${HOME:-/root}/.kube" 2>/dev/null | sort | sed 's/^/file /'
    sysctl vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops 2>/dev/null
  ]]
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
  return lines
end

-- The lines of a footprint of now that are not in an earlier one, those that are gone, and cgroups of labs that are down
-- (other rings may have labs now), as text.
function labs.changes(before)
  local counts, changes = {}, {}
  for _, line in ipairs(before) do counts[line] = (counts[line] or 0) - 1 end
  for _, line in ipairs(labs.footprint()) do counts[line] = (counts[line] or 0) + 1 end
  for line, difference in pairs(counts) do
    if difference ~= 0 then changes[#changes + 1] = (difference > 0 and "new: " or "gone: ") .. line end
  end
  for _, id in ipairs(gone) do
    local found = spaces.must("find /sys/fs/cgroup -name %s", id)
    if found ~= "" then changes[#changes + 1] = "cgroup: " .. found end
  end
  table.sort(changes)
  return table.concat(changes, "\n")
end

return labs
