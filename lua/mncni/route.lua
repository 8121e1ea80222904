-- SPDX-License-Identifier: Apache-2.0
-- What routes tell about the node.

local route = {}

local DEFAULT_MTU = 1500

-- The device that the default route of a family uses; the smallest metric wins, the first of several next hops.
local function default_device(net, family)
  local best, best_metric
  for have in net.route.list { family = family, table = "main", dst = "default" } do
    local metric = tonumber(have.metric) or 0
    local hop = have.nexthops and have.nexthops[1]
    local dev = have.dev or hop and hop.dev
    if dev and (not best or metric < best_metric) then
      best, best_metric = dev, metric
    end
  end
  return best
end

-- default_link(net) returns the link that carries the default route, of IPv4, else of IPv6; nil when there is none.
function route.default_link(net)
  local dev = default_device(net, "inet") or default_device(net, "inet6")
  return dev and net.link.get(math.type(dev) == "integer" and { ifindex = dev } or { ifname = dev })
end

-- default_mtu(net) returns the MTU, in bytes, of the device that carries the default route: of IPv4, else of IPv6;
-- 1500 (Ethernet, RFC 894) when there is no default route. Traffic that leaves the node must pass that device, so a
-- pod with a larger MTU would depend on path MTU discovery for every connection.
function route.default_mtu(net)
  local link = route.default_link(net)
  return link and link.mtu or DEFAULT_MTU
end

-- mtu() is default_mtu of the caller's namespace; meant as the `auto` of an option.
function route.mtu()
  local host <close> = require("mncni").open()
  return route.default_mtu(host)
end

local any = { inet = "0.0.0.0/0", inet6 = "::/0" }

-- settable(have) returns, of a route as the kernel lists it, what `add` takes to make the same again. What the kernel
-- finds out by itself is left out: indexes, the state of next hops, and the scope of IPv6.
function route.settable(have)
  local args = { dst = have.dst == "default" and any[have.family] or have.dst }
  for _, key in ipairs { "family", "dev", "gateway", "via", "prefsrc", "metric", "metrics", "protocol", "type", "table",
    "pref" } do
    args[key] = have[key]
  end
  args.tos = have.tos ~= 0 and have.tos or nil
  args.scope = have.family == "inet" and have.scope or nil
  for _, flag in ipairs(have.flags or {}) do
    args.flags = flag == "onlink" and { flag } or args.flags
  end
  return args
end

return route
