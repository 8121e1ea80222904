-- SPDX-License-Identifier: Apache-2.0
-- Programs that run beside a spec: started here, and ended only when they are still those that were started.
--
--   local server = processes.start { argv = { "httpd", "-f", scratch }, log = scratch .. "/httpd.log" }
--   processes.wait(10, function() return server:tail():find "ready" end)
--   server:stop()

local core = require "mncni.core"
local spaces = require "spec.support.netns"

local processes = {}
local process = {}
process.__index = process

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

-- Calls condition until it returns something true, and returns that; nil after so many seconds.
function processes.wait(seconds, condition)
  local deadline = os.time() + seconds
  repeat
    local value = condition()
    if value then return value end
    core.exec { argv = { "sleep", "0.05" } }
  until os.time() > deadline
end

-- The state of a process, its number of threads and the time it was started at, or nil when there is no such process
-- (proc_pid_stat(5)).
local function stat_of(pid)
  local ok, text = pcall(read, ("/proc/%d/stat"):format(pid))
  local state, threads, since = (ok and text or ""):match("^.*%) (%S)" .. (" %S+"):rep(16) .. " (%d+) %S+ (%d+)")
  return state, tonumber(threads), since
end

-- start{ argv =, log = the file that its output is added to }
function processes.start(args)
  local words = {}
  for i, word in ipairs(args.argv) do words[i] = spaces.quote(word) end
  local command = ("%s </dev/null >>%s 2>&1 & echo $!"):format(table.concat(words, " "), spaces.quote(args.log))
  local pid = tonumber(spaces.must(command))
  local _, _, since = stat_of(pid)
  return setmetatable({ pid = pid, since = since, log = args.log }, process)
end

-- Whether it runs: there is a process of its number, which was started when it was, and is no zombie. Its arguments would
-- not tell: there are none in the middle of an exec. The first thread of a process that was killed is a zombie before the
-- others are gone, and its ports are free with the last of them.
function process:alive()
  local state, threads, since = stat_of(self.pid)
  return state ~= nil and since == self.since and (state ~= "Z" or threads > 1)
end

-- Ends it with a signal (TERM), and with KILL when it still runs after so many seconds (10). Returns whether it needed
-- no KILL.
function process:stop(signal, seconds)
  local function ended() return not self:alive() end
  if ended() then return true end
  spaces.sh("kill -%s %s", signal or "TERM", self.pid)
  if processes.wait(seconds or 10, ended) then return true end
  spaces.sh("kill -KILL %s", self.pid)
  processes.wait(10, ended)
  return false
end

-- Its resident memory in MiB, and the processor time that it has used in seconds.
function process:usage()
  local resident = read(("/proc/%d/status"):format(self.pid)):match "VmRSS:%s*(%d+)"
  local stat = read(("/proc/%d/stat"):format(self.pid)):match "^.*%) (.*)"
  local user, system = stat:match(("%S+ "):rep(11) .. "(%d+) (%d+)") -- ticks, of which there are 100 in a second
  return tonumber(resident) // 1024, (tonumber(user) + tonumber(system)) / 100
end

-- The last lines (20) of its log.
function process:tail(lines)
  return (spaces.sh("tail -n %s %s", lines or 20, self.log))
end

return processes
