-- SPDX-License-Identifier: Apache-2.0
-- Input: a line for each thing that a trace reads, its first letter says what
--   c  a call begins: command, plugin, container, interface, namespace, arguments, with tabs between them
--   0 1 2  what was seen of the last call's standard input, output, error
--   l  a link with this name appears in the last call's namespace
--   r  the last call's report; R one of a call that nobody has seen
--   f  what libcni's cache has for every call
--   x  the last call ends, with this byte as its status
--   s  a line that --read is to show
-- What is told is a line of JSON that can be read again and says the same to a person, in text without anything that a
-- terminal would obey.

local core = require "mncni.core"

local records, now, cached, last

local tracer = {
  open = function()
    return { next = function() return table.remove(records, 1) end, close = function() end }, {}
  end,
  now = function() return now end,
  offset = function() return 0 end,
}
local handle = {
  close = function() end, link = { list = function() return ipairs {} end, absent = function() end },
  nsid = { get = function() return { nsid = 3 } end },
}
package.loaded["mncni.trace_core"] = tracer
package.loaded["mncni.netns"] = {
  open = function() return setmetatable({}, { __index = handle, __close = handle.close }) end,
}
package.loaded["mncni.net"] = { of = function() return handle end }

local check = dofile "spec/fuzz/check.lua"
local cache = require "mncni.trace_cache"
local file = require "mncni.trace_file"
local print_of = require "mncni.trace_print"
local trace = require "mncni.trace"

function cache.find()
  return cache.parse(cached)
end

local function is_harmless(text)
  return utf8.len(text) and not text:find "[%z\1-\9\11-\31\127]"
end

local function shown(told)
  local text = print_of.lines(told)
  assert(is_harmless(text), "a terminal would obey this")
  return text
end

local function tell(told)
  local line = file.line(told)
  assert(utf8.len(line) and not line:find "[%z\1-\31]", "no line")
  local again = file.read(line) or error("cannot be read again: " .. line)
  assert(file.line(again) == line, "reads as something else")
  shown(told)
  check.equal(shown(again), shown(file.read(file.line(again))), "shown differently")
end

local function record(type, fields)
  now = now + 1000000
  fields.type, fields.time = type, now
  fields.pid = fields.pid or last
  fields.data = fields.data or ""
  records[#records + 1] = fields
end

local keys = { "CNI_COMMAND", "plugin", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS" }

local take = {
  c = function(rest)
    local data = { parent = tostring(last), caller = "runtime", nsid = "3", inode = "1", number = "1" }
    local fields = (rest:gsub("%z", "") .. "\t"):gmatch "([^\t]*)\t"
    for _, key in ipairs(keys) do
      data[key] = fields()
    end
    last = last + 1
    record("call", { data = data })
  end,
  l = function(rest)
    local ok, message = pcall(core.encode, "new", "link", { ifname = rest, ifindex = #rest + 1, kind = "veth" })
    if ok then
      record("message", { data = message, other = 0, nsid = 3 })
    end
  end,
  r = function(rest) record("report", { data = rest }) end,
  R = function(rest) record("report", { data = rest, pid = 4242 }) end,
  f = function(rest) cached = rest end,
  x = function(rest) record("exit", { other = (rest:byte() or 0) << 8 }) end,
  s = function(rest)
    local told = file.read(rest)
    if told then
      tell(told)
    end
  end,
}
for number = 0, 2 do
  take[tostring(number)] = function(rest) record("output", { other = number, data = rest }) end
end

return function(text)
  records, now, cached, last = {}, 1000000000, "", 100
  for kind, rest in (text .. "\n"):gmatch "(.)([^\n]*)\n" do
    if take[kind] then
      take[kind](rest)
    end
  end
  local watched <close> = trace.open { tell = tell, state_dir = "/run/mncni", without = {} }
  watched:step(0)
end
