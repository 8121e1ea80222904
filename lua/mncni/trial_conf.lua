-- SPDX-License-Identifier: Apache-2.0
-- The network configuration that `mncni try` gives a policy: the user's, or one that makes sense for it. Its network has a
-- name of its own and keeps addresses in a directory of its own, so that nothing of a real network's is touched.

local core = require "mncni.core"
local contains = require "mncni.contains"

local trial_conf = {}

trial_conf.NETWORK = "mncni-try"

local LARGEST = 1 << 20

-- What a runtime that has the capability would be asked for.
local RUNTIME = {
  portMappings = { { hostPort = 8080, containerPort = 80, protocol = "tcp" } },
  bandwidth = { ingressRate = 8000000, ingressBurst = 800000, egressRate = 8000000, egressBurst = 800000 },
}

local function fail(object, message, ...)
  error(core.error { object = object, code = 7, message = message:format(...) }, 0)
end

-- Reads a file with a network configuration, or a list of them. Returns a list. Raises what is wrong with it, and where.
local function read(path)
  local ok, conf = pcall(core.json.decode, core.file.read(path, LARGEST))
  if not ok then
    fail(path, "it is no network configuration: %s", conf.message or tostring(conf))
  elseif type(conf) ~= "table" or core.json.is_array(conf) or conf.plugins and type(conf.plugins) ~= "table" then
    fail(path, "it is no network configuration: that is an object, with \"plugins\" where it is a list of them")
  end
  for i, plugin in ipairs(conf.plugins or {}) do
    if type(plugin) ~= "table" or type(plugin.type) ~= "string" then
      fail(path, "plugins[%d] has no \"type\"", i)
    end
  end
  return conf.plugins and conf or { cniVersion = conf.cniVersion, plugins = { conf } }
end

-- Pods are on the node's own link, as with macvlan, or in a range of their own.
local function ranges(shape, on_link)
  local list = core.json.array {}
  for _, family in ipairs { "inet", "inet6" } do
    local has = shape.families[family]
    if has and on_link then
      table.insert(list, core.json.array { {
        subnet = tostring(core.cidr(has.address).network), gateway = has.gateway:find "^fe80:" and nil or has.gateway,
        rangeStart = core.cidr(has.address):next().address,
      } })
    elseif has then
      table.insert(list, core.json.array { { subnet = family == "inet" and "10.244.1.0/24" or "fd00:10:244:1::/64" } })
    end
  end
  return list
end

-- What most people set, where the policy has it.
local USUAL = { isDefaultGateway = true, ipMasq = true }

local function default(named, told, shape)
  local routes = core.json.array { shape.families.inet and { dst = "0.0.0.0/0" } }
  routes[#routes + 1] = shape.families.inet6 and { dst = "::/0" }
  local ipam = { type = "host-local", ranges = ranges(shape, contains(told.options, "master")), routes = routes }
  local own = {}
  for key, value in pairs(USUAL) do
    own[key] = contains(told.options, key) and value or nil
  end
  if contains(told.hooks, "lease") and not contains(told.hooks, "add") then
    ipam.type = named.name
    if not contains(told.options, "ranges") then
      ipam.ranges, ipam.routes = nil, nil
    end
    return { plugins = { { ipam = ipam } } }
  elseif told.chained then
    own.capabilities = { portMappings = true, bandwidth = true }
    return { plugins = { { type = "naivebridge", ipam = ipam }, own } }
  end
  own.ipam = ipam
  return { plugins = { own } }
end

-- Which plugin of the list the policy is.
local function mine(list, named, path)
  for _, plugin in ipairs(list.plugins) do
    if plugin.type == named.name or plugin.type == "mncni" and plugin.policy == named.name then
      return plugin
    end
  end
  if #list.plugins == 1 then
    return list.plugins[1]
  end
  fail(path, "none of its plugins has the type %q, or the type \"mncni\" and the policy %q", named.name, named.name)
end

-- A value of the command line: JSON, else a string.
local function value_of(text)
  local ok, value = pcall(core.json.decode, text)
  if ok then
    return value
  end
  return text
end

-- new{ named, told (mncni.inspect), path (of the user's, or nil), shape (mncni.scratch), directory, sets } returns
-- { cniVersion, name, plugins }, where each plugin is a configuration whose type is what it is called by.
function trial_conf.new(args)
  local list = args.path and read(args.path) or default(args.named, args.told, args.shape)
  local own = mine(args.path and list or { plugins = { list.plugins[#list.plugins] } }, args.named, args.path)
  own.type = args.named.name
  for _, set in ipairs(args.sets or {}) do
    local name, text = set:match "^([^=]+)=(.*)$"
    own[name] = value_of(text)
  end
  for _, plugin in ipairs(list.plugins) do
    if plugin.type == "mncni" and type(plugin.policy) == "string" then
      plugin.type = plugin.policy
    end
    plugin.policy = plugin.type
    if type(plugin.ipam) == "table" and plugin.ipam.type then
      plugin.ipam.dataDir = args.directory .. "/networks"
    end
    if plugin.dataDir or plugin == own and contains(args.told.options, "dataDir") then
      plugin.dataDir = args.directory .. "/" .. plugin.type
    end
    local runtime = {}
    for capability in pairs(type(plugin.capabilities) == "table" and plugin.capabilities or {}) do
      runtime[capability] = RUNTIME[capability]
    end
    plugin.runtimeConfig = plugin.runtimeConfig or next(runtime) and runtime or nil
  end
  return { cniVersion = list.cniVersion or "1.0.0", name = trial_conf.NETWORK, plugins = list.plugins }
end

return trial_conf
