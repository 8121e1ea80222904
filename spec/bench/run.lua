-- SPDX-License-Identifier: Apache-2.0
-- Compares the plugin with Debian's bridge and host-local, and with the floor: the same netlink requests by a bare program.
-- In one run, in turns, with the same configuration, in the namespaces of a ring, without an interpreter inside what is
-- measured. Started by `make bench`.

package.path = "./?.lua;" .. package.path

local report = require "spec.bench.report"
local sections = require "spec.bench.sections"

local ORDER = { "single", "verbs", "burst", "reserved", "standing", "teardown", "counts" }

local usage = [[
usage: make bench ARGS="[OPTION...]"
  --only NAME,...    sections: single, verbs, burst, reserved, standing, teardown, counts (default: all)
  --pods N           pods of a round, one at a time (default 50)
  --rounds N         how often they come and go (default 4)
  --bursts N,...     so many at once (default 30,200)
  --standing N,...   pods that are there already, rising (default 10,100,1000)
  --guard            with ipspoofchk, which the reference does not know
  -o json            the figures as JSON
  --plot PREFIX      PREFIX.png and PREFIX.txt, by gnuplot]]

local options = {
  only = table.concat(ORDER, ","), pods = 50, rounds = 4, bursts = "30,200", standing = "10,100,1000", guard = false,
  o = "text", plot = "",
}

local function fail(...)
  io.stderr:write("bench: ", string.format(...), "\n")
  os.exit(1)
end

local position = 1
while arg[position] do
  local name = arg[position]:match "^%-%-?(.+)$"
  local default = options[name]
  if default == nil then
    print(usage)
    os.exit(name == "help" and 0 or 2)
  elseif type(default) == "boolean" then
    options[name] = true
  else
    position = position + 1
    options[name] = arg[position] or fail("--%s needs a value", name)
    if type(default) == "number" then
      options[name] = math.tointeger(options[name]) or fail("--%s needs a number", name)
    end
  end
  position = position + 1
end

local function numbers(name)
  local list = {}
  for word in options[name]:gmatch "[^,]+" do
    list[#list + 1] = math.tointeger(word) or fail("--%s needs numbers", name)
  end
  options[name] = list
end
numbers "bursts"
numbers "standing"

local wanted = {}
for name in options.only:gmatch "[^,]+" do
  if not sections[name] then fail("there is no section %q", name) end
  wanted[name] = true
end

local results = { machine = report.machine(), sections = {} }
for _, name in ipairs(ORDER) do
  if wanted[name] then
    local out = { name = name, rows = {}, ratios = {} }
    local ok, err = pcall(sections[name], out, options)
    if not ok then fail("%s", tostring(err)) end
    results.sections[#results.sections + 1] = out
  end
end
report[options.o == "json" and "json" or "text"](results)
if options.plot ~= "" then report.plot(results, options.plot) end
