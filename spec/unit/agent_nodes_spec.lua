-- SPDX-License-Identifier: Apache-2.0
-- What an agent believes of what a source of nodes says.

local agent_nodes = require "mncni.agent_nodes"
local node = require "mncni.node"

describe("the nodes that an agent knows", function()
  local nodes, handler, changed

  local function named(...)
    local list = {}
    for _, name in ipairs { ... } do
      list[name] = node.new { name = name, addresses = { "10.0.0.1" } }
    end
    return list
  end

  local function names()
    return table.concat(require "mncni.keys"(nodes.known), " ")
  end

  local function said()
    local words = {}
    for i, problem in ipairs(nodes:problems()) do
      words[i] = ("%s %s: %s"):format(problem.kind, problem.key, problem.message)
    end
    return table.concat(words, "\n")
  end

  before_each(function()
    changed = {}
    nodes = agent_nodes.new("n1", function(name) changed[#changed + 1] = name end)
    handler = nodes:handler()
  end)

  it("stay what they were when they become malformed in a list, this one too", function()
    handler.list(named("n1", "n2", "n3"), {})
    local malformed = { { name = "n1", reason = "bad one" }, { name = "n2", reason = "bad two" } }
    assert.is_true((handler.list(named "n4", malformed)))
    assert.equal("n1 n2 n4", names())
    assert.equal("nodes n1: bad one; it stays what it was\nnodes n2: bad two; it stays what it was", said())
    assert.is_true((nodes:believed()))
  end)

  it("are not believed without this one, and it is said why", function()
    handler.list(named "n2", { { name = "n1", reason = "bad one" } })
    assert.equal("nodes n1: bad one; it is left out", said())
    local ok, why = nodes:believed()
    assert.same({ false, "bad one; it is left out, and without this node nothing is done" }, { ok, why })
    handler.list(named("n1", "n2"), {})
    assert.equal("", said())
    assert.same({ false, 'there is no node "n1" in it' }, { handler.list(named "n2", {}) })
    assert.equal("n1 n2", names())
    assert.equal('nodes list: there is no node "n1" in it; what was known before stays', said())
  end)

  it("have no trouble any more when what they come from is well", function()
    handler.list(named "n1", {})
    handler.failed("no route", 1000)
    handler.failed("forbidden", 1000, "policies")
    assert.equal("nodes list: no route; what was known before stays\n"
      .. "nodes policies: forbidden; what was known before stays", said())
    handler.well "policies"
    assert.equal("nodes list: no route; what was known before stays", said())
    handler.well()
    assert.equal("", said())
  end)

  it("go on in another state, the malformed ones too", function()
    handler.list(named("n1", "n2"), {})
    handler.malformed("n2", "bad two")
    handler.malformed("n3", "bad three")
    local json = require "mncni.core".json
    local handed = json.decode(json.encode(nodes:hand_over()))
    local words = said()
    nodes = agent_nodes.new("n1", function() end)
    nodes:take_over(handed)
    assert.equal("n1 n2", names())
    assert.equal(words, said())
    nodes:handler().changed(named "n2".n2)
    assert.equal("nodes n3: bad three; it is left out", said())
    assert.is_nil(agent_nodes.new("n1", function() end):hand_over())
    nodes:take_over(nil)
    assert.equal("n1 n2", names())
  end)
end)
