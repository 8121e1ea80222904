-- SPDX-License-Identifier: Apache-2.0
-- What every policy that is a plugin has to keep, whatever it does: the versions, STATUS, ADD, CHECK and DEL that leave
-- nothing, and GC. Each with the smallest configuration that makes sense.
--
--   every.describe(ring, _ENV)   describes those that the ring ("kernel" or "vm") can run, in the words of a spec's file
--
-- A case: conf (keys beside cniVersion, name and type), chained (it works on what naivebridge has made), since (the first
-- version that it takes: those before are refused with code 1), ring ("vm" for what this machine's kernel may lack),
-- setup (shell commands on the node; SCRATCH is the spec's directory), unusable = { conf, code } for STATUS.

local assert = require "luassert"
local core = require "mncni.core"
local mncni = require "mncni"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local every = {}

local VERSIONS = { "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" }
-- One of each form that a result has, from which on there is CHECK as well.
local FORMS, CHECKS = { "0.2.0", "0.4.0", "1.0.0", "1.1.0" }, "0.4.0"
local DUMMY = "ip link add hd0 type veth peer name hd1"

local no_ipam = { conf = { ipam = false }, code = 50 }

every.cases = {
  naivebridge = { unusable = no_ipam },
  loopback = { conf = { ipam = false } },
  flannel = {
    conf = { subnetFile = "SCRATCH/subnet.env", dataDir = "SCRATCH/flannel" },
    setup = "printf 'FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1400\n"
      .. "FLANNEL_IPMASQ=true\n' >SCRATCH/subnet.env",
    ipam = {}, -- without a type, which flannel does not need
    unusable = { conf = { subnetFile = "/nonexistent/subnet.env" }, code = 50 },
  },
  ["host-local"] = { unusable = { conf = { ipam = { type = "host-local" } }, code = 50 } },
  static = {
    conf = { ipam = { type = "static", addresses = { { address = "10.244.1.9/24", gateway = "10.244.1.1" } } } },
  },
  bridge = { conf = { bridge = "br9", isGateway = true, ipMasq = true } },
  ptp = { conf = { ipMasq = true } },
  macvlan = { conf = { master = "up0" } },
  ipvlan = { conf = { master = "up0" }, ring = "vm" },
  vlan = { conf = { master = "up0", vlanId = 7 }, ring = "vm" },
  dummy = { ring = "vm" },
  tap = {},
  ["host-device"] = { conf = { device = "hd0" }, setup = DUMMY, taken = true },
  firewall = {
    conf = { ingressPolicy = "isolated" }, chained = true,
    unusable = { conf = { backend = "firewalld" }, code = 50 },
  },
  portmap = {
    chained = true,
    conf = { capabilities = { portMappings = true }, runtimeConfig = {
      portMappings = { { hostPort = 8080, containerPort = 80, protocol = "tcp" } },
    } },
  },
  bandwidth = {
    conf = { ingressRate = 8000000, ingressBurst = 800000, egressRate = 8000000, egressBurst = 800000 }, chained = true,
    since = "0.3.0",
  },
  tuning = { conf = { sysctl = { ["net.ipv4.conf.eth0.log_martians"] = "1" }, mtu = 1400 }, chained = true },
  sbr = { chained = true },
  -- The rule for all VRFs comes with the first of a namespace.
  vrf = { conf = { vrfname = "red" }, chained = true, ring = "vm", loses = "^gone: rule " },
}

-- Name -> true of the built-in policies that are plugins.
function every.built_in()
  local found = {}
  for name in spaces.must "grep -l -e '^function policy[.]add' -e '^function policy[.]lease' policies/*.lua"
    :gmatch "policies/(%S+)%.lua" do
    found[name] = true
  end
  return found
end

-- Everything that an attachment may leave in a namespace, as lines, but for what comes and goes in the kernel's own time.
local function look_at(space)
  local net <close> = mncni.open(space.ns)
  local lines = {}
  local function add(what, object, keys)
    local words = { what }
    for key in keys:gmatch "%S+" do
      words[#words + 1] = ("%s=%s"):format(key, tostring(object[key]))
    end
    lines[#lines + 1] = table.concat(words, " ")
  end
  for link in net.link.list {} do
    add("link", link, "ifname kind address mtu txqlen master group up promisc allmulti ifalias")
  end
  for address in net.addr.list {} do
    if not address.address:find "^fe80:" then
      add("address", address, "address dev scope")
    end
  end
  for _, family in ipairs { "inet", "inet6" } do
    for route in net.route.list { family = family } do
      local dst = route.dst
      if route.type ~= "multicast" and route.type ~= "anycast" and not dst:find "^fe80:" and not dst:find "^ff" then
        add("route", route, "dst gateway dev table metric type")
      end
    end
    for rule in net.rule.list { family = family } do
      add("rule", rule, "family priority src dst table iif oif")
    end
  end
  lines[#lines + 1] = space:must "tc qdisc show | grep -v ' noqueue '; nft -s list ruleset"
  return table.concat(lines, "\n")
end

-- What is in one list of lines and not in the other.
local function difference(was, is)
  local count, list = {}, {}
  for line in was:gmatch "[^\n]+" do
    count[line] = (count[line] or 0) + 1
  end
  for line in is:gmatch "[^\n]+" do
    count[line] = (count[line] or 0) - 1
  end
  for line, n in pairs(count) do
    list[#list + 1] = n ~= 0 and (n < 0 and "new: " or "gone: ") .. line or nil
  end
  table.sort(list)
  return list
end

local function describe_policy(spec, name, case)
  -- The same, without what a policy is known to take away for good.
  local function left(was, is)
    local list = {}
    for _, line in ipairs(difference(was, is)) do
      list[#list + 1] = not (case.loses and line:find(case.loses)) and line or nil
    end
    return list
  end

  local function expand(value)
    return type(value) == "string" and value:gsub("SCRATCH", every.node.scratch) or value
  end

  local function config(version, result, more)
    local conf = { cniVersion = version, type = name, ipam = not case.chained and case.ipam or nil }
    if case.chained then
      conf.ipam, conf.prevResult = false, result
    end
    for _, keys in ipairs { case.conf or {}, more or {} } do
      for key, value in pairs(keys) do
        conf[key] = expand(value)
      end
    end
    return conf
  end

  spec.describe("the policy " .. name, function()
    local node, before

    spec.before_each(function()
      before = spaces.snapshot()
      node = nodes.new { pods = { "web" } }
      every.node = node
      if case.setup then
        node.space:must((expand(case.setup)))
      end
    end)

    spec.after_each(function()
      node:cleanup()
      spaces.assert_nothing_left(before)
    end)

    local function call(verb, version, result, more)
      return node:call(verb, { pod = "web", name = name, conf = config(version, result, more) })
    end

    local function must(verb, version, result, more)
      local outcome = call(verb, version, result, more)
      assert.are.equal(0, outcome.status, ("%s %s: %s%s"):format(verb, version, outcome.stdout, outcome.stderr))
      return outcome.json
    end

    local function look()
      local lines = {}
      for _, space in ipairs { node.space, node.pods.web } do
        lines[#lines + 1] = look_at(space)
      end
      lines[#lines + 1] = spaces.must("find %s -type f | grep -v -e last_reserved -e calls.ring -e /lock | sort; true",
        node.scratch)
      return table.concat(lines, "\n")
    end

    -- What the plugin before has made, for one that is chained.
    local function wire(version)
      return case.chained and node:must("ADD", { pod = "web", conf = { cniVersion = version } }) or nil
    end

    local function unwire(version)
      if case.chained then
        node:must("DEL", { pod = "web", conf = { cniVersion = version } })
      end
    end

    -- What the first attachment makes for good is there.
    local function warm()
      local result = wire "1.1.0"
      local after = must("ADD", "1.1.0", result)
      must("DEL", "1.1.0", case.chained and after)
      unwire "1.1.0"
    end

    spec.it("knows all versions, and says so", function()
      local said = node:call("VERSION", { name = name }).json
      assert.are.same({ cniVersion = "1.1.0", supportedVersions = VERSIONS }, said)
    end)

    local function come_and_go(version, checks, result)
      local nothing = look()
      local after = must("ADD", version, result)
      assert.are.equal(version, after.cniVersion)
      if checks then
        must("CHECK", version, after, { prevResult = after })
      end
      for _ = 1, 2 do
        must("DEL", version, after, checks and { prevResult = after } or nil)
      end
      assert.are.same({}, left(nothing, look()), version)
    end

    spec.it("leaves nothing after ADD, CHECK and two DELs, in any form of a result", function()
      warm()
      for _, version in ipairs(FORMS) do
        local result = wire(version)
        if version < (case.since or "") then
          assert.are.equal(1, call("ADD", version, result).json.code)
        else
          come_and_go(version, version >= CHECKS, result)
        end
        unwire(version)
      end
    end)

    -- A device of the node's that is none of hardware ends with the namespace that it is in.
    local _ = case.taken or spec.it("leaves nothing when the namespace is gone before the DEL", function()
      warm()
      local nothing = look()
      local result = wire "1.1.0"
      local after = must("ADD", "1.1.0", result)
      node.pods.web:close()
      node.pods.web = nil
      node.space:must [[
        for i in $(seq 1000); do [ "$(ip -o link show group 78 type veth)" ] || exit 0; sleep 0.01; done; exit 1]]
      must("DEL", "1.1.0", case.chained and after)
      unwire "1.1.0"
      node:pod "web"
      assert.are.same({}, left(nothing, look()))
    end)

    spec.it("is told by STATUS to work, and not to work", function()
      must("STATUS", "1.1.0")
      if case.unusable then
        assert.are.equal(case.unusable.code, call("STATUS", "1.1.0", nil, case.unusable.conf).json.code)
      end
      node.env.MNCNI_STATE_DIR = node.scratch .. "/bin/mncni"
      local outcome = call("STATUS", "1.1.0")
      assert.is_true(outcome.json.code == 50 or outcome.json.code == 51, outcome.stdout)
    end)

    spec.it("is collected by GC unless it is listed", function()
      warm()
      local nothing = look()
      must("ADD", "1.1.0", wire "1.1.0")
      local something = look()
      assert.are_not.same({}, difference(nothing, something))
      must("GC", "1.1.0", nil, { ["cni.dev/valid-attachments"] = { { containerID = "web", ifname = "eth0" } } })
      assert.are.same({}, left(something, look()))
      for _ = 1, 2 do
        must("GC", "1.1.0", nil, { ["cni.dev/valid-attachments"] = core.json.array {} })
      end
      assert.are.same({}, left(nothing, look()))
    end)
  end)
end

-- Describes the built-in policies that a ring can run; those that are not built in are passed over.
function every.describe(ring, spec)
  local there = every.built_in()
  for name, case in pairs(every.cases) do
    if there[name] and (case.ring or "kernel") == ring then
      describe_policy(spec, name, case)
    end
  end
end

return every
