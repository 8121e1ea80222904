-- SPDX-License-Identifier: Apache-2.0
-- What a pod may send through its port of the bridge: frames from its own MAC address and, where its addresses are
-- told, nothing but ARP, IPv4 and IPv6 from those. One table per node (bridge mncni) with rules that never change; a
-- pod is elements of its sets. The chain is at prerouting, before the bridge learns or forwards anything.
--
--   ports        port -> the chain that judges its frames; from other ports everything passes
--   macs         port . MAC
--   addresses4   port . MAC . IPv4 address, and addresses6 likewise

local core = require "mncni.core"
local ruleset = require "mncni.ruleset"

local guard = {}

-- Offsets and lengths of fields: IEEE 802.3, RFC 826, RFC 791, RFC 8200, RFC 4861.
local function field(base, offset, len, register)
  return { kind = "payload", base = base, offset = offset, len = len, dreg = register }
end

-- Registers of a key that starts with the port's name: 16 bytes, then a MAC in 8, then an address.
local NAME, MAC, ADDRESS = 1, 2, 14

local port = { kind = "meta", key = "iifname", dreg = NAME }
local ether_source = field("link", 6, 6, MAC)
local ether_type = field("link", 12, 2, 1)
local arp_sender_mac = field("network", 8, 6, MAC)
local arp_sender = field("network", 14, 4, ADDRESS)
local ip4_source = field("network", 12, 4, ADDRESS)
local ip6_source = field("network", 8, 16, ADDRESS)
local icmp6_type = field("transport", 0, 1, 1)
local nd_target = field("transport", 8, 16, ADDRESS)

local ARP, IP4, IP6 = "\x08\x06", "\x08\x00", "\x86\xdd"
local ICMP6 = "\58"
-- Ethernet, IPv4, their lengths: what the offsets of the sender's addresses presume.
local ARP_HEADER = "\0\1\8\0\6\4"
local NEIGHBOUR_SOLICITATION, ROUTER_ADVERTISEMENT, NEIGHBOUR_ADVERTISEMENT, REDIRECT = "\135", "\134", "\136", "\137"

local function is(data)
  return { kind = "cmp", sreg = 1, op = "eq", data = data }
end

local function in_set(set)
  return { kind = "lookup", set = set, sreg = NAME }
end

local function not_in(set)
  return { kind = "lookup", set = set, sreg = NAME, invert = true }
end

local function verdict(what, chain)
  return { kind = "immediate", dreg = 0, data = { verdict = what, chain = chain } }
end

local drop, accept = verdict "drop", verdict "accept"
local is_icmp6 = { kind = "meta", key = "l4proto", dreg = 1 }

-- The rules, chain by chain. A VLAN tag is an ethertype of its own here, also one with the number 0.
local chains = {
  { "prerouting", {
    { port, { kind = "lookup", set = "ports", sreg = NAME, dreg = 0 } },
  } },
  { "check_mac", {
    { port, ether_source, not_in "macs", drop },
    { ether_type, is(ARP), port, arp_sender_mac, not_in "macs", drop },
  } },
  { "check_arp", {
    { field("network", 0, 6, 1), { kind = "cmp", sreg = 1, op = "neq", data = ARP_HEADER }, drop },
    { port, arp_sender_mac, arp_sender, in_set "addresses4", accept },
    { drop },
  } },
  { "check_ip4", {
    { port, ether_source, ip4_source, in_set "addresses4", accept },
    { drop },
  } },
  -- A pod is no router, and advertises only addresses of its own; asking for one that it is about to take (RFC 4862)
  -- has no source address.
  { "check_ip6", {
    { is_icmp6, is(ICMP6), icmp6_type, is(ROUTER_ADVERTISEMENT), drop },
    { is_icmp6, is(ICMP6), icmp6_type, is(REDIRECT), drop },
    { is_icmp6, is(ICMP6), icmp6_type, is(NEIGHBOUR_ADVERTISEMENT),
      port, ether_source, nd_target, not_in "addresses6", drop },
    { field("network", 8, 16, 1), is(("\0"):rep(16)), is_icmp6, is(ICMP6), icmp6_type, is(NEIGHBOUR_SOLICITATION),
      port, ether_source, nd_target, in_set "addresses6", accept },
    { port, ether_source, ip6_source, in_set "addresses6", accept },
    { drop },
  } },
  { "check_all", {
    { verdict("jump", "check_mac") },
    { ether_type, is(ARP), verdict("goto", "check_arp") },
    { ether_type, is(IP4), verdict("goto", "check_ip4") },
    { ether_type, is(IP6), verdict("goto", "check_ip6") },
    { drop },
  } },
}

local want = {
  family = "bridge", table = "mncni", comment = "mncni: guard 1", chains = {}, rules = {},
  sets = {
    { name = "ports", type = "ifname", map = "verdict", flags = { "map" } },
    { name = "macs", type = { "ifname", "ether_addr" } },
    { name = "addresses4", type = { "ifname", "ether_addr", "ipv4_addr" } },
    { name = "addresses6", type = { "ifname", "ether_addr", "ipv6_addr" } },
  },
}
for i, chain in ipairs(chains) do
  want.chains[i] = { name = chain[1] }
  for _, expr in ipairs(chain[2]) do
    table.insert(want.rules, { chain = chain[1], expr = expr })
  end
