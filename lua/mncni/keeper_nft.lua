-- SPDX-License-Identifier: Apache-2.0
-- Keeps nftables objects as they are wanted, for mncni.reconcile: each a declaration as mncni.ruleset takes it, replaced
-- in one transaction when anything of it differs.

local core = require "mncni.core"
local reconcile = require "mncni.reconcile"
local ruleset = require "mncni.ruleset"
local same_value = require "mncni.same"

local keeper_nft = {}

local Keeper = {}
Keeper.__index = Keeper

function keeper_nft.new(host)
  return setmetatable({ host = host, wants = {}, gone = {}, differs = {}, failed = {}, count = 0, changed = 0 }, Keeper)
end

function Keeper:wanted()
  return self.count
end

function Keeper:present()
  local count = self.count
  for key in pairs(self.differs) do
    count = count - (self.wants[key] and 1 or 0)
  end
  return count
end

-- Takes key -> declaration.
function Keeper:want(wants)
  for key in pairs(self.failed) do
    self.failed[key] = wants[key] and self.failed[key] or nil
  end
  for key, declaration in pairs(self.wants) do
    if not wants[key] and not declaration.comment:find("^mncni: ") then
      self.gone[key] = declaration
    end
  end
  local before = self.wants
  self.wants, self.count = wants, 0
  for key, declaration in pairs(wants) do
    self.count, self.gone[key] = self.count + 1, nil
    if not same_value(before[key], declaration) then
      self.failed[key] = nil
      self:look(key, declaration)
    end
  end
  for key in pairs(self.differs) do
    self.differs[key] = wants[key] and self.differs[key] or nil
  end
  return next(self.differs) ~= nil or next(self.gone) ~= nil
end

-- Looks what has to be sent for a declaration.
function Keeper:look(key, declaration)
  local ok, batch = pcall(ruleset.replace, self.host, declaration)
  if not ok then
    self.differs[key] = { error = batch }
  elseif batch then
    self.differs[key] = { batch = batch }
  else
    self.differs[key], self.failed[key] = nil, nil
  end
end

function Keeper:resync()
  self.differs = {}
  for key, declaration in pairs(self.wants) do
    self:look(key, declaration)
  end
end

function Keeper.event()
  return false
end

-- The transaction that removes what a declaration made. The table stays: it is everybody's.
local function removal(declaration)
  local batch = {}
  for _, chain in ipairs(declaration.chains) do
    local args = { family = declaration.family, table = declaration.table }
    batch[#batch + 1] = { "flush", "rule", { family = args.family, table = args.table, chain = chain.name } }
    batch[#batch + 1] = { "del", "chain", { family = args.family, table = args.table, name = chain.name } }
  end
  for _, set in ipairs(declaration.sets) do
    batch[#batch + 1] = { "del", "set", { family = declaration.family, table = declaration.table, name = set.name } }
  end
  return batch
end

function Keeper:plan(stage, now)
  local list = {}
  local function due(key)
    return not self.failed[key] or self.failed[key].at <= now
  end
  local function operation(key, args)
    list[#list + 1] = { kind = self.kind, object = "nft", verb = "batch", key = key, args = args }
  end
  for key, differs in pairs(stage == "puts" and self.differs or {}) do
    if due(key) and differs.error then
      reconcile.fail(self, key, now, tostring(differs.error))
    elseif due(key) then
      operation(key, differs.batch)
    end
  end
  for key, declaration in pairs(stage == "drops" and self.gone or {}) do
    if due(key) then
      operation(key, removal(declaration))
    end
  end
  table.sort(list, function(a, b) return a.key < b.key end)
  return list
end

function Keeper:send(operations, now)
  local count = 0
  for _, operation in ipairs(operations) do
    local ok, err = pcall(self.host.nft.batch, operation.args)
    if ok or self.gone[operation.key] and core.is_error(err) and err.name == "ENOENT" then
      count, self.changed = count + 1, self.changed + 1
      self.differs[operation.key], self.failed[operation.key], self.gone[operation.key] = nil, nil, nil
    else
      reconcile.fail(self, operation.key, now, tostring(err))
    end
  end
  return count
end

return keeper_nft
