-- SPDX-License-Identifier: Apache-2.0
-- The files that a reload of an agent reads: followed, and told apart.

local core = require "mncni.core"

local agent_files = {}

local Files = {}
Files.__index = Files

-- follow(paths) follows those files, and the directories of policies.
function agent_files.follow(paths)
  local self = setmetatable({ inotify = core.inotify(), watches = {} }, Files)
  local function follow(directory, matches)
    local watch = self.inotify:add(directory)
    if watch then
      self.watches[watch] = self.watches[watch] or {}
      table.insert(self.watches[watch], matches)
    end
  end
  for _, path in ipairs(paths) do
    local directory, file = path:match "^(.*)/([^/]*)$"
    follow(directory == "" and "/" or directory or ".", function(name) return name == (file or path) end)
  end
  for _, directory in ipairs(core.policy.directories()) do
    follow(directory, function(name) return name:find "^[^.].*%.lua$" ~= nil end)
  end
  return self
end

function Files:fd()
  return self.inotify:fd()
end

-- Whether one of them was changed since the last time.
function Files:changed()
  local any = false
  for _, event in ipairs(self.inotify:read()) do
    any = any or event.overflow or false
    for _, matches in ipairs(event.name and self.watches[event.watch] or {}) do
      any = any or matches(event.name)
    end
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
