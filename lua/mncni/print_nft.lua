-- SPDX-License-Identifier: Apache-2.0
-- Objects and requests of nftables as the arguments of `nft` that would make them.

local core = require "mncni.core"
local nft_value = require "mncni.print_nft_value"
local rule_words = require "mncni.print_nft_rule"

local print_nft = {}

local quote = nft_value.quote

local function where(args, name)
  return ("%s %s %s"):format(args.family, args.table, name or args.name)
end

-- { a ; b ; } of the clauses, nothing when there are none.
local function block(clauses)
  return #clauses > 0 and " { " .. table.concat(clauses, " ; ") .. " ; }" or ""
end

local function clause(list, word, value)
  if value ~= nil then
    list[#list + 1] = word .. " " .. tostring(value)
  end
end

-- Milliseconds as nft writes a time.
local function duration(milliseconds)
  local text, rest = "", milliseconds
  for _, unit in ipairs { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 } } do
    if rest >= unit[2] then
      text, rest = text .. rest // unit[2] .. unit[1], rest % unit[2]
    end
  end
  return text ~= "" and text or "0s"
end

local function flags_of(args, shown)
  local kept = {}
  for _, flag in ipairs(args.flags or {}) do
    kept[#kept + 1] = shown[flag] and flag or nil
  end
  return #kept > 0 and table.concat(kept, ",") or nil
end

-- nft's numbers of key types (libnftables' datatype.h); a concatenation has six bits for each.
local type_numbers = {
  [7] = "ipv4_addr", [8] = "ipv6_addr", [9] = "ether_addr", [10] = "ether_type", [12] = "inet_proto",
  [13] = "inet_service", [19] = "mark", [20] = "iface_index", [41] = "ifname",
}

local function type_words(value)
  local number = math.type(value) == "integer" and value
  if not number then
    return type(value) == "table" and table.concat(value, " . ") or value
  end
  local words = {}
  while number > 0 do
    table.insert(words, 1, type_numbers[number & 63] or tostring(number & 63))
    number = number >> 6
  end
  return table.concat(words, " . ")
end

local function table_line(verb, args)
  local clauses = {}
  clause(clauses, "comment", args.comment and quote(args.comment))
  clause(clauses, "flags", flags_of(args, { dormant = true, owner = true }))
  return ("%s table %s %s%s"):format(verb, args.family, args.name, verb == "add" and block(clauses) or "")
end

local function chain_line(verb, args)
  local clauses = {}
  if args.hook then
    clauses[1] = ("type %s hook %s%s priority %d"):format(args.type or "filter", args.hook,
      args.dev and " device " .. quote(args.dev) or "", args.prio or 0)
    clause(clauses, "policy", args.policy)
  end
  clause(clauses, "comment", args.comment and quote(args.comment))
  return ("%s chain %s%s"):format(verb, where(args), verb == "add" and block(clauses) or "")
end

local function set_line(verb, args)
  local clauses = {}
  clause(clauses, "type", args.type and type_words(args.type) .. (args.map and " : " .. type_words(args.map) or ""))
  clause(clauses, "flags", flags_of(args, { constant = true, interval = true, timeout = true, dynamic = true }))
  clause(clauses, "timeout", args.timeout and duration(args.timeout))
  clause(clauses, "gc-interval", args.gc_interval and duration(args.gc_interval))
  clause(clauses, "size", args.size)
  clause(clauses, "policy", args.policy)
  clause(clauses, "comment", args.comment and quote(args.comment))
  return ("%s %s %s%s"):format(verb, args.map and "map" or "set", where(args), verb == "add" and block(clauses) or "")
end

-- A key that came as bytes says nothing of its type; its length says most.
local function key_words(value)
  local bytes = nft_value.bytes(value)
  if type(value) == "string" and core.cidr.parse((value:gsub("%-.*$", ""))) then
    return value
  elseif type(value) == "userdata" then
    return tostring(value)
  elseif #bytes == 16 and bytes:find("^[%g]+\0+$") then
    return nft_value.ifname(bytes)
  elseif #bytes == 16 or type(value) == "table" and value.address then
    return nft_value.address(bytes)
  elseif #bytes == 6 then
    return nft_value.mac(bytes)
  elseif #bytes <= 2 then
    return nft_value.text("number", bytes)
  elseif #bytes == 4 then
    return nft_value.text("mark", bytes)
  end
  return nft_value.text(nil, bytes)
end

local function element_words(item)
  if type(item) ~= "table" then
    return key_words(item)
  end
  local words = { key_words(item.val or item.key or item.elem) }
  if item.timeout then
    words[#words + 1] = "timeout " .. duration(item.timeout)
  end
  if item.expires then
    words[#words + 1] = "expires " .. duration(item.expires)
  end
  if item.comment then
    words[#words + 1] = "comment " .. quote(item.comment)
  end
  if item.data then
    words[#words + 1] = ": " .. (type(item.data) == "table" and item.data.verdict and nft_value.verdict(item.data)
      or key_words(item.data))
  end
  return table.concat(words, " ")
end

local function element_line(verb, args)
  local list = {}
  if type(args.elem) == "table" then
    for i, item in ipairs(args.elem) do
      list[i] = element_words(item)
    end
  elseif args.elem then
    list[1] = element_words { elem = args.elem, timeout = args.timeout, comment = args.comment, data = args.data }
  end
  return ("%s element %s { %s }"):format(verb, where(args), table.concat(list, ", "))
end

local function rule_line(verb, args)
  local at = args.handle and verb ~= "add" and " handle " .. args.handle
    or args.position and " position " .. args.position or ""
  if verb == "delete" then
    return args.handle and ("delete rule %s%s"):format(where(args, args.chain), at)
      or ("flush chain %s"):format(where(args, args.chain))
  end
  return ("%s rule %s%s %s"):format(verb, where(args, args.chain), at, table.concat(rule_words(args), " "))
end

local makers = {
  nft_table = table_line, nft_chain = chain_line, nft_set = set_line, nft_element = element_line, nft_rule = rule_line,
}
-- `add` of nft leaves what is there, as our `replace` does; its `create` refuses, as our `add` does. Both are shown as
-- `add`, which is what people write.
local words_of = { add = "add", replace = "add", append = "add", insert = "insert", del = "delete" }

-- lines(verb, object, args) returns a list with the one line.
function print_nft.lines(verb, object, args)
  if verb == "flush" then
    local thing = object == "nft_rule" and "chain " .. where(args, args.chain) or "set " .. where(args)
    return { "flush " .. thing }
  end
  local word = object == "nft_rule" and verb == "replace" and "replace" or words_of[verb]
  return { makers[object] and word and makers[object](word, args) or ("%s %s"):format(verb, object) }
end

function print_nft.describe(object, value)
  if object == "nft_rule" then
    return { rule_line("add", {
      family = value.family, table = value.table, chain = value.chain, expr = value.expr, comment = value.comment,
    }) }
  elseif object == "nft_gen" then
    return { ("# generation %s by %s (%s)"):format(value.id, value.process or "?", value.pid or "?") }
  end
  return print_nft.lines("add", object, value)
end

return print_nft
