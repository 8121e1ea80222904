-- SPDX-License-Identifier: Apache-2.0
-- What a policy may use, as mncni.lint looks it up: modules and Lua's libraries are looked at themselves, what hooks are
-- given and what calls return are classes { name, has = name -> class, true (anything) or { returns = class } }.

local core = require "mncni.core"
local mncni = require "mncni"
local net = require "mncni.net"
local steps = require "mncni.steps"

local api = {}

local function words(text)
  local has = {}
  for word in text:gmatch "%S+" do
    has[word] = true
  end
  return has
end

local function class(name, ...)
  local has = {}
  for _, part in ipairs { ... } do
    for key, value in pairs(part) do
      if type(key) == "string" and not key:find "^_" then
        has[key] = type(value) == "function" or value
      elseif math.type(key) == "integer" then
        has[value] = true
      end
    end
  end
  return { name = name, has = has }
end

local function families(name, list, verbs_of)
  local has = {}
  for family, verbs in pairs(list) do
    has[family] = class(name .. "." .. family, verbs_of(family, verbs))
  end
  return has
end

local opened = class("a net", words "socket here batch monitor close netns name conntrack",
  families("net", net.families.route, function(_, verbs) return verbs end),
  { sysctl = class("net.sysctl", words "get set batch") })
opened.has.nft = class("net.nft", words "batch add del get list", families("nft", net.families.netfilter,
  function(_, verbs) return verbs end))

local function recorder(name)
  local both = {}
  for _, verbs in ipairs(steps.verbs) do
    for verb in pairs(verbs) do
      both[#both + 1] = verb
    end
  end
  return class(name, families(name, steps.families, function() return both end),
    { sysctl = class(name .. ".sysctl", words "get set") })
end

local classes = mncni.pod._classes
local eth = class("what pod:veth returns", classes.eth, words "ifname host_ifname host_mac mac mtu kind")
local pod = class("pod", classes.pod, words [[container ifname network netns args annotations runtime config prev_result
  name namespace]], { inside = recorder "pod.inside", host = recorder "pod.host" })
for _, method in ipairs { "veth", "link", "tap", "device" } do
  pod.has[method] = { returns = eth }
end
pod.has.lease = { returns = class("a lease", classes.lease, words "addresses routes dns gateways subnets") }

local request = class("request", words [[network container ifname args annotations wanted args_ips runtime_ips ranges
  journal collect]])
local world = class("world", words [[node peers reach underlay gateway fabric advertised ready policies desired nodes
  now promised released state]])

-- What the function returns that an API function is: api.returns[mncni.open].
api.returns = { [mncni.open] = opened }

local CONF = words "network ipam dns args runtimeConfig version"

-- The class of a hook's parameter; nil where nothing is known of it. options are those that the policy declares.
function api.parameter(hook, index, options)
  local conf = class("conf", CONF, options or {})
  for name in pairs(conf.has) do
    conf.has[name] = true
  end
  conf.is_conf = true
  local given = {
    add = { pod, conf }, lease = { request, conf }, release = { request, conf }, check = { nil, conf },
    del = { nil, conf }, desired = { world, conf }, status = { conf }, gc = { nil, conf },
  }
  return given[hook] and given[hook][index]
end

-- The names that a table or a class has.
function api.names(of)
  local names, seen = {}, {}
  local function add(has)
    for name in pairs(has or {}) do
      if type(name) == "string" and not name:find "^_" and not seen[name] then
        seen[name], names[#names + 1] = true, name
      end
    end
  end
  local meta = not of.has and getmetatable(of)
  add(of.has or of)
  add(meta and meta.parts)
  add(meta and type(meta.__index) == "table" and meta.__index)
  table.sort(names)
  return names
end

-- What to say behind a name that something does not have.
function api.hint(name, names)
  local near = core.nearest(name, names)
  return near and ('; did you mean "%s"?'):format(near) or #names <= 12 and "; there are " .. table.concat(names, ", ")
    or ""
end

return api
