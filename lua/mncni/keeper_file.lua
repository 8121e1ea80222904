-- SPDX-License-Identifier: Apache-2.0
-- Keeps files as they are wanted, for mncni.reconcile: { path, content | source, mode }, where source names a file whose
-- content is taken. A file that is no longer wanted stays: containers may still need it.

local core = require "mncni.core"
local reconcile = require "mncni.reconcile"

local keeper_file = {}

local Keeper = {}
Keeper.__index = Keeper

function keeper_file.new()
  return setmetatable({ wants = {}, differs = {}, failed = {}, count = 0, changed = 0 }, Keeper)
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

-- Takes path -> file.
function Keeper:want(wants)
  for path in pairs(self.failed) do
    self.failed[path] = wants[path] and self.failed[path] or nil
  end
  self.wants, self.count = wants, 0
  for _ in pairs(wants) do
    self.count = self.count + 1
  end
  self:resync()
  return next(self.differs) ~= nil
end

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a"
end

function Keeper:resync()
  self.differs = {}
  for path, file in pairs(self.wants) do
    local content = file.content or read(file.source)
    local mode = file.mode or 420 -- 0644
    if not content then
      self.differs[path] = { error = ("%s cannot be read"):format(file.source) }
    elseif core.file.mode(path) ~= mode or read(path) ~= content then
      self.differs[path] = { content = content, mode = mode }
    else
      self.failed[path] = nil
    end
  end
end

function Keeper.event()
  return false
end

function Keeper:plan(stage, now)
  local list = {}
  for path, differs in pairs(stage == "puts" and self.differs or {}) do
    local failure = self.failed[path]
    if failure and failure.at > now then
      goto continue
    elseif differs.error then
      reconcile.fail(self, path, now, differs.error)
    else
      list[#list + 1] = {
        kind = self.kind, object = "file", verb = "replace", key = path,
        args = { path = path, content = differs.content, mode = differs.mode },
      }
    end
    ::continue::
  end
  table.sort(list, function(a, b) return a.key < b.key end)
  return list
end

function Keeper:send(operations, now)
  local count = 0
  for _, operation in ipairs(operations) do
    local ok, err = pcall(core.file.replace, operation.args.path, operation.args.content, operation.args.mode)
    if ok then
      count, self.changed = count + 1, self.changed + 1
      self.differs[operation.key], self.failed[operation.key] = nil, nil
    else
      reconcile.fail(self, operation.key, now, tostring(err))
    end
  end
  return count
end

return keeper_file
