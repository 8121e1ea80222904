-- SPDX-License-Identifier: Apache-2.0
-- `mncni trace` beside a spec of the kernel or vm ring, in a namespace of the spec's.
--
--   local trace = tracing.start(node.space, node.scratch, "--without", "nft")
--   ...
--   local told = trace:stop()      -- what it told: sources, calls, changes, lost; or as text with trace:text()

local core = require "mncni.core"
local processes = require "spec.support.process"
local spaces = require "spec.support.netns"

local tracing = {}

local Trace = {}
Trace.__index = Trace

local BIN = spaces.must("realpath %s", (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni")

-- AddressSanitizer keeps what has been freed, 256 MB of it, and a trace is asked for its memory.
local OPTIONS = "ASAN_OPTIONS=quarantine_size_mb=1:" .. (os.getenv "ASAN_OPTIONS" or "")

local serial = 0

-- Starts it in the space, with files in the directory, and waits until it watches.
function tracing.start(space, directory, ...)
  serial = serial + 1
  local out = ("%s/trace.%d"):format(directory, serial)
  local process = processes.start {
    argv = { "env", OPTIONS, "nsenter", "--net=" .. space.path, BIN, "trace", "--state-dir",
      directory .. "/state", "--bin-dir", directory .. "/bin", ... },
    log = out,
  }
  local self = setmetatable({ process = process, out = out }, Trace)
  assert(processes.wait(20, function()
    return self:text():find("\n", 1, true) or not process:alive()
  end), "the trace has not begun")
  return self
end

function Trace:text()
  local file <close> = assert(io.open(self.out))
  return file:read "a"
end

-- Waits until the text has the words; raises when they do not come.
function Trace:wait(words)
  return assert(processes.wait(60, function() return self:text():find(words, 1, true) end),
    ("no %q in:\n%s"):format(words, self:text()))
end

-- Sorts lines of JSON: sources, calls, changes, lost.
function tracing.sorted(text)
  local told = { calls = {}, changes = {}, lost = {} }
  for line in text:gmatch "[^\n]+" do
    local item = core.json.decode(line)
    if item.type == "sources" then
      told.sources = item
    else
      table.insert(told[item.type == "lost" and "lost" or item.type .. "s"], item)
    end
  end
  return told
end

-- Ends it as Ctrl-C does, and returns its text, or what it told where that is JSON.
function Trace:stop()
  assert(self.process:stop("INT"), "the trace did not end:\n" .. self:text())
  local text = self:text()
  return text:sub(1, 1) == "{" and tracing.sorted(text) or text
end

-- The lines of changes in a call and its delegates, as "pod: address add ...".
function tracing.changes(call)
  local lines = {}
  for _, change in ipairs(call.changes) do
    lines[#lines + 1] = change.netns .. ": " .. change.text
  end
  for _, delegate in ipairs(call.delegates) do
    lines[#lines + 1] = tracing.changes(delegate)
  end
  return table.concat(lines, "\n")
end

return tracing
