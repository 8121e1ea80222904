-- SPDX-License-Identifier: Apache-2.0
-- help(): what there is, at the prompt. The keys come from the tables that the encoder itself uses.
--
--   mncni.help()                  the topics
--   mncni.help "link"             the verbs and keys of a family; "link.bridge" what is below a key
--   mncni.help "pod"              what a policy may use: mncni.help_policy
--   mncni.help(host.link.add)     the same, of the verb's family

local core = require "mncni.core"
local net = require "mncni.net"
local functions = require "mncni.help_functions"
local policies = require "mncni.help_policy"
local sorted_keys = require "mncni.keys"

local help = {}

local WIDTH = 79

local about = {
  link = { "network devices, as `ip link`", [[host.link.ensure { ifname = "cbr0", kind = "bridge", up = true }]] },
  addr = { "addresses of links, as `ip address`", [[host.addr.add { dev = "cbr0", address = "10.244.1.1/24" }]] },
  route = { "routes, as `ip route`", [[host.route.add { dst = "default", gateway = "10.244.1.1" }]] },
  rule = { "which routing table to look into, as `ip rule`",
    [[host.rule.add { src = "10.244.0.0/16", table = 100, priority = 1000 }]] },
  neigh = { "addresses of neighbours, as `ip neigh`",
    [[host.neigh.add { dev = "eth0", dst = "10.0.0.9", lladdr = mac }]] },
  fdb = { "forwarding entries of bridges and VXLANs, as `bridge fdb`",
    [[host.fdb.append { dev = "vx0", mac = "00:00:00:00:00:00", dst = "192.0.2.7" }]] },
  vlan = { "VLANs of bridges and their ports, as `bridge vlan`",
    [[host.vlan.add { dev = "veth0", vlans = { { vlan = 100, vlanEnd = 110 } } }]] },
  nsid = { "numbers by which one namespace knows another, as `ip netns set`",
    [[host.nsid.add { netns = pod, nsid = 5 }]] },
  qdisc = { "queueing disciplines, as `tc qdisc`",
    [[host.qdisc.add { dev = "eth0", parent = "root", fq_codel = { ecn = true } }]] },
  class = { "classes of a discipline, as `tc class`",
    [[host.class.list { dev = "eth0" }]] },
  filter = { "what is done with packets that match, as `tc filter`",
    [[host.filter.list { dev = "eth0", parent = "ffff:" }]] },
  nft = { "nftables: table, chain, rule, set and element",
    [[host.nft.batch { { "add", "table", { family = "inet", name = "t" } } }]] },
  sysctl = { "kernel settings in the net's namespace", [[host.sysctl.set("net/ipv4/ip_forward", 1)]] },
  conntrack = { "connections that the kernel keeps track of",
    [[host.conntrack.flush { family = "inet", protocol = 17, ports = { 53 } }]] },
  monitor = { "what changes, as it changes", [[for event in host:monitor { "link", "route" } do print(event) end]] },
  batch = { "many changes in one go", [[host:batch { { "set", "link", { ifname = "lo", up = true } } }]] },
  netns = { "network namespaces", [[local pod <close> = mncni.netns.open "/run/netns/web"]] },
  cidr = { "addresses and prefixes of both families", [[mncni.cidr("10.244.1.0/24"):contains "10.244.1.7"]] },
  json = { "JSON that keeps integers, arrays and nulls", [[mncni.json.encode({ a = 1 }, { pretty = true })]] },
  try = { "nil and the error instead of a raise", [[local ok, err = mncni.try(host.link.del, { ifname = "x" })]] },
}

local order = {
  "link", "addr", "route", "rule", "neigh", "fdb", "vlan", "nsid", "qdisc", "class", "filter", "nft", "sysctl",
  "conntrack", "monitor", "batch", "netns", "cidr", "json", "try",
}

