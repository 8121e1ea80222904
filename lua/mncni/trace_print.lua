-- SPDX-License-Identifier: Apache-2.0
-- What a trace tells, as lines for people: a block for each call, its delegates indented in it.

local core = require "mncni.core"
local terminal = require "mncni.terminal"

local trace_print = {}

-- "12:01:07.114" of "2026-11-23T12:01:07.114235Z"
local function time_of(told)
  return told.time:sub(12, 23)
end

local function milliseconds(us)
  return ("%.1fms"):format(us / 1000)
end

-- A value as JSON in one line, without the result of the plugin before, which was shown there.
local function json(value)
  local copy = {}
  for key, item in pairs(value) do
    copy[key] = key == "prevResult" and "..." or item
  end
  return core.json.encode(copy)
end

function trace_print.pod(told)
  local pod = told.pod
  return pod and (pod.namespace and pod.namespace .. "/" or "") .. pod.name or nil
end

-- Whether a call has failed; false where it is not known.
function trace_print.failed(told)
  return told.error ~= nil or told.signal ~= nil or told.status ~= nil and told.status ~= 0
end

local function head(told)
  local words = { told.command or "?", told.plugin }
  local function add(name, value)
    if value then
      words[#words + 1] = name .. "=" .. tostring(value)
    end
  end
  add("pod", trace_print.pod(told))
  add("container", told.container)
  add("if", told.ifname)
  add("netns", told.netns)
  if told.caller then
    words[#words + 1] = ("by %s(%d)"):format(told.caller.name, told.caller.pid)
  end
  if told.policy and told.policy ~= told.plugin then
    add("policy", told.policy)
  end
  if told.seen_by then
    words[#words + 1] = ("(seen by its %s only)"):format(told.seen_by)
  end
  return table.concat(words, " ")
end

-- "ips 10.9.0.2/16" of a result.
local function addresses(result)
  local list = {}
  local function add(ip, key)
    if type(ip) == "table" and type(ip[key]) == "string" then
      list[#list + 1] = ip[key]
    end
  end
  for _, ip in ipairs(type(result.ips) == "table" and result.ips or {}) do
    add(ip, "address")
  end
  add(result.ip4, "ip") -- of versions up to 0.2.0
  add(result.ip6, "ip")
  return #list > 0 and " ips " .. table.concat(list, " ") or ""
end

local function outcome(told)
  local duration = told.duration_us and " " .. milliseconds(told.duration_us) or ""
  local from = (told.result_from or "stdout") ~= "stdout" and (" (result of its %s)"):format(told.result_from) or ""
  if told.unfinished then
    return "= still running"
  elseif told.error then
    local details = told.error.details
    return ("= error %s%s \"%s\"%s"):format(told.error.code, duration, told.error.msg,
      details and details ~= "" and " (" .. details:gsub("\n", "; ") .. ")" or "")
  elseif told.signal then
    return ("= killed by signal %d%s"):format(told.signal, duration)
  elseif told.status and told.status ~= 0 then
    return ("= exit %d%s, its answer was not seen"):format(told.status, duration)
  elseif not told.status and not told.result then
    return ("= ended%s, exit status not known"):format(duration)
  end
  return ("= ok%s%s%s"):format(duration, told.result and addresses(told.result) or "", from)
end

local function change_line(change, from)
  local who = change.process and (" (%s)"):format(change.process) or ""
  local sign = change.by == "only" and "?" or " "
  local at = change.after_us and "+" .. milliseconds(change.after_us + from) or ""
  return ("%s%s%s: %s%s%s"):format(at, sign, change.netns, change.text, who,
    change.resync and " (seen after the loss)" or "")
end

-- Requests that failed, which no notification tells of.
local function request_line(request)
  local what = request.name or request.errno or "failed"
  local words = { ("! %s %s: %s"):format(request.op or "?", request.object or "?", what) }
  if request.extack then
    words[#words + 1] = ("kernel: \"%s\""):format(request.extack)
  elseif request.message then
    words[#words + 1] = ("\"%s\""):format(request.message)
  end
  if request.attribute then
    words[#words + 1] = "attribute " .. request.attribute
  end
  if request.file then
    words[#words + 1] = ("%s:%s"):format(request.file, request.line)
  end
  return table.concat(words, "  ")
end

-- The changes and delegates of a call, as they came.
local function events(told)
  local list = {}
  for i, change in ipairs(told.changes) do
    list[i] = { at = change.after_us, order = i, change = change }
  end
  for _, delegate in ipairs(told.delegates) do
    list[#list + 1] = { at = delegate.after_us or 0, order = #list, delegate = delegate }
  end
  table.sort(list, function(a, b)
    if a.at ~= b.at then
      return a.at < b.at
    end
    return a.order < b.order
  end)
  return list
end

-- from: microseconds from the start of the outermost call, to which all times in its block are told.
local function block(out, told, indent, paint, from)
  local inner = indent .. "   "
  local front = indent == "" and time_of(told) or "+" .. milliseconds(from)
  out[#out + 1] = indent .. paint("bold", terminal.line(front .. " " .. head(told)))
  if type(told.config) == "table" then
    out[#out + 1] = ("%sconfig%s %s"):format(inner,
      told.config_from ~= "stdin" and (" (of %s)"):format(told.config_from) or "", terminal.line(json(told.config)))
  else
    out[#out + 1] = inner .. "config not seen"
  end
  for _, event in ipairs(events(told)) do
    if event.delegate then
      block(out, event.delegate, inner, paint, from + (event.delegate.after_us or 0))
    else
      out[#out + 1] = inner .. terminal.line(change_line(event.change, from))
    end
  end
  for _, request in ipairs(told.requests or {}) do
    out[#out + 1] = inner .. paint("yellow", terminal.line(request_line(request)))
  end
  if told.stderr and trace_print.failed(told) then
    for _, line in ipairs(terminal.lines(told.stderr)) do
      out[#out + 1] = inner .. "stderr: " .. line
    end
  end
  out[#out + 1] = inner .. paint(trace_print.failed(told) and "red" or "green", terminal.line(outcome(told)))
end

local function source_lines(told)
  local parts = { "watching: " .. (#told.active > 0 and table.concat(told.active, ", ") or "nothing") }
  local names = {}
  for name in pairs(told.missing) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    parts[#parts + 1] = ("without %s (%s), therefore not seen: %s"):format(name, told.missing[name].why,
      told.missing[name].lacks)
  end
  if told.missing.proc and told.missing.fanotify then
    parts[#parts + 1] =
      "no plugin is seen to run, therefore only calls of our plugin (by reports) and attachments (by cache)"
  end
  return table.concat(parts, "; ")
end

-- lines(told, paint) returns the text of what a trace tells; paint(colour, text) colours it (mncni.terminal).
function trace_print.lines(told, paint)
  paint = paint or function(_, text) return text end
  if told.type == "sources" then
    return source_lines(told)
  elseif told.type == "lost" and told.plugin then
    return paint("red", terminal.line(("%s LOST: a call of %s, which had ended before it could be looked at"):format(
      time_of(told), told.plugin)))
  elseif told.type == "lost" then
    return paint("red", terminal.line(
      ("%s LOST: events of %s, at least %d; links were looked at again, more may be missing"):format(time_of(told),
        told.source, told.count)))
  elseif told.type == "change" then
    local whose = trace_print.pod(told) or told.container
    return terminal.line(("%s nobody's call:%s%s"):format(time_of(told), change_line(told, 0),
      whose and " (of " .. whose .. ")" or ""))
  end
  local out = {}
  block(out, told, "", paint, 0)
  return table.concat(out, "\n")
end

return trace_print
