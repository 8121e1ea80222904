-- SPDX-License-Identifier: Apache-2.0
-- mncni trace: the CNI calls of this node as they happen, ours or not, and what the kernel changed in each.

local core = require "mncni.core"
local terminal = require "mncni.terminal"
local trace_file = require "mncni.trace_file"
local trace_print = require "mncni.trace_print"
local words = require "mncni.words"

local command = {}

command.summary = "shows every CNI call of this node and what it changes, live"
command.about = [[
A block for each call, when it has ended: who called which plugin for which pod, its configuration, every change of
links, addresses, routes, neighbours, rules and nftables with its time from the start, delegates indented, and the
result. "?" marks a change that is a call's because no other ran; "!" a request of our plugin that the kernel refused.
The first line says what is watched, and what is therefore not seen. Calls are not touched. Needs root.]]
command.options = {
  { "pod", value = "POD", doc = "only this pod's: NAMESPACE/NAME, NAME, or how the container's id begins" },
  { "plugin", value = "NAME", doc = "only calls of this plugin, or that delegate to it" },
  { "failed", doc = "only calls that failed" },
  { "all", doc = "also what mirrors something shown: fdb, bridge VLANs, generations of nftables" },
  { "output", short = "o", value = "json", choices = { { "json" } }, doc = "a line of JSON for each" },
  { "json", doc = "the same as -o json" },
  { "record", value = "FILE", doc = "keeps all of it, whatever is shown, in a file" },
  { "read", value = "FILE", doc = "shows what --record has kept" },
  { "pcap", value = "FILE", doc = "keeps netlink messages for wireshark: all, with nlmon, else notifications" },
  { "without", value = "SOURCE", many = true, doc = "leaves out a source, to see what it is needed for",
    choices = {
      { "proc" }, { "fanotify" }, { "pipes" }, { "route" }, { "nft" }, { "reports" }, { "cache" }, { "nlmon" },
    } },
  { "for", value = "SECONDS", doc = "ends after that time" },
  { "node", value = "PID", doc = "of a process of the node, where that is a container, as kind's are" },
  { "bin-dir", value = "DIR", many = true, doc = "of plugins (default /opt/cni/bin, /usr/lib/cni, /usr/libexec/cni)" },
  { "cache-dir", value = "DIR", doc = "libcni's cache (default /var/lib/cni/results)" },
  { "state-dir", value = "DIR", doc = "of our plugin (default $MNCNI_STATE_DIR or /run/mncni)" },
}
command.exit = "0, 1 when nothing can be watched or a file cannot be used, 2 for a mistake in the options."

local function failure(message, ...)
  return { status = 1, stderr = "mncni trace: " .. message:format(...) }
end

local function runs(told, plugin)
  local found = told.plugin == plugin or told.policy == plugin
  for _, delegate in ipairs(told.delegates) do
    found = found or runs(delegate, plugin)
  end
  return found
end

-- Whether something told is to be shown. What is lost always is.
local function is_wanted(told, given)
  if told.type ~= "call" and told.type ~= "change" then
    return true
  elseif given.pod and not words.is_of({ pod = trace_print.pod(told), container = told.container }, given.pod) then
    return false
  elseif told.type == "change" then
    return not given.plugin and not given.failed
  end
  return (not given.plugin or runs(told, given.plugin)) and (not given.failed or trace_print.failed(told))
end

-- The function that shows what is told. It returns false when nobody reads it any more, which is known once it is flushed.
local function shower(given)
  local json = given.json or given.output == "json"
  local paint = terminal.painter()
  return function(told)
    if not is_wanted(told, given) then
      return true
    end
    return io.stdout:write(json and trace_file.line(told) or trace_print.lines(told, paint), "\n") ~= nil
  end
end

local function show_file(given, show)
  local file, message = io.open(given.read)
  if not file then
    return failure("%s; give a file that --record has made", message)
  end
  local count = 0
  for line in file:lines() do
    count = count + 1
    local told = trace_file.read(line)
    if not told then
      file:close()
      return failure("%s:%d is not what --record writes", given.read, count)
    elseif not show(told) then
      break
    end
  end
  file:close()
  return { status = 0 }
end

-- Opens a file to be written, or says why not.
local function opened(path, open)
  local ok, file, message = pcall(open, path)
  if not ok or not file then
    return nil, ("%s; choose a file that can be written"):format(ok and message or tostring(file))
  end
  return file
end

local function without(given)
  local set = {}
  for _, name in ipairs(given.without or {}) do
    set[name] = true
  end
  return set
end

-- Returns why a file could not be written to its end, and which.
local function watch(given, show, record, capture)
  local trace = require "mncni.trace"
  local going, wrong = true, nil
  local watched <close> = trace.open {
    node = given.pid, without = without(given), directories = given["bin-dir"], cache = given["cache-dir"],
    state_dir = words.state_dir(given), all = given.all, capture = capture,
    tell = function(told)
      if record then
        local kept, why = record:write(trace_file.line(told), "\n")
        wrong = wrong or not kept and ("%s: %s"):format(given.record, why) or nil
      end
      going = show(told) and going
    end,
  }
  local clock = require("mncni.record").clock
  local deadline = given["for"] and clock() + given.seconds * 1000000
  local function flush(file, path)
    local kept, why = true, nil
    if file then
      kept, why = file:flush()
    end
    wrong = wrong or not kept and ("%s: %s"):format(path, why) or nil
  end
  local function flushed()
    flush(record, given.record)
    flush(capture, given.pcap)
    wrong = wrong or watched.full and ("%s: %s"):format(given.pcap, watched.full)
    return not wrong and io.stdout:flush() ~= nil
  end
  while going and flushed() and (not deadline or clock() < deadline) do
    going = watched:step(200) and going
  end
  return wrong
end

function command.run(given)
  local show = shower(given)
  if given.read then
    return show_file(given, show)
  end
  given.seconds = tonumber(given["for"])
  given.pid = math.tointeger(tonumber(given.node))
  if given["for"] and not given.seconds then
    return words.usage("trace", "--for is a number of seconds, not %q", given["for"])
  elseif given.node and not (given.pid and core.file.target(("/proc/%d/ns/net"):format(given.pid))) then
    return failure("there is no process %s whose namespace can be seen; --node takes the number of one, and root",
      given.node)
  end
  local record, capture, wrong
  if given.record then
    record, wrong = opened(given.record, function(path) return io.open(path, "w") end)
  end
  if given.pcap and not wrong then
    capture, wrong = opened(given.pcap, require("mncni.trace_pcap").open)
  end
  if wrong then
    return failure("%s", wrong)
  end
  wrong = watch(given, show, record, capture)
  for _, file in pairs { record, capture } do
    file:close()
  end
  return wrong and failure("%s; the trace has ended, and the file is not whole", wrong) or { status = 0 }
end

return command
