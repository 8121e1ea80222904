-- SPDX-License-Identifier: Apache-2.0
-- Objects and requests as the lines of iproute2 and nft that would make them. What tostring shows of a link, an address
-- or a route are the arguments of `ip`; of an fdb entry the `bridge` line; of nftables objects the arguments of `nft`.
-- What one line cannot say (an alias, the options of a bridge port) follows on lines of their own.

local objects = require "mncni.objects"

local print_lines = {}

-- A word as a shell, `ip -batch` and nft take it.
local function quote(word)
  word = tostring(word)
  if word ~= "" and not word:find("[^%w_@%%+=:,./%-]") then
    return word
  elseif not word:find("'") then
    return "'" .. word .. "'"
  end
  return '"' .. word:gsub('["\\$`]', "\\%0") .. '"'
end

local Words = {}
Words.__index = Words

local function words(...)
  return setmetatable({ ... }, Words)
end

-- add(word, value): the word and its value, or nothing when the value is nil.
function Words:add(word, value)
  if value ~= nil then
    self[#self + 1] = word
    self[#self + 1] = quote(value)
  end
end

function Words:switch(word, value)
  if value ~= nil then
    self[#self + 1] = word
    self[#self + 1] = (value == true or value == 1) and "on" or "off"
  end
end

-- Options as { key, default, word }; the word, where it is not the key, may be a function(words, value). Booleans are
-- printed as 0 and 1.
function Words:options(values, list)
  for _, option in ipairs(list) do
    local value, word = values[option[1]], option[3] or option[1]
    if type(value) == "boolean" then
      value = value and 1 or 0
    end
    if type(word) == "function" and value ~= nil then
      word(self, value)
    elseif type(word) == "string" then
      self:add(word, value)
    end
  end
end

function Words:text()
  return table.concat(self, " ")
end

local function list_of(value)
  return type(value) == "table" and value or { value }
end

local function contains(list, word)
  for _, item in ipairs(list_of(list)) do
    if item == word then
      return true
    end
  end
  return false
end

-- Links ---------------------------------------------------------------------------------------------------------------

-- The options that `ip link ... type KIND` takes: the key, the kernel's default where it has one, the word where that
-- is not the key (net/bridge/br_device.c, br_stp_if.c, br_multicast.c; drivers/net/vxlan). Times are in hundredths of
-- a second, as the kernel gives them.
local function remote_word(out, value)
  local first = tonumber(tostring(value):match("^(%d+)%."))
  local multicast = first and first >= 224 and first < 240 or tostring(value):lower():find("^ff")
  out:add(multicast and "group" or "remote", value)
end

local kinds = {
  bridge = {
    { "stp_state", 0 }, { "forward_delay", 1500 }, { "hello_time", 200 }, { "max_age", 2000 },
    { "ageing_time", 30000 }, { "priority", 32768 }, { "group_fwd_mask", 0 },
    { "group_addr", "01:80:c2:00:00:00", "group_address" }, { "vlan_filtering", 0 }, { "vlan_protocol", "802.1Q" },
    { "vlan_default_pvid", 1 }, { "vlan_stats_enabled", 0 }, { "vlan_stats_per_port", 0 }, { "mcast_snooping", 1 },
    { "mcast_router", 1 }, { "mcast_query_use_ifaddr", 0 }, { "mcast_querier", 0 }, { "mcast_hash_elasticity", 16 },
    { "mcast_hash_max", 4096 }, { "mcast_last_member_cnt", 2, "mcast_last_member_count" },
    { "mcast_startup_query_cnt", 2, "mcast_startup_query_count" },
    { "mcast_last_member_intvl", 100, "mcast_last_member_interval" },
    { "mcast_membership_intvl", 26000, "mcast_membership_interval" },
    { "mcast_querier_intvl", 25500, "mcast_querier_interval" },
    { "mcast_query_intvl", 12500, "mcast_query_interval" },
    { "mcast_query_response_intvl", 1000, "mcast_query_response_interval" },
    { "mcast_startup_query_intvl", 3125, "mcast_startup_query_interval" }, { "mcast_stats_enabled", 0 },
    { "mcast_igmp_version", 2 }, { "mcast_mld_version", 1 }, { "nf_call_iptables", 0 }, { "nf_call_ip6tables", 0 },
    { "nf_call_arptables", 0 },
  },
  vlan = { { "protocol", "802.1Q" }, { "id" } },
  vxlan = {
    { "id" }, { "group", nil, remote_word }, { "group6", nil, remote_word }, { "local" }, { "local6", nil, "local" },
    { "link", nil, "dev" }, { "ttl", 0 }, { "tos", 0 }, { "port", nil, "dstport" }, { "ageing", 300 },
    { "limit", 0, "maxaddress" },
    { "learning", 1, function(out, value) out[#out + 1] = value == 0 and "nolearning" or "learning" end },
    { "external", 0, function(out, value) out[#out + 1] = value == 0 and "noexternal" or "external" end },
  },
  macvlan = { { "mode" } },
  ipvlan = { { "mode" } },
  vrf = { { "table" } },
}

local port_states = { disabled = 0, listening = 1, learning = 2, forwarding = 3, blocking = 4 }

local function number_of(word, names)
  return function(out, value)
    out:add(word, names and names[value] or value)
  end
end

local function on_off(word)
  return function(out, value)
    out:switch(word, value)
  end
end

-- The options of `ip link set ... type bridge_slave`. The cost depends on the link's speed, the state on the bridge.
local slave_options = {
  { "state", nil, number_of("state", port_states) }, { "priority", 32, "priority" }, { "cost", nil, "cost" },
  { "multicast_router", 1, "mcast_router" }, { "group_fwd_mask", 0 },
}
for key, default in pairs {
  guard = false, hairpin = false, fastleave = false, root_block = false, learning = true, flood = true,
  proxy_arp = false, proxy_arp_wifi = false, mcast_flood = true, bcast_flood = true, mcast_to_unicast = false,
  neigh_suppress = false, vlan_tunnel = false, isolated = false, locked = false,
} do
  table.insert(slave_options, { key, default, on_off(key) })
end
table.sort(slave_options, function(a, b)
  return a[1] < b[1]
end)

-- How `ip` names a namespace: by name, path or pid.
local function netns_word(netns)
  if type(netns) == "table" or type(netns) == "userdata" then
    local inner = type(netns) == "table" and rawget(netns, "netns") or netns
    local path = inner.path and inner:path()
    netns = path or tostring(inner)
  end
  return type(netns) == "string" and netns:match("^/run/netns/([^/]+)$") or netns
end

local function kind_words(out, args)
  if not args.kind then
    return
  end
  out:add("type", args.kind)
  local options = args[args.kind]
  if options and kinds[args.kind] then
    out:options(options, kinds[args.kind])
  end
  local peer = args.kind == "veth" and args.peer
  if type(peer) == "table" then
    out[#out + 1] = "peer"
    out:add("name", peer.ifname)
    out:add("address", peer.address)
    out:add("mtu", peer.mtu)
    out:add("txqueuelen", peer.txqlen)
    out:add("group", peer.group)
    out:add("netns", netns_word(peer.netns))
  end
end

local function slave_line(lines, args)
  if not args.bridge_slave then
    return
  end
  local out = words("link", "set", "dev", quote(args.ifname or args.ifindex), "type", "bridge_slave")
  local before = #out
  out:options(args.bridge_slave, slave_options)
  if #out > before then
    lines[#lines + 1] = out:text()
  end
end

local function common_link_words(out, args)
  out:add("txqueuelen", args.txqlen)
  out:add("address", args.address)
  out:add("broadcast", args.broadcast)
  out:add("mtu", args.mtu)
  out:add("group", args.group)
  out:add("netns", netns_word(args.netns))
  if args.master then
    out:add("master", args.master)
  elseif args.master == false then
    out[#out + 1] = "nomaster"
  end
  out:add("addrgenmode", args.addrgenmode)
  if args.up ~= nil then
    out[#out + 1] = args.up and "up" or "down"
  end
end

-- What a creation ignores or `ip link add` has no word for.
local function afterwards(lines, args)
  local out = words("link", "set", "dev", quote(args.ifname))
  out:switch("promisc", args.promisc)
  out:switch("allmulticast", args.allmulti)
  out:switch("arp", args.arp)
  out:add("alias", args.ifalias)
  if #out > 4 then
    lines[#lines + 1] = out:text()
  end
  slave_line(lines, args)
end

local link = {}

function link.add(args)
  local out = words("link", "add")
  out:add("link", args.link)
  out:add("dev", args.ifname)
  local flat = setmetatable({ up = args.up or nil }, { __index = args })
  if flat.up == nil and args.up == false then
    flat = setmetatable({}, { __index = function(_, key)
      return key ~= "up" and args[key] or nil
    end })
  end
  common_link_words(out, flat)
  kind_words(out, args)
  local lines = { out:text() }
  afterwards(lines, args)
  return lines
end

function link.set(args)
  local out = words("link", "set", "dev", quote(args.ifname or args.ifindex))
  common_link_words(out, args)
  out:switch("promisc", args.promisc)
  out:switch("allmulticast", args.allmulti)
  out:switch("arp", args.arp)
  out:add("alias", args.ifalias)
  if args.kind and type(args[args.kind]) == "table" then
    kind_words(out, { kind = args.kind, [args.kind] = args[args.kind] })
  end
  local lines = { #out > 4 and out:text() or nil }
  slave_line(lines, args)
  return lines
end

function link.del(args)
  local out = words("link", "del")
  if args.ifname or args.ifindex then
    out:add("dev", args.ifname or args.ifindex)
  else
    out:add("group", args.group)
  end
  return { out:text() }
end

-- Of a link as read, what is not as the kernel would make it anyway. A link without a kind is hardware.
local function told_link(value)
  local told = {
    ifname = value.ifname, kind = value.kind, mtu = value.mtu ~= 1500 and value.mtu or nil, up = value.up or nil,
    master = value.master, ifalias = value.ifalias, promisc = value.promisc == true or value.promisc == 1 or nil,
    allmulti = value.allmulti == true or value.allmulti == 1 or nil,
    txqlen = value.txqlen ~= 1000 and value.txqlen or nil,
    group = value.group ~= 0 and value.group ~= "default" and value.group or nil,
    address = value.address ~= "00:00:00:00:00:00" and value.address or nil,
    addrgenmode = value.addrgenmode ~= "eui64" and value.addrgenmode or nil,
  }
  if value.arp == false then
    told.arp = false
  end
  if value.kind == "veth" then
    told.peer = type(value.link) == "string" and value.link_netnsid == nil and { ifname = value.link } or nil
  else
    told.link = type(value.link) == "string" and value.link_netnsid == nil and value.link or nil
  end
  local options, defaults = value[value.kind or ""], kinds[value.kind or ""]
  if type(options) == "table" and defaults then
    told[value.kind] = {}
    for _, option in ipairs(defaults) do
      local have = options[option[1]]
      local usual = option[2] ~= nil and have ~= nil and (objects.same("link", option[1], option[2], have)
        or option[1]:find("_intvl$") and have == option[2] - 1) -- a tick's rounding, which depends on the kernel's HZ
      if have ~= nil and not usual then
        told[value.kind][option[1]] = have
      end
    end
  end
  if value.bridge_slave then
    told.bridge_slave = {}
    for _, option in ipairs(slave_options) do
      local have = value.bridge_slave[option[1]]
      if have ~= nil and option[2] ~= nil and not objects.same("link", option[1], option[2], have) then
        told.bridge_slave[option[1]] = have
      end
    end
  end
  return told
end

local function describe_link(value)
  local told = told_link(value)
  if value.kind then
    return link.add(told)
  end
  told.txqlen, told.address = nil, nil
  return link.set(told)
end

-- Addresses -----------------------------------------------------------------------------------------------------------

local address_flags = { "home", "mngtmpaddr", "nodad", "optimistic", "noprefixroute", "autojoin" }

local function life(value)
  return value and value ~= 0xffffffff and value ~= 4294967295 and value or nil
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
    for _, flag in ipairs(address_flags) do
      if contains(args.flags or {}, flag) then
        out[#out + 1] = flag
      end
    end
    return { out:text() }
  end
end

local addr = { add = addr_line "add", replace = addr_line "replace", del = addr_line "del" }

local function describe_addr(value)
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

-- Routes --------------------------------------------------------------------------------------------------------------

-- The protocols that any iproute2 knows by name (lib/rt_names.c); others are printed as numbers.
local known_protocols = {
  redirect = true, kernel = true, boot = true, static = true, gated = true, ra = true, mrt = true, zebra = true,
  bird = true, dnrouted = true, xorp = true, ntk = true, dhcp = true, keepalived = true, babel = true,
}

local function protocol_word(value)
  if value == nil then
    return nil
  end
  local name = objects.name("protocol", value)
  return known_protocols[name] and name or objects.number("protocol", value)
end

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
    if contains(args.flags or {}, "onlink") then
      out[#out + 1] = "onlink"
    end
    if args.metrics then
      metric_words(out, args.metrics)
    end
    for _, hop in ipairs(args.nexthops or {}) do
      out[#out + 1] = "nexthop"
      hop_words(out, hop)
      if contains(hop.flags or {}, "onlink") then
        out[#out + 1] = "onlink"
      end
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

local function describe_route(value)
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

-- Rules, neighbours, fdb, namespace ids -------------------------------------------------------------------------------

local function rule_line(verb)
  return function(args)
    local out = words()
    if objects.family_of(args) == "inet6" then
      out[#out + 1] = "-6"
    end
    out[#out + 1] = "rule"
    out[#out + 1] = verb
    if contains(args.flags or {}, "not") then
      out[#out + 1] = "not"
    end
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

local function describe_rule(value)
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

local neigh_flags = { "router", "use", "managed", "extern_learn" }

local function neigh_line(verb)
  return function(args)
    local out = words("neigh", verb)
    if contains(args.flags or {}, "proxy") then
      out[#out + 1] = "proxy"
    end
    out[#out + 1] = tostring(args.dst)
    out:add("lladdr", args.lladdr)
    out:add("dev", args.dev or args.ifindex)
    local state = args.state and list_of(args.state)[1]
    out:add("nud", out[3] ~= "proxy" and state or nil)
    for _, flag in ipairs(neigh_flags) do
      if contains(args.flags or {}, flag) then
        out[#out + 1] = flag
      end
    end
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
    for _, flag in ipairs { "self", "master", "router", "extern_learn", "sticky", "use" } do
      if contains(flags, flag) then
        out[#out + 1] = flag
      end
    end
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

local nsid = {}

function nsid.add(args)
  local out = words("netns", "set", quote(netns_word(args.netns or args.pid or args.fd) or "?"))
  out[#out + 1] = tostring(args.nsid or "auto")
  return { out:text() }
end

local sysctl = {}

function sysctl.set(args)
  return { "-w " .. quote(("%s=%s"):format(args.key, args.value)) }
end

-- All together --------------------------------------------------------------------------------------------------------

local lines_of = {
  link = link, addr = addr, route = route, rule = rule, neigh = neigh, fdb = fdb, nsid = nsid, sysctl = sysctl,
}
local describers = { link = describe_link, addr = describe_addr, route = describe_route, rule = describe_rule }
local tools = { fdb = "bridge", sysctl = "sysctl" }

local function tool_of(object)
  return object:find("^nft_") and "nft" or tools[object] or "ip"
end

-- lines(verb, object, args) returns a list of lines, each the arguments of one call of the object's tool, and the name
-- of the tool ("ip", "bridge", "nft", "sysctl").
function print_lines.lines(verb, object, args)
  local tool = tool_of(object)
  if tool == "nft" then
    return require("mncni.print_nft").lines(verb, object, args), tool
  end
  local make = lines_of[object] and lines_of[object][verb]
  if not make then
    return { ("%s %s"):format(object, verb) }, tool
  end
  return make(args), tool
end

-- commands(verb, object, args, netns) returns the same as whole command lines for a shell, inside the namespace of
-- that name when one is given.
function print_lines.commands(verb, object, args, netns)
  local lines, tool = print_lines.lines(verb, object, args)
  local front = tool
  if netns then
    front = (tool == "ip" or tool == "bridge") and ("%s -n %s"):format(tool, quote(netns))
      or ("ip netns exec %s %s"):format(quote(netns), tool)
  end
  for i, line in ipairs(lines) do
    lines[i] = front .. " " .. (tool == "nft" and quote(line) or line)
  end
  return lines
end

-- describe(object, value) is what tostring shows of a value that was read: the line, or lines, that would make it.
-- Values that are the kernel's defaults are left out. An fdb entry's line begins with its tool, `bridge`.
function print_lines.describe(object, value)
  local tool = tool_of(object)
  local lines
  if tool == "nft" then
    lines = require("mncni.print_nft").describe(object, value)
  else
    lines = describers[object] and describers[object](value) or print_lines.lines("add", object, value)
  end
  local text = table.concat(lines, "\n")
  return tool == "bridge" and "bridge " .. text or text
end

-- event(event) is one line about a monitor's event: [nsid 0] and the line that would make the object, or delete it.
function print_lines.event(event)
  local front = event.nsid and event.nsid >= 0 and ("[nsid %d] "):format(event.nsid) or ""
  if event.event == "overrun" then
    return front .. "overrun: events were lost"
  end
  local value = event.value or {}
  local text = print_lines.describe(event.object, value):gsub("\n", "; ")
  if event.event == "del" then
    if event.object == "link" then
      text = link.del(value)[1]
    else
      text = text:gsub("^(%S* ?%S+) add", "%1 del", 1):gsub("^add ", "delete ", 1)
    end
  end
  return front .. text
end

return print_lines
