-- SPDX-License-Identifier: Apache-2.0
-- A node for specs: a namespace with an uplink, the plugin under the names of its policies, and directories for state,
-- addresses and policies. One spec has one node; cleanup() removes it.
--
--   local node = nodes.new { pods = { "web", "db" } }
--   local result = node:add { pod = "web", conf = { ipMasq = false } }
--   assert.is_nil(node:check({ pod = "web" }, result)); node:must("DEL", { pod = "web" }); node:cleanup()

local cni = require "spec.support.cni"
local core = require "mncni.core"
local pod = require "mncni.pod"
local spaces = require "spec.support.netns"

local node = {}
node.__index = node

local BIN = os.getenv "MNCNI_PLUGIN" or (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"

-- A namespace with an uplink that leads nowhere.
local function alone()
  local space = spaces.new "node"
  space:must [[exec ip -batch - <<'.'
link add up0 up type veth peer name up1
link set up1 up
address add 192.0.2.10/24 dev up0
route add default via 192.0.2.1
.
]]
  return space
end

-- Makes the node. args: pods (names of those that are there from the beginning), subnets (CIDRs, one address of each for
-- a pod), space (a namespace with an uplink, one is made when not given).
-- Its fields: space (the namespace), scratch (a directory), state and networks (in it), env, pods (by name).
function node.new(args)
  args = args or {}
  local scratch = spaces.must "d=$(mktemp -d) && mkdir $d/bin $d/policies && echo $d"
  local self = setmetatable({
    scratch = scratch, state = scratch .. "/state", networks = scratch .. "/networks", pods = {},
  }, node)
  self:subnets(args.subnets or { "10.244.1.0/24" })
  cni.link_plugins(BIN, scratch .. "/bin")
  self.env = { MNCNI_STATE_DIR = self.state, MNCNI_POLICY_PATH = scratch .. "/policies", PATH = os.getenv "PATH" }
  self.space = args.space or alone()
  for _, name in ipairs(args.pods or {}) do
    self:pod(name)
  end
  return self
end

-- The subnets that pods added from now on have addresses of.
function node:subnets(list)
  self.ranges = {}
  for i, subnet in ipairs(list) do
    self.ranges[i] = { { subnet = subnet } }
  end
end

function node:cleanup()
  spaces.cleanup()
  spaces.must("rm -rf %s", self.scratch)
end

-- The pod of this name, a namespace, made when first asked for.
function node:pod(name)
  self.pods[name] = self.pods[name] or spaces.new(name)
  return self.pods[name]
end

-- The name of the node's end of a pod's link.
function node.port(name)
  return (pod.host_ifname(name, "eth0"))
end

-- Removes the namespaces of pods with all that is in them, as their end without a DEL does, and waits for the kernel to
-- take down their links on the node, which it does in its own time.
function node:kill(...)
  for _, name in ipairs { ... } do
    self.pods[name]:close()
    self.pods[name] = nil
  end
  for _, name in ipairs { ... } do
    self.space:must("for i in $(seq 500); do ip link show %s >/dev/null 2>&1 || exit 0; sleep 0.01; done; exit 1",
      node.port(name))
  end
end

-- The configuration of a call: fields of conf over those of a small network; ipam = false leaves it out.
function node:config(conf)
  local all = { cniVersion = "1.1.0", name = "testnet", type = "naivebridge" }
  for key, value in pairs(conf or {}) do
    all[key] = value
  end
  if all.ipam == false then
    all.ipam = nil
    return all
  end
  local ipam = all.ipam or { type = "host-local", ranges = self.ranges }
  all.ipam = { dataDir = self.networks }
  for key, value in pairs(ipam) do
    all.ipam[key] = value
  end
  return all
end

-- Runs a program inside the node; core.exec's outcome, with stderr kept from the specs' own.
function node:exec(argv, env, stdin)
  local stderr = os.tmpname()
  local outcome = self.space:run(core.exec, {
    argv = { "/bin/sh", "-c", 'exec "$@" 2>"$0"', stderr, table.unpack(argv) }, env = env or self.env,
    stdin = stdin or "", timeout = 60000,
  })
  do
    local file <close> = assert(io.open(stderr))
    outcome.stderr = file:read "a"
  end
  os.remove(stderr)
  return outcome
end

-- Runs the plugin inside the node: call("ADD", { pod = "web", conf =, ifname =, name = "naivebridge", policy = one of the
-- node's own, prefix = { argv before it } }). Returns core.exec's outcome with json, the document on stdout.
function node:call(command, args)
  args = args or {}
  local container = args.pod or "web"
  local needs_pod = command == "ADD" or command == "CHECK"
  local env = {
    CNI_COMMAND = command, CNI_CONTAINERID = container, CNI_IFNAME = args.ifname or "eth0",
    CNI_NETNS = args.netns or needs_pod and self:pod(container).path or "/run/netns/" .. container,
    CNI_PATH = args.path or self.scratch .. "/bin",
  }
  for key, value in pairs(self.env) do
    env[key] = value
  end
  local argv = { table.unpack(args.prefix or {}) }
  if argv[1] == "strace" then
    env.ASAN_OPTIONS = "detect_leaks=0" -- LeakSanitizer cannot work on what is traced
  end
  argv[#argv + 1] = self.scratch .. "/bin/" .. (args.name or args.policy and "mncni" or "naivebridge")
  local conf = self:config(args.conf)
  if args.policy then
    conf.type, conf.policy = "mncni", args.policy
  end
  local outcome = self:exec(argv, env, core.json.encode(conf))
  local ok, document = pcall(core.json.decode, outcome.stdout)
  outcome.json = ok and document or nil
  return outcome
end

-- The same, which must succeed; returns the document.
function node:must(command, args)
  local outcome = self:call(command, args)
  if outcome.status ~= 0 then
    error(("%s: %s%s"):format(command, outcome.stdout, outcome.stderr), 2)
  end
  return outcome.json
end

-- ADD. Returns the result, and { port = the host's end, mac, address, address6 = the pod's }.
function node:add(args)
  local result = self:must("ADD", args)
  return result, {
    port = result.interfaces[2].name, mac = result.interfaces[3].mac, address = result.ips[1].address:match "^[^/]+",
    address6 = result.ips[2] and result.ips[2].address:match "^[^/]+",
  }
end

-- CHECK of what an ADD with these args has returned. Returns its message, nil when it passes, and the whole error.
function node:check(args, result)
  local conf = { prevResult = result }
  for key, value in pairs(args.conf or {}) do
    conf[key] = value
  end
  local outcome = self:call("CHECK", {
    pod = args.pod, ifname = args.ifname, name = args.name, policy = args.policy, conf = conf,
  })
  return outcome.status ~= 0 and (outcome.json and outcome.json.msg or outcome.stdout .. outcome.stderr) or nil,
    outcome.json
end

-- A policy of the node's own, by its text.
function node:policy(name, text)
  local file <close> = assert(io.open(("%s/policies/%s.lua"):format(self.scratch, name), "w"))
  file:write(text)
end

-- Runs a shell command inside the node, as spaces.sh does; returns its output.
function node:sh(...)
  return (self.space:sh(...))
end

-- Runs a subcommand of mncni; returns its output, its errors and its status.
function node:mncni(...)
  local outcome = self:exec { self.scratch .. "/bin/mncni", ... }
  return outcome.stdout, outcome.stderr, outcome.status
end

-- Runs one that has nothing to complain of; returns its output.
function node:say(...)
  local output, errors, status = self:mncni(...)
  if errors ~= "" or status ~= 0 then
    error(("mncni %s: %s (%s)"):format(table.concat({ ... }, " "), errors, status), 2)
  end
  return output
end

-- Runs `mncni gc --output=json` with more words; returns the report, and the outcome.
function node:gc(...)
  local outcome = self:exec { self.scratch .. "/bin/mncni", "gc", "--output=json", ... }
  local ok, report = pcall(core.json.decode, outcome.stdout)
  return ok and report or error(outcome.stdout .. outcome.stderr, 2), outcome
end

-- The addresses that are reserved in a network, sorted.
function node:reserved(network)
  local list = {}
  for name in spaces.sh("ls -A %s 2>/dev/null", self.networks .. "/" .. (network or "testnet")):gmatch("[^\n]+") do
    if name:find("^[%x:]+[.:][%x.:]*$") then
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return list
end

-- The names of the links of pods on the node, sorted.
function node:links()
  local list = {}
  for line in (self.space:sh "ip -o link show group 78; ip -o link show group 79"):gmatch("[^\n]+") do
    list[#list + 1] = line:match("^%d+: ([^:@]+)")
  end
  table.sort(list)
  return list
end

-- The journals, sorted: "testnet/web@naivebridge@eth0".
function node:journals()
  local list = {}
  for path in spaces.sh("find %s -type f 2>/dev/null", self.state .. "/attachments"):gmatch("[^\n]+") do
    list[#list + 1] = path:match("attachments/(.*)$")
  end
  table.sort(list)
  return list
end

function node:journal(name)
  return self.state .. "/attachments/testnet/" .. name .. "@naivebridge@eth0"
end

-- Rewrites the first line of a journal: change(head) may edit it or return another text.
function node.rewrite(path, change)
  local file = assert(io.open(path))
  local line, rest = file:read "L", file:read "a"
  file:close()
  local head = core.json.decode(line)
  local text = change(head) or core.json.encode(head) .. "\n"
  file = assert(io.open(path, "w"))
  file:write(text, rest)
  file:close()
end

-- Makes the attachment of a pod as old as this many seconds.
function node:age(name, seconds)
  node.rewrite(self:journal(name), function(head) head.time = head.time - seconds end)
end

return node
