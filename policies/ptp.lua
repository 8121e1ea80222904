-- SPDX-License-Identifier: Apache-2.0
-- ptp: a veth pair per pod and no bridge. The node's end has the gateway's address, alone, and a route to the pod's; the
-- pod reaches everything, its own subnet too, through the gateway. Takes the configuration of the reference plugin of that
-- name.

local mncni = require "mncni"

local policy = {}

policy.options = {
  mtu = { type = "integer", min = 0, max = 65535, default = 0, doc = "0: the kernel's choice" },
  ipMasq = { type = "boolean", default = false, doc = "masquerade what leaves the node" },
  ipMasqBackend = {
    type = "string", choices = { "iptables", "nftables" },
    doc = "for the reference plugin: here either is one rule of nftables per node",
  },
}

local BITS = { inet = 32, inet6 = 128 }

-- Each address needs a gateway, which is the node's end of the pair.
local function check(lease)
  for _, entry in ipairs(lease.addresses) do
    if not entry.gateway then
      error(mncni.error {
        code = 7, object = "ipam", message = ("it gives %s without a gateway, which would be the node's end of the "
          .. "pod's link; add one"):format(entry.address),
      })
    end
  end
  if #lease.addresses == 0 then
    error(mncni.error { code = 7, object = "ipam", message = "it gives no address, and ptp cannot do without one" })
  end
end

-- The routes that an address with its gateway takes, on the node and in the pod.
local function wire(pod, eth, entry, seen)
  local address = mncni.cidr(entry.address)
  local own, bits = address.address, BITS[address.family]
  local is_v4 = address.family == "inet"
  if not seen[entry.gateway] then
    seen[entry.gateway] = true
    pod.host.addr.add {
      dev = eth.host_ifname, address = ("%s/%d"):format(entry.gateway, bits), flags = not is_v4 and { "nodad" } or nil,
    }
    eth:route { dst = entry.gateway, scope = is_v4 and "link" or nil, prefsrc = own }
    if address.prefix < bits then
      eth:route { dst = tostring(address.network), gateway = entry.gateway, prefsrc = own }
    end
  end
  pod.host.route.add { dst = own, dev = eth.host_ifname, scope = is_v4 and "host" or nil }
end

function policy.add(pod, conf)
  local lease = pod:lease(conf.ipam)
  check(lease)
  mncni.forwarding.ensure(lease.subnets)
  local eth = pod:veth { mtu = conf.mtu > 0 and conf.mtu or nil }
  eth:address(lease, { noprefixroute = true })
  local seen = {}
  for _, entry in ipairs(lease.addresses) do
    wire(pod, eth, entry, seen)
  end
  eth:routes(lease)
  if conf.ipMasq then
    mncni.masquerade.ensure { sources = lease.subnets }
  end
  return pod:result { eth, lease, dns = conf.dns }
end

function policy.status(conf)
  if not conf.ipam then
    error(mncni.error { code = 50, object = "ipam", message = "the configuration has no \"ipam\" section" })
  end
end

return policy
