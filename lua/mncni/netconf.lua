-- SPDX-License-Identifier: Apache-2.0
-- The network configuration on a CNI plugin's stdin: decoded, the types of the contract's own keys checked, and
-- what the runtime put into runtimeConfig brought into one spelling.

local core = require "mncni.core"
local sorted_keys = require "mncni.keys"

local netconf = {}

-- The capability under which containerd hands over a pod's annotations.
netconf.ANNOTATIONS = "io.kubernetes.cri.pod-annotations"

local json = core.json

-- A shape is "string", "integer", "number" or "any", or one of { list = shape }, { map = shape }, and
-- { fields = { key = shape } }, which lets other keys pass.
local strings = { list = "string" }

local dns = {
  fields = { nameservers = strings, domain = "string", search = strings, options = strings },
}

-- Source: the conventions of CNI, "Dynamic Plugin specific fields"; dns as containerd and CRI-O send it.
local capabilities = {
  fields = {
    portMappings = {
      list = { fields = { hostPort = "integer", containerPort = "integer", protocol = "string", hostIP = "string" } },
    },
    ipRanges = {
      list = {
        list = { fields = { subnet = "string", rangeStart = "string", rangeEnd = "string", gateway = "string" } },
      },
    },
    bandwidth = {
      fields = {
        ingressRate = "number", ingressBurst = "number", egressRate = "number", egressBurst = "number",
      },
    },
    dns = {
      fields = {
        servers = strings, searches = strings, options = strings,
        nameservers = strings, domain = "string", search = strings,
      },
    },
    ips = strings,
    mac = "string",
    infinibandGUID = "string",
    deviceID = "string",
    aliases = "any",
    cgroupPath = "string",
    [netconf.ANNOTATIONS] = { map = "string" },
  },
}

-- In the order in which a wrong one is reported.
local protocol = {
  { key = "name", shape = "string", needed = true },
  { key = "cniVersion", shape = "string", needed = true },
  { key = "type", shape = "string", needed = true },
  { key = "policy", shape = "string" },
  { key = "ipam", shape = { fields = { type = "string", policy = "string" } } },
  { key = "dns", shape = dns },
  { key = "args", shape = { fields = { cni = { fields = { ips = strings, mac = "string" } } } } },
  { key = "capabilities", shape = { fields = {} } },
  { key = "runtimeConfig", shape = capabilities, fold = true },
  { key = "prevResult", shape = { fields = {} } },
}

local function kind(value)
  if value == json.null then
    return "null"
  elseif type(value) == "table" then
    return json.is_array(value) and "an array" or "an object"
  elseif math.type(value) == "integer" then
    return "an integer"
  end
  return "a " .. type(value)
end

local function refuse(path, expected, value)
  error(core.error {
    code = 7, object = ("%q"):format(path),
    message = ("must be %s in a network configuration, and is %s"):format(expected, kind(value)),
  }, 0)
end

-- null says the same as leaving the key out, as it does in the CNI libraries.
local function without_nulls(value)
  if type(value) == "table" then
    for key, entry in pairs(value) do
      if entry == json.null and not json.is_array(value) then
        value[key] = nil
      else
        without_nulls(entry)
      end
    end
  end
end

