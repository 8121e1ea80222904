-- SPDX-License-Identifier: Apache-2.0
-- VLANs on a bridge: the netlink object vlan, and what the policy bridge makes of vlan and vlanTrunk.

local attach = require "spec.support.attach"
local core = require "mncni.core"
local mncni = require "mncni"
local spaces = require "spec.support.netns"

local untagged = { "PVID", "Egress Untagged" }

describe("the object vlan", function()
  local space, host

  before_each(function()
    space = spaces.new "node"
    host = mncni.open(space.ns)
    space:must "ip link add br0 type bridge vlan_filtering 1"
    space:must "ip link add v0 type veth peer name v1 && ip link set v0 master br0"
  end)

  after_each(function()
    host:close()
    spaces.cleanup()
  end)

  -- What `bridge -json vlan` says of a link, which has an empty list where there is no flag.
  local function told(dev)
    for _, entry in ipairs(core.json.decode(space:must "bridge -compressvlans -json vlan")) do
      if entry.ifname == dev then
        for _, vlan in ipairs(entry.vlans) do
          vlan.flags = vlan.flags and #vlan.flags > 0 and vlan.flags or nil
        end
        return entry.vlans
      end
    end
  end

  it("is read as bridge reads it", function()
    space:must "bridge vlan add dev v0 vid 100-110 && bridge vlan add dev v0 vid 200 pvid untagged"
    space:must "bridge vlan add dev br0 vid 300 self"
    local seen = {}
    for entry in host.vlan.list {} do
      seen[entry.dev] = entry
    end
    assert.same({ { vlan = 1, flags = { "Egress Untagged" } }, { vlan = 100, vlanEnd = 110 },
      { vlan = 200, flags = untagged } }, seen.v0.vlans)
    assert.equal("br0", seen.v0.master)
    assert.same(told "v0", seen.v0.vlans)
    assert.same(told "br0", seen.br0.vlans)
    assert.same(seen.v0.vlans, host.vlan.get({ dev = "v0" }).vlans)
    assert.is_nil(host.vlan.get { dev = "v1" })
  end)

  it("is made and removed, one at a time, by ranges, and of the bridge itself", function()
    host.vlan.add { dev = "v0", vlans = { { vlan = 100, flags = untagged }, { vlan = 200, vlanEnd = 4094 } } }
    assert.same({ { vlan = 1, flags = { "Egress Untagged" } }, { vlan = 100, flags = untagged },
      { vlan = 200, vlanEnd = 4094 } }, told "v0")
    host.vlan.del { dev = "v0", vlans = { { vlan = 1 }, { vlan = 300, vlanEnd = 310 } } }
    assert.same({ { vlan = 100, flags = untagged }, { vlan = 200, vlanEnd = 299 }, { vlan = 311, vlanEnd = 4094 } },
      told "v0")
    host.vlan.add { dev = "br0", flags = { "self" }, vlans = { { vlan = 7 } } }
    assert.same({ { vlan = 1, flags = untagged }, { vlan = 7 } }, told "br0")
  end)

  it("prints as the lines that make it", function()
    host.vlan.add { dev = "v0", vlans = { { vlan = 100, flags = untagged }, { vlan = 200, vlanEnd = 210 } } }
    local before = told "v0"
    local lines = tostring(host.vlan.get { dev = "v0" })
    host.vlan.del { dev = "v0", vlans = { { vlan = 1, vlanEnd = 4094 } } }
    assert.is_nil(told "v0")
    space:must(lines)
    assert.same(before, told "v0")
  end)

  it("says what is wrong, and that a link is no port", function()
    local err = select(2, pcall(host.vlan.add, { dev = "v1", vlans = { { vlan = 5 } } }))
    assert.equal("EOPNOTSUPP", err.name)
    err = select(2, pcall(host.vlan.add, { dev = "none", vlans = { { vlan = 5 } } }))
    assert.equal("ENODEV", err.name)
  end)

  it("is told of as an event of its group", function()
    local monitor <close> = host:monitor { "vlan" }
    host.vlan.add { dev = "v0", vlans = { { vlan = 9 } } }
    local event = monitor:next(10000)
    assert.same({ "new", "vlan", "v0" }, { event.event, event.object, event.value.dev })
  end)
end)

