-- SPDX-License-Identifier: Apache-2.0
-- A chained policy: the pod's routes as a network wants them. { "type": "mncni", "policy": "route-override", "flushgateway":
-- true, "delroutes": [ { "dst": "10.9.0.0/16" } ], "addroutes": [ { "dst": "0.0.0.0/0", "gw": "10.244.1.9" } ] }
local mncni = require "mncni"
local route = { type = "table", fields = { dst = { type = "cidr", required = true }, gw = { type = "string" } } }
local policy = { chained = true, options = {
  flushroutes = { type = "boolean", default = false, doc = "all routes go but those of the interface's own subnets" },
  flushgateway = { type = "boolean", default = false, doc = "the default routes go" },
  delroutes = { type = "list", of = route, default = {}, doc = "these go; without gw whatever the gateway is" },
  addroutes = { type = "list", of = route, default = {}, doc = "these come; without gw through the interface itself" },
} }

function policy.add(pod, conf)
  local function goes(dst, gateway)
    for _, gone in ipairs(conf.delroutes) do
      if gone.dst == dst and (not gone.gw or gone.gw == gateway) then return true end
    end
    return conf.flushroutes or conf.flushgateway and dst.prefix == 0
  end
  local result, routes = pod.prev_result, {}
  for _, have in ipairs(result.routes or {}) do
    if not goes(mncni.cidr(have.dst), have.gw) then table.insert(routes, have) end
  end
  for family, any in pairs { inet = "0.0.0.0/0", inet6 = "::/0" } do
    for have in pod.inside.route.list { dev = pod.ifname, family = family, table = "main" } do
      local dst = have.dst == "default" and any or have.dst
      if have.protocol ~= "kernel" and goes(mncni.cidr(dst), have.gateway) then
        pod.inside.route.del { dst = dst, dev = pod.ifname, gateway = have.gateway, metric = have.metric }
      end
    end
  end
  for _, new in ipairs(conf.addroutes) do
    pod.inside.route.add { dst = tostring(new.dst), dev = pod.ifname, gateway = new.gw }
    table.insert(routes, { dst = tostring(new.dst), gw = new.gw })
  end
  return { interfaces = result.interfaces, ips = result.ips, dns = result.dns, routes = routes }
end

return policy
