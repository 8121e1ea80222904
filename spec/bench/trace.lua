-- SPDX-License-Identifier: Apache-2.0
-- What one call does, by strace: system calls, processes, threads, programs, netlink messages, libraries.

local worlds = require "spec.bench.world"

local trace = {}

local scratch = assert(os.getenv "TMPDIR")

-- Calls who with verb for a pod and returns what it did. The plugin is one process without libcurl and libnftables, or
-- the benchmark fails.
function trace.call(world, who, verb, pod)
  local path = scratch .. "/trace"
  worlds.run("env -i %s strace -f -qq -s 256 -o %s %s <%s", table.concat(world:environment(who, verb, pod), " "), path,
    who.program, who.input)
  local seen = { calls = 0, processes = 1, threads = 0, programs = 0, libraries = 0, sends = 0 }
  local ids = {}
  for line in io.lines(path) do
    local id, call = line:match "^(%d+) +([%w_]+)%("
    if id then
      seen.calls = seen.calls + 1
      if not ids[id] then
        ids[id] = true
        seen.threads = seen.threads + 1
      end
      if (call == "fork" or call == "vfork" or call:match "^clone") and not line:find "CLONE_THREAD" then
        seen.processes = seen.processes + 1
      elseif call == "execve" and not line:find "= %-1" then
        seen.programs = seen.programs + 1
      elseif call:match "^open" and line:find "%.so" and not line:find "= %-1" and not line:find "ld.so.cache" then
        seen.libraries = seen.libraries + 1
      elseif (call == "sendto" or call == "sendmsg") and line:find "nlmsg_" then
        seen.sends = seen.sends + 1
      end
    end
  end
  if not who.reference and (seen.processes ~= 1 or seen.programs ~= 1 or seen.libraries ~= 0) then
    error(("%s %s: %d processes, %d programs, %d libraries"):format(who.label, verb, seen.processes, seen.programs,
      seen.libraries), 0)
  end
  return seen
end

return trace
