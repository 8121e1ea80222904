-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local print_lines = require "mncni.print"

local function line(verb, object, args)
  return table.concat(print_lines.lines(verb, object, args), "\n")
end

describe("a printed request", function()
  it("is the arguments of ip link", function()
    assert.equal("link add dev cbr0 type bridge stp_state 0",
      line("add", "link", { ifname = "cbr0", kind = "bridge", bridge = { stp_state = false } }))
    assert.equal("link add dev vweb mtu 1450 master cbr0 up type veth peer name eth0 mtu 1450 netns web",
      line("add", "link", { ifname = "vweb", kind = "veth", mtu = 1450, master = "cbr0", up = true,
        peer = { ifname = "eth0", mtu = 1450, netns = "/run/netns/web" } }))
    assert.equal("link add link eth0 dev eth0.5 type vlan id 5",
      line("add", "link", { ifname = "eth0.5", kind = "vlan", link = "eth0", vlan = { id = 5 } }))
    assert.equal("link set dev eth0 nomaster down",
      line("set", "link", { ifname = "eth0", master = false, up = false }))
    assert.equal("link del dev eth0", line("del", "link", { ifname = "eth0" }))
    assert.equal("link del group 78", line("del", "link", { group = 78 }))
  end)

  it("says on further lines what one line cannot", function()
    assert.equal("link add dev v0 type veth\nlink set dev v0 alias 'pod web'\n"
      .. "link set dev v0 type bridge_slave hairpin on learning off",
      line("add", "link", { ifname = "v0", kind = "veth", ifalias = "pod web",
        bridge_slave = { hairpin = true, learning = false } }))
  end)

  it("quotes what a shell would take apart", function()
    assert.equal([[link set dev v0 alias "it's \$5"]], line("set", "link", { ifname = "v0", ifalias = "it's $5" }))
  end)

  it("is the arguments of ip address", function()
    assert.equal("address add 10.0.0.2/24 dev eth0 nodad",
      line("add", "addr", { dev = "eth0", address = core.cidr "10.0.0.2/24", flags = { "nodad" } }))
    assert.equal("address replace 10.0.0.2/24 dev eth0 broadcast 10.0.0.255 valid_lft 60 preferred_lft 30",
      line("replace", "addr", { dev = "eth0", address = "10.0.0.2/24", broadcast = "10.0.0.255", valid_life_time = 60,
        preferred_life_time = 30 }))
  end)

  it("is the arguments of ip route", function()
    assert.equal("route add default via 10.0.0.1 dev eth0",
      line("add", "route", { dst = "default", gateway = "10.0.0.1", dev = "eth0" }))
    assert.equal("-6 route add default dev eth0",
      line("add", "route", { dst = "default", family = "inet6", dev = "eth0" }))
    assert.equal("route add blackhole 10.244.1.0/24 proto 78 metric 1024 table 100",
      line("add", "route", { dst = "10.244.1.0/24", type = "blackhole", protocol = "mncni", metric = 1024, table =
        100 }))
    assert.equal("route add 10.1.0.0/16 dev eth0 mtu lock 1400 quickack 1",
      line("add", "route", { dst = "10.1.0.0/16", dev = "eth0", metrics = { mtu = 1400, quickack = true,
        lock = { "mtu" } } }))
    assert.equal("route add default via inet6 fe80::1 dev eth0 onlink",
      line("add", "route", { dst = "default", via = { family = "inet6", host = "fe80::1" }, dev = "eth0",
        flags = { "onlink" } }))
    assert.equal("route add default nexthop via 10.0.0.1 dev eth0 weight 2 nexthop via 10.0.0.2 dev eth0",
      line("add", "route", { dst = "default", nexthops = { { gateway = "10.0.0.1", dev = "eth0", weight = 2 },
        { gateway = "10.0.0.2", dev = "eth0" } } }))
  end)

  it("is the arguments of ip rule, ip neigh and ip netns", function()
    assert.equal("rule add from 10.0.0.0/8 to 10.1.0.0/16 fwmark 0x1/0xff priority 100 lookup 100",
      line("add", "rule", { priority = 100, src = "10.0.0.0/8", dst = "10.1.0.0/16", fwmark = 1, fwmask = 255,
        table = 100 }))
    assert.equal("-6 rule add not from all priority 5 lookup main suppress_prefixlength 0",
      line("add", "rule", { family = "inet6", flags = { "not" }, priority = 5, table = "main",
        suppress_prefixlength = 0 }))
    assert.equal("rule del from 10.0.0.0/8 unreachable",
      line("del", "rule", { src = "10.0.0.0/8", action = "unreachable" }))
    assert.equal("neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
      line("add", "neigh", { dst = "10.0.0.9", dev = "eth0", lladdr = "02:00:00:00:00:09", state = { "permanent" } }))
    assert.equal("neigh add proxy 10.0.0.9 dev eth0",
      line("add", "neigh", { dst = "10.0.0.9", dev = "eth0", flags = { "proxy" } }))
    assert.equal("netns set web 5", line("add", "nsid", { netns = "/run/netns/web", nsid = 5 }))
  end)

  it("names its tool where that is not ip", function()
    local fdb = { mac = "02:00:00:00:00:09", dev = "vx0", dst = "192.0.2.7", flags = { "self" }, state = {
      "permanent" } }
    assert.equal("bridge fdb add 02:00:00:00:00:09 dev vx0 dst 192.0.2.7 self permanent",
      print_lines.describe("fdb", fdb))
    assert.same({ "bridge -n pod fdb append 02:00:00:00:00:09 dev vx0 dst 192.0.2.7 self permanent" },
      print_lines.commands("append", "fdb", fdb, "pod"))
    assert.same({ "ip netns exec pod sysctl -w net/ipv4/ip_forward=1" },
      print_lines.commands("set", "sysctl", { key = "net/ipv4/ip_forward", value = "1" }, "pod"))
  end)
end)