end
-- Before br_netfilter (0) and whatever filters bridged packets at the usual -200 (linux/netfilter_bridge.h).
for key, value in pairs { type = "filter", hook = "prerouting", prio = -300, policy = "accept" } do
  want.chains[1][key] = value
end

-- mac(container, ifname) is the address that a guarded port's pod gets where none was asked for: its elements stand
-- before the link does.
function guard.mac(container, ifname)
  return require("mncni.pod").mac(ifname .. "\n" .. container)
end

-- The link-local address that the kernel derives from a MAC (RFC 4291, appendix A).
local function link_local(mac)
  local a, b, c, d, e, f = mac:match "^(%x+):(%x+):(%x+):(%x+):(%x+):(%x+)$"
  return ("fe80::%x:%x:%x:%x"):format((tonumber(a, 16) ~ 2) << 8 | tonumber(b, 16), tonumber(c, 16) << 8 | 0xff,
    0xfe00 | tonumber(d, 16), tonumber(e, 16) << 8 | tonumber(f, 16))
end

-- The elements of one port. Without addresses only the MAC is held to.
local function elements(args)
  local name, mac = { ifname = args.port }, { mac = args.mac }
  local chain = args.addresses and "check_all" or "check_mac"
  local list = {
    { "ports", { key = name, data = { verdict = "jump", chain = chain } } },
    { "macs", { key = { name, mac } } },
  }
  if args.addresses then
    table.insert(list, { "addresses6", { key = { name, mac, { address = link_local(args.mac) } } } })
  end
  for _, address in ipairs(args.addresses or {}) do
    local value = core.cidr(address)
    table.insert(list, { value.family == "inet" and "addresses4" or "addresses6", {
      key = { name, mac, { address = value.address } },
    } })
  end
  for i, item in ipairs(list) do
    list[i] = { family = want.family, table = want.table, name = item[1], elem = { item[2] } }
  end
  return list
end

local unsupported = { EAFNOSUPPORT = true, EOPNOTSUPP = true, EPROTONOSUPPORT = true, ENOENT = true }

-- The first to guard a port on a node makes table, chains and sets.
local function frame(context)
  local host = context.nets.host
  local list = ruleset.steps(host, want)
  for _, step in ipairs(list) do
    function step.send(batch)
      local ok, err = pcall(host.nft.batch, batch)
      if not ok and core.is_error(err) and unsupported[err.name] then
        error(core.error {
          code = 7, errno = err.errno, object = "pod:veth's guard (macspoofchk, ipspoofchk)",
          message = "this kernel has no nftables for bridges (CONFIG_NF_TABLES_BRIDGE); leave it off, or use one that "
            .. "has it",
          details = tostring(err),
        }, 0)
      elseif not ok then
        error(err, 0)
      end
    end
  end
  return list
end

-- record(context, { port =, bridge =, mac =, lease = a lease, or true for any address }) guards a port. To be recorded
-- before the link itself: its elements then stand before it and go after it.
function guard.record(context, args)
  if not args.bridge then
    error(core.error { op = "pod:veth", message = "guard needs a bridge as master: it is a port that is guarded" }, 0)
  end
  if not args.mac:match "^%x%x:%x%x:%x%x:%x%x:%x%x:%x%x$" then
    error(core.error { code = 7, object = "MAC address", message = ("%q is none"):format(args.mac) }, 0)
  end
  local needs = { port = args.port, mac = args.mac }
  for i, entry in ipairs(type(args.lease) == "table" and args.lease.addresses or {}) do
    needs.addresses = needs.addresses or {}
    needs.addresses[i] = core.cidr(entry.address).address
  end
  local list, batch = elements(needs), {}
  for i, element in ipairs(list) do
    batch[i] = { "replace", "element", element }
  end
  context:record { shared = true, prepare = frame }
  context:record { net = "host", verb = "batch", object = "nft", args = batch, undo = ruleset.undo(list) }
  context:record { net = "host", verb = "require", object = "guard", args = needs }
end

-- teach(context, { port =, mac = }) tells the bridge where the MAC address is, for good: to be recorded once the port is
-- there, which must not learn. The bridge learns from frames to the link-local groups 01:80:c2:00:00:0x too, which no
-- chain sees; and what another port claims does not move an entry that is sticky.
function guard.teach(context, args)
  context:record { net = "host", verb = "add", object = "fdb", args = {
    dev = args.port, mac = args.mac, state = { "noarp" }, flags = { "master", "sticky" },
  } }
end

-- check(host, args, differs): see mncni.masquerade.
function guard.check(host, args, differs)
  ruleset.check(host, want, differs)
  for _, element in ipairs(elements(args)) do
    local wanted = element.elem[1]
    element.elem = { { key = wanted.key } }
    local have = host.nft.element.get(element)
    if not have or wanted.data and have.data.chain ~= wanted.data.chain then
      differs(("nft set %q"):format("bridge mncni " .. element.name), "%s",
        ("the element of port %s is gone, or another one"):format(args.port))
    end
  end
end

return guard
