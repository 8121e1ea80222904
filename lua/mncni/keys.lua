-- SPDX-License-Identifier: Apache-2.0
-- keys(t) returns the keys of a table as a list in a stable order, whatever they are.

local function by_text(a, b)
  return tostring(a) < tostring(b)
end

return function(t)
  local keys, mixed = {}, false
  for key in pairs(t) do
    keys[#keys + 1] = key
    mixed = mixed or type(key) ~= "string"
  end
  table.sort(keys, mixed and by_text or nil)
  return keys
end
