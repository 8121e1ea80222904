-- SPDX-License-Identifier: Apache-2.0
-- A node with pods and the plugin on it, as a runtime drives it: namespaces, a state directory, and the configuration
-- of a naivebridge network.
--
--   local node = plugin.node { pods = { "web", "db" } }
--   local result = node:add { container = "web", conf = { ipMasq = false } }
--   assert.is_nil(node:check({ container = "web" }, result)); node:must("DEL", { container = "web" }); node:close()

local core = require "mncni.core"
local spaces = require "spec.support.netns"

local plugin = {}

local Node = {}
Node.__index = Node

local bin = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"

-- node{ pods = names, subnets = CIDRs (one address of each for a pod) }
function plugin.node(args)
  local scratch = spaces.must "mktemp -d"
  spaces.must("mkdir -p %s/bin %s/policies", scratch, scratch)
  for _, name in ipairs { "mncni", "naivebridge", "host-local" } do
    spaces.must("ln -s $(realpath %s) %s/bin/%s", bin, scratch, name)
  end
  local self = setmetatable({ scratch = scratch, subnets = args.subnets or { "10.244.1.0/24" }, pods = {} }, Node)
  self.space = spaces.new "node"
  for _, name in ipairs(args.pods) do
    self.pods[name] = spaces.new(name)
  end
  return self
end

-- Runs the plugin inside the node. args: container (a pod's name), conf (what differs from the usual), policy (name of
-- one of the node's own). Returns what core.exec returns, with json.
function Node:run(command, args)
  local conf = {
    cniVersion = "1.1.0", name = "testnet", type = args.policy and "mncni" or "naivebridge", policy = args.policy,
    ipam = { type = "host-local", dataDir = self.scratch .. "/networks", ranges = {} },
  }
  for i, subnet in ipairs(self.subnets) do
    conf.ipam.ranges[i] = { { subnet = subnet } }
  end
  for key, value in pairs(args.conf or {}) do
    conf[key] = value
  end
  local out = self.space:run(core.exec, {
    argv = { self.scratch .. "/bin/" .. conf.type }, stdin = core.json.encode(conf), timeout = 20000,
    env = {
      CNI_COMMAND = command, CNI_CONTAINERID = args.container, CNI_NETNS = "/run/netns/" .. args.container,
      CNI_IFNAME = "eth0", CNI_PATH = self.scratch .. "/bin", PATH = os.getenv "PATH",
      MNCNI_STATE_DIR = self.scratch .. "/state", MNCNI_POLICY_PATH = self.scratch .. "/policies",
    },
  })
  local parsed, document = pcall(core.json.decode, out.stdout)
  out.json = parsed and document or nil
  return out
end

-- Runs the plugin and returns its answer; a failure is an error.
function Node:must(command, args)
  local out = self:run(command, args)
  if out.status ~= 0 then
    error(("%s %s: %s%s"):format(command, args.container, out.stdout, out.stderr), 2)
  end
  return out.json
end

-- ADD. Returns the result, and { port = the host's end, mac, address, address6 = the pod's }.
function Node:add(args)
  local result = self:must("ADD", args)
  return result, {
    port = result.interfaces[2].name, mac = result.interfaces[3].mac, address = result.ips[1].address:match "^[^/]+",
    address6 = result.ips[2] and result.ips[2].address:match "^[^/]+",
  }
end

-- CHECK. Returns its message, nil when it passes, and the whole error.
function Node:check(args, result)
  local conf = { prevResult = result }
  for key, value in pairs(args.conf or {}) do
    conf[key] = value
  end
  local out = self:run("CHECK", { container = args.container, policy = args.policy, conf = conf })
  return out.status ~= 0 and (out.json and out.json.msg or out.stdout .. out.stderr) or nil, out.json
end

-- A policy of the node's own, by its text.
function Node:policy(name, text)
  local file <close> = assert(io.open(("%s/policies/%s.lua"):format(self.scratch, name), "w"))
  file:write(text)
end

function Node:sh(...)
  return (self.space:sh(...))
end

function Node:close()
  spaces.cleanup()
  spaces.must("rm -rf %s", self.scratch)
end

return plugin
