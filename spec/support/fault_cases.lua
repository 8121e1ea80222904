-- SPDX-License-Identifier: Apache-2.0
-- The configurations that faults are tried on: cases of spec/support/faults.lua.

local core = require "mncni.core"
local faults = require "spec.support.faults"

local cases = {}

-- A chained plugin by itself: the addresses in its prevResult are those of the neighbour, too.
cases.firewall = faults.case {
  name = "firewall", plugin = "firewall", leaves = { "nft: rule " },
  network = { prevResult = { cniVersion = "1.1.0", ips = core.json.array {
    { address = "10.88.0.9/24" }, { address = "fd00:88::9/64" },
  } } },
}

-- Everything that naivebridge can make in nftables.
cases.guarded = faults.case {
  name = "naivebridge, guarded and masquerading", ipam = faults.dual_stack,
  network = { ipMasq = true, ipspoofchk = true, macspoofchk = true },
}

local ADDRESSES = { victim = "10.88.0.2/24", neighbour = "10.88.0.3/24" }

-- A pod as the plugins before a chained one leave it, but for where its link leads to.
local function wired(space, who)
  space:must "ip link add eth0 address 0a:58:00:00:00:01 type veth peer name other address 0a:58:00:00:00:02"
  space:must "ip link set eth0 up && ip link set other up"
  space:must("ip addr add %s dev eth0", ADDRESSES[who])
end

-- Host ports of a pod that is wired already, both protocols.
cases.host_ports = faults.case {
  name = "portmap", plugin = "portmap", leaves = { "nft: element " }, inhabit = wired,
  prepare = "ip link add cbr0 type bridge && ip addr add 10.88.0.1/24 dev cbr0 && ip link set cbr0 up",
  keys = function(who)
    local port = who == "victim" and 8000 or 9000
    return {
      prevResult = {
        cniVersion = "1.1.0", interfaces = { { name = "eth0", sandbox = "/run/netns/" .. who } },
        ips = { { address = ADDRESSES[who], interface = 0 } },
      },
      runtimeConfig = { portMappings = {
        { hostPort = port, containerPort = 80, protocol = "tcp" },
        { hostPort = port + 1, containerPort = 53, protocol = "udp" },
        { hostPort = port + 2, containerPort = 81, protocol = "tcp", hostIP = "192.0.2.10" },
      } },
    }
  end,
}

-- A veth pair per pod and no bridge.
cases.ptp = faults.case {
  name = "ptp, both families, masquerading", plugin = "ptp", ipam = faults.dual_stack, network = { ipMasq = true },
}

-- What tuning changes is the plugin's before it: an interface that is there.
cases.tuning = faults.case {
  name = "tuning", plugin = "tuning", sysctl = "net/core/somaxconn", leaves = { "victim: link ", "victim: sysctl " },
  network = {
    mac = "0a:58:0a:01:02:03", mtu = 1400, promisc = true, sysctl = { ["net.core.somaxconn"] = "77" },
    prevResult = { interfaces = core.json.array { { name = "eth0", sandbox = "/run/netns/victim" } } },
  },
  inhabit = function(space)
    space:must "ip link add eth0 address 0a:58:00:00:00:01 type veth peer name far0 address 0a:58:00:00:00:02"
  end,
}

-- A pod with an interface and a default route in each family.
local function routed(space)
  space:must "ip link add eth0 address 0a:58:00:00:00:01 type veth peer name far0 address 0a:58:00:00:00:02"
  space:must "ip link set far0 up; ip link set eth0 up; ip addr add fd00:99::2/64 dev eth0 nodad"
  space:must "ip addr add 10.99.0.2/24 dev eth0; ip route add default via 10.99.0.1"
  space:must "ip -6 route add default via fd00:99::1"
end

-- Routes of an interface that is there.
cases.sbr = faults.case {
  name = "sbr", plugin = "sbr", leaves = { "victim: rule ", "victim: route " }, inhabit = routed, silent = true,
  network = {
    prevResult = {
      interfaces = core.json.array { { name = "eth0" } }, -- that names no namespace; an address without one counts
      ips = core.json.array {
        { address = "10.99.0.2/24", gateway = "10.99.0.1" }, { address = "fd00:99::2/64", gateway = "fd00:99::1" },
      },
    },
  },
}

