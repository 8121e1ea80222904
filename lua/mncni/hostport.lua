-- SPDX-License-Identifier: Apache-2.0
-- Host ports: what comes to a port of the node goes to a port of the pod, over TCP, UDP and SCTP, from outside, from the
-- node itself, from 127.0.0.1 and from pods. Rules and maps are those of mncni.hostport_rules; a port is one element.
--
-- A port belongs to one attachment. The elements of an ADD are one transaction, which the kernel refuses when one of
-- the ports is somebody else's already; and the way back begins each time with the element that says whose it is.

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local rules = require "mncni.hostport_rules"
local ruleset = require "mncni.ruleset"
local steps = require "mncni.steps"

local hostport = {}

local NFPROTO_INET = 1
local COMMENT_MAX = 127
local ENOUGH = 64 -- dead attachments that are removed at most for a port that one of them has
local ROUNDS = 5

local function fail(object, message, ...)
  error(core.error { code = 7, object = ("%q"):format(object), message = message:format(...) }, 0)
end

local function check_port(where, value)
  if math.type(value) ~= "integer" or value < 1 or value > 65535 then
    fail(where, "must be a port from 1 to 65535, and is %s", tostring(value))
  end
  return value
end

-- The addresses of the node that a mapping is for, by family; an address of one family leaves the other out.
local function hosts_of(where, text)
  if text == nil then
    return { inet = "0.0.0.0", inet6 = "::" }
  end
  local address = core.cidr.parse(text)
  if not address or text:find("/", 1, true) then
    fail(where, "must be an address of the node, and is %q", text)
  end
  return { [address.family] = address.address }
end

local function entry_text(entry)
  return ("%s %s %d %s %d"):format(entry.protocol, entry.host, entry.port, entry.to, entry.to_port)
end

