-- SPDX-License-Identifier: Apache-2.0
-- The command line: mncni SUBCOMMAND ..., each subcommand a module mncni.cmd.NAME (mncni.words says what is in it).

local core = require "mncni.core"
local words_of = require "mncni.words"

local command = {}

-- The subcommands in the order in which they are told.
command.names = { "calls", "completion", "gc", "lint", "list", "new", "repl", "trace", "try", "warm" }

local function about()
  local lines = {
    "mncni " .. core.version .. ": a CNI plugin whose networks are Lua policies.",
    "CNI protocol versions supported: " .. table.concat(require("mncni.result").versions, ", "),
    "",
    "A container runtime runs it with CNI_COMMAND set (ADD, DEL, CHECK, GC, STATUS, VERSION).",
    "Policies are looked for in " .. table.concat(core.policy.directories(), ":")
      .. " and then among those built in:",
  }
  for _, policy in ipairs(require("mncni.policy").names()) do
    lines[#lines + 1] = ("  %-16s %s"):format(policy.name, policy.source)
  end
  lines[#lines + 1] = ""
  for _, name in ipairs(command.names) do
    lines[#lines + 1] = ("mncni %-10s %s"):format(name, require("mncni.cmd." .. name).summary)
  end
  lines[#lines + 1] = "mncni version    prints the version"
  lines[#lines + 1] = "mncni SUBCOMMAND --help tells more."
  return table.concat(lines, "\n")
end

-- What an error of a subcommand is answered with: a line, and with --debug where it came from.
local function failure(name, given, err, stack)
  return {
    status = 1, stderr = ("mncni %s: %s%s"):format(name, tostring(err), given.debug and "\n" .. stack or ""),
  }
end

local function run(name, words)
  local subcommand, given = require("mncni.cmd." .. name), words
  if not subcommand.raw then
    local wrong
    given, wrong = words_of.parse(name, subcommand, words)
    if not given then
      return wrong
    elseif given.help then
      return { status = 0, stdout = words_of.help(name, subcommand) }
    end
  end
  local stack
  local ok, reply = xpcall(subcommand.run, function(err)
    stack = debug.traceback(nil, 2)
    return err
  end, given)
  return ok and reply or failure(name, given, reply, stack)
end

-- run(words) -> { status, stdout, stderr }: what the host prints and returns.
function command.run(words)
  local name = words[1]
  if not name then
    return { status = 0, stderr = about() }
  end
  if name == "help" or name == "--help" or name == "-h" then
    return { status = 0, stdout = about() }
  end
  if name == "version" or name == "--version" then
    return { status = 0, stdout = core.version }
  end
  for _, known in ipairs(command.names) do
    if known == name then
      return run(name, table.move(words, 2, #words, 1, {}))
    end
  end
  local nearest = core.nearest(name, command.names)
  return {
    status = 2,
    stderr = ("mncni: there is no subcommand %q%s; \"mncni help\" lists them"):format(
      name, nearest and (", did you mean \"" .. nearest .. "\"?") or ""),
  }
end

return command