local longer = {
  sysctl = {
    "get(key, ...)       the value of each as a string, nil where there is none",
    "set(key, value)     returns the previous value and whether it was changed",
    "batch{{key, value}} the same for many, entering the namespace once",
    "Keys are written with slashes or dots: net/ipv4/ip_forward, net.ipv4.ip_forward.",
  },
  conntrack = {
    "flush{family, protocol, ports, to, answerer}  forgets what was asked for at one",
    "of these ports, and at one of the addresses `to`, and is answered by `answerer`,",
    "where those are given. Returns how many there were.",
  },
  monitor = {
    "Groups: link addr route rule neigh fdb vlan nsid tc nft. all_netns = true,",
    "timeout = milliseconds. Each event has event (new, del, overrun), object, value",
    "and, of another namespace, nsid. An overrun means that some were lost.",
  },
  batch = {
    "A list of { verb, object, args }. The first refusal is raised with `index`.",
    "Steps after a refused one may have been applied; nft.batch is atomic.",
  },
  netns = {
    "open(path, name, pid or {fd=})  current()  create([name])  list()",
    "pin(ns, path)  remove(name or path)  survey()  view()",
    "A handle has run(fn, ...) id() fd() path() close(), and the families of a net.",
  },
  cidr = {
    "Fields: family prefix address network bytes",
    "Methods: contains overlaps nth hosts size next last is_host with_prefix",
    "cidr.parse(text) returns nil and why instead of a raise; cidr.is(value)",
  },
  json = { "decode(text)  encode(value, {pretty=true})  lines(list)", "null  array(t)  is_array(value)" },
  try = {
    "try(f, ...) returns what f returns, or nil and the error object when the kernel",
    "refused. Programming mistakes are raised all the same.",
  },
}

