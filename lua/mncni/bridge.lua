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

-- What is missing of one address: nothing, or one step. Another subnet's address of the family is a conflict, as pods
-- of two ranges would be cut off from each other's gateway.
local function address_steps(list, link, args, gateway, present)
  local wanted = tostring(gateway)
  for _, have in ipairs(present) do
    if have.address == wanted then
      return
    end
    local other = core.cidr(have.address)
    if other.family == gateway.family and have.scope == "global" and not args.known[have.address] then
      stands_in_the_way(args.ifname,
        "it has the address %s, and the network asks for %s; remove the old address, or use another bridge",
        have.address, wanted)
    end
  end
  list[#list + 1] = {
    net = "host", verb = "add", object = "addr", exists_ok = true,
    args = { dev = link and link.ifindex or args.ifname, address = wanted,
      flags = gateway.family == "inet6" and { "nodad" } or nil },
  }
end

local function prepare(context, args)
  local host = context.nets.host
  local link = host.link.get { ifname = args.ifname }
  local list = {}
  if link and link.kind ~= "bridge" then
    stands_in_the_way(args.ifname, "it is %s, not a bridge; choose another name for the bridge, or remove it",
      link.kind and ("a " .. link.kind) or "a device of the machine")
  end

  if not link then
    list[#list + 1] = {
      net = "host", verb = "add", object = "link", exists_ok = true,
      undo = { op = "bridge", ifname = args.ifname },
      args = {
        ifname = args.ifname, kind = "bridge",
        address = args.address and args.address[1] and pinned_mac(args.address[1]) or nil,
        bridge = { stp_state = 0, forward_delay = 0 },
      },
    }
    -- What pods say of routers and routes is not believed (CVE-2020-10749).
    for _, key in ipairs { "ipv6/conf/%s/accept_ra", "ipv6/conf/%s/autoconf", "ipv6/conf/%s/accept_redirects",
      "ipv4/conf/%s/accept_redirects" } do
      sysctl(list, "net/" .. key:format(args.ifname), "0", true)
    end
  end
  local change = { ifname = args.ifname }
  if not link or not link.up then
    change.up = true
  end
  -- Set after creation, which makes it stay: otherwise the bridge follows the smallest MTU of its ports.
  if args.mtu and (link or {}).mtu ~= args.mtu then
    change.mtu = args.mtu
  end
  if args.promisc ~= nil and (link and link.promisc or false) ~= args.promisc then
    change.promisc = args.promisc
  end
  if next(change, next(change)) then
    list[#list + 1] = { net = "host", verb = "set", object = "link", args = change }
  end
  if link then
    context.index.host[args.ifname] = link.ifindex
    args.bridge.link = { address = link.address, mtu = args.mtu or link.mtu }
  end

  local present = {}
  if link and args.address and #args.address > 0 then
    for address in host.addr.list { dev = link.ifindex } do
      present[#present + 1] = address
    end
  end
  for _, gateway in ipairs(args.address or {}) do
    address_steps(list, link, args, gateway, present)
  end
  -- Whoever gives a bridge a gateway's address wants it to route.
  for _, step in ipairs(forwarding.steps(host, args.address or {})) do
    list[#list + 1] = step
  end
  list[#list + 1] = {
    net = "host", verb = "require", object = "bridge",
    args = { ifname = args.ifname, promisc = args.promisc or nil, address = args.address },
  }
  return list
end

-- ensure{ ifname, mtu, address = list of cidr values (the gateways of the pods), promisc = boolean } makes sure that
-- the bridge is there, up, and has the addresses; forwarding is switched on for their families. Returns an object for
-- master = and pod:result. Raises code 103 when something else has the name, or another range's gateway is on it.
function bridge.ensure(args)
  arguments.check("bridge.ensure", args, { "ifname", "mtu", "address", "promisc" })
  local known = {}
  local addresses = {}
  for i, address in ipairs(args.address or {}) do
    addresses[i] = core.cidr(tostring(address))
    known[tostring(address)] = true
  end
  local made = { kind = "bridge", ifname = args.ifname }
  local wanted = {
    ifname = args.ifname, mtu = args.mtu, promisc = args.promisc, address = addresses, known = known, bridge = made,
  }
  steps.apply { shared = true, prepare = function(context) return prepare(context, wanted) end }
  return made
end

-- status{ ifname = } raises code 51 when something that is no bridge has the name: no pod is attached to it, new or old.
-- Says what ensure and call_iptables would say, and changes nothing.
function bridge.status(args)
  arguments.check("bridge.status", args, { "ifname" })
  local host <close> = require("mncni.net").open()
  local link = host.link.get { ifname = args.ifname }
  if link and link.kind ~= "bridge" then
    error(core.error {
      code = 51, object = ("link %q"):format(args.ifname),
      message = ("it is %s, not a bridge, so that no pod can be attached to it"):format(
        link.kind and ("a " .. link.kind) or "a device of the machine"),
    }, 0)
  end
  if host.sysctl.get(CALL_IPTABLES) == nil then
    io.stderr:write("mncni: ", without_br_netfilter(CALL_IPTABLES), "\n")
  end
end

-- Hands bridged packets to iptables and ip6tables, which kube-proxy's rules need (kubenet did the same). Where
-- br_netfilter is not loaded this is said and goes on: without kube-proxy nobody misses it.
function bridge.call_iptables()
  steps.apply {
    shared = true,
    prepare = function(context)
      local list = {}
      for _, key in ipairs { CALL_IPTABLES, "net/bridge/bridge-nf-call-ip6tables" } do
        local now = context.nets.host.sysctl.get(key)
        if now == "0" then
          sysctl(list, key, "1", true)
        elseif now == nil then
          context:warn(without_br_netfilter(key))
          break
        end
      end
      return list
    end,
  }
end

return bridge
