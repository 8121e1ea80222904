-- SPDX-License-Identifier: Apache-2.0
-- "limits" in a network configuration: what a call may use, the policy's share included. Loaded only where it is given.

local options = require "mncni.options"

local limits = {}

-- Without them the host's own hold: 32, 200000000 and 60000.
limits.options = {
  memoryMiB = { type = "integer", min = 4, max = 1024, doc = "MiB that Lua holds at any time" },
  instructions = { type = "integer", min = 100000, max = 1000000000000, doc = "of Lua's virtual machine" },
  wallMs = { type = "integer", min = 100, max = 600000, doc = "milliseconds from the start of the call to its end" },
}

-- Checks what was given and makes it the limits of this state, counted from its start. Raises code 7 for what is wrong.
-- To be called before the policy is loaded; a stock interpreter has no limits, and ignores them.
function limits.apply(given)
  local wanted = options.check(limits.options, given, { what = "limits" })
  if package.preload["mncni.state"] then
    require("mncni.state").limit {
      memory = wanted.memoryMiB and wanted.memoryMiB << 20, instructions = wanted.instructions, wall_ms = wanted.wallMs,
    }
  end
end

return limits
