-- SPDX-License-Identifier: Apache-2.0
-- The rules of a node by the revision that their comment tells.

local core = require "mncni.core"
local guard = require "mncni.guard"
local hostport_rules = require "mncni.hostport_rules"
local ingress = require "mncni.ingress"
local localnet = require "mncni.localnet"
local masquerade = require "mncni.masquerade"
local recorded = require "mncni.recorded"
local ruleset = require "mncni.ruleset"
local steps = require "mncni.steps"

-- Comment -> hash of the rules. Those that differ from these need another
-- revision, or no node that has the old ones will ever get them.
local known = {
  ["mncni: guard 1"] = "b0142fcc85e96e5d", ["mncni: hostport 1"] = "8bfa9c00e5092331",
  ["mncni: ingress 1"] = "278b17b32563822c", ["mncni: localnet 1"] = "547893721a4123de",
  ["mncni: masquerade 3"] = "4a4a38124fe2930b",
}

-- Comment -> hash of the rules that it marks.
local function made(fn)
  local host = recorded.new({ host = { sysctls = { ["net/ipv4/conf/cbr0/route_localnet"] = "0" } } }).host
  local context = steps.new { host = host }
  steps.within(context, fn, context)
  context:commit()
  local text = {}
  for _, family in ipairs { "bridge", "inet" } do
    for rule in host.nft.rule.list { family = family, table = "mncni" } do
      text[rule.comment] = (text[rule.comment] or "") .. core.encode("add", "nft_rule", {
        family = family, table = "mncni", chain = rule.chain, expr = rule.expr,
      })
    end
  end
  for comment, bytes in pairs(text) do
    text[comment] = ("%016x"):format(core.journal.hash(bytes))
  end
  return text
end

describe("a rule of the node", function()
  it("gets another revision when it changes", function()
    assert.same(known, made(function(context)
      guard.record(context, { port = "veth0", bridge = "cbr0", mac = "02:00:00:00:00:01", lease = true })
      localnet.ensure { bridge = "cbr0", port = "veth0" }
      context:record { prepare = function(c) return ruleset.steps(c.nets.host, hostport_rules.want) end }
      ingress.hold { policy = "isolated", pod = {
        addresses = function() return { core.cidr "10.244.1.2/24" } end,
        host_link = function() return { ifname = "veth0", master = "cbr0" } end,
        host = { link = { get = function() return { ifname = "cbr0", kind = "bridge" } end } },
      } }
      masquerade.ensure { sources = { core.cidr "10.244.1.0/24" } }
    end))
  end)
end)