-- What a pod receives and sends, limited.
cases.limited = faults.case {
  name = "bandwidth behind naivebridge", plugin = "bandwidth", behind = "naivebridge",
  leaves = { "node: link ", "node: qdisc " }, ipam = faults.dual_stack,
  network = { ingressRate = 80000000, ingressBurst = 8000000, egressRate = 80000000, egressBurst = 8000000 },
}

-- The policy bridge with what it can make in nftables.
cases.bridge = faults.case {
  name = "bridge, guarded and masquerading", plugin = "bridge", ipam = faults.dual_stack,
  network = { ipMasq = true, macspoofchk = true, portIsolation = true },
}

-- The addresses are the configuration's, and nobody keeps them.
cases.static = faults.case {
  name = "bridge with static", plugin = "bridge", leaves = { "node: link ", "victim: link ", "victim: address " },
  keys = function(who)
    local address = { address = ADDRESSES[who], gateway = "10.88.0.1" }
    return { ipam = { type = "static", addresses = core.json.array { address } } }
  end,
}

-- The pod's lo, which is down at first.
cases.loopback = faults.case {
  name = "loopback", plugin = "loopback", leaves = { "victim: link lo " },
  inhabit = function(space) space:must "ip link set lo down" end, keys = function() return { ipam = {} } end,
}

-- Links of a pod's that have no other end on the node. On the uplink they have their gateways beyond it.
local inside = { "victim: link ", "victim: address ", "address file " }

local function beyond(dev)
  return ("ip addr replace 10.88.0.1/24 dev %s && ip addr replace fd00:88::1/64 dev %s nodad"):format(dev, dev)
end

cases.macvlan = faults.case {
  name = "macvlan", plugin = "macvlan", network = { master = "up0" }, ipam = faults.dual_stack, leaves = inside,
  prepare = beyond "up1",
}

cases.tap = faults.case {
  name = "tap", plugin = "tap", network = { bridge = "" }, ipam = faults.dual_stack, leaves = inside, silent = true,
}

cases.host_device = faults.case {
  name = "host-device", plugin = "host-device", cold = true, network = { device = "up1" }, ipam = faults.dual_stack,
  leaves = inside, taken = true, prepare = beyond "up0",
}

-- Those that are more than naivebridge, of which a short run takes two.
cases.plugins = {
  cases.bridge, cases.ptp, cases.host_ports, cases.limited, cases.firewall, cases.tuning, cases.sbr, cases.macvlan,
  cases.tap, cases.host_device, cases.static, cases.loopback,
}

-- Those that this machine's kernel may lack.
cases.vm = {
  faults.case {
    name = "ipvlan", plugin = "ipvlan", network = { master = "up0" }, ipam = faults.dual_stack, leaves = inside,
    prepare = beyond "up1",
  },
  faults.case {
    name = "vlan", plugin = "vlan", network = { master = "up0" }, ipam = faults.dual_stack, leaves = inside,
    prepare = "ip link del up1.7 2>&-; ip link add link up1 name up1.7 type vlan id 7 && ip link set up1.7 up && "
      .. beyond "up1.7",
    keys = function(who) return { vlanId = who == "victim" and 7 or 8 } end, -- a VLAN is one pod's
  },
  faults.case { name = "dummy", plugin = "dummy", ipam = faults.dual_stack, leaves = inside, silent = true },
  faults.case {
    name = "vrf", plugin = "vrf", leaves = { "victim: link ", "victim: route " },
    network = { vrfname = "red", prevResult = { interfaces = core.json.array { { name = "eth0" } } } },
    inhabit = function(space)
      space:must "ip link add vrf0 type vrf table 9 && ip link del vrf0" -- the rule for all VRFs comes with the first
      routed(space)
    end,
  },
}

-- One list of cases: those of always and the others, of which a short run takes `count` (2) that the seed says.
function cases.some(always, others, count)
  local list = { table.unpack(always) }
  local all = faults.full or faults.sample
  for i, case in ipairs(others) do
    list[#list + 1] = (all or (i - 1 - faults.seed) % (#others // (count or 2)) == 0) and case or nil
  end
  return list
end

return cases
