-- SPDX-License-Identifier: Apache-2.0
-- Objects and requests of nftables as the arguments of `nft` that would make them. Rules are read back from the
-- kernel's low-level expressions; what is not known here ends the line as a comment that says so.

local core = require "mncni.core"
local objects = require "mncni.objects"

local print_nft = {}

local unpack_native = string.unpack

-- nft has no way to write a double quote inside quotes.
local function quote(text)
  return '"' .. tostring(text):gsub('"', "'") .. '"'
end

-- Values --------------------------------------------------------------------------------------------------------------

local function address(bytes)
  if #bytes == 4 then
    return ("%d.%d.%d.%d"):format(bytes:byte(1, 4))
  end
  local groups = {}
  for i = 1, 16, 2 do
    groups[#groups + 1] = ("%x"):format(bytes:byte(i) * 256 + bytes:byte(i + 1))
  end
  return core.cidr(table.concat(groups, ":")).address
end

local function mac(bytes)
  return (bytes:gsub(".", function(byte)
    return ("%02x:"):format(byte:byte())
  end):sub(1, -2))
end

local function big(bytes)
  return unpack_native(">I" .. #bytes, bytes)
end

local function native(bytes)
  return unpack_native("=I" .. #bytes, bytes)
end

local function named(names, read)
  return function(bytes)
    local number = read(bytes)
    return names[number] or tostring(number)
  end
end

local function bits(names, read)
  return function(bytes)
    local number, words = read(bytes), {}
    for _, item in ipairs(names) do
      if number & item[1] ~= 0 then
        words[#words + 1], number = item[2], number & ~item[1]
      end
    end
    return number == 0 and #words > 0 and table.concat(words, ",") or tostring(read(bytes))
  end
end

local function ifname(bytes)
  local name = bytes:match("^[^\0]*")
  return quote(#name == #bytes and name .. "*" or name) -- without an ending zero it is a beginning
end

local address_types = {}
for name, number in pairs(objects.names.type) do
  address_types[number] = name
end

local protocols = { [1] = "icmp", [6] = "tcp", [17] = "udp", [58] = "ipv6-icmp", [132] = "sctp" }
local ether_types = { [0x0800] = "ip", [0x0806] = "arp", [0x86dd] = "ip6", [0x8100] = "8021q" }

-- linux/netfilter/nf_conntrack_common.h: bit 0 is invalid, then one bit per IP_CT_* state.
local ct_states = { { 1, "invalid" }, { 2, "established" }, { 4, "related" }, { 8, "new" }, { 64, "untracked" } }
local ct_statuses = { { 1, "expected" }, { 2, "seen-reply" }, { 4, "assured" }, { 8, "confirmed" }, { 16, "snat" },
  { 32, "dnat" } }

local values = {
  address = address, mac = mac, number = big, native = native, ifname = ifname,
  mark = function(bytes) return ("0x%08x"):format(native(bytes)) end,
  nfproto = named({ [2] = "ipv4", [10] = "ipv6" }, big),
  protocol = named(protocols, big),
  ether_type = named(ether_types, big),
  address_type = named(address_types, native),
  ct_state = bits(ct_states, native), ct_status = bits(ct_statuses, native),
  ct_direction = named({ [0] = "original", [1] = "reply" }, big),
}

local function value_text(sort, bytes)
  local ok, text = pcall(values[sort or ""] or function()
    return "0x" .. bytes:gsub(".", function(byte)
      return ("%02x"):format(byte:byte())
    end)
  end, bytes)
  return ok and tostring(text) or "0x?"
end

-- Left-hand sides -----------------------------------------------------------------------------------------------------

local metas = {
  nfproto = "nfproto", l4proto = "protocol", iifname = "ifname", oifname = "ifname", mark = "mark",
  protocol = "ether_type", iif = "native", oif = "native", skuid = "native", skgid = "native", cpu = "native",
  iifgroup = "native", oifgroup = "native", len = "native", iiftype = "native", oiftype = "native",
  ibrname = "ifname", obrname = "ifname",
}
local bare_metas = { iif = true, oif = true, iifname = true, oifname = true }

local cts = {
  state = "ct_state", status = "ct_status", mark = "mark", direction = "ct_direction", protocol = "protocol",
  saddr = "address", daddr = "address", ["proto-src"] = "number", ["proto-dst"] = "number",
}

-- Fields of headers: base, offset, bytes -> words and sort of value; "%s" takes the transport protocol.
local headers = {
  ip = {
    ["8:1"] = { "ip ttl", "number" }, ["9:1"] = { "ip protocol", "protocol" },
    ["12:4"] = { "ip saddr", "address" }, ["16:4"] = { "ip daddr", "address" },
  },
  ip6 = {
    ["6:1"] = { "ip6 nexthdr", "protocol" }, ["7:1"] = { "ip6 hoplimit", "number" },
    ["8:16"] = { "ip6 saddr", "address" }, ["24:16"] = { "ip6 daddr", "address" },
  },
  transport = { ["0:2"] = { "%s sport", "number" }, ["2:2"] = { "%s dport", "number" } },
  link = {
    ["0:6"] = { "ether daddr", "mac" }, ["6:6"] = { "ether saddr", "mac" }, ["12:2"] = { "ether type", "ether_type" },
  },
}
local raw_bases = { link = "ll", network = "nh", transport = "th", inner = "ih" }

-- A prefix whose length is whole bytes is compared by these alone.
local prefix_at = {
  ip = { [12] = "ip saddr", [16] = "ip daddr" }, ip6 = { [8] = "ip6 saddr", [24] = "ip6 daddr" },
}

local function payload(state, expression)
  local base, offset, length = expression.base, expression.offset, expression.len
  local key = offset .. ":" .. length
  local found, prefix
  if base == "network" then
    for _, family in ipairs(state.network and { state.network } or { "ip", "ip6" }) do
      found = found or headers[family][key]
      prefix = prefix or state.network and prefix_at[family][offset]
    end
  elseif headers[base] then
    found = headers[base][key]
  end
  if found then
    return { words = found[1]:format(state.transport or "th"), sort = found[2], length = length }
  elseif prefix and length < (state.network == "ip" and 4 or 16) then
    return { words = prefix, sort = "address", prefix = 8 * length, length = length,
      full = state.network == "ip" and 4 or 16 }
  end
  return { words = ("@%s,%d,%d"):format(raw_bases[base] or base, 8 * offset, 8 * length), length = length }
end

local fib_words = { "saddr", "daddr", "mark", "iif", "oif" }

local function fib(expression)
  local there, words = {}, {}
  for _, flag in ipairs(expression.flags or {}) do
    there[flag] = true
  end
  for _, flag in ipairs(fib_words) do
    words[#words + 1] = there[flag] and flag or nil
  end
  local sort = expression.result == "type" and "address_type" or expression.result == "oifname" and "ifname" or "native"
  return { words = ("fib %s %s"):format(table.concat(words, " . "), expression.result), sort = sort }
end

-- Rules ---------------------------------------------------------------------------------------------------------------

local operators = { eq = "", neq = "!= ", lt = "< ", lte = "<= ", gt = "> ", gte = ">= " }

local function is_zero(bytes)
  return not bytes:find("[^\0]")
end

-- Number of one bits when they all come first, as in the mask of a prefix; nil otherwise.
local function mask_length(bytes)
  local length, ended = 0, false
  for i = 1, #bytes do
    for bit = 7, 0, -1 do
      local one = bytes:byte(i) >> bit & 1 == 1
      if one and ended then
        return nil
      end
      ended = ended or not one
      length = length + (one and 1 or 0)
    end
  end
  return length
end

local function verdict_words(data)
  return data.chain and ("%s %s"):format(data.verdict, data.chain) or data.verdict
end

-- What a comparison tells about the headers that follow.
local function learn(state, left, bytes)
  local word = left.words
  if word == "meta nfproto" then
    state.network = ({ ipv4 = "ip", ipv6 = "ip6" })[value_text("nfproto", bytes)]
  elseif word == "meta l4proto" or word == "ip protocol" or word == "ip6 nexthdr" then
    local name = protocols[big(bytes)]
    state.transport = (name == "tcp" or name == "udp" or name == "sctp") and name or nil
  elseif word == "meta protocol" or word == "ether type" then
    state.network = ({ ip = "ip", ip6 = "ip6" })[value_text("ether_type", bytes)]
  end
end

-- Registers 1 to 4 are of 16 bytes, 8 to 23 the same room in parts of four (linux/netfilter/nf_tables.h).
local function unit_of(register)
  return register >= 8 and register - 8 or (register - 1) * 4
end

local Registers = {}

function Registers:__index(register)
  return self.units[unit_of(register)]
end

function Registers:__newindex(register, value)
  self.units[unit_of(register)] = value
end

local read = {}

function read.meta(state, expression)
  if expression.sreg then
    local source = state.registers[expression.sreg]
    return ("meta %s set %s"):format(expression.key, value_text(metas[expression.key], source and source.data or ""))
  end
  local words = (bare_metas[expression.key] and "" or "meta ") .. expression.key
  state.registers[expression.dreg] = { words = words, sort = metas[expression.key] }
end

function read.ct(state, expression)
  if expression.sreg then
    local source = state.registers[expression.sreg]
    return ("ct %s set %s"):format(expression.key, value_text(cts[expression.key], source and source.data or ""))
  end
  local direction = expression.direction and ({ [0] = "original ", [1] = "reply " })[expression.direction] or ""
  state.registers[expression.dreg] = { words = "ct " .. direction .. expression.key, sort = cts[expression.key] }
end

function read.payload(state, expression)
  if expression.sreg then
    return nil, true
  end
  state.registers[expression.dreg] = payload(state, expression)
end

function read.fib(state, expression)
  state.registers[expression.dreg] = fib(expression)
end

function read.rt(state, expression)
  state.registers[expression.dreg] = { words = "rt " .. expression.key, sort = "native" }
end

function read.bitwise(state, expression)
  local left = state.registers[expression.sreg]
  if not left or not expression.mask or (expression.op and expression.op ~= "bool") then
    return nil, true
  end
  state.registers[expression.dreg] = {
    words = left.words, sort = left.sort, mask = expression.mask, xor = expression.xor, length = left.length,
  }
end

function read.byteorder(state, expression)
  state.registers[expression.dreg] = state.registers[expression.sreg]
end

function read.cmp(state, expression)
  local left = state.registers[expression.sreg]
  if not left or type(expression.data) ~= "string" then
    return nil, true
  end
  local data, op = expression.data, operators[expression.op or "eq"]
  if left.mask then
    local length = left.sort == "address" and mask_length(left.mask)
    if length then
      return ("%s %s%s/%d"):format(left.words, op, address(data), length)
    elseif is_zero(data) and expression.op == "neq" and (left.sort == "ct_state" or left.sort == "ct_status") then
      return ("%s %s"):format(left.words, value_text(left.sort, left.mask))
    end
    return ("%s & %s %s%s"):format(left.words, value_text(left.sort, left.mask), op == "" and "== " or op,
      value_text(left.sort, data))
  elseif left.prefix then
    return ("%s %s%s/%d"):format(left.words, op, address(data .. ("\0"):rep(left.full - #data)), left.prefix)
  end
  if expression.op == "eq" or expression.op == nil then
    learn(state, left, data)
  end
  return ("%s %s%s"):format(left.words, op, value_text(left.sort, data))
end

function read.range(state, expression)
  local left = state.registers[expression.sreg]
  if not left then
    return nil, true
  end
  return ("%s %s%s-%s"):format(left.words, operators[expression.op or "eq"], value_text(left.sort, expression.from),
    value_text(left.sort, expression.to))
end

-- A key of several parts stands in registers one after another, loaded for it alone.
local function joined(state, register)
  local words, unit = {}, unit_of(register)
  local left = state.units[unit]
  while left and (#words == 0 or not left.used) do
    words[#words + 1] = left.words
    left.used = true
    unit = unit + ((left.length or 4) + 3) // 4
    left = state.units[unit]
  end
  return table.concat(words, " . ")
end

function read.lookup(state, expression)
  local left = joined(state, expression.sreg)
  if left == "" then
    return nil, true
  elseif expression.dreg == 0 then
    return ("%s vmap @%s"):format(left, expression.set)
  elseif expression.dreg then
    state.registers[expression.dreg] = { words = ("%s map @%s"):format(left, expression.set), is_map = true }
    return nil
  end
  return ("%s %s@%s"):format(left, expression.invert and "!= " or "", expression.set)
end

function read.immediate(state, expression)
  if type(expression.data) == "table" then
    return verdict_words(expression.data)
  end
  state.registers[expression.dreg] = { data = expression.data }
end

function read.counter()
  return "counter"
end

function read.notrack()
  return "notrack"
end

local nat_flags = { ["random"] = "random", ["fully-random"] = "fully-random", ["persistent"] = "persistent" }

local function flags_words(flags)
  local words = {}
  for _, flag in ipairs(flags or {}) do
    words[#words + 1] = nat_flags[flag]
  end
  return #words > 0 and " " .. table.concat(words, ",") or ""
end

local function port_words(state, from, to)
  local first, last = state.registers[from or -1], state.registers[to or -1]
  if not first then
    return ""
  elseif first.is_map then
    return ":" .. first.words
  end
  local text = ":" .. value_text("number", first.data:sub(1, 2))
  return last and last.data ~= first.data and text .. "-" .. value_text("number", last.data:sub(1, 2)) or text
end

function read.masq(state, expression)
  local ports = port_words(state, expression.reg_proto_min, expression.reg_proto_max)
  return "masquerade" .. (ports ~= "" and " to " .. ports or "") .. flags_words(expression.flags)
end

function read.redir(state, expression)
  local ports = port_words(state, expression.reg_proto_min, expression.reg_proto_max)
  return "redirect" .. (ports ~= "" and " to " .. ports or "") .. flags_words(expression.flags)
end

function read.nat(state, expression)
  local from, to = state.registers[expression.reg_addr_min or -1], state.registers[expression.reg_addr_max or -1]
  local text = ""
  if from then
    text = from.is_map and from.words or address(from.data)
    if to and not from.is_map and to.data ~= from.data then
      text = text .. "-" .. address(to.data)
    end
  end
  local ports = port_words(state, expression.reg_proto_min, expression.reg_proto_max)
  if ports ~= "" and text:find(":", 1, true) then
    text = "[" .. text .. "]"
  end
  local family = state.table_family == "inet" and expression.family and " " .. expression.family or ""
  return ("%s%s to %s%s%s"):format(expression.type, family, text, ports, flags_words(expression.flags))
end

local reject_codes = {
  icmp = { [0] = "net-unreachable", [1] = "host-unreachable", [2] = "prot-unreachable", [3] = "port-unreachable",
    [9] = "net-prohibited", [10] = "host-prohibited", [13] = "admin-prohibited" },
  icmpx = { [0] = "no-route", [1] = "port-unreachable", [2] = "host-unreachable", [3] = "admin-prohibited" },
}

function read.reject(_, expression)
  if expression.type == "tcp reset" then
    return "reject with tcp reset"
  end
  local codes = reject_codes[expression.type]
  return ("reject with %s type %s"):format(expression.type, codes and codes[expression.code] or expression.code)
end

local limit_units = { [1] = "second", [60] = "minute", [3600] = "hour", [86400] = "day", [604800] = "week" }

function read.limit(_, expression)
  local unit = limit_units[expression.unit]
  if not unit or expression.type == 1 then
    return nil, true
  end
  return ("limit rate %s%d/%s burst %d packets"):format(expression.invert and "over " or "", expression.rate, unit,
    expression.burst)
end

local levels = { [0] = "emerg", "alert", "crit", "err", "warn", "notice", "info", "debug" }

function read.log(_, expression)
  local text = "log"
  if expression.prefix then
    text = text .. " prefix " .. quote(expression.prefix)
  end
  if expression.group then
    return text .. " group " .. expression.group
  end
  local level = expression.level ~= 4 and levels[expression.level]
  return level and text .. " level " .. level or text
end

-- Data given as { be16 = 80 } and the like, as the bytes that the kernel has.
local function to_bytes(data)
  if type(data) == "userdata" then
    return data.bytes
  elseif type(data) ~= "table" or data.verdict then
    return data
  elseif data.address then
    return core.cidr(tostring(data.address)).bytes
  elseif data.ifname then
    return data.ifname .. ("\0"):rep(16 - #data.ifname)
  elseif data.mac then
    return (data.mac:gsub("(%x+):?", function(digits)
      return string.char(tonumber(digits, 16))
    end))
  end
  for key, format in pairs { u8 = "I1", u16 = "=I2", u32 = "=I4", be16 = ">I2", be32 = ">I4" } do
    if data[key] then
      return string.pack(format, data[key])
    end
  end
  local parts = {}
  for i, part in ipairs(data) do
    parts[i] = to_bytes(part)
    parts[i] = parts[i] .. ("\0"):rep(-#parts[i] % 4)
  end
  return table.concat(parts)
end

local function rule_words(rule)
  local units = {}
  local state = {
    units = units, registers = setmetatable({ units = units }, Registers), table_family = rule.family,
    network = (rule.family == "ip" or rule.family == "ip6") and rule.family,
  }
  local words, unknown = {}, {}
  for _, given in ipairs(rule.expr or {}) do
    local expression = setmetatable({}, { __index = function(_, key)
      local value = given[key]
      return (key == "data" or key == "mask" or key == "xor" or key == "from" or key == "to") and to_bytes(value)
        or value
    end })
    local reader = read[given.kind]
    local text, strange
    if reader then
      text, strange = reader(state, expression)
    end
    if text then
      words[#words + 1] = text
    elseif not reader or strange then
      unknown[#unknown + 1] = given.kind
    end
  end
  if rule.comment then
    words[#words + 1] = "comment " .. quote(rule.comment)
  end
  if #unknown > 0 then
    words[#words + 1] = "# and what nft's words are not known for here: " .. table.concat(unknown, ", ")
  end
  return words
end

-- Tables, chains, sets, elements --------------------------------------------------------------------------------------

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
  local bytes = to_bytes(value)
  if type(value) == "string" and core.cidr.parse((value:gsub("%-.*$", ""))) then
    return value
  elseif type(value) == "userdata" then
    return tostring(value)
  elseif #bytes == 16 and bytes:find("^[%g]+\0+$") then
    return ifname(bytes)
  elseif #bytes == 16 or type(value) == "table" and value.address then
    return address(bytes)
  elseif #bytes == 6 then
    return mac(bytes)
  elseif #bytes <= 2 then
    return value_text("number", bytes)
  elseif #bytes == 4 then
    return value_text("mark", bytes)
  end
  return value_text(nil, bytes)
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
    words[#words + 1] = ": " .. (type(item.data) == "table" and item.data.verdict and verdict_words(item.data)
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
