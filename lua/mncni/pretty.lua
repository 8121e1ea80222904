-- SPDX-License-Identifier: Apache-2.0
-- Values for people at a prompt: what has words of its own says them, and a plain table is written out, sorted, as Lua
-- would have it.

local pretty = {}

local WIDTH = 96
local DEPTH = 6
local ITEMS = 200 -- of one table

local function has_words(value)
  local meta = debug.getmetatable(value)
  return type(meta) == "table" and (meta.__tostring ~= nil or meta.__name ~= nil)
end

local function is_name(key)
  return type(key) == "string" and key:find "^[%a_][%w_]*$" ~= nil
end

local function before(a, b)
  if type(a) == type(b) and (type(a) == "string" or type(a) == "number") then
    return a < b
  end
  return type(a) == "number" and type(b) ~= "number" or type(b) ~= "number" and tostring(a) < tostring(b)
end

local function keys_of(value)
  local keys = {}
  for key in next, value do
    keys[#keys + 1] = key
  end
  table.sort(keys, before)
  return keys
end

local show

-- The members of a table as texts.
local function members(value, depth, above)
  local list, length = {}, rawlen(value)
  for i, key in ipairs(keys_of(value)) do
    if i > ITEMS then
      list[#list + 1] = ("... %d more"):format(#keys_of(value) - ITEMS)
      break
    end
    local item = show(rawget(value, key), depth + 1, above)
    local index = math.type(key) == "integer" and key >= 1 and key <= length
    local name = is_name(key) and key or "[" .. show(key, DEPTH, above) .. "]"
    list[#list + 1] = index and item or ("%s = %s"):format(name, item)
  end
  return list
end

function show(value, depth, above)
  if type(value) == "string" then
    return (("%q"):format(value):gsub("\\\n", "\\n"))
  elseif type(value) ~= "table" or has_words(value) then
    local ok, text = pcall(tostring, value)
    return ok and text or type(value)
  elseif above[value] then
    return "{ the table above }"
  elseif next(value) == nil then
    return "{}"
  elseif depth >= DEPTH then
    return "{ ... }"
  end
  above[value] = true
  local list = members(value, depth, above)
  above[value] = nil
  local line = "{ " .. table.concat(list, ", ") .. " }"
  if #line + 2 * depth <= WIDTH and not line:find "\n" then
    return line
  end
  local indent = ("  "):rep(depth + 1)
  return "{\n" .. indent .. table.concat(list, ",\n" .. indent) .. "\n" .. ("  "):rep(depth) .. "}"
end

-- pretty.text(value): as print shows it, but for a plain table.
function pretty.text(value)
  if type(value) == "table" and not has_words(value) then
    return show(value, 0, {})
  end
  return tostring(value)
end

return pretty
