-- SPDX-License-Identifier: Apache-2.0
-- tap: the pod's interface is a TAP device, whose other end is a program in the pod (a virtual machine monitor, say). A
-- configuration of the reference plugin works as it is.

local mncni = require "mncni"

local policy = {}

local id = { type = "integer", min = 0, max = 4294967295 }

policy.options = {
  multiQueue = { type = "boolean", default = false, doc = "several queues at once" },
  mtu = { type = "integer", min = 0, max = 65535, default = 0, doc = "0: what the kernel gives it" },
  mac = { type = "string", doc = "MAC address of the interface, if none was asked for otherwise" },
  owner = { type = id.type, min = id.min, max = id.max, doc = "number of the user who may attach; root unless given" },
  group = { type = id.type, min = id.min, max = id.max, doc = "number of the group that may" },
  selinuxContext = { type = "string", default = "", doc = "not supported: it must be empty" },
  bridge = { type = "string", default = "", doc = "a bridge in the pod that it is to be a port of" },
}

function policy.add(pod, conf)
  if conf.selinuxContext ~= "" then
    error(mncni.error {
      code = 7, object = "selinuxContext", message = "not supported; leave it out, and let SELinux label it",
    })
  end
  local lease = conf.ipam and conf.ipam.type and pod:lease(conf.ipam) or nil
  local eth = pod:tap {
    mtu = conf.mtu, address = pod:wanted_mac() or conf.mac, multi_queue = conf.multiQueue, owner = conf.owner,
    group = conf.group, master = conf.bridge ~= "" and conf.bridge or nil, lease = lease,
  }
  if lease then
    eth:routes(lease)
  end
  return pod:result { eth, lease, dns = conf.dns }
end

return policy
