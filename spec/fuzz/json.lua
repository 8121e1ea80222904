-- SPDX-License-Identifier: Apache-2.0
-- Input: text. What decodes is told the same way every time: decode(encode(x)) is x, pretty or not.

local core = require "mncni.core"
local check = dofile "spec/fuzz/check.lua"
local json = core.json

return function(text)
  local ok, value = check.raises_well({ 6 }, json.decode, text)
  if not ok then
    assert(value.offset >= 0 and value.offset <= #text and value.line >= 1 and value.column >= 1, "no place in it")
    return
  end
  local encoded = json.encode(value)
  check.equal(value, json.decode(encoded), "changed by encode")
  check.equal(value, json.decode(json.encode(value, { pretty = true })), "changed by a pretty encode")
  assert(json.encode(json.decode(encoded)) == encoded, "encoded in two ways")
end
