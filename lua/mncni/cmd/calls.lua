-- SPDX-License-Identifier: Apache-2.0
-- mncni calls: the flight recorder. What the last CNI calls on this node were, and each of them whole.

local core = require "mncni.core"
local record = require "mncni.record"
local terminal = require "mncni.terminal"
local words = require "mncni.words"

local calls = {}

calls.summary = "tells what the last CNI calls were, and what each has done"
calls.arguments = "[ID]"
calls.about = [[
The plugin keeps the last 256 calls in the state directory, in a file that only root can read: configurations are in it.
Without ID they are listed, the newest last. With ID one is told whole: what it was given, each step with its Lua line,
the result or the error, what was undone, and how long all that took.]]
calls.options = {
  { "pod", value = "POD", doc = "only this pod's: a name, NAMESPACE/NAME, or the beginning of its container's id" },
  { "network", value = "NETWORK", doc = "only this network's" },
  { "failed", doc = "only those that failed" },
  { "last", value = "N", doc = "only the newest N" },
  { "last-error", doc = "tell the newest that failed whole" },
  { "shell", doc = "with ID or --last-error: print the line for a shell that repeats the call" },
  { "output", short = "o", value = "json", choices = { { "json" } }, doc = "tell all of it as one JSON document" },
  { "state-dir", value = "DIR", doc = "where the record is (default $MNCNI_STATE_DIR or /run/mncni)" },
}
calls.exit = "0, 1 when there is no such call or pod or the record cannot be read, 2 for a mistake in the words."

local function chosen(list, given)
  local found = {}
  for _, call in ipairs(list) do
    if (not given.pod or words.is_of(call, given.pod)) and (not given.network or call.network == given.network)
      and (not (given.failed or given["last-error"]) or call.code ~= 0) then
      found[#found + 1] = call
    end
  end
  return found
end

-- What the filters are, for an answer that there is nothing.
local function filters(given)
  local said = {}
  if given.failed or given["last-error"] then
    said[#said + 1] = " that failed"
  end
  if given.pod then
    said[#said + 1] = (" of pod %q"):format(given.pod)
  end
  if given.network then
    said[#said + 1] = (" in network %q"):format(given.network)
  end
  return table.concat(said)
end

local function row(call)
  local column = terminal.line
  return {
    tostring(call.number), column(call.time or "-"):gsub("(%.%d%d%d)%d*Z$", "%1Z"), column(call.verb or "-"),
    column(call.policy or "-"), column(call.network or "-"), column(call.pod or "-"),
    column((call.container or "-"):sub(1, 12)), column(call.ifname or "-"), tostring(call.code),
    ("%.1f"):format((call.duration or 0) / 1000) .. (call.repeated and (" (%d times)"):format(call.repeated + 1) or ""),
  }
end

local function listing(list)
  local rows = { { "ID", "TIME", "VERB", "POLICY", "NETWORK", "POD", "CONTAINER", "IFNAME", "CODE", "MS" } }
  for i = #list, 1, -1 do
    rows[#rows + 1] = row(list[i])
  end
  return table.concat(terminal.columns(rows, { [1] = true, [9] = true }, function(n)
    return n > 1 and list[#list - n + 2].code ~= 0 and "red" or nil
  end), "\n")
end

local function none(message, ...)
  return { status = 1, stderr = "mncni calls: " .. message:format(...) }
end

-- The call that ID or --last-error means, or nil and the reply that says why there is none.
local function one(list, given, state_dir)
  local id = given[1] and math.tointeger(tonumber(given[1]))
  if given[1] and not id then
    return nil, words.usage("calls", "%q is no number of a call", given[1])
  elseif not id then
    local found = chosen(list, given)
    return found[1], none("there is no call%s in %s", filters(given), state_dir)
  end
  for _, call in ipairs(list) do
    if call.number == id then
      return call
    end
  end
  return nil, #list == 0 and none("no call is recorded in %s", state_dir)
    or none("there is no call %d: the record has %d to %d; \"mncni calls\" lists them", id, list[#list].number,
      list[1].number)
end

local function mistake(given)
  local last = given.last and math.tointeger(tonumber(given.last))
  if given.last and (not last or last < 1) then
    return words.usage("calls", "--last is how many calls, not %q", given.last)
  elseif given[1] and given["last-error"] then
    return words.usage("calls", "ID and --last-error exclude each other")
  elseif given.shell and not given[1] and not given["last-error"] then
    return words.usage("calls", "--shell needs ID or --last-error")
  elseif given.shell and given.output then
    return words.usage("calls", "--shell and --output exclude each other")
  end
  given.last = last
end

local function json(value)
  return { status = 0, stdout = core.json.encode(value, { pretty = true }) }
end

function calls.run(given)
  local wrong = mistake(given)
  if wrong then
    return wrong
  end
  local state_dir = words.state_dir(given)
  local list = words.as_root(record.list, state_dir)
  if given[1] or given["last-error"] then
    local call, reply = one(list, given, state_dir)
    if not call then
      return reply
    end
    local told = require "mncni.call_text"
    local whole = require("mncni.flight").read(state_dir, call.number)
    if given.output then
      return json(told.json(call, whole))
    elseif given.shell then
      local line, why = told.shell(call, whole)
      return line and { status = 0, stdout = line } or none("%s", why)
    end
    return { status = 0, stdout = told.text(call, whole) }
  end
  local found = chosen(list, given)
  found = table.move(found, 1, math.min(#found, given.last or #found), 1, {})
  if given.output then
    local document = core.json.array {}
    for i, call in ipairs(found) do
      document[#found - i + 1] = call
    end
    return json(document)
  elseif #found == 0 and given.pod then
    return none("no call%s is recorded; \"mncni calls\" lists what there is", filters(given))
  elseif #found == 0 then
    return { status = 0, stderr = ("mncni calls: no call%s is recorded in %s"):format(filters(given), state_dir) }
  end
  return { status = 0, stdout = listing(found) }
end

return calls
