-- SPDX-License-Identifier: Apache-2.0
-- What policies of a controller return, checked and put together: nodes = { [name] = { pod_cidrs = { "10.244.1.0/24" },
-- events = { { type, reason, message } } } }, ranges = { { cidr, family, used, resting, free } } for people, and state:
-- what the policy wants to see again the next time, as data.

local core = require "mncni.core"
local suggestion = require("mncni.declaration").suggestion
local sorted_keys = require "mncni.keys"

local merge_nodes = {}

local STATE = 16384 -- bytes as JSON: it is kept in the Lease

local entry_keys = { pod_cidrs = "table", events = "table" }
local event_keys = { type = "string", reason = "string", message = "string" }
local range_keys = { cidr = "string", family = "string", used = "number", resting = "number", free = "number" }

local function check_keys(where, object, known, fail)
  if type(object) ~= "table" then
    fail("%s is a %s and not a table", where, type(object))
  end
  for key, value in pairs(object) do
    if not known[key] then
      fail('%s: unknown key "%s"%s', where, tostring(key), suggestion(tostring(key), sorted_keys(known)))
    elseif type(value) ~= known[key] then
      fail("%s: %s is a %s and not a %s", where, key, type(value), known[key])
    end
  end
end

local function check_all(where, object, known, fail)
  check_keys(where, object, known, fail)
  for key in pairs(known) do
    if object[key] == nil then
      fail("%s has no %s", where, key)
    end
  end
end

-- One or two ranges, of one family each, as texts: what the API takes.
local function read_cidrs(where, list, fail)
  local texts, families = core.json.array {}, {}
  for i, given in ipairs(list) do
    local cidr = core.cidr.parse(given)
    if not cidr or cidr ~= cidr.network or not tostring(given):find("/", 1, true) then
      fail('%s: %s is not a range such as "10.244.1.0/24"', where, tostring(given))
    elseif families[cidr.family] then
      fail("%s: %s and %s are of one family; a node has one of each", where, families[cidr.family], tostring(cidr))
    end
    texts[i], families[cidr.family] = tostring(cidr), tostring(cidr)
  end
  if #texts == 0 then
    fail("%s has no range in it", where)
  end
  return texts
end

-- read(desired, result, fail) puts what is checked into result. fail(message, ...) raises.
function merge_nodes.read(desired, result, fail)
  for _, key in ipairs { "nodes", "ranges" } do
    if desired[key] ~= nil and type(desired[key]) ~= "table" then
      fail("%s is a %s and not a table", key, type(desired[key]))
    end
  end
  for name, entry in pairs(desired.nodes or {}) do
    local where = ('nodes["%s"]'):format(tostring(name))
    if type(name) ~= "string" then
      fail("nodes is a table from names of nodes, and has the key %s", tostring(name))
    end
    check_keys(where, entry, entry_keys, fail)
    for i, event in ipairs(entry.events or {}) do
      check_all(("%s.events[%d]"):format(where, i), event, event_keys, fail)
    end
    result.nodes[name] = {
      events = entry.events or {}, pod_cidrs = entry.pod_cidrs and read_cidrs(where, entry.pod_cidrs, fail),
    }
  end
  for i, range in ipairs(desired.ranges or {}) do
    check_all(("ranges[%d]"):format(i), range, range_keys, fail)
    result.ranges[i] = range
  end
  if desired.state ~= nil then
    local ok, text = pcall(core.json.encode, desired.state)
    if not ok then
      fail("state cannot be kept: %s", tostring(text))
    elseif #text > STATE then
      fail("state has %d bytes as JSON; it may have %d", #text, STATE)
    end
    result.state = core.json.decode(text)
  end
end

-- add(into, nodes, claimed) adds the nodes of a policy to those of others. claimed(name) raises that two have a range for one.
function merge_nodes.add(into, nodes, claimed)
  for name, entry in pairs(nodes) do
    local other = into[name] or { events = {} }
    if other.pod_cidrs and entry.pod_cidrs then
      claimed(name)
    end
    local events = table.move(other.events, 1, #other.events, 1, {})
    table.move(entry.events, 1, #entry.events, #events + 1, events)
    into[name] = { events = events, pod_cidrs = other.pod_cidrs or entry.pod_cidrs }
  end
end

return merge_nodes
