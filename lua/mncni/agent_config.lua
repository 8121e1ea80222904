-- SPDX-License-Identifier: Apache-2.0
-- What mncni-agent was asked for: its command line, and its configuration file, which is a Lua table:
--
--   return {
--     nodes = "kubernetes",
--     policies = { { name = "routes", mode = "auto" }, "masquerade" },
--   }

local core = require "mncni.core"
local options = require "mncni.options"

local config = {}

local WRONG = 7
local MAX_FILE = 1 << 20

config.HELP = [[
mncni-agent --node NAME [--nodes kubernetes|file:PATH] --policy NAME... [OPTION...]: keeps the routes, masquerading and
CNI configuration of this node as policies say, following the nodes of the cluster.

  --config FILE             a Lua table of what follows: return { nodes = "kubernetes", policies = { "routes" } }
  --node NAME               this node's name in the cluster (default $NODE_NAME)
  --nodes kubernetes        follow the API's nodes (default)
  --nodes file:PATH         follow a list as `kubectl get nodes -o json` prints it
  --policy NAME             a policy to run; may be repeated, and replaces the file's list
  --set NAME.OPTION=VALUE   an option of a policy; may be repeated
  --kubeconfig FILE         how to reach the API outside of a pod
  --server URL              the API's address, whatever the kubeconfig or the pod's environment say
  --configmap NAMESPACE/NAME  policies that the cluster gives: a ConfigMap, which is followed
  --metrics ADDRESS:PORT    serve /healthz, /readyz and /metrics
  --controller              belong to no node: give nodes what policies (nodeipam) say, as the leader of all that run
  --lease NAMESPACE/NAME    of a controller: what they elect the leader by
  --once                    make it so once, and end: 0 when everything stands
  --dry-run                 print what would be changed, as lines of ip, nft and kubectl, and change nothing
  --help, --version

SIGHUP, a change of the configuration file or of a policy: reads all of them anew, and goes on as before if anything is
wrong with them.]]

-- What the file may have, and the command line beside it.
config.options = {
  node = { type = "string", min = 1, doc = "this node's name in the cluster" },
  nodes = { type = "string", default = "kubernetes", doc = "where nodes come from: kubernetes, or file:PATH" },
  policies = { type = "list", doc = "policies to run, in order: names, or { name = , OPTION = VALUE, ... }" },
  kubernetes = {
    type = "table", doc = "how to reach the API",
    fields = {
      kubeconfig = { type = "string", doc = "path of a kubeconfig; in a pod none is needed" },
      context = { type = "string", doc = "which of its contexts; the current one unless set" },
      server = { type = "string", doc = "the API's address instead" },
    },
  },
  configmap = { type = "string", doc = "NAMESPACE/NAME of a ConfigMap with policies, which the agent follows" },
  metrics = { type = "string", doc = "ADDRESS:PORT to serve /healthz, /readyz and /metrics on" },
  controller = { type = "boolean", default = false, doc = "belong to no node, and give nodes what policies say" },
  leader = {
    type = "table", doc = "of a controller: how the one that leads is found",
    fields = {
      namespace = { type = "string", min = 1, doc = "of the Lease; the pod's, else kube-system" },
      name = { type = "string", min = 1, doc = "of the Lease; mncni- and the first policy's name" },
      lease_duration = { type = "integer", min = 1, max = 3600, doc = "seconds until a silent leader is replaced, 15" },
      renew_deadline = { type = "number", min = 0.1, max = 3600, doc = "seconds without renewal until it stops, 10" },
      retry_period = { type = "number", min = 0.1, max = 3600, doc = "seconds between two tries, 2" },
    },
  },
  resync = { type = "integer", default = 300, min = 5, max = 86400, doc = "seconds between two looks at everything" },
}

local function fail(object, message, ...)
  error(core.error {
    object = object, code = WRONG, message = select("#", ...) > 0 and message:format(...) or message,
  }, 0)
end

-- Word -> "value", "list" or "flag".
local words_known = {
  config = "value", node = "value", nodes = "value", policy = "list", set = "list", kubeconfig = "value",
  server = "value", configmap = "value", metrics = "value", controller = "flag", lease = "value", once = "flag",
  ["dry-run"] = "flag", help = "flag", version = "flag",
}

