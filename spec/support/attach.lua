-- SPDX-License-Identifier: Apache-2.0
-- A node of the spec's own with pods, to which plugins are attached, ours and Debian's.
--
--   local node = attach.node { plugins = { "bridge" } }    -- node.space, node.host (a net), node.scratch
--   node:pod "web"                                         -- a namespace, made when first asked for
--   local out = node:run("ADD", { pod = "web", conf = { ... } })
--   local result = node:add { pod = "web", conf = { ... } }
--   node:close()

local cni = require "spec.support.cni"
local core = require "mncni.core"
local mncni = require "mncni"
local spaces = require "spec.support.netns"

local attach = {}

local bin = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"

attach.REFERENCE = "/usr/lib/cni"

local Node = {}
Node.__index = Node

-- node{ plugins = names of links to the binary, name = of the namespace (default "node") }
function attach.node(args)
  local node = setmetatable({
    scratch = spaces.must "mktemp -d", space = spaces.new(args.name or "node"), pods = {},
  }, Node)
  spaces.must("mkdir %s/bin %s/policies", node.scratch, node.scratch)
  cni.link_plugins(bin, node.scratch .. "/bin", { "mncni", "host-local", table.unpack(args.plugins or {}) })
  node.host = mncni.open(node.space.ns)
  return node
end

function Node:close()
  self.host:close()
  for _, pod in pairs(self.pods) do
    pod:close()
  end
  self.space:close()
  spaces.must("rm -rf %s", self.scratch)
end

-- The namespace of a pod, made when it is first asked for.
function Node:pod(name)
  self.pods[name] = self.pods[name] or spaces.new(name)
  return self.pods[name]
end

-- A pod's namespace goes, and the next one of its name is another.
function Node:end_pod(name)
  self.pods[name]:close()
  self.pods[name] = nil
end

-- Runs a plugin inside the node: args are conf (its configuration; name, cniVersion and an empty type are filled in), pod
-- (a name, also the container's; default "web"), netns (a path, "" for none), ifname, args (CNI_ARGS), bin (the program,
-- default the one of conf.type in the node's own directory), path (CNI_PATH), container. Returns what core.exec does, with
-- json, the document on stdout.
function Node:run(command, args)
  args = args or {}
  local conf = { cniVersion = "1.1.0", name = "testnet" }
  for key, value in pairs(args.conf or {}) do
    conf[key] = value
  end
  if type(conf.ipam) == "table" and conf.ipam.type == "host-local" then
    local ipam = { dataDir = self.scratch .. "/networks" }
    for key, value in pairs(conf.ipam) do
      ipam[key] = value
    end
    conf.ipam = ipam
  end
  local name = args.pod or "web"
  local out = self.space:run(core.exec, {
    argv = { args.bin or ("%s/bin/%s"):format(self.scratch, conf.type) },
    env = {
      CNI_COMMAND = command, CNI_CONTAINERID = args.container or name, CNI_IFNAME = args.ifname or "eth0",
      CNI_NETNS = args.netns or self:pod(name).path, CNI_ARGS = args.args,
      CNI_PATH = args.path or (self.scratch .. "/bin:" .. attach.REFERENCE), PATH = os.getenv "PATH",
      MNCNI_STATE_DIR = self.scratch .. "/state", MNCNI_POLICY_PATH = self.scratch .. "/policies",
    },
    stdin = core.json.encode(conf), timeout = 60000,
  })
  local parsed, document = pcall(core.json.decode, out.stdout)
  out.json = parsed and document or nil
  return out
end

-- The same of a call that must succeed: ADD unless another is named. Returns its document.
function Node:add(args)
  return self:must("ADD", args)
end

function Node:must(command, args)
  local out = self:run(command, args)
  if out.status ~= 0 then
    error(("%s: status %s: %s%s"):format(command, out.status, out.stdout, out.stderr), 2)
  end
  return out.json
end

-- The error document of an ADD that must fail, and leaves nothing in the pod.
function Node:refused(args)
  local out = self:run("ADD", args)
  if out.status == 0 or not (out.json and out.json.code) then
    error(("it was not refused: status %s: %s%s"):format(out.status, out.stdout, out.stderr), 2)
  end
  return out.json
end

-- Shell commands in the node.
function Node:sh(...) return (self.space:sh(...)) end
function Node:must_sh(...) return self.space:must(...) end

-- Names of the node's links, sorted, but for lo.
function Node:links()
  local list = {}
  for link in self.host.link.list {} do
    if link.ifname ~= "lo" then
      list[#list + 1] = link.ifname
    end
  end
  table.sort(list)
  return list
end

-- Names of the addresses that host-local has reserved for a network.
function Node:reserved(network)
  local list = {}
  local names = spaces.sh("ls -A %s/networks/" .. (network or "testnet") .. " 2>/dev/null", self.scratch)
  for name in names:gmatch "[^\n]+" do
    list[#list + 1] = name:match "^[%da-f.:]+$"
  end
  table.sort(list)
  return list
end

-- Files in the state directory that are about attachments.
function Node:journals()
  return (spaces.sh("find %s -type f 2>/dev/null", self.scratch .. "/state/attachments"))
end

-- Whether an address answers a pod's ping, waiting some seconds for the first answer.
function Node:pings(pod, address, options)
  local _, status = self:pod(pod):sh(("ping %s -c 1 -W %d %%s"):format(options or "", 5), address)
  return status == 0
end

-- The opposite, for what must not get through: one second is enough where nothing comes.
function Node:is_cut_off(pod, address)
  local _, status = self:pod(pod):sh("ping -c 2 -i 0.3 -W 1 %s", address)
  return status ~= 0
end

return attach
