-- SPDX-License-Identifier: Apache-2.0
-- What the fuzz targets in Lua check with.

local core = require "mncni.core"

local check = {}

-- True when two values are equal: tables key by key, numbers with their kind, cidr values by what they print.
function check.same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return math.type(a) == math.type(b) and (a == b or a ~= a and b ~= b)
  end
  for key, value in pairs(a) do
    if not check.same(value, b[key]) then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return core.json.is_array(a) == core.json.is_array(b)
end

local function show(value, depth)
  if type(value) ~= "table" then
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
  elseif depth > 8 then
    return "{...}"
  end
  local parts = {}
  for key, member in pairs(value) do
    parts[#parts + 1] = ("[%s] = %s"):format(show(key, depth + 1), show(member, depth + 1))
  end
  table.sort(parts)
  return "{ " .. table.concat(parts, ", ") .. " }"
end

-- Raises unless the two are equal, showing both.
function check.equal(a, b, what)
  if not check.same(a, b) then
    error(("%s\n  %s\n  %s"):format(what, show(a, 0), show(b, 0)), 2)
  end
end

-- Calls fn; what it raises must be an error object with something to read, and with one of the codes (any, without).
-- Returns true and the results, or false and the error.
function check.raises_well(codes, fn, ...)
  local outcome = table.pack(pcall(fn, ...))
  if outcome[1] then
    return table.unpack(outcome, 1, outcome.n)
  end
  local err = outcome[2]
  if not core.is_error(err) then
    error("raised no error object: " .. tostring(err), 2)
  elseif #tostring(err) == 0 then
    error("raised an error without words", 2)
  end
  for i = 1, codes and #codes or 0 do
    if err.code == codes[i] then
      return false, err
    end
  end
  if codes then
    error(("raised code %s: %s"):format(err.code, err), 2)
  end
  return false, err
end

return check
