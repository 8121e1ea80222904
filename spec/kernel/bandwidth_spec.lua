-- SPDX-License-Identifier: Apache-2.0
-- The bandwidth policy behind a plugin that makes a veth pair: what the kernel has, what traffic feels, how it ends.
-- Runs alone: its flows are to be as fast as the limits let them.
local core = require "mncni.core"
local nodes = require "spec.support.node"
local shaping = require "mncni.shaping"
local spaces = require "spec.support.netns"

local RATE, BURST = 16000000, 800000 -- bits: 2 MB/s, 100 kB

local node, before, result, web

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "web" }, subnets = { "10.244.1.0/24", "fd00:244:1::/64" } }
  result, web = node:add { pod = "web" }
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

local both = { ingressRate = RATE, ingressBurst = BURST, egressRate = 2 * RATE, egressBurst = 2 * BURST }

-- One call of bandwidth for the pod; previous is the result before it (false: none).
local function call(verb, conf, previous)
  local all = { type = "bandwidth", ipam = false, prevResult = previous == nil and result or previous or nil }
  for key, value in pairs(conf or {}) do
    all[key] = value
  end
  return node:call(verb, { pod = "web", name = "bandwidth", conf = all })
end

local function must(verb, conf, previous)
  local outcome = call(verb, conf, previous)
  assert.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
  return outcome.json
end

local function refused(code, pattern, conf, previous)
  local outcome = call("ADD", conf, previous)
  assert.equal(code, outcome.json.code, outcome.stdout)
  assert.matches(pattern, outcome.json.msg)
  assert.same({ "testnet/web@naivebridge@eth0" }, node:journals())
end

-- dev -> its disciplines that somebody has made, as `tc -json` has them, sorted by kind.
local function disciplines()
  local found = {}
  for _, qdisc in ipairs(core.json.decode(node:sh "tc -json qdisc show")) do
    if qdisc.handle ~= "0:" then
      found[qdisc.dev] = found[qdisc.dev] or {}
      table.insert(found[qdisc.dev], qdisc)
    end
  end
  for _, list in pairs(found) do
    table.sort(list, function(a, b) return a.kind > b.kind end)
  end
  return found
end

local function ifb()
  return shaping.ifname { network = "testnet", container = "web", ifname = "eth0" }
end

local function assert_clean()
  assert.same({}, disciplines())
  assert.same({ web.port }, node:links())
  assert.same({ "testnet/web@naivebridge@eth0" }, node:journals())
end

-- Bytes per second of a TCP flow between two namespaces, once its first half second has used up the burst.
local function flow(from, to, address)
  local text = spaces.must([[
    out=$(mktemp)
    ip netns exec %s timeout 100 python3 spec/support/flow.py receive %s 5201 0.5 2 >"$out" 2>&1 &
    ip netns exec %s timeout 100 python3 spec/support/flow.py send %s 5201
    wait $!
    cat "$out"; rm -f "$out"]], to, address, from, address)
  return assert(tonumber(text:match "ready\n([%d.]+)"), text)
end

-- The same where so many bits per second are let pass. A busy machine may send less: then it is measured again.
local function limited_flow(bits, ...)
  local bytes
  for _ = 1, 3 do
    bytes = flow(...)
    if bytes * 8 >= 0.85 * bits then break end
  end
  return bytes
end

local function assert_near(bits, bytes)
  assert.is_true(math.abs(bytes * 8 / bits - 1) <= 0.15, ("%.0f bits/s where %d are set"):format(bytes * 8, bits))
end

