-- SPDX-License-Identifier: Apache-2.0
local text = require "mncni.text"

describe("a text", function()
  it("that is UTF-8 is valid as it is", function()
    for _, words in ipairs { "", "a", "é€𝄞", "a\0b\u{FFFD}" } do
      assert.equal(words, text.valid(words))
    end
  end)

  it("that is not becomes so, with the rest as it was", function()
    for words, valid in pairs {
      ["\xff"] = "\u{FFFD}", ["a\xc3"] = "a\u{FFFD}", ["\xa9b"] = "\u{FFFD}b", ["é\xe2\x82é"] = "é\u{FFFD}\u{FFFD}é",
      ["\xc0\x80"] = "\u{FFFD}\u{FFFD}", ["x\xed\xa0\x80y"] = "x\u{FFFD}\u{FFFD}\u{FFFD}y",
    } do
      assert.equal(valid, text.valid(words))
    end
  end)

  it("is cut between characters", function()
    assert.equal("éé", text.cut("éé", 4))
    for bytes = 3, 79 do
      local short = text.cut("a" .. ("é"):rep(40), bytes)
      assert.is_true(#short <= bytes and #short >= bytes - 1)
      assert.is_truthy(utf8.len(short))
      assert.equal("...", short:sub(-3))
    end
    assert.equal("€...", text.cut(("€"):rep(9), 8))
  end)
end)
