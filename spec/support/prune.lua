-- SPDX-License-Identifier: Apache-2.0
-- What core.picker does, done slowly on decoded values: what specs and fuzzers compare it with.

local json = require("mncni.core").json

local prune = {}

-- The value with the members that `keep` names, as a decoded JSON text.
function prune.value(value, keep)
  if keep == true or type(value) ~= "table" then return value end
  local copy = {}
  if json.is_array(value) then
    for i, element in ipairs(value) do copy[i] = prune.value(element, keep) end
    return json.array(copy)
  end
  for name, member in pairs(value) do
    if keep[name] ~= nil then copy[name] = prune.value(member, keep[name]) end
  end
  return copy
end

local function append(list, more)
  return table.move(more, 1, #more, #list + 1, list)
end

-- Feeds a text in pieces whose sizes size(i) gives; returns the documents, as texts.
function prune.feed(picker, text, size)
  local documents, at, i = {}, 1, 0
  while at <= #text do
    i = i + 1
    local n = size(i)
    append(documents, picker:feed(text:sub(at, at + n - 1)))
    at = at + n
  end
  return append(documents, picker:finish())
end

return prune
