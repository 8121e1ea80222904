-- SPDX-License-Identifier: Apache-2.0
-- `mncni trace` beside a spec of the containerd ring, and what is to be found in what it tells.

local assert = require "luassert"
local json = require "dkjson"
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

-- How much was seen: fractions of calls with their configuration from stdin and their result from stdout, and of
-- changes that are a call's, by whom the changes are known to be.
function traced.figures(told)
  local figures = { calls = 0, stdin = 0, results = 0, stdout = 0, changes = 0, by = {}, nobodys = 0 }
  traced.each(told.calls, function(call)
    figures.calls = figures.calls + 1
    figures.stdin = figures.stdin + (call.config_from == "stdin" and 1 or 0)
    if call.command == "ADD" then
      figures.results = figures.results + 1
      figures.stdout = figures.stdout + (call.result_from == "stdout" and 1 or 0)
    end
    for _, change in ipairs(call.changes) do
      figures.changes = figures.changes + 1
      figures.by[change.by] = (figures.by[change.by] or 0) + 1
    end
  end)
  for _, change in ipairs(told.changes) do
    figures.nobodys = figures.nobodys + (change.running and 1 or 0)
  end
  return figures
end

function traced.print_figures(name, told)
  print(("\n%s: %s"):format(name, json.encode(traced.figures(told))))
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
