-- SPDX-License-Identifier: Apache-2.0
-- The options that a policy declares: checked, completed, set from a command line, described.
--
-- Declared is a table from each option's name to a table of:
--   type      "string", "integer", "number", "boolean", "cidr", "list" or "table"
--   default   its value when it is not given
--   auto      function(conf): computes what is not given, in the order of names, after everything that is given or
--             has a default; its result is checked as if it were given, nil leaves the default
--   required  true: must be given
--   choices   the values allowed (string, integer, number)
--   min, max  bounds of a number, of the bytes of a string, of the elements of a list
--   of        declaration of a list's elements, or of the values of a table with free names
--   fields    declarations of a table's members
--   doc       one sentence for people
-- JSON's null counts as not given. A policy sees cidr values, marked arrays, integers.

local core = require "mncni.core"
local contains = require "mncni.contains"
local sorted_keys = require "mncni.keys"
local json, cidr = core.json, core.cidr

local options = {}

-- Explaining is for what is wrong, and for help: a pod pays for it only then.
local function expectation(declared)
  return require("mncni.declaration").expectation(declared)
end

local function describe_value(value)
  return require("mncni.declaration").describe_value(value)
end

local function suggestion(name, names)
  return require("mncni.declaration").suggestion(name, names)
end

-- The path of a member in messages: ipam.ranges[1].subnet.
local function join(path, key)
  return path == "" and key or path .. "." .. key
end
options.join = join

-- A check in progress: how to complain (noun, what, code), what to do with unknown keys, where to collect them.
local Check = {}
Check.__index = Check

-- Makes one; for mncni.setting too.
local function new_check(fields)
  fields.noun, fields.code = fields.noun or "option", fields.code or 7
  fields.also, fields.ignored = fields.also or {}, {}
  return setmetatable(fields, Check)
end

options.new_check = new_check

function Check:fail(path, message, ...)
  local object = self.noun .. (path ~= "" and (' "%s"'):format(path) or "s")
  error(core.error {
    object = self.what and object .. " of " .. self.what or object,
    message = select("#", ...) > 0 and message:format(...) or message,
    code = self.code,
  }, 0)
end

function Check:wrong(path, declared, value)
  self:fail(path, "expected %s, got %s", expectation(declared), describe_value(value))
end

-- Each returns the value as a policy sees it, nil when it is of another type.
local converters = {}

function converters.string(_, value)
  return type(value) == "string" and value or nil
end

-- A float without a fraction will do: Lua's arithmetic makes such, and JSON's 1e3 is one.
function converters.integer(_, value)
  return type(value) == "number" and math.tointeger(value) or nil
end

function converters.number(_, value)
  local finite = type(value) == "number" and value == value and math.abs(value) ~= math.huge
  return finite and value or nil
end

function converters.boolean(_, value)
  if type(value) == "boolean" then
    return value
  end
  return nil
end

function converters.cidr(check, value, _, path)
  if type(value) ~= "string" and not cidr.is(value) then
    return nil
  end
  local address, why = cidr.parse(value)
  if not address then
    check:fail(path, "expected an address, but %s", why)
  end
  return address
end

function converters.list(check, value, declared, path)
  if type(value) ~= "table" then
    return nil
  end
  local list, count = json.array {}, 0
  for _ in pairs(value) do
    count = count + 1
  end
  for i = 1, count do
    local element, where = value[i], path .. "[" .. i .. "]"
    if element == nil then
      return nil
    elseif element == json.null then
      check:fail(where, "expected %s, got null", declared.of and expectation(declared.of) or "a value")
    elseif declared.of then
      element = check:value(element, declared.of, where)
    end
    list[i] = element
  end
  return list
end

function converters.table(check, value, declared, path)
  if type(value) ~= "table" or json.is_array(value) or value[1] ~= nil then
    return nil
  elseif declared.fields then
    return check:fields(value, declared.fields, path)
  elseif not declared.of then
    return value
  end
  local map = {}
  for _, key in ipairs(sorted_keys(value)) do
    if type(key) ~= "string" then
      return nil
    end
    map[key] = check:value(value[key], declared.of, join(path, key))
  end
  return map
end

function Check:value(value, declared, path)
  local converted = converters[declared.type](self, value, declared, path)
  if converted == nil then
    self:wrong(path, declared, value)
  end
  if declared.min or declared.max then
    local size = type(converted) == "number" and converted or #converted
    if declared.min and size < declared.min or declared.max and size > declared.max then
      local given = type(value) == "table" and ("%d elements"):format(size) or describe_value(value)
      self:fail(path, "expected %s, got %s", expectation(declared), given)
    end
  end
  if declared.choices then
    for _, choice in ipairs(declared.choices) do
      if choice == converted then
        return converted
      end
    end
    local near = declared.type == "string" and core.nearest(converted, declared.choices)
    self:fail(path, "expected %s, got %s%s", expectation(declared), describe_value(value),
      near and ('; did you mean "%s"?'):format(near) or "")
  end
  return converted
end

