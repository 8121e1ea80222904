-- SPDX-License-Identifier: Apache-2.0
-- Ethernet frames as hex digits, honest and forged, and the question whether one gets from a namespace to another.

local core = require "mncni.core"
local spaces = require "spec.support.netns"

local frames = {}

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local function mac(text)
  return (text:gsub("%x%x:?", function(digits) return string.char(tonumber(digits:sub(1, 2), 16)) end))
end

local function ip(text)
  return core.cidr(text).bytes
end

-- RFC 1071.
local function checksum(bytes)
  local sum = 0
  for i = 1, #bytes, 2 do
    sum = sum + (bytes:byte(i) << 8) + (bytes:byte(i + 1) or 0)
  end
  while sum > 0xffff do
    sum = (sum & 0xffff) + (sum >> 16)
  end
  return ~sum & 0xffff
end

-- ether{ to = MAC, from = MAC, type = number, vlan = id, payload = bytes }
function frames.ether(args)
  local tag = args.vlan and string.pack(">I2I2", 0x8100, args.vlan) or ""
  return hex(mac(args.to) .. mac(args.from) .. tag .. string.pack(">I2", args.type) .. args.payload)
end

-- ipv4(from, to[, payload]): a UDP packet.
function frames.ipv4(from, to, payload)
  payload = payload or "payload"
  local udp = string.pack(">I2I2I2I2", 4000, 4000, 8 + #payload, 0) .. payload
  local function header(sum)
    return string.pack(">BBI2I2I2BBI2", 0x45, 0, 20 + #udp, 0, 0, 64, 17, sum) .. ip(from) .. ip(to)
  end
  return header(checksum(header(0))) .. udp
end

function frames.arp(args)
  return string.pack(">I2I2BBI2", args.hardware or 1, 0x0800, 6, 4, args.op or 2) .. mac(args.from_mac) .. ip(args.from)
    .. mac(args.to_mac) .. ip(args.to)
end

-- ipv6(from, to, next header, payload[, hop limit])
function frames.ipv6(from, to, next_header, payload, hops)
  return string.pack(">I4I2BB", 6 << 28, #payload, next_header, hops or 64) .. ip(from) .. ip(to) .. payload
end

-- icmp6(from, to, type, body[, extension]): body is what follows the checksum; extension puts an empty hop-by-hop
-- header before it.
function frames.icmp6(from, to, type, body, extension)
  local function message(sum)
    return string.pack(">BBI2", type, 0, sum) .. body
  end
  local pseudo = ip(from) .. ip(to) .. string.pack(">I4I4", #message(0), 58)
  local whole = message(checksum(pseudo .. message(0)))
  if extension then
    return frames.ipv6(from, to, 0, string.pack(">BBI2I4", 58, 0, 0x0104, 0) .. whole, 255)
  end
  return frames.ipv6(from, to, 58, whole, 255)
end

-- A neighbour solicitation (135) or advertisement (136) of target, with the option that names a MAC.
function frames.neighbour(type, from, to, target, of, extension)
  local flags = type == 136 and 0x20000000 or 0
  local option = of and string.pack(">BB", type == 136 and 2 or 1, 1) .. mac(of) or ""
  return frames.icmp6(from, to, type, string.pack(">I4", flags) .. ip(target) .. option, extension)
end

-- A router advertisement with the prefix 2001:db8:bad::/64 for addresses, and a lifetime for a default route.
function frames.router_advertisement(from, to)
  local prefix = string.pack(">BBBBI4I4I4", 3, 4, 64, 0xc0, 86400, 86400, 0) .. ip "2001:db8:bad::"
  return frames.icmp6(from, to, 134, string.pack(">BBI2I4I4", 64, 0, 1800, 0, 0) .. prefix)
end

local count = 0

-- arrives{ frame =, from = space, ifname =, to = space, to_ifname =, mark = function(text) giving an honest frame }
-- sends the frame and then the mark, once another mark has shown that the way is open, and tells whether the frame
-- arrived before the mark did.
function frames.arrives(args)
  count = count + 1
  local output = spaces.must("%s %s %s %s %s %s %s %s", (os.getenv "MNCNI_BUILD" or "build") .. "/spec/frames",
    args.from.path, args.ifname or "eth0", args.to.path, args.to_ifname or "eth0", args.mark("hello " .. count),
    args.frame, args.mark("mark " .. count))
  return output == "arrived"
end

return frames
