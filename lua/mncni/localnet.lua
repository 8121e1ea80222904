-- SPDX-License-Identifier: Apache-2.0
-- Host ports on 127.0.0.1: the node's own programs reach a pod through it. The kernel keeps 127.0.0.0/8 off every other
-- link; route_localnet on the bridge lifts that, for neighbours as well (CVE-2020-8558). So it is on only while an
-- attachment needs it, which is an element of the set localnet-BRIDGE, and what comes in from elsewhere than lo with
-- such an address is dropped first. That is seen before connection tracking translates anything back: the answers to
-- translated packets do not have such addresses on the wire.

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local ruleset = require "mncni.ruleset"
local steps = require "mncni.steps"

local localnet = {}

local TABLE = "mncni"
local LO = "lo" .. ("\0"):rep(14)
local RAW, SRCNAT = -300, 100 -- NF_IP_PRI_RAW, NF_IP_PRI_NAT_SRC
local NFPROTO_IPV4 = "\2"

-- An IPv4 packet that crosses another link than lo, with 127.0.0.0/8 at this offset of its header, meets this.
local function rule(chain, link, offset, verdict)
  return { chain = chain, expr = {
    { kind = "meta", key = link, dreg = 1 },
    { kind = "cmp", sreg = 1, op = "neq", data = LO },
    { kind = "meta", key = "nfproto", dreg = 1 },
    { kind = "cmp", sreg = 1, op = "eq", data = NFPROTO_IPV4 },
    { kind = "payload", base = "network", offset = offset, len = 1, dreg = 1 },
    { kind = "cmp", sreg = 1, op = "eq", data = "\127" },
    verdict,
  } }
end

local drop = { kind = "immediate", dreg = 0, data = { verdict = "drop" } }

local function wanted(bridge)
  return {
    family = "inet", table = TABLE, comment = "mncni: localnet 1",
    chains = {
      { name = "localnet", type = "filter", hook = "prerouting", prio = RAW, policy = "accept" },
      { name = "localnet_source", type = "nat", hook = "postrouting", prio = SRCNAT, policy = "accept" },
    },
    sets = { { name = "localnet-" .. bridge, type = "ifname" } },
    rules = {
      rule("localnet", "iifname", 16, drop),
      rule("localnet", "iifname", 12, drop),
      rule("localnet_source", "oifname", 12, { kind = "masq" }),
    },
  }
end

local function element(bridge, port)
  return { family = "inet", table = TABLE, name = "localnet-" .. bridge, elem = { { key = { ifname = port } } } }
end

-- The request that lists all elements of the bridge's set.
local function list_of(bridge)
  local set = { family = "inet", table = TABLE, name = "localnet-" .. bridge }
  return ruleset.hex(core.encode("dump", "nft_element", set))
end

-- ensure{ bridge =, port = } (objects of mncni.bridge.ensure and pod:veth, or names of links) lets packets that the
-- node's own programs send from 127.0.0.1, and that a rule of yours translates to the pod, out of the bridge, with the
-- bridge's address as source, for as long as the attachment lasts.
function localnet.ensure(args)
  arguments.check("localnet.ensure", args, { "bridge", "port" })
  local bridge = type(args.bridge) == "table" and args.bridge.ifname or args.bridge
  local port = type(args.port) == "table" and args.port.host_ifname or args.port
  local want, key = wanted(bridge), ("net/ipv4/conf/%s/route_localnet"):format(bridge)
  local undo = core.json.array {
    ruleset.undo { element(bridge, port) },
    { op = "sysctl", key = key, value = "0", unless = { message = list_of(bridge), value = "1" } },
  }
  steps.apply { shared = true, prepare = function(context) return ruleset.steps(context.nets.host, want) end }
  local set = { family = want.family, table = want.table, name = want.sets[1].name, type = want.sets[1].type }
  steps.apply { net = "host", verb = "batch", object = "nft", undo = undo, args = {
    { "replace", "set", set }, { "replace", "element", element(bridge, port) },
  } }
  steps.apply { net = "host", verb = "set", object = "sysctl", shared = true, args = { key = key, value = "1" } }
  steps.apply { net = "host", verb = "require", object = "localnet", args = { bridge = bridge, port = port } }
end

-- check(host, args, differs): see mncni.masquerade.
function localnet.check(host, args, differs)
  ruleset.check(host, wanted(args.bridge), differs)
  local one = element(args.bridge, args.port)
  if not host.nft.element.get(one) then
    differs(("nft set %q"):format("inet mncni " .. one.name), "the element of port %s is gone", args.port)
  end
end

return localnet
