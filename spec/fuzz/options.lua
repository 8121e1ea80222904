-- SPDX-License-Identifier: Apache-2.0
-- Input: JSON, [declarations, configuration, "NAME=VALUE", ...]. Only error objects come out, with code 100 for the
-- declarations and 7 for the rest, and a configuration that was checked passes again and stays as it is. "auto" in the
-- declarations stands for a function that returns what is there.

local core = require "mncni.core"
local options = require "mncni.options"
local check = dofile "spec/fuzz/check.lua"
local json = core.json

local function with_functions(declared, depth)
  if type(declared) ~= "table" then
    return
  end
  for _, option in pairs(declared) do
    if type(option) == "table" and option ~= json.null and depth < 20 then
      local auto = option.auto
      if auto ~= nil and auto ~= json.null then
        option.auto = function() return auto end
      end
      with_functions(option.fields, depth + 1)
      with_functions({ option.of }, depth + 1)
    end
  end
end

return function(text)
  local ok, input = pcall(json.decode, text)
  if not ok or type(input) ~= "table" or not json.is_array(input) then
    return
  end
  local declared, given = input[1], input[2]
  with_functions(declared, 0)
  if not check.raises_well({ 100 }, options.declare, declared) then
    return
  end
  assert(type(options.describe(declared)) == "string")
  local good, conf = check.raises_well({ 7, 100 }, options.check, declared, given, { unknown = "collect" })
  if good then
    local again, ignored = options.check(declared, conf)
    assert(#ignored == 0, "a checked configuration has keys to ignore")
    check.equal(conf, again, "changed by a second check")
  end
  check.raises_well({ 7, 100 }, options.check, declared, given, { auto = false })
  local set
  for i = 3, #input do
    if type(input[i]) == "string" then
      local taken, table_ = check.raises_well({ 7, 100 }, options.parse_set, declared, input[i], set)
      set = taken and table_ or set
    end
  end
end
