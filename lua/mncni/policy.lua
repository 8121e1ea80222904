-- SPDX-License-Identifier: Apache-2.0
-- Finds, checks and loads policies. A policy is a Lua file that returns a table of hooks.
-- Looked for in $MNCNI_POLICY_PATH (a colon list; default /etc/mncni/policies), then among those that are built in.

local core = require "mncni.core"
local sorted_keys = require "mncni.keys"

local policy = {}

local BUILT_IN = "built in"
local CONFIG, BROKEN = 7, 100

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
}

-- " (did you mean X?)", or what there is to choose from.
local function hint(name, known)
  local near = core.nearest(tostring(name), known)
  if near then
    return ("; did you mean \"%s\"?"):format(near)
  end
  return "; known are " .. table.concat(known, ", ")
end

local function title(name, source)
  local in_file = source and source ~= BUILT_IN and " in " .. source or ""
  return ("policy \"%s\"%s"):format(name, in_file)
end

local function fail(object, code, message, ...)
  error(core.error { op = "load", object = object, code = code, message = message:format(...) }, 0)
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
        raise_at(2, "there is no global \"%s\"%s", tostring(name), hint(name, sorted_keys(_G)))
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

-- Compiles source text. A byte order mark and a first line starting with # are left out, as lua itself does.
local function compile(text, path, env)
  text = text:gsub("^\xEF\xBB\xBF", ""):gsub("^#[^\n]*", "")
  return load(text, "@" .. path, "t", env)
end

-- Raises unless result is a table of hooks whose options are well declared.
local function check_hooks(object, result, source)
  if type(result) ~= "table" then
    fail(object, BROKEN, "it returns %s and not a table of hooks; does it end with \"return policy\"?",
      result == nil and "nothing" or "a " .. type(result))
  end
  for key, value in pairs(result) do
    local wanted = hooks[key]
    if not wanted then
      local info = type(value) == "function" and debug.getinfo(value, "S")
      fail(object, BROKEN, "it has an unknown hook \"%s\"%s%s", tostring(key),
        info and info.linedefined > 0 and (" (line %d)"):format(info.linedefined) or "", hint(key, sorted_keys(hooks)))
    end
    if type(value) ~= wanted then
      fail(object, BROKEN, "its \"%s\" is a %s and not a %s", key, type(value), wanted)
    end
  end
  if result.options and source == BUILT_IN then
    require("mncni.options").accept(result.options)
  elseif result.options then
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

local function missing(name)
  local names = {}
  for _, known in ipairs(policy.names()) do
    names[#names + 1] = known.name
  end
  local where = core.policy.directories()
  for i, directory in ipairs(where) do
    where[i] = ("%s/%s.lua"):format(directory, name)
  end
  where[#where + 1] = "the built-in ones"
  fail(title(name), CONFIG, "there is none of that name in %s%s", table.concat(where, ", "),
    #names > 0 and hint(name, names) or "; there are no policies at all")
end

-- Returns the chunk of a policy and its source (path or "built in"), or nil.
local function find(name)
  local text, path = core.policy.read(name)
  if text then
    local chunk, message = compile(text, path, environment())
    if not chunk then
      error(describe(title(name), message), 0)
    end
    return chunk, path
  end
  return core.policy.builtin(name, _G), BUILT_IN
end

-- Loads a policy by name and returns its table of hooks, or nil when there is none of that name. Raises as load does.
function policy.get(name)
  local chunk, source = find(name)
  if not chunk then
    return nil
  end
  local object = title(name, source)
  return check_hooks(object, run(object, chunk, name), source)
end

-- Loads a policy by name and returns its table of hooks. The file is read anew each time.
-- Raises code 7 when there is none, or when somebody else than root and the user running this could have changed it;
-- code 100, with file and line, when it does not load or is not a table of known hooks.
function policy.load(name)
  return policy.get(name) or missing(name)
end

-- Returns where a policy of that name would be loaded from: a path, "built in", or nil. Raises as load does for a file
-- that may not be trusted.
function policy.source(name)
  local text, path = core.policy.read(name)
  if text then
    return path
  end
  for _, builtin in ipairs(core.policy.builtins()) do
    if builtin == name then
      return BUILT_IN
    end
  end
  return nil
end

-- Returns the list of policies that can be named, sorted: { name = string, source = path or "built in" }. A directory
-- that may not be trusted is left out.
function policy.names()
  local sources = {}
  for _, name in ipairs(core.policy.builtins()) do
    sources[name] = BUILT_IN
  end
  local directories = core.policy.directories()
  for i = #directories, 1, -1 do
    local ok, names = pcall(core.policy.list, directories[i])
    for _, name in ipairs(ok and names or {}) do
      sources[name] = ("%s/%s.lua"):format(directories[i], name)
    end
  end
  local list = {}
  for _, name in ipairs(sorted_keys(sources)) do
    list[#list + 1] = { name = name, source = sources[name] }
  end
  return list
end

-- require also finds Lua files beside the policies, under the same checks; what else there is comes first.
package.searchers[#package.searchers + 1] = function(name)
  local text, path = core.policy.read_module(name)
  if not text then
    return ("no file '%s.lua' beside the policies"):format((name:gsub("%.", "/")))
  end
  local chunk, message = compile(text, path, environment())
  if not chunk then
    error(describe(("module \"%s\""):format(name), message), 0)
  end
  return chunk, path
end

return policy
