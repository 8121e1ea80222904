-- SPDX-License-Identifier: Apache-2.0
-- One recorded call, whole: for people, as JSON, and as the line that repeats it.

local core = require "mncni.core"
local flight = require "mncni.flight"
local plan = require "mncni.agent_plan"
local terminal = require "mncni.terminal"
local text = require "mncni.text"

local call_text = {}

local PHASES = {
  start = "started, input read", load = "policy loaded", policy = "policy ran", kernel = "kernel", undo = "undone",
  answer = "answered", work = "worked",
}

-- What a step was before its journal made text of it: bytes stand there as digits, and namespaces as what they print.
local function restored(value, key)
  if type(value) == "table" then
    local copy = {}
    for name, item in pairs(value) do
      copy[name] = restored(item, name)
    end
    return copy
  elseif key == "netns" and type(value) == "string" then
    return value:match "^netns /proc/(%d+)/" or value:match "/netns/([^/]+)$" or value:gsub("^netns ", "")
  elseif key == "data" and type(value) == "string" and value:find "^0x%x*$" then
    return (value:sub(3):gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
  end
  return value
end

-- What a step would be on a command line; it may be of a newer release.
local function step_lines(step)
  local ok, lines = pcall(plan.lines, restored(step))
  if ok and #lines > 0 then
    return lines
  end
  return { ("%s %s %s"):format(step.object, step.verb, core.json.encode(step.args or {})) }
end

local function joined(list)
  return type(list) == "table" and table.concat(list, ", ") or "?"
end

-- What is behind a way back that has no step.
local function way_back(undo)
  if type(undo) ~= "table" or core.json.is_array(undo) then
    return core.json.encode(undo)
  elseif undo.op == "lease" then
    return ("address %s of %s"):format(joined(undo.addresses), tostring(undo.dir))
  elseif undo.op == "exec" then
    return "ran " .. joined(undo.argv)
  end
  return core.json.encode(undo)
end

local CUT = 200 -- bytes of a line that is told of what cannot be read

local function event_lines(event)
  local kind = event.kind
  if kind == "journal" then
    return { "journal begun" }
  elseif kind == "result" then
    return { "all steps done" }
  elseif kind == "rollback" then
    return { "rollback" }
  elseif kind == "del" then
    return { "undo by " .. event.text }
  elseif kind == "need" then
    return { ("needs %s %s"):format(event.step.object, core.json.encode(event.step.args or {})) }
  elseif kind == "stuck" then
    return { "could not be undone: " .. event.text }
  elseif kind == "cut" then
    return { text.cut(text.valid(event.text), CUT) .. " (cut)" }
  elseif event.step then
    return step_lines(event.step)
  end
  return { way_back(event.undo) }
end

local COLOURS = { stuck = "red", undone = "yellow", rollback = "yellow" }
local MARKS = { undone = "undone: " }

-- Adds the lines of the events: time, in whose network, what, and the line of Lua that asked for it.
local function add_events(lines, call)
  local rows, colours = {}, {}
  for _, event in ipairs(call.events) do
    local step = event.step or {}
    for i, line in ipairs(event_lines(event)) do
      local where = i == 1 and step.where and ("  (%s)"):format(step.where) or ""
      rows[#rows + 1] = {
        i == 1 and ("+%.2f ms"):format(event.at / 1000) or "", i == 1 and step.net or "",
        terminal.line((MARKS[event.kind] or "") .. line .. where),
      }
      colours[#rows] = COLOURS[event.kind]
    end
  end
  for _, line in ipairs(terminal.columns(rows, { [1] = true }, function(n) return colours[n] end)) do
    lines[#lines + 1] = "  " .. line
  end
end

local function add_text(lines, title, body)
  lines[#lines + 1] = ""
  lines[#lines + 1] = title
  for _, line in ipairs(terminal.lines(body)) do
    lines[#lines + 1] = "  " .. line
  end
end

-- JSON as people read it, and anything else as it is.
local function shaped(bytes)
  local ok, value = pcall(core.json.decode, bytes)
  return ok and core.json.encode(value, { pretty = true }) or bytes
end

local function title(call)
  local who = call.pod and ("pod %s (container %s)"):format(call.pod, call.container or "?")
    or call.container and "container " .. call.container
  local parts = { ("call %d: %s"):format(call.number, call.verb or "?") }
  parts[#parts + 1] = who and "of " .. who or nil
  parts[#parts + 1] = call.ifname and ", " .. call.ifname or nil
  parts[#parts + 1] = call.network and "in network " .. call.network or nil
  return terminal.line((table.concat(parts, " "):gsub(" ,", ",")))
end

local function add_facts(lines, call, whole)
  local paint = terminal.painter()
  local function fact(name, value, colour)
    if value and value ~= "" then
      lines[#lines + 1] = ("  %-10s %s"):format(name, paint(colour, terminal.line(value)))
    end
  end
  fact("time", ("%s, %.1f ms"):format(call.time or "?", (call.duration or 0) / 1000))
  fact("outcome", call.code == 0 and "success" or ("failed with code %d"):format(call.code),
    call.code == 0 and "green" or "red")
  fact(call.code == 0 and "warnings" or "error", call.message)
  fact("policy", call.policy)
  fact("namespace", call.netns)
  fact("program", whole and whole.program)
  fact("trace", call.trace)
  fact("ignored", call.ignored and table.concat(call.ignored, ", "))
  if whole then
    local parts = {}
    for i, phase in ipairs(flight.phases(whole)) do
      parts[i] = ("%s %.2f ms"):format(PHASES[phase.name], phase.us / 1000)
    end
    fact("phases", table.concat(parts, ", "))
  end
end

-- Where the error says that a file of Lua is at fault, what to do about it.
local function remedy(call, whole)
  local ok, answer = pcall(core.json.decode, whole.answer or "")
  local words = "look at %s; the next call uses what you save, and \"mncni calls %d --shell\" prints how to repeat this"
  local place = ok and type(answer) == "table" and tostring(answer.details):match "^%s*([^%s:]+%.lua:%d+)"
  return call.code ~= 0 and place and words:format(place, call.number) or nil
end

-- text(call, whole) for people; whole is nil where only the record's line is left.
function call_text.text(call, whole)
  local lines = { terminal.painter()("bold", title(call)) }
  add_facts(lines, call, whole)
  if not whole then
    lines[#lines + 1] = ""
    lines[#lines + 1] = "Nothing more is recorded of it: an older release served it, or it was no call of a runtime."
    return table.concat(lines, "\n")
  end
  add_text(lines, "environment", table.concat(whole.environment, "\n"))
  add_text(lines, whole.stdin_cut and "standard input (the beginning)" or "standard input", shaped(whole.stdin or ""))
  if #whole.events > 0 then
    lines[#lines + 1] = ""
    lines[#lines + 1] = "what it did"
    add_events(lines, whole)
  end
  if whole.lost > 0 then
    lines[#lines + 1] = ("  (%d more, for which the record has no room)"):format(whole.lost)
  elseif not whole.finished then
    lines[#lines + 1] = "  (the record is torn: the rest is lost)"
  end
  if whole.answer then
    add_text(lines, whole.answer_cut and "answer (the beginning)" or "answer", shaped(whole.answer))
  end
  local what = remedy(call, whole)
  if what then
    lines[#lines + 1] = ""
    lines[#lines + 1] = what
  end
  return table.concat(lines, "\n")
end

-- What JSON can hold of a text, decoded where it is JSON itself.
local function value_of(bytes)
  if not bytes then
    return nil
  end
  local ok, value = pcall(core.json.decode, bytes)
  return ok and value or text.valid(bytes)
end

-- The same as a table for JSON: the record's line with environment, stdin, events, phases, answer.
function call_text.json(call, whole)
  local document = {}
  for key, value in pairs(call) do
    document[key] = value
  end
  if not whole then
    return document
  end
  local environment, events = {}, core.json.array {}
  for _, entry in ipairs(whole.environment) do
    local key, value = text.valid(entry):match "^([^=]*)=(.*)$"
    environment[key or entry] = value or ""
  end
  for i, event in ipairs(whole.events) do
    events[i] = {
      at = event.at, kind = event.kind, step = event.step, undo = event.undo,
      text = event.text and text.valid(event.text), commands = event.step and event.step.verb ~= "require"
        and core.json.array(step_lines(event.step)) or nil,
    }
  end
  document.program, document.environment, document.stdin = whole.program, environment, value_of(whole.stdin)
  document.stdin_cut, document.answer, document.answer_cut = whole.stdin_cut, value_of(whole.answer), whole.answer_cut
  document.events, document.lost, document.phases = events, whole.lost, core.json.array(flight.phases(whole))
  document.torn = not whole.finished or nil
  return document
end

-- The plugin as the runtime has called it: by a path, or by a name to be found on CNI_PATH.
local function program_of(whole)
  local program = whole.program or "mncni"
  for _, entry in ipairs(program:find "/" and {} or whole.environment) do
    for directory in (entry:match "^CNI_PATH=(.*)$" or ""):gmatch "[^:]+" do
      if core.file.mode(directory .. "/" .. program) then
        return directory .. "/" .. program
      end
    end
  end
  return program
end

-- The line for a shell that repeats the call; nil and why there is none.
function call_text.shell(call, whole)
  if not whole then
    return nil, ("what call %d was given was not recorded"):format(call.number)
  elseif whole.stdin_cut then
    return nil, ("the configuration of call %d was too large for the record"):format(call.number)
  end
  local shell = require "mncni.shell"
  local list = {}
  for _, entry in ipairs(whole.environment) do
    local key, value = entry:match "^([%a_][%w_]*)=(.*)$"
    list[#list + 1] = key and ("%s=%s"):format(key, shell.quote(value))
  end
  list[#list + 1] = shell.quote(program_of(whole))
  return shell.with_input(table.concat(list, " "), whole.stdin or "")
end

return call_text
