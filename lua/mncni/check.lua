-- SPDX-License-Identifier: Apache-2.0
-- CHECK: compares what the journal says was made, and what it says the attachment needs of the node, with what the
-- kernel has now. Nothing else is looked at, so that what later plugins of a chain add does not matter; where they may
-- change it too (MAC, MTU, addresses), prevResult is believed before the journal.

local core = require "mncni.core"
local objects = require "mncni.objects"
local steps = require "mncni.steps"

local check = {}

local function differs(object, message, ...)
  error(core.error { code = 106, op = "check", object = object, message = message:format(...) }, 0)
end

local function same(want, have)
  if type(want) == "string" and type(have) == "string" then
    return want:lower() == have:lower()
  end
  return want == have
end

-- What prevResult says of an interface: { mac, mtu } by name, for the pod's side and the host's.
local function believed(previous, ifname, inside)
  for _, interface in ipairs(previous.interfaces or {}) do
    local sandboxed = interface.sandbox ~= nil and interface.sandbox ~= ""
    if interface.name == ifname and sandboxed == inside then
      return interface
    end
  end
  return {}
end

local function gone(net, name, mac)
  for link in net.link.list {} do
    if mac and same(mac, link.address) then
      differs(name, "it is gone; its MAC address is that of %q now, so it was renamed", link.ifname)
    end
  end
  differs(name, "it is gone")
end

local function check_link(run, step)
  local net, args = run[step.net], step.args
  local name = ("link %q"):format(args.ifname)
  local link = net.link.get { ifname = args.ifname }
  local now = believed(run.prev_result, args.ifname, step.net == "pod")
  local mac, mtu = now.mac or args.address, now.mtu or args.mtu
  if not link then
    gone(net, name, mac)
  end
  if args.kind and link.kind ~= args.kind then
    differs(name, "it is of kind %s, and was made as %s", tostring(link.kind), args.kind)
  end
  if args.up and not link.up then
    differs(name, "it is down")
  end
  if mac and not same(mac, link.address) then
    differs(name, "its MAC address is %s, and should be %s", tostring(link.address), mac)
  end
  if mtu and mtu ~= link.mtu then
    differs(name, "its MTU is %s, and should be %s", tostring(link.mtu), tostring(mtu))
  end
  if args.master and tostring(link.master) ~= tostring(args.master) then
    differs(name, "its master is %s, and should be %s", tostring(link.master or "none"), tostring(args.master))
  end
  for key, label in pairs { ifalias = "alias", group = "group", promisc = "promiscuous mode",
    allmulti = "all-multicast mode", txqlen = "transmit queue length" } do
    if args[key] ~= nil and not objects.matches("link", { [key] = args[key] }, link) then
      differs(name, "its %s is %s, and should be %s", label, tostring(link[key]), tostring(args[key]))
    end
  end
  if args.link and link.link ~= args.link then
    differs(name, "it stands on link %s, and should on %s", tostring(link.link), tostring(args.link))
  end
  for key, want in pairs(args.kind and args[args.kind] or {}) do
    local have = (link[args.kind] or {})[key]
    if type(want) ~= "table" and have ~= want then
      differs(name, "its %s is %s, and should be %s", key, tostring(have), tostring(want))
    end
  end
  for key, want in pairs(args.bridge_slave or {}) do
    local have = (link.bridge_slave or {})[key]
    if have ~= want then
      differs(name, "%s is %s on its bridge port, and should be %s", key, tostring(have), tostring(want))
    end
  end
  local peer = args.peer
  if peer then
    check_link(run, { net = peer.netns and "pod" or step.net, args = { ifname = peer.ifname, kind = args.kind,
      mtu = peer.mtu, address = peer.address } })
  end
end

local function check_tun(run, step)
  local args = { ifname = step.args.ifname, kind = "tun" }
  for key, value in pairs(step.args.link) do
    args[key] = value
  end
  check_link(run, { net = step.net, args = args })
end