-- The mappings of the runtime (hostPort, containerPort, protocol, hostIP) as a list of single ports, for the first
-- address of each family. The same one twice is one; two that differ are a mistake. Raises code 7, naming the key.
local function entries(mappings, addresses)
  local list, seen, pods = {}, {}, {}
  for _, address in ipairs(addresses) do
    pods[address.family] = pods[address.family] or address.address
  end
  for i, mapping in ipairs(mappings) do
    local where = ("portMappings[%d]."):format(i - 1)
    local protocol = (mapping.protocol or "tcp"):lower()
    if not rules.protocols[protocol] then
      fail(where .. "protocol", "must be tcp, udp or sctp, and is %q", protocol)
    end
    local port = check_port(where .. "hostPort", mapping.hostPort)
    local to_port = check_port(where .. "containerPort", mapping.containerPort)
    for family, host in pairs(hosts_of(where .. "hostIP", mapping.hostIP)) do
      local entry = {
        family = family, protocol = protocol, host = host, port = port, to = pods[family], to_port = to_port,
      }
      local key = ("%s %s %d"):format(protocol, host, port)
      if seen[key] and seen[key] ~= to_port then
        fail(where .. "hostPort", "%d/%s leads to port %d of the pod already", port, protocol, seen[key])
      elseif entry.to and not seen[key] then
        seen[key], list[#list + 1] = to_port, entry
      end
    end
  end
  table.sort(list, function(a, b) return entry_text(a) < entry_text(b) end)
  return list
end

-- The device of the node behind which an address is, nil when that is behind a router.
local function device_of(host, address)
  local route = host.route.get { dst = address }
  return route and not route.gateway and route.dev or nil
end

-- Set -> list of elements, and the way back: elements in groups that begin with the owner's.
local function elements(list, how)
  local batch, undo, seen = {}, {}, {}
  for _, entry in ipairs(list) do
    local family = entry.family
    local sets = rules.sets(family)
    undo[family] = undo[family] or {
      op = "elements", family = NFPROTO_INET, table = rules.want.table, sets = core.json.array(sets),
      keys = core.json.array {},
    }
    local keys, pod = rules.elements(entry, how)
    local group = core.json.array {}
    for i, set in ipairs(sets) do
      local key = keys[i]
      if not key or seen[set .. key] then -- addresses of the node may share a port, and what is masqueraded for it
        group[i] = ""
      else
        seen[set .. key], group[i] = true, steps.hex(key)
        batch[set] = batch[set] or {}
        table.insert(batch[set], {
          key = key, data = (i == 2 or i == 3) and pod or nil, comment = i < 4 and how.comment or nil,
        })
      end
    end
    table.insert(undo[family].keys, group)
  end
  local ways = core.json.array {}
  for _, family in ipairs { "inet", "inet6" } do
    ways[#ways + 1] = undo[family]
  end
  return batch, ways
end

-- One transaction: what the node lacks of the rules, and the elements.
local function transaction(host, by_set)
  local function add(batch)
    for _, family in ipairs { "inet", "inet6" } do
      for i, set in ipairs(rules.sets(family)) do
        if by_set[set] then
          batch[#batch + 1] = { i < 4 and "add" or "replace", "element", rules.element(set, by_set[set]) }
        end
      end
    end
  end
  return ruleset.steps(host, rules.want, add)[1].args
end

-- The first port that somebody has, and the comment of who does; nil when none is taken any more.
local function taken(host, list, how)
  for _, entry in ipairs(list) do
    local sets, keys = rules.sets(entry.family), rules.elements(entry, how)
    local i = keys[2] and 2 or 3
    local found = host.nft.element.get(rules.element(sets[i], { { key = keys[i] } }))
    if found then
      return entry, found.comment or "somebody who left no name"
    end
  end
end

local function conflict(entry, who)
  local network, container, ifname, name = who:match "^(%S+) (%S+) (%S+) ?(.*)$"
  if network then
    name = name ~= "" and ("pod %s, "):format(name) or ""
    who = ("%scontainer %s (%s in network %s)"):format(name, container, ifname, network)
  end
  local at = entry.host == rules.families[entry.family].any and "" or entry.host .. " "
  return core.error {
    op = "add", object = ("host port %s%d/%s"):format(at, entry.port, entry.protocol), errno = 17, code = 103,
    message = ("%s has it already; nothing was changed, choose another port or delete that one first"):format(who),
  }
end

-- Sends the transaction; a port whose owner is proven dead is freed, once. Raises code 103 for one that is taken.
local function sender(host, list, how, by_set, state_dir)
  return function(batch)
    local relieved = false
    for round = 1, ROUNDS do
      local ok, err = pcall(host.nft.batch, batch)
      if ok then
        return
      elseif round == ROUNDS or not core.is_error(err) or err.name ~= "EEXIST" and err.name ~= "ENOENT" then
        error(err, 0)
      end
      local entry, who = taken(host, list, how)
      if entry and relieved then
        error(conflict(entry, who), 0)
      elseif entry then
        relieved = true
        require("mncni.collect").run {
          state_dir = state_dir, network = who:match "^(%S+) %S+ %S+", proof = true, limit = ENOUGH,
        }
      end
      batch = transaction(host, by_set) -- without rules, say, that somebody flushed meanwhile
    end
  end
end

-- UDP connections that a port's change leaves with whom they went to before: for the port's addresses, which are the
-- node's own, and the way back for those that go to the pod by then.
local function stale(host, list)
  local flushes, ways, by = {}, core.json.array {}, {}
  for _, entry in ipairs(list) do
    if entry.protocol == "udp" then
      local at = by[entry.family .. entry.host] or { family = entry.family, host = entry.host, to = entry.to }
      by[entry.family .. entry.host] = at
      at.ports = at.ports or core.json.array {}
      table.insert(at.ports, entry.port)
    end
  end
  for _, key in ipairs(require "mncni.keys"(by)) do
    local at = by[key]
    local to = { at.host }
    if at.host == rules.families[at.family].any then
      to = {}
      for address in host.addr.list { family = at.family } do
        to[#to + 1] = core.cidr(address.address).address
      end
    end
    flushes[#flushes + 1] = { net = "host", verb = "flush", object = "conntrack", args = {
      family = at.family, protocol = rules.protocols.udp, ports = at.ports, to = core.json.array(to),
    } }
    ways[#ways + 1] = { op = "conntrack", protocol = rules.protocols.udp, ports = at.ports, answerer = at.to }
  end
  return flushes, ways
end

-- The plain steps that make the ports. Looks, and changes nothing.
local function prepare(context, list, how, state_dir)
  local host = context.nets.host
  local by_set, undo = elements(list, how)
  local flushes, forget = stale(host, list)
  table.move(forget, 1, #forget, #undo + 1, undo) -- once nothing leads to the pod any more
  local texts = core.json.array {}
  for i, entry in ipairs(list) do
    texts[i] = entry_text(entry)
  end
  local plain = { {
    net = "host", verb = "batch", object = "nft", args = transaction(host, by_set), undo = undo,
    told = { ports = #list }, send = sender(host, list, how, by_set, state_dir),
  } }
  table.move(flushes, 1, #flushes, 2, plain)
  plain[#plain + 1] = { net = "host", verb = "require", object = "hostport", args = {
    owner = steps.hex(how.owner), masquerade = how.masquerade, devices = how.devices, ports = texts,
  } }
  return plain
end

-- Who has a port, for people and for gc: the attachment, and the Kubernetes pod where that is known.
local function comment_of(pod)
  local name = pod.namespace and pod.name and (" %s/%s"):format(pod.namespace, pod.name) or ""
  return (("%s %s %s%s"):format(pod.network, pod.container, pod.ifname, name):sub(1, COMMENT_MAX))
end

-- ensure{ pod =, mappings = list of { hostPort, containerPort, protocol ("tcp"), hostIP (any) }, addresses = the pod's
-- (cidr values; those of the chain), snat = masquerade what comes from 127.0.0.1 and from the pod's own side (true),
-- masq_all = masquerade all of it (false) } gives the pod ports of the node for as long as the attachment lasts: for the
-- first of its addresses of each family. Raises code 7 for what is no mapping; the commit raises 103 for a port that
-- another pod has, and changes nothing.
function hostport.ensure(args)
  arguments.check("hostport.ensure", args, { "pod", "mappings", "addresses", "snat", "masq_all" })
  local pod, snat = args.pod, args.snat ~= false
  local list = entries(args.mappings, args.addresses or pod:addresses())
  if #list == 0 then
    if #args.mappings > 0 then
      pod:warn "the pod has no address of the family that its host ports are for; none was made"
    end
    return
  end
  local how = {
    owner = rules.owner(pod.network, pod.container, pod.ifname), comment = comment_of(pod), devices = {},
    masquerade = snat and (args.masq_all and "all" or "own") or nil,
  }
  local needs_localnet = false
  for _, entry in ipairs(list) do
    how.devices[entry.family] = how.devices[entry.family] or device_of(pod.host, entry.to)
    needs_localnet = needs_localnet or entry.host == "0.0.0.0" or entry.host:find "^127%." ~= nil
  end
  steps.apply { prepare = function(context) return prepare(context, list, how, pod._call.state_dir) end }
  if snat and needs_localnet and how.devices.inet then
    require("mncni.localnet").ensure {
      bridge = how.devices.inet, port = require("mncni.pod").host_ifname(pod.container, pod.ifname),
    }
  end
end

local function parsed(text)
  local protocol, host, port, to, to_port = text:match "^(%S+) (%S+) (%d+) (%S+) (%d+)$"
  return {
    family = core.cidr(host).family, protocol = protocol, host = host, port = math.tointeger(port), to = to,
    to_port = math.tointeger(to_port),
  }
end

-- check(host, args, differs): see mncni.masquerade.
function hostport.check(host, args, differs)
  ruleset.check(host, rules.want, differs)
  local held = {}
  local function has(set, key, data)
    if not held[set] then
      held[set] = {}
      for found in host.nft.element.list(rules.element(set)) do
        held[set][found.elem] = found.data or true
      end
    end
    return held[set][key] == (data or true)
  end
  local how = {
    owner = args.owner:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end),
    masquerade = args.masquerade, devices = args.devices,
  }
  for _, text in ipairs(args.ports) do
    local entry = parsed(text)
    local keys, pod = rules.elements(entry, how)
    for i, set in ipairs(rules.sets(entry.family)) do
      if keys[i] and not has(set, keys[i], (i == 2 or i == 3) and pod) then
        differs(("nft set %q"):format("inet mncni " .. set), "the element of host port %d/%s is gone, or another one",
          entry.port, entry.protocol)
      end
    end
  end
end

-- status() raises code 50 when the node's kernel has no nftables, which host ports are made of.
function hostport.status()
  local host <close> = require("mncni.net").open()
  local ok, err = pcall(function()
    return host.nft.table.list()
  end)
  if not ok then
    error(core.error {
      code = 50, object = "nftables", details = tostring(err),
      message = "the kernel does not answer; host ports need CONFIG_NF_TABLES, NF_TABLES_INET, NFT_NAT, NFT_FIB_INET",
    }, 0)
  end
end

-- Removes the ports for which doomed(network, container, ifname) is true, by what their elements say themselves.
local function remove(doomed)
  local host <close> = require("mncni.net").open()
  for _, family in ipairs { "inet", "inet6" } do
    local sets = rules.sets(family)
    local length = rules.families[family].length
    local owners = {}
    for found in host.nft.element.list(rules.element(sets[1])) do
      local network, container, ifname = (found.comment or ""):match "^(%S+) (%S+) (%S+)"
      if network and doomed(network, container, ifname) then
        owners[#owners + 1] = found.elem
      end
    end
    local pods = {}
    for i = 2, #owners > 0 and 3 or 0 do
      for found in host.nft.element.list(rules.element(sets[i])) do
        pods[i .. found.elem] = found.data
      end
    end
    for _, owner in ipairs(owners) do
      local protocol, address, port = owner:sub(1, 4), owner:sub(5, 4 + length), owner:sub(5 + length, 8 + length)
      local is_any = address == ("\0"):rep(length)
      local key = is_any and protocol .. port or protocol .. address .. port
      local pod = pods[(is_any and 2 or 3) .. key]
      local batch = { { "del", "element", rules.element(sets[1], { { key = owner } }) } }
      if pod then
        batch[2] = { "del", "element", rules.element(sets[is_any and 2 or 3], { { key = key } }) }
      end
      host.nft.batch(batch)
      for i = 4, pod and 5 or 0 do
        local key_end = protocol .. port .. pod:sub(1, length)
        for found in host.nft.element.list(rules.element(sets[i])) do
          if found.elem:sub(-#key_end) == key_end then
            host.nft.element.absent(rules.element(sets[i], { { key = found.elem } }))
          end
        end
      end
    end
  end
end

-- lost(call) removes the ports of an attachment whose journal is lost.
function hostport.lost(call)
  remove(function(network, container, ifname)
    return network == call.network and container == call.container and ifname == call.ifname
  end)
end

-- gc(valid, network) removes the network's ports that no attachment of valid ({ containerID, ifname }) has.
function hostport.gc(valid, network)
  local keep = {}
  for _, entry in ipairs(valid) do
    keep[entry.containerID .. " " .. entry.ifname] = true
  end
  remove(function(of, container, ifname)
    return of == network and not keep[container .. " " .. ifname]
  end)
end

return hostport