describe("bandwidth", function()
  it("puts token buckets on both ways and tells of its device", function()
    local answer = must("ADD", both)
    local added = table.remove(answer.interfaces)
    assert.same(result, answer)
    assert.equal(ifb(), added.name)
    assert.is_nil(added.sandbox)
    local found = disciplines()
    assert.same({ "tbf", "ingress" }, { found[web.port][1].kind, found[web.port][2].kind })
    assert.same({ rate = RATE // 8, burst = BURST // 8, lat = 25000 }, found[web.port][1].options)
    assert.same({ rate = RATE // 4, burst = BURST // 4, lat = 25000 }, found[added.name][1].options)
    must("CHECK", both, answer)
    must("DEL", both, answer)
    must("DEL", both, answer)
    assert_clean()
  end)

  for family, gateway in pairs { inet = "10.244.1.1", inet6 = "fd00:244:1::1" } do
    it("shapes within 15 % both ways, " .. family, function()
      must("ADD", both)
      node.space:must "ip neigh flush all"
      assert_near(RATE, limited_flow(RATE, "node", "web", family == "inet" and web.address or web.address6))
      assert_near(2 * RATE, limited_flow(2 * RATE, "web", "node", gateway))
    end)
  end

  it("lets a pod without limits as it was, and limits one way alone", function()
    for _, conf in ipairs { {}, { ingressRate = 0, ingressBurst = 0 }, { runtimeConfig = { bandwidth = {} } } } do
      assert.same(result, must("ADD", conf))
      must("DEL", conf)
      assert_clean()
    end
    assert.same(result, must("ADD", { ingressRate = RATE, ingressBurst = BURST }))
    assert.same({ 1, nil }, { #disciplines()[web.port], disciplines()[ifb()] })
    must "DEL"
    must("ADD", { egressRate = RATE, egressBurst = BURST })
    assert.same({ "ingress", "tbf" }, { disciplines()[web.port][1].kind, disciplines()[ifb()][1].kind })
    must "DEL"
    assert_clean()
  end)

  it("takes what the runtime says, in containerd's letters too, unless the configuration says anything", function()
    local runtime = { bandwidth = { IngressRate = RATE, IngressBurst = 4294967295, EgressRate = 0, EgressBurst = 0 } }
    must("ADD", { runtimeConfig = runtime })
    local options = disciplines()[web.port][1].options
    assert.equal(RATE // 8, options.rate)
    assert.is_true(options.burst > 500000000, options.burst) -- 2^32 - 1 bits
    must "DEL"
    must("ADD", { egressRate = RATE, egressBurst = BURST, runtimeConfig = runtime })
    assert.equal("ingress", disciplines()[web.port][1].kind)
    assert.is_nil(disciplines()[web.port][2])
    must "DEL"
  end)

  it("answers in every version that can be chained, and in no other", function()
    for _, version in ipairs { "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" } do
      local previous = {
        cniVersion = version, ips = { { version = "4", address = web.address .. "/24", interface = 0 } },
        interfaces = { { name = "eth0", sandbox = node.pods.web.path } },
      }
      local conf = { cniVersion = version, ingressRate = RATE, ingressBurst = BURST }
      local answer = must("ADD", conf, previous)
      assert.same({ version, 1 }, { answer.cniVersion, #answer.ips })
      must("DEL", conf, previous)
    end
    refused(1, "0.3.0", { cniVersion = "0.2.0", ingressRate = RATE, ingressBurst = BURST },
      { cniVersion = "0.2.0", ip4 = { ip = web.address .. "/24" } })
    assert_clean()
  end)

  it("refuses by name what cannot be, before anything is changed", function()
    refused(7, "ingressBurst.*must be set too", { ingressRate = RATE })
    refused(7, "egressRate.*must be set too", { egressBurst = BURST })
    refused(7, "egressBurst.*4 GiB", { egressRate = RATE, egressBurst = 8 << 32 })
    refused(7, "egressRate", { egressRate = -1, egressBurst = BURST })
    refused(7, "exclude each other", { shapedSubnets = { "10.0.0.0/8" }, unshapedSubnets = { "10.0.0.0/8" } })
    refused(7, "must be called as chained plugin", both, false)
    node.pods.web:must "ip link del eth0 && ip link add eth0 type bridge"
    local outcome = call("ADD", both)
    assert.equal(7, outcome.json.code)
    assert.matches("no veth peer", outcome.json.msg)
    assert.same({}, disciplines())
  end)

  it("says in STATUS whether its own configuration could be used", function()
    must("STATUS", both, false)
    local outcome = call("STATUS", { ingressRate = RATE }, false)
    assert.equal(50, outcome.json.code)
    assert.matches("ingressBurst", outcome.json.msg)
  end)

  it("warns of a burst that no whole frame fits, and lets traffic pass all the same", function()
    local outcome = call("ADD", { ingressRate = RATE, ingressBurst = 8 })
    assert.equal(0, outcome.status, outcome.stdout)
    assert.matches("ingressBurst is less than a frame", outcome.stderr)
    assert.is_true(flow("node", "web", web.address) > 10000)
  end)

  it("limits only what comes from and goes to some subnets, or all others", function()
    node.space:must "ip addr add 198.51.100.1/24 dev cbr0"
    local limits = { ingressRate = RATE, ingressBurst = BURST, egressRate = RATE, egressBurst = BURST }
    local function rates(conf)
      for key, value in pairs(limits) do
        conf[key] = value
      end
      local answer = must("ADD", conf)
      must("CHECK", conf, answer)
      local near = limited_flow(RATE, "web", "node", "10.244.1.1")
      local far = limited_flow(RATE, "web", "node", "198.51.100.1")
      must("DEL", conf)
      assert_clean()
      return near, far
    end
    local near, far = rates { shapedSubnets = { "10.244.1.0/24", "fd00:244:1::/64" } }
    assert_near(RATE, near)
    assert.is_true(far > RATE, far)
    near, far = rates { unshapedSubnets = { "10.244.1.0/24" } }
    assert_near(RATE, far)
    assert.is_true(near > RATE, near)
  end)
end)

describe("CHECK of bandwidth", function()
  local function broken(pattern, command, ...)
    local answer = must("ADD", both)
    must("CHECK", both, answer)
    node.space:must(command, ...)
    local outcome = call("CHECK", both, answer)
    assert.equal(106, outcome.json and outcome.json.code, outcome.stdout)
    assert.matches(pattern, outcome.json.msg)
    must("DEL", both, answer)
    assert_clean()
  end

  it("fails when the pod's bucket is gone, or has another rate", function()
    broken("qdisc.*gone", "tc qdisc del dev %s root", web.port)
    local handle = shaping.handle { container = "web", ifname = "eth0" }
    broken("qdisc.*not what it was made with",
      "tc qdisc change dev %s root handle " .. handle .. " tbf rate 1mbit burst 100000 limit 200000", web.port)
  end)

  it("fails when the device, its bucket or the way to it is gone", function()
    broken(ifb() .. ".*gone", "ip link del %s", ifb())
    broken("qdisc.*gone", "tc qdisc del dev %s root", ifb())
    broken("qdisc.*gone", "tc qdisc del dev %s ingress", web.port)
    broken("filter.*gone", "tc filter del dev %s parent ffff:", web.port)
  end)
end)

describe("the end of a limit", function()
  it("leaves a discipline that somebody else has put there, before and after", function()
    node.space:must("tc qdisc add dev %s root handle 77: pfifo", web.port)
    local outcome = call("ADD", both)
    assert.equal(103, outcome.json.code, outcome.stdout)
    assert.matches("pfifo discipline 77: there already", outcome.json.msg)
    assert.same({ "testnet/web@naivebridge@eth0" }, node:journals())
    assert.equal("77:", disciplines()[web.port][1].handle)
    node.space:must("tc qdisc del dev %s root", web.port)
    must("ADD", both)
    node.space:must("tc qdisc replace dev %s root handle 77: tbf rate 1mbit burst 9000 limit 9000", web.port)
    must "DEL"
    assert.equal("77:", disciplines()[web.port][1].handle)
    node.space:must("tc qdisc del dev %s root", web.port)
    assert_clean()
  end)

  it("comes after that of the pod, whoever tells it: DEL, GC, or nobody", function()
    for _, how in ipairs { "DEL", "GC", "collection" } do
      must("ADD", both)
      node:kill "web"
      assert.same({ ifb() }, node:links())
      if how == "DEL" then
        must "DEL"
      elseif how == "GC" then
        must("GC", { ["cni.dev/valid-attachments"] = core.json.array {} }, false)
      else
        -- Neither call would have been an end of this network's bridge plugin.
        local report = node:gc("--grace", "0")
        assert.same({}, report.failed)
      end
      assert.same({}, node:links(), how)
      node:call("DEL", { pod = "web" })
      result, web = node:add { pod = "web" }
    end
  end)

  it("takes nothing of a pod that is listed", function()
    must("ADD", both)
    must("GC", { ["cni.dev/valid-attachments"] = { { containerID = "web", ifname = "eth0" } } }, false)
    assert.equal("tbf", disciplines()[ifb()][1].kind)
    must("GC", { ["cni.dev/valid-attachments"] = core.json.array {} }, false)
    assert.is_nil(disciplines()[ifb()])
  end)

  it("comes without a journal, too", function()
    must("ADD", both)
    spaces.must("rm -r %s/attachments/testnet/*bandwidth*", node.state)
    must "DEL"
    assert.same({ web.port }, node:links())
  end)

  it("comes when an ADD fails in its middle", function()
    node.space:must("ip link add %s type bridge", ifb()) -- in its way
    refused(103, "is there already", both)
    assert.same({}, disciplines())
    node.space:must("ip link del %s", ifb())
    must("ADD", both)
  end)
end)

describe("bandwidth beside the reference's", function()
  local REFERENCE = "/usr/lib/cni"

  local function reference(verb, plugin, conf)
    local path = ("%s/%s"):format(REFERENCE, plugin)
    local outcome = node:exec({ path }, {
      CNI_COMMAND = verb, CNI_CONTAINERID = "web", CNI_IFNAME = "eth0", CNI_NETNS = node:pod("web").path,
      CNI_PATH = REFERENCE, PATH = os.getenv "PATH",
    }, core.json.encode(conf))
    assert.equal(0, outcome.status, outcome.stdout)
    local ok, answer = pcall(core.json.decode, outcome.stdout)
    return ok and answer or nil
  end

  local function config(previous)
    local conf = { cniVersion = "1.0.0", name = "testnet", type = "bandwidth", prevResult = previous }
    for key, value in pairs(both) do
      conf[key] = value
    end
    return conf
  end

  -- Result and kernel state, with names, numbers and MACs taken out.
  local function seen(answer, device)
    local found, shown = disciplines(), {}
    for dev, list in pairs(found) do
      for _, qdisc in ipairs(list) do
        qdisc.dev, qdisc.handle = nil, qdisc.kind == "ingress" and qdisc.handle or nil
      end
      shown[dev == device and "ifb" or dev == web.port and "veth" or dev] = list
    end
    local filters = core.json.decode(node.space:must("tc -json filter show dev %s parent ffff:", web.port))
    for _, filter in ipairs(filters) do
      local options = filter.options or {}
      for _, action in ipairs(options.actions or {}) do
        action.to_dev = action.to_dev == device and "ifb" or action.to_dev
        action.index = nil
      end
      -- The reference names a class, which the discipline does not have, and has a second redirection behind the first.
      options.flowid = nil
      options.actions = options.actions and { options.actions[1] }
    end
    local interface = table.remove(answer.interfaces)
    interface.name, interface.mac = interface.name:sub(1, 3), interface.mac and "mac"
    return { answer = answer, interface = interface, disciplines = shown, filters = filters }
  end

  it("gives the same result and the same state", function()
    result.cniVersion = "1.0.0"
    for _, interface in ipairs(result.interfaces) do
      interface.mtu = nil
    end
    local theirs = reference("ADD", "bandwidth", config(result))
    local device = theirs.interfaces[#theirs.interfaces].name
    local want = seen(theirs, device)
    reference("DEL", "bandwidth", config(result))
    node.space:must("tc qdisc del dev %s root; tc qdisc del dev %s ingress", web.port, web.port)
    local have = seen(must("ADD", config(result)), ifb())
    want.answer.dns, have.answer.dns = nil, nil -- the reference prints an empty one
    assert.same(want, have)
    must("DEL", config(result))
    assert_clean()
  end)

  it("works behind the reference's bridge, and the reference's behind naivebridge", function()
    result.cniVersion = "1.0.0"
    local theirs = reference("ADD", "bandwidth", config(result))
    assert.equal(4, #theirs.interfaces)
    assert_near(RATE, limited_flow(RATE, "node", "web", web.address))
    reference("CHECK", "bandwidth", config(theirs))
    reference("DEL", "bandwidth", config(theirs))
    node:must("DEL", { pod = "web" })
    assert.same({}, node:links())
    local bridge = { cniVersion = "1.0.0", name = "testnet", type = "bridge", bridge = "br9", isGateway = true,
      ipam = { type = "host-local", dataDir = node.networks, subnet = "10.9.0.0/24" } }
    local answer = reference("ADD", "bridge", bridge)
    local address = answer.ips[1].address:match "^[^/]+"
    local shaped = must("ADD", config(answer))
    assert.equal(ifb(), table.remove(shaped.interfaces).name)
    assert_near(RATE, limited_flow(RATE, "node", "web", address))
    must("CHECK", config(shaped))
    must("DEL", config(answer))
    assert.same({}, disciplines())
    reference("DEL", "bridge", bridge)
  end)
end)
