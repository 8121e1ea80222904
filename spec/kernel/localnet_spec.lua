-- SPDX-License-Identifier: Apache-2.0
-- Host ports on 127.0.0.1, as a policy of one's own may make them: reachable while an attachment needs it, by nobody
-- but the node's own programs, and off afterwards.

local core = require "mncni.core"
local frames = require "spec.support.frames"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

-- Node port 8080 on 127.0.0.1 is the pod's port 80.
local POLICY = [[
  local mncni = require "mncni"
  local policy = { options = { fails = { type = "boolean" } } }

  function policy.add(pod, conf)
    local lease = pod:lease(conf.ipam)
    local bridge = mncni.bridge.ensure { ifname = "cbr0", address = lease.gateways }
    local eth = pod:veth { master = bridge }
    eth:address(lease)
    eth:routes(lease, { default = true })
    mncni.localnet.ensure { bridge = bridge, port = eth }
    pod:commit()
    if conf.fails then
      error "no luck"
    end
    local host <close> = mncni.open()
    host.nft.batch {
      { "replace", "table", { family = "ip", name = "hostports" } },
      { "replace", "chain", {
        family = "ip", table = "hostports", name = "output", type = "nat", hook = "output", prio = -100,
      } },
      { "add", "rule", { family = "ip", table = "hostports", chain = "output", expr = {
        { kind = "payload", base = "network", offset = 16, len = 4, dreg = 1 },
        { kind = "cmp", sreg = 1, op = "eq", data = { address = "127.0.0.1" } },
        { kind = "meta", key = "l4proto", dreg = 1 },
        { kind = "cmp", sreg = 1, op = "eq", data = { u8 = 6 } },
        { kind = "payload", base = "transport", offset = 2, len = 2, dreg = 1 },
        { kind = "cmp", sreg = 1, op = "eq", data = { be16 = 8080 } },
        { kind = "immediate", dreg = 1, data = mncni.cidr(lease.addresses[1].address) },
        { kind = "immediate", dreg = 2, data = { be16 = 80 } },
        { kind = "nat", type = "dnat", family = "ip", reg_addr_min = 1, reg_proto_min = 2 },
      } } },
    }
    return pod:result { bridge, eth, lease }
  end

  return policy
]]

local WEB, DB = { pod = "web", policy = "hostport" }, { pod = "db", policy = "hostport" }

