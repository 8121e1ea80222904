-- SPDX-License-Identifier: Apache-2.0
-- Masquerading what pods send out of the cluster: one rule per family in the table inet mncni, with sets of the pods'
-- own ranges (masq4, masq6), which see each other's addresses as they are, and of the destinations outside of the node
-- that do (nonmasq4, nonmasq6).
-- A pod adds nothing to it; only a range or destination that is new to the node does.
-- Where the agent keeps the table, an empty chain "agent" says so: nonmasq4 and nonmasq6 are then its own, and what
-- networks ask for is not added.

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local ruleset = require "mncni.ruleset"
local steps = require "mncni.steps"

local masquerade = {}

local TABLE, CHAIN = "mncni", "postrouting"
local COMMENT = "mncni: masquerade 3"
local AGENT = { name = "agent", comment = "mncni-agent keeps nonmasq4 and nonmasq6" }

-- Where a packet has its addresses (RFC 791, RFC 8200), and what nf_tables calls the family (NFPROTO_*).
local families = {
  inet = { number = "\2", source = 12, destination = 16, length = 4, type = "ipv4_addr", suffix = "4" },
  inet6 = { number = "\10", source = 8, destination = 24, length = 16, type = "ipv6_addr", suffix = "6" },
}

-- linux/rtnetlink.h. The node itself sees pods as they are, and so do pods that receive a multicast or broadcast, which
-- br_netfilter shows to these rules on its way across the bridge.
local RTN_UNICAST = string.pack("=I4", 1)
local SRCNAT = 100 -- NF_IP_PRI_NAT_SRC

local function expressions(family)
  local info = families[family]
  local function address(offset)
    return { kind = "payload", dreg = 1, base = "network", offset = offset, len = info.length }
  end
  local masq = "masq" .. info.suffix
  return {
    { kind = "meta", key = "nfproto", dreg = 1 },
    { kind = "cmp", sreg = 1, op = "eq", data = info.number },
    address(info.source),
    { kind = "lookup", sreg = 1, set = masq },
    address(info.destination),
    { kind = "lookup", sreg = 1, set = masq, invert = true },
    { kind = "lookup", sreg = 1, set = "nonmasq" .. info.suffix, invert = true },
    { kind = "fib", dreg = 1, result = "type", flags = { "daddr" } },
    { kind = "cmp", sreg = 1, op = "eq", data = RTN_UNICAST },
    { kind = "masq", flags = { "fully-random" } },
  }
end

-- Table, chain, sets and rules, as mncni.ruleset takes them.
local function wanted()
  local want = {
    family = "inet", table = TABLE, comment = COMMENT, sets = {}, rules = {},
    chains = { { name = CHAIN, type = "nat", hook = "postrouting", prio = SRCNAT, policy = "accept" } },
  }
  for _, family in ipairs { "inet", "inet6" } do
    local info = families[family]
    for _, prefix in ipairs { "masq", "nonmasq" } do
      table.insert(want.sets, { name = prefix .. info.suffix, type = info.type, flags = { "interval" } })
    end
    table.insert(want.rules, { chain = CHAIN, expr = expressions(family) })
  end
  return want
end

-- Whether all of cidr is in the set: a narrower range that starts alike is not enough.
local function in_set(host, name, cidr)
  local found = host.nft.element.get {
    family = "inet", table = TABLE, name = name, elem = { cidr.network.address },
  }
  local range = found and core.cidr.parse(found.elem)
  return found ~= nil and (not range or range:contains(cidr))
end

local function add_element(name, cidr)
  return { "replace", "element", { family = "inet", table = TABLE, name = name, elem = { tostring(cidr.network) } } }
end

-- Ranges already in the set that lie inside cidr: the kernel refuses one that overlaps them, so they go as it comes.
local function swallowed(host, name, cidr)
  local steps_out = {}
  for found in host.nft.element.list { family = "inet", table = TABLE, name = name } do
    local inner = type(found.elem) == "string" and core.cidr.parse(found.elem)
    if inner and cidr:contains(inner) then
      steps_out[#steps_out + 1] = { "del", "element", {
        family = "inet", table = TABLE, name = name, elem = { found.elem },
      } }
    end
  end
  return steps_out
end

