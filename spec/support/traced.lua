-- SPDX-License-Identifier: Apache-2.0
-- `mncni trace` beside a spec of the containerd ring, and what is to be found in what it tells.

local assert = require "luassert"
local lab = require "spec.support.containerd"

local traced = {}

local Trace = {}
Trace.__index = Trace

local dir = os.getenv "MNCNI_BESIDE"

local function ready(path)
  return lab.try("grep", "-q", "sources", path) == "" and lab.read(path):find "\n" ~= nil
end

-- Starts a trace with these arguments: in the machine's process namespace, or inside, where there are no process events.
function traced.start(arguments, inside)
  local self = setmetatable({ inside = inside }, Trace)
  if inside then
    self.dir = lab.run("mktemp", "-d", "/run/trace.XXXXXX")
    lab.shell(("%s/bin/mncni trace -o json %s >%s/out 2>%s/err & echo $! >%s/pid"):format(os.getenv "MNCNI_BUILD",
      arguments, self.dir, self.dir, self.dir))
  else
    self.dir = dir
    for _, name in ipairs { "out", "pid", "status" } do os.remove(dir .. "/" .. name) end
    lab.write(dir .. "/start", "-o json " .. arguments)
  end
  lab.wait_until("the trace to begin", function()
    local _, there = lab.try("test", "-s", self.dir .. "/out")
    return there and ready(self.dir .. "/out")
  end)
  return self
end

-- Calls fn while the trace, of the machine's process namespace, does not get to run.
function Trace:hold(fn)
  local path = self.dir .. "/hold"
  lab.write(path, "please")
  lab.wait_until("the trace to be held", function() return lab.read(path) == "" end)
  local ok, err = pcall(fn)
  os.remove(path)
  assert(ok, err)
end

-- Ends it and returns what it told: the sources, the calls, the changes of nobody's call, and what was lost.
function Trace:stop()
  if self.inside then
    lab.run("kill", "-INT", (lab.read(self.dir .. "/pid"):gsub("%s", "")))
    lab.wait_until("the trace to end", function()
      return not select(2, lab.try("kill", "-0", (lab.read(self.dir .. "/pid"):gsub("%s", ""))))
    end)
  else
    lab.write(dir .. "/stop", "")
    local status = lab.wait_until("the trace to end", function()
      local _, there = lab.try("test", "-e", dir .. "/status")
      return there and lab.read(dir .. "/status")
    end)
    assert.equal("0\n", status)
  end
  assert.equal("", lab.read(self.dir .. "/err"))
  local told = { calls = {}, changes = {}, lost = {} }
  for line in io.lines(self.dir .. "/out") do
    local item = lab.decode(line)
    if item.type == "sources" then told.sources = item
    elseif item.type == "call" then table.insert(told.calls, item)
    elseif item.type == "change" then table.insert(told.changes, item)
    else table.insert(told.lost, item) end
  end
  return told
end

-- Calls fn(call, depth) for each call and its delegates.
function traced.each(calls, fn, depth)
  for _, call in ipairs(calls) do
    fn(call, depth or 0)
    traced.each(call.delegates, fn, (depth or 0) + 1)
  end
end

-- All texts of changes in a call and its delegates.
function traced.texts(call)
  local list = {}
  traced.each({ call }, function(one)
    for _, change in ipairs(one.changes) do list[#list + 1] = change.netns .. ": " .. change.text end
  end)
  return table.concat(list, "\n")
end

local function count(counts, key)
  counts[key] = (counts[key] or 0) + 1
end

-- What the kernel does by itself, up to a second or more after a link is up: whom it has heard of, link-local addresses,
-- and the route of IPv6 multicast.
local function is_kernels(change)
  return change.text:find "^neigh " ~= nil or change.text:find("fe80:", 1, true) ~= nil
    or change.text:find("multicast ff00::/8", 1, true) ~= nil and change.text:find("proto kernel", 1, true) ~= nil
end

-- How much was seen: from where configurations, and results of ADD, are known, and by what changes are put down to a call;
-- what changes are nobody's though calls ran, and how many of these are the kernel's own.
function traced.figures(told)
  local figures = { calls = 0, adds = 0, changes = 0, config = {}, result = {}, by = {}, nobodys = {}, kernels = 0 }
  traced.each(told.calls, function(call)
    figures.calls = figures.calls + 1
    count(figures.config, call.config_from or "unknown")
    if call.command == "ADD" then
      figures.adds = figures.adds + 1
      count(figures.result, call.result_from or "unknown")
    end
    for _, change in ipairs(call.changes) do
      figures.changes = figures.changes + 1
      count(figures.by, change.by)
    end
  end)
  for _, change in ipairs(told.changes) do
    if change.running and is_kernels(change) then
      figures.kernels = figures.kernels + 1
    elseif change.running then
      figures.changes = figures.changes + 1
      table.insert(figures.nobodys, change.netns .. ": " .. change.text)
    end
  end
  return figures
end

local function shares(counts, total)
  local list = {}
  for key, number in pairs(counts) do
    list[#list + 1] = ("%s %d (%.1f %%)"):format(key, number, 100 * number / total)
  end
  table.sort(list)
  return table.concat(list, ", ")
end

-- Prints the figures of what was told; returns the part of the changes that are put down to a call.
function traced.print_figures(name, told)
  local figures = traced.figures(told)
  print(("\n%s: %d calls, configurations: %s; %d results: %s; %d changes: %s, nobody's %d (%.1f %%); "
    .. "and %d of the kernel's own"):format(name,
    figures.calls, shares(figures.config, figures.calls), figures.adds, shares(figures.result, figures.adds),
    figures.changes, shares(figures.by, figures.changes), #figures.nobodys,
    100 * #figures.nobodys / figures.changes, figures.kernels))
  for i = 1, math.min(#figures.nobodys, 5) do print("  " .. figures.nobodys[i]) end
  return 1 - #figures.nobodys / figures.changes
end

-- A network of Debian's bridge and portmap, under names of their own.
function traced.reference_chain()
  local function borrow(name)
    lab.run("cp", "/run/private/machine-cni/" .. name, "/opt/cni/bin/reference-" .. name)
    return "reference-" .. name
  end
  return {
    cniVersion = "1.0.0", name = "reference", plugins = {
      { type = borrow "bridge", bridge = "trace0", isGateway = true, ipMasq = true,
        ipam = { type = borrow "host-local", ranges = { { { subnet = "10.244.8.0/24" } } },
          routes = { { dst = "0.0.0.0/0" } } } },
      { type = borrow "portmap", capabilities = { portMappings = true }, snat = true },
    },
  }
end

return traced
