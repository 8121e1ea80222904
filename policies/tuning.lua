-- SPDX-License-Identifier: Apache-2.0
-- tuning: settings of the pod's namespace and of its interface, in a chain. What was before is put back on DEL. Takes the
-- configuration of the reference plugin of that name.

local mncni = require "mncni"

local policy = { chained = true }

local settings = {
  sysctl = {
    type = "table", of = { type = "string" },
    doc = "below net, such as net.core.somaxconn; IFNAME in a key is the pod's interface",
  },
  mac = { type = "string", doc = "MAC address of the interface" },
  mtu = { type = "integer", min = 0, max = 65535, doc = "0: as it is" },
  promisc = { type = "boolean", doc = "true: promiscuous mode" },
  allmulti = { type = "boolean", doc = "all-multicast mode" },
  txQLen = { type = "integer", min = 0, max = 0xffffffff, doc = "length of the transmit queue" },
}

policy.options = {
  args = { type = "table", fields = { cni = { type = "table", fields = settings } }, doc = "these win over others" },
  dataDir = { type = "string", doc = "for the reference plugin; here a journal keeps it" },
}
for name, option in pairs(settings) do
  policy.options[name] = option
end

-- What is asked for: by the configuration, by MAC of CNI_ARGS, runtimeConfig.mac and, over all of these, args.cni.
local function wanted(pod, conf)
  local args = conf.args and conf.args.cni or {}
  local want = { sysctl = {}, mac = args.mac or pod.runtime.mac or pod.args.MAC or conf.mac }
  for _, key in ipairs { "mtu", "promisc", "allmulti", "txQLen" } do
    want[key] = conf[key]
    if args[key] ~= nil then
      want[key] = args[key]
    end
  end
  for _, given in ipairs { conf.sysctl or {}, args.sysctl or {} } do
    for key, value in pairs(given) do
      want.sysctl[key] = value
    end
  end
  return want
end

function policy.add(pod, conf)
  local want = wanted(pod, conf)
  local link = {
    ifname = pod.ifname, address = want.mac and mncni.tuning.mac(want.mac), mtu = want.mtu ~= 0 and want.mtu or nil,
    promisc = want.promisc or nil, allmulti = want.allmulti, txqlen = want.txQLen,
  }
  for _, setting in ipairs(mncni.tuning.sysctls(want.sysctl, pod.ifname)) do
    pod.inside.sysctl.set(setting[1], setting[2])
  end
  if next(link, next(link)) then
    pod.inside.link.set(link)
  end
  for _, interface in ipairs(pod.prev_result.interfaces or {}) do
    if interface.name == pod.ifname and interface.sandbox then
      interface.mac, interface.mtu = link.address or interface.mac, link.mtu or interface.mtu
    end
  end
  return pod:result {}
end

-- Raises what an ADD would say of the configuration.
function policy.status(conf)
  mncni.tuning.sysctls(conf.sysctl or {}, "eth0")
end

return policy
