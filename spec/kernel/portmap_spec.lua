-- SPDX-License-Identifier: Apache-2.0
-- portmap as a plugin: its configuration, its results, what it makes and what takes that away again. Where the ports
-- lead is in portmap_traffic_spec.

local core = require "mncni.core"
local hostports = require "spec.support.hostports"
local spaces = require "spec.support.netns"

local VERSIONS = { "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" }
local PORT = { hostPort = 8080, containerPort = 80, protocol = "tcp" }

describe("portmap", function()
  local world, node, before

  before_each(function()
    before = spaces.snapshot()
    world = hostports.new()
    node = world.node
  end)

  after_each(function()
    world:close()
    spaces.assert_nothing_left(before)
  end)

  local function nft()
    return node:sh "nft list ruleset"
  end

  local function refused(args, code, message)
    local outcome = world:portmap("ADD", "web", args)
    local said = outcome.json and outcome.json.msg or outcome.stdout
    assert.are.equal(code, outcome.json and outcome.json.code, said)
    assert.truthy(said:find(message, 1, true), said)
  end

  it("is refused when nothing came before it in the chain", function()
    refused({ previous = false, mappings = { PORT } }, 7, "must be called as chained plugin")
  end)

  it("gives the result before it back, with ports and without, in every version of CNI", function()
    for _, version in ipairs(VERSIONS) do
      local result = world:wire("web", { version = version })
      local rules = nft()
      for _, mappings in ipairs { core.json.null, {} } do
        local args = { version = version, mappings = mappings ~= core.json.null and mappings or nil }
        assert.are.same(result, world:portmap("ADD", "web", args).json, version)
        assert.are.equal(rules, nft())
        assert.are.equal(0, world:portmap("DEL", "web", args).status)
      end
      assert.are.same(result, world:portmap("ADD", "web", { version = version, mappings = { PORT } }).json, version)
      assert.are.equal(6, #world:elements(), version)
      if version >= "0.4.0" then
        assert.is_nil(world:check("web", { version = version, mappings = { PORT } }))
      end
      world:detach("web", { version = version })
      assert.are.same({}, world:elements())
      node.space:must "nft flush ruleset"
    end
  end)

  it("takes the spelling of containerd, and the reference's keys", function()
    world:attach("web", {
      mappings = { { HostPort = 8080, ContainerPort = 80, Protocol = "tcp", HostIP = "" } },
      conf = {
        snat = true, masqAll = false, backend = "iptables", markMasqBit = 13, conditionsV4 = core.json.array {},
        conditionsV6 = core.json.array {}, capabilities = { portMappings = true },
      },
    })
    assert.are.equal(6, #world:elements())
    world:detach "web"
    world:attach("web", { mappings = { { hostPort = 8080, containerPort = 80 } },
      conf = { backend = "nftables", externalSetMarkChain = "KUBE-MARK-MASQ" } })
    assert.are.equal(6, #world:elements())
  end)

  it("refuses what it cannot keep, naming the key, and changes nothing", function()
    world:wire "web"
    local rules, journals = nft(), node:journals()
    local function mapping(change)
      local one = { hostPort = 8080, containerPort = 80, protocol = "tcp" }
      for key, value in pairs(change) do
        one[key] = value
      end
      return { mappings = { PORT, one } }
    end
    for _, case in ipairs {
      { mapping { hostPort = 0 }, '"portMappings[1].hostPort": must be a port from 1 to 65535, and is 0' },
      { mapping { containerPort = 0 }, '"portMappings[1].containerPort": must be a port from 1 to 65535, and is 0' },
      { mapping { hostPort = 65536 }, '"portMappings[1].hostPort"' },
      { mapping { containerPort = -1 }, '"portMappings[1].containerPort"' },
      { mapping { hostPort = "8080" }, "portMappings[1].hostPort" },
      { mapping { protocol = "icmp" }, '"portMappings[1].protocol": must be tcp, udp or sctp, and is "icmp"' },
      { mapping { hostIP = "localhost" }, '"portMappings[1].hostIP": must be an address of the node' },
      { mapping { hostIP = "192.0.2.10/24" }, '"portMappings[1].hostIP"' },
      { mapping { containerPort = 81 }, '"portMappings[1].hostPort": 8080/tcp leads to port 80 of the pod already' },
      { { mappings = { PORT }, conf = { markMasqBit = 32 } }, "markMasqBit" },
      { { mappings = { PORT }, conf = { markMasqBit = -1 } }, "markMasqBit" },
      { { mappings = { PORT }, conf = { markMasqBit = 1, externalSetMarkChain = "X" } },
        "excludes externalSetMarkChain" },
      { { mappings = { PORT }, conf = { backend = "ipvs" } }, "backend" },
      { { mappings = { PORT }, conf = { conditionsV4 = { "!", "-d", "192.0.2.0/24" } } }, "conditions cannot be kept" },
      { { mappings = { PORT }, conf = { conditionsV6 = { "ip6 saddr ::1" } } }, "conditionsV6" },
      { { mappings = { PORT }, conf = { snat = "yes" } }, "snat" },
    } do
      refused(case[1], 7, case[2])
      assert.are.equal(rules, nft())
      assert.are.same(journals, node:journals())
    end
  end)

  it("says so when the pod has no address for a port", function()
    node:subnets { "10.244.1.0/24" }
    world:wire "web"
    local outcome = world:portmap("ADD", "web", { mappings = {
      { hostPort = 8080, containerPort = 80, protocol = "tcp", hostIP = "2001:db8::10" },
    } })
    assert.are.equal(0, outcome.status)
    assert.truthy(outcome.stderr:find("no address of the family", 1, true), outcome.stderr)
    assert.are.same(world.results.web, outcome.json)
  end)

  it("makes the same port once, however often the runtime lists it", function()
    world:attach("web", { mappings = {
      PORT, PORT, { hostPort = 8080, containerPort = 80, protocol = "TCP", hostIP = "0.0.0.0" },
      { hostPort = 8080, containerPort = 80, protocol = "tcp", hostIP = "192.0.2.10" },
      { hostPort = 8080, containerPort = 80, protocol = "tcp", hostIP = "192.0.2.11" },
    } })
    local text = table.concat(world:elements(), "\n")
    assert.are.equal(1, select(2, text:gsub("hostports4 ", "")), text)
    assert.are.equal(2, select(2, text:gsub("hostip_ports4 ", "")), text)
    assert.are.equal(1, select(2, text:gsub("hostport_snat4 ", "")), text)
    assert.is_nil(world:check("web"))
    world:detach "web"
    assert.are.same({}, world:elements())
  end)

  it("costs elements, and the rules stand once for all pods", function()
    world:attach("web", { mappings = { PORT } })
    local function rules()
      return node:sh "nft list table inet mncni":gsub("elements = {[^}]*}", ""):gsub("%s+\n", "\n")
    end
    local first = rules()
    world:attach("db", { mappings = { { hostPort = 8081, containerPort = 80, protocol = "tcp" } } })
    assert.are.equal(first, rules())
    assert.are.equal(12, #world:elements())
  end)

  it("is in what nft saves and loads again", function()
    world:attach("web", { mappings = { PORT } })
    local saved = node.scratch .. "/saved"
    node.space:must("nft list ruleset >%s; nft flush ruleset; nft -f %s", saved, saved)
    world:serve("web", "tcp:80")
    for _, case in ipairs { { world.client, "192.0.2.20" }, { node.pods.web, "10.244.1.1" } } do
      assert.are.equal("web " .. case[2], world:ask { from = case[1], to = "192.0.2.10", port = 8080 })
    end
    world:detach "web"
    assert.are.same({}, world:elements())
  end)

  describe("where another pod has the port", function()
    local held

    before_each(function()
      world:attach("web", { mappings = { PORT } })
      world:wire "db"
      held = { nft(), node:journals() }
    end)

    local function still_held()
      assert.are.same(held, { nft(), node:journals() })
      assert.is_nil(world:check "web")
    end

    it("names port and pod, and changes nothing", function()
      local outcome = world:portmap("ADD", "db", { mappings = {
        { hostPort = 8081, containerPort = 81, protocol = "tcp" }, PORT,
      } })
      assert.are.equal(103, outcome.json.code)
      assert.are.equal("add host port 8080/tcp: EEXIST File exists: container web (eth0 in network testnet) has it "
        .. "already; nothing was changed, choose another port or delete that one first", outcome.json.msg)
      still_held()
      assert.are.equal(0, world:portmap("DEL", "db").status)
      still_held()
    end)

    it("takes the same number of another protocol or address", function()
      assert.are.equal(0, world:portmap("ADD", "db", { mappings = {
        { hostPort = 8080, containerPort = 80, protocol = "udp" },
        { hostPort = 8080, containerPort = 80, protocol = "tcp", hostIP = "192.0.2.11" },
      } }).status)
      world:wire "third"
      local outcome = world:portmap("ADD", "third", { mappings = {
        { hostPort = 8080, containerPort = 80, protocol = "tcp", hostIP = "192.0.2.11" },
      } })
      assert.are.equal(103, outcome.json.code)
      assert.truthy(outcome.json.msg:find("host port 192.0.2.11 8080/tcp", 1, true), outcome.stdout)
      assert.truthy(outcome.json.msg:find("container db", 1, true), outcome.stdout)
    end)

    it("takes it over from one that is proven dead", function()
      node:kill "web"
      world.results.web = nil
      local outcome = world:portmap("ADD", "db", { mappings = { PORT } })
      assert.are.equal(0, outcome.status, outcome.stdout)
      assert.is_nil(world:check "db")
      assert.truthy(table.concat(world:elements(), "\n"):find("testnet db eth0", 1, true))
      -- The DEL that comes late takes nothing of it.
      local elements = world:elements()
      assert.are.equal(0, world:portmap("DEL", "web").status)
      assert.are.same(elements, world:elements())
    end)

    it("leaves it to its owner when a late DEL comes for one that had it once", function()
      -- What a DEL is told of by a journal that is older than the port's present owner.
      local path = node.state .. "/attachments/testnet/web@portmap@eth0"
      spaces.must("cp %s %s", path, node.scratch .. "/old")
      world:detach("web", { ports_only = true })
      assert.are.equal(0, world:portmap("ADD", "db", { mappings = { PORT } }).status)
      local elements = world:elements()
      spaces.must("cp %s %s", node.scratch .. "/old", path)
      assert.are.equal(0, world:portmap("DEL", "web").status)
      assert.are.same(elements, world:elements())
      assert.is_nil(world:check "db")
    end)
  end)

  it("gives a port to exactly one of many that want it at once, and each its own otherwise", function()
    local count = 8
    for i = 1, count do
      world:wire("pod" .. i)
    end
    local function all(port)
      for i = 1, count do
        local file <close> = assert(io.open(("%s/conf%d"):format(node.scratch, i), "w"))
        file:write(core.json.encode(node:config(world:config("pod" .. i, { mappings = {
          { hostPort = port(i), containerPort = 80, protocol = "tcp" },
        } }))))
      end
      return node:sh([[export CNI_IFNAME=eth0 CNI_COMMAND=ADD CNI_PATH=%s MNCNI_STATE_DIR=%s
        for i in $(seq %s); do
          (CNI_CONTAINERID=pod$i CNI_NETNS=/run/netns/pod$i %s/bin/portmap <%s/conf$i | grep '"code"' || echo ok) &
        done; wait]], node.scratch, node.state, count, node.scratch, node.scratch)
    end
    local function words(text, word)
      return select(2, text:gsub(word, ""))
    end
    local text = all(function() return 8080 end)
    assert.are.same({ 1, count - 1 }, { words(text, "ok"), words(text, "103") }, text)
    assert.are.equal(6, #world:elements())
    for i = 1, count do
      world:detach("pod" .. i, { ports_only = true })
    end
    assert.are.same({}, world:elements())
    text = all(function(i) return 8080 + i end)
    assert.are.equal(count, words(text, "ok"), text)
    assert.are.equal(6 * count, #world:elements())
    for i = 1, count do
      world:detach("pod" .. i)
    end
    assert.are.same({}, world:elements())
  end)

  it("makes a thousand ports in one transaction, and takes them away in one", function()
    local mappings = {}
    for i = 1, 1000 do
      mappings[i] = { hostPort = 10000 + i, containerPort = i, protocol = i % 2 == 0 and "udp" or "tcp" }
    end
    world:wire "web"
    local generation = node.space:run(function()
      local mncni = require "mncni"
      local host <close> = mncni.open()
      return host:socket "netfilter":request("get", "nft_gen", {}).id
    end)
    local started = os.clock()
    local outcome = world:portmap("ADD", "web", { mappings = mappings })
    assert.are.equal(0, outcome.status, outcome.stdout)
    local now = node.space:run(function()
      local mncni = require "mncni"
      local host <close> = mncni.open()
      return host:socket "netfilter":request("get", "nft_gen", {}).id
    end)
    assert.is_true(now - generation <= 3, ("%d transactions, and two are those of localnet"):format(now - generation))
    print(("1000 host ports, both families: %.0f ms of this process besides"):format((os.clock() - started) * 1000))
    local size = tonumber(spaces.must("stat -c %%s %s", node.state .. "/attachments/testnet/web@portmap@eth0"))
    assert.is_true(size < 1 << 20, size)
    world:serve("web", "tcp:999")
    assert.are.equal("web 192.0.2.20", world:ask { from = world.client, to = "192.0.2.10", port = 10999 })
    assert.is_nil(world:check "web")
    world:detach "web"
    assert.are.same({}, world:elements())
  end)

  describe("deletes", function()
    it("what was never added, and without the result before it", function()
      assert.are.equal(0, world:portmap("DEL", "web", { previous = false, mappings = { PORT } }).status)
      world:attach("web", { mappings = { PORT } })
      assert.are.equal(0, world:portmap("DEL", "web", { previous = false }).status)
      assert.are.same({}, world:elements())
      assert.are.equal(0, world:portmap("DEL", "web", { previous = false }).status)
    end)

    it("with the namespace gone, and a configuration that would be refused by now", function()
      world:attach("web", { mappings = { PORT } })
      node:kill "web"
      assert.are.equal(0, world:portmap("DEL", "web", { conf = { markMasqBit = 99, conditionsV4 = { "x" } } }).status)
      assert.are.same({}, world:elements())
    end)

    it("with all of nftables flushed, or some elements removed by hand", function()
      world:attach("web", { mappings = { PORT } })
      node.space:must "nft flush ruleset"
      world:detach "web"
      for _, gone in ipairs {
        "delete element inet mncni hostports4 '{ tcp . 8080 }'", "flush set inet mncni hostport_owners4",
        "flush set inet mncni hostport_snat6", "flush map inet mncni hostports6",
      } do
        world:attach("web", { mappings = { PORT } })
        node.space:must("nft " .. gone)
        world:detach "web"
        local left = table.concat(world:elements(), "\n")
        assert.falsy(left:find("hostport_owners6", 1, true) and gone:find("6", 1, true), left)
        node.space:must "nft flush ruleset"
      end
    end)

    it("without its journal by the name of the attachment, and nothing else", function()
      world:attach("web", { mappings = {
        PORT, { hostPort = 9, containerPort = 9, protocol = "udp", hostIP = "192.0.2.10" },
      } })
      world:attach("db", { mappings = { { hostPort = 8081, containerPort = 80, protocol = "tcp" } } })
      spaces.must("rm -rf %s", node.state)
      assert.are.equal(0, world:portmap("DEL", "web").status)
      local left = world:elements()
      assert.are.equal(6, #left, table.concat(left, "\n"))
      assert.falsy(table.concat(left, "\n"):find("web", 1, true))
      assert.are.equal(0, world:portmap("DEL", "db").status)
      assert.are.same({}, world:elements())
    end)

    for _, line in ipairs { "nonsense", '{"format":1,"format":1}', '{"format":1}\\n{"result":{},"result":{}}' } do
      it("with a journal that somebody damaged: " .. line, function()
        world:attach("web", { mappings = { PORT } })
        spaces.must("printf '%%b\\n' %s >%s/attachments/testnet/web@portmap@eth0", line, node.state)
        assert.are.equal(0, world:portmap("DEL", "web").status)
        assert.are.same({}, world:elements())
        assert.are.same({ "testnet/web@naivebridge@eth0" }, node:journals())
      end)
    end
  end)

  describe("collects", function()
    local function gc(...)
      local valid = core.json.array {}
      for i, name in ipairs { ... } do
        valid[i] = { containerID = name, ifname = "eth0" }
      end
      local outcome = world:portmap("GC", "web", {
        version = "1.1.0", previous = false, conf = { ["cni.dev/valid-attachments"] = valid },
      })
      assert.are.equal(0, outcome.status, outcome.stdout)
    end

    before_each(function()
      world:attach("web", { mappings = { PORT } })
      world:attach("db", { mappings = { { hostPort = 8081, containerPort = 80, protocol = "tcp" } } })
    end)

    it("the ports that no attachment of the runtime's list has", function()
      gc("web", "db")
      assert.are.equal(12, #world:elements())
      gc "web"
      assert.falsy(table.concat(world:elements(), "\n"):find("testnet db", 1, true))
      assert.is_nil(world:check "web")
      gc()
      assert.are.same({}, world:elements())
    end)

    it("them without their journals as well", function()
      spaces.must("rm -rf %s", node.state)
      gc "web"
      local left = table.concat(world:elements(), "\n")
      assert.falsy(left:find("testnet db", 1, true), left)
      assert.truthy(left:find("testnet web", 1, true), left)
    end)

    it("those of pods that ended without a DEL, with mncni gc", function()
      node:kill "db"
      node:gc "--grace=0"
      assert.falsy(table.concat(world:elements(), "\n"):find("testnet db", 1, true))
      assert.is_nil(world:check "web")
    end)
  end)

  it("has a CHECK that names what is gone", function()
    world:attach("web", { mappings = { PORT, { hostPort = 8081, containerPort = 81, protocol = "udp" } } })
    for _, mutation in ipairs {
      { "nft delete element inet mncni hostports4 '{ tcp . 8080 }'", "the element of host port 8080/tcp is gone" },
      { "nft delete element inet mncni hostports6 '{ udp . 8081 }'", "the element of host port 8081/udp is gone" },
      { "nft flush set inet mncni hostport_owners4", "hostport_owners4" },
      { "nft flush set inet mncni hostport_snat4", "hostport_snat4" },
      { "nft delete element inet mncni hostports4 '{ tcp . 8080 }';"
        .. "nft add element inet mncni hostports4 '{ tcp . 8080 : 10.9.9.9 . 80 }'", "or another one" },
      { "nft flush chain inet mncni hostports", 'nft chain "inet mncni hostports": rule' },
      { "nft flush chain inet mncni hostport_in", 'nft chain "inet mncni hostport_in": rule 1' },
      { "nft flush ruleset", "it is gone" },
      { "echo 0 >/proc/sys/net/ipv4/conf/cbr0/route_localnet", "route_localnet: it is 0" },
    } do
      assert.is_nil(world:check "web")
      node.space:must(mutation[1])
      local said = world:check "web"
      assert.truthy(said and said:find(mutation[2], 1, true), said)
      world:detach("web", { ports_only = true })
      node.space:must "nft flush ruleset"
      assert.are.equal(0, world:portmap("ADD", "web", {
        mappings = { PORT, { hostPort = 8081, containerPort = 81, protocol = "udp" } },
      }).status)
    end
  end)

  it("answers STATUS", function()
    local function status(conf)
      return world:portmap("STATUS", "web", { version = "1.1.0", previous = false, conf = conf })
    end
    assert.are.equal(0, status().status)
    local outcome = status { conditionsV4 = { "!" } }
    assert.are.equal(50, outcome.json.code)
    assert.truthy(outcome.json.msg:find("conditions", 1, true), outcome.stdout)
  end)

  it("gives ports to a policy of one's own, without a chain", function()
    node:policy("served", [[
      local mncni = require "mncni"
      local policy = {}
      function policy.add(pod, conf)
        local lease = pod:lease(conf.ipam)
        local bridge = mncni.bridge.ensure { ifname = "cbr0", address = lease.gateways }
        local eth = pod:veth { master = bridge, hairpin = true }
        eth:address(lease)
        eth:routes(lease, { default = true })
        pod:commit()
        mncni.hostport.ensure {
          pod = pod, mappings = { { hostPort = 8080, containerPort = 80 } },
          addresses = { mncni.cidr(lease.addresses[1].address) },
        }
        return pod:result { bridge, eth, lease }
      end
      return policy
    ]])
    world.results.web = node:must("ADD", { pod = "web", policy = "served" })
    world:serve("web", "tcp:80")
    assert.are.equal("web 10.244.1.1", world:ask { to = "127.0.0.1", port = 8080 })
    node:must("DEL", { pod = "web", policy = "served" })
    assert.are.same({}, world:elements())
  end)
end)
