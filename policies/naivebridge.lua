-- SPDX-License-Identifier: Apache-2.0
-- naivebridge: one bridge per node, one veth per pod, addresses from the node's podCIDR. What kubenet does on a node;
-- a configuration of kubenet or of the bridge plugin works with only its type changed.

local mncni = require "mncni"

local policy = {}

policy.options = {
  bridge = { type = "string", default = "cbr0", doc = "name of the bridge; made when missing" },
  mtu = { type = "integer", min = 0, max = 65535, default = 0, doc = "0: that of the default route's device" },
  isGateway = { type = "boolean", default = true, doc = "the bridge has the gateway's address" },
  isDefaultGateway = {
    type = "boolean", auto = function(conf) return conf.isGateway end,
    doc = "a default route through the bridge where ipam gives none; implies isGateway",
  },
  hairpinMode = {
    type = "boolean", auto = function(conf) return not conf.promiscMode end,
    doc = "a pod reaches itself through its service; on unless promiscMode is",
  },
  macspoofchk = { type = "boolean", default = false, doc = "a pod sends from its own MAC address only" },
  ipspoofchk = { type = "boolean", default = false, doc = "and from its own addresses only: IPv4, IPv6, ARP, ND" },
  portIsolation = { type = "boolean", default = false, doc = "pods reach the node, but no other isolated port" },
  promiscMode = { type = "boolean", default = false, doc = "the bridge takes packets for every address" },
  ipMasq = { type = "boolean", doc = "masquerade what leaves the cluster; on unless false" },
  nonMasqueradeCIDRs = {
    type = "list", of = { type = "cidr" },
    auto = function(conf) return conf.ipMasq == nil and { mncni.cidr "10.0.0.0/8" } or {} end,
    doc = "destinations inside the cluster; as kubenet has it 10.0.0.0/8, and none where ipMasq is set",
  },
}

function policy.add(pod, conf)
  if conf.hairpinMode and conf.promiscMode then
    error(mncni.error { code = 7, object = "hairpinMode", message = "it excludes promiscMode; set one to false" })
  end
  local mtu = conf.mtu > 0 and conf.mtu or mncni.route_mtu()
  local lease = pod:lease(conf.ipam)
  local bridge = mncni.bridge.ensure {
    ifname = conf.bridge, mtu = mtu, promisc = conf.promiscMode, call_iptables = true,
    address = (conf.isGateway or conf.isDefaultGateway) and lease.gateways or nil,
  }
  local eth = pod:veth {
    master = bridge, mtu = mtu, hairpin = conf.hairpinMode, isolated = conf.portIsolation,
    guard = conf.ipspoofchk and lease or conf.macspoofchk,
  }
  eth:address(lease)
  eth:routes(lease, { default = conf.isDefaultGateway })
  if conf.ipMasq ~= false then
    mncni.masquerade.ensure { sources = lease.subnets, except = conf.nonMasqueradeCIDRs }
  end
  return pod:result { bridge, eth, lease, dns = conf.dns }
end

function policy.status(conf)
  if not conf.ipam or not (conf.ipam.type or conf.ipam.policy) then
    error(mncni.error { code = 50, object = "ipam", message = "the configuration has no \"ipam\" section" })
  end
  mncni.bridge.status { ifname = conf.bridge }
end

return policy
