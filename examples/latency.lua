-- SPDX-License-Identifier: Apache-2.0
-- What a pod sends waits as long as its annotation example.com/delay-ms says. In a chain, behind any plugin:
--   { "type": "mncni", "policy": "latency", "capabilities": { "io.kubernetes.cri.pod-annotations": true } }
local mncni = require "mncni"

local policy = { chained = true }

policy.options = {
  most = { type = "integer", min = 0, default = 10000, doc = "milliseconds that a pod may ask for" },
}

local KEY = "example.com/delay-ms"

function policy.add(pod, conf)
  local wanted = pod.annotations[KEY]
  local delay = tonumber(wanted)
  if wanted and not (delay and delay >= 0 and delay <= conf.most) then
    error(mncni.error {
      code = 7, object = "annotation " .. KEY,
      message = ("it is %q, and should be a number of milliseconds up to %d"):format(wanted, conf.most),
    }, 0)
  end
  if wanted and delay > 0 then
    pod.inside.qdisc.add { dev = pod.ifname, kind = "netem", netem = { delay = math.floor(delay * 1000000) } }
  end
  return pod:result {}
end

return policy
