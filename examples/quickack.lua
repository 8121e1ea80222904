-- SPDX-License-Identifier: Apache-2.0
-- A chained policy: TCP in the pod acknowledges at once what comes over its routes (`ip route ... quickack 1`). In the
-- "plugins" of a network, behind the one that makes the interface: { "type": "mncni", "policy": "quickack" }.
local policy = { chained = true }

local function changed(route, ifname)
  local metrics = {}
  for key, value in pairs(route.metrics or {}) do
    metrics[key] = value
  end
  metrics.quickack = true
  return {
    dst = route.dst, family = route.family, dev = ifname, gateway = route.gateway, prefsrc = route.prefsrc,
    metric = route.metric, protocol = route.protocol, metrics = metrics,
    scope = route.family == "inet" and route.scope or nil, -- IPv6 knows none
  }
end

function policy.add(pod)
  for _, family in ipairs { "inet", "inet6" } do
    for route in pod.inside.route.list { dev = pod.ifname, family = family, table = "main" } do
      if route.type == "unicast" and not route.dst:find "^fe80:" then
        local new = changed(route, pod.ifname)
        pod.inside.route.del { dst = new.dst, family = family, dev = new.dev, metric = new.metric }
        pod.inside.route.add(new)
      end
    end
  end
  return pod:result {}
end

return policy
