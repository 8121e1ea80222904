-- SPDX-License-Identifier: Apache-2.0
-- The plugin with naivebridge on a real kernel: what a runtime asks, what the kernel has afterwards.

local clock = require "spec.support.clock"
local spaces = require "spec.support.netns"
local core = require "mncni.core"
local mncni = require "mncni"

local bin = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"

describe("naivebridge", function()
  local node, scratch, env, pods

  -- Runs the plugin inside the node's namespace.
  local function run(command, args)
    args = args or {}
    local conf = args.conf or {}
    conf.cniVersion = conf.cniVersion or "1.1.0"
    conf.name = conf.name or "testnet"
    conf.type = conf.type or "naivebridge"
    conf.ipam = conf.ipam or { type = "host-local", subnet = "10.244.1.0/24" }
    if type(conf.ipam) == "table" then
      conf.ipam.dataDir = conf.ipam.dataDir or scratch .. "/networks"
    end
    local variables = {
      CNI_COMMAND = command, CNI_CONTAINERID = args.container or "web",
      CNI_NETNS = args.netns or (args.pod or pods.web).path, CNI_IFNAME = args.ifname or "eth0",
      CNI_PATH = args.path or (scratch .. "/bin:/usr/lib/cni"), PATH = os.getenv "PATH",
    }
    for key, value in pairs(env) do
      variables[key] = value
    end
    local out = node:run(core.exec, {
      argv = { args.bin or scratch .. "/bin/" .. (args.name or "naivebridge") }, env = variables,
      stdin = core.json.encode(conf), timeout = 20000,
    })
    local parsed, document = pcall(core.json.decode, out.stdout)
    out.json = parsed and document or nil
    return out
  end

  local function sh(command)
    return (spaces.sh(command))
  end

  local function in_node(command)
    return (node:sh(command))
  end

  local function add(args)
    local out = run("ADD", args)
    assert.are.equal(0, out.status, out.stdout .. out.stderr)
    return out.json
  end

  local function files(directory)
    local list = {}
    for name in sh("ls -A " .. directory .. " 2>/dev/null"):gmatch("[^\n]+") do
      if name:match("^[%da-f.:]+$") then
        list[#list + 1] = name
      end
    end
    return list
  end

  local function assert_nothing_left()
    assert.are.equal("", in_node "ip -o link show group 78")
    assert.are.same({}, files(scratch .. "/networks/testnet"))
    assert.are.equal("", sh("find " .. scratch .. "/state/attachments -type f 2>/dev/null"))
  end

  local function refused(code, args, pattern)
    local out = run("ADD", args)
    assert.are_not.equal(0, out.status)
    assert.are.equal(code, out.json.code, out.stdout)
    if pattern then
      assert.truthy(out.json.msg:find(pattern, 1, true), out.stdout)
    end
    return out.json
  end

  before_each(function()
    scratch = spaces.must "mktemp -d"
    sh(("mkdir -p %s/bin %s/policies"):format(scratch, scratch))
    for _, name in ipairs { "mncni", "naivebridge", "host-local", "loopback" } do
      sh(("ln -s $(realpath %s) %s/bin/%s"):format(bin, scratch, name))
    end
    sh(("ln -s /usr/lib/cni/static %s/bin/reference-static"):format(scratch))
    env = { MNCNI_STATE_DIR = scratch .. "/state", MNCNI_POLICY_PATH = scratch .. "/policies" }
    node = spaces.new "node"
    pods = { web = spaces.new "web", db = spaces.new "db" }
    -- An uplink with a default route, whose MTU the pods get.
    in_node "ip link add up0 mtu 1450 type veth peer name up1 && ip link set up0 up && ip link set up1 up"
    in_node "ip addr add 192.0.2.10/24 dev up0 && ip route add default via 192.0.2.1"
  end)

  after_each(function()
    spaces.cleanup()
    spaces.must("rm -rf %s", scratch)
  end)

  local function veths()
    return in_node "ip -o link show group 78"
  end

  it("gives a pod an address, a default route, and a way to the node", function()
    local result = add()
    assert.are.equal("1.1.0", result.cniVersion)
    assert.are.same({ "cbr0", result.interfaces[2].name, "eth0" },
      { result.interfaces[1].name, result.interfaces[2].name, result.interfaces[3].name })
    assert.are.equal(pods.web.path, result.interfaces[3].sandbox)
    assert.are.equal(1450, result.interfaces[3].mtu)
    assert.are.same({ address = "10.244.1.2/24", gateway = "10.244.1.1", interface = 2 }, result.ips[1])
    assert.are.same({ { dst = "0.0.0.0/0", gw = "10.244.1.1" } }, result.routes)

    local pod <close> = mncni.open(pods.web.ns)
    local eth0 = pod.link.get { ifname = "eth0" }
    assert.are.equal(1450, eth0.mtu)
    assert.are.equal("UP", eth0.operstate:upper())
    assert.are.equal(result.interfaces[3].mac, eth0.address)
    assert.truthy(pods.web:sh("ip route"):find("default via 10.244.1.1 dev eth0", 1, true))
    assert.truthy(pods.web:sh("ping -c 1 -W 2 10.244.1.1"):find("1 received", 1, true))
    assert.truthy(in_node("ping -c 1 -W 2 10.244.1.2"):find("1 received", 1, true))
  end)

  it("lets two pods talk to each other", function()
    add()
    add { container = "db", pod = pods.db }
    assert.truthy(pods.web:sh("ping -c 1 -W 2 10.244.1.3"):find("1 received", 1, true))
  end)

  it("makes the bridge as kubenet does: pinned MAC, the route's MTU, hairpin, no router advertisements", function()
    add()
    local host <close> = mncni.open(node.ns)
    local bridge = host.link.get { ifname = "cbr0" }
    assert.are.equal("0a:58:0a:f4:01:01", bridge.address)
    assert.are.equal(1450, bridge.mtu)
    assert.are.equal("0", node:run(core.sysctl.get, nil, "net/ipv6/conf/cbr0/accept_ra"))
    assert.are.equal("0", core.sysctl.get(pods.web.ns, "net/ipv6/conf/eth0/accept_ra"))
    assert.are.equal("0", core.sysctl.get(pods.web.ns, "net/ipv6/conf/eth0/accept_dad"))
    assert.are.equal("1", node:run(core.sysctl.get, nil, "net/ipv4/ip_forward"))
    assert.truthy(in_node("bridge -d link show"):find("hairpin on", 1, true))
    add { container = "db", pod = pods.db }
    assert.are.equal("0a:58:0a:f4:01:01", host.link.get({ ifname = "cbr0" }).address)
  end)

  it("hands what its bridge forwards to iptables, and leaves other bridges as the node has them", function()
    -- Counts the packets between two pods that the node's netfilter forwards, of three pings and their answers.
    local function forwarded()
      in_node "nft flush ruleset; nft 'table ip t { chain f { type filter hook forward priority 0; counter; }; }'"
      pods.web:must "ping -q -c 3 -i 0.1 -W 2 10.244.1.3"
      return in_node("nft list ruleset"):match "packets (%d+)"
    end
    local function bridge()
      local host <close> = mncni.open(node.ns)
      return host.link.get({ ifname = "cbr0" }).bridge
    end
    for _, key in ipairs { "iptables", "ip6tables" } do
      node:run(core.sysctl.set, nil, "net/bridge/bridge-nf-call-" .. key, 0)
    end
    local conf = { ipMasq = false }
    add { conf = conf }
    add { container = "db", pod = pods.db, conf = conf }
    assert.is_true(bridge().nf_call_iptables)
    assert.is_true(bridge().nf_call_ip6tables)
    assert.are.equal("0", node:run(core.sysctl.get, nil, "net/bridge/bridge-nf-call-iptables"))
    assert.are.equal("6", forwarded())

    in_node "ip link set cbr0 type bridge nf_call_iptables 0"
    assert.are.equal("0", forwarded())
    local result = add { container = "cache", pod = spaces.new "cache", conf = conf } -- repairs it
    assert.is_true(bridge().nf_call_iptables)
    in_node "ip link set cbr0 type bridge nf_call_ip6tables 0"
    local out = run("CHECK", {
      container = "cache", netns = "/run/netns/cache", conf = { ipMasq = false, prevResult = result },
    })
    assert.are.equal(106, out.json.code, out.stdout)
    assert.truthy(out.json.msg:find("its nf_call_ip6tables is off", 1, true), out.stdout)
  end)

  it("is dual stack, with usable IPv6 addresses at once", function()
    local result = add { conf = { ipam = { type = "host-local",
      ranges = { { { subnet = "10.244.1.0/24" } }, { { subnet = "fd00:10:244:1::/64" } } } } } }
    assert.are.equal("fd00:10:244:1::2/64", result.ips[2].address)
    assert.are.equal(2, #result.routes)
    assert.falsy(pods.web:sh("ip -6 addr show dev eth0"):find("tentative", 1, true))
    assert.truthy(pods.web:sh("ping -c 1 -W 2 fd00:10:244:1::1"):find("1 received", 1, true))
    assert.are.equal("1", node:run(core.sysctl.get, nil, "net/ipv6/conf/all/forwarding"))
  end)

  it("keeps the node's IPv6 default route when a router advertised it", function()
    local router = spaces.new "router"
    node:must "ip link add wan0 type veth peer name rt0 && ip link set wan0 up"
    node:must "echo 1 >/proc/sys/net/ipv6/conf/wan0/accept_ra"
    node:must("ip link set rt0 netns %s", router.path)
    router:must "ip link set rt0 up"
    local function learned()
      return node:must "ip -6 route show default proto ra":find("via fe80", 1, true) ~= nil
    end
    local advertised = clock.wait(function()
      router:sh "python3 spec/support/advertise.py rt0 2001:db8:1:: 2>&1" -- it has no address at first
      return learned()
    end)
    assert.is_true(advertised)
    add { conf = { ipam = { type = "host-local", subnet = "fd00:10:244:1::/64" } } }
    assert.are.equal("1", node:run(core.sysctl.get, nil, "net/ipv6/conf/all/forwarding"))
    assert.is_true(learned())
    assert.are.equal("2", node:run(core.sysctl.get, nil, "net/ipv6/conf/wan0/accept_ra"))
  end)

  it("masquerades what leaves the cluster by one rule per family, however many pods there are", function()
    add()
    local before = in_node "nft -a list table inet mncni"
    assert.truthy(before:find("masquerade", 1, true))
    assert.truthy(before:find("10.0.0.0/8", 1, true))
    add { container = "db", pod = pods.db }
    assert.are.equal(before, in_node "nft -a list table inet mncni")
  end)

  it("really masquerades: a peer outside sees the node's address", function()
    local outside = spaces.new "outside"
    in_node "ip link set up1 netns outside"
    outside:sh("ip link set up1 up; ip addr add 192.0.2.1/24 dev up1")
    add()
    -- The peer has no route to pods, so an answer proves the node's address.
    assert.truthy(pods.web:sh("ping -c 1 -W 2 192.0.2.1"):find("1 received", 1, true))
    in_node "nft flush ruleset"
    assert.falsy(pods.web:sh("ping -c 1 -W 1 192.0.2.1"):find("1 received", 1, true))
    -- The next pod repairs what somebody flushed.
    add { container = "db", pod = pods.db }
    assert.truthy(pods.web:sh("ping -c 1 -W 2 192.0.2.1"):find("1 received", 1, true))
  end)

  it("lets another network widen what is not masqueraded", function()
    add { conf = { ipMasq = true } }
    assert.falsy(in_node("nft list ruleset"):find("10.0.0.0/8", 1, true))
    add { container = "db", pod = pods.db, conf = { name = "other", bridge = "br9",
      ipam = { type = "host-local", subnet = "10.245.1.0/24" } } }
    local rules = in_node "nft list set inet mncni nonmasq4"
    assert.truthy(rules:find("elements = { 10.0.0.0/8 }", 1, true), rules)
    add { container = "third", ifname = "net1", pod = pods.db, conf = { ipMasq = true } }
    assert.are.equal(rules, in_node "nft list set inet mncni nonmasq4")
  end)

  it("masquerades IPv6 likewise", function()
    local outside = spaces.new "outside"
    in_node "ip link set up1 netns outside; ip addr add 2001:db8::10/64 dev up0 nodad"
    outside:sh("ip link set up1 up; ip addr add 2001:db8::1/64 dev up1 nodad")
    add { conf = { ipam = { type = "host-local",
      ranges = { { { subnet = "10.244.1.0/24" } }, { { subnet = "fd00:10:244:1::/64" } } } } } }
    assert.truthy(pods.web:sh("ping -c 1 -W 2 2001:db8::1"):find("1 received", 1, true))
    in_node "nft flush ruleset"
    assert.falsy(pods.web:sh("ping -c 1 -W 1 2001:db8::1"):find("1 received", 1, true))
  end)

  it("takes a wider range for new though it starts like one that is there", function()
    local ipam = { type = "host-local", subnet = "10.0.0.0/24" }
    add { conf = { ipMasq = true, ipam = ipam } }
    add { container = "db", pod = pods.db, conf = { ipam = ipam } }
    local rules = in_node "nft list set inet mncni nonmasq4"
    assert.truthy(rules:find("elements = { 10.0.0.0/8 }", 1, true), rules)
  end)

  it("leaves masquerading alone with ipMasq false", function()
    add { conf = { ipMasq = false } }
    assert.falsy(in_node("nft list ruleset"):find("masquerade", 1, true))
  end)

  it("takes a kubenet configuration with only its type changed", function()
    local result = add { conf = {
      cniVersion = "0.1.0", name = "testnet", type = "naivebridge", bridge = "cbr0", mtu = 1400, addIf = "eth0",
      isGateway = true, ipMasq = false, hairpinMode = false,
      ipam = { type = "host-local", subnet = "10.244.1.0/24", gateway = "10.244.1.1",
        routes = { { dst = "0.0.0.0/0" } } } } }
    assert.are.equal("0.1.0", result.cniVersion)
    assert.are.equal("10.244.1.2/24", result.ip4.ip)
    assert.are.equal("10.244.1.1", result.ip4.gateway)
    assert.truthy(in_node("ip link show cbr0"):find("mtu 1400", 1, true))
    assert.truthy(in_node("bridge -d link show"):find("hairpin off", 1, true))
  end)

  it("puts two networks on one pod", function()
    add()
    local result = add { ifname = "net1", conf = { name = "second", bridge = "br2", isDefaultGateway = false,
      isGateway = true, ipam = { type = "host-local", subnet = "10.9.0.0/24" } } }
    assert.are.equal("10.9.0.2/24", result.ips[1].address)
    assert.truthy(pods.web:sh("ping -c 1 -W 2 10.9.0.1"):find("1 received", 1, true))
    assert.are.equal(0, run("DEL", { ifname = "net1", conf = { name = "second", bridge = "br2" } }).status)
    assert.truthy(pods.web:sh("ping -c 1 -W 2 10.244.1.1"):find("1 received", 1, true))
  end)

  it("appends to the result of the plugin before it in a chain", function()
    local result = add { ifname = "net1", conf = { prevResult = {
      cniVersion = "1.1.0", interfaces = { { name = "eth9", sandbox = "/x" } },
      ips = { { address = "192.0.2.77/24", interface = 0 } } } } }
    assert.are.equal("eth9", result.interfaces[1].name)
    assert.are.equal("192.0.2.77/24", result.ips[1].address)
    assert.are.equal(3, result.ips[2].interface)
  end)

  it("uses the reference IPAM plugin when no policy has its name", function()
    local conf = {
      cniVersion = "1.0.0",
      ipam = { type = "reference-static", addresses = { { address = "10.5.0.9/24", gateway = "10.5.0.1" } } },
    }
    local result = add { conf = conf }
    assert.are.equal("10.5.0.9/24", result.ips[1].address)
    assert.are.equal(0, run("DEL", { conf = conf }).status)
    assert_nothing_left()
  end)

  it("leaves nothing when that plugin does not know the configuration's version, not even for DEL", function()
    local conf = {
      cniVersion = "1.1.0", -- Debian's stops at 1.0.0
      ipam = { type = "reference-static", addresses = { { address = "10.5.0.9/24", gateway = "10.5.0.1" } } },
    }
    refused(1, { conf = conf }, "incompatible CNI versions")
    assert_nothing_left()
  end)

  it("serves the reference bridge as its IPAM plugin", function()
    local conf = { cniVersion = "1.0.0", name = "testnet", type = "bridge", bridge = "ref0", isGateway = true,
      ipam = { type = "host-local", subnet = "10.244.1.0/24" } }
    local args = { bin = "/usr/lib/cni/bridge", conf = conf, path = scratch .. "/bin" }
    assert.are.equal("10.244.1.2/24", add(args).ips[1].address)
    assert.truthy(sh("ls " .. scratch .. "/state/attachments/testnet"):find("@host-local@", 1, true))
    assert.are.equal(0, run("DEL", args).status)
    assert_nothing_left()
  end)

  describe("DEL", function()
    it("removes link and address, twice without complaint", function()
      add()
      assert.truthy(veths():find("veth", 1, true))
      for _ = 1, 2 do
        local out = run "DEL"
        assert.are.equal(0, out.status, out.stdout)
        assert.are.equal("", out.stdout)
      end
      assert.are.equal("", veths())
      assert.are.same({}, files(scratch .. "/networks/testnet"))
    end)

    it("may come first", function()
      assert.are.equal(0, run("DEL").status)
    end)

    it("works with the namespace gone, by path or left out", function()
      add()
      pods.web:close()
      assert.are.equal(0, run("DEL", { netns = "/run/netns/web" }).status)
      assert.are.same({}, files(scratch .. "/networks/testnet"))
      pods.web = spaces.new "web"
      add()
      local out = run("DEL", { netns = "" })
      assert.are.equal(0, out.status, out.stdout)
      assert.are.same({}, files(scratch .. "/networks/testnet"))
      assert.are.equal("", veths())
    end)

    it("works with the configuration changed", function()
      add()
      assert.are.equal(0, run("DEL", { conf = { bridge = "other0", ipam = { type = "host-local", subnet = "10.7.0.0/24",
        dataDir = "/nonexistent" } } }).status)
      assert.are.equal("", veths())
      assert.are.same({}, files(scratch .. "/networks/testnet"))
    end)

    it("works with the policy missing or broken", function()
      sh(("cp policies/naivebridge.lua %s/policies/mynet.lua"):format(scratch))
      local conf = function() return { type = "mncni", policy = "mynet" } end
      for _, damage in ipairs { "rm", "truncate -s 200" } do
        sh(("cp policies/naivebridge.lua %s/policies/mynet.lua"):format(scratch))
        add { conf = conf(), name = "mncni" }
        sh(("%s %s/policies/mynet.lua"):format(damage, scratch))
        local out = run("DEL", { conf = conf(), name = "mncni" })
        assert.are.equal(0, out.status, out.stdout)
        assert.are.equal("", veths())
        assert.are.same({}, files(scratch .. "/networks/testnet"))
      end
    end)
  end)

  describe("CHECK", function()
    local function check(result)
      return run("CHECK", { conf = { prevResult = result } })
    end

    it("passes right after ADD, and after later plugins added something", function()
      local result = add()
      local out = check(result)
      assert.are.equal(0, out.status, out.stdout)
      assert.are.equal("", out.stdout)
      pods.web:sh("ip route add 10.99.0.0/16 via 10.244.1.1; ip addr add 10.244.1.77/32 dev eth0")
      assert.are.equal(0, check(result).status)
    end)

    it("needs prevResult", function()
      add()
      assert.are.equal(7, run("CHECK").json.code)
    end)

    local mutations = {
      ["the link down"] = "ip link set eth0 down",
      ["the link renamed"] = "ip link set eth0 down; ip link set eth0 name eth7; ip link set eth7 up",
      ["the address gone"] = "ip addr flush dev eth0",
      ["the default route gone"] = "ip route del default",
      ["another MTU"] = "ip link set eth0 mtu 1300",
      ["another MAC address"] = "ip link set eth0 address 02:00:00:00:00:99",
    }
    for what, command in pairs(mutations) do
      it("fails with " .. what, function()
        local result = add()
        pods.web:sh(command)
        local out = check(result)
        assert.are.equal(1, out.status)
        assert.are.equal(106, out.json.code, out.stdout)
      end)
    end

    it("fails with the port off its bridge, or without hairpin", function()
      local result = add()
      local port = result.interfaces[2].name
      in_node("bridge link set dev " .. port .. " hairpin off")
      local out = check(result)
      assert.truthy(out.json.msg:find("hairpin", 1, true), out.stdout)
      in_node("bridge link set dev " .. port .. " hairpin on; ip link set " .. port .. " nomaster")
      out = check(result)
      assert.truthy(out.json.msg:find("master", 1, true), out.stdout)
    end)

    it("fails for what was never added", function()
      local result = add()
      run "DEL"
      assert.are.equal(106, check(result).json.code)
    end)
  end)

  describe("refuses, and leaves nothing changed,", function()
    it("a bridge name that is not a bridge", function()
      in_node "ip link add cbr0 type veth peer name cbr1"
      refused(103, {}, "not a bridge")
      assert_nothing_left()
    end)

    it("an interface that is there already, which stays as it is", function()
      pods.web:sh("ip link add eth0 type veth peer name x0; ip addr add 198.51.100.1/24 dev eth0")
      refused(103, {}, "eth0")
      assert.truthy(pods.web:sh("ip addr show eth0"):find("198.51.100.1", 1, true))
      assert.are.same({}, files(scratch .. "/networks/testnet"))
      assert.falsy(in_node("ip link"):find("cbr0", 1, true))
    end)

    it("a second ADD of what is attached, which stays as it is", function()
      add()
      refused(103, {}, "DEL it first")
      assert.are.equal(1, #files(scratch .. "/networks/testnet"))
      assert.truthy(pods.web:sh("ping -c 1 -W 2 10.244.1.1"):find("1 received", 1, true))
      assert.are.equal(0, run("DEL").status)
      assert.are.equal("", veths())
    end)

    it("an exhausted range", function()
      local conf = function() return { ipam = { type = "host-local", subnet = "10.244.1.0/30" } } end
      add { conf = conf() }
      refused(104, { container = "db", pod = pods.db, conf = conf() })
      assert.are.equal(1, #files(scratch .. "/networks/testnet"))
      assert.falsy(pods.db:sh("ip link"):find("eth0", 1, true))
    end)

    it("the plugin's own namespace, before any change", function()
      refused(8, { netns = "/proc/self/ns/net" }, "should not be the same")
      assert.falsy(in_node("ip link"):find("cbr0", 1, true))
      assert.are.same({}, files(scratch .. "/networks/testnet"))
    end)

    it("a namespace that is missing, or no namespace", function()
      refused(8, { netns = "/run/netns/nosuch" })
      refused(8, { netns = "/etc/passwd" })
      assert.falsy(in_node("ip link"):find("cbr0", 1, true))
    end)

    it("another range's gateway on the bridge", function()
      add()
      refused(103, { container = "db", pod = pods.db, conf = { name = "other", ipam = { type = "host-local",
        subnet = "10.66.0.0/24" } } }, "10.244.1.1/24")
    end)

    it("hairpinMode together with promiscMode", function()
      refused(7, { conf = { hairpinMode = true, promiscMode = true } }, "promiscMode")
    end)

    it("an IPAM type that nobody has", function()
      refused(105, { conf = { ipam = { type = "nosuch" } } }, "nosuch")
      assert_nothing_left()
    end)
  end)

  describe("rolls back", function()
    local function policy(text)
      local file = assert(io.open(scratch .. "/policies/broken.lua", "w"))
      file:write(text)
      file:close()
      return { conf = { type = "mncni", policy = "broken" }, name = "mncni" }
    end

    local wire = [[
      local mncni = require "mncni"
      local policy = { options = {} }
      function policy.add(pod, conf)
        local lease = pod:lease(conf.ipam)
        local bridge = mncni.bridge.ensure { ifname = "cbr0", address = lease.gateways }
        local eth = pod:veth { master = bridge }
        eth:address(lease)
        %s
        return pod:result { bridge, eth, lease }
      end
      return policy
    ]]

    local function assert_as_before()
      assert_nothing_left()
      assert.falsy(in_node("ip link"):find("cbr0", 1, true))
      assert.falsy(pods.web:sh("ip link"):find("eth0", 1, true))
    end

    it("when the policy raises after its commit", function()
      local err = refused(100, policy(wire:format 'pod:commit() error("no luck")'), "no luck")
      assert.truthy(err.details:find("broken.lua:8", 1, true), err.details)
      assert_as_before()
    end)

    it("when the kernel refuses a step, with the line of the policy that asked for it", function()
      local err = refused(102, policy(wire:format
        'eth:route { dst = "192.0.2.0/24", gateway = "203.0.113.1" }'), "route")
      assert.truthy((err.msg .. (err.details or "")):find("broken.lua:8", 1, true))
      assert.truthy((err.msg .. (err.details or "")):find("Nexthop has invalid gateway", 1, true))
      assert_as_before()
    end)

    it("when a policy never comes back from Lua code", function()
      refused(101, policy(wire:format "pod:commit() while true do end"))
      assert_as_before()
    end)

    it("when a policy never comes back from a C function", function()
      env.MNCNI_WALL_MS = "300"
      refused(101, policy(wire:format 'pod:commit() local s = ("a"):rep(30000) s:find(("a-"):rep(12) .. "b")'))
      assert_as_before()
    end)

    it("when a policy allocates without bound", function()
      refused(101, policy(wire:format 'pod:commit() local t = {} while true do t[#t + 1] = ("x"):rep(1000) .. #t end'))
      assert_as_before()
    end)

    it("when the runtime sends SIGTERM", function()
      local ready = scratch .. "/ready"
      local stuck = ('pod:commit() os.execute "echo $PPID > %s.new && mv %s.new %s" while true do end')
      local args = policy(wire:format(stuck:format(ready, ready, ready)))
      sh(("(while [ ! -e %s ]; do sleep 0.05; done; kill -TERM $(cat %s)) >/dev/null 2>&1 &"):format(ready, ready))
      refused(101, args)
      assert_as_before()
    end)

    it("an addition to a pod's network that is not a link of ours", function()
      pods.web:sh("ip link set lo up")
      refused(100, policy [[
        local policy = {}
        function policy.add(pod)
          pod.inside.route.add { dst = "192.0.2.0/24", type = "blackhole" }
          pod.inside.sysctl.set("net/ipv4/ip_unprivileged_port_start", 80)
          pod:commit()
          assert(pod.inside.sysctl.get "net/ipv4/ip_unprivileged_port_start" == "80")
          error "no luck"
        end
        return policy
      ]])
      assert.falsy(pods.web:sh("ip route"):find("blackhole", 1, true))
      assert.are.equal("1024", core.sysctl.get(pods.web.ns, "net/ipv4/ip_unprivileged_port_start"))
    end)
  end)

  it("gives 50 pods that come at once 50 addresses", function()
    local script = {}
    for i = 1, 50 do
      spaces.new("pod" .. i)
    end
    local conf = core.json.encode { cniVersion = "1.0.0", name = "testnet", type = "naivebridge",
      ipam = { type = "host-local", subnet = "10.244.1.0/24", dataDir = scratch .. "/networks" } }
    for i = 1, 50 do
      script[i] = ("CNI_COMMAND=ADD CNI_CONTAINERID=pod%d CNI_NETNS=/run/netns/pod%d CNI_IFNAME=eth0 "
        .. "%s/bin/naivebridge <%s/conf >%s/out.%d 2>&1 & p%d=$!"):format(i, i, scratch, scratch, scratch, i, i)
    end
    for i = 1, 50 do
      script[#script + 1] = ("wait $p%d || echo failed %d"):format(i, i)
    end
    local file = assert(io.open(scratch .. "/conf", "w"))
    file:write(conf)
    file:close()
    file = assert(io.open(scratch .. "/burst", "w"))
    file:write("export MNCNI_STATE_DIR=" .. scratch .. "/state\n", table.concat(script, "\n"), "\n")
    file:close()
    local output = in_node("sh " .. scratch .. "/burst")
    assert.are.equal("", output, sh("cat " .. scratch .. "/out.*"))
    assert.are.equal(50, #files(scratch .. "/networks/testnet"))
    local _, ports = veths():gsub("[^\n]+", "")
    assert.are.equal(50, ports)
  end)
end)
