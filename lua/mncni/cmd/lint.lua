-- SPDX-License-Identifier: Apache-2.0
-- mncni lint: what is wrong with policies, before a pod finds it.

local core = require "mncni.core"
local inspect = require "mncni.inspect"
local lint = require "mncni.lint"
local words = require "mncni.words"

local cmd = {}

cmd.summary = "tells what is wrong with policies, before a pod finds it"
cmd.arguments = "POLICY..."
cmd.about = [[
POLICY is the name of a policy, or the path of a file. Each is loaded with the limits that a pod's call has, and its
text is read: hooks, declarations of options, globals, options and calls that do not exist, and whether the file may be
trusted. A line FILE:LINE: error: MESSAGE tells of each finding.]]
cmd.options = {
  { "output", short = "o", value = "json", choices = { { "json" } }, doc = "tell all of it as one JSON document" },
}
cmd.exit = "0 when there are no errors, 1 when there are, 2 for a mistake in the words."

function cmd.run(given)
  local named = {}
  for i, word in ipairs(given) do
    local one, why = inspect.named(word)
    if not one then
      return words.usage("lint", "%s", why)
    end
    named[i] = one
  end
  local status, lines, report = 0, {}, core.json.array {}
  for i, one in ipairs(named) do
    local told = inspect.look(one)
    for _, finding in ipairs(told.findings) do
      lines[#lines + 1] = lint.line(finding)
      status = finding.severity == "error" and 1 or status
    end
    told.policy = one.name
    report[i] = told
  end
  if given.output then
    return { status = status, stdout = core.json.encode(report, { pretty = true }) }
  end
  return { status = status, stdout = #lines > 0 and table.concat(lines, "\n") or nil }
end

return cmd
