-- SPDX-License-Identifier: Apache-2.0
-- Which policies there are.

local core = require "mncni.core"
local sorted_keys = require "mncni.keys"

local policy_list = {}

local BUILT_IN = "built in"

-- Returns where a policy of that name would be loaded from: a path, "built in", or nil. Raises as load does for a file
-- that may not be trusted.
function policy_list.source(name)
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
function policy_list.names()
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

-- Raises code 7 for a policy that is not there: where it was looked for, and what it may be called.
function policy_list.missing(name)
  local names = {}
  for i, known in ipairs(policy_list.names()) do
    names[i] = known.name
  end
  local where = core.policy.directories()
  for i, directory in ipairs(where) do
    where[i] = ("%s/%s.lua"):format(directory, name)
  end
  where[#where + 1] = "the built-in ones"
  error(core.error {
    op = "load", object = ('policy "%s"'):format(name), code = 7,
    message = ("there is none of that name in %s%s"):format(table.concat(where, ", "),
      require("mncni.declaration").suggestion(name, names)),
  }, 0)
end

return policy_list
