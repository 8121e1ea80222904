-- SPDX-License-Identifier: Apache-2.0
-- host-device: the pod's interface is a device of the node, which has it back when the pod ends. A configuration of the
-- reference plugin works as it is, but for devices that a DPDK driver has.

local mncni = require "mncni"

local policy = {}

policy.options = {
  device = { type = "string", default = "", doc = "the device by its name" },
  hwaddr = { type = "string", default = "", doc = "or by its MAC address" },
  kernelpath = { type = "string", default = "", doc = "or by its directory below /sys/devices" },
  pciBusID = { type = "string", default = "", doc = "or by its place on the PCI bus, like 0000:00:03.0" },
}

function policy.add(pod, conf)
  local device = mncni.uplink.device(pod.host, {
    device = conf.device, hwaddr = conf.hwaddr, kernelpath = conf.kernelpath, pciBusID = conf.pciBusID,
    deviceID = pod.runtime.deviceID,
  })
  local lease = conf.ipam and conf.ipam.type and pod:lease(conf.ipam) or nil
  local eth = pod:device { link = device, lease = lease }
  if lease then
    eth:routes(lease)
  end
  return pod:result { eth, lease, dns = conf.dns }
end

return policy
