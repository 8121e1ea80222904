-- SPDX-License-Identifier: Apache-2.0
-- CHECK: passes right after ADD and after what later plugins of a chain do; fails after any single change of what ADD
-- made or relies on, and names it.

local nodes = require "spec.support.node"

local POD = { pod = "web" }

-- What is done to a fresh attachment, and what CHECK says then. %PORT is the host's end of the pod's link.
local on_host = {
  { "the host's end down", "ip link set %PORT down", '"%PORT": it is down' },
  { "the host's end renamed", "ip link set %PORT down; ip link set %PORT name other0; ip link set other0 up",
    '"%PORT": it is gone; its MAC address is that of "other0"' },
  { "the link deleted", "ip link del %PORT", '"%PORT": it is gone' },
  { "the host's end off the bridge", "ip link set %PORT nomaster", "its master is none, and should be cbr0" },
  { "another bridge", "ip link add br9 type bridge; ip link set %PORT master br9",
    "its master is br9, and should be cbr0" },
  { "the host's end with another MAC address", "ip link set %PORT address 02:00:00:00:00:99",
    '"%PORT": its MAC address is 02:00:00:00:00:99' },
  { "the host's end with another MTU", "ip link set %PORT mtu 1300", '"%PORT": its MTU is 1300, and should be 1500' },
  { "another alias", "ip link set %PORT alias mine", 'its alias is mine, and should be mncni testnet web eth0' },
  { "another group", "ip link set %PORT group 5", "its group is 5, and should be 78" },
  { "no hairpin", "bridge link set dev %PORT hairpin off", "hairpin is false on its bridge port, and should be true" },
  { "an isolated port", "bridge link set dev %PORT isolated on", "isolated is true on its bridge port" },
  { "router advertisements on the host's end", "echo 1 >/proc/sys/net/ipv6/conf/%PORT/accept_ra",
    "sysctl net/ipv6/conf/%PORT/accept_ra: it is 1, and should be 0" },
  { "the bridge gone", "ip link del cbr0", "cbr0" },
  { "the bridge down", "ip link set cbr0 down", '"cbr0": it is down' },
  { "the bridge without its gateway address", "ip addr del 10.244.1.1/24 dev cbr0",
    "address 10.244.1.1/24: it is no longer on cbr0" },
  { "forwarding off", "echo 0 >/proc/sys/net/ipv4/ip_forward", "sysctl net/ipv4/ip_forward: it is 0" },
  { "all of nftables flushed", "nft flush ruleset", 'nft chain "inet mncni postrouting": it is gone' },
  { "the masquerading chain flushed", "nft flush chain inet mncni postrouting",
    'rule 1 of "mncni: masquerade 3" is gone' },
  { "one masquerading rule gone",
    "nft delete rule inet mncni postrouting handle $(nft -a list table inet mncni | sed -n 's/.*@masq6.*handle //p')",
    'rule 2 of "mncni: masquerade 3" is gone' },
  { "a masquerading rule that is another", [[
      nft replace rule inet mncni postrouting handle $(nft -a list table inet mncni | sed -n 's/.*@masq4.*handle //p') \
        ip saddr @masq4 accept comment '"mncni: masquerade 3"']], 'rule 1 of "mncni: masquerade 3" is gone' },
  { "the range not masqueraded any more", "nft delete element inet mncni masq4 '{ 10.244.1.0/24 }'",
    'nft set "inet mncni masq4": 10.244.1.0/24 is no longer in it' },
  { "the cluster's range masqueraded", "nft delete element inet mncni nonmasq4 '{ 10.0.0.0/8 }'",
    'nft set "inet mncni nonmasq4": 10.0.0.0/8 is no longer in it' },
  { "only a part of the range masqueraded",
    "nft delete element inet mncni masq4 '{ 10.244.1.0/24 }'; nft add element inet mncni masq4 '{ 10.244.1.0/28 }'",
    "10.244.1.0/24 is no longer in it" },
}

