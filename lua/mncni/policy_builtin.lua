-- SPDX-License-Identifier: Apache-2.0
-- The policies that are built in.

local core = require "mncni.core"

local policy_builtin = {}

local kept = {}

local function run(name)
  local hooks = core.policy.builtin(name)
  if hooks and hooks.options then
    require("mncni.options").accept(hooks.options)
  end
  return hooks
end

-- Runs a policy now, so that it is there when it is asked for: for the plugin's snapshot.
function policy_builtin.keep(name)
  kept[name] = assert(run(name), name)
end

-- The table of hooks of the policy of that name, or nil.
function policy_builtin.get(name)
  return kept[name] or run(name)
end

return policy_builtin