local function check_addr(run, step)
  local address, dev = step.args.address, step.args.dev
  local link = math.type(dev) == "integer" and run[step.net].link.get { ifindex = dev }
  for found in run[step.net].addr.list { dev = dev } do
    if found.address == address then
      return
    end
  end
  differs(("address %s"):format(address), "it is no longer on %s", tostring(link and link.ifname or dev))
end

-- What of a route may be compared as it was asked for; the kernel spells the rest in its own way.
local route_keys = { "gateway", "type", "scope", "metrics", "prefsrc" }

-- The gateways of a route's next hops, sorted, as one text.
local function hops(route)
  local list = {}
  for i, hop in ipairs(route.nexthops or {}) do
    list[i] = tostring(hop.gateway or hop.via and hop.via.host or hop.dev)
  end
  table.sort(list)
  return table.concat(list, " ")
end

local function check_multipath(run, step)
  local args = step.args
  local want = core.cidr(args.dst)
  for route in run[step.net].route.list { family = want.family, table = args.table } do
    local dst = route.dst == "default" and (want.family == "inet" and "0.0.0.0/0" or "::/0") or route.dst
    if route.nexthops and core.cidr(dst) == want and hops(route) == hops(args) then
      return
    end
  end
  differs(("route %s"):format(args.dst), "it is gone, or has other next hops than %s", hops(args))
end

local function check_route(run, step)
  local args = step.args
  if args.nexthops then
    return check_multipath(run, step)
  end
  local gateway = args.gateway and core.cidr.parse(args.gateway)
  local any = gateway and gateway.family == "inet6" and "::/0" or "0.0.0.0/0"
  local want = core.cidr(args.dst == "default" and any or args.dst)
  local name, wrong = ("route %s"):format(args.dst), nil
  for route in run[step.net].route.list { dev = args.dev, family = want.family, table = args.table } do
    local dst = core.cidr(route.dst == "default" and (want.family == "inet" and "0.0.0.0/0" or "::/0") or route.dst)
    if dst == want and (not args.metric or args.metric == route.metric) then
      wrong = nil
      for _, key in ipairs(route_keys) do
        if args[key] ~= nil and not objects.matches("route", { [key] = args[key] }, route) then
          wrong = key
        end
      end
      if not wrong then
        return
      end
    end
  end
  -- The kernel joins IPv6 routes of one destination and metric (RTA_MULTIPATH), whatever their devices.
  for route in run[step.net].route.list { family = want.family, table = args.table, dst = args.dst } do
    for _, hop in ipairs(route.nexthops or {}) do
      if hop.dev == args.dev and hop.gateway == args.gateway then
        return
      end
    end
  end
  if wrong and wrong ~= "gateway" then
    differs(name, "its %s is not what it was made with", wrong)
  end
  differs(name, "it is gone%s", args.gateway and (" (via " .. args.gateway .. ")") or "")
end

local function check_sysctl(run, step)
  local have = steps.setting(run[step.net], step.args.key)
  if have ~= nil and have:gsub("%s+", " ") ~= tostring(step.args.value):gsub("%s+", " ") then
    differs(("sysctl %s"):format(step.args.key), "it is %s, and should be %s", have, tostring(step.args.value))
  end
end

local function check_other(run, step)
  local ensure = require "mncni.ensure"
  if not ensure.find(run[step.net], step.object, step.args) then
    differs(ensure.named(step.object, step.args), "it is gone")
  end
end

-- Of traffic control: how it works, besides that it is there.
local function check_tc(run, step)
  local ensure = require "mncni.ensure"
  local args, object = step.args, step.object
  local have = ensure.find(run[step.net], object, args)
  local name = ensure.named(object, args)
  if not have then
    differs(name, "it is gone")
  end
  for _, key in ipairs { "kind", "handle", args.kind } do
    if args[key] ~= nil and not objects.matches(object, { [key] = args[key] }, have) then
      differs(name, "its %s is not what it was made with%s", key == args.kind and "rate or setting" or key,
        key ~= args.kind and (" (%s)"):format(tostring(have[key])) or "")
    end
  end
