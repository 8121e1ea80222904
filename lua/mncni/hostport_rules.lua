-- SPDX-License-Identifier: Apache-2.0
-- The nftables side of host ports: rules of the node that never change, and what a port is in their maps and sets. One
-- of each for a family (4, 6):
--
--   hostports        protocol . port -> address and port of the pod
--   hostip_ports     protocol . address . port -> likewise, for one address of the node; it is looked at first
--   hostport_owners  protocol . address (zeros: any) . port . whose it is: proof of ownership when a port is given up
--   hostport_snat    device . protocol . port . pod: what comes from the pod's own side is masqueraded
--   hostport_masq    protocol . port . pod: so is everything
--
-- Hooks: prerouting and output at -95, behind kube-proxy and iptables (-100), so that a service keeps its ports, as it
-- does where the reference plugin appends its rules; postrouting at 100, where sources are translated.

local core = require "mncni.core"

local rules = {}

local TABLE, FAMILY = "mncni", "inet"
local DSTNAT, SRCNAT = -95, 100 -- five behind NF_IP_PRI_NAT_DST; NF_IP_PRI_NAT_SRC
local RTN_LOCAL = string.pack("=I4", 2) -- linux/rtnetlink.h
local IPS_DST_NAT = string.pack("=I4", 1 << 5) -- linux/netfilter/nf_conntrack_common.h
local NO_DEVICE = string.pack("=I4", 0)
local ORIGINAL = 0 -- IP_CT_DIR_ORIGINAL

-- Transport protocols by name (IANA); all have the port that is asked for at the same place.
rules.protocols = { tcp = 6, udp = 17, sctp = 132 }

-- Where a packet has its destination (RFC 791, RFC 8200), and what nf_tables calls the family (NFPROTO_*).
rules.families = {
  inet = { number = "\2", destination = 16, length = 4, type = "ipv4_addr", suffix = "4", nat = "ip", any = "0.0.0.0" },
  inet6 = { number = "\10", destination = 24, length = 16, type = "ipv6_addr", suffix = "6", nat = "ip6", any = "::" },
}

-- The sets of a family in the order in which an undo goes through them, the owners first.
local names = {}

-- The register that begins with the 32-bit word n: every fourth has the number of a 128-bit one.
local function register(n)
  return n % 4 == 0 and 1 + n // 4 or 8 + n
end

local function verdict(what, chain)
  return { kind = "immediate", dreg = 0, data = { verdict = what, chain = chain } }
end

local function is(key, data, op)
  return { kind = "meta", key = key, dreg = 1 }, { kind = "cmp", sreg = 1, op = op or "eq", data = data }
end

