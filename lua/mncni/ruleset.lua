-- SPDX-License-Identifier: Apache-2.0
-- nftables objects of the node that attachments share, as data:
--   { family, table, comment, chains = { { name, type, hook, prio, policy } }, sets = { { name, type, ... } },
--     rules = { { chain, expr } } }
-- The comment marks our rules and ends with their revision, which goes up whenever they change: a node that has those
-- of another revision gets them anew.

local core = require "mncni.core"
local objects = require "mncni.objects"
local steps = require "mncni.steps"

local ruleset = { hex = steps.hex }

-- One transaction that makes all of it, and may be repeated by anybody at any time.
local function frame(want)
  local batch = { { "replace", "table", { family = want.family, name = want.table } } }
  local function put(verb, object, args, more)
    local item = { family = want.family, table = want.table, comment = more }
    for key, value in pairs(args) do
      item[key] = value
    end
    batch[#batch + 1] = { verb, object, item }
  end
  for _, chain in ipairs(want.chains) do
    put("replace", "chain", chain)
    put("flush", "rule", { chain = chain.name })
  end
  for _, set in ipairs(want.sets) do
    put("replace", "set", set)
  end
  for _, rule in ipairs(want.rules) do
    put("add", "rule", rule, want.comment)
  end
  return batch
end

-- Whether all rules are there, by their number: without chain and sets there are none.
local function present(host, want)
  local count = 0
  for found in host.nft.rule.list { family = want.family, table = want.table } do
    count = count + (found.comment == want.comment and 1 or 0)
  end
  return count == #want.rules
end

-- steps(host, want, more) returns what has to be sent for all of it to be there: one step, or none. more(batch), if it
-- is given, appends to the transaction; it is called once the rules have been looked at.
function ruleset.steps(host, want, more)
  local batch = present(host, want) and {} or frame(want)
  if more then
    more(batch)
  end
  return #batch > 0 and { { net = "host", verb = "batch", object = "nft", args = batch } } or {}
end

local function name_of(kind, want, name)
  return ("nft %s %q"):format(kind, ("%s %s %s"):format(want.family, want.table, name))
end

local function check_one(host, want, kind, object, differs)
  local name = name_of(kind, want, object.name)
  local have = host.nft[kind].get { family = want.family, table = want.table, name = object.name }
  if not have then
    differs(name, "it is gone")
  end
  for _, key in ipairs { "type", "hook", "prio", "policy", "map" } do
    if object[key] ~= nil and not objects.matches("nft_" .. kind, { [key] = object[key] }, have) then
      differs(name, "its %s is %s, and should be %s", key, tostring(have[key] or "none"), tostring(object[key]))
    end
  end
end

-- check(host, want, differs) calls differs(object, message, ...) for the first thing that is missing or altered. Our
-- rules must be there in our order; what others put beside them is theirs.
function ruleset.check(host, want, differs)
  for _, chain in ipairs(want.chains) do
    check_one(host, want, "chain", chain, differs)
  end
  for _, set in ipairs(want.sets) do
    check_one(host, want, "set", set, differs)
  end
  local have = {}
  for rule in host.nft.rule.list { family = want.family, table = want.table } do
    if rule.comment == want.comment then
      have[rule.chain] = have[rule.chain] or {}
      table.insert(have[rule.chain], rule)
    end
  end
  for i, rule in ipairs(want.rules) do
    local found = table.remove(have[rule.chain] or {}, 1)
    if not found or not objects.matches("nft_rule", { expr = rule.expr }, found) then
      differs(name_of("chain", want, rule.chain), "rule %d of %q is gone, or another one", i, want.comment)
    end
  end
end

-- NFNL_MSG_BATCH_BEGIN and _END of nf_tables (linux/netfilter/nfnetlink.h): an empty request with its subsystem.
local function mark(type)
  return string.pack("=I4I2I2I4I4BB>I2", 20, type, 1, 0, 0, 0, 0, 10)
end

-- undo(elements) returns what the journal needs to take them ({ family, table, name, elem }) out again.
function ruleset.undo(elements)
  local parts = { mark(0x10) }
  for _, element in ipairs(elements) do
    parts[#parts + 1] = core.encode("del", "nft_element", element)
  end
  parts[#parts + 1] = mark(0x11)
  return { op = "netlink", protocol = "netfilter", message = ruleset.hex(table.concat(parts)) }
end

return ruleset
