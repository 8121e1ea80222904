-- SPDX-License-Identifier: Apache-2.0
-- The nodes that an agent knows: what a node source says, and how much of it is believed.

local core = require "mncni.core"
local node = require "mncni.node"

local agent_nodes = {}

-- Microseconds after which it is said that there has been no list.
local PATIENCE = 10000000

local Nodes = {}
Nodes.__index = Nodes

-- new(own, on_change): own is this node's name, nil for a controller, which has none; on_change(name) is told of every node
-- that policies may see otherwise than before.
function agent_nodes.new(own, on_change)
  return setmetatable({
    own = own, on_change = on_change,
    known = nil, -- name -> node, once there was a complete list
    malformed = {}, -- name -> why it cannot be understood
    failed = {}, -- what of the source -> what is wrong with it
    since = core.record.clock(),
  }, Nodes)
end

-- Takes a node that is new or may be another one now. Policies cannot tell most changes, which are heartbeats.
function Nodes:put(one)
  local before = self.known[one.name]
  self.malformed[one.name] = nil
  if not before or not node.same(before, one) then
    self.known[one.name] = one
    self:place(one, before)
    self.on_change(one.name)
  end
end

-- Puts a node into the sorted list, where there is one, at the place of what it was.
function Nodes:place(one, before)
  local list = before and self.sorted
  local first, last = 1, list and #list or 0
  while first < last do
    local middle = (first + last) // 2
    if list[middle].name < one.name then
      first = middle + 1
    else
      last = middle
    end
  end
  if list and list[first] == before then
    list[first] = one
  else
    self.sorted = nil
  end
end

-- Takes it that a node is gone. This one is not, as long as it runs.
function Nodes:drop(name)
  self.malformed[name] = nil
  if self.known[name] and name ~= self.own then
    self.known[name], self.sorted = nil, nil
    self.on_change(name)
  end
end

-- Notes a node that cannot be understood: until it can, it stays what it was.
function Nodes:skip(name, reason)
  local before = self.known and self.known[name]
  self.malformed[name] = reason .. (before and "; it stays what it was" or "; it is left out")
end

-- Takes a complete list, name -> node, and the list of { name or nil, reason } of the malformed. Returns false and why
-- when it is not believed, because this node is not in it.
function Nodes:replace(list, malformed)
  local before = self.known or {}
  for _, bad in ipairs(malformed) do
    if bad.name and not list[bad.name] then
      list[bad.name] = before[bad.name]
    end
  end
  if before[self.own] and not list[self.own] then
    return false, ("there is no node %q in it"):format(self.own)
  end
  local first = not self.known
  self.known, self.malformed = before, {}
  for i, bad in ipairs(malformed) do
    self:skip(bad.name or ("item %d"):format(i), bad.reason)
  end
  for _, one in pairs(list) do
    if one ~= before[one.name] then
      local reason = self.malformed[one.name]
      self:put(one)
      self.malformed[one.name] = reason
    end
  end
  for _, name in ipairs(require("mncni.keys")(before)) do
    if not list[name] then
      self:drop(name)
    end
  end
  if first and self.own then
    self.on_change(self.own)
  end
  return true
end

-- Whether what is known may be acted on; else why not. Before there was a complete list nothing is removed, and a list
-- without this node in it is another cluster's, or none.
function Nodes:believed()
  if not self.known then
    return false, "there has been no complete list of nodes yet"
  elseif self.own and not self.known[self.own] and self.malformed[self.own] then
    return false, self.malformed[self.own] .. ", and without this node nothing is done"
  elseif self.own and not self.known[self.own] then
    return false, ("there is no node %q in the list of nodes, so it is not believed; is that this node's name?"):format(
      self.own)
  end
  return true
end

-- All nodes but this one, by name.
function Nodes:peers()
  if not self.sorted then
    local peers = {}
    for name, one in pairs(self.known) do
      if name ~= self.own then
        peers[#peers + 1] = one
      end
    end
    table.sort(peers, function(a, b) return a.name < b.name end)
    self.sorted = peers
  end
  return self.sorted
end

-- What a node source is given to call: see mncni.nodes_file and mncni.nodes_kube.
function Nodes:handler()
  return {
    list = function(list, malformed)
      local ok, why = self:replace(list, malformed)
      self.failed.list = why and why .. "; what was known before stays"
      return ok, why
    end,
    changed = function(one)
      self.failed.list = nil
      self:put(one)
    end,
    deleted = function(name)
      self:drop(name)
    end,
    malformed = function(name, reason)
      self:skip(name, reason)
    end,
    failed = function(message, _, what)
      self.failed[what or "list"] = message .. "; what was known before stays"
    end,
    well = function(what)
      self.failed[what or "list"] = nil
    end,
  }
end

-- What is wrong, as a list of { kind = "nodes", key, message }. A list may take its time to come.
function Nodes:problems()
  local list = {}
  for _, problems in ipairs { self.failed, self.malformed } do
    for key, message in pairs(problems) do
      list[#list + 1] = { kind = "nodes", key = key, message = message }
    end
  end
  local ok, why = self:believed()
  if not ok and not self.malformed[self.own or ""] and (self.known or core.record.clock() > self.since + PATIENCE) then
    list[#list + 1] = { kind = "nodes", key = self.own or "list", message = why }
  end
  table.sort(list, function(a, b) return a.key < b.key end)
  return list
end

-- The nodes and what is malformed as data, for another state: see take_over.
function Nodes:hand_over()
  local json = core.json
  local list = json.array {}
  for _, one in pairs(self.known or {}) do
    local cidrs = json.array {}
    for i, cidr in ipairs(one.pod_cidrs) do
      cidrs[i] = tostring(cidr)
    end
    list[#list + 1] = {
      name = one.name, uid = one.uid, addresses = json.array(one.addresses), pod_cidrs = cidrs, labels = one.labels,
      annotations = one.annotations, provider_id = one.provider_id,
    }
  end
  return self.known and { list = list, malformed = self.malformed } or nil
end

-- Takes what hand_over of another state has returned, nil being nothing.
function Nodes:take_over(before)
  if before then
    local nodes = {}
    for _, fields in ipairs(before.list) do
      nodes[fields.name] = node.new(fields)
    end
    self:replace(nodes, {})
    self.malformed = before.malformed
  end
end

return agent_nodes
