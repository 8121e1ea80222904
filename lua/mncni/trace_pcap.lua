-- SPDX-License-Identifier: Apache-2.0
-- Netlink messages as a capture file that wireshark and tshark open (pcap, LINKTYPE_NETLINK).

local pcap = {}

local Pcap = {}
Pcap.__index = Pcap

local MAGIC = 0xa1b23c4d -- times are in nanoseconds
local LINKTYPE_NETLINK = 253
local SNAPLEN = 1 << 18
local ARPHRD_NETLINK = 824
local FROM_KERNEL = 6 -- PACKET_USER: to a process

-- Starts a file; raises when it cannot be written.
function pcap.open(path)
  local file, message = io.open(path, "wb")
  if not file then
    error(message, 0)
  end
  file:write(string.pack("=I4I2I2i4I4I4I4", MAGIC, 2, 4, 0, 0, SNAPLEN, LINKTYPE_NETLINK))
  return setmetatable({ file = file }, Pcap)
end

-- Adds a datagram: nanoseconds since 1970, its netlink protocol, and where it went as packet sockets tell it. Returns what
-- file:write does.
function Pcap:add(time, protocol, bytes, direction)
  local header = string.pack(">I2I2c10I2", direction or FROM_KERNEL, ARPHRD_NETLINK, ("\0"):rep(10), protocol)
  local size = #header + #bytes
  return self.file:write(string.pack("=I4I4I4I4", time // 1000000000, time % 1000000000, size, size), header, bytes)
end

function Pcap:flush()
  return self.file:flush()
end

function Pcap:close()
  if self.file then
    self.file:close()
    self.file = nil
  end
end
Pcap.__close = Pcap.close

return pcap