local function read_words(words)
  local given, i = { policy = {}, set = {} }, 1
  while i <= #words do
    local name, equals, value = words[i]:match "^%-%-([^=]+)(=?)(.*)$"
    local sort = name and words_known[name]
    if not sort then
      local names = require("mncni.keys")(words_known)
      fail("command line", "%q is no option%s", words[i],
        require("mncni.declaration").suggestion(name or words[i], names))
    elseif sort == "flag" and equals == "=" then
      fail("command line", "--%s takes no value", name)
    elseif sort ~= "flag" and equals ~= "=" then
      i = i + 1
      value = words[i]
      if not value then
        fail("command line", "--%s needs a value", name)
      end
    end
    if sort == "list" then
      table.insert(given[name], value)
    elseif sort == "flag" then
      given[name] = true
    else
      given[name] = value
    end
    i = i + 1
  end
  return given
end

-- The table that a configuration file returns. It is Lua without anything but its own syntax.
local function read_file(path)
  local text = core.file.trusted(path, MAX_FILE)
  if not text then
    fail(path, "there is no such file; see mncni-agent --help for what it is to have")
  end
  local chunk, message = load(text, "@" .. path, "t", {})
  local ok, result
  if chunk then
    ok, result = pcall(chunk)
    message = not ok and tostring(result) or nil
  end
  if message then
    fail(path, "%s", message:gsub("^" .. path:gsub("%p", "%%%0") .. ":", "line "))
  elseif type(result) ~= "table" then
    fail(path, "it returns a %s and not a table; does it begin with \"return {\"?", type(result))
  end
  return result
end

-- The policies of the file as { name, given }, in order.
local function listed(path, list)
  local policies, seen = {}, {}
  for i, item in ipairs(list) do
    local name, given = item, {}
    if type(item) == "table" then
      name = item.name
      for key, value in pairs(item) do
        if key ~= "name" then
          given[key] = value
        end
      end
    end
    if type(name) ~= "string" then
      fail(path, "policies[%d]: expected the name of a policy, or { name = \"routes\", ... }", i)
    elseif seen[name] then
      fail(path, "policies[%d]: %q is there twice", i, name)
    end
    seen[name] = true
    policies[i] = { name = name, given = given, where = next(given) and path or nil }
  end
  return policies
end

-- Applies --set NAME.OPTION=VALUE to the policies; what an option may be is only known once the policy is loaded.
local function note_sets(policies, sets)
  for _, text in ipairs(sets) do
    local name, rest = text:match "^([^.=]+)%.(.+)$"
    local found
    for _, policy in ipairs(policies) do
      found = policy.name == name and policy or found
    end
    if not name or not rest:find("=", 1, true) then
      fail("--set", "expected NAME.OPTION=VALUE, got %q", text)
    elseif not found then
      local names = {}
      for i, policy in ipairs(policies) do
        names[i] = policy.name
      end
      fail("--set " .. text, "%q is not among the policies to run%s", name,
        require("mncni.declaration").suggestion(name, names))
    end
    found.sets = found.sets or {}
    table.insert(found.sets, rest)
  end
end

local function check_nodes(where, text)
  local path = text:match "^file:(.+)$"
  if text ~= "kubernetes" and not path then
    fail(where, "nodes: expected kubernetes or file:PATH, got %q", text)
  end
  return path
end

-- Which node this is.
local function node_of(where, given, conf)
  local node = given.node or conf.node or os.getenv "NODE_NAME"
  if (node or "") == "" then
    fail(where, "which node is this? give --node NAME, or set NODE_NAME (in a pod: spec.nodeName)")
  end
  return node
end

-- The namespace of the pod that this runs in, if it does.
local function own_namespace()
  local file <close> = io.open "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
  return file and file:read "l"
end

