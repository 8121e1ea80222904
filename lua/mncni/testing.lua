-- SPDX-License-Identifier: Apache-2.0
-- A kit for specs of policies: a scratch node with pods on it, and a scratch cluster with peers, both of tables. No root
-- and no kernel are needed; what the kernel would refuse is refused (mncni.recorded).
--
--   local testing = require "mncni.testing"
--   local node <close> = testing.node { subnets = { "10.244.1.0/24" } }
--   local web = node:pod "web"
--   local result = node:add("policies/mynet.lua", web, { bridge = "cbr0" })
--   assert.same("10.244.1.2/24", result.ips[1].address)
--   assert.same("cbr0", node.host.link.get { ifname = web.host_ifname }.master)
--   print(table.concat(node.lines(), "\n"))       --> ip link add ...
--
--   local want = testing.desired("routes", testing.world { peers = 2 })

local core = require "mncni.core"
local attachment = require "mncni.attachment"
local policies = require "mncni.policy"
local raised = require "mncni.raised"
local recorded = require "mncni.recorded"
local suggestion = require("mncni.declaration").suggestion
local sorted_keys = require "mncni.keys"

local testing = {}

-- Where the policies are that a binary would carry: of the source tree, or as `make install` puts them.
local function shipped(name)
  local here = package.searchpath("mncni.testing", package.path) or ""
  local base = here:match "^(.*)mncni/testing%.lua$" or ""
  for _, directory in ipairs { base .. "../policies/", base .. "../../mncni/policies/" } do
    local file <close> = io.open(directory .. name .. ".lua")
    if file then
      return file:read "a", directory .. name .. ".lua"
    end
  end
end

local function name_of(policy)
  return type(policy) == "string" and policy:match "([^/]+)$":gsub("%.lua$", "") or "policy"
end

-- mncni.policy.get, that also finds what is shipped, and takes paths of files.
local function get(name)
  local text, path
  if name:find "[/.]" then
    local file <close> = assert(io.open(name))
    text, path = file:read "a", name
  else
    text, path = core.policy.read(name)
    if not text then
      text, path = shipped(name)
    end
  end
  return text and require("mncni.policy_file").load(name_of(name), text, path)
end

-- Calls fn while policies are found as above.
local function within(fn, ...)
  local original <const> = policies.get
  local _ <close> = setmetatable({}, { __close = function() policies.get = original end })
  policies.get = function(name) return get(name) or original(name) end
  return fn(...)
end

-- The hooks of a policy: a path of a file, a name as a configuration has it, or a table of hooks. Raises what loading it
-- raises for a user.
function testing.load(policy)
  if type(policy) == "table" then
    return policy
  end
  return within(policies.load, policy)
end

local function check(what, given, known)
  for key in pairs(given) do
    if known[key] == nil then
      error(("%s: unknown key %q%s"):format(what, key, suggestion(tostring(key), sorted_keys(known))), 3)
    end
  end
end

local DEFAULTS = { ipv4 = { "rp_filter", "route_localnet", "arp_notify", "forwarding", "proxy_arp", "accept_redirects",
  "send_redirects", "arp_filter" }, ipv6 = { "accept_ra", "accept_dad", "keep_addr_on_down", "accept_redirects",
  "autoconf", "disable_ipv6", "forwarding", "addr_gen_mode", "dad_transmits", "proxy_ndp" } }

-- The settings that every namespace of a real kernel has, as far as policies look at them.
local function sysctls()
  local map = { ["net/ipv4/ip_forward"] = 0, ["net/ipv6/conf/all/forwarding"] = 0 }
  for family, keys in pairs(DEFAULTS) do
    for _, key in ipairs(keys) do
      for _, which in ipairs { "all", "default" } do
        map[("net/%s/conf/%s/%s"):format(family, which, key)] = 0
      end
    end
  end
  return map
end

local Node = {}
Node.__index = Node

local node_keys = {
  name = 1, subnets = 1, links = 1, addresses = 1, routes = 1, rules = 1, neighbours = 1, sysctls = 1, nft = 1,
}

-- node{ name, subnets, links, addresses, routes, rules, neighbours, sysctls, nft } makes a node, all of it optional: a
-- link eth0 with addresses and default routes of both families, unless links are given (mncni.recorded_fixture tells
-- their form). subnets are what pods have addresses of, 10.244.1.0/24 unless given. Its fields:
--   host          its net, as mncni.open() returns it        lines()  what was changed, as command lines
--   clear()       forgets these lines                        run(fn)  calls fn with this node's net as its own
-- It has a directory of its own for addresses, until it is closed.
function testing.node(given)
  given = given or {}
  check("testing.node", given, node_keys)
  local fixture = { sysctls = sysctls() }
  for _, key in ipairs { "iptables", "ip6tables" } do
    fixture.sysctls["net/bridge/bridge-nf-call-" .. key] = 1
  end
  for key, value in pairs(given) do
    if key == "sysctls" then
      for name, setting in pairs(value) do
        fixture.sysctls[name] = setting
      end
    elseif key ~= "name" and key ~= "subnets" then
      fixture[key] = value
    end
  end
  if not given.links then
    fixture.links = { { ifname = "eth0", address = "52:54:00:12:34:56", up = true } }
    fixture.addresses = given.addresses or { { dev = "eth0", address = "192.0.2.10/24" },
      { dev = "eth0", address = "2001:db8::10/64" } }
    fixture.routes = given.routes or { { dst = "default", gateway = "192.0.2.1", protocol = "dhcp" },
      { dst = "default", gateway = "2001:db8::1", protocol = "ra" } }
  end
  local world = recorded.new { host = fixture }
  return setmetatable({
    name = given.name or "n1", subnets = given.subnets or { "10.244.1.0/24" }, host = world.host, world = world,
    lines = world.lines, clear = world.clear, run = world.run, pods = {},
  }, Node)
