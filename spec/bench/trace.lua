-- SPDX-License-Identifier: Apache-2.0
-- What one call does, where no clock is asked.

local strace = require "spec.support.strace"
local worlds = require "spec.bench.world"

local trace = {}

local scratch = assert(os.getenv "TMPDIR")

-- Calls who with verb for a pod and returns what it did (strace.count). The plugin is one process that loads no library,
-- or the benchmark fails.
function trace.call(world, who, verb, pod)
  local path = scratch .. "/trace"
  worlds.run("env -i %s %s %s <%s", table.concat(world:environment(who, verb, pod), " "),
    table.concat(strace.words(path), " "), who.program, who.input)
  local seen = strace.count(path)
  if not who.reference and (seen.processes ~= 1 or seen.programs ~= 1 or seen.libraries ~= 0) then
    error(("%s %s: %d processes, %d programs, %d libraries"):format(who.label, verb, seen.processes, seen.programs,
      seen.libraries), 0)
  end
  return seen
end

return trace
