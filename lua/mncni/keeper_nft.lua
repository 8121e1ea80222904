-- SPDX-License-Identifier: Apache-2.0
-- Keeps nftables objects as they are wanted, for mncni.reconcile: each a declaration as mncni.ruleset takes it, replaced
-- in one transaction when anything of it differs.

local reconcile = require "mncni.reconcile"
local ruleset = require "mncni.ruleset"

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

local function key_of(declaration)
  return ("%s %s %s"):format(declaration.family, declaration.table, declaration.comment)
end

function Keeper:want(list)
  local wants = {}
  for _, declaration in ipairs(list) do
    wants[key_of(declaration)] = declaration
  end
  for key in pairs(self.failed) do
    self.failed[key] = wants[key] and self.failed[key] or nil
  end
  self.wants, self.count = wants, #list
  self:resync()
  return next(self.differs) ~= nil
end

-- What has to be sent for each declaration.
function Keeper:resync()
  self.differs = {}
  for key, declaration in pairs(self.wants) do
    local ok, steps = pcall(ruleset.steps, self.host, declaration)
    if not ok then
      self.differs[key] = { error = steps }
    elseif #steps > 0 then
      self.differs[key] = { steps = steps }
    else
      self.failed[key] = nil
    end
  end
end

function Keeper.event()
  return false
end

function Keeper:plan(stage, now)
  local list = {}
  for key, differs in pairs(stage == "puts" and self.differs or {}) do
    local failure = self.failed[key]
    if failure and failure.at > now then
      goto continue
    elseif differs.error then
      reconcile.fail(self, key, now, tostring(differs.error))
    else
      for _, step in ipairs(differs.steps) do
        list[#list + 1] = { kind = self.kind, object = "nft", verb = "batch", key = key, args = step.args }
      end
    end
    ::continue::
  end
  table.sort(list, function(a, b) return a.key < b.key end)
  return list
end

function Keeper:send(operations, now)
  local count = 0
  for _, operation in ipairs(operations) do
    local ok, err = pcall(self.host.nft.batch, operation.args)
    if ok then
      count, self.changed = count + 1, self.changed + 1
      self.differs[operation.key], self.failed[operation.key] = nil, nil
    else
      reconcile.fail(self, operation.key, now, tostring(err))
    end
  end
  return count
end

return keeper_nft
