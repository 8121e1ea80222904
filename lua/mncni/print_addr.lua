-- SPDX-License-Identifier: Apache-2.0
-- Addresses, neighbours, fdb entries and VLANs of ports as the lines of `ip` and `bridge` that would make them.

local print_words = require "mncni.print_words"

local words, contains, list_of = print_words.new, print_words.contains, print_words.list_of

local address_flags = { "home", "mngtmpaddr", "nodad", "optimistic", "noprefixroute", "autojoin" }

local function life(value)
  return value ~= 0xffffffff and value or nil
end

local function addr_line(verb)
  return function(args)
    local out = words("address", verb)
    out[#out + 1] = tostring(args.address)
    out:add("peer", args.peer)
    out:add("dev", args.dev or args.ifindex)
    out:add("broadcast", args.broadcast)
    out:add("label", args.label)
    out:add("scope", args.scope)
    out:add("metric", args.metric)
    out:add("valid_lft", life(args.valid_life_time))
    out:add("preferred_lft", life(args.preferred_life_time))
    out:add("proto", args.protocol)
    out:flags(args.flags, address_flags)
    return { out:text() }
  end
end

local addr = { add = addr_line "add", replace = addr_line "replace", del = addr_line "del" }

-- What would make an address that was read.
function addr.describe(value)
  local inet6 = value.family == "inet6"
  return addr.add {
    address = value.address, peer = value.peer ~= value.address and value.peer or nil, dev = value.dev or value.ifindex,
    broadcast = value.broadcast, label = value.label ~= value.dev and value.label or nil,
    scope = not inet6 and value.scope ~= "global" and value.scope or nil,
    metric = value.metric ~= 0 and value.metric or nil, flags = value.flags,
    valid_life_time = value.valid_life_time, preferred_life_time = value.preferred_life_time,
    protocol = type(value.protocol) == "number" and value.protocol or nil,
  }
end

local neigh_flags = { "router", "use", "managed", "extern_learn" }

local function neigh_line(verb)
  return function(args)
    local out = words("neigh", verb)
    out:flags(args.flags, { "proxy" })
    out[#out + 1] = tostring(args.dst)
    out:add("lladdr", args.lladdr)
    out:add("dev", args.dev or args.ifindex)
    out:add("protocol", print_words.protocol(args.protocol))
    local state = args.state and list_of(args.state)[1]
    out:add("nud", out[3] ~= "proxy" and state or nil)
    out:flags(args.flags, neigh_flags)
    return { out:text() }
  end
end

local neigh = {
  add = neigh_line "add", replace = neigh_line "replace", set = neigh_line "change", del = neigh_line "del",
}

local fdb_states = { permanent = "permanent", noarp = "static", static = "static", reachable = "dynamic" }

local function fdb_line(verb)
  return function(args)
    local out = words("fdb", verb, tostring(args.mac))
    out:add("dev", args.dev or args.ifindex)
    out:add("dst", args.dst)
    out:add("vlan", args.vlan)
    out:add("vni", args.vni)
    out:add("port", args.port)
    local flags = args.flags or {}
    out:flags(flags, { "self", "master", "router", "extern_learn", "sticky", "use" })
    if args.master and not contains(flags, "master") and not contains(flags, "self") then
      out[#out + 1] = "master"
    end
    local state = fdb_states[args.state and list_of(args.state)[1] or ""]
    if state and verb ~= "del" then
      out[#out + 1] = state
    end
    return { out:text() }
  end
end

local fdb = {
  add = fdb_line "add", replace = fdb_line "replace", append = fdb_line "append", del = fdb_line "del",
}

local vlan_words = { PVID = "pvid", ["Egress Untagged"] = "untagged" }

-- A line for each VLAN or range.
local function vlan_lines(verb)
  return function(args)
    local lines = {}
    for i, entry in ipairs(args.vlans or {}) do
      local out = words("vlan", verb, "dev")
      out[#out + 1] = tostring(args.dev or args.ifindex)
      local last = entry.vlanEnd
      out:add("vid", last and last ~= entry.vlan and ("%d-%d"):format(entry.vlan, last) or entry.vlan)
      for _, flag in ipairs(verb ~= "del" and entry.flags or {}) do
        out[#out + 1] = vlan_words[flag]
      end
      out:flags(args.flags, { "self", "master" })
      lines[i] = out:text()
    end
    return lines
  end
end

local vlan = { add = vlan_lines "add", del = vlan_lines "del" }

return { addr = addr, neigh = neigh, fdb = fdb, vlan = vlan }
