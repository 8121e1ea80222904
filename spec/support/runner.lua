-- SPDX-License-Identifier: Apache-2.0
-- Runs build/spec/state_runner, and makes directories of policies for it.

local json = require "dkjson"

local runner = {}

runner.build = os.getenv "MNCNI_BUILD" or "build"

-- Quotes a text for the shell.
function runner.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Runs a command line; returns its stdout, stderr and exit status (128 + n for a signal).
function runner.sh(command, stdin)
  local name = os.tmpname()
  local input = os.tmpname()
  local file <close> = assert(io.open(input, "w"))
  file:write(stdin or "")
  file:close()
  local pipe = assert(io.popen(("{ %s\n} <%s 2>%s"):format(command, input, name)))
  local out = pipe:read("a")
  local _, how, status = pipe:close()
  local err_file <close> = assert(io.open(name))
  local err = err_file:read("a")
  os.remove(name)
  os.remove(input)
  return out, err, how == "signal" and 128 + status or status
end

-- Calls a hook in a bounded state. options: policy or module, hook, json, path, and flags of state_runner.
-- Returns { status =, value = decoded result or error, text = stdout, stderr =, seconds = }.
function runner.call(options)
  local command = ("%s/spec/state_runner %s -p %s %s %s %s"):format(
    runner.build, options.flags or "", runner.quote(options.path),
    options.module and "-r" or "-P", runner.quote(options.module or options.policy), options.hook or "desired")
  local out, err, status = runner.sh(command, options.json)
  return { status = status, text = out, stderr = err, value = json.decode(out) }
end

-- Makes a private directory below /tmp and returns its path.
function runner.directory()
  local path = runner.sh "mktemp -d /tmp/mncni-spec.XXXXXX":gsub("\n", "")
  return path
end

function runner.write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

return runner
