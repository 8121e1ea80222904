-- SPDX-License-Identifier: Apache-2.0
-- Rules of nftables in `nft`'s words, read back from the kernel's low-level expressions; what is not known here ends the
-- line as a comment that says so.

local nft_value = require "mncni.print_nft_value"

local address, quote, value_text = nft_value.address, nft_value.quote, nft_value.text

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

-- What a comparison tells about the headers that follow.
local function learn(state, left, bytes)
  local word = left.words
  if word == "meta nfproto" then
    state.network = ({ ipv4 = "ip", ipv6 = "ip6" })[value_text("nfproto", bytes)]
  elseif word == "meta l4proto" or word == "ip protocol" or word == "ip6 nexthdr" then
    local name = nft_value.protocols[nft_value.number(bytes)]
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
  local length = expression.key:find "name$" and 16 or nil -- IFNAMSIZ
  state.registers[expression.dreg] = { words = words, sort = metas[expression.key], length = length }
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
    return nft_value.verdict(expression.data)
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
  elseif not first.data then
    return "" -- what the map that gave the address has put there
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

-- The words of a rule { family, expr, comment } as a list.
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
      return (key == "data" or key == "mask" or key == "xor" or key == "from" or key == "to") and nft_value.bytes(value)
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

return rule_words