end

local function check_addresses_of_result(run)
  for _, ip in ipairs(run.prev_result.ips or {}) do
    local interface = ip.interface and (run.prev_result.interfaces or {})[ip.interface + 1]
    if interface and interface.sandbox == run.call.netns and interface.name == run.call.ifname then
      check_addr(run, { net = "pod", args = { dev = interface.name, address = tostring(core.cidr(ip.address)) } })
    end
  end
end

local function check_gateways(run, args)
  for _, address in ipairs(args.address or {}) do
    check_addr(run, { net = "host", args = { dev = args.ifname, address = address } })
    local key = core.cidr(address).family == "inet" and "net/ipv4/ip_forward" or "net/ipv6/conf/all/forwarding"
    check_sysctl(run, { net = "host", args = { key = key, value = "1" } })
  end
end

-- The bridge's MTU follows what other networks on it ask for, and its MAC may be another's choice.
local function check_bridge(run, args)
  check_link({ host = run.host, prev_result = {} }, { net = "host", args = {
    ifname = args.ifname, kind = "bridge", up = true, promisc = args.promisc,
  } })
  local bridge = run.host.link.get({ ifname = args.ifname }).bridge or {}
  for key, wanted in pairs {
    vlan_filtering = args.vlan_filtering or false, nf_call_iptables = args.call_iptables or false,
    nf_call_ip6tables = args.call_iptables or false,
  } do
    if wanted and bridge[key] == false then
      differs(("link %q"):format(args.ifname), "its %s is off, and should be on", key)
    end
  end
  check_gateways(run, args)
end

local function check_vlan_gateway(run, args)
  check_link({ host = run.host, prev_result = {} }, { net = "host", args = {
    ifname = args.ifname, kind = "veth", up = true,
  } })
  require("mncni.bridge_vlan").check_gateway(run.host, args, differs)
  check_gateways(run, args)
end

local function check_vlan(run, step)
  require("mncni.bridge_vlan").check(run[step.net], step.args, differs)
end

local function by_module(name)
  return function(run, args)
    require(name).check(run.host, args, differs)
  end
end

-- What steps of the verb "require" are about.
local required = {
  bridge = check_bridge, masquerade = by_module "mncni.masquerade", guard = by_module "mncni.guard",
  localnet = by_module "mncni.localnet", hostport = by_module "mncni.hostport",
  forwarding = by_module "mncni.forwarding",
  firewall = by_module "mncni.firewall", ingress = by_module "mncni.ingress",
  gateway = check_vlan_gateway,
  vrf = function(run, args) require("mncni.pod_vrf").check(run.pod, args, differs) end,
}

local checks = {
  link = check_link, tun = check_tun, addr = check_addr, route = check_route, sysctl = check_sysctl, rule = check_other,
  neigh = check_other, fdb = check_other, vlan = check_vlan, qdisc = check_tc, class = check_tc, filter = check_tc,
}

local function check_step(run, step)
  if step.verb == "move" then
    check_link(run, { net = "pod", args = {
      ifname = step.args.to, ifalias = step.args.ifname, address = step.args.address, up = true,
    } })
  elseif step.verb == "require" then
    local one = required[step.object]
    if one then
      one(run, step.args)
    end
  elseif step.object == "addr" and step.net == "pod" and run.prev_result.ips then
    return
  elseif step.shared and step.object ~= "sysctl" then
    return -- what a shared object must be like is required
  elseif checks[step.object] then
    checks[step.object](run, step)
  end
end

-- run{ host = net, pod = net, entries = the journal's, prev_result =, call = } raises code 106 for the first thing
-- that is not as it was made, and names it.
function check.run(run)
  for _, entry in ipairs(run.entries) do
    if entry.step and entry.step.verb ~= "del" then
      check_step(run, entry.step)
    end
  end
  check_addresses_of_result(run)
end

return check
