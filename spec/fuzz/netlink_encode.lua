-- SPDX-License-Identifier: Apache-2.0
-- Input: bytes that choose an object, a verb and values for its keys, as core.schema() describes them. What is wrong is
-- refused with an error object. What is taken makes messages that decode; as the kernel's own ("new") they have what
-- was given, and say the same after a second round: decode(encode(x)) is x.

local core = require "mncni.core"
local check = dofile "spec/fuzz/check.lua"

local schema = core.schema()
local objects, verbs = {}, { "new", "new", "add", "replace", "append", "insert", "set", "del", "flush", "get", "dump" }
local keys = {} -- of a table of fields, sorted

for name in pairs(schema) do
  objects[#objects + 1] = name
end
table.sort(objects)

local bytes, at

local function choose(n)
  local byte = bytes:byte(at) or 0
  at = at + 1
  return byte % n + 1
end

local function number(count)
  local value = 0
  for _ = 1, count do
    value = value << 8 | choose(256) - 1
  end
  return value
end

local function text()
  local size = choose(20) - 1
  local taken = bytes:sub(at, at + size - 1)
  at = at + size
  return taken
end

local function address()
  if choose(2) == 1 then
    return ("%d.%d.%d.%d"):format(number(1), number(1), number(1), number(1))
  end
  return tostring(core.cidr(("fd00:%x::%x:%x"):format(number(2), number(1), number(2))))
end

local makers = {}
local table_of

local function value_of(field)
  local maker = makers[field.type]
  if not maker or choose(16) == 16 then -- something of any type
    return ({ 1, "x", true, 1.5, {}, { 1 }, -1, { x = 1 } })[choose(8)]
  end
  return maker(field)
end

function makers.integer(field)
  local n = choose(8)
  if n == 1 then
    return field.min
  elseif n == 2 then
    return field.max
  elseif n == 3 then
    return number(8)
  end
  local min, max = field.min or 0, field.max or 1
  return min + (number(4) % math.max(1, max - min))
end

function makers.boolean()
  return choose(2) == 1
end

function makers.name(field)
  return choose(8) > 1 and field.values[choose(#field.values)] or number(2)
end

function makers.names(field)
  local list = {}
  for i = 1, choose(4) - 1 do
    list[i] = field.values[choose(#field.values)]
  end
  return list
end

makers.string, makers.bytes = text, text

function makers.mac()
  return ("%02x:%02x:%02x:%02x:%02x:%02x"):format(number(1), number(1), number(1), number(1), number(1), number(1))
end

function makers.bridge_id()
  return ("%04x.%s"):format(number(2), makers.mac())
end

makers.address = address

function makers.cidr()
  local n = choose(6)
  return n == 1 and "default" or n == 2 and address() or ("%s/%d"):format(address(), choose(129) - 1)
end

function makers.link()
  return number(1)
end

function makers.netns()
  return choose(2) == 1 and { fd = number(1) } or { pid = number(2) }
end

function makers.range()
  return choose(2) == 1 and number(2) or ("%d-%d"):format(number(2), number(2))
end

function makers.via()
  return { family = choose(2) == 1 and "inet" or "inet6", host = address() }
end

function makers.data()
  local n = choose(7)
  return n == 1 and text() or n == 2 and { u32 = number(4) } or n == 3 and { be16 = number(2) }
    or n == 4 and { address = address() } or n == 5 and { verdict = "jump", chain = text() }
    or n == 6 and { { ifname = text() }, { mac = makers.mac() } } or { ifname = text() }
end

function makers.handle()
  local n = choose(6)
  return n == 1 and "root" or n == 2 and "ingress" or ("%x:%x"):format(number(2), number(2))
end

function makers.burst()
  return number(4)
end

function makers.share()
  return number(4) / 0xffffffff
end

function makers.strings()
  return { text(), text() }
end

function makers.table(field)
  return table_of(field)
end

function makers.list(field)
  local list = {}
  for i = 1, choose(4) - 1 do
    list[i] = table_of(field)
  end
  return list
end

local function sorted(fields)
  if not keys[fields] then
    local list = {}
    for name in pairs(fields) do
      list[#list + 1] = name
    end
    table.sort(list)
    keys[fields] = list
  end
  return keys[fields]
end

-- Adds values for some of the fields; each byte skips so many of them.
local function add_fields(to, fields)
  local names = sorted(fields)
  local i = choose(#names + 1)
  while names[i] and at <= #bytes + 1 do
    to[names[i]] = value_of(fields[names[i]])
    i = i + choose(#names + 1)
  end
end

function table_of(field)
  local value = {}
  add_fields(value, field.fields or {})
  if field.kinds then
    local names = sorted(field.kinds)
    value.kind = names[choose(#names)]
    add_fields(value, field.kinds[value.kind])
  end
  return value
end

-- What the kernel tells elsewhere: without an address of its own, a peer is that.
local elsewhere = { addr = { peer = "address" } }

-- What the kernel says where nothing is suppressed.
local NOTHING = { suppress_prefixlength = -1 }

-- Whether what was given is there again; an integer, which has one spelling only, as it was.
local function kept(field, given, found)
  if field.type == "integer" and math.type(given) == "integer" then
    return found == given
  end
  -- An index stands under a key of its own, a pid among the raw attributes, and false or nothing may say what is not said.
  return found ~= nil or field.type == "link" or field.type == "netns" or given == false or type(given) == "table"
end

return function(input)
  bytes, at = input, 3
  local object = objects[(input:byte(1) or 0) % #objects + 1]
  local verb = verbs[(input:byte(2) or 0) % #verbs + 1]
  local args = table_of { fields = schema[object] }
  local good, encoded = check.raises_well(nil, core.encode, verb, object, args)
  if not good then
    return
  end
  local messages = core.decode(encoded)
  assert(#messages > 0, "no message")
  if verb ~= "new" or messages[1].object ~= object then -- a neighbour of the bridge family is a forwarding entry
    return
  end
  local value = messages[1].value
  for key, given in pairs(args) do
    local other = (elsewhere[object] or {})[key]
    local found = value[key]
    if found == nil and other then
      found = value[other]
    end
    assert(NOTHING[key] == given or kept(schema[object][key], given, found),
      ("%s %s was given and is lost"):format(object, key))
  end
  local again = core.decode(core.encode("new", object, value))[1].value
  check.equal(value, again, "changed by a second round")
end
