-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local dkjson = require "dkjson"
local json = core.json

local function refusal(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  return err
end

-- dkjson's null as ours, and its arrays marked: what decode should have given.
local function ours(value)
  if value == dkjson.null then return json.null end
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, member in pairs(value) do copy[key] = ours(member) end
  if getmetatable(value).__jsontype == "array" then json.array(copy) end
  return copy
end

-- Equality that also tells 1 from 1.0 and [] from {}.
local function alike(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return math.type(a) == math.type(b) and a == b end
  if json.is_array(a) ~= json.is_array(b) then return false end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  for key, member in pairs(a) do
    if not alike(member, b[key]) then return false end
  end
  return true
end

local conflist = [==[
{
	"cniVersion": "1.0.0", "name": "cbr0", "disableCheck": false,
	"plugins": [
		{ "type": "naivebridge", "mtu": 1500, "isGateway": true, "args": null, "empty": {}, "none": [],
		  "ipam": { "type": "host-local", "ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00::/64"}]] } },
		{ "type": "portmap", "capabilities": {"portMappings": true}, "score": -1.5e-3 }
	]
}
]==]

local valid = {
  conflist, "null", "true", "false", "0", "-0.0", "-1", "1.0", "1e3", "1E+3", "1e-3", "0.1", "12.50",
  "3.141592653589793",
  "1.7976931348623157e308", "5e-324", "2.5e-5", '""', '"a"', "[]", "{}", "[[]]", "[{}]", '{"a":{}}', '{"":0}',
  '[1,2.0,"x",null,true,false,[],{}]', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\u00e9\\u20AC\\ud83d\\ude00"', '"é€😀"',
  ' \t\r\n[ 1 , 2 ] \t\r\n', '{"a":1,"A":2,"b.c":3}', '{ "a" : [ { "b" : [ [ 0 ] ] } ] }', '"\127"', "[0,-0.5,1e0]",
}

