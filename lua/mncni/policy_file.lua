-- SPDX-License-Identifier: Apache-2.0
-- Policies as source text: compiled with globals to be read only, run, and their hooks checked.

local core = require "mncni.core"
local sorted_keys = require "mncni.keys"

local policy_file = {}

local BROKEN = 100

-- The hooks a policy may have, and the type of each.
local hooks = {
  add = "function",
  del = "function",
  check = "function",
  gc = "function",
  status = "function",
  lease = "function",
  release = "function",
  desired = "function",
  options = "table",
  chained = "boolean",
  lost = "function",
}

-- What to say behind a name that is no key of `known`.
local function hint(name, known)
  return require("mncni.declaration").suggestion(tostring(name), sorted_keys(known))
end

local function fail(object, message, ...)
  error(core.error { op = "load", object = object, code = BROKEN, message = message:format(...) }, 0)
end

-- Takes "file:line: text" apart; nil when the message does not start with a place.
local function place(message)
  local file, line = tostring(message):match("^(%S+):(%d+): ")
  return file, math.tointeger(tonumber(line))
end

local function raise_at(level, message, ...)
  local info = debug.getinfo(level + 1, "Sl")
  error(core.error {
    code = BROKEN,
    message = ("%s:%d: %s"):format(info.short_src, info.currentline, message:format(...)),
    file = info.short_src,
    line = info.currentline,
  }, 0)
end

-- Makes the globals of a policy: Lua's own, to be read only. A name that does not exist raises, and so does assigning.
local function environment()
  local env = {}
  local known = setmetatable({ _G = env }, {
    __index = function(_, name)
      local value = rawget(_G, name)
      if value == nil then
        raise_at(2, "there is no global \"%s\"%s", tostring(name), hint(name, _G))
      end
      return value
    end,
  })
  for name, value in pairs(_G) do
    if name ~= "_G" then
      known[name] = value
    end
  end
  return setmetatable(env, {
    __index = known,
    __newindex = function(_, name)
      raise_at(2, "a policy may not assign to the global \"%s\"; write local %s", tostring(name), tostring(name))
    end,
  })
end

-- Raises unless result is a table of hooks whose options are well declared.
local function check_hooks(object, result)
  if type(result) ~= "table" then
    fail(object, "it returns %s and not a table of hooks; does it end with \"return policy\"?",
      result == nil and "nothing" or "a " .. type(result))
  end
  for key, value in pairs(result) do
    local wanted = hooks[key]
    if not wanted then
      local info = type(value) == "function" and debug.getinfo(value, "S")
      fail(object, "it has an unknown hook \"%s\"%s%s", tostring(key),
        info and info.linedefined > 0 and (" (line %d)"):format(info.linedefined) or "", hint(key, hooks))
    end
    if type(value) ~= wanted then
      fail(object, "its \"%s\" is a %s and not a %s", key, type(value), wanted)
    end
  end
  if result.options then
    local ok, err = pcall(require "mncni.options".declare, result.options)
    if not ok and core.is_error(err) then
      err.op, err.object = "load", object .. ", " .. (err.object or "options")
    end
    if not ok then
      error(err, 0)
    end
  end
  return result
end

-- Gives the error of a policy's own code a code and a place; error objects keep what they have.
local function describe(object, err, traceback)
  if err == "not enough memory" then
    return err -- a limit of the state, and not the policy's fault
  end
  if core.is_error(err) then
    err.code = err.code or BROKEN
    return err
  end
  local message = type(err) == "string" and err or ("a %s was raised while it was loading"):format(type(err))
  local file, line = place(message)
  return core.error {
    op = "load",
    object = object,
    code = BROKEN,
    message = message,
    file = file,
    line = line,
    traceback = traceback,
  }
end

local function run(object, chunk, name)
  local ok, result = xpcall(chunk, function(err)
    return describe(object, err, debug.traceback(nil, 2))
  end, name)
  if not ok then
    error(result, 0)
  end
  return result
end

-- Compiles source text. A byte order mark and a first line starting with # are left out, as lua itself does. Raises code
-- 100, with file and line; object is what it is called then.
function policy_file.compile(object, text, path)
  text = text:gsub("^\xEF\xBB\xBF", ""):gsub("^#[^\n]*", "")
  local chunk, message = load(text, "@" .. path, "t", environment())
  if not chunk then
    error(describe(object, message), 0)
  end
  return chunk
end

-- Returns the table of hooks that the text of a policy makes. Raises code 100 when it does not load or is none.
function policy_file.load(name, text, path)
  local chunk = policy_file.compile(('policy "%s"'):format(name), text, path)
  local object = ('policy "%s" in %s'):format(name, path)
  return check_hooks(object, run(object, chunk, name))
end

return policy_file