describe("a host port on 127.0.0.1", function()
  local node, helpers

  before_each(function()
    node = nodes.new { pods = { "web", "db" } }
    node:policy("hostport", POLICY)
    helpers = {}
  end)

  after_each(function()
    for _, helper in ipairs(helpers) do
      spaces.sh("kill -KILL %s", helper.pid) -- which is nobody else's before it is waited for
      helper.pipe:close()
    end
    node:cleanup()
  end)

  -- Starts a program in a namespace; returns { pid =, pipe = what it prints }. It is our child, gone or not, until the
  -- spec ends.
  local function start(space, command, ...)
    local quoted = table.pack(...)
    for i = 1, quoted.n do
      quoted[i] = spaces.quote(quoted[i])
    end
    local pipe = space:run(io.popen, "echo $$; exec " .. command:format(table.unpack(quoted)))
    helpers[#helpers + 1] = { pid = pipe:read "l", pipe = pipe }
    return helpers[#helpers]
  end

  -- A web server that answers with its name; returns once it does.
  local function serve(space, name, address)
    local files = node.scratch .. "/" .. name
    spaces.must("mkdir %s && echo %s >%s", files, name, files .. "/index.html")
    local server = start(space, "busybox httpd -f -p %s -h %s 2>&1", address, files)
    -- One that has ended is a zombie, whose program is not there.
    space:must([[until [ "$(curl -s -m 2 http://%s/)" = %s ]; do
      [ -e /proc/%s/exe ] || { echo "the server has ended"; exit 1; }; sleep 0.05; done]], address, name, server.pid)
  end

  local function fetch(space, address)
    return (space:sh("curl -s -m 2 http://%s/", address))
  end

  local function route_localnet()
    return node.space:run(core.sysctl.get, nil, "net/ipv4/conf/cbr0/route_localnet")
  end

  local function element(port)
    return node:sh("nft list set inet mncni localnet-cbr0"):find(port, 1, true) ~= nil
  end

  it("leads to the pod while the pod is there", function()
    local _, facts = node:add(WEB)
    serve(node.pods.web, "web", facts.address .. ":80")
    assert.are.equal("web", fetch(node.space, "127.0.0.1:8080"))
    assert.are.equal("1", route_localnet())
    assert.is_true(element(facts.port))
    node:must("DEL", WEB)
    assert.are_not.equal("web", fetch(node.space, "127.0.0.1:8080"))
    assert.are.equal("0", route_localnet())
    assert.is_false(element(facts.port))
  end)

  it("is nothing that other attachments switch on", function()
    node:add { pod = "web" }
    assert.are.equal("0", route_localnet())
    assert.falsy(node:sh("nft list ruleset"):find("localnet", 1, true))
  end)

  it("stays until the last one that needs it goes, whose namespace may be gone", function()
    local _, web = node:add(WEB)
    local _, db = node:add(DB)
    node:must("DEL", WEB)
    assert.are.equal("1", route_localnet())
    assert.is_false(element(web.port))
    assert.is_true(element(db.port))
    node.pods.db:close()
    node:must("DEL", DB)
    assert.are.equal("0", route_localnet())
  end)

  it("goes when the ADD fails, but not from under another one", function()
    local args = { pod = "db", policy = "hostport", conf = { fails = true } }
    node.space:must "ip link add cbr0 type bridge"
    assert.are.equal(100, node:call("ADD", args).json.code)
    assert.are.equal("0", route_localnet())
    node:add(WEB)
    assert.are.equal(100, node:call("ADD", args).json.code)
    assert.are.equal("1", route_localnet())
  end)

  it("goes with GC, and with nftables or the bridge gone", function()
    node:add(WEB)
    node:must("GC", { pod = "db", policy = "hostport",
      conf = { ["cni.dev/valid-attachments"] = core.json.array {} } })
    assert.are.equal("0", route_localnet())
    node:add(WEB)
    node.space:must "nft flush ruleset"
    node:must("DEL", WEB)
    assert.are.equal("0", route_localnet())
    node:add(WEB)
    node.space:must "ip link del cbr0"
    node:must("DEL", WEB)
  end)

  it("stays on for one that comes while the last one goes", function()
    local _, web = node:add(WEB)
    -- DEL stops between its decision to switch it off and the write that does so, and ADD comes meanwhile.
    local conf, log = node.scratch .. "/conf", node.scratch .. "/trace"
    do
      local file <close> = assert(io.open(conf, "w"))
      file:write(core.json.encode(node:config { type = "mncni", policy = "hostport" }))
    end
    local going = start(node.space, [[env CNI_COMMAND=DEL CNI_CONTAINERID=web CNI_NETNS=/run/netns/web CNI_IFNAME=eth0 \
      CNI_PATH=/x MNCNI_STATE_DIR=%s MNCNI_POLICY_PATH=%s ASAN_OPTIONS=detect_leaks=0 \
      strace -D -o %s -P /proc/sys/net/ipv4/conf/cbr0/route_localnet -e trace=openat \
      -e inject=openat:signal=SIGSTOP:when=1 %s <%s 2>&1]],
      node.state, node.scratch .. "/policies", log, node.scratch .. "/bin/mncni", conf)
    spaces.must([[until grep -q 'stopped by SIGSTOP' %s; do
      [ -e /proc/%s/exe ] || { cat %s; exit 1; }; sleep 0.01; done]], log, going.pid, log)
    assert.is_false(element(web.port))
    node:add(DB)
    spaces.must("kill -CONT %s", going.pid)
    assert.are.equal("", going.pipe:read "a")
    assert.is_true(going.pipe:close())
    table.remove(helpers)
    assert.are.equal("1", route_localnet())
    node:must("DEL", DB)
    assert.are.equal("0", route_localnet())
  end)

  it("opens nothing to neighbours", function()
    local result = node:add(WEB)
    local _, db = node:add { pod = "db" }
    serve(node.space, "private", "127.0.0.1:9000")
    -- A neighbour whose own kernel sends such packets: to the node, whose private service would answer.
    node.pods.db:must("echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; ip rule add pref 10 lookup local;"
      .. "ip rule add pref 5 to 127.0.0.1 lookup 99; ip rule del pref 0;"
      .. "ip route add 127.0.0.1 via 10.244.1.1 dev eth0 src %s table 99", db.address)
    assert.are_not.equal("private", fetch(node.pods.db, "127.0.0.1:9000"))
    -- And one that claims to come from there: what gets past our rules is counted.
    node.space:must("nft add table inet probe; nft add chain inet probe seen "
      .. "'{ type filter hook prerouting priority -299; }'; "
      .. "nft add rule inet probe seen iifname cbr0 ip saddr 127.0.0.1 counter")
    local bridge_mac = result.interfaces[1].mac
    local function forge()
      frames.arrives {
        frame = frames.ether { to = bridge_mac, from = db.mac, type = 0x0800,
          payload = frames.ipv4("127.0.0.1", "10.244.1.1") },
        from = node.pods.db, to = node.space, to_ifname = "cbr0", mark = function(text)
          return frames.ether { to = bridge_mac, from = db.mac, type = 0x0800,
            payload = frames.ipv4(db.address, "10.244.1.1", text) }
        end,
      }
      return node:sh("nft list chain inet probe seen"):match "packets (%d+)"
    end
    assert.are.equal("0", forge())
    -- Our rules are what makes the difference.
    node.space:must "nft flush chain inet mncni localnet"
    assert.are.equal("private", fetch(node.pods.db, "127.0.0.1:9000"))
    assert.are.equal("1", forge())
  end)

  it("is looked at by CHECK", function()
    local result, facts = node:add(WEB)
    for _, mutation in ipairs {
      { "nft delete element inet mncni localnet-cbr0 '{ \"%PORT\" }'",
        'nft set "inet mncni localnet-cbr0": the element of port %PORT is gone' },
      { "echo 0 >/proc/sys/net/ipv4/conf/cbr0/route_localnet", "sysctl net/ipv4/conf/cbr0/route_localnet: it is 0" },
      { "nft flush chain inet mncni localnet", 'nft chain "inet mncni localnet": rule 1' },
      { "nft flush chain inet mncni localnet_source", 'nft chain "inet mncni localnet_source": rule 3' },
    } do
      assert.is_nil(node:check(WEB, result))
      node.space:must((mutation[1]:gsub("%%PORT", facts.port)))
      local said = node:check(WEB, result)
      assert.truthy(said and said:find(mutation[2]:gsub("%%PORT", facts.port), 1, true), said)
      node:must("DEL", WEB)
      result, facts = node:add(WEB)
    end
  end)
end)
