-- SPDX-License-Identifier: Apache-2.0
-- dummy: an interface that leads nowhere, for addresses that the pod is to have. A configuration of the reference plugin
-- works as it is.

local mncni = require "mncni"

local policy = {}

function policy.add(pod, conf)
  if not conf.ipam or not conf.ipam.type then
    error(mncni.error { code = 7, object = "ipam", message = "dummy interface requires an IPAM configuration" })
  end
  local lease = pod:lease(conf.ipam)
  local eth = pod:link { kind = "dummy", lease = lease }
  eth:routes(lease)
  return pod:result { eth, lease, dns = conf.dns }
end

return policy
