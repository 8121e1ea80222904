-- SPDX-License-Identifier: Apache-2.0
-- CHECK: compares what the journal says was made with what the kernel has now. Only what we made is looked at, so that
-- what later plugins of a chain add does not matter; where they may change it too (MAC, MTU, addresses), prevResult
-- is believed before the journal.

local core = require "mncni.core"

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

local function check_link(run, step)
  local net, args = run[step.net], step.args
  local name = ("link %q"):format(args.ifname)
  local link = net.link.get { ifname = args.ifname }
  if not link then
    differs(name, "it is gone")
  end
  local now = step.shared and {} or believed(run.prev_result, args.ifname, step.net == "pod")
  if args.kind and link.kind ~= args.kind then
    differs(name, "it is of kind %s, and was made as %s", tostring(link.kind), args.kind)
  end
  if args.up and not link.up then
    differs(name, "it is down")
  end
  local mac, mtu = now.mac or args.address, now.mtu or args.mtu
  if mac and not same(mac, link.address) then
    differs(name, "its MAC address is %s, and should be %s", tostring(link.address), mac)
  end
  if mtu and mtu ~= link.mtu then
    differs(name, "its MTU is %s, and should be %s", tostring(link.mtu), tostring(mtu))
  end
  if args.master and tostring(link.master) ~= tostring(args.master) then
    differs(name, "its master is %s, and should be %s", tostring(link.master or "none"), tostring(args.master))
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
      mtu = peer.mtu, address = peer.address, up = true } })
  end
end

local function check_addr(run, step)
  for address in run[step.net].addr.list { dev = step.args.dev } do
    if address.address == step.args.address then
      return
    end
  end
  differs(("address %s"):format(step.args.address), "it is no longer on %s", tostring(step.args.dev))
end

local function check_route(run, step)
  local args = step.args
  local gateway = args.gateway and core.cidr.parse(args.gateway)
  local any = gateway and gateway.family == "inet6" and "::/0" or "0.0.0.0/0"
  local want = core.cidr(args.dst == "default" and any or args.dst)
  for route in run[step.net].route.list { dev = args.dev, family = want.family, table = args.table } do
    local dst = core.cidr(route.dst == "default" and (want.family == "inet" and "0.0.0.0/0" or "::/0") or route.dst)
    if dst == want and (not args.gateway or same(args.gateway, route.gateway))
      and (not args.metric or args.metric == route.metric) then
      return
    end
  end
  differs(("route %s"):format(args.dst), "it is gone%s", args.gateway and (" (via " .. args.gateway .. ")") or "")
end

local function check_sysctl(run, step)
  local have = run[step.net].sysctl.get(step.args.key)
  if have ~= nil and have ~= tostring(step.args.value) then
    differs(("sysctl %s"):format(step.args.key), "it is %s, and should be %s", have, tostring(step.args.value))
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

local checks = { link = check_link, route = check_route, sysctl = check_sysctl }

-- run{ host = net, pod = net, entries = the journal's, prev_result =, call = } raises code 106 for the first thing
-- that is not as it was made, and names it.
function check.run(run)
  for _, entry in ipairs(run.entries) do
    local step = entry.step
    local one = step and step.verb ~= "del" and checks[step.object]
    -- A bridge's MTU follows what other networks on it ask for, and its MAC may be another's choice.
    if one and step.shared and step.object == "link" then
      step.args = { ifname = step.args.ifname, kind = step.args.kind, up = step.args.up }
    end
    if one then
      one(run, step)
    elseif step and step.object == "addr" and (step.shared or not run.prev_result.ips) then
      check_addr(run, step)
    end
  end
  check_addresses_of_result(run)
end

return check
