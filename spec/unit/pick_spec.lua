-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local nodes = require "spec.support.nodes"
local prune = require "spec.support.prune"
local json = core.json

local function whole() return math.maxinteger >> 1 end
local function bytewise() return 1 end

-- What a picker of these arguments makes of a text, in one piece and byte by byte: the same.
local function pick(arguments, text)
  local documents = prune.feed(core.picker(arguments), text, whole)
  assert.same(documents, prune.feed(core.picker(arguments), text, bytewise))
  return documents
end

local function refusal(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  return err
end

describe("a picker", function()
  it("keeps the members that are named, of whole documents", function()
    assert.same({ '{"a":1,"c":{"d":"x"}}', '{"c":{}}', '{}' },
      pick({ keep = { a = true, c = { d = true } } },
        ' {"a": 1, "b": [1, {"a": 2}], "c": {"d": "x", "e": null}}\n{"c":{"a":1}}{}'))
  end)

  it("keeps everything when it is not told what", function()
    local text = '{"a":[1,-2.5e+3,"\\u00e9\\n",{}],"b":{"":[[]]},"c":true,"d":null}'
    assert.same({ text }, pick({}, text))
  end)

  it("takes what it keeps of an array from each element", function()
    assert.same({ '{"c":[{"type":"Ready"},{},7,[{"type":1}]]}' },
      pick({ keep = { c = { type = true } } }, '{"c":[{"type":"Ready","x":1},{"y":[]},7,[{"type":1,"z":2}]]}'))
  end)

  it("keeps a scalar where members were expected", function()
    assert.same({ '{"spec":null}', '"text"', "12" }, pick({ keep = { spec = { a = true } } }, '{"spec":null}"text" 12'))
  end)

  it("gives the elements of a list, and what else was asked for as the last document", function()
    local arguments = {
      items = { "items", each = true }, keep = { metadata = { name = true } },
      also = { metadata = { resourceVersion = true, continue = true } },
    }
    local rest = '{"list":{"metadata":{"resourceVersion":"7"}}}'
    assert.same({ '{"metadata":{"name":"a"}}', '{"metadata":{}}', rest },
      pick(arguments, '{"kind":"NodeList","metadata":{"resourceVersion":"7","selfLink":""},'
        .. '"items":[{"metadata":{"name":"a","uid":"u"}},{"metadata":{},"spec":{}}]}\n'))
    assert.same({ '{"metadata":{"name":"a"}}', rest },
      pick(arguments, '{"items":[{"metadata":{"name":"a"}}],"metadata":{"resourceVersion":"7"}}'))
    assert.same({ rest }, pick(arguments, '{"items":[],"metadata":{"resourceVersion":"7"}}'))
    assert.same({ rest }, pick(arguments, '{"items":null,"metadata":{"resourceVersion":"7"}}'))
  end)

  it("finds documents that are deeper inside, with and without each", function()
    assert.same({ '{"x":1}', "2" }, pick({ items = { "a", "b", each = true } },
      '{"b":[0],"a":{"c":[],"b":[{"x":1},2]}}'))
    assert.same({ '{"x":1}', '{"list":{"a":{"n":3}}}' },
      pick({ items = { "a", "b" }, also = { a = { n = true } } }, '{"a":{"b":{"x":1},"n":3,"m":4}}'))
    assert.same({ "1", "[2]" }, pick({ items = { each = true } }, "[1,[2]]"))
  end)

  it("does not mistake members of elements for those of the list", function()
    assert.same({ '{"items":[{"items":[]}]}' }, pick({ items = { "items", each = true } },
      '{"items":[{"items":[{"items":[]}]}]}'))
  end)

  it("knows a key however it is written", function()
    assert.same({ '{"\\u0061b":1,"\\ud83d\\ude00":2,"é":3,"\\u00e8\\/":4}' },
      pick({ keep = { ab = true, ["😀"] = true, ["é"] = true, ["è/"] = true } },
        '{"\\u0061b":1,"\\ud83d\\ude00":2,"é":3,"\\u00e8\\/":4,"a":5,"abc":6,"\\ud83dx":7,"":8}'))
  end)

  it("gives a number at the end of the text when that has ended", function()
    local picker = core.picker {}
    assert.same({}, picker:feed "12")
    assert.same({}, picker:feed "3")
    assert.same({ "123" }, picker:finish())
    assert.same({}, picker:finish())
  end)

  it("refuses a list that ends early, or has no items", function()
    local arguments = { items = { "items", each = true }, also = { metadata = true } }
    for text, message in pairs {
      [""] = "expected a value, found the end of the text at byte 0",
      ["{"] = "expected a key in quotes or '}', found the end of the text at byte 1",
      ['{"items":[1,'] = "expected a value, found the end of the text at byte 12",
      ['{"items":[1]'] = "expected ',' or '}' in an object, found the end of the text at byte 12",
      ['{"kind":"Status"}'] = "the text ended without the items that were to be in it at byte 17",
      ['{"items":{}}'] = "the items are no array at byte 9",
      ['{"items":[],"items":[]}'] = "a second list of items at byte 20",
      ['{"items":[]} {}'] = "expected the end of the text, found '{' at byte 13",
    } do
      local err = refusal(pick, arguments, text)
      assert.equal(message, err.message)
      assert.equal(6, err.code)
    end
  end)

  local hostile = {
    { "nul", "expected true, false or null, found the end of the text", 3 },
    { "nulx", "expected true, false or null, found 'x'", 3 },
    { "True", "expected a value, found 'T'", 0 },
    { '{"a":1,}', "expected a key in quotes, found '}'", 7 },
    { '{"a" 1}', "expected ':' behind a key, found '1'", 5 },
    { '{"a":}', "expected a value, found '}'", 5 },
    { '{"a":1 "b":2}', "expected ',' or '}' in an object, found '\"'", 7 },
    { "{'a':1}", "expected a key in quotes or '}', found \"'\"", 1 },
    { "[1,]", "expected a value, found ']'", 3 },
    { "[1}", "expected ',' or ']' in an array, found '}'", 2 },
    { "[", "expected a value or ']', found the end of the text", 1 },
    { "]", "expected a value, found ']'", 0 },
    { "[01]", "expected the end of a number, found '1'", 2 },
    { "[1.]", "expected a digit, found ']'", 3 },
    { "[-]", "expected a digit, found ']'", 2 },
    { "[1e+]", "expected a digit, found ']'", 4 },
    { '["a', "expected the rest of a string, found the end of the text", 3 },
    { '["a\nb"]', "control character in a string", 3 },
    { '["\\x"]', "expected the rest of an escape sequence, found 'x'", 3 },
    { '["\\u12g4"]', "expected a hexadecimal digit, found 'g'", 6 },
    { "[1]\0", "expected a value, found byte 0x00", 3 },
    { ("["):rep(129), "nesting deeper than 128 levels", 128 },
  }

  for _, case in ipairs(hostile) do
    local text, message, offset = table.unpack(case)
    it("refuses " .. (#text < 20 and text:gsub("%c", "?") or "deep nesting") .. " with its place", function()
      for _, keep in ipairs { true, {}, { a = true } } do
        for _, size in ipairs { whole, bytewise } do
          local err = refusal(prune.feed, core.picker { keep = keep }, text, size)
          assert.equal(("%s at byte %d"):format(message, offset), err.message)
          assert.equal(offset, err.offset)
          assert.equal(6, err.code)
        end
      end
    end)
  end

  it("reads no more after an error, until it is reset", function()
    local picker = core.picker {}
    refusal(picker.feed, picker, "x")
    assert.equal("no more can be read, the text was wrong at byte 0", refusal(picker.feed, picker, "1 ").message)
    refusal(picker.finish, picker)
    picker:reset()
    assert.same({ "1" }, picker:feed "1 ")
  end)

  it("bounds what it keeps of a document, and not what it drops", function()
    local picker = core.picker { keep = { a = true }, max = 64 }
    local long = ("x"):rep(1000)
    assert.same({ '{"a":1}' }, picker:feed(('{"b":"%s","a":1,"c":["%s"]}'):format(long, long)))
    assert.matches("more than 64 bytes are to be kept of one document %(keep fewer members or raise max%) at byte",
      refusal(picker.feed, picker, ('{"a":"%s"}'):format(long)).message)
  end)

  it("makes of any text what pruning the decoded one gives, in pieces of any size", function()
    local keeps = {
      nodes.keep, { metadata = { managedFields = { fieldsV1 = true } } }, { status = { images = { names = true } } },
    }
    math.randomseed(1)
    for _, keep in ipairs(keeps) do
      local list = nodes.list(8)
      for _, text in ipairs { list, json.encode(json.decode(list), { pretty = true }) } do
        local picked = prune.feed(core.picker { items = { "items", each = true }, keep = keep }, text,
          function() return math.random(1, 3000) end)
        assert.equal(8, #picked)
        for i, item in ipairs(json.decode(list).items) do
          assert.same(prune.value(item, keep), json.decode(picked[i]))
        end
      end
    end
  end)

  -- A sanitizer keeps what was freed for a while.
  local memory = os.getenv "RING_PRELOAD" and function() end or it
  memory("needs no more memory for more of what is dropped", function()
    local node = nodes.node(1)
    local picker = core.picker { items = { "items", each = true }, keep = nodes.keep, also = { metadata = true } }
    picker:feed '{"metadata":{},"items":['
    local function feed(count)
      for _ = 1, count do
        picker:feed(node)
        picker:feed ","
      end
      collectgarbage()
      local status = io.open "/proc/self/status":read "a"
      return tonumber(status:match "VmRSS:%s+(%d+)")
    end
    local before = feed(100)
    assert.is_true(feed(3000) - before < 1024)
  end)

  it("says what is wrong with its arguments", function()
    for message, arguments in pairs {
      ['unknown key "keeps"; did you mean "keep"?'] = { keeps = {} },
      ["keep is true or a table of members by name, not number"] = { keep = 1 },
      ["keep: a is true or a table of members by name, not boolean"] = { keep = { a = false } },
      ["keep is a table of members by name ({ name = true }), not a list"] = { keep = { "name" } },
      ["items is a list of names, with each = true for an array, not string"] = { items = "items" },
      ["items is a list of names, and [1] is a number"] = { items = { 1 } },
      ["items names no member: leave it out for whole documents"] = { items = {} },
      ['also keeps what items goes through ("items")'] = { items = { "items" }, also = { items = true } },
      ["also is of the text around items, which are not given"] = { also = {} },
      ["max is a number of bytes from 64 to 1073741824"] = { max = 1 },
    } do
      assert.equal(message, refusal(core.picker, arguments).message)
    end
    local deep = {}
    deep.a = deep
    assert.matches("more than 16 levels deep", refusal(core.picker, { keep = deep }).message)
  end)
end)