describe("bridge with VLANs", function()
  local before, node

  before_each(function()
    before = spaces.snapshot()
    node = attach.node { plugins = { "bridge" } }
  end)

  after_each(function()
    node:close()
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  -- A pod with an address of its own choice in 10.1.2.0/24, so that VLANs alone keep pods apart.
  local function conf(keys, address)
    local all = { type = "bridge", cniVersion = "1.0.0", ipam = {
      type = "static", addresses = { { address = address and address .. "/24", gateway = "10.1.2.1" } },
    } }
    if not address then
      all.cniVersion, all.ipam = "1.1.0", { type = "host-local", subnet = "10.1.2.0/24" }
    end
    for key, value in pairs(keys) do
      all[key] = value ~= false and value or nil
    end
    return all
  end

  local function vlans(dev)
    local entry = node.host.vlan.get { dev = dev }
    return entry and entry.vlans
  end

  local function ports_of(result)
    return result.interfaces[2].name
  end

  it("puts a pod's port into its VLAN alone, untagged, and the node's gateway too", function()
    local keys = conf { vlan = 100, isDefaultGateway = true }
    local result = node:add { conf = keys }
    local names = {}
    for i, interface in ipairs(result.interfaces) do
      names[i] = interface.name
    end
    assert.same({ "cni0", ports_of(result), "eth0", "cni0.100" }, names)
    assert.is_nil(result.interfaces[4].sandbox)
    assert.equal(2, result.ips[1].interface)
    assert.is_true(node.host.link.get({ ifname = "cni0" }).bridge.vlan_filtering)
    assert.same({ { vlan = 100, flags = untagged } }, vlans(ports_of(result)))
    local gateway = node.host.link.get { ifname = "cni0.100" }
    assert.equal(gateway.address, result.interfaces[4].mac)
    assert.same({ { vlan = 100, flags = untagged } }, vlans(gateway.link))
    assert.equal("0", core.sysctl.get(node.space.ns, "net/ipv6/conf/cni0.100/accept_ra"))
    local function addresses(dev)
      local list = {}
      for address in node.host.addr.list { dev = dev, family = "inet" } do
        list[#list + 1] = address.address
      end
      return list
    end
    assert.same({ {}, { "10.1.2.1/24" } }, { addresses "cni0", addresses "cni0.100" })
    assert.is_true(node:pings("web", "10.1.2.1"))

    -- The next pod finds the gateway as it is.
    node:add { pod = "db", conf = conf { vlan = 100, isDefaultGateway = true, macspoofchk = true } }
    assert.equal(gateway.ifindex, node.host.link.get({ ifname = "cni0.100" }).ifindex)
    assert.is_true(node:pings("db", "10.1.2.1"))
    assert.is_true(node:pings("web", "10.1.2.3"))

    keys.prevResult = result
    node:must("CHECK", { conf = keys })
    for _, damage in ipairs {
      { "bridge vlan del dev %s vid 100", "bridge vlan add dev %s vid 100 pvid untagged" },
      { "bridge vlan add dev %s vid 100", "bridge vlan add dev %s vid 100 pvid untagged" },
      { "ip link set cni0 type bridge vlan_filtering 0", "ip link set cni0 type bridge vlan_filtering 1" },
      { "ip addr del 10.1.2.1/24 dev cni0.100", "ip addr add 10.1.2.1/24 dev cni0.100" },
      { "ip link set cni0.100 down", "ip link set cni0.100 up" },
      { ("bridge vlan del dev %s vid 100"):format(gateway.link),
        ("bridge vlan add dev %s vid 100 pvid untagged"):format(gateway.link) },
    } do
      node:must_sh((damage[1]:gsub("%%s", ports_of(result))))
      local out = node:run("CHECK", { conf = keys })
      assert.equal(106, out.json and out.json.code, damage[1] .. out.stdout)
      node:must_sh((damage[2]:gsub("%%s", ports_of(result))))
      node:must("CHECK", { conf = keys })
    end

    -- The next ADD mends the gateway.
    node:must_sh(("bridge vlan del dev %s vid 100 && ip link set %s down"):format(gateway.link, gateway.link))
    node:add { pod = "cache", conf = conf { vlan = 100, isDefaultGateway = true } }
    node:must("CHECK", { conf = keys })
    assert.is_true(node:pings("cache", "10.1.2.1"))

    -- Pods come and go; bridge and gateway stay.
    for _, name in ipairs { "web", "db", "cache" } do
      node:must("DEL", { pod = name, conf = conf { vlan = 100, isDefaultGateway = true } })
    end
    assert.is_nil(node.host.link.get { ifname = ports_of(result) })
    assert.equal(gateway.ifindex, node.host.link.get({ ifname = "cni0.100" }).ifindex)
  end)

  it("keeps pods of one VLAN together and those of two apart", function()
    node:add { pod = "web", conf = conf({ vlan = 100 }, "10.1.2.11") }
    node:add { pod = "db", conf = conf({ vlan = 100 }, "10.1.2.12") }
    node:add { pod = "cache", conf = conf({ vlan = 200 }, "10.1.2.13") }
    node:add { pod = "plain", conf = conf({}, "10.1.2.14") }
    assert.is_true(node:pings("web", "10.1.2.12"))
    assert.is_true(node:is_cut_off("web", "10.1.2.13"))
    assert.is_true(node:is_cut_off("web", "10.1.2.14"))
  end)

  it("leaves the port in the default VLAN, too, with preserveDefaultVlan", function()
    local result = node:add { conf = conf({ vlan = 100, preserveDefaultVlan = true }, "10.1.2.11") }
    assert.same({ { vlan = 1, flags = { "Egress Untagged" } }, { vlan = 100, flags = untagged } },
      vlans(ports_of(result)))
  end)

  it("switches filtering on, on a bridge that is there, where the ports have another default", function()
    node:must_sh "ip link add cni0 type bridge vlan_default_pvid 5 && ip link set cni0 up"
    local result = node:add { conf = conf({ vlan = 100 }, "10.1.2.11") }
    assert.is_true(node.host.link.get({ ifname = "cni0" }).bridge.vlan_filtering)
    assert.same({ { vlan = 100, flags = untagged } }, vlans(ports_of(result)))
  end)

  it("lets a pod send tagged frames of its trunk, and untagged ones in VLAN 1 or its own", function()
    local trunk = { { id = 101 }, { minID = 200, maxID = 210 }, { id = 205 } }
    local result = node:add { conf = conf({ vlanTrunk = trunk }, "10.1.2.11") }
    assert.same({ { vlan = 1, flags = untagged }, { vlan = 101 }, { vlan = 200, vlanEnd = 210 } },
      vlans(ports_of(result)))
    local other = node:add { pod = "db", conf = conf({ vlan = 205, vlanTrunk = trunk }, "10.1.2.12") }
    assert.same({ { vlan = 101 }, { vlan = 200, vlanEnd = 204 }, { vlan = 205, flags = untagged },
      { vlan = 206, vlanEnd = 210 } }, vlans(ports_of(other)))
    node:add { pod = "cache", conf = conf({ vlan = 101 }, "10.9.9.2") }
    node:pod("web"):must "ip link add link eth0 name eth0.101 type vlan id 101 && ip link set eth0.101 up"
    node:pod("web"):must "ip addr add 10.9.9.1/24 dev eth0.101"
    assert.is_true(node:pings("web", "10.9.9.2"))
    node:pod("web"):must "ip link add link eth0 name eth0.300 type vlan id 300 && ip link set eth0.300 up"
    node:pod("web"):must "ip addr del 10.9.9.1/24 dev eth0.101 && ip addr add 10.9.9.1/24 dev eth0.300"
    assert.is_true(node:is_cut_off("web", "10.9.9.2"))
  end)

  it("is on the bridge without an address, and without the node's", function()
    local result = node:add { conf = conf { vlan = 100, ipam = false, isGateway = true } }
    assert.equal(3, #result.interfaces)
    assert.same({ { vlan = 100, flags = untagged } }, vlans(ports_of(result)))
    assert.is_nil(node.host.link.get { ifname = "cni0.100" })
  end)

  it("refuses a gateway's name that no link can have, or that something else has", function()
    local err = node:refused { conf = conf { bridge = "averylongname0", vlan = 4094, isGateway = true } }
    assert.equal(7, err.code)
    assert.same({}, node:links())
    node:must_sh "ip link add cni0.100 type dummy"
    err = node:refused { conf = conf { vlan = 100, isGateway = true } }
    assert.equal(103, err.code)
    assert.is_truthy(err.msg:find("cni0.100", 1, true), err.msg)
    assert.same({ "cni0.100" }, node:links())
    assert.same({}, node:reserved())
  end)

  it("takes the gateway back with an ADD that fails, unless another pod is in its VLAN", function()
    local file = assert(io.open(node.scratch .. "/policies/failing.lua", "w"))
    file:write [[
      local policy = {}
      function policy.add(pod)
        pod:wire("bridge", pod.config)
        pod:commit()
        error "on purpose"
      end
      return policy
    ]]
    file:close()
    local failing = conf { type = "mncni", policy = "failing", vlan = 100, isGateway = true }
    node:refused { conf = failing }
    assert.same({}, node:links())
    assert.same({}, node:reserved())
    assert.equal("", node:journals())

    -- The bridge is another VLAN's, too: it stays.
    local other = conf({ vlan = 200 }, "10.1.2.12")
    local result = node:add { pod = "db", conf = other }
    node:refused { conf = failing }
    local left = { "cni0", ports_of(result) }
    table.sort(left)
    assert.same(left, node:links())

    -- Who is in the VLAN by itself relies on no gateway, but the one who fails cannot tell.
    node:add { pod = "cache", conf = conf({ vlan = 100 }, "10.1.2.13") }
    node:refused { conf = failing }
    assert.is_not_nil(node.host.link.get { ifname = "cni0.100" })
  end)

  it("does as the reference does, but for names and MAC addresses", function()
    local keys = conf { cniVersion = "1.0.0", vlan = 100, preserveDefaultVlan = true, isDefaultGateway = true }
    local ours = node:add { conf = keys }
    local reference = attach.node { name = "reference" }
    keys.ipam.dataDir = nil
    local theirs = reference:add { pod = "refweb", container = "web", conf = keys, bin = attach.REFERENCE .. "/bridge",
      path = attach.REFERENCE }
    local our_port, their_port = ports_of(ours), ports_of(theirs)
    for _, result in ipairs { ours, theirs } do
      for _, interface in ipairs(result.interfaces) do
        interface.mac, interface.sandbox = nil, interface.sandbox and "sandbox"
        interface.name = interface.name:gsub("^veth.*", "veth")
      end
      result.dns = nil
    end
    assert.same(theirs.interfaces, ours.interfaces)
    assert.same(theirs.ips, ours.ips)
    assert.same(theirs.routes, ours.routes)
    for _, dev in ipairs { "cni0", false } do
      assert.same(reference.host.vlan.get({ dev = dev or their_port }).vlans, vlans(dev or our_port))
    end
    -- The gateway's port differs: theirs is in the default VLAN as well.
    local function gateway(of)
      return of.host.vlan.get({ dev = of.host.link.get({ ifname = "cni0.100" }).link }).vlans
    end
    assert.same({ vlan = 100, flags = untagged }, gateway(node)[1])
    assert.same({ vlan = 100, flags = untagged }, gateway(reference)[2])
    reference:must("DEL", { pod = "refweb", container = "web", conf = keys, bin = attach.REFERENCE .. "/bridge",
      path = attach.REFERENCE })
    reference:close()
  end)
end)
