-- SPDX-License-Identifier: Apache-2.0
-- The whole record of a call, as core/recorder.c writes it: what it was given, what it did and when, what it answered.

local core = require "mncni.core"

local flight = {}

-- The notes of a text as { kind, at (microseconds since the call began), text, cut }, as far as they are whole, and whether
-- the last one is there.
local function notes_of(text)
  local list = {}
  local _, last = text:find "^mncni%-call 1 %x+ %x+\n"
  while last do
    local kind, at, kept, length, first = text:match("^(%l+) (%d+) (%d+) (%d+)\n()", last + 1)
    last = kind and first + tonumber(kept)
    if not kind or text:sub(last, last) ~= "\n" then
      break
    end
    list[#list + 1] = {
      kind = kind, at = math.tointeger(tonumber(at)), text = text:sub(first, last - 1), cut = kept ~= length,
    }
  end
  return list, #list > 0 and list[#list].kind == "end"
end

-- What one line of a journal tells, as events.
local function of_line(line, kind, at)
  local ok, entry = pcall(core.json.decode, line)
  if not ok or type(entry) ~= "table" then
    return { at = at, kind = "cut", text = line }
  end
  local event = { at = at, kind = kind == "undone" and kind or "undo", undo = entry.undo }
  if type(entry.step) == "table" then
    event.kind = kind == "undone" and kind or entry.step.verb == "require" and "need" or "step"
    event.step = entry.step
  elseif entry.result then
    event.kind, event.result = "result", entry.result
  elseif entry.format then
    event.kind, event.head = "journal", entry
  end
  return event
end

-- parse(text) returns { program, environment = { "KEY=VALUE" }, stdin, stdin_cut, answer, answer_cut, events, finished (at
-- how many microseconds; nil: it is not whole), lost (how many events there was no room for) }. An event is { at, kind }:
--   "journal"  the journal was begun: head is its first line
--   "step"     it was journalled, before it was made: step is one of mncni.steps
--   "need"     something of the node's that a later CHECK looks at: step
--   "undo"     something else was journalled, an address or a plugin that was run: undo is the way back
--   "result"   all steps were done: result is the canonical result
--   "rollback" or "del": undoing began
--   "undone"   a line of the journal was undone: step, undo
--   "stuck"    it could not be: text says why
--   "cut"      a line that was too long for the record: text is its beginning
function flight.parse(text)
  local call = { environment = {}, events = {}, lost = 0 }
  local notes, whole = notes_of(text)
  for _, note in ipairs(notes) do
    local kind = note.kind
    if kind == "env" then
      table.insert(call.environment, note.text)
    elseif kind == "program" or kind == "stdin" or kind == "answer" then
      call[kind], call[kind .. "_cut"] = note.text, note.cut or nil
    elseif kind == "journal" or kind == "undone" then
      for line in note.text:gmatch "[^\n]+" do
        table.insert(call.events, of_line(line, kind, note.at))
      end
    elseif kind == "end" then
      call.lost = math.tointeger(tonumber(note.text)) or 0
    else
      table.insert(call.events, { at = note.at, kind = kind, text = note.text })
    end
    call.started = kind == "stdin" and note.at or call.started
  end
  call.finished = whole and notes[#notes].at or nil
  return call
end

-- read(state_dir, number) is the same of a call's record; nil when it has none: an older release wrote it, or a program
-- that keeps none.
function flight.read(state_dir, number)
  local text = core.record.whole(state_dir, number)
  return text and flight.parse(text)
end

-- The phases of a call in order, as { name, us (how long it took) }:
--   "start"    the program was started, and standard input read
--   "load"     the policy was loaded, the configuration checked, namespaces opened
--   "policy"   the policy described what it wants, and that was journalled
--   "kernel"   it was sent; where it failed, until that was known
--   "undo"     what had been done was undone
--   "answer"   the answer was made
-- A call that does not write a journal has "work" in the middle.
function flight.phases(call)
  local first, last = {}, {}
  for _, event in ipairs(call.events) do
    local kind = event.kind == "del" and "rollback" or event.kind
    first[kind], last[kind] = first[kind] or event.at, event.at
  end
  local list, before = {}, 0
  local function phase(name, at)
    if at then
      list[#list + 1] = { name = name, us = math.max(at - before, 0) }
      before = at
    end
  end
  phase("start", call.started)
  phase("load", first.journal or first.rollback)
  phase("policy", first.journal and (last.need or last.step or last.undo))
  if first.journal then
    phase("kernel", first.result or first.rollback)
  end
  phase("undo", first.rollback and (last.undone or last.rollback))
  phase(#list > 1 and "answer" or "work", call.finished)
  return list
end

return flight