function Check:unknown(key, declared, path)
  if type(key) ~= "string" then
    self:fail(path, "unexpected element [%s]; options have names", tostring(key))
  elseif self.unknown_keys == "collect" then
    self.ignored[#self.ignored + 1] = join(path, key)
  else
    self:fail(join(path, key), "unknown%s", suggestion(key, sorted_keys(declared)))
  end
end

-- What a policy does to its configuration must not reach the declaration.
local function copy(value)
  if type(value) ~= "table" then
    return value
  end
  local new = setmetatable({}, getmetatable(value))
  for key, member in pairs(value) do
    new[key] = copy(member)
  end
  return new
end

-- Gives an option that is missing its computed value or its default.
function Check:complete(conf, key, option, path)
  local value
  if option.auto and not self.skip_auto then
    value = option.auto(conf)
    if value ~= nil then
      local computed = new_check { noun = "computed option", what = self.what, code = 100 }
      conf[key] = computed:value(value, option, path)
      return
    end
  end
  if option.default ~= nil then
    conf[key] = self:value(copy(option.default), option, path)
  end
end

-- Checks the members of one table and completes them.
function Check:fields(given, declared, path)
  local conf, computed, missing = {}, {}, {}
  for _, key in ipairs(sorted_keys(given)) do
    if not declared[key] then
      if path ~= "" or not contains(self.also, key) then
        self:unknown(key, declared, path)
      end
    elseif given[key] ~= json.null then
      conf[key] = self:value(given[key], declared[key], join(path, key))
    end
  end
  for key, option in next, declared do
    if conf[key] == nil then
      if option.required then
        missing[#missing + 1] = key
      elseif option.auto then
        computed[#computed + 1] = key
      elseif option.default ~= nil then
        self:complete(conf, key, option, join(path, key))
      end
    end
  end
  if missing[1] then
    table.sort(missing)
    self:fail(join(path, missing[1]), "missing; expected %s", expectation(declared[missing[1]]))
  end
  table.sort(computed)
  for _, key in ipairs(computed) do
    self:complete(conf, key, declared[key], join(path, key))
  end
  return conf
end

local declared_well = setmetatable({}, { __mode = "k" })
local accepted = { __name = "mncni.declaration" } -- the metatable of those that are taken as good

-- Raises (code 100) unless the options are declared as they should be, naming what is wrong: unknown types and keys,
-- defaults that the declaration itself would refuse. `what` names the policy in messages. Returns declared. A table
-- that was found good, or is accepted as such, is not looked at again.
function options.declare(declared, what)
  if declared_well[declared or options] or getmetatable(declared) == accepted then
    return declared
  end
  if type(declared) ~= "table" then
    error(core.error {
      object = what and "options of " .. what or "options",
      message = "expected a table of declarations, got " .. describe_value(declared),
      code = 100,
    }, 0)
  end
  require("mncni.declaration").check(declared)
  local function check_defaults(fields, path)
    for _, name in ipairs(sorted_keys(fields)) do
      local option, where = fields[name], join(path, name)
      local check = new_check { noun = "choice of option", what = what, code = 100, skip_auto = true }
      for _, choice in ipairs(option.choices or {}) do
        check:value(choice, { type = option.type, min = option.min, max = option.max }, where)
      end
      check.noun = "default of option"
      if option.default ~= nil then
        check:value(option.default, option, where)
      end
      while option.of do
        option, where = option.of, where .. "[]"
      end
      check_defaults(option.fields or {}, where)
    end
  end
  check_defaults(declared, "")
  declared_well[declared] = true
  return declared
end

-- Takes a declaration as good without a look: those of the policies that are built in are looked at by the specs.
function options.accept(declared)
  setmetatable(declared, accepted)
end

-- Checks given values against what is declared. Returns the complete configuration and the list of the keys ignored.
-- Raises, with code 7, what is wrong, what was given and what is expected; with code 100 what `auto` computed wrongly.
--   opts.unknown  "error" (default): an unknown key is an error that names the nearest known one
--                 "collect": it is left out of the configuration and returned in the list, as ipam.foo when nested
--   opts.also     list of keys at the top level that are somebody else's: neither error nor ignored
--   opts.what     name of the policy or file, for messages
--   opts.auto     false: compute nothing
function options.check(declared, given, opts)
  opts = opts or {}
  for key in pairs(opts) do
    if key ~= "unknown" and key ~= "also" and key ~= "what" and key ~= "auto" then
      error(core.error {
        op = "options.check",
        message = ('unknown key "%s"%s'):format(tostring(key),
          suggestion(tostring(key), { "also", "auto", "unknown", "what" })),
      }, 0)
    end
  end
  options.declare(declared, opts.what)
  local check = new_check {
    what = opts.what, unknown_keys = opts.unknown, skip_auto = opts.auto == false, also = opts.also,
  }
  given = given == nil and {} or given
  if type(given) ~= "table" or json.is_array(given) then
    check:fail("", "expected an object, got %s", describe_value(given))
  end
  return check:fields(given, declared, ""), check.ignored
end

-- Reads one NAME=VALUE from a command line into the table `given`: see mncni.setting.
function options.parse_set(declared, text, given)
  return require("mncni.setting").read(declared, text, given)
end

-- Returns help on declared options, as text.
function options.describe(declared)
  options.declare(declared)
  return require("mncni.declaration").describe(declared)
end

return options
