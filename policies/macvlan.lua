-- SPDX-License-Identifier: Apache-2.0
-- macvlan: the pod's interface is a sibling of the node's own device, with a MAC address of its own on the network outside.
-- A configuration of the reference plugin works as it is; without "ipam" the pod finds its addresses itself.

local mncni = require "mncni"

local policy = {}

policy.options = {
  master = { type = "string", default = "", doc = "the link it stands on; the default route's device when empty" },
  mode = {
    type = "string", default = "bridge", choices = { "bridge", "private", "vepa", "passthru", "source" },
    doc = "what pods of one master may send to each other; nothing reaches the master itself",
  },
  mtu = { type = "integer", min = 0, max = 65535, default = 0, doc = "0: that of the master, and no more than it" },
  mac = { type = "string", doc = "MAC address of the pod, if none was asked for otherwise" },
  linkInContainer = { type = "boolean", default = false, doc = "the master is in the pod's namespace" },
  bcqueuelen = { type = "integer", min = 0, max = 4294967295, default = 0, doc = "broadcasts that may wait; 0: 1000" },
}

function policy.add(pod, conf)
  local lease = conf.ipam and conf.ipam.type and pod:lease(conf.ipam) or nil
  local eth = pod:link {
    kind = "macvlan", master = conf.master, inside = conf.linkInContainer, mtu = conf.mtu,
    address = pod:wanted_mac() or conf.mac, lease = lease,
    options = { mode = conf.mode, bcqueuelen = conf.bcqueuelen > 0 and conf.bcqueuelen or nil },
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
