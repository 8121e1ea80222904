-- SPDX-License-Identifier: Apache-2.0
-- The chained policy firewall: a node whose iptables forward nothing, pods on two bridges, and a machine outside. What
-- the reference plugin does is looked at beside it.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local REFERENCE = "/usr/lib/cni/firewall"

-- The networks, each with a bridge, and the machine outside.
local NETWORKS = {
  one = { name = "one", bridge = "cbr0", ipMasq = false, ranges = { "10.244.1.0/24", "fd00:1::/64" } },
  two = { name = "two", bridge = "cbr1", ipMasq = false, ranges = { "10.244.2.0/24", "fd00:2::/64" } },
}

describe("firewall", function()
  local node, outside, before, results

  -- A pod of a network; its addresses are in results.
  local function pod(name, network)
    local conf = { name = network, bridge = NETWORKS[network].bridge, ipMasq = false, isDefaultGateway = true }
    node:subnets(NETWORKS[network].ranges)
    results[name] = node:must("ADD", { pod = name, conf = conf })
    return node.pods[name]
  end

  local function address(name, family)
    return results[name].ips[family == 6 and 2 or 1].address:match "^[^/]+"
  end

  local networks -- of pods

  local function call(verb, name, conf, program)
    local all = { cniVersion = "1.0.0", name = networks[name], type = "firewall", prevResult = results[name] }
    for key, value in pairs(conf or {}) do
      all[key] = value
    end
    local env = {
      CNI_COMMAND = verb, CNI_CONTAINERID = name, CNI_IFNAME = "eth0", CNI_PATH = node.scratch .. "/bin",
      CNI_NETNS = "/run/netns/" .. name,
    }
    for key, value in pairs(node.env) do
      env[key] = value
    end
    local outcome = node:exec({ program or node.scratch .. "/bin/firewall" }, env, core.json.encode(all))
    local ok, document = pcall(core.json.decode, outcome.stdout)
    outcome.json = ok and document or nil
    return outcome
  end

  local function must(...)
    local outcome = call(...)
    assert.are.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
    return outcome.json
  end

  -- Which of the pairs { from, address } of a table get an answer, all asked at the same time; from is the name of a
  -- namespace.
  local function reach(pairs_of)
    local script, found = {}, {}
    for label, pair in pairs(pairs_of) do
      found[label] = false
      table.insert(script, ("{ ip netns exec %s ping -c 1 -i 0.3 -w 4 %s >/dev/null && echo '%s'; } &"):format(
        pair[1], pair[2], label))
    end
    for label in spaces.sh(table.concat(script, "\n") .. "\nwait"):gmatch "[^\n]+" do
      found[label] = true
    end
    return found
  end

  local function pings(from, to)
    return reach { it = { from, to } }.it
  end

  local function S(program)
    return node:sh((program or "iptables") .. " -S")
  end

  before_each(function()
    before = spaces.snapshot()
    results, networks = {}, { web = "one", db = "one", api = "two" }
    outside = spaces.new "outside"
    node = nodes.new { pods = { "web", "db", "api" } }
    node.space:must "ip link set up1 netns outside && ip -6 addr add 2001:db8::10/64 dev up0 nodad"
    outside:must "ip addr add 192.0.2.1/24 dev up1 && ip -6 addr add 2001:db8::1/64 dev up1 nodad && ip link set up1 up"
    outside:must "ip route add 10.244.0.0/16 via 192.0.2.10 && ip -6 route add fd00::/16 via 2001:db8::10"
    for name, network in pairs(networks) do
      pod(name, network)
    end
    for name in pairs(results) do
      results[name].cniVersion = "1.0.0"
      for _, interface in ipairs(results[name].interfaces) do
        interface.mtu = nil
      end
    end
    node.space:must "iptables -P FORWARD DROP && ip6tables -P FORWARD DROP"
  end)

  after_each(function()
    node:cleanup()
    spaces.assert_nothing_left(before)
  end)

  -- What gets through of what there is.
  local function traffic()
    return reach {
      ["web to outside"] = { "web", "192.0.2.1" }, ["web to outside, IPv6"] = { "web", "2001:db8::1" },
      ["db to outside"] = { "db", "192.0.2.1" }, ["outside to web"] = { "outside", address "web" },
      ["web to api"] = { "web", address "api" }, ["api to web"] = { "api", address "web" },
      ["node to web"] = { "node", address "web" }, ["web to db"] = { "web", address "db" },
    }
  end

  it("lets a node that forwards nothing forward what the pod sends, and the answers", function()
    assert.is_false(traffic()["web to outside"])
    must("ADD", "web")
    assert.are.same({
      ["web to outside"] = true, ["web to outside, IPv6"] = true, ["db to outside"] = false,
      ["outside to web"] = false, ["web to api"] = true, ["api to web"] = false, ["node to web"] = true,
      ["web to db"] = true,
    }, traffic())
    must("DEL", "web")
    local after = traffic()
    assert.is_false(after["web to outside"])
    assert.is_false(after["web to outside, IPv6"])
  end)

  it("makes what the reference plugin makes, gives back what it gives back, and lets the same through", function()
    local ours = must("ADD", "web", { backend = "iptables" })
    local rules, rules6, outcome = S(), S "ip6tables", traffic()
    must("DEL", "web")
    node.space:must "nft flush ruleset; iptables -P FORWARD DROP; ip6tables -P FORWARD DROP"
    local theirs = must("ADD", "web", { backend = "iptables" }, REFERENCE)
    assert.are.same(outcome, traffic())
    theirs.dns = theirs.dns and next(theirs.dns) and theirs.dns or nil
    assert.are.same(ours, theirs)
    local comment = ' -m comment --comment "mncni one web eth0"'
    assert.are.equal(S(), (rules:gsub(comment:gsub("%p", "%%%0"), "")))
    assert.are.equal(S "ip6tables", (rules6:gsub(comment:gsub("%p", "%%%0"), "")))
  end)

  it("shares the chains with the reference plugin, whoever comes first", function()
    for _, order in ipairs { { nil, REFERENCE }, { REFERENCE, nil } } do
      must("ADD", "web", { backend = "iptables" }, order[1])
      must("ADD", "db", { backend = "iptables" }, order[2])
      assert.are.equal(1, select(2, S():gsub("-j CNI%-FORWARD", "")))
      assert.are.equal(1, select(2, S():gsub("-j CNI%-ADMIN", "")))
      for _, name in ipairs { "web", "db" } do
        assert.is_true(pings(name, "192.0.2.1"), name)
      end
      must("DEL", "web", { backend = "iptables" }, order[1])
      assert.is_true(pings("db", "192.0.2.1"))
      must("DEL", "db", { backend = "iptables" }, order[2])
      assert.falsy(S():find("10.244", 1, true), S())
    end
  end)

  it("asks the administrator's chain first", function()
    must("ADD", "web", { iptablesAdminChainName = "OFFICE" })
    node.space:must "iptables -A OFFICE -d 192.0.2.1 -p icmp -j DROP"
    assert.is_false(pings("web", "192.0.2.1"))
    assert.is_true(pings("web", "2001:db8::1"))
    must("ADD", "db", { iptablesAdminChainName = "OFFICE" })
    must("DEL", "web", { iptablesAdminChainName = "OFFICE" })
    assert.truthy(S():find("-A OFFICE -d 192.0.2.1", 1, true), S())
    for _, name in ipairs { "FORWARD", "CNI-FORWARD", "a b", "-x", ("x"):rep(29) } do
      local outcome = call("ADD", "api", { iptablesAdminChainName = name })
      assert.are.equal(7, outcome.json.code, name)
    end
  end)

  it("makes what is missing of the chains again", function()
    for _, command in ipairs {
      "iptables -F FORWARD", "iptables -F CNI-FORWARD", "iptables -F FORWARD && iptables -F CNI-FORWARD && "
        .. "iptables -X CNI-ADMIN && iptables -X CNI-FORWARD", "nft flush ruleset; iptables -P FORWARD DROP",
      "nft flush ruleset",
    } do
      must("ADD", "web")
      node.space:must(command)
      must("ADD", "db")
      assert.is_true(pings("db", "192.0.2.1"), command)
      assert.are.equal(1, select(2, S():gsub("%-A FORWARD .-j CNI%-FORWARD", "")), S())
      must("DEL", "web")
      must("DEL", "db")
    end
  end)

  it("keeps the policy of the node's chain, and its rules behind the jump", function()
    node.space:must "iptables -A FORWARD -s 198.51.100.7 -j ACCEPT"
    must("ADD", "web")
    assert.truthy(S():find("-P FORWARD DROP", 1, true), S())
    assert.truthy(S():find("CNI%-FORWARD\n%-A FORWARD %-s 198.51.100.7"), S())
    assert.are.equal(0, select(2, node.space:sh "iptables-save | iptables-restore"))
    assert.is_true(pings("web", "192.0.2.1"))
    must("CHECK", "web")
    must("DEL", "web")
    assert.falsy(S():find("10.244", 1, true), S())
  end)

  it("takes only its own rules back, with the namespace gone, twice, and after somebody took one", function()
    must("ADD", "web")
    must("ADD", "db")
    node.space:must("iptables -A CNI-FORWARD -s %s -j ACCEPT", address "web") -- somebody's
    node.pods.db:close()
    for _ = 1, 2 do
      must("DEL", "db")
    end
    assert.falsy(S():find(address "db", 1, true), S())
    assert.are.equal(3, select(2, S():gsub(address "web":gsub("%.", "%%."), "")))
    node.space:must("iptables -D CNI-FORWARD 2")
    must("DEL", "web")
    assert.are.equal(1, select(2, S():gsub(address "web":gsub("%.", "%%."), "")))
    assert.are.equal(1, select(2, S():gsub("CNI%-FORWARD %-s", "")))
  end)

  it("is collected, and what a listed pod has stays", function()
    must("ADD", "web")
    must("ADD", "db")
    must("GC", "web", {
      cniVersion = "1.1.0", ["cni.dev/valid-attachments"] = { { containerID = "web", ifname = "eth0" } },
    })
    assert.falsy(S():find(address "db", 1, true), S())
    assert.is_true(pings("web", "192.0.2.1"))
  end)

  it("is looked at by CHECK", function()
    for _, command in ipairs {
      "iptables -F CNI-FORWARD", "iptables -D CNI-FORWARD 2", "iptables -D FORWARD 1", "ip6tables -D CNI-FORWARD 3",
      "nft flush ruleset", "nft flush set inet mncni isolated4", "nft flush set bridge mncni isolated6",
      "nft flush chain inet mncni ingress", "nft flush set inet mncni ingress_bridges",
      "nft flush chain bridge mncni ingress",
    } do
      local conf = { ingressPolicy = "isolated" }
      must("ADD", "web", conf)
      must("CHECK", "web", conf)
      node.space:must(command)
      local outcome = call("CHECK", "web", conf)
      assert.are.equal(106, outcome.json and outcome.json.code, command)
      must("DEL", "web", conf)
    end
  end)

  -- Which pods reach which, and who else; both families have to agree.
  local function among()
    local asked, found = {}, {}
    for _, pair in ipairs { "web db", "db web", "web api", "api web", "node web" } do
      local from, to = pair:match "(%w+) (%w+)"
      asked[pair], asked[pair .. "6"] = { from, address(to) }, { from, address(to, 6) }
    end
    asked["web outside"], asked["web outside6"] = { "web", "192.0.2.1" }, { "web", "2001:db8::1" }
    local answers = reach(asked)
    for label, yes in pairs(answers) do
      if not label:find "6$" then
        found[label] = yes == answers[label .. "6"] and yes or yes and "only IPv4" or yes
      end
    end
    return found
  end

  local function all(conf, program)
    for _, name in ipairs { "web", "db", "api" } do
      must("ADD", name, conf, program)
    end
    local found = among()
    for _, name in ipairs { "web", "db", "api" } do
      must("DEL", name, conf, program)
    end
    return found
  end

  it("keeps pods of another bridge away with same-bridge, as the reference plugin does", function()
    assert.are.same({
      ["web db"] = true, ["db web"] = true, ["web api"] = true, ["api web"] = true, ["web outside"] = true,
      ["node web"] = true,
    }, all { ingressPolicy = "open" })
    local expected = {
      ["web db"] = true, ["db web"] = true, ["web api"] = false, ["api web"] = false, ["web outside"] = true,
      ["node web"] = true,
    }
    assert.are.same(expected, all { ingressPolicy = "same-bridge" })
    assert.are.same(expected, all({ ingressPolicy = "same-bridge", backend = "iptables" }, REFERENCE))
  end)

  it("keeps all pods away with isolated, with and without br_netfilter", function()
    for _, value in ipairs { "0", "1" } do
      node.space:sh("echo %s >/proc/sys/net/bridge/bridge-nf-call-iptables", value)
      assert.are.same({
        ["web db"] = false, ["db web"] = false, ["web api"] = false, ["api web"] = false, ["web outside"] = true,
        ["node web"] = true,
      }, all { ingressPolicy = "isolated" })
    end
  end)

  it("costs one element for each address and chain, which go", function()
    local function elements()
      return node:sh "nft -j list ruleset | jq -c '[.nftables[].set | select(.) | .elem // [] | .[]] | length'"
    end
    must("ADD", "web", { ingressPolicy = "isolated" })
    local rules = node:sh "nft -a list chain inet mncni ingress"
    assert.are.equal("5", elements()) -- two addresses in two tables, and the bridge
    must("ADD", "db", { ingressPolicy = "isolated" })
    assert.are.equal("9", elements())
    assert.are.equal(rules, node:sh "nft -a list chain inet mncni ingress")
    must("DEL", "web")
    must("DEL", "db")
    assert.are.equal("1", elements()) -- the bridge stays
  end)

  it("refuses what it cannot do, before anything is changed", function()
    local rules = node:sh "nft list ruleset"
    for message, conf in pairs {
      ["firewalld is not spoken to"] = { backend = "firewalld" }, ["backend"] = { backend = "pf" },
      ["ingressPolicy"] = { ingressPolicy = "closed" }, ["must be called as chained"] = { prevResult = false },
    } do
      if conf.prevResult == false then
        conf.prevResult = core.json.null
      end
      local outcome = call("ADD", "web", conf)
      assert.are.equal(7, outcome.json.code, outcome.stdout)
      assert.truthy(outcome.stdout:find(message, 1, true), outcome.stdout)
    end
    assert.are.equal(rules, node:sh "nft list ruleset")
    local outcome = call("STATUS", "web", { cniVersion = "1.1.0", backend = "firewalld", prevResult = core.json.null })
    assert.are.equal(50, outcome.json.code)
    must("STATUS", "web", { cniVersion = "1.1.0", prevResult = core.json.null })
  end)

  it("warns where firewalld has rules", function()
    node.space:must "nft add table inet firewalld"
    local outcome = call("ADD", "web")
    assert.are.equal(0, outcome.status)
    assert.truthy(outcome.stderr:find("firewalld forwards nothing", 1, true), outcome.stderr)
  end)

  it("does nothing for an attachment without addresses", function()
    results.web.ips = nil
    must("ADD", "web", { ingressPolicy = "isolated" })
    assert.falsy(S():find("CNI", 1, true), S())
    must("CHECK", "web", { ingressPolicy = "isolated" })
    must("DEL", "web", { ingressPolicy = "isolated" })
  end)

  it("is one of many that come and go at once", function()
    local names = {}
    for i = 1, 15 do
      names[i] = "many" .. i
      networks[names[i]] = "one"
      pod(names[i], "one")
      local file <close> = assert(io.open(("%s/%s.conf"):format(node.scratch, names[i]), "w"))
      file:write(core.json.encode { cniVersion = "1.1.0", name = "one", type = "firewall", ingressPolicy = "isolated",
        prevResult = results[names[i]] })
    end
    local function every(command)
      node.space:must([[
        export CNI_COMMAND=%s CNI_IFNAME=eth0 CNI_PATH=/nowhere MNCNI_STATE_DIR=%s/state
        for i in $(seq 15); do
          CNI_CONTAINERID=many$i CNI_NETNS=/run/netns/many$i %s/bin/firewall <%s/many$i.conf & pids="$pids $!"
        done
        for pid in $pids; do wait $pid || exit 1; done]], command, node.scratch, node.scratch, node.scratch)
    end
    node.space:must "nft flush ruleset; iptables -P FORWARD DROP; ip6tables -P FORWARD DROP"
    every "ADD"
    assert.are.equal(30, select(2, S():gsub("%-A CNI%-FORWARD %-[sd] ", "")))
    assert.are.equal(1, select(2, S():gsub("%-A FORWARD ", "")), S())
    for _, name in ipairs { "many1", "many15" } do
      assert.is_true(pings(name, "192.0.2.1"))
    end
    every "DEL"
    assert.are.equal(0, select(2, S():gsub("%-A CNI%-FORWARD %-[sd] ", "")))
  end)
end)