-- Expressions and lists of them, as one list.
local function list(...)
  local all = {}
  for _, part in ipairs { ... } do
    table.move(part.kind and { part } or part, 1, part.kind and 1 or #part, #all + 1, all)
  end
  return all
end

-- What a family's rules are made of.
local function parts(info)
  local words = info.length // 4
  local function address(n)
    return { kind = "payload", base = "network", offset = info.destination, len = info.length, dreg = register(n) }
  end
  local function port(n)
    return { kind = "payload", base = "transport", offset = 2, len = 2, dreg = register(n) }
  end
  local function protocol(n)
    return { kind = "meta", key = "l4proto", dreg = register(n) }
  end
  local function asked_port(n) -- by the first packet, before it was translated
    return { kind = "ct", key = "proto-dst", direction = ORIGINAL, dreg = register(n) }
  end
  local function lookup(set, dreg)
    return { kind = "lookup", set = set .. info.suffix, sreg = 1, dreg = dreg }
  end
  local function own_side(device)
    return {
      { kind = "meta", key = device, dreg = 1 }, protocol(4), asked_port(5), address(6), lookup "hostport_snat",
      { kind = "masq" },
    }
  end
  local to_pod = {
    kind = "nat", type = "dnat", family = info.nat, reg_addr_min = 1, reg_proto_min = register(words),
  }
  return {
    this = { is("nfproto", info.number) },
    one_address = { protocol(0), address(1), port(1 + words), lookup("hostip_ports", 1), to_pod },
    any_address = { protocol(0), port(1), lookup("hostports", 1), to_pod },
    came_by = own_side "iifname",
    goes_by = own_side "oifname",
    all = { protocol(0), asked_port(1), address(2), lookup "hostport_masq", { kind = "masq" } },
  }
end

-- What br_netfilter passes from one port of a bridge to another has no device here that it came by, as little as what
-- the node itself sends.
local bridged = list({ is("iif", NO_DEVICE) }, {
  { kind = "fib", dreg = 1, result = "type", flags = { "saddr" } },
  { kind = "cmp", sreg = 1, op = "neq", data = RTN_LOCAL },
})

-- There is no route_localnet for IPv6: an answer to ::1 that comes by another device is dropped, and nothing would ever
-- end. Whoever tries is better refused at once.
local to_localhost6 = {
  { kind = "payload", base = "network", offset = 24, len = 16, dreg = 1 },
  { kind = "cmp", sreg = 1, op = "eq", data = core.cidr("::1").bytes },
}

local to_node = {
  { kind = "fib", dreg = 1, result = "type", flags = { "daddr" } },
  { kind = "cmp", sreg = 1, op = "eq", data = RTN_LOCAL },
  verdict("jump", "hostports"),
}

local not_translated = {
  { kind = "ct", key = "status", dreg = 1 },
  { kind = "bitwise", sreg = 1, dreg = 1, len = 4, mask = IPS_DST_NAT, xor = ("\0"):rep(4) },
  { kind = "cmp", sreg = 1, op = "eq", data = ("\0"):rep(4) },
}

local function sets_of(info)
  local port, address = "inet_service", info.type
  local pod = { address, port }
  return {
    { name = "hostport_owners", type = { "inet_proto", address, port, "mark", "mark" } },
    { name = "hostports", type = { "inet_proto", port }, map = pod, flags = { "map" } },
    { name = "hostip_ports", type = { "inet_proto", address, port }, map = pod, flags = { "map" } },
    { name = "hostport_snat", type = { "ifname", "inet_proto", port, address } },
    { name = "hostport_masq", type = { "inet_proto", port, address } },
  }
end

-- What mncni.ruleset makes and checks.
rules.want = {
  family = FAMILY, table = TABLE, comment = "mncni: hostport 1", sets = {}, rules = {},
  chains = {
    { name = "hostports" },
    { name = "hostport_in", type = "nat", hook = "prerouting", prio = DSTNAT, policy = "accept" },
    { name = "hostport_out", type = "nat", hook = "output", prio = DSTNAT, policy = "accept" },
    { name = "hostport_source", type = "nat", hook = "postrouting", prio = SRCNAT, policy = "accept" },
  },
}

local function add(chain, ...)
  table.insert(rules.want.rules, { chain = chain, expr = list(...) })
end

add("hostport_in", to_node)
add("hostport_out", to_node)
add("hostport_source", not_translated, verdict "accept")
for _, family in ipairs { "inet", "inet6" } do
  local part = parts(rules.families[family])
  for i, set in ipairs(sets_of(rules.families[family])) do
    names[i] = set.name
    set.name = set.name .. rules.families[family].suffix
    table.insert(rules.want.sets, set)
  end
  if family == "inet6" then
    add("hostports", part.this, to_localhost6, verdict "accept")
  end
  add("hostports", part.this, part.one_address)
  add("hostports", part.this, part.any_address)
  -- By protocol, because nft cannot read again what it prints of `ct original proto-dst` where it does not know which.
  for _, name in ipairs { "tcp", "udp", "sctp" } do
    local protocol = { is("l4proto", string.char(rules.protocols[name])) }
    add("hostport_source", part.this, protocol, part.came_by)
    add("hostport_source", part.this, protocol, bridged, part.goes_by)
    add("hostport_source", part.this, protocol, part.all)
  end
end

-- The names of a family's sets, in the order of the keys that elements() gives.
function rules.sets(family)
  local own = {}
  for i, name in ipairs(names) do
    own[i] = name .. rules.families[family].suffix
  end
  return own
end

-- Arguments for an element of one of our sets.
function rules.element(set, elem)
  return { family = FAMILY, table = TABLE, name = set, elem = elem }
end

-- Whose a port is, as the sets of owners have it: eight bytes.
function rules.owner(network, container, ifname)
  return string.pack(">I8", core.journal.hash(("%s\n%s\n%s"):format(network, container, ifname)))
end

-- The keys of one port, in the order of sets(family), false where it is not in a set, and what the maps have under them.
-- entry: { family, protocol, host (address), port, to (address), to_port }; how: { owner = eight bytes, masquerade =
-- "own", "all" or nil, devices = { family -> name } }.
function rules.elements(entry, how)
  local info = rules.families[entry.family]
  local protocol = string.pack("Bxxx", rules.protocols[entry.protocol])
  local port, host = string.pack(">I2xx", entry.port), core.cidr(entry.host).bytes
  local pod = core.cidr(entry.to).bytes
  local device = how.devices and how.devices[entry.family]
  local is_any = entry.host == info.any
  return {
    protocol .. host .. port .. how.owner,
    is_any and protocol .. port,
    not is_any and protocol .. host .. port,
    how.masquerade == "own" and device and string.pack("c16", device) .. protocol .. port .. pod or false,
    how.masquerade == "all" and protocol .. port .. pod,
  }, pod .. string.pack(">I2xx", entry.to_port)
end

return rules
