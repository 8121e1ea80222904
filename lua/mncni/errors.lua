-- SPDX-License-Identifier: Apache-2.0
-- From whatever was raised to what a runtime is told: a CNI error { code, msg, details }.

local core = require "mncni.core"

local errors = {}

-- The codes that mncni answers with. Up to 99 they are the CNI specification's ("Error"), 8 is libcni's.
errors.codes = {
  incompatible = 1, -- the configuration's cniVersion does not allow this
  environment = 4, -- a CNI_ variable is missing or malformed
  io = 5,
  decoding = 6, -- stdin is no JSON object
  configuration = 7, -- the network configuration, or a policy that is missing or untrusted
  namespace = 8, -- CNI_NETNS is no network namespace, or the plugin's own
  try_again = 11, -- another call holds what this one needs
  unavailable = 50, -- STATUS: an ADD would fail
  limited = 51, -- STATUS: containers that exist are affected too
  policy = 100, -- a policy raised an error or returned rubbish
  budget = 101, -- a policy exceeded its budget or was told to stop
  kernel = 102, -- the kernel refused a change
  foreign = 103, -- something that is not ours stands in the way
  exhausted = 104, -- no address is free
  delegate = 105, -- another plugin failed without giving a code
  check = 106, -- CHECK found a difference
}

local MSG_BYTES, DETAILS_BYTES = 4096, 16384

-- The text as valid UTF-8 without zero bytes: a byte that is not prints as \xNN. At most limit bytes, if given.
function errors.printable(text, limit)
  local cut = limit and #text > limit
  if cut then
    text = text:sub(1, limit)
  end
  local parts, at = {}, 1
  while at <= #text do
    local _, bad = utf8.len(text, at)
    parts[#parts + 1] = text:sub(at, (bad or 0) - 1)
    if not bad then
      break
    end
    -- What the cut left of a character is dropped.
    if not (cut and bad > #text - 3 and text:byte(bad) >= 0xC0) then
      parts[#parts + 1] = ("\\x%02x"):format(text:byte(bad))
      at = bad + 1
    else
      at = #text + 1
    end
  end
  return (table.concat(parts):gsub("%z", "\\x00")) .. (cut and "..." or "")
end

-- Splits "file.lua:12: message" into "file.lua:12" and the message; the first is nil where there is no position.
local function split_position(text)
  local place, message = text:match("^([^\n:]+%.lua:%d+): (.*)$")
  if not place then
    place, message = text:match("^(%[string \"[^\n]-\"%]:%d+): (.*)$")
  end
  if place then
    return place, message
  end
  return nil, text
end

-- Any value as text; __tostring of a policy's making may itself raise.
local function describe(value)
  if type(value) ~= "table" then
    return tostring(value)
  end
  for _, key in ipairs { "msg", "message" } do
    if type(rawget(value, key)) == "string" then
      return value[key]
    end
  end
  local meta = getmetatable(value)
  local ok, text = pcall(tostring, value)
  return type(meta) == "table" and meta.__tostring and ok and text or "a table without a message was raised"
end

local function valid_code(code)
  code = math.tointeger(code)
  return code and code > 0 and code <= 0xFFFFFFFF and code or nil
end

local function from_string(err, text, traced)
  local place, message = split_position(text)
  err.message = errors.printable(message, MSG_BYTES)
  if place and err.file and place ~= err.file .. ":" .. err.line then
    err.details = "raised at " .. place
  elseif not err.file then
    -- Nobody's policy: a fault of mncni, told in full.
    err.details = traced and debug.traceback(place, 3) or place
  end
end

local function from_value(value, traced)
  if value == "not enough memory" then
    local err = { code = errors.codes.budget, message = "out of memory: the policy's budget is used up" }
    if package.preload["mncni.state"] then -- only the allocator was there
      err.file, err.line = require("mncni.state").short_at()
    end
    return err
  end
  local err = { code = errors.codes.policy }
  if traced then
    err.file, err.line = core.place()
  end
  if type(value) == "string" then
    from_string(err, value, traced)
  elseif value == nil then
    err.message = "nil was raised instead of an error"
  else
    err.message = errors.printable(describe(value), MSG_BYTES)
    if type(value) == "table" then
      err.code = valid_code(rawget(value, "code")) or err.code
      local details = rawget(value, "details")
      err.details = type(details) == "string" and details or nil
    end
  end
  return err
end

-- An error object of any raised value. traced: the stack is still that of the raise.
function errors.object(value, traced)
  return core.error(from_value(value, traced))
end

-- What a runtime is told about a raised value of any type: { code, msg, details or nil }. Never raises.
-- Error objects keep their code; without one, what has an errno is the kernel's word (102), the rest a policy's (100).
function errors.convert(value)
  if not core.is_error(value) then
    value = errors.object(value, false)
  end
  local code = valid_code(value.code) or (value.errno and errors.codes.kernel) or errors.codes.policy
  local ok, msg = pcall(tostring, value)
  if not ok or msg == "" then
    msg = "the error has no message"
  end
  local details = {}
  if value.where then
    details[1] = tostring(value.where) -- the line that asked for a step which failed later
  elseif value.file and value.line then
    details[1] = ("%s:%s"):format(value.file, value.line)
  end
  if value.details ~= nil then
    details[#details + 1] = describe(value.details)
  end
  return {
    code = code,
    msg = errors.printable(msg, MSG_BYTES),
    details = #details > 0 and errors.printable(table.concat(details, "\n"), DETAILS_BYTES) or nil,
  }
end

-- The error document of the CNI specification ("Error"), as JSON. `version` is the cniVersion to answer in.
function errors.document(err, version)
  return core.json.encode({
    cniVersion = version, code = err.code, msg = err.msg, details = err.details,
  }, { pretty = true })
end

return errors
