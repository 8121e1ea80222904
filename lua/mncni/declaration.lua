-- SPDX-License-Identifier: Apache-2.0
-- What an option may be declared to be, and how it is spoken of. For mncni.options, which explains declarations.

local core = require "mncni.core"
local sorted_keys = require "mncni.keys"
local json, cidr = core.json, core.cidr

local declaration = {}

-- How each type is spoken of, and the keys that its declarations may have besides those of every type.
local types = {
  string = { one = "a string", many = "strings", unit = "bytes", choices = true, min = true, max = true },
  integer = { one = "an integer", many = "integers", choices = true, min = true, max = true },
  number = { one = "a number", many = "numbers", choices = true, min = true, max = true },
  boolean = { one = "true or false", many = "booleans" },
  cidr = { one = 'an address such as "10.244.1.0/24"', many = "addresses" },
  list = { one = "a list", many = "lists", unit = "elements", of = true, min = true, max = true },
  table = { one = "an object", many = "objects", of = true, fields = true },
}
local common = { type = "string", doc = "string", auto = "function", required = "boolean", default = false }
local special = { choices = "table", min = "number", max = "number", of = "table", fields = "table" }

-- What to say behind an unknown name: the one that was meant, or all there are.
function declaration.suggestion(name, names)
  local near = core.nearest(name, names)
  if near then
    return ('; did you mean "%s"?'):format(near)
  end
  return #names > 0 and "; there are " .. table.concat(names, ", ") or "; there are none"
end

local join = require("mncni.options").join

-- Says what a value is, in the words of someone who wrote JSON.
function declaration.describe_value(value)
  if value == nil then
    return "nothing"
  elseif value == json.null then
    return "null"
  elseif type(value) == "string" then
    local shown = #value > 40 and value:sub(1, 40) .. "..." or value
    return ('the string "%s"'):format(shown:gsub("[^ -~]", "?"))
  elseif math.type(value) == "integer" or type(value) == "boolean" then
    return tostring(value)
  elseif value ~= value then
    return "not-a-number"
  elseif type(value) == "number" then
    return ("the number %s"):format(value)
  elseif type(value) == "table" then
    return (json.is_array(value) or value[1] ~= nil) and "an array" or "an object"
  elseif cidr.is(value) then
    return "the address " .. tostring(value)
  end
  return "a " .. type(value)
end

-- What a declaration asks for: "an integer from 576 to 65535".
function declaration.expectation(declared)
  local says = types[declared.type]
  if declared.choices then
    local list = {}
    for i, choice in ipairs(declared.choices) do
      list[i] = json.encode(choice)
    end
    return "one of " .. table.concat(list, ", ")
  end
  local text = says.one
  if declared.type == "list" and declared.of then
    text = "a list of " .. types[declared.of.type].many
  end
  local min, max = declared.min, declared.max
  local range = min and max and ("%s to %s"):format(min, max) or min and ("%s or more"):format(min)
    or max and ("at most %s"):format(max)
  if not range then
    return text
  elseif says.unit then
    return ("%s of %s %s"):format(text, range, says.unit)
  end
  return ("%s %s%s"):format(text, min and max and "from " or "", range)
end

-- Raises, with code 100, what is wrong with the declaration of the option at path.
local function fail(path, message, ...)
  error(core.error {
    object = ('declaration of option "%s"'):format(path),
    message = select("#", ...) > 0 and message:format(...) or message,
    code = 100,
  }, 0)
end

-- Checks one option's declaration, without its default.
local function check_one(option, path)
  if type(option) ~= "table" then
    fail(path, 'expected a table such as { type = "string" }, got %s', declaration.describe_value(option))
  elseif not types[option.type] then
    if option.type == nil then
      fail(path, "no type; there are %s", table.concat(sorted_keys(types), ", "))
    end
    fail(path, 'unknown type "%s"%s', tostring(option.type),
      declaration.suggestion(tostring(option.type), sorted_keys(types)))
  end
  for _, key in ipairs(sorted_keys(option)) do
    local wanted = common[key]
    if wanted == nil then
      wanted = types[option.type][key] and special[key]
    end
    if wanted == nil and special[key] then
      fail(path, 'an option of type %s has no "%s"', option.type, key)
    elseif wanted == nil then
      local names = sorted_keys(common)
      table.move(sorted_keys(special), 1, 5, #names + 1, names)
      fail(path, 'unknown key "%s"%s', tostring(key), declaration.suggestion(tostring(key), names))
    elseif wanted and type(option[key]) ~= wanted then
      fail(path, "%s is %s, not a %s", key, declaration.describe_value(option[key]), wanted)
    end
  end
  if option.min and option.max and option.min > option.max then
    fail(path, "min %s is greater than max %s", option.min, option.max)
  elseif option.choices and #option.choices == 0 then
    fail(path, "choices is empty")
  elseif option.required and (option.default ~= nil or option.auto) then
    fail(path, "required, and yet with a default or auto")
  elseif option.fields and option.of then
    fail(path, "has both fields and of")
  end
  if option.of then
    check_one(option.of, path .. "[]")
  end
  declaration.check(option.fields or {}, path)
end

-- Raises unless every option in the table is declared as it should be. Defaults are checked by mncni.options.
function declaration.check(declared, path)
  for _, name in ipairs(sorted_keys(declared)) do
    local where = join(path or "", tostring(name))
    if type(name) ~= "string" or not name:find("^[%a_][%w_-]*$") then
      fail(where, "the name is not made of letters, digits, _ and -")
    end
    check_one(declared[name], where)
  end
end

-- Appends the lines for help, sorted by name, to the list.
local function describe(declared, path, lines)
  for _, name in ipairs(sorted_keys(declared)) do
    local option = declared[name]
    local words = { declaration.expectation(option) }
    if option.required then
      words[#words + 1] = "required"
    end
    if option.default ~= nil then
      words[#words + 1] = "default " .. json.encode(option.default)
    end
    if option.auto then
      words[#words + 1] = "computed when not given"
    end
    local where = join(path, name)
    lines[#lines + 1] = { where, table.concat(words, "; "), option.doc }
    local inner = option
    while inner.of do
      inner, where = inner.of, where .. (inner.type == "list" and "[]" or ".*")
    end
    describe(inner.fields or {}, where, lines)
  end
end

-- Returns help on declared options, as text: name, what it may be, and the doc on a line of its own.
function declaration.describe(declared)
  local lines, width = {}, 0
  describe(declared, "", lines)
  for _, line in ipairs(lines) do
    width = math.max(width, #line[1])
  end
  local text = {}
  for _, line in ipairs(lines) do
    text[#text + 1] = ("%s%s  %s\n"):format(line[1], (" "):rep(width - #line[1]), line[2])
    if line[3] then
      text[#text + 1] = ("%s  %s\n"):format((" "):rep(width), line[3])
    end
  end
  return table.concat(text)
end

return declaration
