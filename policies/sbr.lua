-- SPDX-License-Identifier: Apache-2.0
-- sbr: what has one of the interface's addresses as its source is routed by tables of the interface's own, in a chain. Each
-- address gets a rule and a table with a default route and the routes of the interface, which leave the main table. Takes
-- the configuration of the reference plugin of that name.

local mncni = require "mncni"

local policy = { chained = true }

policy.options = {
  table = { type = "integer", min = 1, max = 0xffffffff, doc = "only rules, to this table; others fill it" },
  gateways = {
    type = "list", of = { type = "cidr" }, default = {},
    doc = "default gateways of the tables, each for addresses of its subnet; the result's unless given",
  },
  addSourceHints = {
    type = "boolean", default = false,
    doc = "the routes stay in the main table, with the address as source of what has none yet",
  },
}

-- The interface's addresses, each with the gateway that the result has for it.
local function addresses_of(pod)
  local list, gateway = {}, {}
  for _, ip in ipairs(pod.prev_result.ips or {}) do
    gateway[tostring(mncni.cidr(ip.address))] = ip.gateway
  end
  for i, address in ipairs(pod:addresses()) do
    list[i] = { address = address, gateway = gateway[tostring(address)] }
  end
  if #list == 0 then
    error(mncni.error {
      code = 7, object = "prevResult", message = ("it has no address of %s to route by"):format(pod.ifname),
    })
  end
  return list
end

function policy.add(pod, conf)
  local addresses, routes, taken, rules = addresses_of(pod), {}, {}, {}
  for route in pod.inside.route.list {} do
    taken[#taken + 1] = route.table
    routes[#routes + 1] = route.dev == pod.ifname and route or nil
  end
  for rule in pod.inside.rule.list {} do
    rules[#rules + 1] = rule
  end
  local plan = mncni.source_routing.plan {
    ifname = pod.ifname, addresses = addresses, routes = routes, rules = rules, taken = taken,
    table = conf.table, gateways = conf.gateways, hints = conf.addSourceHints,
  }
  for _, rule in ipairs(plan.rules) do
    pod.inside.rule.add(rule)
  end
  for _, step in ipairs { { "add", plan.add }, { "del", plan.del }, { "add", plan.back } } do
    for _, route in ipairs(step[2]) do
      pod.inside.route[step[1]](route)
    end
  end
  return pod:result {}
end

return policy