local in_pod = {
  { "the pod's link down", "ip link set eth0 down", '"eth0": it is down' },
  { "the pod's link renamed", "ip link set eth0 down; ip link set eth0 name eth7; ip link set eth7 up",
    '"eth0": it is gone; its MAC address is that of "eth7"' },
  { "the address gone", "ip addr del %ADDRESS dev eth0; ip route add 10.244.1.0/24 dev eth0;"
    .. "ip route add default via 10.244.1.1", "address %ADDRESS: it is no longer on eth0" },
  { "the default route gone", "ip route del default", "route 0.0.0.0/0: it is gone (via 10.244.1.1)" },
  { "the default route elsewhere", "ip route replace default via 10.244.1.9", "route 0.0.0.0/0: it is gone" },
  { "another MTU", "ip link set eth0 mtu 1300", '"eth0": its MTU is 1300' },
  { "another MAC address", "ip link set eth0 address 02:00:00:00:00:99", '"eth0": its MAC address is 02:' },
  { "router advertisements", "echo 1 >/proc/sys/net/ipv6/conf/eth0/accept_ra",
    "sysctl net/ipv6/conf/eth0/accept_ra: it is 1" },
  { "another ARP setting", "echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_notify", "sysctl net/ipv4/conf/eth0/arp_notify" },
}

local dual_stack = {
  host = {
    { "the bridge without its IPv6 address", "ip addr del fd00:1::1/64 dev cbr0",
      "address fd00:1::1/64: it is no longer on cbr0" },
    { "IPv6 forwarding off", "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding",
      "sysctl net/ipv6/conf/all/forwarding: it is 0" },
    { "the IPv6 range not masqueraded", "nft delete element inet mncni masq6 '{ fd00:1::/64 }'",
      "fd00:1::/64 is no longer in it" },
  },
  pod = {
    { "the IPv6 address gone", "ip addr del fd00:1::2/64 dev eth0", "address fd00:1::2/64: it is no longer on eth0" },
    { "the IPv6 default route gone", "ip -6 route del default", "route ::/0: it is gone (via fd00:1::1)" },
    { "IPv6 switched off", "echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6",
      "sysctl net/ipv6/conf/eth0/disable_ipv6: it is 1" },
  },
}

for name, subnets in pairs {
  ["IPv4"] = { "10.244.1.0/24" }, ["dual stack"] = { "10.244.1.0/24", "fd00:1::/64" },
} do
  describe("CHECK of " .. name, function()
    local node, result, facts

    before_each(function()
      node = nodes.new { pods = { "web", "db" }, subnets = subnets }
      result, facts = node:add(POD)
    end)

    after_each(function()
      node:cleanup()
    end)

    local function fails_with(where, mutations)
      for _, mutation in ipairs(mutations) do
        it("fails with " .. mutation[1], function()
          local function fill(text)
            return (text:gsub("%%PORT", facts.port):gsub("%%ADDRESS", facts.address .. "/24"))
          end
          assert.is_nil(node:check(POD, result))
          local space = where == "pod" and node.pods.web or node.space
          space:must(fill(mutation[2]))
          local message, document = node:check(POD, result)
          assert.are.equal(106, document and document.code, message)
          assert.truthy(message:find(fill(mutation[3]), 1, true), message)
        end)
      end
    end

    fails_with("host", on_host)
    fails_with("pod", in_pod)
    if #subnets == 2 then
      fails_with("host", dual_stack.host)
      fails_with("pod", dual_stack.pod)
    end

    it("notices the same for a pod that found everything there already", function()
      local second = { pod = "db" }
      local other = node:add(second)
      assert.is_nil(node:check(second, other))
      for _, mutation in ipairs {
        { "ip addr del 10.244.1.1/24 dev cbr0", "ip addr add 10.244.1.1/24 dev cbr0", "address 10.244.1.1/24" },
        { "ip link set cbr0 down", "ip link set cbr0 up; ip addr replace fd00:1::1/64 dev cbr0 nodad",
          '"cbr0": it is down' },
        { "echo 0 >/proc/sys/net/ipv4/ip_forward", "echo 1 >/proc/sys/net/ipv4/ip_forward", "ip_forward" },
        { "nft delete element inet mncni masq4 '{ 10.244.1.0/24 }'",
          "nft add element inet mncni masq4 '{ 10.244.1.0/24 }'", "masq4" },
        { "nft flush ruleset", "true", "inet mncni" },
      } do
        node.space:must(mutation[1])
        local message = node:check(second, other)
        assert.truthy(message and message:find(mutation[3], 1, true), message)
        node.space:must(mutation[2])
      end
    end)

    it("passes after later plugins added something", function()
      node.pods.web:must("ip route add 10.99.0.0/16 via 10.244.1.1; ip addr add 10.244.1.77/32 dev eth0;"
        .. "ip link add dm0 type veth peer name dm1; ip rule add pref 100 table 5")
      node.space:must("nft add table inet other; nft add element inet mncni nonmasq4 '{ 192.0.2.0/24 }';"
        .. "nft add rule inet mncni postrouting counter; ip addr add 192.0.2.1/24 dev cbr0")
      assert.is_nil(node:check(POD, result))
    end)

    it("believes prevResult where a later plugin changed MAC, MTU and address", function()
      node.pods.web:must("ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:77 mtu 1280 up;"
        .. "ip addr flush dev eth0 scope global; ip addr add 10.244.1.200/24 dev eth0;"
        .. "ip route add default via 10.244.1.1")
      if #subnets == 2 then
        node.pods.web:must "ip -6 addr add fd00:1::200/64 dev eth0 nodad; ip -6 route replace default via fd00:1::1"
        result.ips[2].address = "fd00:1::200/64"
      end
      assert.truthy(node:check(POD, result))
      result.interfaces[3].mac, result.interfaces[3].mtu = "02:00:00:00:00:77", 1280
      result.ips[1].address = "10.244.1.200/24"
      -- Whose address it is now the IPAM that gave another one out cannot know.
      assert.is_nil(node:check({ pod = "web", conf = { ipam = { dataDir = "/nowhere" } } }, result))
    end)
  end)
