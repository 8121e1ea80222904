-- SPDX-License-Identifier: Apache-2.0
-- The record of calls: what the last 256 CNI calls on this node did, kept in the state directory.

local core = require "mncni.core"

local record = {}

-- Microseconds of a monotonic clock, to measure a call with.
record.clock = core.record.clock

-- Adds a call: { verb, policy, network, pod ("default/web"), container, ifname, netns, duration (microseconds), code (0:
-- success), message (of the error, or the warnings of a success), ignored (list of keys), trace, document (what the
-- runtime is told, for the whole record) }. Raises when it cannot be written, which is no reason to fail the call.
function record.write(state_dir, call)
  core.record.write(state_dir, call)
end

-- The calls as a list of tables, newest first: what write was given, and format, number, time (RFC 3339, UTC) and, for
-- a STATUS or VERSION that came again and again, repeated. A damaged record is left out.
function record.list(state_dir)
  local calls = {}
  local lines, numbers = core.record.read(state_dir)
  for i, line in ipairs(lines) do
    local ok, call = pcall(core.json.decode, line)
    if ok then
      call.number = numbers[i]
      calls[#calls + 1] = call
    end
  end
  return calls
end

return record
