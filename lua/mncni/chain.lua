-- SPDX-License-Identifier: Apache-2.0
-- What a chained policy (policy.chained = true) is told of the attachment that the plugins before it have made.
-- Source: CNI specification, "Section 2: Execution Protocol", prevResult.

local core = require "mncni.core"

local chain = {}

local function fail(object, message, ...)
  error(core.error { code = 7, object = object, message = message:format(...) }, 0)
end

-- Raises code 7 unless the call comes with the result of a plugin before it.
function chain.check(call)
  if not call.prev_result then
    fail("prevResult", "%s must be called as chained plugin: put it behind the plugin that makes the interface in the "
      .. "configuration's \"plugins\"", call.policy)
  end
end

-- The addresses of the call's interface as cidr values, in the order of the result; those that name no interface count
-- too. family: "inet" or "inet6", or nil for both.
function chain.addresses(call, family)
  local previous, list = call.prev_result or {}, {}
  for _, ip in ipairs(previous.ips or {}) do
    local interface = ip.interface and (previous.interfaces or {})[ip.interface + 1]
    if not ip.interface or interface and interface.name == call.ifname and interface.sandbox == call.netns then
      local address = core.cidr(ip.address)
      if not family or address.family == family then
        list[#list + 1] = address
      end
    end
  end
  return list
end

-- The node's end of the pod's veth, as host.link.get returns it, whatever its name is. nets: { host, pod }.
-- Raises code 7 when the pod's interface is none, or its other end is in another namespace than the node's.
function chain.host_link(nets, ifname)
  local inside = nets.pod.link.get { ifname = ifname }
  if not inside then
    fail(("link %q"):format(ifname), "the pod has no such interface; the plugins before this one did not make it")
  end
  local peer = inside.kind == "veth" and inside.link and nets.host.link.get { ifindex = inside.link }
  if not peer or peer.kind ~= "veth" or peer.link ~= inside.ifindex then
    fail(("link %q"):format(ifname), "it is of kind %s and has no veth peer on the node; use a plugin that makes a "
      .. "veth pair (naivebridge, bridge, ptp) before this one", inside.kind or "physical")
  end
  return peer
end

return chain
