-- SPDX-License-Identifier: Apache-2.0
-- ipvlan: the pod's interface shares the MAC address of the node's own device, and is told apart by its addresses. A
-- configuration of the reference plugin works as it is.

local mncni = require "mncni"

local policy = {}

policy.options = {
  master = { type = "string", default = "", doc = "the link it stands on; the default route's device when empty" },
  mode = {
    type = "string", default = "l2", choices = { "l2", "l3", "l3s" },
    doc = "l2: pods ask for neighbours themselves; l3: the node's routes are used; l3s: and its netfilter",
  },
  mtu = { type = "integer", min = 0, max = 65535, default = 0, doc = "0: that of the master, and no more than it" },
  linkInContainer = { type = "boolean", default = false, doc = "the master is in the pod's namespace" },
}

function policy.add(pod, conf)
  local lease = conf.ipam and conf.ipam.type and pod:lease(conf.ipam) or nil
  local eth = pod:link {
    kind = "ipvlan", master = conf.master, inside = conf.linkInContainer, mtu = conf.mtu, lease = lease,
    options = { mode = conf.mode },
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
