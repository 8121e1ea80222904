-- SPDX-License-Identifier: Apache-2.0
-- The command line: mncni SUBCOMMAND ..., each subcommand a module mncni.cmd.NAME with run(words).

local core = require "mncni.core"

local command = {}

-- In the order in which they are told: name, and what it does. All but version are modules mncni.cmd.NAME; the host
-- starts repl itself, in a state without limits.
local subcommands = {
  { "gc", "removes attachments that are proven dead; mncni gc --help" },
  { "repl", "a Lua prompt with mncni in it; mncni repl --help" },
  { "version", "prints the version" },
}

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
  for _, subcommand in ipairs(subcommands) do
    lines[#lines + 1] = ("mncni %-18s %s"):format(table.unpack(subcommand))
  end
  return table.concat(lines, "\n")
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
  local known = {}
  for i, subcommand in ipairs(subcommands) do
    known[i] = subcommand[1]
    if known[i] == name then
      return require("mncni.cmd." .. name).run(table.move(words, 2, #words, 1, {}))
    end
  end
  local nearest = core.nearest(name, known)
  return {
    status = 2,
    stderr = ("mncni: there is no subcommand %q%s; \"mncni help\" lists them"):format(
      name, nearest and (", did you mean \"" .. nearest .. "\"?") or ""),
  }
end

return command