end

describe("CHECK of what a policy of one's own made", function()
  local node

  before_each(function()
    node = nodes.new { pods = { "web" } }
    node:policy("mynet", [[
      local mncni = require "mncni"
      local policy = { options = { ipMasq = { type = "boolean" } } }
      function policy.add(pod, conf)
        local lease = pod:lease(conf.ipam)
        local bridge = mncni.bridge.ensure { ifname = "cbr0", address = lease.gateways }
        local eth = pod:veth { master = bridge, isolated = true }
        eth:address(lease)
        eth:route { dst = "10.9.0.0/16", gateway = lease.addresses[1].gateway, metrics = { mtu = 1400 } }
        pod.inside.rule.add { priority = 100, src = "10.9.0.0/16", table = 7 }
        pod.inside.neigh.add { dev = "eth0", dst = "10.244.1.9", lladdr = "02:00:00:00:00:09", state = { "permanent" } }
        pod.inside.sysctl.set("net/ipv4/ip_unprivileged_port_start", 80)
        return pod:result { bridge, eth, lease }
      end
      return policy
    ]])
  end)

  after_each(function()
    node:cleanup()
  end)

  for _, mutation in ipairs {
    { "a port that is not isolated", "host", "bridge link set dev %PORT isolated off", "isolated is false" },
    { "a route with another MTU", "pod", "ip route change 10.9.0.0/16 via 10.244.1.1 mtu 1300",
      "route 10.9.0.0/16: its metrics" },
    { "the rule gone", "pod", "ip rule del pref 100", 'rule "100"' },
    { "the neighbour gone", "pod", "ip neigh del 10.244.1.9 dev eth0", 'neigh "10.244.1.9"' },
    { "the setting changed", "pod", "echo 1000 >/proc/sys/net/ipv4/ip_unprivileged_port_start",
      "ip_unprivileged_port_start: it is 1000, and should be 80" },
  } do
    it("fails with " .. mutation[1], function()
      local args = { pod = "web", policy = "mynet" }
      local result, facts = node:add(args)
      assert.is_nil(node:check(args, result))
      local space = mutation[2] == "pod" and node.pods.web or node.space
      space:must((mutation[3]:gsub("%%PORT", facts.port)))
      local message = node:check(args, result)
      assert.truthy(message and message:find(mutation[4], 1, true), message)
    end)
  end
end)
