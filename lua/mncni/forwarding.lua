-- SPDX-License-Identifier: Apache-2.0
-- The node routes what its pods send and get: IP forwarding (IPv4: RFC 1812), which is off by default. It is switched on
-- where it is off, and stays on.

local steps = require "mncni.steps"

local forwarding = {}

local keys = { inet = "net/ipv4/ip_forward", inet6 = "net/ipv6/conf/all/forwarding" }

local function set(list, key, value)
  list[#list + 1] = { net = "host", verb = "set", object = "sysctl", args = { key = key, value = value } }
end

-- A kernel that forwards IPv6 drops the default routes that routers have advertised, and hears of no new ones, on links
-- whose accept_ra is 1 (the kernel's ip-sysctl documentation): the node would lose its way out.
local function follow_routers(list, host)
  local seen = {}
  for route in host.route.list { family = "inet6", protocol = "ra" } do
    local key = route.dev and ("net/ipv6/conf/%s/accept_ra"):format(route.dev)
    if key and not seen[key] and host.sysctl.get(key) == "1" then
      seen[key] = true
      set(list, key, "2")
    end
  end
end

-- The families of cidr values, each once.
local function families(addresses)
  local list, seen = {}, {}
  for _, address in ipairs(addresses) do
    if not seen[address.family] then
      seen[address.family] = true
      list[#list + 1] = address.family
    end
  end
  return list
end

-- The steps that are missing for the families of the addresses (cidr values) to be forwarded.
function forwarding.steps(host, addresses)
  local list = {}
  for _, family in ipairs(families(addresses)) do
    if host.sysctl.get(keys[family]) ~= "1" then
      if family == "inet6" then
        follow_routers(list, host)
      end
      set(list, keys[family], "1")
    end
  end
  return list
end

-- ensure(addresses) has the node forward the families of these cidr values.
function forwarding.ensure(addresses)
  steps.apply { shared = true, prepare = function(context)
    local list = forwarding.steps(context.nets.host, addresses)
    list[#list + 1] = {
      net = "host", verb = "require", object = "forwarding", args = { families = families(addresses) },
    }
    return list
  end }
end

-- check(host, args, differs): see mncni.masquerade.
function forwarding.check(host, args, differs)
  for _, family in ipairs(args.families) do
    local have = host.sysctl.get(keys[family])
    if have ~= "1" then
      differs(("sysctl %s"):format(keys[family]), "it is %s, and should be 1", tostring(have))
    end
  end
end

return forwarding