-- Folds a list of words into lines with an indent.
local function fold(words, indent, out)
  local line = indent
  for _, word in ipairs(words) do
    if #line + #word + 1 > WIDTH and #line > #indent then
      out[#out + 1] = line
      line = indent
    end
    line = line .. (#line > #indent and " " or "") .. word
  end
  out[#out + 1] = line
end

local function topics()
  local out = { "help(topic), where topic is", "" }
  for _, name in ipairs(order) do
    out[#out + 1] = ("  %-10s %s"):format(name, about[name][1])
  end
  out[#out + 1] = ""
  out[#out + 1] = "or, of policies,"
  out[#out + 1] = ""
  for _, name in ipairs(policies.order) do
    out[#out + 1] = ("  %-10s %s"):format(name, policies.topics[name][1])
  end
  out[#out + 1] = ""
  out[#out + 1] = "Begin with: mncni = require \"mncni\"; host = mncni.open()"
  return out
end

local function range(row)
  if row.type == "boolean" or row.type == "name" or row.type == "names" then
    return ""
  elseif row.max == math.maxinteger or row.max == 0xffffffff or row.min == -0x80000000 then
    return row.min and row.min > 0 and " from " .. row.min or ""
  elseif row.min and row.max then
    return (" %d..%d"):format(row.min, row.max)
  elseif row.max then
    return " up to " .. row.max
  elseif row.min then
    return " from " .. row.min
  end
  return ""
end

local function values_of(row)
  local names = {}
  for key, value in pairs(row.values or {}) do
    names[#names + 1] = tostring(type(key) == "string" and key or value)
  end
  table.sort(names)
  return names
end

-- The keys of a table of the schema, a line each: key, type and range, attribute. Lists of values follow below.
local function keys_of(fields, path, out)
  local width = 0
  for key in pairs(fields) do
    width = math.min(math.max(width, #key), 26)
  end
  local indent = (" "):rep(width + 3)
  for _, key in ipairs(sorted_keys(fields)) do
    local row = fields[key]
    local sort = row.joined and "name or names" or row.type or "value"
    local kind = sort .. range(row) .. (row.readonly and ", read only" or "")
    if row.of then
      kind = ("keys of %q"):format(row.of)
    elseif row.fields then
      kind = ("%s, see %q"):format(row.type, path .. "." .. key)
    end
    local line = ("  %s %-25s %s"):format(key .. (" "):rep(width - #key), kind, row.attr or "")
    if #line > WIDTH then
      out[#out + 1] = ("  %s %s"):format(key .. (" "):rep(width - #key), kind)
      line = indent .. (row.attr or "")
    end
    out[#out + 1] = (line:gsub("%s+$", ""))
    local names = values_of(row)
    if #names > 0 then
      fold(names, indent .. "  ", out)
    end
  end
end

local function family_text(name)
  local object, rest = name:match("^([%a_]+)%.?(.*)$")
  local protocol = object:find("^nft_") and "netfilter" or "route"
  local plain = object:gsub("^nft_", "")
  local verbs = net.families[protocol][plain]
  local fields = core.schema()[object]
  local path = object
  for key in rest:gmatch("[^.]+") do
    local row = fields and fields[key]
    fields, path = row and row.fields, path .. "." .. key
  end
  if not fields then
    return nil
  end
  local out = {}
  if rest == "" then
    local shown = protocol == "netfilter" and "nft." .. plain or plain
    out[1] = about[plain] and protocol == "route" and ("%s: %s"):format(shown, about[plain][1]) or shown
    fold(verbs or {}, "  verbs: ", out)
    if about[plain] and protocol == "route" then
      out[#out + 1] = "  " .. about[plain][2]
    end
    out[#out + 1] = ""
  else
    out[1] = path
  end
  keys_of(fields, path, out)
  return out
end

local function nft_text()
  local out = { "nft: " .. about.nft[1], "  " .. about.nft[2], "" }
  for _, object in ipairs(sorted_keys(net.families.netfilter)) do
    fold(net.families.netfilter[object], ("  %-8s "):format(object), out)
  end
  out[#out + 1] = '  batch    a list of { verb, object, args }, all or nothing'
  out[#out + 1] = ""
  out[#out + 1] = 'Keys: help "nft.set" and so on.'
  out[#out + 1] = ""
  out[#out + 1] = "The language of nft, in a stock lua5.4 where libnftables is:"
  out[#out + 1] = '  local nft = require "mncni.nft"'
  out[#out + 1] = '  nft.run "add table inet x"        nft.run { text, netns =, dry_run = true }'
  out[#out + 1] = '  nft.list "table inet x"           what `nft -j` prints, as a list of tables'
  return out
end

-- The functions of a topic, each with the first sentence of its entry in the types.
local function tell_functions(topic, out)
  for i, entry in ipairs(functions[topic] or {}) do
    if i == 1 and out[#out] ~= "" then
      out[#out + 1] = ""
    end
    for j, text in ipairs(entry) do
      local words = {}
      for word in text:gmatch "%S+" do
        words[#words + 1] = word
      end
      fold(words, j == 1 and "" or "    ", out)
    end
  end
end

-- help.text(topic) is what help(topic) prints, as a string. Lines fit 80 columns. A topic that is not known gets the
-- nearest one named.
function help.text(topic)
  if topic == nil then
    return table.concat(topics(), "\n")
  end
  local object = net.object_of(topic)
  if object then
    topic = object
  elseif type(topic) ~= "string" then
    return "help knows topics by name, and the verbs of a net; it was given a " .. type(topic)
  end
  topic = topic:gsub("^nft%.", "nft_")
  local out
  if topic == "nft" then
    out = nft_text()
  elseif policies.topics[topic] then
    local text = policies.topics[topic]
    out = { ("%s: %s"):format(topic, text[1]), "  " .. text[2], "", table.unpack(text, 3) }
    tell_functions(topic, out)
  elseif longer[topic] then
    out = { ("%s: %s"):format(topic, about[topic][1]), "  " .. about[topic][2], "", table.unpack(longer[topic]) }
  else
    out = family_text(topic)
  end
  if not out then
    local known = table.move(policies.order, 1, #policies.order, #order + 1, { table.unpack(order) })
    local near = core.nearest(topic, known)
    return ("There is no help on %q%s"):format(topic, near and ("; did you mean %q?"):format(near)
      or ". The topics are: " .. table.concat(known, " "))
  end
  return table.concat(out, "\n")
end

return setmetatable(help, {
  __call = function(_, topic)
    print(help.text(topic))
  end,
})
