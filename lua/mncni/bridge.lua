-- SPDX-License-Identifier: Apache-2.0
-- Bridges that pods share: made when missing, checked when there, never removed with a pod.

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local forwarding = require "mncni.forwarding"
local steps = require "mncni.steps"

local bridge = {}

local CALL_IPTABLES = "net/bridge/bridge-nf-call-iptables"

local function without_br_netfilter(key)
  return key:gsub("/", ".") .. " is not there: services may not work between pods of one node; "
    .. "load the module br_netfilter"
end

-- 0a:58 and four bytes of the address, so that a bridge keeps its MAC while ports come and go, and has the same one
-- after a reboot (a locally administered address, IEEE 802 bit 0x02; kubenet's choice of prefix).
local function pinned_mac(address)
  local bytes = address.bytes
  if address.family == "inet6" then
    local hash = core.journal.hash(bytes)
    bytes = string.pack(">I4", hash & 0xffffffff)
  end
  return ("0a:58:%02x:%02x:%02x:%02x"):format(bytes:byte(1, 4))
end

local function stands_in_the_way(ifname, message, ...)
  error(core.error { code = 103, object = ("link %q"):format(ifname), message = message:format(...) }, 0)
end

local function sysctl(list, key, value, optional)
  list[#list + 1] = {
    net = "host", verb = "set", object = "sysctl", args = { key = key, value = value, optional = optional },
  }
end

-- Whether an address that is there cannot stay beside a gateway. Pods of two IPv4 ranges would be cut off from each
-- other's gateway; ranges of IPv6 live side by side where neither holds the other's.
local function conflicts(have, gateway, known)
  local other = core.cidr(have.address)
  return other.family == gateway.family and have.scope == "global" and not known[have.address]
    and (gateway.family == "inet" or other:overlaps(gateway))
end

-- What is missing of one address: nothing, or one step; with force, those too that remove what stands in its way.
local function address_steps(list, link, args, gateway, present)
  local wanted = tostring(gateway)
  for _, have in ipairs(present) do
    if have.address == wanted then
      return
    end
  end
  for _, have in ipairs(present) do
    if conflicts(have, gateway, args.known) then
      if not args.force then
        stands_in_the_way(args.ifname,
          "it has the address %s, and the network asks for %s; remove the old address, or use another bridge",
          have.address, wanted)
      end
      list[#list + 1] = {
        net = "host", verb = "del", object = "addr", gone_ok = true,
        args = { dev = link.ifindex, address = have.address },
      }
    end
  end
  list[#list + 1] = {
    net = "host", verb = "add", object = "addr", exists_ok = true,
    args = { dev = link and link.ifindex or args.ifname, address = wanted,
      flags = gateway.family == "inet6" and { "nodad" } or nil },
  }
end

-- Whoever gives a link a gateway's address wants the node to route.
local function forwarding_steps(list, host, gateways)
  local missing = forwarding.steps(host, gateways)
  table.move(missing, 1, #missing, #list + 1, list)
end

-- What is missing of the gateways' addresses on a link, which may be yet to come (nil). Raises code 103 for one that is
-- in the way.
local function gateway_steps(host, link, args)
  local list, present, family = {}, {}, nil
  for i, gateway in ipairs(args.address) do
    family = (i == 1 or gateway.family == family) and gateway.family or nil
  end
  if link and #args.address > 0 then
    for address in host.addr.list { dev = link.ifindex, family = family } do -- of both where there are both
      present[#present + 1] = address
    end
  end
  for _, gateway in ipairs(args.address) do
    address_steps(list, link, args, gateway, present)
  end
  return list
end

-- What pods say of routers and routes is not believed (CVE-2020-10749).
local function distrust(list, ifname)
  for _, key in ipairs { "ipv6/conf/%s/accept_ra", "ipv6/conf/%s/autoconf", "ipv6/conf/%s/accept_redirects",
    "ipv4/conf/%s/accept_redirects" } do
    sysctl(list, "net/" .. key:format(ifname), "0", true)
  end
end

-- What is asked for of the settings that bridges alone have.
local function own_settings(args)
  return {
    vlan_filtering = args.vlan_filtering, nf_call_iptables = args.call_iptables, nf_call_ip6tables = args.call_iptables,
  }
end

-- Which of them a bridge has otherwise; what the kernel does not tell of is passed over.
local function other_settings(have, args)
  local change = {}
  for key, value in pairs(own_settings(args)) do
    if have[key] == not value then
      change[key] = value
    end
  end
  return next(change) and change or nil
end

-- What of a bridge that is there, or has just been made, has to change: a request for set, or nil.
local function changes(link, args, gets_address)
  local have = link or {}
  local change = { ifname = args.ifname }
  if not have.up then
    change.up = true
  end
  -- Set after creation, which makes it stay: otherwise the bridge follows the smallest MTU of its ports.
  if args.mtu and have.mtu ~= args.mtu then
    change.mtu = args.mtu
  end
  if args.promisc ~= nil and (have.promisc or false) ~= args.promisc then
    change.promisc = args.promisc
  end
  change.bridge = other_settings(have.bridge or {}, args)
  -- Set, though to what it is, it stays: pods know the gateway by it, and it would follow the ports that come and go.
  if link and gets_address then
    change.address = link.address
  end
  return next(change, next(change)) and change or nil
end

local function prepare(context, args)
  local host = context.nets.host
  local link = host.link.get({ ifname = args.ifname },
    { "ifindex", "kind", "address", "mtu", "up", "promisc", "bridge.vlan_filtering", "bridge.nf_call_iptables",
      "bridge.nf_call_ip6tables" })
  local list = {}
  if link and link.kind ~= "bridge" then
    stands_in_the_way(args.ifname, "it is %s, not a bridge; choose another name for the bridge, or remove it",
      link.kind and ("a " .. link.kind) or "a device of the machine")
  end

  if not link then
    local settings = own_settings(args)
    settings.stp_state, settings.forward_delay = 0, 0
    list[#list + 1] = {
      net = "host", verb = "add", object = "link", exists_ok = true,
      undo = { op = "bridge", ifname = args.ifname },
      args = {
        ifname = args.ifname, kind = "bridge",
        address = args.address and args.address[1] and pinned_mac(args.address[1]) or nil,
        bridge = settings,
      },
    }
    distrust(list, args.ifname)
  end
  local addresses = gateway_steps(host, link, args)
  local change = changes(link, args, #addresses > 0)
  if change then
    list[#list + 1] = { net = "host", verb = "set", object = "link", args = change }
  end
  if args.call_iptables and (not link or change and change.bridge) and not host.sysctl.get(CALL_IPTABLES) then
    context:warn(without_br_netfilter(CALL_IPTABLES))
  end
  if link then
    context.index.host[args.ifname] = link.ifindex
    args.bridge.link = { address = link.address, mtu = args.mtu or link.mtu }
  end

  table.move(addresses, 1, #addresses, #list + 1, list)
  forwarding_steps(list, host, args.address)
  list[#list + 1] = {
    net = "host", verb = "require", object = "bridge",
    args = {
      ifname = args.ifname, promisc = args.promisc or nil, address = args.address,
      vlan_filtering = args.vlan_filtering or nil, call_iptables = args.call_iptables or nil,
    },
  }
  return list
end

-- The addresses as cidr values, and the set of their texts.
local function known_addresses(list)
  local addresses, known = {}, {}
  for i, address in ipairs(list or {}) do
    addresses[i] = core.cidr(tostring(address))
    known[tostring(address)] = true
  end
  return addresses, known
end

-- ensure{ ifname, mtu, address = list of cidr values (the gateways of the pods), promisc, vlan_filtering, call_iptables,
-- force } makes sure that the bridge is there, up, and has the addresses; forwarding is switched on for their families.
-- With call_iptables its packets are handed to iptables and ip6tables, which kube-proxy's rules need; those of other
-- bridges of the node are left to net.bridge.bridge-nf-call-iptables. Where br_netfilter is not loaded this is said when
-- the bridge is made, and goes on: without kube-proxy nobody misses it. With force, addresses of other ranges that are in
-- the way are removed. Returns an object for master = and pod:result. Raises code 103 when something else has the name,
-- or, without force, another range's gateway is on it.
function bridge.ensure(args)
  arguments.check("bridge.ensure", args, {
    "ifname", "mtu", "address", "promisc", "vlan_filtering", "call_iptables", "force",
  })
  local addresses, known = known_addresses(args.address)
  local made = { kind = "bridge", ifname = args.ifname }
  local wanted = {
    ifname = args.ifname, mtu = args.mtu, promisc = args.promisc, address = addresses, known = known, bridge = made,
    vlan_filtering = args.vlan_filtering or nil, call_iptables = args.call_iptables or nil, force = args.force,
  }
  steps.apply { shared = true, prepare = function(context) return prepare(context, wanted) end }
  return made
end

-- vlan_gateway{ bridge, vlan, port (the pod's, which is in the VLAN already), address, force } makes sure that the node
-- has the addresses in a VLAN of the bridge: on "BRIDGE.VLAN", whose peer is a port of the bridge in that VLAN alone. To
-- be called after pod:commit(): a call that fails and takes its own gateway back looks for ports that are in the VLAN.
-- Returns an object for pod:result. Raises code 103 as ensure does, 7 for a name of more than 15 bytes.
function bridge.vlan_gateway(args)
  arguments.check("bridge.vlan_gateway", args, { "bridge", "vlan", "port", "address", "force" })
  local over = type(args.bridge) == "table" and args.bridge.ifname or args.bridge
  local addresses, known = known_addresses(args.address)
  local wanted = {
    ifname = ("%s.%d"):format(over, args.vlan), bridge = over, vlan = args.vlan, address = addresses, known = known,
    force = args.force, except = type(args.port) == "table" and args.port.host_ifname or args.port,
  }
  steps.apply { shared = true, prepare = function(context)
    local host = context.nets.host
    local list, link = require("mncni.bridge_vlan").gateway(host, wanted)
    if not link then
      distrust(list, wanted.ifname)
    end
    if not (link and link.up) then
      list[#list + 1] = { net = "host", verb = "set", object = "link", args = { ifname = wanted.ifname, up = true } }
    end
    local missing = gateway_steps(host, link, wanted)
    table.move(missing, 1, #missing, #list + 1, list)
    forwarding_steps(list, host, addresses)
    list[#list + 1] = {
      net = "host", verb = "require", object = "gateway",
      args = { ifname = wanted.ifname, bridge = over, vlan = args.vlan, address = addresses },
    }
    return list
  end }
  return { kind = "gateway", ifname = wanted.ifname }
end

-- vlans(access, trunk) makes of a VLAN's number (nil or 0: none) and a list of { id } or { minID, maxID } what pod:veth
-- takes as vlans; nil when there is neither. Raises code 7, naming the entry, for one that is malformed.
function bridge.vlans(access, trunk)
  return require("mncni.bridge_vlan").vlans(access, trunk)
end

-- status{ ifname =, call_iptables = false } raises code 51 when something that is no bridge has the name: no pod is
-- attached to it, new or old. Unless call_iptables is false, says where br_netfilter is missing. Changes nothing.
function bridge.status(args)
  arguments.check("bridge.status", args, { "ifname", "call_iptables" })
  local host <close> = require("mncni.net").open()
  local link = host.link.get({ ifname = args.ifname }, { "kind" })
  if link and link.kind ~= "bridge" then
    error(core.error {
      code = 51, object = ("link %q"):format(args.ifname),
      message = ("it is %s, not a bridge, so that no pod can be attached to it"):format(
        link.kind and ("a " .. link.kind) or "a device of the machine"),
    }, 0)
  end
  if args.call_iptables ~= false and host.sysctl.get(CALL_IPTABLES) == nil then
    io.stderr:write("mncni: ", without_br_netfilter(CALL_IPTABLES), "\n")
  end
end

return bridge
