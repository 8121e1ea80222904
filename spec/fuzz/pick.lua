-- SPDX-License-Identifier: Apache-2.0
-- Input: a byte for the size of pieces, and text. The pieces make no difference, and what is picked is what pruning the
-- decoded text gives.

local core = require "mncni.core"
local check = dofile "spec/fuzz/check.lua"
local prune = dofile "spec/support/prune.lua"
local json = core.json

local keep = { a = true, b = { a = true, c = { a = true } }, ["\u{e9}"] = true }
local arguments = {
  {},
  { keep = keep },
  { keep = {} },
  { keep = keep, max = 64 },
  { items = { "items", each = true }, keep = keep, also = { a = true, b = { a = true } } },
  { items = { "b", "items" }, keep = keep, also = { b = { c = true } } },
  { items = { each = true } },
}
local pickers = {}
for i, each in ipairs(arguments) do pickers[i] = core.picker(each) end

-- Whether it went well, and the documents or the error's words.
local function pick(picker, text, size)
  picker:reset()
  local ok, outcome = check.raises_well({ 6 }, prune.feed, picker, text, function() return size end)
  if not ok then
    assert(outcome.offset >= 0 and outcome.offset <= #text, "no place in it")
    return false, { outcome.message }
  end
  return true, outcome
end

-- Where the value stands that items = { "items", each = true } finds.
local function elements(value)
  return type(value) == "table" and not json.is_array(value) and json.is_array(value.items) and value.items
end

return function(input)
  local size, text = input:byte() or 1, input:sub(2)
  local results = {}
  for i, picker in ipairs(pickers) do
    local ok, documents = pick(picker, text, #text + 1)
    local ok_again, again = pick(picker, text, size % 16 + 1)
    assert(ok == ok_again and #documents == #again, "pieces make a difference")
    for k, document in ipairs(documents) do
      -- Too much is noticed at the end of a piece.
      assert(document == again[k] or not ok and arguments[i].max, "pieces make another document")
    end
    results[i] = ok and documents
  end
  local decoded, value = pcall(json.decode, text)
  if not decoded then return end
  assert(results[1] and #results[1] == 1, "JSON was refused")
  for i = 1, 3 do
    check.equal(prune.value(value, arguments[i].keep or true), json.decode(results[i][1]), "not what pruning gives")
  end
  local list = elements(value)
  if list then
    assert(results[5] and #results[5] == #list + 1, "another number of elements")
    for i, element in ipairs(list) do
      check.equal(prune.value(element, keep), json.decode(results[5][i]), "not what pruning an element gives")
    end
    check.equal({ list = prune.value(value, arguments[5].also) }, json.decode(results[5][#list + 1]), "another rest")
  elseif type(value) ~= "table" or json.is_array(value) then
    assert(not results[5] or json.is_array(value), "items out of nothing")
  end
end
