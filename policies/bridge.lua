-- SPDX-License-Identifier: Apache-2.0
-- bridge: the reference plugin of that name, with its keys and defaults. A veth pair per pod, one end on a bridge that
-- is made when missing; without ipam the pod is on the bridge and has no address.

local mncni = require "mncni"

local policy = {}

policy.options = {
  bridge = { type = "string", min = 1, max = 15, default = "cni0", doc = "name of the bridge; made when missing" },
  isGateway = { type = "boolean", default = false, doc = "the node has the gateway's address" },
  isDefaultGateway = { type = "boolean", default = false, doc = "and the pod a default route to it" },
  forceAddress = { type = "boolean", default = false, doc = "take away another range's gateway that is in the way" },
  ipMasq = { type = "boolean", default = false, doc = "masquerade what leaves for other networks" },
  ipMasqBackend = { type = "string", choices = { "iptables", "nftables" }, doc = "both mean nftables here" },
  mtu = { type = "integer", min = 0, max = 65535, default = 0, doc = "0: the kernel's" },
  hairpinMode = { type = "boolean", default = false, doc = "a pod reaches itself through its service" },
  promiscMode = { type = "boolean", default = false, doc = "the bridge takes packets for every address" },
  vlan = { type = "integer", min = 0, max = 4094, default = 0, doc = "of what the pod sends untagged; 0: none" },
  vlanTrunk = {
    type = "list", of = { type = "table", of = { type = "integer" } },
    doc = "VLANs that the pod sends tagged: { id } or { minID, maxID }",
  },
  preserveDefaultVlan = { type = "boolean", default = false, doc = "leave the port in the bridge's default VLAN, too" },
  macspoofchk = { type = "boolean", default = false, doc = "a pod sends from its own MAC address only" },
  enabledad = { type = "boolean", default = false, doc = "wait for IPv6's duplicate address detection" },
  disableContainerInterface = { type = "boolean", default = false, doc = "leave it down; no ipam then" },
  portIsolation = { type = "boolean", default = false, doc = "pods reach the node, but no other isolated port" },
}

local function exclude(one, other)
  error(mncni.error { code = 7, object = one, message = ("it excludes %s; leave one out"):format(other) })
end

function policy.add(pod, conf)
  local ipam = conf.ipam and (conf.ipam.type or conf.ipam.policy) and conf.ipam
  if conf.hairpinMode and conf.promiscMode then
    exclude("hairpinMode", "promiscMode")
  elseif conf.disableContainerInterface and ipam then
    exclude("disableContainerInterface", "ipam")
  end
  local vlans = mncni.bridge.vlans(conf.vlan, conf.vlanTrunk)
  local gateway = conf.isGateway or conf.isDefaultGateway
  local mtu = conf.mtu > 0 and conf.mtu or nil
  local lease = ipam and pod:lease(ipam, { gateway = gateway })
  local gateways = lease and gateway and lease.gateways or {}
  local bridge = mncni.bridge.ensure {
    ifname = conf.bridge, mtu = mtu, promisc = conf.promiscMode or nil, vlan_filtering = vlans and true,
    address = conf.vlan == 0 and gateways or nil, force = conf.forceAddress,
  }
  local eth = pod:veth {
    master = bridge, mtu = mtu, hairpin = conf.hairpinMode, isolated = conf.portIsolation, guard = conf.macspoofchk,
    vlans = vlans, keep_default_vlan = conf.preserveDefaultVlan, up = not conf.disableContainerInterface,
    dad = conf.enabledad,
  }
  local parts = { bridge, eth, dns = conf.dns }
  if lease then
    eth:address(lease)
    if conf.enabledad then
      eth:settle()
    end
    eth:routes(lease, { default = conf.isDefaultGateway })
    if conf.vlan > 0 and #gateways > 0 then
      pod:commit()
      parts[3] = mncni.bridge.vlan_gateway {
        bridge = bridge, vlan = conf.vlan, port = eth, address = gateways, force = conf.forceAddress,
      }
    end
    if conf.ipMasq then
      mncni.masquerade.ensure { sources = lease.subnets }
    end
    parts[#parts + 1] = lease
  end
  return pod:result(parts)
end

function policy.status(conf)
  mncni.bridge.status { ifname = conf.bridge, call_iptables = false }
end

return policy