-- Which of the ranges a set needs: those inside another one of the list would overlap it. Sorted.
local function outermost(list)
  local sorted, kept = {}, {}
  for i, cidr in ipairs(list) do
    sorted[i] = cidr.network
  end
  table.sort(sorted) -- by address, and the wider first
  for _, cidr in ipairs(sorted) do
    if not kept[1] or not kept[#kept]:contains(cidr) then
      kept[#kept + 1] = cidr
    end
  end
  return kept
end

-- Whether the sets of what is not masqueraded are the agent's.
local function is_agents(host)
  return host.nft.chain.get { family = "inet", table = TABLE, name = AGENT.name } ~= nil
end

-- What has to be sent, and what of the sets the attachment then relies on.
local function look(host, sources, except)
  local needs = {}
  local function want(batch, prefix, list, left)
    for _, cidr in ipairs(outermost(list)) do
      local name = prefix .. families[cidr.family].suffix
      local there = in_set(host, name, cidr)
      if not there and left and left() then
        break
      end
      needs[#needs + 1] = { set = name, range = tostring(cidr) }
      if not there then
        for _, step in ipairs(swallowed(host, name, cidr)) do
          batch[#batch + 1] = step
        end
        batch[#batch + 1] = add_element(name, cidr)
      end
    end
  end
  return ruleset.steps(host, wanted(), function(batch)
    want(batch, "masq", sources)
    want(batch, "nonmasq", except, function() return is_agents(host) end)
  end), needs
end

-- Somebody else's transaction, the agent's first one say, may come between the look and what is sent.
local overtaken = { EEXIST = true, ENOENT = true }
local ROUNDS = 5

local function prepare(context, sources, except)
  local host = context.nets.host
  local list, needs = look(host, sources, except)
  for _, step in ipairs(list) do
    function step.send(batch)
      for round = 1, ROUNDS do
        local ok, err = pcall(host.nft.batch, batch)
        if ok then
          return
        elseif round == ROUNDS or not core.is_error(err) or not overtaken[err.name] then
          error(err, 0)
        end
        local again = look(host, sources, except)[1]
        if not again then
          return
        end
        batch = again.args
      end
    end
  end
  list[#list + 1] = { net = "host", verb = "require", object = "masquerade", args = { ranges = needs } }
  return list
end

-- check(host, args, differs): calls differs(object, message, ...) for the first thing that is missing of what an
-- attachment relies on; args are those of its "require" step.
function masquerade.check(host, args, differs)
  ruleset.check(host, wanted(), differs)
  for _, need in ipairs(args.ranges) do
    local theirs = need.set:find "^nonmasq" and is_agents(host)
    if not theirs and not in_set(host, need.set, core.cidr(need.range)) then
      differs(("nft set %q"):format("inet " .. TABLE .. " " .. need.set), "%s is no longer in it", need.range)
    end
  end
end

local function cidrs(list)
  local result = {}
  for i, item in ipairs(list or {}) do
    result[i] = core.cidr.is(item) and item or core.cidr(tostring(item))
  end
  return result
end

-- ensure{ sources = list of cidr values, except = list of cidr values or strings } masquerades what the sources send
-- to anywhere but pods of this node, except and the node itself. The sets are the node's: what several networks ask for
-- adds up. Where the agent keeps them, it alone says what is excepted.
function masquerade.ensure(args)
  arguments.check("masquerade.ensure", args, { "sources", "except" })
  local sources, except = cidrs(args.sources), cidrs(args.except)
  steps.apply { shared = true, prepare = function(context) return prepare(context, sources, except) end }
end

-- desired{ sources, except } returns the same as data, for the nft of a policy of the agent (mncni.ruleset): the sources
-- are added, and what is excepted is this and nothing else. Lists may be long and overlap. When it is no longer wanted,
-- the table is the plugin's again.
function masquerade.desired(args)
  arguments.check("masquerade.desired", args, { "sources", "except" })
  local want = wanted()
  for _, list in ipairs { want.chains, want.sets } do
    for _, object in ipairs(list) do
      object.shared = true
    end
  end
  table.insert(want.chains, AGENT)
  local elem = {}
  for prefix, list in pairs { masq = cidrs(args.sources), nonmasq = cidrs(args.except) } do
    for suffix in pairs { ["4"] = true, ["6"] = true } do
      elem[prefix .. suffix] = {}
    end
    for _, cidr in ipairs(outermost(list)) do
      table.insert(elem[prefix .. families[cidr.family].suffix], tostring(cidr))
    end
  end
  for _, set in ipairs(want.sets) do
    set.elem, set.owned = elem[set.name], set.name:find "^nonmasq" ~= nil
  end
  return want
end

return masquerade