-- Brings keys that differ from a known one in the case of letters only into its spelling. One that is there in
-- its right spelling too is dropped and noted.
local function fold_keys(value, fields, path, ignored)
  local right = {}
  for key in pairs(fields) do
    right[key:lower()] = key
  end
  for _, key in ipairs(sorted_keys(value)) do
    local name = not fields[key] and right[key:lower()]
    if name then
      if value[name] == nil then
        value[name] = value[key]
      else
        ignored[#ignored + 1] = path .. "." .. key
      end
      value[key] = nil
    end
  end
  -- Go has no way to say "none" for a string but the empty one.
  for key, shape in pairs(fields) do
    if shape == "string" and value[key] == "" then
      value[key] = nil
    end
  end
end

local checked

local function checked_table(value, shape, path, options)
  if shape.list then
    if kind(value) ~= "an array" then
      refuse(path, "an array", value)
    end
    for i, entry in ipairs(value) do
      value[i] = checked(entry, shape.list, ("%s[%d]"):format(path, i - 1), options)
    end
    return value
  end
  if kind(value) ~= "an object" then
    refuse(path, "an object", value)
  end
  if shape.map then
    for key, entry in pairs(value) do
      value[key] = checked(entry, shape.map, path .. "." .. key, options)
    end
    return value
  end
  if options.fold then
    fold_keys(value, shape.fields, path, options.ignored)
  end
  for _, key in ipairs(sorted_keys(shape.fields)) do
    if value[key] ~= nil then
      value[key] = checked(value[key], shape.fields[key], path .. "." .. key, options)
    end
  end
  return value
end

function checked(value, shape, path, options)
  if type(shape) == "table" then
    return checked_table(value, shape, path, options)
  elseif shape == "string" and type(value) ~= "string" then
    refuse(path, "a string", value)
  elseif shape == "integer" then
    return math.type(value) and math.tointeger(value) or refuse(path, "an integer", value)
  elseif shape == "number" then
    return math.type(value) and (math.tointeger(value) or value) or refuse(path, "a number", value)
  end
  return value
end

-- Decodes a configuration. Raises code 6 for what is no JSON object, code 7 for a key of the contract with a value
-- of the wrong type, naming it. options: ignored (a list that the names of keys without effect are added to) and
-- lenient (true: a wrong value of what is not needed to find the attachment is dropped instead).
function netconf.decode(text, options)
  if text:match("^%s*$") then
    error(core.error { code = 6, message = "there is no network configuration on stdin" }, 0)
  end
  local config = json.decode(text)
  if config == json.null then
    config = {}
  elseif kind(config) ~= "an object" then
    error(core.error {
      code = 6, message = ("the network configuration on stdin must be a JSON object, and is %s"):format(kind(config)),
    }, 0)
  end
  local attachments = netconf.attachments_key(config)
  if attachments and config[attachments] == json.null then
    config[attachments] = json.array {} -- how Go writes a list that is empty
  end
  if text:find("null", 1, true) then
    without_nulls(config)
  end
  for _, entry in ipairs(protocol) do
    local value = config[entry.key]
    if value ~= nil then
      local how = { fold = entry.fold, ignored = options.ignored }
      local ok, outcome = pcall(checked, value, entry.shape, entry.key, how)
      if not ok and not (options.lenient and not entry.needed) then
        error(outcome, 0)
      elseif not ok then
        options.ignored[#options.ignored + 1] = entry.key
        outcome = nil
      end
      config[entry.key] = outcome
    end
  end
  return config
end

-- The key under which a GC configuration lists what is in use: the specification's, or the one that libcni
-- sent before; nil when there is neither.
function netconf.attachments_key(config)
  for _, key in ipairs { "cni.dev/valid-attachments", "cni.dev/attachments" } do
    if config[key] ~= nil then
      return key
    end
  end
  return nil
end

-- The attachments that GC must keep: { { containerID, ifname }, ... }. Raises code 7 when there is no list or it
-- is malformed: nothing may be taken for dead because of a mistake.
function netconf.valid_attachments(config)
  local key = netconf.attachments_key(config)
  if not key then
    error(core.error {
      code = 7, object = "\"cni.dev/valid-attachments\"",
      message = "is missing; without the list of attachments in use nothing is collected",
    }, 0)
  end
  local shape = { list = { fields = { containerID = "string", ifname = "string" } } }
  local valid = checked(config[key], shape, key, { ignored = {} })
  for i, entry in ipairs(valid) do
    for _, field in ipairs { "containerID", "ifname" } do
      if entry[field] == nil then
        refuse(("%s[%d].%s"):format(key, i - 1, field), "a string", json.null)
      end
    end
  end
  return valid
end

return netconf
