-- SPDX-License-Identifier: Apache-2.0
-- The CNI protocol: one call of the plugin, from the environment and stdin to the document on stdout.
-- Source: CNI specification 1.1.0, section 2 "Execution Protocol", and what libcni's own checks refuse.

local attachment = require "mncni.attachment"
local core = require "mncni.core"
local netconf = require "mncni.netconf"
local raised = require "mncni.raised"
local record = require "mncni.record"
local results = require "mncni.result"

local cni = {}

cni.MAX_STDIN = 1 << 20

local NEWEST = results.versions[#results.versions]

-- What each verb needs of the environment, and the first cniVersion that has it.
local verbs = {
  ADD = { needs = { "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME" } },
  DEL = { needs = { "CNI_CONTAINERID", "CNI_IFNAME" } },
  CHECK = { needs = { "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME" }, since = "0.4.0" },
  STATUS = { needs = {}, since = "1.1.0" },
  GC = { needs = {}, since = "1.1.0" },
}

local function fail(code, message, details)
  error(core.error { code = code, message = message, details = details }, 0)
end

local function is_name(text)
  return text:find("^[a-zA-Z0-9][a-zA-Z0-9_.-]*$") ~= nil
end

-- Whitespace outside of ASCII (Unicode's White_Space); U+0085 and U+00A0 too.
local function has_space(text)
  if text:find("[ \t\n\v\f\r]") then
    return true
  end
  for _, code in utf8.codes(text) do
    if code == 0x85 or code == 0xA0 or code == 0x1680 or (code >= 0x2000 and code <= 0x200A) or code == 0x2028
      or code == 0x2029 or code == 0x202F or code == 0x205F or code == 0x3000 then
      return true
    end
  end
  return false
end

local function check_ifname(name)
  if #name > 15 then -- IFNAMSIZ - 1
    fail(4, "interface name is too long", "interface name should be less than 16 characters")
  elseif name == "." or name == ".." then
    fail(4, "interface name is . or ..")
  elseif not utf8.len(name) then
    fail(4, "interface name is not UTF-8, and could not be told in a result", name)
  elseif name:find("[/:]") or has_space(name) then
    fail(4, "interface name contains / or : or whitespace characters", name)
  end
end

local function check_addresses(key, value)
  for text in (value .. ","):gmatch("([^,]*),") do
    local _, why = core.cidr.parse(text)
    if why then
      fail(4, ("ARGS: %s must be an address, and is %q: %s"):format(key, value, why))
    end
  end
end

-- The keys of CNI_ARGS that have a meaning here, with what checks their value.
local known_args = {
  IP = check_addresses,
  GATEWAY = check_addresses,
  MAC = function(_, value)
    if not value:find("^%x%x[:-]%x%x[:-]%x%x[:-]%x%x[:-]%x%x[:-]%x%x$") then
      fail(4, ("ARGS: MAC must be an Ethernet address such as 0a:58:0a:f4:01:07, and is %q"):format(value))
    end
  end,
  IgnoreUnknown = function(_, value)
    local word = value:lower()
    if word ~= "1" and word ~= "true" and word ~= "0" and word ~= "false" then
      fail(4, ("ARGS: boolean must be one of \"true\", \"false\", \"1\" or \"0\", and is %q"):format(value))
    end
  end,
}

local function is_true(value)
  return value ~= nil and (value == "1" or value:lower() == "true")
end

-- CNI_ARGS, "K=V;K2=V2", as a table. Raises code 4.
local function parse_args(text)
  local args, unknown = {}, {}
  if text == nil or text == "" then
    return args
  end
  for pair in (text .. ";"):gmatch("([^;]*);") do
    local key, value = pair:match("^([^=]*)=([^=]*)$")
    if not key then
      fail(4, ("ARGS: invalid pair %q"):format(pair), "CNI_ARGS is a list KEY=VALUE;KEY=VALUE")
    end
    if known_args[key] then
      if value ~= "" then
        known_args[key](key, value)
      end
    elseif not key:find("^K8S_") then
      unknown[#unknown + 1] = ("%q"):format(pair)
    end
    args[key] = value ~= "" and value or nil
  end
  if #unknown > 0 and not is_true(args.IgnoreUnknown) then
    fail(4, ("ARGS: unknown args [%s]"):format(table.concat(unknown, " ")), "IgnoreUnknown=1 lets them pass")
  end
  return args
end

-- Reads the environment into call. Raises code 4, for everything that is missing at once.
local function read_environment(call, env)
  local verb = verbs[call.command]
  if not verb then
    fail(4, "unknown CNI_COMMAND: " .. call.command)
  end
  local missing = {}
  for _, name in ipairs(verb.needs) do
    if (env[name] or "") == "" then
      missing[#missing + 1] = name
    end
  end
  if #missing > 0 then
    fail(4, ("required env variables [%s] missing"):format(table.concat(missing, ",")))
  end
  if #verb.needs > 0 then
    if not is_name(env.CNI_CONTAINERID) then
      fail(4, "invalid characters in containerID", env.CNI_CONTAINERID)
    end
    call.container = env.CNI_CONTAINERID
    check_ifname(env.CNI_IFNAME)
    call.ifname = env.CNI_IFNAME
    call.netns = env.CNI_NETNS ~= "" and env.CNI_NETNS or nil
  end
  call.netns_override = is_true(env.CNI_NETNS_OVERRIDE)
  -- What could not be added has nothing to delete that its arguments would tell.
  local ok, args = pcall(parse_args, env.CNI_ARGS)
  if not ok and call.command ~= "DEL" then
    error(args, 0)
  elseif not ok then
    call.ignored[#call.ignored + 1] = "CNI_ARGS"
  end
  call.args, call.args_text = ok and args or {}, ok and env.CNI_ARGS ~= "" and env.CNI_ARGS or nil
  local namespace, name = call.args.K8S_POD_NAMESPACE, call.args.K8S_POD_NAME
  call.pod = name and (namespace and namespace .. "/" or "") .. name
  call.path = {}
  for directory in (env.CNI_PATH or ""):gmatch("[^:]+") do
    call.path[#call.path + 1] = directory
  end
end

-- The policy that a call is for: the name that the binary was called by; called as mncni, what the configuration
-- says, of itself or, where another plugin asks for an address, of its ipam section. Returns whether it is of that, too.
local function policy_name(config, called)
  if called ~= "mncni" then
    return called
  elseif config.type == "mncni" then
    return config.policy
  elseif config.ipam and config.ipam.type == "mncni" then
    return config.ipam.policy, true
  end
  return config.policy or config.type
end

local function choose_policy(call, config, called)
  local name, for_ipam = policy_name(config, called)
  if name and is_name(name) then
    call.policy = name
  elseif call.command == "DEL" then
    call.policy = nil -- the journal knows what to undo
  elseif name then
    fail(7, ("\"policy\" is %q, which cannot be the name of a policy"):format(name),
      "a name has letters, digits, \"_\", \".\" and \"-\", and starts with a letter or digit")
  else
    fail(7, "\"policy\" is missing in the network configuration: name the policy to run, for example "
      .. "\"policy\": \"naivebridge\"")
  end
  call.type = attachment.plugin(called, call.policy, for_ipam)
end

local function check_version(call)
  if not results.supported(call.version) then
    local supported = {}
    for i, version in ipairs(results.versions) do
      supported[i] = ("%q"):format(version)
    end
    fail(1, "incompatible CNI versions",
      ("config is %q, plugin supports [%s]"):format(call.version, table.concat(supported, " ")))
  end
  local since = verbs[call.command].since
  if since and not results.at_least(call.version, since) then
    fail(1, "config version does not allow " .. call.command,
      ("config is %q, %s came with %q"):format(call.version, call.command, since))
  end
end

local function read_prev_result(call, config)
  if not config.prevResult then
    return
  end
  local ok, previous = pcall(results.canonical, config.prevResult, call.version, { code = 7, object = "prevResult" })
  if ok then
    call.prev_result = previous
  elseif call.command == "DEL" then
    call.ignored[#call.ignored + 1] = "prevResult"
  else
    error(previous, 0)
  end
end

-- A wrong limit is no reason to keep an attachment.
local function apply_limits(call, config)
  if config.limits == nil then
    return
  end
  local ok, err = pcall(require("mncni.limits").apply, config.limits)
  if not ok and call.command ~= "DEL" then
    error(err, 0)
  elseif not ok then
    call.ignored[#call.ignored + 1] = "limits"
  end
end

-- Reads the network configuration into call: decoding, then name, then version, then the rest.
local function read_configuration(call, request)
  local text = request.stdin
  if request.stdin_truncated or #(text or "") > cni.MAX_STDIN then
    fail(6, ("the network configuration on stdin is larger than %d bytes"):format(cni.MAX_STDIN))
  end
  local config = netconf.decode(text or "", { lenient = call.command == "DEL", ignored = call.ignored })
  call.text, call.config = text, config
  if (config.name or "") == "" then
    fail(7, "missing network name")
  elseif not is_name(config.name) then
    fail(7, "invalid characters found in network name", config.name)
  end
  call.network = config.name
  call.version = (config.cniVersion or "") ~= "" and config.cniVersion or "0.1.0"
  check_version(call)
  call.called = (request.name or "mncni"):match("([^/]*)$")
  choose_policy(call, config, call.called)
  call.annotations = config.runtimeConfig and config.runtimeConfig[netconf.ANNOTATIONS] or {}
  read_prev_result(call, config)
  apply_limits(call, config)
  if call.command == "GC" then
    call.valid = netconf.valid_attachments(config)
  end
end

local function version_document()
  return {
    cniVersion = NEWEST, supportedVersions = core.json.array { table.unpack(results.versions) },
  }
end

local function encode(document)
  return core.json.encode(document, { pretty = true })
end

local function prepare(call, request)
  read_environment(call, call.env)
  read_configuration(call, request)
end

-- What is wrong with a request has no line of Lua to tell; a fault of this code has.
local function without_place(value)
  return core.is_error(value) and value or raised.handler(value)
end

-- Returns true and the document for stdout, or false and what was raised.
local function serve(call, request)
  if call.command == "VERSION" then
    return pcall(encode, version_document())
  end
  local ok, err = xpcall(prepare, without_place, call, request)
  if not ok then
    return false, err
  end
  return raised.catch(function()
    return require("mncni.verb." .. call.command:lower()).run(call)
  end)
end

local function state_dir(env)
  return env.MNCNI_STATE_DIR or os.getenv("MNCNI_STATE_DIR") or "/run/mncni"
end

local function write_record(call, err, started, document)
  local message = err and err.msg or table.concat(call.warnings, "; ")
  pcall(record.write, call.state_dir, {
    verb = call.command, policy = call.policy, network = call.network, pod = call.pod, container = call.container,
    ifname = call.ifname, netns = call.netns, trace = call.trace, ignored = call.ignored, document = document,
    duration = record.clock() - started, code = err and err.code or 0, message = message ~= "" and message or nil,
  })
end

-- Serves one call. request: env (a table of the environment: CNI_*, MNCNI_*, TRACEPARENT), stdin (any bytes),
-- stdin_truncated (there was more than MAX_STDIN), name (what the binary was called by), started (of record.clock(), when
-- the process began).
-- Returns { status = exit code, stdout = text or nil, stderr = text or nil, code = CNI error code or 0 }; stdout is
-- one JSON document. Never raises: every failure is an error document.
function cni.run(request)
  local env, started = request.env or {}, tonumber(request.started) or record.clock()
  if (env.CNI_COMMAND or "") == "" then
    return {
      status = 0, code = 0,
      stderr = "mncni: a CNI plugin, run by a container runtime with CNI_COMMAND set\n"
        .. "CNI protocol versions supported: " .. table.concat(results.versions, ", "),
    }
  end
  local call = {
    command = env.CNI_COMMAND, env = env, ignored = {}, warnings = {}, state_dir = state_dir(env),
    trace = env.TRACEPARENT,
  }
  local listener = core.tell.listener(call.state_dir)
  local ok, stdout = serve(call, request)
  local err
  if not ok then
    local errors = require "mncni.errors"
    err = errors.convert(stdout)
    stdout = errors.document(err, results.supported(call.version) and call.version or NEWEST)
  end
  write_record(call, err, started, stdout)
  if listener then
    pcall(require("mncni.tell").send, listener, call, err, stdout, record.clock() - started)
  end
  return { status = ok and 0 or 1, stdout = stdout, code = err and err.code or 0 }
end

return cni