-- How a controller's leader is found, in ms.
local function leader_of(where, given, conf, policies)
  local lease = conf.leader or {}
  local namespace, name = lease.namespace, lease.name
  if given.lease then
    namespace, name = given.lease:match "^([^/]+)/([^/]+)$"
    if not name then
      fail("--lease", "expected NAMESPACE/NAME, got %q", given.lease)
    end
  end
  local duration, deadline, retry = lease.lease_duration or 15, lease.renew_deadline or 10, lease.retry_period or 2
  if duration <= deadline or deadline * 10 <= retry * 12 then
    fail(where, "leader: lease_duration (%s s) has to be more than renew_deadline (%s s), and that more than 1.2 times "
      .. "retry_period (%s s)", duration, deadline, retry)
  end
  return {
    namespace = namespace or own_namespace() or "kube-system", name = name or "mncni-" .. policies[1].name,
    lease_duration = duration * 1000, renew_deadline = deadline * 1000 // 1 | 0, retry_period = retry * 1000 // 1 | 0,
  }
end

-- What a controller cannot be given, and the agent of a node neither.
local function check_mode(where, result, given, conf)
  if not result.controller and (given.lease or conf.leader) then
    fail(where, "%s is for --controller", given.lease and "--lease" or "leader")
  elseif result.controller and (given.node or conf.node) then
    fail(where, "a controller belongs to no node; leave out %s", given.node and "--node" or "node")
  elseif result.controller and result.nodes_file and not result.dry_run then
    fail(where, "a controller writes to the API, so nodes from a file are for --dry-run alone")
  elseif result.controller and result.configmap and (result.once or result.dry_run) then
    fail(where, "--once and --dry-run of a controller know nothing of a configmap; leave it out")
  end
end

-- read(words) returns what is to be done: { node, nodes_file = path or nil, kubernetes, policies = { { name, given, sets }
-- }, metrics = { address, port } or nil, resync, once, dry_run, files = paths to follow, controller, leader = { namespace,
-- name, lease_duration, renew_deadline, retry_period in ms } or nil: a controller has no node } or { help = true },
-- { version = true }. Raises (code 7) what is wrong, and where.
function config.read(words)
  local given = read_words(words)
  if given.help or given.version then
    return { help = given.help, version = given.version }
  end
  local path = given.config
  local file = path and read_file(path) or {}
  local conf = options.check(config.options, file, { what = path or "mncni-agent" })
  local where = path or "command line"
  local result = {
    controller = given.controller or conf.controller, kubernetes = conf.kubernetes or {},
    configmap = given.configmap or conf.configmap, resync = conf.resync * 1000, once = given.once,
    dry_run = given["dry-run"],
    policies = listed(where, conf.policies or {}), files = { path },
  }
  result.nodes_file = check_nodes(where, given.nodes or conf.nodes)
  if result.configmap and result.nodes_file then
    fail(where, "configmap: it comes from the API, and nodes from a file here; leave one of the two out")
  end
  check_mode(where, result, given, conf)
  if not result.controller then
    result.node = node_of(where, given, conf)
  end
  if #given.policy > 0 then
    local before = result.policies
    result.policies = listed("command line", given.policy)
    for _, policy in ipairs(result.policies) do
      for _, other in ipairs(before) do
        if other.name == policy.name then
          policy.given, policy.where = other.given, other.where
        end
      end
    end
  end
  if #result.policies == 0 then
    fail(where, "no policies to run; give --policy routes, say, or policies = { \"routes\" } in the file")
  end
  note_sets(result.policies, given.set)
  result.leader = result.controller and leader_of(where, given, conf, result.policies) or nil
  result.kubernetes.kubeconfig = given.kubeconfig or result.kubernetes.kubeconfig
  result.kubernetes.server = given.server or result.kubernetes.server
  local metrics = given.metrics or conf.metrics
  if metrics then
    local address, port = metrics:match "^(.*):(%d+)$"
    port = math.tointeger(tonumber(port or ""))
    if not port or port < 1 or port > 65535 then
      fail(where, "metrics: expected ADDRESS:PORT with a port from 1 to 65535, got %q", metrics)
    end
    result.metrics = { address = address:match "^%[(.*)%]$" or address, port = port }
  end
  return result
end

return config
