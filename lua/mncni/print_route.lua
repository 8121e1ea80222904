-- SPDX-License-Identifier: Apache-2.0
-- Routes and rules as the lines of `ip` that would make them.

local objects = require "mncni.objects"
local print_words = require "mncni.print_words"

local quote, words, contains = print_words.quote, print_words.new, print_words.contains
local protocol_word = print_words.protocol

local route_metrics = {
  "mtu", "advmss", "window", "rtt", "rttvar", "rto_min", "ssthresh", "cwnd", "initcwnd", "initrwnd", "hoplimit",
  "reordering", "quickack", "congctl",
}

local function hop_words(out, hop)
  if type(hop.via) == "table" then
    out:add("via", hop.via.family)
    out[#out + 1] = quote(hop.via.host)
  end
  out:add("via", hop.gateway)
  out:add("dev", hop.dev or hop.oif)
  out:add("weight", hop.weight)
end

local function metric_words(out, metrics)
  local locked = metrics.lock
  for _, name in ipairs(route_metrics) do
    local value = metrics[name]
    if value ~= nil then
      out[#out + 1] = name
      if type(locked) == "table" and (contains(locked, name) or locked[name] == true) then
        out[#out + 1] = "lock"
      end
      out[#out + 1] = quote(type(value) == "boolean" and (value and 1 or 0) or value)
    end
  end
end

local function route_line(verb)
  return function(args)
    local out = words()
    local inet6 = objects.family_of(args) == "inet6"
    if inet6 and (args.dst == nil or tostring(args.dst) == "default") and not args.gateway then
      out[#out + 1] = "-6"
    end
    out[#out + 1] = "route"
    out[#out + 1] = verb
    if args.type and args.type ~= "unicast" then
      out[#out + 1] = args.type
    end
    out[#out + 1] = args.dst == nil and "default" or tostring(args.dst)
    out:add("tos", args.tos and ("0x%02x"):format(args.tos)) -- ip reads it as hexadecimal
    hop_words(out, args)
    out:add("proto", protocol_word(args.protocol))
    out:add("scope", args.scope)
    out:add("src", args.prefsrc)
    out:add("metric", args.metric)
    out:add("table", args.table)
    out:flags(args.flags, { "onlink" })
    if args.metrics then
      metric_words(out, args.metrics)
    end
    for _, hop in ipairs(args.nexthops or {}) do
      out[#out + 1] = "nexthop"
      hop_words(out, hop)
      out:flags(hop.flags, { "onlink" })
    end
    return { out:text() }
  end
end

local route = {
  add = route_line "add", replace = route_line "replace", append = route_line "append", del = route_line "del",
}

-- The scope that `ip route` would choose by itself (iproute2 ip/iproute.c, man ip-route: scope).
local function usual_scope(value)
  local kind = value.type or "unicast"
  if kind == "local" then
    return "host"
  elseif kind == "broadcast" or kind == "multicast" or kind == "anycast" then
    return "link"
  elseif kind == "unicast" and not value.gateway and not value.via and not value.nexthops then
    return "link"
  end
  return "global"
end

-- What would make a route that was read.
function route.describe(value)
  local inet6 = objects.family_of(value) == "inet6"
  local told = {}
  for key, item in pairs(value) do
    told[key] = item
  end
  told.protocol = not objects.same("route", "protocol", "boot", value.protocol or "boot") and value.protocol or nil
  told.table = not objects.same("route", "table", "main", value.table or "main") and value.table or nil
  told.tos = value.tos ~= 0 and value.tos or nil
  told.scope = not inet6 and value.scope ~= nil and not objects.same("route", "scope", usual_scope(value), value.scope)
    and value.scope or nil
  told.metric = value.metric ~= 0 and not (inet6 and value.metric == 1024) and value.metric or nil
  told.weight = nil
  if value.type and value.type ~= "unicast" and value.type ~= "local" and told.dev == "lo" then
    told.dev = nil -- where the kernel puts IPv6 routes that lead nowhere
  end
  return route.add(told)
end

local function rule_line(verb)
  return function(args)
    local out = words()
    if objects.family_of(args) == "inet6" then
      out[#out + 1] = "-6"
    end
    out[#out + 1] = "rule"
    out[#out + 1] = verb
    out:flags(args.flags, { "not" })
    out:add("from", args.src or args.dst == nil and "all" or nil)
    out:add("to", args.dst)
    out:add("tos", args.tos and ("0x%02x"):format(args.tos)) -- ip reads it as hexadecimal
    if args.fwmark then
      local full = args.fwmask == nil or args.fwmask == 0xffffffff
      out:add("fwmark", full and ("0x%x"):format(args.fwmark) or ("0x%x/0x%x"):format(args.fwmark, args.fwmask))
    end
    out:add("iif", args.iif)
    out:add("oif", args.oif)
    out:add("uidrange", args.uidrange)
    out:add("ipproto", args.ipproto)
    out:add("sport", args.sport)
    out:add("dport", args.dport)
    out:add("priority", args.priority)
    out:add("protocol", protocol_word(args.protocol))
    local action = args.action
    if args["goto"] then
      out:add("goto", args["goto"])
    elseif action and action ~= "to_table" then
      out[#out + 1] = tostring(action)
    else
      out:add("lookup", args.table)
    end
    out:add("suppress_prefixlength", args.suppress_prefixlength)
    out:add("suppress_ifgroup", args.suppress_ifgroup)
    return { out:text() }
  end
end

local rule = { add = rule_line "add", del = rule_line "del" }

-- What would make a rule that was read.
function rule.describe(value)
  local told = {}
  for key, item in pairs(value) do
    told[key] = item
  end
  told.protocol = not objects.same("rule", "protocol", "boot", value.protocol or "boot")
    and not objects.same("rule", "protocol", "unspec", value.protocol or "unspec") and value.protocol or nil
  told.suppress_prefixlength = value.suppress_prefixlength ~= -1 and value.suppress_prefixlength or nil
  told.suppress_ifgroup = value.suppress_ifgroup ~= -1 and value.suppress_ifgroup or nil
  told.tos = value.tos ~= 0 and value.tos or nil
  return rule.add(told)
end

return { route = route, rule = rule }
