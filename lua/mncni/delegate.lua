-- SPDX-License-Identifier: Apache-2.0
-- Delegation: runs another CNI plugin from CNI_PATH on behalf of a call, as a runtime would.

local core = require "mncni.core"

local delegate = {}

-- Milliseconds that a delegate may take, below the minute that containerd allows for cleaning up.
delegate.TIMEOUT = 30000

-- Bytes of output that are read before a delegate is ended.
delegate.MAX_OUTPUT = 1 << 20

local function fail(type, message, ...)
  error(core.error { code = 105, object = ("plugin %q"):format(type), message = message:format(...) }, 0)
end

-- The path of a plugin: the first regular executable of that name in CNI_PATH. Raises code 7 for a name with
-- a path in it (CVE-2021-20206), code 4 when there is nowhere to look, code 105 when it is not found.
function delegate.find(call, type)
  if not type:match("^[%w][%w_.%-]*$") then
    error(core.error {
      code = 7, object = ("plugin %q"):format(type),
      message = "the name of a plugin has letters, digits, \"_\", \".\" and \"-\" only",
    }, 0)
  end
  if #(call.path or {}) == 0 then
    error(core.error {
      code = 4, object = ("plugin %q"):format(type),
      message = "no policy has this name, and CNI_PATH, where plugins are looked for, is empty",
    }, 0)
  end
  local directories = table.concat(call.path, ":")
  local path = core.find_program(type, directories)
  if not path then
    fail(type, "no policy has this name, and no plugin in CNI_PATH %s", directories)
  end
  return path
end

local function environment(call, verb)
  return {
    CNI_COMMAND = verb,
    CNI_CONTAINERID = call.container,
    CNI_NETNS = call.netns,
    CNI_IFNAME = call.ifname,
    CNI_ARGS = call.args_text,
    CNI_PATH = table.concat(call.path, ":"),
    PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  }
end

-- Runs plugin type with the configuration of call (or with args.config in its place) for verb. Returns its result in
-- canonical form (ADD), or nil. Raises the plugin's own code, message and details where it gave them.
-- With args.context, the DEL that would undo it is journalled before the plugin starts.
function delegate.run(call, type, verb, args)
  args = args or {}
  local path = delegate.find(call, type)
  local stdin = args.config and core.json.encode(args.config) or call.text
  if args.context then
    args.context:undo {
      op = "exec", argv = { path }, env = environment(call, "DEL"), stdin = stdin, timeout = delegate.TIMEOUT,
      absent = 1, -- "incompatible CNI version": what does not know the configuration's did nothing for it either
    }
  end
  local env = environment(call, verb)
  env.TRACEPARENT = call.trace -- of this call, and so not of the DEL in the journal
  local outcome = core.exec {
    argv = { path }, env = env, stdin = stdin,
    timeout = delegate.TIMEOUT, max_output = delegate.MAX_OUTPUT,
  }
  if outcome.timed_out then
    fail(type, "it had not answered %s after %d ms and was ended", verb, delegate.TIMEOUT)
  end
  local parsed, document = pcall(core.json.decode, outcome.stdout)
  if outcome.status ~= 0 then
    if parsed and _G.type(document) == "table" and document.msg then
      error(core.error {
        code = math.tointeger(document.code) or 105, object = ("plugin %q"):format(type),
        message = tostring(document.msg), details = document.details,
      }, 0)
    end
    fail(type, "%s ended with %s; it said: %s", verb,
      outcome.signal and ("signal " .. outcome.signal) or ("status " .. tostring(outcome.status)),
      (outcome.stderr .. outcome.stdout):sub(1, 400):gsub("%s+", " "))
  end
  if verb ~= "ADD" then
    return nil
  end
  if not parsed or _G.type(document) ~= "table" then
    fail(type, "its answer to ADD is no JSON object: %s", outcome.stdout:sub(1, 200))
  end
  return require("mncni.result").canonical(document, call.version)
end

-- ADD of another plugin for the same interface, with its way back journalled.
function delegate.add(call, context, type, config)
  return delegate.run(call, type, "ADD", { context = context, config = config })
end

return delegate
