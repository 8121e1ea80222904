-- SPDX-License-Identifier: Apache-2.0
-- Values of nftables as `nft` writes them, from the bytes that the kernel has.

local core = require "mncni.core"
local objects = require "mncni.objects"

local nft_value = {}

-- nft has no way to write a double quote inside quotes.
function nft_value.quote(text)
  return '"' .. tostring(text):gsub('"', "'") .. '"'
end

-- An address of 4 or 16 bytes.
function nft_value.address(bytes)
  if #bytes == 4 then
    return ("%d.%d.%d.%d"):format(bytes:byte(1, 4))
  end
  local groups = {}
  for i = 1, 16, 2 do
    groups[#groups + 1] = ("%x"):format(bytes:byte(i) * 256 + bytes:byte(i + 1))
  end
  return core.cidr(table.concat(groups, ":")).address
end

function nft_value.mac(bytes)
  return (bytes:gsub(".", function(byte)
    return ("%02x:"):format(byte:byte())
  end):sub(1, -2))
end

-- The number that bytes in network order are.
function nft_value.number(bytes)
  return string.unpack(">I" .. #bytes, bytes)
end

local function native(bytes)
  return string.unpack("=I" .. #bytes, bytes)
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

function nft_value.ifname(bytes)
  local name = bytes:match("^[^\0]*")
  return nft_value.quote(#name == #bytes and name .. "*" or name) -- without an ending zero it is a beginning
end

local address_types = {}
for name, number in pairs(objects.names.type) do
  address_types[number] = name
end

nft_value.protocols = { [1] = "icmp", [6] = "tcp", [17] = "udp", [58] = "ipv6-icmp", [132] = "sctp" }
local ether_types = { [0x0800] = "ip", [0x0806] = "arp", [0x86dd] = "ip6", [0x8100] = "8021q" }

-- linux/netfilter/nf_conntrack_common.h: bit 0 is invalid, then one bit per IP_CT_* state.
local ct_states = { { 1, "invalid" }, { 2, "established" }, { 4, "related" }, { 8, "new" }, { 64, "untracked" } }
local ct_statuses = { { 1, "expected" }, { 2, "seen-reply" }, { 4, "assured" }, { 8, "confirmed" }, { 16, "snat" },
  { 32, "dnat" } }

local values = {
  address = nft_value.address, mac = nft_value.mac, number = nft_value.number, native = native,
  ifname = nft_value.ifname,
  mark = function(bytes) return ("0x%08x"):format(native(bytes)) end,
  nfproto = named({ [2] = "ipv4", [10] = "ipv6" }, nft_value.number),
  protocol = named(nft_value.protocols, nft_value.number),
  ether_type = named(ether_types, nft_value.number),
  address_type = named(address_types, native),
  ct_state = bits(ct_states, native), ct_status = bits(ct_statuses, native),
  ct_direction = named({ [0] = "original", [1] = "reply" }, nft_value.number),
}

-- Bytes as a value of a sort (a key of the table above), else as hexadecimal digits.
function nft_value.text(sort, bytes)
  local ok, text = pcall(values[sort or ""] or function()
    return "0x" .. bytes:gsub(".", function(byte)
      return ("%02x"):format(byte:byte())
    end)
  end, bytes)
  return ok and tostring(text) or "0x?"
end

-- A verdict { verdict, chain }.
function nft_value.verdict(data)
  return data.chain and ("%s %s"):format(data.verdict, data.chain) or data.verdict
end

-- Data given as { be16 = 80 } and the like, as the bytes that the kernel has.
function nft_value.bytes(data)
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
    parts[i] = nft_value.bytes(part)
    parts[i] = parts[i] .. ("\0"):rep(-#parts[i] % 4)
  end
  return table.concat(parts)
end

return nft_value