end

-- Removes the directory of addresses.
function Node:close()
  if self.directory then
    os.execute("rm -rf " .. self.directory)
    self.directory = nil
  end
end
Node.__close, Node.__gc = Node.close, Node.close

local pod_keys = { name = 1, namespace = 1, ifname = 1, annotations = 1, args = 1 }

-- A pod of the node's, a namespace with nothing but lo in it: by its name, or { name, namespace, ifname, annotations,
-- args (CNI_ARGS) }. Its fields are these, and net, host_ifname (of its veth on the node), and result once it was added.
function Node:pod(given)
  given = type(given) == "string" and { name = given } or given
  check("node:pod", given, pod_keys)
  if self.pods[given.name] then
    return self.pods[given.name]
  end
  local ifname, args = given.ifname or "eth0", { K8S_POD_NAME = given.name, K8S_POD_NAMESPACE = given.namespace }
  for key, value in pairs(given.args or {}) do
    args[key] = value
  end
  local netns = self.world.add(given.name, { sysctls = sysctls() })
  local pod = {
    name = given.name, namespace = given.namespace, ifname = ifname, annotations = given.annotations or {}, args = args,
    netns = netns, net = self.world.namespaces[given.name],
    host_ifname = (require("mncni.pod").host_ifname(given.name, ifname)),
  }
  self.pods[given.name] = pod
  return pod
end

-- Addresses are files, as host-local has them: those of this node lie in a directory of its own.
local function ipam_of(node, ipam)
  if ipam == nil then
    ipam = { type = "host-local", ranges = {} }
    for i, subnet in ipairs(node.subnets) do
      ipam.ranges[i] = { { subnet = subnet } }
    end
  end
  if type(ipam) ~= "table" or ipam.dataDir then
    return ipam
  end
  local own = {}
  for key, value in pairs(ipam) do
    own[key] = value
  end
  if not node.directory then
    node.directory = os.tmpname()
    os.remove(node.directory)
  end
  own.dataDir = node.directory
  return own
end

-- The call of the plugin, as mncni.cni makes it of the environment and the configuration.
local function call_of(node, name, policy, pod, conf)
  local config = { cniVersion = "1.1.0", name = "pods", type = name }
  for key, value in pairs(conf or {}) do
    config[key] = value
  end
  if not policy.chained and config.ipam ~= false then
    config.ipam = ipam_of(node, config.ipam)
  end
  return {
    command = "ADD", container = pod.name, network = config.name, ifname = pod.ifname,
    netns = "/run/netns/" .. pod.name, netns_handle = pod.netns, args = pod.args, annotations = pod.annotations,
    config = config, version = config.cniVersion, policy = name, type = name, ignored = {},
    prev_result = policy.chained and (config.prevResult or pod.result) or nil,
  }
end

-- ADD: has the policy (as testing.load takes it) wire the pod, with the keys of a plugin's configuration. ipam, unless
-- it is given, is host-local over the node's subnets; a chained policy goes on from what was added before. Returns the
-- result in the form of cniVersion 1.1.0; raises what a runtime would be told.
function Node:add(policy, pod, conf)
  local hooks = testing.load(policy)
  local call = call_of(self, name_of(policy), hooks, pod, conf)
  local ok, result = raised.catch(within, self.run, function()
    local add = require "mncni.verb.add"
    add.check(call, hooks)
    local host, inside = self.world.open(), self.world.open(pod.netns)
    local context = require("mncni.steps").new {
      host = host, pod = inside, netns = { path = call.netns, id = pod.netns:id() },
    }
    local made = add.wire(call, hooks, attachment.checked(call, hooks), context)
    pod.warnings = context.warnings
    return require("mncni.result").check(made)
  end)
  if not ok then
    error(result, 0)
  end
  pod.result = result
  return result
end

-- What an IPAM policy gives the pod: ipam is that section of a configuration.
function Node:lease(ipam, pod)
  local call = call_of(self, "policy", { chained = true }, pod)
  local ok, lease = raised.catch(within, self.run, function()
    local context = require("mncni.steps").new { host = self.world.open() }
    return require("mncni.lease").acquire(call, context, ipam_of(self, ipam))
  end)
  if not ok then
    error(lease, 0)
  end
  return lease
end

-- world{ name, peers, ... } is what desired sees of a cluster: this node and peers on its link, of both families. peers is
-- their number, or a list of what mncni.node.new takes; whatever else is given replaces what there would be.
function testing.world(given)
  return require("mncni.testing_world").new(given or {})
end

-- What an agent's policy desires in a world, its options checked, as the agent would read it. Raises what the agent would
-- refuse.
function testing.desired(policy, world, conf)
  local hooks = testing.load(policy)
  local checked = require("mncni.options").check(hooks.options or {}, conf or {})
  local answer = hooks.desired(world, checked)
  require("mncni.merge").read(name_of(policy), answer, nil, world.nodes ~= nil)
  return answer
end

return testing
