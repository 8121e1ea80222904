-- SPDX-License-Identifier: Apache-2.0
-- Keeps sysctls as they are wanted, for mncni.reconcile. What is no longer wanted stays as it is: nobody knows what it
-- should be instead.

local reconcile = require "mncni.reconcile"

local keeper_sysctl = {}

local Keeper = {}
Keeper.__index = Keeper

function keeper_sysctl.new(host)
  return setmetatable({ host = host, wants = {}, have = {}, failed = {}, count = 0, changed = 0 }, Keeper)
end

function Keeper:wanted()
  return self.count
end

function Keeper:present()
  local count = 0
  for key, value in pairs(self.wants) do
    count = count + (self.have[key] == value and 1 or 0)
  end
  return count
end

-- Takes name -> value.
function Keeper:want(wants)
  local any, count = false, 0
  for key, value in pairs(wants) do
    count = count + 1
    if self.wants[key] ~= value then
      any, self.failed[key] = true, nil
    end
  end
  for key in pairs(self.failed) do
    self.failed[key] = wants[key] and self.failed[key] or nil
  end
  self.wants, self.count = wants, count
  if any then
    self:resync()
  end
  return any
end

function Keeper:resync()
  self.have = {}
  for key in pairs(self.wants) do
    local ok, value = pcall(self.host.sysctl.get, key)
    self.have[key] = ok and value and value:gsub("%s+$", "") or nil
  end
end

function Keeper.event()
  return false
end

function Keeper:plan(stage, now)
  local list = {}
  for key, value in pairs(stage == "puts" and self.wants or {}) do
    local failure = self.failed[key]
    if self.have[key] == value then
      self.failed[key] = nil
    elseif not failure or failure.at <= now then
      local args = { key = key, value = value }
      list[#list + 1] = { kind = self.kind, object = "sysctl", verb = "set", key = key, args = args }
    end
  end
  table.sort(list, function(a, b) return a.key < b.key end)
  return list
end

function Keeper:send(operations, now)
  local count = 0
  for _, operation in ipairs(operations) do
    local key, value = operation.key, operation.args.value
    local ok, err = pcall(self.host.sysctl.set, key, value)
    if ok then
      self.have[key], self.failed[key] = value, nil
      count, self.changed = count + 1, self.changed + 1
    else
      reconcile.fail(self, key, now, tostring(err))
    end
  end
  return count
end

return keeper_sysctl
