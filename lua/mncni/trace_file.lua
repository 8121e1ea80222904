-- SPDX-License-Identifier: Apache-2.0
-- What a trace tells as lines of JSON, and back: what `mncni trace --record` keeps and --read shows.

local core = require "mncni.core"

local file = {}

-- The shape of what is read again, as far as it is looked into: a type, with "?" where it may be missing, or a table of
-- such, or a list of one.
local change = {
  time = "string", after_us = "integer?", event = "string?", object = "string?", netns = "string", text = "string",
  by = "string?", process = "string?", link = "string?", container = "string?",
}
local request = {
  op = "string?", object = "string?", name = "string?", errno = "integer?", extack = "string?", message = "string?",
  attribute = "string?", file = "string?", line = "integer?",
}
local pod = { optional = true, name = "string", namespace = "string?" }
local call = {
  time = "string", command = "string?", plugin = "string", container = "string?", ifname = "string?", netns = "string?",
  policy = "string?", seen_by = "string?", after_us = "integer?", duration_us = "integer?", status = "integer?",
  signal = "integer?", stderr = "string?", config = "table?", config_from = "string?", result = "table?",
  result_from = "string?", pod = pod, caller = { optional = true, name = "string", pid = "integer" },
  error = { optional = true, code = "integer", msg = "string", details = "string?" },
  changes = { each = change }, requests = { optional = true, each = request },
}
call.delegates = { each = call }
local of_type = {
  sources = {
    time = "string", active = { each = "string" }, missing = { values = { why = "string", lacks = "string" } },
  },
  lost = { time = "string", source = "string", count = "integer", plugin = "string?" },
  change = change,
  call = call,
}
change.pod = pod

local fits

local function fits_table(value, shape)
  for key, wanted in pairs(shape) do
    if key == "each" then
      for _, one in ipairs(value) do
        if not fits(one, wanted) then
          return false
        end
      end
    elseif key == "values" then
      for _, one in pairs(value) do
        if not fits(one, wanted) then
          return false
        end
      end
    elseif key ~= "optional" and not fits(value[key], wanted) then
      return false
    end
  end
  return true
end

function fits(value, shape)
  if type(shape) == "table" then
    return value == nil and shape.optional or type(value) == "table" and fits_table(value, shape)
  end
  local kind, optional = shape:match "^(%a+)(%??)$"
  if value == nil then
    return optional == "?"
  end
  return (math.type(value) or type(value)) == kind
end

-- Documents that are told as they came are left out of a copy.
local function without_documents(told)
  local copy = {}
  for key, value in pairs(told) do
    copy[key] = value
  end
  copy.config, copy.config_from, copy.result, copy.result_from = nil, nil, nil, nil
  copy.delegates = core.json.array {}
  for i, delegate in ipairs(told.delegates or {}) do
    copy.delegates[i] = without_documents(delegate)
  end
  return copy
end

-- The line of what is told, without its newline.
function file.line(told)
  local ok, line = pcall(core.json.encode, told)
  -- A configuration or result may be nested as deep as a document may be; with the call around it it is too deep.
  return ok and line or core.json.encode(without_documents(told))
end

-- What a line tells, or nil when it is none that line() has made.
function file.read(line)
  local ok, told = pcall(core.json.decode, line)
  local shape = ok and type(told) == "table" and of_type[told.type]
  return shape and fits(told, shape) and told or nil
end

return file
