-- SPDX-License-Identifier: Apache-2.0
-- Keys at the prompt of mncni repl, and the line and the screen that come of them.

local repl_line = require "mncni.repl_line"

-- Presses keys: what ask returns, and what was written.
local function press(keys, options)
  options = options or {}
  local at, written = 0, {}
  local editor = repl_line.new {
    read = function()
      at = at + 1
      return at <= #keys and keys:sub(at, at) or nil
    end,
    write = function(text) written[#written + 1] = text end,
    columns = function() return options.columns or 80 end,
    complete = options.complete or function() return {} end,
  }
  for _, text in ipairs(options.lines or {}) do editor:add(text) end
  return editor:ask "> ", table.concat(written)
end

local UP, DOWN, LEFT, RIGHT, HOME, END = "\27[A", "\27[B", "\27[D", "\27[C", "\27[H", "\27[F"

describe("a line at the prompt", function()
  for _, case in ipairs {
    { "is what is typed", "abc", "abc" },
    { "is corrected at its end", "abx\127c", "abc" },
    { "is corrected in the middle", "ac" .. LEFT .. "b" .. RIGHT .. "d", "abcd" },
    { "is corrected at its beginning", "bc" .. HOME .. "a" .. END .. "d", "abcd" },
    { "loses what is under the cursor", "abc" .. HOME .. "\4" .. RIGHT .. "\27[3~", "b" },
    { "has its rest cut off, and put elsewhere", "one two\27b\11" .. HOME .. "\25 ", "two one " },
    { "loses its beginning, its last word, a word ahead", "x y\21one two  \23three\27b\27d", "one " },
    { "goes by words", "one two three\27[1;5D\27[1;5D\27[1;5D\27[1;5C!", "one! two three" },
    { "has characters of several bytes", "ä€😀" .. LEFT .. "\127" .. LEFT .. "x", "xä😀" },
    { "ignores keys that mean nothing here", "a\27[15~\27[200~\27q\29b", "ab" },
    { "does nothing at its ends", "\127" .. LEFT .. RIGHT .. "\11\21\23\27b\27f\27da", "a" },
  } do
    it(case[1], function() assert.equal(case[3], (press(case[2] .. "\r"))) end)
  end

  it("brings back the last ones, and what was typed meanwhile", function()
    local lines = { "first", "second" }
    assert.equal("second", (press(UP .. "\r", { lines = lines })))
    assert.equal("first", (press(UP .. UP .. UP .. "\r", { lines = lines })))
    assert.equal("second!", (press(UP .. UP .. DOWN .. "!\r", { lines = lines })))
    assert.equal("typed", (press("typed" .. UP .. DOWN .. DOWN .. "\r", { lines = lines })))
    assert.equal("once", (press(UP .. UP .. "\r", { lines = { "once", "twice", "twice" } })))
  end)

  it("ends with its input, and can be given up", function()
    assert.is_nil((press "\4"))
    assert.is_nil((press "abc"))
    assert.is_false((press "abc\3"))
  end)

  it("is completed as far as that is clear", function()
    local function complete(word, line)
      assert.equal("x = ho", line)
      return ({ ho = { "host.addr", "host.address" } })[word]
    end
    assert.equal("x = host.addr", (press("x = ho\t\r", { complete = complete })))
    assert.equal("ho", (press("ho\t\r", { complete = error })))
  end)

  it("is shown with what it may become, where there is more than one", function()
    local text, screen = press("a\t\r", { complete = function() return { "ab", "ac" } end })
    assert.equal("a", text)
    assert.matches("\r\nab  ac", screen, 1, true)
    local _, narrow = press("a\t\r", { columns = 4, complete = function() return { "ab", "ac" } end })
    assert.matches("\r\nab\r\nac\r\n", narrow, 1, true)
  end)

  it("is one row of the terminal, however long it is", function()
    local text, screen = press(("0123456789"):rep(3) .. "\r", { columns = 12 })
    assert.equal(30, #text)
    for row in screen:gmatch "\r(> [^\27]*)" do
      assert.is_true(#row < 12, row)
    end
    assert.matches("\r> 123456789\27[K\r\27[11C\r\n", screen, 1, true)
  end)
end)
