-- SPDX-License-Identifier: Apache-2.0
-- Forwarding for pods on a node that forwards nothing by itself (iptables -P FORWARD DROP). In nf_tables a packet has
-- to pass every chain of the hook: what another table drops no chain of ours can accept. So the rules stand where the
-- policy is, in the tables "ip filter" and "ip6 filter" that iptables-nft keeps, and are made of what it reads: a lookup
-- in a set, or nf_tables' own word for the state of a connection, would make it refuse the whole chain.
--
--   FORWARD      begins with a jump to CNI-FORWARD
--   CNI-FORWARD  begins with a jump to the chain of the administrator; then two rules for each address
--
-- These chains, and the comments of the jumps, are those of the reference plugin firewall, which then adds none of its
-- own. What a pod has is told by the comment of its rules.

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local objects = require "mncni.objects"
local ruleset = require "mncni.ruleset"
local steps = require "mncni.steps"

local firewall = {}

local TABLE, CHAIN = "filter", "CNI-FORWARD"
local MAX_COMMENT = 127 -- of a rule

-- Where a packet has its addresses: RFC 791, RFC 8200.
local families = {
  inet = { name = "ip", source = 12, destination = 16, length = 4 },
  inet6 = { name = "ip6", source = 8, destination = 24, length = 16 },
}

-- struct xt_conntrack_mtinfo3 of linux/netfilter/xt_conntrack.h, padded to 8 bytes: match the state alone
-- (XT_CONNTRACK_STATE), which is ESTABLISHED or RELATED (bits 1 and 2).
local STATE = ("\0"):rep(128 + 8 + 10) .. string.pack("=I2I2I2I2", 1, 0, 6, 0) .. ("\0"):rep(8 + 6)

local counter, accept = { kind = "counter" }, { kind = "immediate", dreg = 0, data = { verdict = "accept" } }
local established = { kind = "match", name = "conntrack", rev = 3, info = STATE }

local function jump(to)
  return { kind = "immediate", dreg = 0, data = { verdict = "jump", chain = to } }
end

-- Who has a rule, for its comment.
local function owner(pod)
  local text = ("mncni %s %s %s"):format(pod.network, pod.container, pod.ifname)
  return #text <= MAX_COMMENT and text or ("mncni %016x %s"):format(core.journal.hash(text), pod.ifname)
end

