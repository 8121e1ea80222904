-- SPDX-License-Identifier: Apache-2.0
-- Protocol buffers as JSON: what is wanted of them, byte by byte.

local core = require "mncni.core"
local http = require "mncni.http"

-- Encodes what the specs need: a number, a field of bytes, a field that is a number.
local function varint(value)
  local bytes = {}
  repeat
    local more = value >> 7
    bytes[#bytes + 1] = string.char((value & 0x7f) | (more ~= 0 and 0x80 or 0))
    value = more
  until value == 0
  return table.concat(bytes)
end

local function bytes(number, text) return varint(number << 3 | 2) .. varint(#text) .. text end
local function integer(number, value) return varint(number << 3) .. varint(value) end
local function fixed32(number) return varint(number << 3 | 5) .. "\1\2\3\4" end
local function fixed64(number) return varint(number << 3 | 1) .. "\1\2\3\4\5\6\7\8" end

local schema = http.protobuf {
  type = "application/x", prefix = "k8s\0",
  ok = {
    [1] = { inline = { [2] = { "kind", "string" } } },
    [2] = { inline = {
      [1] = { "metadata", { [2] = { "version", "string" }, [9] = { "deleted", "time" }, [11] = { "labels", "map" } } },
      [2] = { "items", { [1] = { "name", "string" }, [2] = { "cidrs", "string", each = true } }, each = true },
      [3] = { "count", "integer" }, [4] = { "good", "boolean" },
    } },
  },
  refused = { [3] = { "message", "string" } },
}

local function decode(message, what)
  return core.json.decode(schema:decode("k8s\0" .. message, what))
end

-- What a message with this in it is refused with.
local function refusal(text)
  local ok, err = pcall(schema.decode, schema, text)
  assert.is_false(ok)
  return tostring(err)
end

describe("a message in protocol buffers", function()
  it("is an object of the fields that are wanted", function()
    assert.are.same({
      kind = "List", metadata = { version = "42", labels = { a = "1", b = "" }, deleted = "2026-01-02T03:04:05Z" },
      items = { { name = "n1", cidrs = { "10.0.0.0/24", "fd00::/64" } }, { name = "n2" }, {} }, count = -1, good = true,
    }, decode(bytes(1, bytes(1, "v1") .. bytes(2, "List")) .. bytes(2, bytes(1, bytes(2, "42")
      .. bytes(9, integer(1, 1767323045) .. integer(2, 7)) .. bytes(11, bytes(1, "a") .. bytes(2, "1"))
      .. bytes(11, bytes(1, "b") .. bytes(2, "")))
      .. bytes(2, bytes(1, "n1") .. bytes(2, "10.0.0.0/24") .. bytes(2, "fd00::/64"))
      .. bytes(2, bytes(1, "n2") .. bytes(9, "other")) .. bytes(2, "") .. integer(3, -1) .. integer(4, 1))
      .. bytes(3, "ignored")))
  end)

  it("may be empty", function()
    assert.are.same({}, decode(bytes(9, "")))
    assert.are.same({}, decode(bytes(2, "")))
    assert.are.same({ metadata = {} }, decode(bytes(2, bytes(1, ""))))
  end)

  it("leaves out what JSON leaves out: empty texts", function()
    assert.are.same({ items = { { name = "x" } } }, decode(bytes(2, bytes(2, bytes(1, "x") .. bytes(5, "")))))
    assert.are.same({}, decode(bytes(1, bytes(2, ""))))
  end)

  it("skips what is not wanted, of every type", function()
    assert.are.same({ kind = "K" }, decode(integer(7, 300) .. fixed32(8) .. fixed64(9) .. bytes(10, ("x"):rep(300))
      .. bytes(1, fixed64(5) .. bytes(2, "K"))))
  end)

  it("escapes what JSON does not have in texts", function()
    local text = "a\"b\\c\n\1\127\xc3\xa4"
    assert.are.same({ kind = text }, decode(bytes(1, bytes(2, text))))
    assert.are.equal([[{"kind":"\u0000"}]], schema:decode("k8s\0" .. bytes(1, bytes(2, "\0"))))
  end)

  it("is told by the other tree where the answer is a refusal", function()
    assert.are.same({ message = "no" }, decode(bytes(3, "no"), "refused"))
  end)

  it("is refused when it is none", function()
    assert.truthy(refusal "{}":find("does not begin as it should", 1, true))
    assert.truthy(refusal "":find("cut off", 1, true))
    assert.truthy(refusal "k8s\0":find("cut off", 1, true))
    assert.truthy(refusal("k8s\0" .. varint(9 << 3 | 3)):find("no such type of field", 1, true))
    assert.truthy(refusal("k8s\0" .. integer(1, 5)):find("another type than expected", 1, true))
    assert.truthy(refusal("k8s\0" .. ("\xff"):rep(11)):find("more than 64 bits", 1, true))
    local long = bytes(2, varint(2 << 3 | 2) .. varint(9) .. "x")
    assert.truthy(refusal("k8s\0" .. long):find("longer than the message", 1, true))
    assert.truthy(refusal("k8s\0" .. bytes(2, "\x80")):find("ends in the middle", 1, true))
    local keyless = bytes(2, bytes(1, bytes(11, bytes(2, "v"))))
    assert.truthy(refusal("k8s\0" .. keyless):find("not a key and a value", 1, true))
    assert.truthy(refusal("k8s\0" .. bytes(2, bytes(1, bytes(11, "")))):find("has no key", 1, true))
  end)

  it("is refused wherever it is cut off", function()
    local whole = bytes(2, bytes(1, bytes(2, "42") .. bytes(11, bytes(1, "a") .. bytes(2, "1")))
      .. bytes(2, bytes(1, "n")))
    for length = 0, #whole - 1 do
      refusal("k8s\0" .. whole:sub(1, length))
    end
  end)
end)

describe("a stream of frames in protocol buffers", function()
  local NODE = { [1] = { "name", "string" }, [2] = { "cidrs", "string", each = true } }
  local STATUS = { [1] = { "self", { [1] = { "link", "string" } } }, [2] = { "reason", "string" } }
  local stream = http.protobuf {
    type = "t", stream = "t;stream=watch", prefix = "k8s\0", ok = {}, refused = {},
    frame = {
      [1] = { "type", "string" },
      [2] = { inline = { [1] = { "object", {
        [1] = { inline = { [2] = { "kind", "string", is_kind = true } } },
        [2] = { inline = NODE, other = { "Status", STATUS } },
      }, prefixed = true } } },
    },
  }

  local function frame(text) return string.pack(">s4", text) end
  local function object(kind, text) return "k8s\0" .. bytes(1, bytes(1, "v1") .. bytes(2, kind)) .. bytes(2, text) end
  local function event(type, envelope) return frame(bytes(1, type) .. bytes(2, bytes(1, envelope))) end
  local node = event("ADDED", object("Node", bytes(1, "n1") .. bytes(2, "10.0.0.0/24")))
  local status = event("ERROR", object("Status", bytes(1, bytes(1, "l")) .. bytes(2, "Expired")))

  local function refusal_of(text)
    local ok, err = pcall(stream.decode, stream, text, "frames")
    assert.is_false(ok)
    return tostring(err)
  end

  it("is one object after the other, each told by its kind", function()
    local added = [[{"type":"ADDED","object":{"kind":"Node","name":"n1","cidrs":["10.0.0.0/24"]}}]]
    local expired = [[{"type":"ERROR","object":{"kind":"Status","self":{"link":"l"},"reason":"Expired"}}]]
    assert.are.equal(added .. expired .. added, stream:decode(node .. status .. node, "frames"))
    assert.are.equal("", stream:decode("", "frames"))
    assert.are.equal("{}", stream:decode(frame(integer(7, 1)), "frames"))
  end)

  it("takes a kind that is longer than any for none", function()
    local long = event("ADDED", object(("Status"):rep(10), bytes(1, "n2")))
    assert.are.equal("n2", core.json.decode(stream:decode(long, "frames")).object.name)
  end)

  it("is refused wherever it is cut off within a frame", function()
    for length = 1, #node - 1 do
      assert.truthy(refusal_of(status .. node:sub(1, length)):find("cut off", 1, true))
    end
  end)

  it("is refused when a frame is none", function()
    assert.truthy(refusal_of(frame ""):find("a frame is empty", 1, true))
    assert.truthy(refusal_of(frame(bytes(1, "ADDED"):sub(1, -2)) .. node):find("longer than the message", 1, true))
    assert.truthy(refusal_of(frame(varint(9 << 3 | 1) .. "1234") .. node):find("ends in the middle", 1, true))
    assert.truthy(refusal_of(event("ADDED", "k8x\0")):find("does not begin as it should", 1, true))
    assert.truthy(refusal_of(event("ADDED", "k8")):find("ends in the middle", 1, true))
  end)
end)

describe("what is wanted of a message", function()
  local function wrong(change)
    local args = { type = "t", prefix = "", ok = {}, refused = {} }
    for key, value in pairs(change) do args[key] = value end
    local ok, err = pcall(http.protobuf, args)
    assert.is_false(ok)
    return tostring(err)
  end

  it("is checked", function()
    assert.truthy(wrong { zzzz = 1 }:find("zzzz", 1, true))
    assert.truthy(wrong { type = 5 }:find("type is a string", 1, true))
    assert.truthy(wrong { prefix = ("x"):rep(99) }:find("more than 15 bytes", 1, true))
    assert.truthy(wrong { ok = 5 }:find("a table of fields by number", 1, true))
    assert.truthy(wrong { ok = { x = { "a", "string" } } }:find("number of a field", 1, true))
    assert.truthy(wrong { ok = { "a" } }:find("field 1 is { key, type }", 1, true))
    assert.truthy(wrong { ok = { {} } }:find("field 1 has no key", 1, true))
    assert.truthy(wrong { ok = { { "a", "text" } } }:find("a is string, integer", 1, true))
    local deep = {}
    for _ = 1, 20 do deep = { { "a", deep } } end
    assert.truthy(wrong { ok = deep }:find("levels deep at most", 1, true))
  end)
end)
