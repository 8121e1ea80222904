-- SPDX-License-Identifier: Apache-2.0
-- Options set from a command line: NAME=VALUE as the declared type.

local core = require "mncni.core"
local declaration = require "mncni.declaration"
local options = require "mncni.options"
local json = core.json

local setting = {}

-- Reads text from a command line as the declared type; the check of the value comes later.
local readers = {}

function readers.integer(text)
  return text:find "^[+-]?%d+$" and math.tointeger(tonumber(text)) or nil
end

function readers.number(text)
  return text:find "^[+-]?[%d.]+[eE]?[+-]?%d*$" and tonumber(text) or nil
end

function readers.boolean(text)
  local words = { ["true"] = true, yes = true, on = true, ["false"] = false, no = false, off = false }
  return words[text]
end

-- JSON when it looks like it, else elements with commas between them.
function readers.list(text, declared)
  if text:find "^%s*%[" then
    return json.decode(text)
  end
  local list = json.array {}
  for element in text:gmatch "[^,]+" do
    local reader = declared.of and readers[declared.of.type]
    if reader then
      element = reader(element, declared.of)
      if element == nil then
        return nil
      end
    end
    list[#list + 1] = element
  end
  return list
end

function readers.table(text)
  return text:find "^%s*{" and json.decode(text) or nil
end

-- Reads one NAME=VALUE, such as "mtu=1400", "ipam.type=host-local", "dns=10.0.0.1,10.0.0.2" or "args={...}", as the
-- declared type and stores it in the table `given` (a new one when nil), which is returned for options.check.
-- Raises, with code 7: no such option, a value that cannot be of its type.
function setting.read(declared, text, given)
  options.declare(declared)
  local check = options.new_check {}
  local name, raw = text:match "^([^=]+)=(.*)$"
  if not name then
    check:fail("", 'expected NAME=VALUE, got "%s"', text)
  end
  given = given or {}
  local fields, into, path, option, last = declared, given, "", nil, nil
  for part in name:gmatch "[^.]+" do
    if last then
      into[last] = type(into[last]) == "table" and into[last] or {}
      into = into[last]
      fields = option.fields or option.type == "table" and option.of and { [part] = option.of } or {}
    end
    if not fields[part] then
      check:unknown(part, fields, path)
    end
    option, path, last = fields[part], options.join(path, part), part
  end
  if not option then
    check:fail("", 'expected NAME=VALUE, got "%s"', text)
  end
  local reader, value = readers[option.type], raw
  if reader then
    local ok
    ok, value = pcall(reader, raw, option)
    if not ok then
      check:fail(path, "expected %s, but cannot %s", declaration.expectation(option), tostring(value))
    elseif value == nil then
      check:wrong(path, option, raw)
    end
  end
  check:value(value, option, path)
  into[last] = value
  return given
end

return setting
