-- SPDX-License-Identifier: Apache-2.0
local keys = require "mncni.keys"

describe("the keys of a table", function()
  it("are in the order of their bytes", function()
    assert.same({}, keys {})
    assert.same({ "", "B", "a", "a\0", "aa", "b", "\u{e9}" }, keys {
      b = 1, a = 1, aa = 1, [""] = 1, B = 1, ["a\0"] = 1, ["\u{e9}"] = 1,
    })
  end)

  it("may be many", function()
    local many, want = {}, {}
    for i = 1, 20000 do
      want[i] = ("k%05d"):format(i)
      many[want[i]] = i
    end
    assert.same(want, keys(many))
  end)

  it("may be of any kind, and are ordered by what they print as", function()
    assert.same({ 1, 10, 2, "a", true }, keys { [2] = 1, [10] = 1, [1] = 1, a = 1, [true] = 1 })
    assert.same({ 0.5, "x" }, keys { x = 1, [0.5] = 1 })
    assert.equal(2, #keys { [{}] = 1, [print] = 1 })
  end)

  it("are those of a table", function()
    assert.is_false(pcall(keys))
    assert.is_false(pcall(keys, "a"))
  end)
end)