describe("a printed request of nftables", function()
  it("is the arguments of nft", function()
    local elem = { "10.0.0.0/8", { val = "10.9.0.1", timeout = 90500, comment = "x" } }
    assert.equal('add element inet mncni nonmasq4 { 10.0.0.0/8, 10.9.0.1 timeout 1m30s500ms comment "x" }',
      line("add", "nft_element", { family = "inet", table = "mncni", name = "nonmasq4", elem = elem }))
    assert.equal("delete element inet mncni ports { 80 }",
      line("del", "nft_element", { family = "inet", table = "mncni", name = "ports",
        elem = { { key = { be16 = 80 } } } }))
    assert.equal("add chain inet mncni post { type nat hook postrouting priority 100 ; policy accept ; }",
      line("add", "nft_chain", { family = "inet", table = "mncni", name = "post", type = "nat", hook = "postrouting",
        prio = 100, policy = "accept" }))
    assert.equal("flush chain inet mncni post",
      line("flush", "nft_rule", { family = "inet", table = "mncni", chain = "post" }))
    assert.equal("delete rule inet mncni post handle 7",
      line("del", "nft_rule", { family = "inet", table = "mncni", chain = "post", handle = 7 }))
    assert.equal("delete table ip mncni", line("del", "nft_table", { family = "ip", name = "mncni" }))
    assert.same({ "ip netns exec pod nft 'add table inet mncni'" },
      print_lines.commands("replace", "nft_table", { family = "inet", name = "mncni" }, "pod"))
  end)

  it("reads keys of several parts, and registers that are used twice", function()
    assert.equal("add rule ip t c ip saddr . meta l4proto @pairs ip saddr @a ip saddr != @b",
      line("add", "nft_rule", { family = "ip", table = "t", chain = "c", expr = {
        { kind = "payload", dreg = 8, base = "network", offset = 12, len = 4 },
        { kind = "meta", key = "l4proto", dreg = 9 },
        { kind = "lookup", sreg = 8, set = "pairs" },
        { kind = "payload", dreg = 1, base = "network", offset = 12, len = 4 },
        { kind = "lookup", sreg = 1, set = "a" },
        { kind = "lookup", sreg = 1, set = "b", invert = true },
      } }))
  end)

  it("says what it has no words for", function()
    assert.matches("^add rule ip t c accept # .*: match$", line("add", "nft_rule", {
      family = "ip", table = "t", chain = "c", expr = {
        { kind = "match", name = "conntrack", rev = 3, info = "\0" },
        { kind = "immediate", dreg = 0, data = { verdict = "accept" } },
      },
    }))
    assert.matches("^add rule ip t c masquerade # .*: xfrm$",
      line("add", "nft_rule", { family = "ip", table = "t", chain = "c", expr = { { kind = "xfrm" },
        { kind = "masq" } } }))
  end)
end)

