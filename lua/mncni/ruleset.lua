-- SPDX-License-Identifier: Apache-2.0
-- nftables objects of the node that attachments share, as data:
--   { family, table, comment, chains = { { name, type, hook, prio, policy } },
--     sets = { { name, type, ..., elem = list, owned = boolean } }, rules = { { chain, expr } } }
-- Chains and sets may say `shared`, which is for mncni.keeper_nft.
-- The comment marks our rules and ends with their revision, which goes up whenever they change: a node that has those
-- of an earlier revision gets them anew; those of a later one, which somebody newer keeps, are left.
-- What a set holds is looked at by replace alone: elem are the addresses and ranges that it has to hold, and owned says
-- that it is to hold nothing else.

local core = require "mncni.core"
local objects = require "mncni.objects"
local steps = require "mncni.steps"

local ruleset = { hex = steps.hex }

-- What a declaration says of its objects that is no key of theirs.
local apart = { elem = true, owned = true, shared = true }

-- One transaction that makes all of it, and may be repeated by anybody at any time.
local function frame(want)
  local batch = { { "replace", "table", { family = want.family, name = want.table } } }
  local function put(verb, object, args, more)
    local item = { family = want.family, table = want.table, comment = more }
    for key, value in pairs(args) do
      item[key] = not apart[key] and value or nil
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

-- Whether a comment marks rules of ours that are of a later revision.
local function is_later(comment, ours)
  if not comment or comment == ours then
    return false
  end
  local what, revision = comment:match "^(.* )(%d+)$"
  local our_what, our_revision = ours:match "^(.* )(%d+)$"
  return what == our_what and tonumber(revision) > tonumber(our_revision)
end

-- Whether all rules are there, by their number: without chain and sets there are none. And whether they are later ones.
local function present(host, want)
  local count = 0
  for found in host.nft.rule.list { family = want.family, table = want.table } do
    if is_later(found.comment, want.comment) then
      return true, true
    end
    count = count + (found.comment == want.comment and 1 or 0)
  end
  return count == #want.rules, false
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
    if is_later(rule.comment, want.comment) then
      return
    elseif rule.comment == want.comment then
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

-- One spelling for each address or range, which is the kernel's, but for a single address: that has a prefix, too. What
-- else a set holds (a-b) keeps its own.
local function spelling(elem)
  local cidr = core.cidr.parse(elem)
  return cidr and tostring(cidr.network) or elem
end

-- The elements of a set, spelling -> true. None when there is no such set.
local function held(host, want, set)
  local have = {}
  local one = { family = want.family, table = want.table, name = set.name }
  if host.nft.set.get(one) then
    for found in host.nft.element.list(one) do
      local elem = type(found.elem) == "table" and (found.elem.val or found.elem.key) or found.elem
      have[type(elem) == "string" and elem:find("/", 1, true) and elem or spelling(elem)] = true
    end
  end
  return have
end

-- Of a set that is not owned: an element that comes is left out where a wider one is there already, and those inside it
-- go, because the kernel refuses what overlaps.
local function make_room(have, comes, goes)
  for i = #comes, 1, -1 do
    local cidr = core.cidr.parse(comes[i])
    for key in pairs(cidr and have or {}) do
      local other = core.cidr.parse(key)
      if other and other:contains(cidr) then
        table.remove(comes, i)
        break
      elseif other and cidr:contains(other) then
        goes[#goes + 1] = key
      end
    end
  end
end

-- Appends to batch what has to go from a set, and what it lacks.
local function difference(host, want, set, batch)
  local have, goes, comes, wanted = held(host, want, set), {}, {}, {}
  for _, elem in ipairs(set.elem) do
    local key = have[elem] and elem or spelling(elem)
    if not have[key] and not wanted[key] then
      comes[#comes + 1] = key
    end
    wanted[key] = true
  end
  if set.owned then
    for key in pairs(have) do
      goes[#goes + 1] = not wanted[key] and key or nil
    end
  else
    make_room(have, comes, goes)
  end
  table.sort(goes)
  for _, step in ipairs { { "del", goes }, { "replace", comes } } do
    if #step[2] > 0 then
      batch[#batch + 1] = { step[1], "element", {
        family = want.family, table = want.table, name = set.name, elem = step[2],
      } }
    end
  end
end

local function is_whole(host, want)
  local ok, err = pcall(ruleset.check, host, want, function() error(ruleset, 0) end)
  if not ok and err ~= ruleset then
    error(err, 0)
  end
  return ok
end

-- replace(host, want) returns the one transaction, for nft.batch, after which everything is as wanted: chains and rules
-- as check has it, sets with elem holding that. nil when it is so already. Changes nothing itself.
function ruleset.replace(host, want)
  local there, later = present(host, want)
  local batch = there and (later or is_whole(host, want)) and {} or frame(want)
  for _, set in ipairs(want.sets) do
    if set.elem then
      difference(host, want, set, batch)
    end
  end
  return #batch > 0 and batch or nil
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
