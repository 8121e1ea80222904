-- SPDX-License-Identifier: Apache-2.0
-- A scratch node: network namespaces that look like this node and what is around it, and end with the process.
--
-- The shape of a node is { dev, mtu, address (MAC), stand_in, sysctls, families = { inet = { address, gateway, outside } } }:
-- the link of its default route, and of each family that has one this node's address, the gateway's, and an address beyond
-- it. stand_in: this node has no default route, and the shape is made up.

local core = require "mncni.core"
local mncni = require "mncni"

local scratch = {}

-- Addresses for documentation (RFC 5737, RFC 3849), of which one is not this node's own network.
local BEYOND = { inet = { "203.0.113.1", "198.51.100.1" }, inet6 = { "2001:db8:fffe::1", "2001:db8:ffff::1" } }
local STAND_IN = { inet = { address = "192.0.2.10/24", gateway = "192.0.2.1" } }

-- What a pod's network depends on and a new namespace does not have from the node.
local SYSCTLS = {
  "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/rp_filter",
  "net/ipv4/conf/default/rp_filter",
}

-- The address of the link that is in the gateway's network, else its first.
local function address_on(host, dev, family, gateway)
  local first
  for have in host.addr.list { dev = dev } do
    local address = core.cidr(have.address)
    if have.family == family and have.scope ~= "link" and not have.address:find "^fe80:" then
      if address.network:contains(gateway) then
        return address
      end
      first = first or address
    end
  end
  return first
end

-- The default route of a family with the smallest metric, with a gateway and a device.
local function default_route(host, family)
  local best
  for route in host.route.list { family = family, table = "main", dst = "default" } do
    local hop = route.nexthops and route.nexthops[1] or route
    if hop.gateway and hop.dev and (not best or (route.metric or 0) < best.metric) then
      best = { dev = hop.dev, gateway = hop.gateway, metric = route.metric or 0 }
    end
  end
  return best
end

-- The shape of the node that host is a net of.
function scratch.shape(host)
  local shape = { families = {}, sysctls = {} }
  for _, family in ipairs { "inet", "inet6" } do
    local route = default_route(host, family)
    local address = route and address_on(host, route.dev, family, route.gateway)
    if address then
      shape.dev = shape.dev or route.dev
      shape.families[family] = { address = tostring(address), gateway = route.gateway }
    end
  end
  local link = shape.dev and host.link.get { ifname = shape.dev } or {}
  shape.stand_in = not shape.dev or nil
  shape.dev, shape.mtu, shape.address = shape.dev or "eth0", link.mtu or 1500, link.address
  if shape.stand_in then
    shape.families.inet = STAND_IN.inet
  end
  if not (shape.address and shape.address:find "^%x%x:%x%x:%x%x:%x%x:%x%x:%x%x$" and shape.address:find "[^0:]") then
    shape.address = nil
  end
  for family, has in pairs(shape.families) do
    local own = core.cidr(has.address).network
    has.outside = BEYOND[family][own:contains(BEYOND[family][1]) and 2 or 1]
  end
  for _, key in ipairs(SYSCTLS) do
    shape.sysctls[key] = host.sysctl.get(key)
  end
  return shape
end

