-- SPDX-License-Identifier: Apache-2.0
-- What joins the nodes of a cluster: fabric.bridge, a switch for each segment and a router between them; fabric.azure,
-- a network as Azure's, which has no switch at all. Both have
--
--   made:attach(node)                           -- the node gets up0, whose other end is the fabric's
--   made:moved(node, old, new)                  -- its addresses are others, { inet =, inet6 = }; old and new may be nil
--   made.router                                 -- the namespace that is everybody's default gateway

local spaces = require "spec.support.netns"

local fabric = {}

-- The prefix of a segment, its router, and the address of one of its hosts (11 for node 1).
function fabric.prefix(segment, family)
  return family == "inet" and ("10.0.%d.0/24"):format(segment) or ("fd00:0:0:%d::/64"):format(segment)
end

function fabric.address(segment, family, host)
  return (family == "inet" and "10.0.%d.%s" or "fd00:0:0:%d::%s"):format(segment, host)
end

-- Runs lines of `ip` in a namespace; the family is in the lines ("-6 route add ...").
function fabric.ip(space, lines)
  local by_family = { [""] = {}, ["-4"] = {}, ["-6"] = {} }
  for _, line in ipairs(lines) do
    local flag, rest = line:match "^(%-[46]) (.*)$"
    table.insert(by_family[flag or ""], rest or line)
  end
  local script = {}
  for _, flag in ipairs { "", "-4", "-6" } do
    if #by_family[flag] > 0 then
      local text = table.concat(by_family[flag], "\n")
      script[#script + 1] = ("ip %s -batch - <<'END' || exit\n%s\nEND"):format(flag, text)
    end
  end
  space:must(table.concat(script, "\n"))
end

-- A namespace whose links need not wait for duplicate address detection.
function fabric.space(name, settings)
  local space = spaces.new(name)
  local script = {
    "cd /proc/sys/net/ipv6/conf/default", "echo 0 >accept_dad", "echo 0 >dad_transmits", "echo 0 >accept_ra",
    "cd /proc/sys/net",
  }
  for key, value in pairs(settings or {}) do
    script[#script + 1] = ("echo %s >%s"):format(value, key)
  end
  space:must(table.concat(script, "\n"))
  return space
end

local ROUTER = {
  ["ipv4/ip_forward"] = 1, ["ipv6/conf/all/forwarding"] = 1, ["ipv4/conf/all/send_redirects"] = 0,
  ["ipv4/conf/default/send_redirects"] = 0,
}

local Bridge = {}
Bridge.__index = Bridge

function fabric.bridge(segments, families)
  local self = setmetatable({ switches = {}, router = fabric.space("router", ROUTER) }, Bridge)
  for segment = 1, segments do
    self.switches[segment] = fabric.space("switch" .. segment)
    fabric.ip(self.switches[segment], {
      "link add sw type bridge forward_delay 0 stp_state 0 mcast_snooping 0", "link set sw up",
      "link add router type veth peer name s" .. segment .. " netns router", "link set router master sw up",
    })
    local lines = { ("link set s%d up"):format(segment) }
    for _, family in ipairs(families) do
      lines[#lines + 1] = ("addr add %s/%s dev s%d"):format(fabric.address(segment, family, 1),
        fabric.prefix(segment, family):match "/(%d+)$", segment)
    end
    fabric.ip(self.router, lines)
  end
  return self
end

function Bridge:attach(node)
  local switch = self.switches[node.segment]
  fabric.ip(switch, {
    ("link add %s type veth peer name up0 netns %s"):format(node.name, node.space.name),
    ("link set %s master sw up"):format(node.name),
  })
end

function Bridge.moved() end

local Azure = {}
Azure.__index = Azure

-- Every ARP request and every neighbour solicitation is answered with this one, as Azure does.
fabric.AZURE_MAC = "12:34:56:78:9a:bc"

-- A node has a link to the router and nothing else. The router looks at the destination alone, knows the addresses of
-- nodes and drops whatever comes from or goes to any other.
function fabric.azure(segments, families)
  local self = setmetatable({ router = fabric.space("router", ROUTER), families = families, addresses = {} }, Azure)
  -- All that no node has is answered for as well, and goes nowhere.
  local lines = { "link add void type veth peer name void1", "link set void up", "link set void1 up" }
  for segment = 1, segments do
    for _, family in ipairs(families) do
      lines[#lines + 1] = ("addr add %s/%s dev void"):format(fabric.address(segment, family, 1),
        fabric.prefix(segment, family):match "/(%d+)$")
    end
  end
  for _, family in ipairs(families) do
    lines[#lines + 1] = ("%s route add default dev void"):format(family == "inet" and "-4" or "-6")
  end
  fabric.ip(self.router, lines)
  self.segments = segments
  self.router:must [[nft -f - <<'END'
    table inet azure {
      set nodes4 { type ipv4_addr; }
      set nodes6 { type ipv6_addr; }
      chain forward {
        type filter hook forward priority 0; policy drop;
        ip saddr @nodes4 ip daddr @nodes4 accept
        ip6 saddr @nodes6 ip6 daddr @nodes6 accept
        counter
      }
    }
END]]
  return self
end

function Azure:attach(node)
  local dev = node.name
  fabric.ip(self.router, {
    ("link add %s address %s type veth peer name up0 netns %s"):format(dev, fabric.AZURE_MAC, node.space.name),
    ("link set %s up"):format(dev),
  })
  self.router:must(([[cd /proc/sys/net
    echo 1 >ipv4/conf/DEV/proxy_arp; echo 0 >ipv4/neigh/DEV/proxy_delay
    echo 1 >ipv6/conf/DEV/proxy_ndp; echo 0 >ipv6/neigh/DEV/proxy_delay]]):gsub("DEV", dev))
  local lines = {}
  for _, family in ipairs(self.families) do
    if family == "inet6" then
      for segment = 1, self.segments do
        lines[#lines + 1] = ("addr add %s/128 dev %s"):format(fabric.address(segment, family, 1), dev)
      end
      for address in pairs(self.addresses) do
        lines[#lines + 1] = ("-6 neigh add proxy %s dev %s"):format(address, dev)
      end
    end
  end
  self.devices = self.devices or {}
  self.devices[#self.devices + 1] = dev
  fabric.ip(self.router, lines)
end

function Azure:moved(node, old, new)
  local lines, elements = {}, {}
  for _, family in ipairs(self.families) do
    local flag, length = family == "inet" and "-4" or "-6", family == "inet" and 32 or 128
    for verb, address in pairs { del = old and old[family], add = new and new[family] } do
      lines[#lines + 1] = ("%s route %s %s/%d dev %s"):format(flag, verb, address, length, node.name)
      elements[#elements + 1] = ("%s element inet azure nodes%s { %s }"):format(
        verb == "add" and "add" or "delete", flag:sub(2), address)
      if family == "inet6" then
        self.addresses[address] = verb == "add" or nil
        for _, dev in ipairs(self.devices) do
          if dev ~= node.name then
            lines[#lines + 1] = ("-6 neigh %s proxy %s dev %s"):format(verb, address, dev)
          end
        end
      end
    end
  end
  fabric.ip(self.router, lines)
  self.router:must("nft -f - <<'END'\n" .. table.concat(elements, "\n") .. "\nEND")
end

-- How many packets were dropped.
function Azure:dropped()
  return tonumber(self.router:must("nft list chain inet azure forward"):match "counter packets (%d+)")
end

return fabric
