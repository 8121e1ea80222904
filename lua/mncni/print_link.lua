-- SPDX-License-Identifier: Apache-2.0
-- Links as the lines of `ip link` that would make them.

local objects = require "mncni.objects"
local print_words = require "mncni.print_words"

local quote, words, netns_word = print_words.quote, print_words.new, print_words.netns

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
  macvlan = { { "mode" }, { "bcqueuelen", 1000 } },
  macvtap = { { "mode" }, { "bcqueuelen", 1000 } },
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

-- What a creation ignores, refuses or `ip link add` has no word for.
local function afterwards(lines, args)
  local out = words("link", "set", "dev", quote(args.ifname))
  if args.addrgenmode then
    out:add("addrgenmode", args.addrgenmode)
    out[#out + 1] = args.up and "up" or nil -- after it: "up" makes an address
  end
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
  if args.addrgenmode then
    local others = {}
    for key, value in pairs(args) do
      others[key] = value
    end
    others.addrgenmode, others.up = nil, nil
    common_link_words(out, others)
  else
    common_link_words(out, args)
  end
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

-- What would make a link that was read.
function link.describe(value)
  local told = told_link(value)
  if value.kind then
    return link.add(told)
  end
  told.txqlen, told.address = nil, nil
  return link.set(told)
end

return link
