-- SPDX-License-Identifier: Apache-2.0
-- The files that a reload of an agent reads: followed, and told apart.

local core = require "mncni.core"

local agent_files = {}

local Files = {}
Files.__index = Files

-- Follows a directory that is not followed yet, if it is there. Returns whether it is now.
local function follow(self, directory)
  local watch = not self.watch_of[directory] and self.inotify:add(directory)
  if watch then
    self.watch_of[directory], self.directory_of[watch] = watch, directory
  end
  return watch ~= false and watch ~= nil
end

-- follow(paths) follows those files, and the directories of policies, which may come later.
function agent_files.follow(paths)
  local self = setmetatable({
    inotify = core.inotify(), matches = {}, watch_of = {}, directory_of = {},
  }, Files)
  local function note(directory, matches)
    self.matches[directory] = self.matches[directory] or {}
    table.insert(self.matches[directory], matches)
    follow(self, directory)
  end
  for _, path in ipairs(paths) do
    local directory, file = path:match "^(.*)/([^/]*)$"
    note(directory == "" and "/" or directory or ".", function(name) return name == (file or path) end)
  end
  for _, directory in ipairs(core.policy.directories()) do
    note(directory, function(name) return name:find "^[^.].*%.lua$" ~= nil end)
  end
  return self
end

function Files:fd()
  return self.inotify:fd()
end

-- Whether one of them was changed since the last time. A directory that came, or took another's place, may have any.
function Files:changed()
  local any = false
  for _, event in ipairs(self.inotify:read()) do
    local directory = self.directory_of[event.watch]
    any = any or event.overflow or false
    if directory and not event.name then -- it was moved or removed, or its mode is another one
      self.inotify:remove(event.watch)
      self.watch_of[directory], self.directory_of[event.watch] = nil, nil
    end
    for _, matches in ipairs(event.name and self.matches[directory] or {}) do
      any = any or matches(event.name)
    end
  end
  for directory in pairs(self.matches) do
    any = follow(self, directory) or any
  end
  return any
end

function Files:close()
  self.inotify:close()
end

-- What identifies policies that run and their options; texts are those that the cluster gave.
function agent_files.version(policies, texts)
  local parts = {}
  for i, policy in ipairs(policies) do
    local text = texts and texts[policy.name] or core.policy.read(policy.name) or ""
    parts[i] = { policy.name, text, policy.given, policy.sets or {} }
  end
  return ("%016x"):format(core.journal.hash(core.json.encode(parts)))
end

return agent_files
