-- SPDX-License-Identifier: Apache-2.0
-- Rules of the node that an earlier release has made: the next ADD that needs them makes them anew.

local mncni = require "mncni"
local nodes = require "spec.support.node"

-- Host ports on 127.0.0.1, for the rules that go with them.
local LOCALNET = [[
  local mncni = require "mncni"
  local policy = {}

  function policy.add(pod, conf)
    local lease = pod:lease(conf.ipam)
    local bridge = mncni.bridge.ensure { ifname = "cbr0", address = lease.gateways }
    local eth = pod:veth { master = bridge }
    eth:address(lease)
    mncni.localnet.ensure { bridge = bridge, port = eth }
    return pod:result { bridge, eth, lease }
  end

  return policy
]]

describe("rules of an earlier release", function()
  local node

  before_each(function()
    node = nodes.new { pods = { "web", "db" } }
    node:policy("localnet", LOCALNET)
  end)

  after_each(function()
    node:cleanup()
  end)

  local function rules()
    return node:sh "nft list ruleset"
  end

  -- As they were when their comments had no revision. Returns how many there are.
  local function make_old()
    return node.space:run(function()
      local host <close> = mncni.open()
      local flush, add = {}, {}
      for _, family in ipairs { "inet", "bridge" } do
        for rule in host.nft.rule.list { family = family, table = "mncni" } do
          flush[#flush + 1] = { "flush", "rule", { family = family, table = "mncni", chain = rule.chain } }
          add[#add + 1] = { "add", "rule", {
            family = family, table = "mncni", chain = rule.chain, comment = rule.comment:gsub(" %d+$", ""),
            expr = rule.expr,
          } }
        end
      end
      host.nft.batch(flush)
      host.nft.batch(add)
      return #add
    end)
  end

  local function count(text)
    return select(2, rules():gsub(text, ""))
  end

  it("that masquerade give way to the new ones", function()
    node:add { pod = "web" }
    node.space:must [[
      nft flush chain inet mncni postrouting
      for n in 4 6; do
        ip=$(echo ip$n | sed s/4//)
        nft add rule inet mncni postrouting $ip saddr @masq$n $ip daddr != @nonmasq$n fib daddr type != local \
          masquerade comment '"mncni: masquerade"'
      done]]
    assert.are.equal(2, count "fib daddr type != local")
    local db = { pod = "db" }
    local result = node:add(db)
    assert.are.equal(0, count "fib daddr type != local")
    assert.are.equal(0, count '"mncni: masquerade"')
    assert.are.equal(2, count "fib daddr type unicast masquerade")
    assert.is_nil(node:check(db, result))
  end)

  it("do so where the sets have a range that is wider than the pod's", function()
    node:add { pod = "web" }
    make_old()
    local db = { pod = "db", conf = { ipMasq = true } } -- what stays as it is: the pods' range alone
    local result = node:add(db)
    assert.truthy(rules():find("elements = { 10.0.0.0/8 }", 1, true), rules())
    assert.is_nil(node:check(db, result))
  end)

  for what, args in pairs { ["guard ports"] = { conf = { ipspoofchk = true } }, ["are for 127.0.0.1"] = {
    policy = "localnet",
  } } do
    it("that " .. what .. " do so too", function()
      args.pod = "web"
      node:add(args)
      local many = make_old()
      assert.truthy(many > 2)
      args.pod = "db"
      local result = node:add(args)
      assert.are.equal(0, count '"mncni: %l+"')
      assert.are.equal(many, count '"mncni: %l+ %d+"')
      assert.is_nil(node:check(args, result))
    end)
  end
end)
