-- SPDX-License-Identifier: Apache-2.0
-- What tostring prints, given to the real ip, bridge or nft, makes the same object again.
local mncni = require "mncni"
local print_lines = require "mncni.print"

-- Runs the lines of a printed object inside a namespace, each with its tool in front.
local function run_lines(ns, tool, text)
  for line in text:gmatch "[^\n]+" do
    local command = line:find "^bridge " and line or tool .. " " .. line
    if tool == "nft" then
      command = "nft '" .. line:gsub("'", "'\\''") .. "'"
    end
    local output, status = ns:run(function()
      local pipe <close> = io.popen(("{ %s\n} 2>&1; echo $?"):format(command))
      return pipe:read "a":match "^(.*)%f[%d](%d+)\n$"
    end)
    assert(status == "0", command .. ": " .. output)
  end
end

-- What differs between two objects of one name because they are two, or because time passes.
local volatile = {
  ifindex = true, operstate = true, carrier = true, flags = true, hello_timer = true, tcn_timer = true,
  topology_change_timer = true, gc_timer = true, bridge_id = true, root_id = true, linkmode = true, qdisc = true,
  proto_down = true, topology_change = true, topology_change_detected = true, designated_port = true, id = true,
  no = true, forward_delay_timer = true, hold_timer = true, message_age_timer = true, designated_cost = true,
  config_pending = true, topology_change_ack = true, state = true, handle = true, link_netnsid = true,
  cacheinfo = true, use = true, root_port = true,
  backend = true, count = true,
}

local function comparable(value)
  if type(value) ~= "table" then
    return value
  end
  local kept = {}
  for key, item in pairs(value) do
    if not volatile[key] then
      kept[key] = comparable(item)
    end
  end
  return kept
end