-- "eth0 192.0.2.10/24 via 192.0.2.1, MTU 1450"
function scratch.describe(shape)
  local words = { shape.dev }
  for _, family in ipairs { "inet", "inet6" } do
    local has = shape.families[family]
    words[#words + 1] = has and ("%s via %s"):format(has.address, has.gateway) or nil
  end
  return ("%s, MTU %d%s"):format(table.concat(words, " "), shape.mtu,
    shape.stand_in and " (a stand-in: this node has no default route)" or "")
end

-- The fixture of the recorded net (mncni.recorded) with the same shape.
function scratch.fixture(shape)
  local host = {
    links = {
      { ifname = "lo", up = true }, { ifname = shape.dev, mtu = shape.mtu, address = shape.address, up = true },
    },
    addresses = {}, routes = {}, sysctls = {
      ["net/ipv4/ip_forward"] = 0, ["net/ipv6/conf/all/forwarding"] = 0, ["net/ipv6/conf/all/disable_ipv6"] = 0,
    },
  }
  local pod = { links = { { ifname = "lo" } }, sysctls = { ["net/ipv6/conf/all/disable_ipv6"] = 0 } }
  for key, value in pairs(shape.sysctls) do
    host.sysctls[key] = value
  end
  for _, net in ipairs { host, pod } do
    for _, key in ipairs {
      "ipv4/conf/default/rp_filter", "ipv4/conf/default/route_localnet", "ipv4/conf/default/arp_notify",
      "ipv4/conf/default/forwarding", "ipv4/conf/default/proxy_arp", "ipv6/conf/default/accept_ra",
      "ipv6/conf/default/accept_dad", "ipv6/conf/default/disable_ipv6", "ipv6/conf/default/forwarding",
      "ipv6/conf/default/addr_gen_mode", "ipv6/conf/default/accept_redirects", "ipv6/conf/default/autoconf",
      "ipv6/conf/default/keep_addr_on_down", "ipv4/conf/all/rp_filter", "ipv4/conf/all/route_localnet",
      "ipv4/conf/all/arp_notify", "ipv6/conf/all/accept_ra", "ipv4/ip_unprivileged_port_start",
    } do
      net.sysctls["net/" .. key] = net.sysctls["net/" .. key] or 0
    end
  end
  for _, family in ipairs { "inet", "inet6" } do
    local has = shape.families[family]
    if has then
      table.insert(host.addresses, { dev = shape.dev, address = has.address })
      table.insert(host.routes, { dst = "default", gateway = has.gateway, dev = shape.dev, flags = { "onlink" } })
    end
  end
  return { host = host, pod = pod }
end

local Scratch = {}
Scratch.__index = Scratch

local function address_of(family, text)
  return { dev = "up0", address = text, flags = family == "inet6" and { "nodad" } or nil }
end

-- The world beyond the node's link: the gateway, and behind it an address that is everybody's.
local function lay_out(self)
  local node, outside, shape = self.node, self.outside, self.shape
  node.link.set { ifname = "lo", up = true }
  outside.link.set { ifname = "lo", up = true }
  node.link.add {
    ifname = shape.dev, kind = "veth", mtu = shape.mtu, address = shape.address,
    peer = { ifname = "up0", mtu = shape.mtu, netns = self.handles.outside },
  }
  node.link.set { ifname = shape.dev, up = true }
  outside.link.set { ifname = "up0", up = true }
  for family, has in pairs(shape.families) do
    local own = core.cidr(has.address)
    local near = own.network:contains(has.gateway)
    local full = family == "inet" and 32 or 128
    node.addr.add { dev = shape.dev, address = has.address, flags = family == "inet6" and { "nodad" } or nil }
    outside.addr.add(address_of(family, ("%s/%d"):format(has.gateway, near and own.prefix or full)))
    if not near then
      outside.route.add { dst = ("%s/%d"):format(own.address, full), dev = "up0" }
    end
    outside.addr.add { dev = "lo", address = ("%s/%d"):format(has.outside, full) }
    node.route.add {
      dst = family == "inet" and "0.0.0.0/0" or "::/0", gateway = has.gateway, dev = shape.dev, flags = { "onlink" },
    }
  end
  for key, value in pairs(shape.sysctls) do
    mncni.try(node.sysctl.set, key, value)
  end
end

-- new(shape) makes it, in namespaces that nobody else can see. Raises what the kernel refuses. close() ends it.
function scratch.new(shape)
  local self = setmetatable({ shape = shape, handles = {} }, Scratch)
  for _, name in ipairs { "node", "outside" } do
    self.handles[name] = core.netns.create()
    self[name] = mncni.open(self.handles[name])
  end
  lay_out(self)
  return self
end

-- Makes a pod's namespace. Returns its handle, and its path as long as this process lives.
function Scratch:pod()
  local handle = core.netns.create()
  self.handles[#self.handles + 1] = handle
  return handle, ("/proc/%s/fd/%d"):format(core.file.target "/proc/self", handle:fd())
end

-- Has those outside know that these addresses (texts) are behind the node.
function Scratch:route_back(addresses)
  for _, text in ipairs(addresses) do
    local address = core.cidr(text)
    local own = self.shape.families[address.family]
    if own then
      self.outside.route.ensure {
        dst = ("%s/%d"):format(address.address, address.family == "inet" and 32 or 128),
        gateway = core.cidr(own.address).address, dev = "up0",
      }
    end
  end
end

function Scratch:close()
  for _, net in ipairs { self.node, self.outside } do
    net:close()
  end
  for _, handle in pairs(self.handles) do
    handle:close()
  end
end
Scratch.__close = Scratch.close

-- Lines that say what the node has: links, addresses, routes, rules, neighbours, disciplines, nftables. What the kernel
-- makes by itself and in its own time is left out.
function Scratch:look()
  local lines, node = {}, self.node
  local function add(word, object, keys)
    local words = { word }
    for key in keys:gmatch "%S+" do
      words[#words + 1] = object[key] ~= nil and ("%s %s"):format(key, tostring(object[key])) or nil
    end
    lines[#lines + 1] = table.concat(words, " ")
  end
  for _, key in ipairs(SYSCTLS) do
    lines[#lines + 1] = ("sysctl %s = %s"):format(key, node.sysctl.get(key))
  end
  for link in node.link.list {} do
    add(("link %s"):format(link.ifname), link, "kind mtu master group ifalias")
  end
  for address in node.addr.list {} do
    if not address.address:find "^fe80:" then
      add("address", address, "address dev")
    end
  end
  for _, family in ipairs { "inet", "inet6" } do
    for route in node.route.list { family = family } do
      if route.protocol ~= "kernel" and route.type ~= "multicast" and route.type ~= "anycast" then
        add("route", route, "dst gateway dev table metric type")
      end
    end
    for rule in node.rule.list { family = family } do
      add("rule", rule, "family priority src dst table iif oif")
    end
  end
  for entry in node.fdb.list {} do
    if entry.dst then
      add("fdb", entry, "mac dev dst")
    end
  end
  for discipline in node.qdisc.list {} do
    if discipline.kind ~= "noqueue" then
      add("qdisc", discipline, "kind dev parent")
    end
  end
  for _, object in ipairs { "table", "chain", "set" } do
    for have in node.nft[object].list {} do
      add("nft " .. object, have, "family table name")
      if object == "set" then
        local set = { family = have.family, table = have.table, name = have.name }
        for element in node.nft.element.list(set) do
          lines[#lines + 1] = "nft " .. tostring(element):gsub("^add ", "")
        end
      end
    end
  end
  for rule in node.nft.rule.list {} do
    lines[#lines + 1] = "nft " .. tostring(rule):gsub("^add ", ""):gsub(" handle %d+", "")
  end
  table.sort(lines)
  return lines
end

-- What is in the second list of lines and not in the first.
function scratch.more(before, after)
  local count, list = {}, {}
  for _, line in ipairs(before) do
    count[line] = (count[line] or 0) + 1
  end
  for _, line in ipairs(after) do
    count[line] = (count[line] or 0) - 1
    if count[line] < 0 then
      list[#list + 1] = line
    end
  end
  return list
end

return scratch
