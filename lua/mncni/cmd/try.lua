-- SPDX-License-Identifier: Apache-2.0
-- mncni try: a policy at work where no pod is.

local core = require "mncni.core"
local contains = require "mncni.contains"
local inspect = require "mncni.inspect"
local lint = require "mncni.lint"
local scratch = require "mncni.scratch"
local tell = require "mncni.trial_text"
local words = require "mncni.words"

local cmd = {}

cmd.summary = "runs a policy where no pod is, and shows what it does"
cmd.arguments = "POLICY [CONF]"
cmd.about = [[
POLICY is the name of a policy, or the path of a file; CONF a file with a network configuration or a list of them,
for a policy of the agent a list of nodes, whose first is this one. As root, ADD, CHECK and DEL run in network
namespaces that look like this node (the link of its default route, families, MTU) and end with the program: the steps
as lines of ip and nft, the result, pings, times, and what is left. Without root the steps are those that the recorded
net would see. What a policy of the agent would do is told by mncni-agent --dry-run.]]
cmd.options = {
  { "set", value = "NAME=VALUE", many = true, doc = "an option of the policy, VALUE as JSON or a plain string" },
  { "watch", short = "w", doc = "again whenever a file of it was saved" },
  { "output", short = "o", value = "json", choices = { { "json" } }, doc = "tell all of it as one JSON document" },
}
cmd.exit = "0 when all went well and nothing is left, 1 when not, 2 for a mistake in the words."

-- Whether this process may make network namespaces.
local function is_able()
  local ok, made = pcall(core.netns.create)
  if ok then
    made:close()
  elseif made.name ~= "EPERM" then
    error(made, 0)
  end
  return ok
end

local function failed(calls)
  for _, call in ipairs(calls) do
    if call.error then
      return true
    end
  end
  return false
end

-- The pod's life. Adds to the report, telling each part as it is known; returns whether all went well.
local function live(trial, given, report, out)
  local well = true
  local function tell_calls(calls)
    table.move(calls, 1, #calls, #report.calls + 1, report.calls)
    for _, call in ipairs(calls) do
      out(tell.call(call))
    end
    well = well and not failed(calls)
  end
  local before, pod = trial.node:look(), trial:pod()
  tell_calls(trial:add(pod))
  if pod.whole and not given[2] then
    trial:drop_ipam()
  end
  if pod.whole then
    report.pings = core.json.array(trial:pings(pod))
    for _, ping in ipairs(report.pings) do
      out(tell.ping(ping))
      well = well and not ping.error
    end
    tell_calls(trial:check(pod))
  end
  tell_calls(trial:del(pod))
  local left, stays = trial:left(before, trial.node:look())
  report.left, report.stays = core.json.array(left), core.json.array(stays)
  out(tell.rest(left, stays))
  return well and #left == 0
end

-- Without root: what the recorded net sees of it.
local function plan(trial, list, report, out)
  local answer, err = inspect.run(trial.named, "mncni.trial_plan",
    core.json.encode { list = list, shape = trial.shape, directory = trial.directory })
  if not answer then
    answer = { calls = { { command = "ADD", plugin = trial.named.name, error = err, steps = {} } } }
  end
  report.calls, report.plan = answer.calls, true
  for _, call in ipairs(answer.calls) do
    out(tell.call(call))
  end
  return not failed(answer.calls)
end

-- What the agent would do: that of a node or, for a policy that says that it is one for it, a controller.
local function dry_run(trial, given, report, out)
  local outcome = require("mncni.trial_agent").run(trial, given[2], given.set)
  report.agent = { status = outcome.status, stdout = outcome.stdout, stderr = outcome.stderr }
  out(outcome.stderr ~= "" and outcome.stderr:gsub("\n$", "") or nil)
  local said = outcome.stdout:gsub("\n$", "")
  out(said ~= "" and said or outcome.status == 0 and "Nothing would be changed." or nil)
  return outcome.status == 0
end

-- What there is to tell of a policy is told by out as it comes. Returns the report.
local function try(named, given, out)
  local told = inspect.look(named)
  local report = { policy = named.name, path = told.path, findings = told.findings, calls = core.json.array {} }
  for _, finding in ipairs(told.findings) do
    out(lint.line(finding))
    report.ok = finding.severity ~= "error" and report.ok or false
  end
  if #told.hooks == 0 then
    report.ok = false
    return report
  end
  local able = is_able()
  local shape
  do
    local host <close> = require("mncni").open()
    shape = scratch.shape(host)
  end
  local trial <close> = require("mncni.trial").new(named, shape)
  local well
  report.node = shape
  local is_agents = contains(told.hooks, "desired") and not contains(told.hooks, "add")
  out(("%s (%s) on %s: %s"):format(named.name, told.path, able and "a scratch node"
    or is_agents and "this node" or "the recorded net, for want of root", scratch.describe(shape)))
  if is_agents then
    trial:prepare({ plugins = {} }, able)
    well = dry_run(trial, given, report, out)
  else
    local list = require("mncni.trial_conf").new {
      named = named, told = told, path = given[2], shape = shape, directory = trial.directory,
      sets = given.set,
    }
    trial:prepare(list, able)
    if able then
      well = live(trial, given, report, out)
    else
      well = plan(trial, list, report, out)
    end
  end
  report.ok = report.ok == nil and well or false
  return report
end

-- Runs this program again for each time that a file of the directory was saved. Never returns.
local function watch(named, given)
  local path = inspect.look(named).path
  if path == "built in" then
    return words.usage("try", "%q is built in, and nobody saves it; give the path of a file", named.name)
  end
  local inotify <close> = core.inotify()
  local argv = { "/proc/self/exe", "try", given[1], given[2] }
  for _, set in ipairs(given.set or {}) do
    table.move({ "--set", set }, 1, 2, #argv + 1, argv)
  end
  for _, file in ipairs { path, given[2] } do
    inotify:add(file:match "^(.*)/[^/]*$" or ".")
  end
  local terminal = core.file.is_terminal(1)
  local conf = given[2] and given[2]:match "[^/]+$"
  while true do
    local outcome = core.exec { argv = argv, timeout = 600000, max_output = 1 << 24 }
    io.write(terminal and "\27[H\27[2J" or "", os.date "%H:%M:%S ", outcome.stdout, "\n")
    io.flush()
    local saved = false
    repeat
      inotify:wait(-1)
      repeat -- an editor saves by several steps
        for _, event in ipairs(inotify:read()) do
          saved = saved or not event.name or event.name:find "%.lua$" ~= nil or event.name == conf
        end
      until not inotify:wait(100)
    until saved
  end
end

function cmd.run(given)
  local named, why = inspect.named(given[1])
  if not named then
    return words.usage("try", "%s", why)
  elseif given[2] and not core.file.mode(given[2]) and not core.file.target(given[2]) then
    return words.usage("try", "%q: there is no such file", given[2])
  end
  for _, set in ipairs(given.set or {}) do
    if not set:find "^[^=]+=" then
      return words.usage("try", "--set takes NAME=VALUE, not %q", set)
    end
  end
  if given.watch and given.output then
    return words.usage("try", "--watch is for people, and --output for scripts; take one")
  elseif given.watch then
    return watch(named, given)
  end
  local report = try(named, given, function(text)
    if text and not given.output then
      print(text)
      io.flush()
    end
  end)
  if given.output then
    return { status = report.ok and 0 or 1, stdout = core.json.encode(report, { pretty = true }) }
  end
  return { status = report.ok and 0 or 1 }
end

return cmd
