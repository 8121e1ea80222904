-- SPDX-License-Identifier: Apache-2.0
-- The policy masquerade, and how nftables objects are brought about that somebody owns.

local core = require "mncni.core"
local masquerade = require "mncni.masquerade"
local node = require "mncni.node"
local policies = require "mncni.testing"
local recorded = require "mncni.recorded"
local ruleset = require "mncni.ruleset"
local steps = require "mncni.steps"

local policy = policies.load "masquerade"

local function world(...)
  local peers = {}
  for i, cidrs in ipairs { ... } do
    peers[i] = node.new { name = "n" .. i + 2, pod_cidrs = cidrs }
  end
  return { node = node.new { name = "n2", pod_cidrs = { "10.244.2.0/24", "fd00:0:0:2::/64" } }, peers = peers }
end

-- The sets of what the policy desires: name -> set.
local function sets(given, conf)
  local want = policies.desired(policy, given, conf).nft
  assert.equal(1, #want)
  local by_name = {}
  for _, set in ipairs(want[1].sets) do
    by_name[set.name] = set
  end
  return by_name, want[1]
end

describe("the policy masquerade", function()
  it("masquerades this node's pods alone", function()
    local want = sets(world { "10.244.3.0/24" })
    assert.same({ "10.244.2.0/24" }, want.masq4.elem)
    assert.same({ "fd00:0:0:2::/64" }, want.masq6.elem)
    assert.is_falsy(want.masq4.owned or want.masq6.owned)
    assert.same({ {}, {} }, { sets({ node = node.new { name = "n" }, peers = {} }).masq4.elem, {} })
  end)

  it("leaves peers' pods and link-local addresses as they are, and owns the list of that", function()
    local want = sets(world({ "10.244.3.0/24", "fd00:0:0:3::/64" }, {}, { "10.244.1.0/24" }))
    assert.same({ "10.244.1.0/24", "10.244.3.0/24", "169.254.0.0/16" }, want.nonmasq4.elem)
    assert.same({ "fd00:0:0:3::/64", "fe80::/10" }, want.nonmasq6.elem)
    assert.is_true(want.nonmasq4.owned and want.nonmasq6.owned)
  end)

  it("masquerades link-local addresses where it is told", function()
    local want = sets(world { "10.244.3.0/24" }, { link_local = true })
    assert.same({ { "10.244.3.0/24" }, {} }, { want.nonmasq4.elem, want.nonmasq6.elem })
  end)

  it("leaves configured ranges as they are, and names none twice", function()
    local want = sets(world { "10.244.3.0/24" }, {
      cluster_cidrs = { "10.244.0.0/16", "fd00::/48" }, service_cidrs = { "10.96.0.0/12" },
      non_masquerade_cidrs = { "172.16.5.9/12", "10.96.0.0/16", "fd00::/48" },
    })
    assert.same({ "10.96.0.0/12", "10.244.0.0/16", "169.254.0.0/16", "172.16.0.0/12" }, want.nonmasq4.elem)
    assert.same({ "fd00::/48", "fe80::/10" }, want.nonmasq6.elem)
  end)

  it("has rules that leave pods of one node to each other, and give each connection a port of its own", function()
    local _, want = sets(world())
    assert.equal(2, #want.rules)
    for i, suffix in ipairs { "4", "6" } do
      local looks, masq = {}, nil
      for _, expr in ipairs(want.rules[i].expr) do
        if expr.kind == "lookup" then
          looks[#looks + 1] = (expr.invert and "not in " or "in ") .. expr.set
        end
        masq = expr.kind == "masq" and expr or masq
      end
      assert.same({ "in masq" .. suffix, "not in masq" .. suffix, "not in nonmasq" .. suffix }, looks)
      assert.same({ "fully-random" }, masq.flags)
    end
  end)

  it("has a place in its table that tells the plugin of it", function()
    local _, want = sets(world())
    assert.same({ "postrouting", "agent" }, { want.chains[1].name, want.chains[2].name })
  end)
end)

describe("what the agent makes of it", function()
  local host, mine

  before_each(function()
    mine = recorded.new()
    host = mine.host
  end)

  local function put(want)
    local batch = ruleset.replace(host, want)
    if batch then
      host.nft.batch(batch)
    end
    return batch
  end

  local function of(sources, except)
    return masquerade.desired { sources = sources, except = except }
  end

  local function held(name)
    local list = {}
    for found in host.nft.element.list { family = "inet", table = "mncni", name = name } do
      list[#list + 1] = found.elem
    end
    table.sort(list)
    return list
  end

  -- What a step does, in a word and its elements.
  local function brief(batch)
    local list = {}
    for i, step in ipairs(batch or {}) do
      list[i] = ("%s %s %s"):format(step[1], step[3].name or step[2], table.concat(step[3].elem or {}, " "))
    end
    return list
  end

  it("is nothing once it is so", function()
    local want = of({ "10.244.2.0/24" }, { "10.244.0.0/16", "10.96.0.1", "fd00::/8" })
    assert.truthy(put(want))
    assert.is_nil(put(want))
    assert.same({ "10.244.0.0/16", "10.96.0.1" }, held "nonmasq4")
  end)

  it("is what differs, in one transaction, what goes first", function()
    put(of({ "10.244.2.0/24" }, { "10.244.0.0/17", "10.96.0.0/12" }))
    local batch = put(of({ "10.244.2.0/24" }, { "10.244.0.0/16", "10.96.0.0/12", "192.0.2.0/24" }))
    assert.same({ "del nonmasq4 10.244.0.0/17", "replace nonmasq4 10.244.0.0/16 192.0.2.0/24" }, brief(batch))
    assert.same({ "10.244.0.0/16", "10.96.0.0/12", "192.0.2.0/24" }, held "nonmasq4")
  end)

  it("adds this node's ranges to those of other networks, and takes none of them away", function()
    host.nft.batch(ruleset.replace(host, of({ "10.99.0.0/24", "10.244.2.0/25" }, {})))
    assert.same({ "del masq4 10.244.2.0/25", "replace masq4 10.244.2.0/24" }, brief(put(of({ "10.244.2.0/24" }, {}))))
    assert.same({ "10.244.2.0/24", "10.99.0.0/24" }, held "masq4")
    assert.is_nil(put(of({ "10.244.2.128/25" }, {})))
  end)

  it("is the rules anew where one is gone, altered or of an earlier release", function()
    local want = of({ "10.244.2.0/24" }, { "10.244.0.0/16" })
    local function rules()
      local list = {}
      for rule in host.nft.rule.list { family = "inet", table = "mncni" } do
        list[#list + 1] = rule
      end
      return list
    end
    put(want)
    local at = { family = "inet", table = "mncni", chain = "postrouting" }
    local function replaced(comment, expr)
      local rule = rules()[1]
      host.nft.batch { { "flush", "rule", at }, { "add", "rule", {
        family = at.family, table = at.table, chain = at.chain, comment = comment, expr = expr or rule.expr,
      } } }
      assert.truthy(put(want))
      assert.equal(2, #rules())
      assert.is_nil(put(want))
    end
    replaced("mncni: masquerade 3")
    replaced("mncni: masquerade 2")
    replaced("mncni: masquerade")
    replaced("mncni: masquerade 3", { { kind = "masq" } })
    assert.same({ "10.244.0.0/16" }, held "nonmasq4")
  end)

  it("leaves rules of a later release to who made them, and keeps the sets", function()
    local want = of({ "10.244.2.0/24" }, { "10.244.0.0/16" })
    put(want)
    local later = of({}, {})
    later.comment = "mncni: masquerade 10"
    host.nft.batch(ruleset.replace(host, later))
    assert.same({ "replace nonmasq4 10.244.0.0/16" }, brief(put(want)))
    assert.is_nil(put(want))
  end)

  it("is everything where the table is gone", function()
    local want = of({ "10.244.2.0/24" }, { "10.244.0.0/16" })
    put(want)
    host.nft.table.absent { family = "inet", name = "mncni" }
    assert.truthy(put(want))
    assert.same({ "10.244.2.0/24" }, held "masq4")
    assert.truthy(host.nft.chain.get { family = "inet", table = "mncni", name = "agent" })
  end)

  it("may come between the look of an ADD and what that sends", function()
    local context = steps.new { host = host }
    local batch, came = host.nft.batch, 0
    function host.nft.batch(list)
      came = came + 1
      if came == 1 then
        batch(ruleset.replace(host, of({ "10.244.2.0/24" }, { "10.244.0.0/16" })))
      end
      return batch(list)
    end
    steps.within(context, masquerade.ensure, { sources = { "10.244.2.0/24" }, except = { "10.0.0.0/8" } })
    context:commit()
    host.nft.batch = batch
    assert.same({ "10.244.0.0/16" }, held "nonmasq4")
    assert.is_nil(put(of({ "10.244.2.0/24" }, { "10.244.0.0/16" })))
  end)

  it("is quick with thousands of nodes", function()
    local cidrs = {}
    for i = 0, 4999 do
      cidrs[i + 1] = core.cidr(("10.%d.%d.0/24"):format(i // 250, i % 250))
    end
    local started = os.clock()
    local want = of({ "10.244.2.0/24" }, cidrs)
    assert.is_true(os.clock() - started < 1)
    assert.equal(5000, #want.sets[2].elem)
  end)
end)