describe("json.decode", function()
  it("reads what dkjson reads", function()
    for _, text in ipairs(valid) do
      local expected = ours((dkjson.decode(text, 1, dkjson.null)))
      assert.is_true(alike(expected, json.decode(text)), text)
    end
  end)

  it("keeps integers over the whole 64-bit range, and floats floats", function()
    for text, expected in pairs {
      ["9007199254740993"] = 9007199254740993, ["-9007199254740993"] = -9007199254740993,
      ["9223372036854775807"] = math.maxinteger, ["-9223372036854775808"] = math.mininteger,
      ["1234567890123456789"] = 1234567890123456789, ["2147483648"] = 2147483648, ["-0"] = 0,
      ["1.0"] = 1.0, ["1e3"] = 1000.0, ["9007199254740992"] = 9007199254740992, ["0.30000000000000004"] = 0.1 + 0.2,
    } do
      local value = json.decode(text)
      assert.are.equal(math.type(expected), math.type(value), text)
      assert.are.equal(expected, value)
      assert.are.equal(expected, json.decode(('{"a":[%s]}'):format(text)).a[1])
    end
    assert.are.same({ 9007199254740993, 1, 9007199254740995 }, json.decode "[9007199254740993,1,9007199254740995]")
  end)

  it("marks arrays, and only those", function()
    assert.is_true(json.is_array(json.decode "[]"))
    assert.is_true(json.is_array(json.decode '{"a":[1]}'.a))
    assert.is_false(json.is_array(json.decode "{}"))
    assert.is_false(json.is_array(json.decode '"x"'))
    assert.is_nil(getmetatable(json.decode "{}"))
  end)

  it("keeps nulls apart from what is missing", function()
    local value = json.decode '{"a":null,"b":[null,null]}'
    assert.are.equal(json.null, value.a)
    assert.are.equal(2, #value.b)
    assert.are.equal(json.null, value.b[2])
  end)

  local function deep(open, close, n) return open:rep(n) .. close:rep(n) end

  -- text, message, offset, line, column
  local hostile = {
    { "", "expected a value, found the end of the text", 0, 1, 1 },
    { "  \n ", "expected a value, found the end of the text", 4, 2, 2 },
    { "nul", "expected a value, found 'n'", 0, 1, 1 },
    { "nulll", "expected the end of the text, found 'l'", 4, 1, 5 },
    { "True", "expected a value, found 'T'", 0, 1, 1 },
    { "NaN", "expected a value, found 'N'", 0, 1, 1 },
    { "Infinity", "expected a value, found 'I'", 0, 1, 1 },
    { "-Infinity", "expected a digit, found 'I'", 1, 1, 2 },
    { "{'a':1}", "expected a key in quotes, found \"'\"", 1, 1, 2 },
    { "{a:1}", "expected a key in quotes, found 'a'", 1, 1, 2 },
    { '{"a":1,}', "expected a key in quotes, found '}'", 7, 1, 8 },
    { '{"a" 1}', "expected ':' behind a key, found '1'", 5, 1, 6 },
    { '{"a":}', "expected a value, found '}'", 5, 1, 6 },
    { '{"a":1 "b":2}', "expected ',' or '}' in an object, found '\"'", 7, 1, 8 },
    { '{"a":1', "expected ',' or '}' in an object, found the end of the text", 6, 1, 7 },
    { '{\n  "a": 1,\n  "b": }\n', "expected a value, found '}'", 19, 3, 8 },
    { '{"é": x}', "expected a value, found 'x'", 7, 1, 7 },
    { "[1,]", "expected a value, found ']'", 3, 1, 4 },
    { "[,1]", "expected a value, found ','", 1, 1, 2 },
    { "[1 2]", "expected ',' or ']' in an array, found '2'", 3, 1, 4 },
    { "[1}", "expected ',' or ']' in an array, found '}'", 2, 1, 3 },
    { "[", "expected a value, found the end of the text", 1, 1, 2 },
    { "{", "expected a key in quotes, found the end of the text", 1, 1, 2 },
    { "]", "expected a value, found ']'", 0, 1, 1 },
    { "{} {}", "expected the end of the text, found '{'", 3, 1, 4 },
    { "1 // one", "expected the end of the text, found '/'", 2, 1, 3 },
    { "[1]\0", "expected the end of the text, found byte 0x00", 3, 1, 4 },
    { "[1,\0]", "expected a value, found byte 0x00", 3, 1, 4 },
    { "[\f1]", "expected a value, found byte 0x0c", 1, 1, 2 },
    { "[\u{a0}1]", "expected a value, found byte 0xc2", 1, 1, 2 },
    { "\xef\xbb\xbf{}", "byte order mark, which JSON does not have,", 0, 1, 1 },
    { "01", "number with a leading zero", 0, 1, 1 },
    { "-01", "number with a leading zero", 0, 1, 1 },
    { "+1", "expected a value, found '+'", 0, 1, 1 },
    { ".5", "expected a value, found '.'", 0, 1, 1 },
    { "1.", "expected a digit, found the end of the text", 2, 1, 3 },
    { "1.e3", "expected a digit, found 'e'", 2, 1, 3 },
    { "1e", "expected a digit, found the end of the text", 2, 1, 3 },
    { "[1e+]", "expected a digit, found ']'", 4, 1, 5 },
    { "-", "expected a digit, found the end of the text", 1, 1, 2 },
    { "--1", "expected a digit, found '-'", 1, 1, 2 },
    { "0x10", "expected the end of the text, found 'x'", 1, 1, 2 },
    { "9223372036854775808", "integer that does not fit in 64 bits with its sign", 0, 1, 1 },
    { "[-9223372036854775809]", "integer that does not fit in 64 bits with its sign", 1, 1, 2 },
    { "[0, 18446744073709551615]", "integer that does not fit in 64 bits with its sign", 4, 1, 5 },
    { ("9"):rep(5000), "integer that does not fit in 64 bits with its sign", 0, 1, 1 },
    { "1e999", "number too big for a double", 0, 1, 1 },
    { "[1,-1e309]", "number too big for a double", 3, 1, 4 },
    { "0." .. ("1"):rep(62), "number of more than 63 characters", 0, 1, 1 },
    { '"a', "string without an end", 0, 1, 1 },
    { '["a]', "string without an end", 1, 1, 2 },
    { '"a\\', "expected the rest of an escape sequence, found the end of the text", 3, 1, 4 },
    { '"\\x41"', "unknown escape sequence", 1, 1, 2 },
    { '"\\\0"', "unknown escape sequence", 1, 1, 2 },
    { '"a\nb"', "control character 0x0a in a string", 2, 1, 3 },
    { '"a\0b"', "control character 0x00 in a string", 2, 1, 3 },
    { '"\\u12"', "\\u without four hexadecimal digits", 1, 1, 2 },
    { '"\\u12G4"', "\\u without four hexadecimal digits", 1, 1, 2 },
    { '"\\u', "\\u without four hexadecimal digits", 1, 1, 2 },
    { '"\\u0000"', "\\u0000 in a string", 1, 1, 2 },
    { '{"a\\u0000b":1}', "\\u0000 in a string", 3, 1, 4 },
    { '"\\ud83d"', "first half of a surrogate pair without its second", 1, 1, 2 },
    { '"\\ud83d\\u0041"', "first half of a surrogate pair without its second", 1, 1, 2 },
    { '"\\ud83d\\ud83d"', "first half of a surrogate pair without its second", 1, 1, 2 },
    { '"\\ude00"', "second half of a surrogate pair without its first", 1, 1, 2 },
    { '"\xff"', "invalid UTF-8 (byte 0xff)", 1, 1, 2 },
    { '"\x80"', "invalid UTF-8 (byte 0x80)", 1, 1, 2 },
    { '"\xc0\xaf"', "invalid UTF-8 (byte 0xc0)", 1, 1, 2 },
    { '"\xc1\xbf"', "invalid UTF-8 (byte 0xc1)", 1, 1, 2 },
    { '"\xe0\x9f\xbf"', "invalid UTF-8 (byte 0xe0)", 1, 1, 2 },
    { '"\xed\xa0\x80"', "invalid UTF-8 (byte 0xed)", 1, 1, 2 },
    { '"\xf0\x8f\xbf\xbf"', "invalid UTF-8 (byte 0xf0)", 1, 1, 2 },
    { '"\xf4\x90\x80\x80"', "invalid UTF-8 (byte 0xf4)", 1, 1, 2 },
    { '"\xf5\x80\x80\x80"', "invalid UTF-8 (byte 0xf5)", 1, 1, 2 },
    { '"é\xe2\x82"', "invalid UTF-8 (byte 0xe2)", 3, 1, 3 },
    { '"\xe2\x82', "invalid UTF-8 (byte 0xe2)", 1, 1, 2 },
    { '{"\xff":1}', "invalid UTF-8 (byte 0xff)", 2, 1, 3 },
    { '{"a":1,"a":2}', 'key "a" for the second time', 7, 1, 8 },
    { '{"a":1,"\\u0061":2}', 'key "a" for the second time', 7, 1, 8 },
    { '{"b":{"x":1,"y":{},"x":3},"b":2}', 'key "x" for the second time', 19, 1, 20 },
    { '[{"a":1},{"a":1,"b":0,\n"a":2,"b":1}]', 'key "a" for the second time', 23, 2, 1 },
    { '{"":1,"":2}', 'key "" for the second time', 6, 1, 7 },
    { deep("[", "]", 65), "nesting deeper than 64 levels", 64, 1, 65 },
    { deep('{"a":', "}", 65), "nesting deeper than 64 levels", 320, 1, 321 },
    { ("["):rep(1000000), "nesting deeper than 64 levels", 64, 1, 65 },
  }
  for _, case in ipairs(hostile) do
    local text, message, offset, line, column = table.unpack(case)
    it(("refuses %q: %s"):format(text:sub(1, 40), message), function()
      local err = refusal(json.decode, text)
      assert.are.equal(("decode JSON: %s at byte %d (line %d, column %d)"):format(message, offset, line, column),
        tostring(err))
      assert.are.same({ 6, offset, line, column }, { err.code, err.offset, err.line, err.column })
    end)
  end

  it("refuses a duplicate among very many keys, quickly", function()
    local members = {}
    for i = 1, 50000 do members[i] = ('"k%d":%d'):format(i, i) end
    members[#members + 1] = '"k77":0'
    local start = os.clock()
    local text = "{" .. table.concat(members, ",") .. "}"
    assert.matches('key "k77" for the second time', tostring(refusal(json.decode, text)))
    assert.is_true(os.clock() - start < 5)
  end)

  it("nests as deep as it is told", function()
    assert.is_table(json.decode(deep("[", "]", 64)))
    assert.is_table(json.decode(deep("[", "]", 500), { max_depth = 500 }))
    assert.matches("deeper than 2 levels", tostring(refusal(json.decode, "[[[]]]", { max_depth = 2 })))
    assert.is_table(json.decode("[[]]", { max_depth = 2 }))
    assert.matches("max_depth is from 1 to 500", tostring(refusal(json.decode, "1", { max_depth = 501 })))
    assert.are.equal('decode: unknown key "maxdepth"; did you mean "max_depth"?',
      tostring(refusal(json.decode, "1", { maxdepth = 3 })))
  end)

  it("wants a string", function()
    for _, value in ipairs { 1, {}, true } do
      assert.matches("expected JSON as a string", tostring(refusal(json.decode, value)))
    end
    assert.matches("got nil", tostring(refusal(json.decode)))
  end)
end)

describe("json.encode", function()
  it("gives back what decode read", function()
    for _, text in ipairs(valid) do
      local value = json.decode(text)
      assert.is_true(alike(value, json.decode(json.encode(value))), text)
      assert.is_true(alike(value, json.decode(json.encode(value, { pretty = true }))), text)
      assert.is_true(alike(value, ours((dkjson.decode(json.encode(value), 1, dkjson.null)))), text)
    end
  end)

  it("writes keys in one order, whatever order they came in", function()
    assert.are.equal('{"":0,"A":1,"a":2,"a.b":3,"aa":4,"b":5}',
      json.encode { b = 5, aa = 4, a = 2, [""] = 0, A = 1, ["a.b"] = 3 })
  end)

  it("writes arrays and objects for what they are", function()
    assert.are.equal("{}", json.encode {})
    assert.are.equal("[]", json.encode(json.array {}))
    assert.are.equal("[]", json.encode(json.array()))
    assert.are.equal("[]", json.encode(json.decode "[]"))
    assert.are.equal("[1,[2],{}]", json.encode { 1, { 2 }, {} })
    assert.are.equal("[null,1]", json.encode { json.null, 1 })
    assert.are.equal('{"a":null}', json.encode { a = json.null })
  end)

  it("writes numbers so that they read back the same", function()
    for expected, value in pairs {
      ["9007199254740993"] = 9007199254740993, ["-9223372036854775808"] = math.mininteger,
      ["9223372036854775807"] = math.maxinteger, ["1.0"] = 1.0, ["-0.0"] = -0.0, ["0.1"] = 0.1,
      ["0.30000000000000004"] = 0.1 + 0.2, ["1e+100"] = 1e100, ["123456789012345.0"] = 123456789012345.0,
      ["5e-324"] = 5e-324, ["1e+15"] = 1e15,
    } do
      local text = json.encode(value)
      assert.are.equal(value, json.decode(text))
      assert.are.equal(math.type(value), math.type(json.decode(text)))
      if expected ~= "5e-324" then assert.are.equal(expected, text) end
    end
    math.randomseed(7)
    for _ = 1, 1000 do
      local value = string.unpack("d", string.pack("j", math.random(0)))
      if value == value and math.abs(value) ~= math.huge then
        assert.are.equal(value, json.decode(json.encode(value)))
      end
      local integer = math.random(0)
      assert.are.equal(integer, json.decode(json.encode(integer)))
    end
  end)

  it("escapes what must be escaped", function()
    assert.are.equal('"\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001fé😀\127"', json.encode "\"\\/\b\f\n\r\t\1\31é😀\127")
    assert.are.equal('{"a\\n":1}', json.encode { ["a\n"] = 1 })
  end)

  it("writes a cidr as its text", function()
    assert.are.equal('{"address":"10.244.1.7/24","gateway":"fd00::1"}',
      json.encode { address = core.cidr "10.244.1.7/24", gateway = core.cidr "FD00::1" })
  end)

  it("indents when asked to", function()
    assert.are.equal('{\n\t"a":\t1,\n\t"b":\t["x"]\n}', json.encode({ b = { "x" }, a = 1 }, { pretty = true }))
    assert.are.equal('{"a":1}', json.encode({ a = 1 }, { pretty = false }))
    assert.are.equal('encode: unknown key "prety"; did you mean "pretty"?',
      tostring(refusal(json.encode, 1, { prety = true })))
  end)

  it("writes one table in two places twice", function()
    local shared = { 1 }
    assert.are.equal('{"a":[1],"b":[1]}', json.encode { a = shared, b = shared })
  end)

  local loop = { name = "x" }
  loop.up = { loop }
  local deep = {}
  for _ = 1, 64 do deep = { a = deep } end
  local doubling = {}
  for _ = 1, 40 do doubling = { doubling, doubling } end

  for path, case in pairs {
    [""] = { print, "a value of type function has no JSON form" },
    ["f"] = { { f = function() end }, "a value of type function has no JSON form" },
    ["ips[1].address"] = { { ips = { { address = 0 / 0 } } }, "not-a-number has no JSON form" },
    ["[2][1]"] = { { 1, { math.huge } }, "an infinite number has no JSON form" },
    ["a.co"] = { { a = { co = coroutine.create(print) } }, "a value of type thread has no JSON form" },
    ["file"] = { { file = io.stdout }, "a value of type userdata has no JSON form" },
    ["up[1]"] = { loop, "the table contains itself" },
    ["mixed"] = { { mixed = { 1, a = 2 } }, "a table with names among its elements is neither array nor object" },
    ["marked"] = { { marked = json.array { a = 2 } }, "a table with names among its elements is neither" },
    ["sparse"] = { { sparse = { 1, nil, 3 } }, "an array of 2 elements whose indexes are not 1 to 2" },
    ["zero"] = { { zero = { [0] = 1 } }, "an array of 1 elements whose indexes are not 1 to 1" },
    ["negative"] = { { negative = { [-1] = 1, [1] = 1 } }, "indexes are not 1 to 2" },
    ["huge"] = { { huge = { [math.maxinteger] = 1 } }, "indexes are not 1 to 1" },
    ["key"] = { { key = { [true] = 1 } }, "a key of type boolean has no JSON form" },
    ["float"] = { { float = { [1.5] = 1 } }, "a key of type number has no JSON form" },
    ["bytes"] = { { bytes = "a\xff" }, "the string is not UTF-8 (byte 0xff at its offset 1)" },
    ["zeros"] = { { zeros = "a\0b" }, "the string has a zero byte in it" },
    ["badkey.a?"] = { { badkey = { ["a\xff"] = 1 } }, "the key is not UTF-8" },
  } do
    it(("refuses a value, naming its path %q"):format(path), function()
      local err = refusal(json.encode, case[1])
      assert.are.equal(path, err.object or "")
      assert.is_truthy(err.message:find(case[2], 1, true), err.message)
    end)
  end

  it("refuses nesting and doubling without bound, and nothing at all", function()
    assert.matches("nesting deeper than 64 levels", tostring(refusal(json.encode, deep)))
    assert.is_string(json.encode(deep.a))
    assert.matches("more than 1000000 values", tostring(refusal(json.encode, doubling)))
    assert.matches("a value of type nil has no JSON form", tostring(refusal(json.encode)))
  end)

  it("leaves the values it was given as they are", function()
    local value = { b = { 1, 2 }, a = "x" }
    json.encode(value)
    assert.are.same({ b = { 1, 2 }, a = "x" }, value)
    assert.is_nil(getmetatable(value.b))
  end)
end)

describe("json.array", function()
  it("returns the table it marks", function()
    local list = { 1 }
    assert.are.equal(list, json.array(list))
    assert.is_true(json.is_array(list))
    assert.are.equal(list, json.array(list))
  end)

  it("takes no table from its metatable, and nothing but a table", function()
    assert.matches("metatable of its own", tostring(refusal(json.array, setmetatable({}, {}))))
    assert.matches("expected a table, got string", tostring(refusal(json.array, "x")))
    assert.is_false(json.is_array "x")
    assert.is_false(json.is_array())
  end)
end)

describe("random damage to valid JSON", function()
  it("is decoded or refused with an error object, 2000 times", function()
    local pieces = {
      "{", "}", "[", "]", '"', ",", ":", "\\", "\\u", "\\ud83d", "0", "-", "1e9", "null", "\0", "\xff", "é", " ",
    }
    local decoded = 0
    math.randomseed(20240607)
    for _ = 1, 2000 do
      local text = valid[math.random(1, math.random(1, 2) == 1 and 1 or #valid)]
      for _ = 1, math.random(1, 4) do
        local from = math.random(1, #text + 1)
        local what = math.random(1, 4)
        if what == 1 then -- cut
          text = text:sub(1, from - 1) .. text:sub(from + math.random(1, 8))
        elseif what == 2 then -- insert
          text = text:sub(1, from - 1) .. pieces[math.random(1, #pieces)] .. text:sub(from)
        elseif what == 3 then -- replace a byte
          text = text:sub(1, from - 1) .. string.char(math.random(0, 255)) .. text:sub(from + 1)
        else -- repeat a part
          text = text:sub(1, from - 1) .. text:sub(from, from + math.random(0, 30)):rep(2) .. text:sub(from)
        end
      end
      local ok, result = pcall(json.decode, text)
      if ok then
        decoded = decoded + 1
        assert.is_true(alike(result, json.decode(json.encode(result))), text)
        local theirs, _, message = dkjson.decode(text, 1, dkjson.null)
        assert.is_nil(message, text)
        assert.is_true(alike(result, ours(theirs)), text)
      else
        assert.is_true(core.is_error(result), tostring(result))
        assert.are.equal(6, result.code)
        assert.is_true(result.offset >= 0 and result.offset <= #text)
      end
    end
    assert.is_true(decoded > 20, "too few documents survived: " .. decoded)
  end)
end)