-- What is accepted for an address: all that it sends, and the answers.
local function rules_of(address, comment)
  local family = families[address.family]
  local function is(offset)
    return { kind = "payload", base = "network", offset = offset, len = family.length, dreg = 1 },
      { kind = "cmp", sreg = 1, op = "eq", data = address.bytes }
  end
  local list = {}
  for i, expr in ipairs {
    { is(family.destination) }, { is(family.source) },
  } do
    expr[#expr + 1] = i == 1 and established or nil
    expr[#expr + 1], expr[#expr + 2] = counter, accept
    list[i] = { family = family.name, table = TABLE, chain = CHAIN, comment = comment, expr = expr }
  end
  return list
end

local function has_jump(host, family, from, to)
  for rule in host.nft.rule.list { family = family, table = TABLE, chain = from } do
    for _, expression in ipairs(rule.expr or {}) do
      local data = expression.kind == "immediate" and expression.data
      if type(data) == "table" and data.chain == to then
        return true
      end
    end
  end
  return false
end

-- Appends to batch what a family lacks of table, chains and jumps. "add" refuses what somebody else makes meanwhile.
local function frame(host, family, admin, batch)
  local function there(chain)
    return host.nft.chain.get { family = family, table = TABLE, name = chain } ~= nil
  end
  local function chain(name, more)
    local args = more or {}
    args.family, args.table, args.name = family, TABLE, name
    batch[#batch + 1] = { "add", "chain", args }
  end
  local function insert(from, to, comment)
    batch[#batch + 1] = { "insert", "rule", {
      family = family, table = TABLE, chain = from, comment = comment, expr = { counter, jump(to) },
    } }
  end
  local has_forward, has_ours, has_admin = there "FORWARD", there(CHAIN), there(admin)
  if not has_forward then
    batch[#batch + 1] = { "replace", "table", { family = family, name = TABLE } }
    chain("FORWARD", { type = "filter", hook = "forward", prio = 0, policy = "accept" })
  end
  if not has_ours then
    chain(CHAIN)
  end
  if not has_admin then
    chain(admin)
  end
  if not (has_forward and has_ours and has_jump(host, family, "FORWARD", CHAIN)) then
    insert("FORWARD", CHAIN, "CNI firewall plugin rules")
  end
  if not (has_ours and has_admin and has_jump(host, family, CHAIN, admin)) then
    insert(CHAIN, admin, "CNI firewall plugin admin overrides")
  end
end

-- The whole transaction.
local function build(host, needs)
  local batch, framed = {}, {}
  for _, text in ipairs(needs.addresses) do
    local address = core.cidr(text)
    local family = families[address.family].name
    if not framed[family] then
      framed[family] = true
      frame(host, family, needs.admin, batch)
    end
    for _, rule in ipairs(rules_of(address, needs.comment)) do
      batch[#batch + 1] = { "add", "rule", rule }
    end
  end
  return batch
end

-- Somebody else's transaction may come between the look and what is sent.
local overtaken = { EEXIST = true, ENOENT = true }
local ROUNDS = 5

local function prepare(context, needs, undo)
  local host = context.nets.host
  if host.nft.table.get { family = "inet", name = "firewalld" } then
    context:warn "firewalld forwards nothing between its zones, whoever accepts it; put the pods' range into a zone"
  end
  local function send(batch)
    for round = 1, ROUNDS do
      local ok, err = pcall(host.nft.batch, batch)
      if ok then
        return
      elseif round == ROUNDS or not core.is_error(err) or not overtaken[err.name] then
        error(err, 0)
      end
      batch = build(host, needs)
    end
  end
  return {
    { net = "host", verb = "batch", object = "nft", args = build(host, needs), undo = undo, send = send },
    { net = "host", verb = "require", object = "firewall", args = needs },
  }
end

local builtin = { FORWARD = true, INPUT = true, OUTPUT = true, [CHAIN] = true }

-- accept{ pod = pod, admin = name } has the node forward what the pod's addresses (pod:addresses()) send, and the answers,
-- whatever the policy of iptables' chain FORWARD is. The chain `admin` ("CNI-ADMIN" unless given) is asked first; it is
-- made when missing, and its rules are the administrator's. Raises code 7 for a name that no such chain can have.
function firewall.accept(args)
  arguments.check("firewall.accept", args, { "pod", "admin" })
  local admin = args.admin or "CNI-ADMIN"
  if builtin[admin] or not admin:find "^[^%s%c!-][^%s%c]*$" or #admin > 28 then
    error(core.error {
      code = 7, object = ("chain %q"):format(admin),
      message = "it cannot be the administrator's: at most 28 characters without blanks, and none of iptables' own",
    }, 0)
  end
  local needs, undo, listed = { admin = admin, comment = owner(args.pod), addresses = {} }, {}, {}
  for i, address in ipairs(args.pod:addresses()) do
    local family = families[address.family].name
    needs.addresses[i] = address.address
    if not listed[family] then
      listed[family] = true
      local list = ruleset.hex(core.encode("dump", "nft_rule", { family = family, table = TABLE, chain = CHAIN }))
      table.insert(undo, { op = "rules", list = list, comment = needs.comment })
    end
  end
  if #needs.addresses > 0 then
    steps.apply { prepare = function(context) return prepare(context, needs, core.json.array(undo)) end }
  end
end

-- What a rule says but for its comment, and the comment: iptables-restore writes that among the rest.
local function split(rule)
  local comment, expr = rule.comment, {}
  for _, expression in ipairs(rule.expr or {}) do
    if expression.kind == "match" and expression.name == "comment" then
      comment = expression.info:match "^[^%z]*"
    else
      expr[#expr + 1] = expression
    end
  end
  return { expr = expr }, comment
end

-- check(host, args, differs): see mncni.masquerade.
function firewall.check(host, args, differs)
  local have = {}
  for _, text in ipairs(args.addresses) do
    local address = core.cidr(text)
    local family = families[address.family].name
    local name = ("nft chain %q"):format(("%s %s %s"):format(family, TABLE, CHAIN))
    if not have[family] then
      have[family] = {}
      for from, to in pairs { FORWARD = CHAIN, [CHAIN] = args.admin } do
        if not has_jump(host, family, from, to) then
          differs(("nft chain %q"):format(("%s %s %s"):format(family, TABLE, from)), "the jump to %s is gone", to)
        end
      end
      for rule in host.nft.rule.list { family = family, table = TABLE, chain = CHAIN } do
        local plain, comment = split(rule)
        if comment == args.comment then
          table.insert(have[family], plain)
        end
      end
    end
    for _, rule in ipairs(rules_of(address, args.comment)) do
      local found = table.remove(have[family], 1)
      if not found or not objects.matches("nft_rule", { expr = rule.expr }, found) then
        differs(name, "a rule of %s is gone, or another one", text)
      end
    end
  end
end

return firewall
