-- SPDX-License-Identifier: Apache-2.0
-- What strace has written down of a program and all that it started, in numbers.

local strace = {}

-- The words before a command that have it written to a file.
function strace.words(path)
  return { "strace", "-f", "-qq", "-s", "256", "-o", path }
end

-- Counts of the file: calls (system calls), processes, threads, programs, sends (netlink), libraries.
function strace.count(path)
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
  return seen
end

return strace
