-- SPDX-License-Identifier: Apache-2.0
-- Routes to the same destination by several gateways, which are one route with several next hops (ECMP, RFC 2992).

local core = require "mncni.core"

local parallel = {}

-- Whether two routes differ in their gateway alone.
local function alike(one, other)
  local metrics, others = one.metrics or {}, other.metrics or {}
  return core.cidr(one.dst) == core.cidr(other.dst) and one.metric == other.metric and one.table == other.table
    and one.scope == other.scope and metrics.mtu == others.mtu and metrics.advmss == others.advmss
    and one.gateway and (other.gateway or other.nexthops)
end

-- join(list, dev, route) adds a route through the device to the list: as a next hop of one that is there where only the
-- gateways differ, not at all where nothing does.
function parallel.join(list, dev, route)
  for _, other in ipairs(list) do
    if alike(route, other) then
      local hops = other.nexthops or { { gateway = other.gateway, dev = dev } }
      for _, hop in ipairs(hops) do
        if core.cidr(hop.gateway) == core.cidr(route.gateway) then
          return
        end
      end
      hops[#hops + 1] = { gateway = route.gateway, dev = dev }
      other.gateway, other.nexthops = nil, hops
      return
    end
  end
  list[#list + 1] = route
end

return parallel
