-- SPDX-License-Identifier: Apache-2.0
-- A chained policy beside the plugins of its chain: it is refused by itself, is told what they have made, and takes only
-- what it has made itself.

local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local node, before

local MARK = [[
local policy = { chained = true }
function policy.add(pod)
  local link = pod:host_link()
  for _, address in ipairs(pod:addresses()) do
    pod.host.route.add { dst = address.address, dev = link.ifname, scope = "link", metric = 4242 }
  end
  return pod:result {}
end
return policy
]]

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "web" } }
  node:policy("mark", MARK)
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

local function chained(verb, previous)
  return node:call(verb, { pod = "web", policy = "mark", conf = { ipam = false, prevResult = previous } })
end

local function marks()
  return node:sh "ip route show metric 4242"
end

describe("a chained policy", function()
  it("is told the addresses and the node's end of the pod's link, and gives the result before it back", function()
    local result, web = node:add { pod = "web" }
    local outcome = chained("ADD", result)
    assert.are.same(result, outcome.json)
    assert.truthy(marks():find(("%s dev %s"):format(web.address, web.port), 1, true), marks())
    assert.are.equal(0, chained("CHECK", result).status)
    assert.are.equal(0, chained("DEL", result).status)
    assert.are.equal("", marks())
  end)

  it("is refused where no plugin came before it", function()
    local outcome = chained("ADD")
    assert.are.equal(7, outcome.json.code)
    assert.truthy(outcome.json.msg:find("must be called as chained plugin", 1, true), outcome.stdout)
    assert.are.same({}, node:journals())
  end)

  it("leaves what the plugin before it has made, added or not", function()
    local result = node:add { pod = "web" }
    for _ = 1, 2 do
      assert.are.equal(0, chained("DEL", result).status)
    end
    assert.are.same({ nodes.port "web" }, node:links())
    assert.are.equal(1, #node:reserved())
    assert.is_nil(node:check({ pod = "web" }, result))
  end)

  it("leaves it with a damaged journal, too", function()
    local result = node:add { pod = "web" }
    chained("ADD", result)
    spaces.must("echo nonsense >>%s/attachments/testnet/web@mncni:mark@eth0", node.state)
    assert.are.equal(0, chained("DEL", result).status)
    assert.are.equal("", marks())
    assert.are.same({ nodes.port "web" }, node:links())
    assert.are.equal(1, #node:reserved())
  end)

  it("is collected with the rest of its network", function()
    local result = node:add { pod = "web" }
    chained("ADD", result)
    node:must("GC", { conf = { ["cni.dev/valid-attachments"] = { { containerID = "web", ifname = "eth0" } } } })
    assert.are_not.equal("", marks())
    node:must("GC", { conf = { ["cni.dev/valid-attachments"] = { { containerID = "db", ifname = "eth0" } } } })
    assert.are.equal("", marks())
    assert.are.same({}, node:journals())
  end)

  it("says so when the pod's link has no other end on the node", function()
    local result = node:add { pod = "web" }
    node:pod("web"):must "ip link add mv0 link eth0 type macvlan"
    local outcome = node:call("ADD", {
      pod = "web", policy = "mark", ifname = "mv0", conf = { ipam = false, prevResult = result },
    })
    assert.are.equal(7, outcome.json.code)
    assert.truthy(outcome.json.msg:find("has no veth peer on the node", 1, true), outcome.stdout)
  end)
end)

-- One binary, called "mncni", for every entry of a chain: the policy tells them apart.
describe("a chain of entries of the type mncni", function()
  local function wired(verb, policy, previous)
    return node:must(verb, { pod = "web", policy = policy, conf = { prevResult = previous } })
  end

  local result

  before_each(function()
    result = wired("ADD", "naivebridge")
    assert.are.same(result, chained("ADD", result).json)
    assert.are_not.equal("", marks())
  end)

  local function assert_gone()
    assert.are.equal("", marks())
    assert.are.same({}, node:links())
    assert.are.same({}, node:reserved())
    assert.are.same({}, node:journals())
  end

  it("has a journal for each, and each takes its own", function()
    assert.are.same({ "testnet/web@mncni:mark@eth0", "testnet/web@mncni:naivebridge@eth0" }, node:journals())
    wired("CHECK", "naivebridge", result)
    assert.are.equal(0, chained("CHECK", result).status)
    assert.are.equal(0, chained("DEL", result).status)
    assert.are.equal("", marks())
    assert.are.same({ "testnet/web@mncni:naivebridge@eth0" }, node:journals())
    assert.are.equal(0, chained("DEL", result).status)
    assert.are.equal(1, #node:reserved())
    wired("CHECK", "naivebridge", result)
    wired("DEL", "naivebridge", result)
    assert_gone()
  end)

  it("is deleted by a configuration that names other policies", function()
    node:policy("remark", MARK)
    node:policy("bridges", 'return require "mncni.policy".load "naivebridge"')
    wired("DEL", "remark", result)
    assert.are.equal("", marks())
    assert.are.same({ "testnet/web@mncni:naivebridge@eth0" }, node:journals())
    wired("DEL", "bridges", result)
    assert_gone()
  end)

  it("is deleted by one DEL of a configuration that names no policy, or one that is not there or cannot be", function()
    for _, policy in ipairs { "gone", "../../../../etc/passwd" } do
      wired("DEL", policy, result)
      assert_gone()
      result = wired("ADD", "naivebridge")
      chained("ADD", result)
    end
    wired("DEL", "gone", result)
    assert_gone()
    result = wired("ADD", "naivebridge")
    chained("ADD", result)
    assert.are.equal(0, node:call("DEL", { pod = "web", name = "mncni", conf = { type = "mncni" } }).status)
    assert_gone()
  end)

  it("leaves other pods' and other interfaces' journals", function()
    node:must("ADD", { pod = "web", policy = "naivebridge", ifname = "net1" })
    wired("DEL", "gone", result)
    assert.are.same({ "testnet/web@mncni:naivebridge@net1" }, node:journals())
    node:must("DEL", { pod = "web", policy = "naivebridge", ifname = "net1" })
    assert_gone()
  end)
end)

describe("mncni as the IPAM of one entry and a chained policy of the same pod", function()
  it("keeps the address for as long as the entry that has it", function()
    local ipam = { type = "mncni", policy = "host-local", ranges = { { { subnet = "10.22.0.0/24" } } } }
    local result = node:must("ADD", { pod = "web", name = "bridge", conf = { type = "bridge", ipam = ipam } })
    assert.are.equal(0, chained("ADD", result).status)
    for _ = 1, 2 do
      assert.are.equal(0, chained("DEL", result).status)
    end
    assert.are.equal(1, #node:reserved())
    node:must("DEL", { pod = "web", name = "bridge", conf = { type = "bridge", ipam = ipam } })
    assert.are.same({}, node:reserved())
    assert.are.same({}, node:journals())
  end)
end)
