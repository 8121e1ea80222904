-- SPDX-License-Identifier: Apache-2.0
-- Nodes as policies of the agent see them: { name, uid, provider_id, addresses = { { type, address } }, pod_cidrs,
-- labels, annotations }, and address(family). Made of what Kubernetes says of a node, or by hand in a spec.
-- Labels stay tables: as JSON text those of 5 000 nodes take more memory, for most keys and values are shared.

local core = require "mncni.core"
local text = require "mncni.text"

local node = {}

local Node = {}
Node.__index = Node

-- What another node may be reached at, the better first.
local reached_at = { "InternalIP", "ExternalIP" }

-- The node's address of a family ("inet" or "inet6"), or nil: the first InternalIP, else the first ExternalIP.
function Node:address(family)
  for _, wanted in ipairs(reached_at) do
    for _, entry in ipairs(self.addresses) do
      if entry.type == wanted and (entry.address:find(":", 1, true) and "inet6" or "inet") == family then
        return entry.address
      end
    end
  end
  return nil
end

-- No node is reached at these (RFC 1122, RFC 4291); the last needs an interface to go with it.
local nowhere = {}
for i, range in ipairs { "0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/128", "::1/128", "ff00::/8", "fe80::/10" } do
  nowhere[i] = core.cidr(range)
end

local function malformed(what, ...)
  error({ reason = what:format(...) }, 0)
end

-- A text in quotes, as it is shown to people: not all of a long one.
local function quoted(words)
  return ("%q"):format(text.cut(words, 67))
end

-- A member of a table, null being none; malformed when it is of another type.
local function member(object, path, key, wanted)
  local value = object[key]
  if value == nil or value == core.json.null then
    return nil
  elseif type(value) ~= wanted then
    malformed("%s%s is a %s, not a %s", path, key, type(value), wanted)
  end
  return value
end

local function map_of_strings(object, key)
  local map = member(object, "metadata.", key, "table") or {}
  for name, value in pairs(map) do
    if type(name) ~= "string" then
      malformed("metadata.%s is a list, not an object", key)
    elseif type(value) ~= "string" then
      malformed("metadata.%s[%s] is a %s, not a string", key, quoted(name), type(value))
    end
  end
  return map
end

-- Other types than those of reached_at (Hostname) are kept as they are.
local function address_of(entry, where)
  if type(entry) ~= "table" then
    malformed("%s is a %s, not an object", where, type(entry))
  end
  local kind, given = member(entry, where .. ".", "type", "string"), member(entry, where .. ".", "address", "string")
  if not kind or not given then
    malformed("%s has no %s", where, kind and "address" or "type")
  elseif kind ~= "InternalIP" and kind ~= "ExternalIP" then
    return { type = kind, address = given }
  end
  local address = core.cidr.parse(given)
  if not address or given:find("/", 1, true) then
    malformed("%s: %s is not an IPv4 or IPv6 address", where, quoted(given))
  end
  for _, range in ipairs(nowhere) do
    if range:contains(address) then
      return nil
    end
  end
  return { type = kind, address = address.address }
end

-- Ranges with their host bits masked, one per family at most, as the API has it.
local function pod_cidrs_of(list, where)
  local cidrs, families = {}, {}
  for i, given in ipairs(list) do
    local at = where:format(i - 1)
    local cidr, words = core.cidr.parse(given), tostring(given)
    if not cidr or not words:find("/", 1, true) then
      malformed("%s: %s is not an address range such as \"10.244.1.0/24\"", at, quoted(words))
    end
    cidr = cidr.network
    local other = families[cidr.family]
    if other and other ~= cidr then
      malformed("%s: %s is the second range of its family; the first is %s", at, tostring(cidr), tostring(other))
    elseif not other then
      cidrs[#cidrs + 1], families[cidr.family] = cidr, cidr
    end
  end
  return cidrs
end

local function of_object(object)
  if type(object) ~= "table" then
    malformed("it is a %s, not an object", type(object))
  end
  local metadata = member(object, "", "metadata", "table") or {}
  local spec, status = member(object, "", "spec", "table") or {}, member(object, "", "status", "table") or {}
  local self = setmetatable({
    name = member(metadata, "metadata.", "name", "string"), uid = member(metadata, "metadata.", "uid", "string"),
    provider_id = member(spec, "spec.", "providerID", "string"), addresses = {},
    labels = map_of_strings(metadata, "labels"), annotations = map_of_strings(metadata, "annotations"),
  }, Node)
  if not self.name or self.name == "" then
    malformed "it has no metadata.name"
  end
  for i, entry in ipairs(member(status, "status.", "addresses", "table") or {}) do
    self.addresses[#self.addresses + 1] = address_of(entry, ("status.addresses[%d]"):format(i - 1))
  end
  -- The API keeps podCIDR equal to the first of podCIDRs; older ones have it alone.
  local list, single = member(spec, "spec.", "podCIDRs", "table") or {}, member(spec, "spec.", "podCIDR", "string")
  if #list == 0 and single and single ~= "" then
    self.pod_cidrs = pod_cidrs_of({ single }, "spec.podCIDR")
  else
    self.pod_cidrs = pod_cidrs_of(list, "spec.podCIDRs[%d]")
  end
  return self
end

-- from(object) makes a node of a decoded Kubernetes Node. Returns nil and the reason when it is malformed, and its name
-- where it has one. What is about to be deleted (deletionTimestamp) is there until it is gone.
function node.from(object)
  local ok, result = pcall(of_object, object)
  if ok then
    return result
  elseif type(result) ~= "table" or not result.reason then
    error(result, 0)
  end
  local metadata = type(object) == "table" and object.metadata
  local name = type(metadata) == "table" and type(metadata.name) == "string" and metadata.name or nil
  return nil, name and ("node %s: %s"):format(quoted(name), result.reason) or "a node: " .. result.reason, name
end

-- new{ name = "n1", addresses = { "10.0.0.2" }, pod_cidrs = { "10.244.1.0/24" }, uid, labels, annotations, provider_id }
-- makes one by hand: a plain address is an InternalIP. Raises what is wrong.
function node.new(fields)
  require("mncni.arguments").check("node.new", fields,
    { "name", "uid", "addresses", "pod_cidrs", "labels", "annotations", "provider_id" })
  local addresses, cidrs = {}, {}
  for i, entry in ipairs(fields.addresses or {}) do
    addresses[i] = type(entry) == "string" and { type = "InternalIP", address = entry } or entry
  end
  for i, cidr in ipairs(fields.pod_cidrs or {}) do
    cidrs[i] = tostring(cidr)
  end
  local made, reason = node.from {
    metadata = {
      name = fields.name, uid = fields.uid, labels = fields.labels, annotations = fields.annotations,
    },
    spec = { podCIDRs = cidrs, providerID = fields.provider_id },
    status = { addresses = addresses },
  }
  if not made then
    error(core.error { op = "node.new", message = reason }, 0)
  end
  return made
end

-- same(a, b) tells whether no policy can see a difference between two nodes: most changes of a Node are heartbeats.
node.same = require "mncni.same"

return node
