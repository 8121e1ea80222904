-- SPDX-License-Identifier: Apache-2.0
-- vlan: the pod's interface is a VLAN of the node's own device. A configuration of the reference plugin works as it is.
-- One VLAN of one master is one pod's at a time.

local mncni = require "mncni"

local policy = {}

policy.options = {
  master = { type = "string", required = true, min = 1, doc = "the link whose VLAN it is" },
  vlanId = { type = "integer", required = true, min = 0, max = 4094, doc = "its number (IEEE 802.1Q)" },
  mtu = { type = "integer", min = 0, max = 65535, default = 0, doc = "0: that of the master, and no more than it" },
  linkInContainer = { type = "boolean", default = false, doc = "the master is in the pod's namespace" },
}

function policy.add(pod, conf)
  local lease = conf.ipam and conf.ipam.type and pod:lease(conf.ipam) or nil
  local eth = pod:link {
    kind = "vlan", master = conf.master, inside = conf.linkInContainer, mtu = conf.mtu, lease = lease,
    options = { id = conf.vlanId },
  }
  if lease then
    eth:routes(lease)
  end
  return pod:result { eth, lease, dns = conf.dns }
end

function policy.status(conf)
  mncni.uplink.status { master = conf.master, inside = conf.linkInContainer }
end

return policy
