-- SPDX-License-Identifier: Apache-2.0
-- mncni try: a policy at work where no pod is, by the program itself.

local core = require "mncni.core"
local processes = require "spec.support.process"
local spaces = require "spec.support.netns"
local terminals = require "spec.support.terminal"

local BIN = spaces.must("realpath %s", (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni")

local POLICY = [[
local mncni = require "mncni"
local policy = { options = { bridge = { type = "string", default = "br7" } } }
function policy.add(pod, conf)
  local lease = pod:lease(conf.ipam)
  local bridge = mncni.bridge.ensure { ifname = conf.bridge, address = lease.gateways }
  local eth = pod:veth { master = bridge, mtu = 1300 }
  eth:address(lease)
  eth:routes(lease, { default = true })
  --here
  return pod:result { bridge, eth, lease }
end
return policy
]]

describe("mncni try", function()
  local before, scratch, node

  -- Runs it on a node whose default routes go by up0. Returns what it prints, and its status.
  local function try(words, ...)
    return node:sh("cd " .. spaces.quote(scratch) .. " && " .. spaces.quote(BIN) .. " try " .. words, ...)
  end

  local function write(name, text)
    local path = scratch .. "/" .. name
    do
      local file <close> = assert(io.open(path, "w"))
      file:write(text)
    end
    spaces.must("chmod 644 %s", path)
  end

  -- What it leaves in the directory for temporary files.
  local function temporary()
    return spaces.must "ls ${TMPDIR:-/tmp} | grep mncni-try || :"
  end

  before_each(function()
    before = spaces.snapshot()
    scratch = spaces.must "mktemp -d"
    spaces.must("chmod 755 %s", scratch)
    node = spaces.new "node"
    node:must [[
      ip link add up0 mtu 1450 up type veth peer name out0
      ip link set out0 up
      ip addr add 192.0.2.10/24 dev up0
      ip addr add fd00:1::10/64 dev up0 nodad
      ip route add default via 192.0.2.1
      ip -6 route add default via fd00:1::1]]
  end)

  after_each(function()
    spaces.cleanup()
    spaces.must("rm -rf %s", scratch)
    assert.equal("", temporary())
    spaces.assert_nothing_left(before)
  end)

  it("shows steps, result, pings, and that nothing is left", function()
    write("mine.lua", POLICY)
    local said, status = try "mine.lua"
    assert.equal(0, status, said)
    assert.matches("^mine %(%./mine.lua%) on a scratch node: up0 192.0.2.10/24 via 192.0.2.1 "
      .. "fd00:1::10/64 via fd00:1::1, MTU 1450\n", said)
    for _, line in ipairs {
      "\nADD    mine  [%d.]+ ms\n", "\n  ip link add dev br7 [^\n]* type bridge[^\n]*# mine.lua:5\n",
      "\n  ip link add dev veth%w+ [^\n]*master br7 type veth peer name eth0 mtu 1300 netns pod  # mine.lua:6\n",
      "\n  ip %-n pod address add 10.244.1.2/24 dev eth0 +# mine.lua:7\n", "\n  %-> 10.244.1.2/24 via 10.244.1.1\n",
      "\nping   10.244.1.1 %(gateway%)  [%d.]+ ms\n", "\nping   fd00:10:244:1::1 %(gateway%)  [%d.]+ ms\n",
      "\nping   203.0.113.1 %(outside%)  [%d.]+ ms, by its own address: the network has to know the way back",
      "\nCHECK  mine  [%d.]+ ms\n", "\nDEL    mine  [%d.]+ ms\n", "\nstays  link br7 kind bridge ",
      "Nothing else is left, and a second pod leaves nothing more.$",
    } do
      assert.matches(line, said)
    end
  end)

  it("shows that masquerading stands for the pod", function()
    local said, status = try "naivebridge"
    assert.equal(0, status, said)
    assert.matches("\n  nft 'add rule inet mncni postrouting [^\n]* masquerade ", said)
    assert.matches("\nping   203.0.113.1 %(outside%)  [%d.]+ ms, the node's address stands for the pod's\n", said)
    assert.matches("\nping   2001:db8:fffe::1 %(outside%)  [%d.]+ ms, the node's address stands for the pod's\n", said)
  end)

  it("touches neither the node nor its state", function()
    -- An address of the kernel's own may still be tentative before, and is not any more after it.
    local look = "ip -d link; ip addr | sed 's/ tentative//'; ip route; ip rule; nft list ruleset"
    local was = node:must(look)
    assert.equal(0, select(2, try "naivebridge"))
    assert.equal(was, node:must(look))
  end)

  it("tells all of it as JSON", function()
    local said, status = try "-o json bridge"
    local report = core.json.decode(said)
    assert.same({ 0, true, "bridge", "built in", 0 },
      { status, report.ok, report.policy, report.path, #report.left })
    local commands = {}
    for i, call in ipairs(report.calls) do
      commands[i] = call.command
      assert.is_nil(call.error)
      assert.is_number(call.ms)
    end
    assert.same({ "ADD", "CHECK", "DEL" }, commands)
    assert.equal("10.244.1.2/24", report.calls[1].result.ips[1].address)
    assert.is_true(#report.calls[1].steps > 10)
    assert.equal(4, #report.pings)
  end)

  it("puts a bridge below a chained policy", function()
    local said, status = try "portmap"
    assert.equal(0, status, said)
    assert.matches("\nADD    naivebridge .*\nADD    portmap .*\nCHECK  naivebridge .*\nCHECK  portmap .*"
      .. "\nDEL    portmap .*\nDEL    naivebridge ", said)
    assert.matches('\n  # nft: a batch, {"ports":2} +# portmap.lua:', said)
  end)

  it("shows lease, check and release of an IPAM policy", function()
    local said, status = try "host-local"
    assert.equal(0, status, said)
    assert.matches("\nADD    host%-local .*\n  %-> 10.244.1.2/24 via 10.244.1.1\n", said)
    assert.matches("\nCHECK .*\nDEL .*\nNothing is left.$", said)
    assert.not_matches("ping", said)
  end)

  it("shows what a policy of the agent would do", function()
    local said, status = try "routes"
    assert.equal(0, status, said)
    assert.matches("ip route add 10.244.2.0/24 via 10.244.2.0 dev mncni-vxlan proto 78 onlink", said, 1, true)
  end)

  it("takes options and a list of nodes, also for what a controller runs", function()
    local said, status = try "routes --set mode=direct"
    assert.equal(0, status, said)
    assert.matches("ip route add 10.244.2.0/24 via 192.0.2.7 dev up0 proto 78", said, 1, true)
    said, status = try [[nodeipam --set 'cluster_cidrs=["10.244.0.0/16"]']]
    assert.equal(0, status, said)
    assert.matches("kubectl patch node far --patch", said, 1, true)
    write("nodes.json", [[{ "items": [
      { "metadata": { "name": "one" }, "spec": { "podCIDR": "10.5.0.0/24" },
        "status": { "addresses": [ { "type": "InternalIP", "address": "192.0.2.10" } ] } },
      { "metadata": { "name": "two" }, "spec": { "podCIDR": "10.5.1.0/24" },
        "status": { "addresses": [ { "type": "InternalIP", "address": "192.0.2.11" } ] } } ] }]])
    said, status = try "routes nodes.json --set mode=direct"
    assert.equal(0, status, said)
    assert.matches("ip route add 10.5.1.0/24 via 192.0.2.11 dev up0 proto 78", said, 1, true)
    said, status = try "naivebridge --set mtu=1280"
    assert.equal(0, status, said)
    assert.matches("link set dev cbr0 mtu 1280", said, 1, true)
  end)

  it("runs every policy that needs no more than an address", function()
    for _, name in ipairs { "loopback", "ptp", "macvlan", "tap", "static", "bandwidth", "firewall", "tuning", "sbr" } do
      local said, status = try(name)
      assert.equal(0, status, said)
    end
  end)

  it("takes a user's configuration, and nothing of its network", function()
    write("mine.lua", POLICY)
    write("net.conflist", [[
      { "cniVersion": "1.0.0", "name": "pods", "plugins": [
        { "type": "mncni", "policy": "mine", "bridge": "br8",
          "ipam": { "type": "host-local", "subnet": "10.99.0.0/24", "dataDir": "/nonexistent" } },
        { "type": "portmap", "capabilities": { "portMappings": true } } ] }]])
    local said, status = try "mine.lua net.conflist"
    assert.equal(0, status, said)
    assert.matches("ip link add dev br8 ", said, 1, true)
    assert.matches("-> 10.99.0.2/24 via 10.99.0.1", said, 1, true)
    assert.matches("\nADD    portmap ", said)
    assert.not_matches("network[= ]pods", said)
  end)

  for _, case in ipairs {
    { "the kernel refuses", "eth:route { dst = '10.9.0.0/16', gateway = '10.99.0.1' }",
      'error 102: .*Nexthop has invalid gateway"\n  %./mine.lua:9\n' },
    { "raises", "error 'no luck'", "error 100: .*no luck\n  %./mine.lua:9\n" },
    { "calls what does not exist", "eth:adress '10.9.0.1/24'",
      '^%./mine.lua:9: error: what pod:veth returns has no "adress"; did you mean "address"%?\n.*\n  %./mine.lua:9\n' },
  } do
    it("shows, with file and line, where a policy " .. case[1] .. ", and that it was undone", function()
      write("mine.lua", (POLICY:gsub("%-%-here", case[2])))
      local said, status = try "mine.lua"
      assert.equal(1, status)
      assert.matches(case[3], said)
      assert.matches("\nNothing [^\n]*is left[^\n]*$", said)
    end)
  end

  it("does not run what does not load", function()
    write("mine.lua", "local policy = {}\nfunction policy.add(pod\nreturn policy\n")
    assert.same({ "./mine.lua:3: error: ')' expected near 'return'", 1 }, { try "mine.lua" })
    spaces.must("chmod g+w %s", scratch .. "/mine.lua")
    local said, status = try "mine.lua"
    assert.matches("mine.lua: error: owned by uid 0 and writable by its group %(mode 0664%): chmod go%-w ", said)
    assert.equal(1, status)
  end)

  it("tells what a pod leaves that would add up", function()
    write("mine.lua", (POLICY:gsub("%-%-here", [[
      local host <close> = mncni.open()
      host.link.add { ifname = "leak" .. pod.container, kind = "bridge" }]])))
    local said, status = try "mine.lua"
    assert.equal(1, status)
    assert.matches("\nstays  link leaktry1 ", said)
    assert.matches("\nLEFT   link leaktry2 ", said)
  end)

  it("plans on the recorded net without root", function()
    write("mine.lua", POLICY)
    spaces.must("mkdir -m 755 %s && cp %s %s", scratch .. "/bin", BIN, scratch .. "/bin")
    local as_nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups env TMPDIR=/tmp "
      .. spaces.quote(scratch .. "/bin/mncni") .. " try "
    local said, status = node:sh("cd " .. spaces.quote(scratch) .. " && " .. as_nobody .. "mine.lua")
    assert.equal(0, status, said)
    assert.matches("on the recorded net, for want of root: up0 192.0.2.10/24", said, 1, true)
    assert.matches("\n  ip link add dev br7 ", said)
    assert.matches("\n  %-> 10.244.1.2/24 via 10.244.1.1\n", said)
    write("mine.lua", (POLICY:gsub("%-%-here", "error 'no luck'")))
    said, status = node:sh("cd " .. spaces.quote(scratch) .. " && " .. as_nobody .. "mine.lua")
    assert.equal(1, status)
    assert.matches("no luck\n  %./mine.lua:9", said)
  end)

  it("leaves nothing when it is killed", function()
    write("mine.lua", (POLICY:gsub("%-%-here", "for _ = 1, 1e12 do end")))
    local pid = node:must("cd %s && { %s try mine.lua >/dev/null 2>&1 & echo $!; }", scratch, BIN)
    assert.truthy(processes.wait(20, function() return temporary() ~= "" end))
    spaces.must("kill -KILL %s", pid)
    assert.truthy(processes.wait(20, function() return temporary() == "" end))
  end)

  it("runs again when its file is saved", function()
    write("mine.lua", POLICY)
    local terminal <close> = terminals.start {
      argv = { "ip", "netns", "exec", "node", BIN, "try", "--watch", "mine.lua" }, directory = scratch,
    }
    terminal:wait "^Nothing else is left"
    write("mine.lua", (POLICY:gsub("1300", "1280")))
    terminal:wait "mtu 1280"
    write("new.lua", (POLICY:gsub("%-%-here", "eth:adress(lease)")))
    spaces.must("mv %s %s", scratch .. "/new.lua", scratch .. "/mine.lua") -- as editors do
    terminal:wait '^%S+ ./mine.lua:9: error: .*did you mean "address"'
  end)

  it("answers a mistake in its words in one line", function()
    for words, said in pairs {
      [""] = "mncni try: it needs POLICY [CONF]; mncni try --help",
      ["nosuch.lua"] = 'mncni try: "nosuch.lua": there is no such file; mncni try --help',
      ["naivebridge nosuch.conf"] = 'mncni try: "nosuch.conf": there is no such file; mncni try --help',
      ["--watch naivebridge"] = 'mncni try: "naivebridge" is built in, and nobody saves it; give the path of a file; '
        .. "mncni try --help",
      ["naivebridge --set mtu"] = 'mncni try: --set takes NAME=VALUE, not "mtu"; mncni try --help',
      ["a b c"] = 'mncni try: "c" is one argument too many; mncni try --help',
    } do
      assert.same({ said, 2 }, { try(words) })
    end
    write("bad.conf", '{ "plugins": 5 }')
    local said, status = try "naivebridge bad.conf"
    assert.matches('\nmncni try: bad.conf: it is no network configuration[^\n]*$', said)
    assert.equal(1, status)
  end)
end)
