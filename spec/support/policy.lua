-- SPDX-License-Identifier: Apache-2.0
-- The shipped policies, loaded as a user's copy would be.

local options = require "mncni.options"
local policy_file = require "mncni.policy_file"

local policy = {}

-- Loads the file of that path, or policies/NAME.lua.
function policy.load(name)
  local path = name:find("/", 1, true) and name or ("policies/%s.lua"):format(name)
  local file <close> = assert(io.open(path))
  return policy_file.load(name:match "([^/]+)$":gsub("%.lua$", ""), file:read "a", path)
end

-- What a policy of the agent desires, its options checked and completed.
function policy.desired(loaded, world, conf)
  return loaded.desired(world, (options.check(loaded.options or {}, conf)))
end

return policy