describe("a printed object", function()
  local ns

  before_each(function()
    ns = mncni.netns.create()
    ns.link.set { ifname = "lo", up = true }
    ns.link.add { ifname = "br0", kind = "bridge", up = true }
    ns.link.add { ifname = "p0", kind = "veth", up = true, peer = { ifname = "p1" } }
    ns.link.set { ifname = "p1", up = true }
    ns.addr.add { dev = "br0", address = "10.0.0.1/24" }
    ns.addr.add { dev = "br0", address = "fd00::1/64", flags = { "nodad" } }
  end)

  after_each(function()
    ns:close()
  end)

  -- Makes it by our API, prints it, deletes it, makes it from the printed line, compares.
  local function round_trip(object, args, find, del)
    find = find or args
    ns[object].add(args)
    local made = assert(ns[object].list(find)(), "made")
    local line = tostring(made)
    ns[object].del(del or find)
    assert.is_nil(ns[object].list(find)())
    run_lines(ns, "ip", line)
    local again = assert(ns[object].list(find)(), line)
    assert.same(comparable(made), comparable(again), line)
    return line
  end

  it("makes a bridge again, with what is not as usual", function()
    local line = round_trip("link", {
      ifname = "cbr0", kind = "bridge", up = true, mtu = 1450, address = "0a:58:0a:f4:01:01", group = 78, txqlen = 500,
      ifalias = "the node's bridge", promisc = true,
      bridge = { stp_state = true, forward_delay = 400, hello_time = 300, max_age = 1000, ageing_time = 12345,
        priority = 4096, mcast_snooping = false, nf_call_iptables = true, group_fwd_mask = 8 },
    }, { ifname = "cbr0" })
    assert.matches("stp_state 1", line)
    assert.equal("link add dev cbr1 address 02:00:00:00:00:01 type bridge",
      round_trip("link", { ifname = "cbr1", kind = "bridge", address = "02:00:00:00:00:01" }, { ifname = "cbr1" }))
  end)

  it("makes a veth and its place in a bridge again", function()
    local line = round_trip("link", {
      ifname = "v0", kind = "veth", mtu = 1400, master = "br0", up = true, peer = { ifname = "v1" },
      bridge_slave = { hairpin = true, learning = false, isolated = true, priority = 7, neigh_suppress = true },
    }, { ifname = "v0" })
    assert.matches("^link add dev v0 address %S+ mtu 1400 master br0 up type veth peer name v1\n", line)
  end)

  it("makes addresses again", function()
    assert.equal("address add 10.9.0.1/24 dev br0",
      round_trip("addr", { dev = "br0", address = "10.9.0.1/24" }))
    round_trip("addr", { dev = "br0", address = "10.8.0.2/24", broadcast = "10.8.0.255", label = "br0:x",
      scope = "link", metric = 77, flags = { "noprefixroute" } }, { dev = "br0", address = "10.8.0.2/24" })
    round_trip("addr", { dev = "br0", address = "fd09::1/64", flags = { "nodad", "noprefixroute" }, metric = 5 },
      { dev = "br0", address = "fd09::1/64" })
    round_trip("addr", { dev = "br0", address = "10.9.0.3/32", peer = "10.9.0.4/32" },
      { dev = "br0", address = "10.9.0.3/32", peer = "10.9.0.4/32" })
  end)

  it("makes routes again", function()
    assert.equal("route add default via 10.0.0.2 dev br0",
      round_trip("route", { dst = "default", gateway = "10.0.0.2" }, { dst = "default", family = "inet" }))
    for _, route in ipairs {
      { dst = "10.1.0.0/16", gateway = "10.0.0.2", protocol = "mncni", metric = 7, prefsrc = "10.0.0.1",
        metrics = { mtu = 1400, advmss = 1300, quickack = true, initcwnd = 20, lock = { "mtu" } } },
      { dst = "10.2.0.0/16", dev = "br0", table = 1000 },
      { dst = "10.3.0.0/16", dev = "br0", scope = "global", protocol = "static" },
      { dst = "10.4.0.0/16", gateway = "192.0.2.1", dev = "br0", flags = { "onlink" } },
      { dst = "10.5.0.5", dev = "p0", tos = 16 },
      { dst = "10.6.0.0/16", type = "blackhole", protocol = "mncni", metric = 1024 },
      { dst = "10.7.0.0/16", type = "unreachable" },
      { dst = "10.8.0.0/16", nexthops = { { gateway = "10.0.0.2", weight = 3 }, { gateway = "10.0.0.3" } } },
      { dst = "10.9.0.0/16", via = { family = "inet6", host = "fd00::2" }, dev = "br0" },
      { dst = "fd01::/64", gateway = "fd00::2", protocol = "mncni", metrics = { mtu = 1400 } },
      { dst = "fd02::/64", dev = "br0", metric = 7, table = 1000 },
      { dst = "fd03::/64", type = "unreachable", protocol = "mncni" },
      { dst = "fd04::/64", nexthops = { { gateway = "fd00::2" }, { gateway = "fd00::3", weight = 2 } } },
    } do
      round_trip("route", route, { dst = route.dst, table = route.table }, route)
    end
    assert.equal("-6 route add default dev br0 metric 9",
      round_trip("route", { dst = "default", family = "inet6", dev = "br0", metric = 9 },
        { dst = "default", family = "inet6" }))
  end)

  it("makes rules again", function()
    for _, rule in ipairs {
      { priority = 100, src = "10.0.0.0/8", dst = "10.1.0.0/16", table = 1000 },
      { priority = 101, fwmark = 0x10, fwmask = 0xff, iif = "br0", oif = "p0", table = "main", protocol = "mncni" },
      { priority = 102, family = "inet6", table = "main", suppress_prefixlength = 0 },
      { priority = 103, dst = "fd00::/8", ipproto = "tcp", dport = 80, table = 1000 },
      { priority = 104, src = "10.0.0.0/8", action = "unreachable" },
    } do
      round_trip("rule", rule, { priority = rule.priority, family = rule.family
        or tostring(rule.dst):find ":" and "inet6" or "inet" })
    end
  end)

  it("makes neighbours and fdb entries again", function()
    round_trip("neigh", { dev = "br0", dst = "10.0.0.9", lladdr = "02:00:00:00:00:09", state = { "permanent" } },
      { dev = "br0", dst = "10.0.0.9" })
    round_trip("neigh", { dev = "br0", dst = "fd00::9", lladdr = "02:00:00:00:00:09", state = { "noarp" } },
      { dev = "br0", dst = "fd00::9" })
    ns.link.set { ifname = "p0", master = "br0" }
    local entry = { dev = "p0", mac = "02:00:00:00:00:77", flags = { "master" } }
    local line = round_trip("fdb", entry, { dev = "p0", mac = entry.mac }, entry)
    assert.equal("bridge fdb add 02:00:00:00:00:77 dev p0 master permanent", line)
    line = round_trip("fdb", { dev = "p1", mac = entry.mac, state = { "permanent" } }, { dev = "p1", mac = entry.mac })
    assert.equal("bridge fdb add 02:00:00:00:00:77 dev p1 self permanent", line)
  end)

  -- The same for nftables: everything in the table is printed, deleted and made again from the printed lines.
  local function all_of(object, filter)
    local list = {}
    for value in ns.nft[object].list(filter) do
      list[#list + 1] = value
    end
    return list
  end

  local function whole_table(name)
    local of = { family = "inet", table = name }
    local all = { assert(ns.nft.table.get { family = "inet", name = name }) }
    local sets = all_of("set", of)
    for _, list in ipairs { all_of("chain", of), sets } do
      table.move(list, 1, #list, #all + 1, all)
    end
    for _, set in ipairs(sets) do
      local elements = all_of("element", { family = "inet", table = name, name = set.name })
      table.move(elements, 1, #elements, #all + 1, all)
    end
    local rules = all_of("rule", of)
    return table.move(rules, 1, #rules, #all + 1, all)
  end

  it("makes a whole nft table again", function()
    local of = function(args)
      args.family, args.table = "inet", "t"
      return args
    end
    local nfproto = { kind = "meta", key = "nfproto", dreg = 1 }
    local v4 = { kind = "cmp", sreg = 1, op = "eq", data = { u8 = 2 } }
    local l4proto = { kind = "meta", key = "l4proto", dreg = 1 }
    local tcp = { kind = "cmp", sreg = 1, op = "eq", data = "\6" }
    local function network(offset, len)
      return { kind = "payload", dreg = 1, base = "network", offset = offset, len = len }
    end
    ns.nft.batch {
      { "add", "table", { family = "inet", name = "t", comment = "ours" } },
      { "add", "chain", of { name = "post", type = "nat", hook = "postrouting", prio = 100, policy = "accept" } },
      { "add", "chain", of { name = "in", type = "filter", hook = "input", prio = -5, policy = "drop" } },
      { "add", "chain", of { name = "pre", type = "nat", hook = "prerouting", prio = -100 } },
      { "add", "chain", of { name = "plain", comment = "it's plain" } },
      { "add", "set", of { name = "masq4", type = "ipv4_addr", flags = { "interval" }, comment = "pods" } },
      { "add", "set", of { name = "nonmasq6", type = "ipv6_addr", flags = { "interval" } } },
      { "add", "set", of { name = "seen", type = "ipv4_addr", flags = { "timeout" }, timeout = 90000, size = 100 } },
      { "add", "set", of { name = "verdicts", type = "ipv4_addr", map = "verdict", flags = { "map" } } },
      { "add", "element", of { name = "masq4", elem = { "10.0.0.0/8", "192.168.1.1", "172.16.0.5-172.16.0.9" } } },
      { "add", "element", of { name = "nonmasq6", elem = { "fd00::/8",
        { val = "2001:db8::/32", comment = "docs" } } } },
      { "add", "element", of { name = "verdicts", elem = { { val = "10.0.0.1", data = { verdict = "jump",
        chain = "plain" } } } } },
      { "add", "rule", of { chain = "post", comment = "mncni: masquerade", expr = {
        nfproto, v4, network(12, 4), { kind = "lookup", sreg = 1, set = "masq4" },
        network(16, 4), { kind = "lookup", sreg = 1, set = "masq4", invert = true },
        { kind = "fib", dreg = 1, result = "type", flags = { "daddr" } },
        { kind = "cmp", sreg = 1, op = "neq", data = { u32 = 2 } },
        { kind = "masq", flags = { "fully-random" } },
      } } },
      { "add", "rule", of { chain = "post", expr = {
        nfproto, { kind = "cmp", sreg = 1, op = "eq", data = { u8 = 10 } }, network(24, 16),
        { kind = "lookup", sreg = 1, set = "nonmasq6", invert = true }, { kind = "masq" },
      } } },
      { "add", "rule", of { chain = "in", expr = {
        { kind = "ct", key = "state", dreg = 1 },
        { kind = "bitwise", sreg = 1, dreg = 1, len = 4, mask = { u32 = 6 }, xor = { u32 = 0 } },
        { kind = "cmp", sreg = 1, op = "neq", data = { u32 = 0 } },
        { kind = "counter" }, { kind = "immediate", dreg = 0, data = { verdict = "accept" } },
      } } },
      { "add", "rule", of { chain = "in", expr = {
        { kind = "meta", key = "iifname", dreg = 1 }, { kind = "cmp", sreg = 1, op = "eq", data = { ifname = "br0" } },
        nfproto, v4, network(12, 1), { kind = "cmp", sreg = 1, op = "eq", data = "\10" },
        { kind = "immediate", dreg = 0, data = { verdict = "jump", chain = "plain" } },
      } } },
      { "add", "rule", of { chain = "in", expr = {
        l4proto, tcp, { kind = "payload", dreg = 1, base = "transport", offset = 2, len = 2 },
        { kind = "cmp", sreg = 1, op = "neq", data = { be16 = 80 } }, { kind = "reject", type = "tcp reset" },
      } } },
      { "add", "rule", of { chain = "in", expr = {
        nfproto, v4, network(12, 4),
        { kind = "bitwise", sreg = 1, dreg = 1, len = 4, mask = "\255\240\0\0", xor = "\0\0\0\0" },
        { kind = "cmp", sreg = 1, op = "eq", data = "\172\16\0\0" },
        { kind = "immediate", dreg = 0, data = { verdict = "return" } },
      } } },
      { "add", "rule", of { chain = "in", expr = {
        nfproto, v4, network(12, 4), { kind = "lookup", sreg = 1, dreg = 0, set = "verdicts" },
      } } },
      { "add", "rule", of { chain = "pre", expr = {
        nfproto, v4, l4proto, tcp, { kind = "payload", dreg = 1, base = "transport", offset = 2, len = 2 },
        { kind = "cmp", sreg = 1, op = "eq", data = { be16 = 8080 } },
        { kind = "immediate", dreg = 1, data = "\10\0\0\7" }, { kind = "immediate", dreg = 2, data = { be16 = 80 } },
        { kind = "nat", type = "dnat", family = "ip", reg_addr_min = 1, reg_proto_min = 2 },
      } } },
    }
    local made, lines = whole_table "t", {}
    for i, value in ipairs(made) do
      lines[i] = tostring(value)
    end
    assert.equal('add rule inet t post meta nfproto ipv4 ip saddr @masq4 ip daddr != @masq4 fib daddr type != local '
      .. 'masquerade fully-random comment "mncni: masquerade"', lines[#lines - 7])
    assert.equal("add element inet t masq4 { 10.0.0.0/8 }", tostring(ns.nft.element.get(of { name = "masq4",
      elem = { "10.1.2.3" } })))
    ns.nft.table.del { family = "inet", name = "t" }
    for _, line in ipairs(lines) do
      run_lines(ns, "nft", line)
    end
    local again = whole_table "t"
    for i = 1, #made do
      assert.same(comparable(made[i]), comparable(again[i]), lines[i])
    end
    assert.equal(#made, #again)
  end)

  it("makes the rules of host ports again", function()
    ns.nft.batch(require("mncni.ruleset").steps(ns, require("mncni.hostport_rules").want)[1].args)
    local made, lines = whole_table "mncni", {}
    for i, value in ipairs(made) do
      lines[i] = tostring(value)
    end
    ns.nft.table.del { family = "inet", name = "mncni" }
    for _, line in ipairs(lines) do
      run_lines(ns, "nft", line)
    end
    local again = whole_table "mncni"
    for i = 1, #made do
      made[i].position, again[i].position = nil, nil -- which begins with another number each time
      assert.same(comparable(made[i]), comparable(again[i]), lines[i])
    end
    assert.equal(#made, #again)
  end)

  it("sets hardware as it is", function()
    local line = tostring(ns.link.get { ifname = "lo" })
    assert.matches("^link set dev lo mtu 65536 up$", line)
    run_lines(ns, "ip", line)
  end)

  it("deletes what a printed request deletes", function()
    ns.link.add { ifname = "gone0", kind = "bridge" }
    run_lines(ns, "ip", table.concat(print_lines.lines("del", "link", { ifname = "gone0" })))
    assert.is_nil(ns.link.get { ifname = "gone0" })
  end)
end)
