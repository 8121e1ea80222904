-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local yaml = require "mncni.yaml"
local json = core.json

local function read(text)
  return yaml.decode(text, "file.yaml")
end

describe("yaml.decode", function()
  -- YAML, and the same as JSON.
  for _, case in ipairs {
    { "a: 1\nb: two\nc:\n", '{"a":1,"b":"two","c":null}' },
    { "a:\n- 1\n- x\nb: 2", '{"a":[1,"x"],"b":2}' },
    { "a:\n    - 1\n    - b: c\n      d: e\n    -\n      f: g\n", '{"a":[1,{"b":"c","d":"e"},{"f":"g"}]}' },
    { "- - 1\n  - 2\n- a: 1\n-\n- x", '[[1,2],{"a":1},null,"x"]' },
    { "---\n# first\na: b # c\n\n  # deeper\nc: d#e\n", '{"a":"b","c":"d#e"}' },
    { "a: {}\nb: []\nc: [1, x y, {y: 'z', w: }]\nd: {k: \"v\"}",
      '{"a":{},"b":[],"c":[1,"x y",{"y":"z","w":null}],"d":{"k":"v"}}' },
    { "a: 'it''s'\nb: \"\\t\\u00e9\\\"\\\\\"\n'c d': x\n\"e: f\": y",
      '{"a":"it\'s","b":"\\té\\"\\\\","c d":"x","e: f":"y"}' },
    { "a: |\n  one\n   two\n\n  # three\nb: 1", '{"a":"one\\n two\\n\\n# three\\n","b":1}' },
    { "a: |-\n  one\n\nb: |+\n  two\n\n", '{"a":"one","b":"two\\n\\n"}' },
    { "a: |2 # that many\n    x\n", '{"a":"  x\\n"}' },
    { "a: true\nb: False\nc: ~\nd: null\ne: 'true'\nf: yes",
      '{"a":true,"b":false,"c":null,"d":null,"e":"true","f":"yes"}' },
    { "server: https://[::1]:6443\npath: a:b\n", '{"server":"https://[::1]:6443","path":"a:b"}' },
    { "a: b\r\nc: d\r\n", '{"a":"b","c":"d"}' },
    { "\xEF\xBB\xBFa: 1", '{"a":1}' },
    { '\n {"a": [1, {"b": null}]}\n', '{"a":[1,{"b":null}]}' },
    { "{a: b}", '{"a":"b"}' },
    { "word", '"word"' },
    { "", "null" },
    { "# nothing\n", "null" },
  } do
    it(("reads %q"):format(case[1]), function()
      assert.equal(json.encode(json.decode(case[2])), json.encode(read(case[1])))
    end)
  end

  it("tells numbers from what only looks like one", function()
    local value = read "a: -3\nb: 1.5\nc: 1e3\nd: 0x10\ne: 10.0.0.1\nf: 1-2\ng: .5\nh: '7'"
    assert.same({ a = -3, b = 1.5, c = 1000.0, d = "0x10", e = "10.0.0.1", f = "1-2", g = 0.5, h = "7" }, value)
    assert.equal("integer", math.type(value.a))
  end)

  it("marks lists as JSON's are marked", function()
    local value = read "a: []\nb:\n- 1\nc: {}"
    assert.is_true(json.is_array(value.a))
    assert.is_true(json.is_array(value.b))
    assert.is_false(json.is_array(value.c))
  end)

  for _, case in ipairs {
    { "a: &x 1", 1, "anchors are not read here" },
    { "a: 1\nb: *x", 2, "aliases are not read here" },
    { "a: !!binary x", 1, "tags are not read here" },
    { "a: >-\n  x", 1, "folded text is not read here" },
    { "a:\n  <<: {b: 1}", 2, "merge keys (<<) are not read here" },
    { "? a\n: b", 1, "keys of their own line (?) are not read here" },
    { "a: 1\n---\nb: 2", 2, "a second document is not read here" },
    { "%YAML 1.2\n---\na: 1", 1, "directives are not read here" },
    { "a:\n\tb: 1", 2, "a tab cannot indent" },
    { "a: one\n  two", 2, "values over several lines are not read here" },
    { "a: 1\n   b: 2", 2, "indented deeper than its place allows" },
    { "a:\n  b: 1\n c: 2", 3, "indented" },
    { "a: 'x", 1, "the quotes do not end on this line" },
    { 'a: "x\ny"', 1, "the quotes do not end on this line" },
    { 'a: "\\q"', 1, 'is no escape sequence' },
    { 'a: "\\ud800"', 1, 'is no character' },
    { "a: 'x' y", 1, '"y" behind the value is not understood' },
    { "a: [1, 2\n", 1, "expected , or ] on this line" },
    { "a: [1,, 2]", 1, "an element is missing in the list" },
    { "a: {b, c}", 1, "expected KEY: VALUE between the braces" },
    { "a: b: c", 1, "a value with a colon in it needs quotes" },
    { "a: 1\nb", 2, "expected KEY: VALUE" },
    { "a: 1\n- b", 2, "expected KEY: VALUE" },
    { "- a\nb: 1", 2, "not indented as what is above it" },
    { "a: 1\nb: 2\na: 3", 3, 'the key "a" stands here for the second time' },
    { "a: {b: 1, b: 2}", 1, 'the key "b" stands here for the second time' },
    { "a: @x", 1, "put it in quotes" },
    { "a: |5x\n  b", 1, "is no head of a literal" },
    { "a: \xff", 1, "a byte 0xff, which is no text" },
    { "a: 1\nb: \0", 2, "a byte 0x00, which is no text" },
    { '{"a": 1,\n"b" 2}', 2, "expected ':' behind a key" },
    { "a: " .. ("["):rep(100) .. ("]"):rep(100), 1, "nested deeper than 64 levels" },
    { ("- "):rep(100) .. "x", 1, "nested deeper than 64 levels" },
  } do
    it(("refuses %q and names the line"):format(#case[1] > 60 and case[1]:sub(1, 20) or case[1]), function()
      local ok, err = pcall(read, case[1])
      assert.is_false(ok)
      assert.is_true(core.is_error(err), tostring(err))
      assert.equal(7, err.code)
      assert.is_truthy(tostring(err):find(("file.yaml:%d: "):format(case[2]), 1, true), tostring(err))
      assert.is_truthy(tostring(err):find(case[3], 1, true), tostring(err))
    end)
  end

  it("raises nothing but error objects, whatever it is given", function()
    local pieces = {
      "a", "b:", ": ", "- ", "-", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ",", "'", '"', "|", "#", " ", "\t", "\\",
      "&", "---", "?", "1", "~", "é",
    }
    math.randomseed(11)
    for _ = 1, 20000 do
      local parts = {}
      for i = 1, math.random(12) do
        parts[i] = pieces[math.random(#pieces)]
      end
      local text = table.concat(parts)
      local ok, err = pcall(read, text)
      assert.is_true(ok or core.is_error(err), ("%q: %s"):format(text, tostring(err)))
    end
  end)
end)
