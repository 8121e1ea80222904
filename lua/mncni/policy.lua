-- SPDX-License-Identifier: Apache-2.0
-- Finds and loads policies. A policy is a Lua file that returns a table of hooks.
-- Looked for in $MNCNI_POLICY_PATH (a colon list; default /etc/mncni/policies), then among those that are built in.

local builtin = require "mncni.policy_builtin"
local core = require "mncni.core"

-- Also names() and source(name), of mncni.policy_list.
local policy = setmetatable({}, {
  __index = function(_, key)
    return require("mncni.policy_list")[key]
  end,
})

-- Loads a policy by name and returns its table of hooks, or nil when there is none of that name. Raises as load does.
function policy.get(name)
  local text, path = core.policy.read(name)
  if text then
    return require("mncni.policy_file").load(name, text, path)
  end
  return builtin.get(name)
end

-- Loads a policy by name and returns its table of hooks. The file is read anew each time.
-- Raises code 7 when there is none, or when somebody else than root and the user running this could have changed it;
-- code 100, with file and line, when it does not load or is not a table of known hooks.
function policy.load(name)
  return policy.get(name) or require("mncni.policy_list").missing(name)
end

-- require also finds Lua files beside the policies, under the same checks; what else there is comes first.
package.searchers[#package.searchers + 1] = function(name)
  local text, path = core.policy.read_module(name)
  if not text then
    return ("no file '%s.lua' beside the policies"):format((name:gsub("%.", "/")))
  end
  return require("mncni.policy_file").compile(('module "%s"'):format(name), text, path), path
end

return policy
