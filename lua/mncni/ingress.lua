-- SPDX-License-Identifier: Apache-2.0
-- What pods of other attachments may send to a pod. Two chains per node whose rules never change; a pod is elements of
-- their sets, one for each address. Only what comes in from an attachment that has such a policy itself is looked at:
-- the node, and what the node forwards from elsewhere, reach every pod.
--
--   inet mncni    ingress_bridges  links behind which there are pods with a policy (bridges, or the node's end of a veth)
--                 same_bridge4     link . address of pods that only their own bridge reaches, and same_bridge6
--                 isolated4        link . address of pods that no pod reaches, and isolated6
--   bridge mncni  isolated4        port . address of these, for what their bridge forwards to them, and isolated6

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local ruleset = require "mncni.ruleset"
local steps = require "mncni.steps"

local ingress = {}

local COMMENT = "mncni: ingress 1"

-- RFC 791, RFC 8200; numbers of the family in nf_tables (NFPROTO_*) and on the wire (IEEE 802).
local families = {
  { suffix = "4", type = "ipv4_addr", number = "\2", ether = "\x08\x00", offset = 16, length = 4 },
  { suffix = "6", type = "ipv6_addr", number = "\10", ether = "\x86\xdd", offset = 24, length = 16 },
}

local NAME, ADDRESS = 1, 2 -- registers of a key: a link's name, which takes 16 bytes, and an address

local function verdict(what)
  return { kind = "immediate", dreg = 0, data = { verdict = what } }
end

-- A rule about packets to the addresses of a set: link is the word for what the key begins with.
local function to(chain, family, is, link, set, what)
  return { chain = chain, expr = {
    is, { kind = "cmp", sreg = 1, op = "eq", data = is.key and family.number or family.ether },
    { kind = "meta", key = link, dreg = NAME },
    { kind = "payload", base = "network", offset = family.offset, len = family.length, dreg = ADDRESS },
    { kind = "lookup", set = set .. family.suffix, sreg = NAME },
    verdict(what),
  } }
end

local function set(name, family)
  return { name = name .. family.suffix, type = { "ifname", family.type } }
end

-- Any priority will do: what is dropped is dropped, whoever accepts it.
local inet = {
  family = "inet", table = "mncni", comment = COMMENT, sets = { { name = "ingress_bridges", type = "ifname" } },
  chains = { { name = "ingress", type = "filter", hook = "forward", prio = 0, policy = "accept" } },
  rules = { { chain = "ingress", expr = {
    { kind = "meta", key = "iifname", dreg = NAME },
    { kind = "lookup", set = "ingress_bridges", sreg = NAME, invert = true },
    verdict "accept",
  } } },
}
local bridge = {
  family = "bridge", table = "mncni", comment = COMMENT, sets = {}, rules = {},
  chains = { { name = "ingress", type = "filter", hook = "forward", prio = 0, policy = "accept" } },
}
for _, family in ipairs(families) do
  local protocol = { kind = "meta", key = "nfproto", dreg = 1 }
  for _, name in ipairs { "same_bridge", "isolated" } do
    table.insert(inet.sets, set(name, family))
  end
  table.insert(inet.rules, to("ingress", family, protocol, "iifname", "same_bridge", "accept"))
  table.insert(inet.rules, to("ingress", family, protocol, "oifname", "same_bridge", "drop"))
  table.insert(inet.rules, to("ingress", family, protocol, "oifname", "isolated", "drop"))
  table.insert(bridge.sets, set("isolated", family))
  local ether = { kind = "payload", base = "link", offset = 12, len = 2, dreg = 1 }
  table.insert(bridge.rules, to("ingress", family, ether, "oifname", "isolated", "drop"))
end

local sets = { ["same-bridge"] = "same_bridge", isolated = "isolated" }

-- The elements of a pod. What it needs: { policy, link, port, addresses, own = whether the link is the port }.
local function elements(needs)
  local list = {}
  for _, want in ipairs { inet, needs.policy == "isolated" and not needs.own and bridge or nil } do
    for _, address in ipairs(needs.addresses) do
      local name = sets[needs.policy] .. (core.cidr(address).family == "inet" and "4" or "6")
      list[#list + 1] = { family = want.family, table = want.table, name = name, elem = {
        { key = { { ifname = want == bridge and needs.port or needs.link }, { address = address } } },
      } }
    end
  end
  return list
end

local function link_element(needs)
  return { family = inet.family, table = inet.table, name = "ingress_bridges", elem = {
    { key = { ifname = needs.link } },
  } }
end

-- Tables, chains, sets and rules, and the link, which others share: a bridge stays in the set.
local function frame(context, needs)
  local host = context.nets.host
  local list = ruleset.steps(host, inet, function(batch)
    if not needs.own and not host.nft.element.get(link_element(needs)) then
      batch[#batch + 1] = { "replace", "element", link_element(needs) }
    end
  end)
  if needs.policy == "isolated" and not needs.own then
    table.move(ruleset.steps(host, bridge), 1, 1, #list + 1, list)
  end
  return list
end

-- hold{ pod = pod, policy = "same-bridge" or "isolated" } keeps other pods of such attachments from the pod's addresses
-- (pod:addresses()): those behind another bridge, or all of them, and whatever else
-- is on its bridge. Raises code 7 for a pod without a veth.
function ingress.hold(args)
  arguments.check("ingress.hold", args, { "pod", "policy" })
  local port = args.pod:host_link()
  local needs = { policy = args.policy, link = port.ifname, port = port.ifname, own = true, addresses = {} }
  local master = port.master and args.pod.host.link.get { ifname = port.master }
  if master and master.kind == "bridge" then
    needs.link, needs.own = master.ifname, false
  end
  for i, address in ipairs(args.pod:addresses()) do
    needs.addresses[i] = address.address
  end
  local list, batch = elements(needs), {}
  if needs.own then
    table.insert(list, link_element(needs))
  end
  for i, element in ipairs(list) do
    batch[i] = { "replace", "element", element }
  end
  if #batch == 0 then
    return
  end
  steps.apply { shared = true, prepare = function(context) return frame(context, needs) end }
  steps.apply { net = "host", verb = "batch", object = "nft", args = batch, undo = ruleset.undo(list) }
  steps.apply { net = "host", verb = "require", object = "ingress", args = needs }
end

-- check(host, args, differs): see mncni.masquerade.
function ingress.check(host, args, differs)
  ruleset.check(host, inet, differs)
  local list = elements(args)
  if list[#list].family == "bridge" then
    ruleset.check(host, bridge, differs)
  end
  list[#list + 1] = link_element(args)
  for _, element in ipairs(list) do
    if not host.nft.element.get(element) then
      differs(("nft set %q"):format(("%s mncni %s"):format(element.family, element.name)),
        "the element of %s is gone", args.link)
    end
  end
end

return ingress