describe("a printed object", function()
  it("leaves out what the kernel would choose anyway", function()
    assert.equal("link add dev cbr0 address 02:00:00:00:00:01 up type bridge forward_delay 200",
      print_lines.describe("link", { ifname = "cbr0", ifindex = 7, kind = "bridge", mtu = 1500, txqlen = 1000, up =
        true,
        group = 0, address = "02:00:00:00:00:01", operstate = "up", flags = { "up" },
        bridge = { stp_state = 0, forward_delay = 200, max_age = 2000, vlan_filtering = false, root_id = "8000.x" } }))
    assert.equal("route add 10.1.0.0/24 dev eth0",
      print_lines.describe("route", { family = "inet", dst = "10.1.0.0/24", dev = "eth0", ifindex = 2, scope = "link",
        table = "main", protocol = "boot", type = "unicast", flags = {}, metric = 0 }))
    assert.equal("route add 2001:db8::/64 via fe80::1 dev eth0",
      print_lines.describe("route", { family = "inet6", dst = "2001:db8::/64", gateway = "fe80::1", dev = "eth0",
        scope = "global", table = "main", protocol = "boot", type = "unicast", metric = 1024 }))
    assert.equal("address add 10.0.0.2/24 dev eth0",
      print_lines.describe("addr", { family = "inet", address = "10.0.0.2/24", dev = "eth0", label = "eth0",
        scope = "global", flags = { "permanent" }, valid_life_time = 4294967295 }))
  end)

  it("is how to set it when it is hardware, which nothing makes", function()
    assert.equal("link set dev eth0 mtu 1450 up",
      print_lines.describe("link", { ifname = "eth0", mtu = 1450, up = true, address = "52:54:00:12:34:56" }))
  end)

  it("tells a macvlan, an ipvlan, a VLAN and a VRF with what they are made of", function()
    for want, link in pairs {
      ["link add link eth0 dev m0 type macvlan mode bridge"] =
        { ifname = "m0", kind = "macvlan", link = "eth0", macvlan = { mode = "bridge", bcqueuelen = 1000 } },
      ["link add link eth0 dev m0 type macvtap mode vepa bcqueuelen 50"] =
        { ifname = "m0", kind = "macvtap", link = "eth0", macvtap = { mode = "vepa", bcqueuelen = 50 } },
      ["link add link eth0 dev i0 type ipvlan mode l3"] =
        { ifname = "i0", kind = "ipvlan", link = "eth0", ipvlan = { mode = "l3" } },
      ["link add link eth0 dev v5 type vlan id 5"] =
        { ifname = "v5", kind = "vlan", link = "eth0", vlan = { id = 5, protocol = "802.1Q" } },
      ["link add dev red type vrf table 7"] = { ifname = "red", kind = "vrf", vrf = { table = 7 } },
    } do
      link.mtu = 1500
      assert.equal(want, print_lines.describe("link", link))
    end
  end)

  it("names the peer of a veth only when it is in the same namespace", function()
    assert.equal("link add dev v0 type veth peer name v1",
      print_lines.describe("link", { ifname = "v0", kind = "veth", mtu = 1500, link = "v1" }))
    assert.equal("link add dev v0 type veth",
      print_lines.describe("link", { ifname = "v0", kind = "veth", mtu = 1500, link = 2, link_netnsid = 0 }))
  end)
end)

describe("a printed event", function()
  local value = { family = "inet", dst = "10.1.0.0/24", dev = "eth0", protocol = "boot", scope = "link" }

  it("is one line: the object's, with del for what is gone", function()
    assert.equal("route add 10.1.0.0/24 dev eth0",
      print_lines.event { event = "new", object = "route", value = value })
    assert.equal("route del 10.1.0.0/24 dev eth0",
      print_lines.event { event = "del", object = "route", value = value })
    assert.equal("link del dev v0",
      print_lines.event { event = "del", object = "link", value = { ifname = "v0", kind = "veth", mtu = 1500 } })
  end)

  it("names the namespace, and what was lost", function()
    assert.equal("[nsid 3] route add 10.1.0.0/24 dev eth0",
      print_lines.event { event = "new", object = "route", value = value, nsid = 3 })
    assert.matches("events were lost", print_lines.event { event = "overrun" })
  end)
end)
