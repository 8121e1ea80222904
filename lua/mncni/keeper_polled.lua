-- SPDX-License-Identifier: Apache-2.0
-- Keeps what tells nothing of its changes as it is wanted, for mncni.reconcile: sysctls, nftables, files. It is looked at
-- when it is first wanted, when that changes, and every reconcile.POLL.
--
-- What is particular about a kind, its spec:
--   object, verb         what an operation is called
--   look(host, key, want)  what has to be sent for it to be as wanted, nil when it is; raises why that cannot be told
--   send(host, args)     sends it; raises what is refused
--   strays(host, wants)  name -> what has to be sent to remove what is there, ours, and no longer wanted
--   in_order             by the place of each in its policy's list, and nothing after one that failed; else by key
--   after(want)          the keys that have to be as wanted before it is sent, nil for none

local core = require "mncni.core"
local reconcile = require "mncni.reconcile"
local same = require "mncni.same"

local keeper_polled = {}

local Keeper = {}
Keeper.__index = Keeper

function keeper_polled.new(spec, host)
  return setmetatable({
    spec = spec, host = host, wants = {}, count = 0,
    differs = {}, -- key -> { args } or { error }
    gone = {}, -- name -> args of its removal
    failed = {}, changed = 0, failures = 0, polled = true,
  }, Keeper)
end

function Keeper:wanted()
  return self.count
end

function Keeper:present()
  local count = self.count
  for _ in pairs(self.differs) do
    count = count - 1
  end
  return count
end

function Keeper:look(key, want)
  local ok, args = pcall(self.spec.look, self.host, key, want)
  if not ok then
    self.differs[key] = { error = tostring(args) }
  elseif args then
    self.differs[key] = { args = args }
  else
    self.differs[key], self.failed[key] = nil, nil
  end
end

-- Takes key -> what is wanted. Returns whether there is something to do.
function Keeper:want(wants)
  local before = self.wants
  self.wants, self.count, self.search = wants, 0, self.spec.strays ~= nil
  for key in pairs(before) do
    if wants[key] == nil then
      self.differs[key], self.failed[key] = nil, nil
    end
  end
  for key, want in pairs(wants) do
    self.count = self.count + 1
    if not same(before[key], want) then
      self.failed[key] = nil
      self:look(key, want)
    end
  end
  return self.search or next(self.differs) ~= nil
end

function Keeper:resync()
  self.search = self.spec.strays ~= nil
  for key, want in pairs(self.wants) do
    self:look(key, want)
  end
end

-- Looks for what has to go. Where that cannot be listed (no nf_tables), there is nothing of ours.
local function search(self)
  self.search = false
  local before = self.gone
  local ok, strays = pcall(self.spec.strays, self.host, self.wants)
  self.gone = ok and strays or {}
  for key in pairs(before) do
    if not self.gone[key] then
      self.failed[key] = nil
    end
  end
end

function Keeper.event()
  return false
end

function Keeper:plan(stage, now)
  local list, spec = {}, self.spec
  local function add(key, args)
    local failure = self.failed[key]
    if not failure or failure.at <= now then
      list[#list + 1] = { kind = self.kind, object = spec.object, verb = spec.verb, key = key, args = args }
    end
  end
  if stage == "drops" and self.search then
    search(self)
  end
  for key, differs in pairs(stage == "puts" and self.differs or {}) do
    if differs.args then
      add(key, differs.args)
    elseif not self.failed[key] or self.failed[key].at <= now then
      reconcile.fail(self, key, now, differs.error)
    end
  end
  for key, args in pairs(stage == "drops" and self.gone or {}) do
    add(key, args)
  end
  table.sort(list, function(a, b)
    if spec.in_order then
      return self.wants[a.key].place < self.wants[b.key].place
    end
    return a.key < b.key
  end)
  return list
end

-- The first in the order that has failed, if the order matters: nothing after it is done.
local function barrier(self)
  local first = math.huge
  for key in pairs(self.spec.in_order and self.failed or {}) do
    first = math.min(first, self.wants[key].place)
  end
  return first
end

-- What an operation has to wait for: the first key that is not yet as it has to be before it.
local function awaited(self, key)
  local after = self.spec.after
  for _, other in ipairs(after and self.wants[key] and after(self.wants[key]) or {}) do
    if self.differs[other] or not self.wants[other] then
      return other
    end
  end
end

-- The operations in an order in which each comes behind those it has to wait for. What waits for one that cannot be
-- sent now comes last, and is refused there.
local function arranged(self, operations)
  if not self.spec.after then
    return operations
  end
  local list, left, sent = {}, operations, {}
  repeat
    local later, before = {}, #list
    for _, operation in ipairs(left) do
      local waits = false
      for _, other in ipairs(self.wants[operation.key] and self.spec.after(self.wants[operation.key]) or {}) do
        waits = waits or self.differs[other] ~= nil and not sent[other]
      end
      if waits then
        later[#later + 1] = operation
      else
        list[#list + 1], sent[operation.key] = operation, true
      end
    end
    left = later
  until #left == 0 or #list == before
  return table.move(left, 1, #left, #list + 1, list)
end

function Keeper:send(operations, now)
  local count, limit = 0, barrier(self)
  for _, operation in ipairs(arranged(self, operations)) do
    local key = operation.key
    local other = awaited(self, key)
    if other then
      reconcile.fail(self, key, now, ("it is not set before %s is"):format(other))
    elseif not self.spec.in_order or self.wants[key].place <= limit then
      local ok, err = pcall(self.spec.send, self.host, operation.args)
      local went = not ok and self.gone[key] and core.is_error(err) and err.name == "ENOENT"
      if ok or went then
        self.search = self.search or went -- by itself, and perhaps not all of it
        count, self.changed = count + 1, self.changed + 1
        self.differs[key], self.failed[key], self.gone[key] = nil, nil, nil
      else
        reconcile.fail(self, key, now, err)
      end
      limit = barrier(self)
    end
  end
  return count
end

return keeper_polled
