-- SPDX-License-Identifier: Apache-2.0
-- What a call was given and has answered, put into what is told of it: as its pipes show it, as our own plugin reports it,
-- as libcni's cache keeps it. It comes from programs of any quality, so nothing is taken for what it ought to be.

local cache = require "mncni.trace_cache"
local core = require "mncni.core"
local text = require "mncni.text"

local decode = cache.decode

local answers = {}

local function as_string(value)
  return type(value) == "string" and value or nil
end

local function as_integer(value)
  return math.type(value) and math.tointeger(value)
end

local function name_of(config)
  return as_string(config and config.name)
end

local function error_of(code, message, details)
  return { code = as_integer(code) or 0, msg = as_string(message) or "", details = as_string(details) }
end

-- Takes what was seen of standard input and output.
function answers.from_pipes(entry)
  local told, outputs = entry.told, entry.outputs
  local given, answer = decode(outputs[0]), decode(outputs[1])
  if given then
    told.config, told.config_from = given, "stdin"
  end
  if answer and as_integer(answer.code) and as_string(answer.msg) and not answer.ips then
    told.error = error_of(answer.code, answer.msg, answer.details)
  elseif answer then
    told.result, told.result_from = answer, "stdout"
  end
  if (outputs[2] or "") ~= "" and outputs[2] ~= outputs[1] then
    told.stderr = text.valid((outputs[2]:gsub("%z", "\u{FFFD}")))
  end
  if not told.config and entry.parent and entry.parent.outputs[0] then
    told.config = decode(entry.parent.outputs[0])
    told.config_from = told.config and "the call that made it"
  end
  told.network = told.network or name_of(told.config)
end

-- The requests that the kernel refused, as reported.
local function requests_of(list)
  local requests = {}
  for i, one in ipairs(type(list) == "table" and list or {}) do
    if type(one) ~= "table" then
      break
    end
    requests[i] = { errno = as_integer(one.errno), line = as_integer(one.line) }
    for _, key in ipairs { "op", "object", "netns", "name", "message", "extack", "attribute", "file" } do
      requests[i][key] = as_string(one[key])
    end
  end
  return #requests > 0 and core.json.array(requests) or nil
end

-- What our own plugin sends (lua/mncni/tell.lua) as a table, or nil where it is none.
function answers.report(words)
  local sent = decode(words)
  if not sent or type(sent.verb) ~= "string" then
    return nil
  end
  local report = {
    code = as_integer(sent.code) or 0, duration = as_integer(sent.duration) or 0,
    requests = requests_of(sent.requests), ignored = type(sent.ignored) == "table" and sent.ignored or nil,
  }
  for _, key in ipairs {
    "verb", "policy", "called", "network", "container", "ifname", "netns", "args", "config", "answer", "message",
    "details",
  } do
    report[key] = as_string(sent[key])
  end
  return report
end

-- Takes a report.
function answers.from_report(told, report)
  told.reported = true
  told.policy, told.network, told.ignored = report.policy, report.network, report.ignored
  told.requests = report.requests
  local given, answer = decode(report.config), decode(report.answer)
  if given then
    told.config, told.config_from = given, "report"
  end
  if report.code ~= 0 then
    told.error = error_of(report.code, report.message, report.details)
  elseif answer then
    told.result, told.result_from = answer, "report"
  end
end

-- Whether the pipes have shown all that there can be of a call that has ended.
function answers.are_complete(told)
  return told.command ~= "ADD" or told.error ~= nil or told.config and told.result ~= nil
    or (told.status or 0) ~= 0
end

-- Takes from libcni's cache what is not known; returns whether it has the call.
function answers.from_cache(told, directory)
  local found = cache.find(directory, told)
  if found and not told.config then
    told.config = cache.config_of(found, told.plugin)
    told.config_from = told.config and "cache"
    told.network = told.network or name_of(told.config)
  end
  if found and not told.result then
    told.result, told.result_from = found.result, found.result and "cache"
  end
  return found ~= nil
end

return answers
