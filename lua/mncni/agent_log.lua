-- SPDX-License-Identifier: Apache-2.0
-- What an agent says on standard error, and to the cluster: problems when they come and when they are over, not each time
-- they are met.

local agent_log = {}

-- Problems of one sort that are printed; the others are counted.
local PRINTED = 10

local Log = {}
Log.__index = Log

-- Kind of a problem -> the reason of the Event about it.
local reasons = {
  policy = "PolicyFailed", nodes = "NodeListProblem", files = "FileNotWritten", node = "NodeNotPatched",
}

-- new(event): event(type, reason, message) is told too; "Normal" or "Warning".
function agent_log.new(event)
  return setmetatable({ told = {}, event = event }, Log)
end

function agent_log.say(message, ...)
  io.stderr:write("mncni-agent: ", select("#", ...) > 0 and message:format(...) or message, "\n")
end

local say = agent_log.say

-- Takes all problems that there are, { { kind, key, message } }, and says what is new of them; to the cluster unless it
-- is a quiet one.
function Log:problems(problems)
  local told, now, fresh, over = self.told, {}, {}, 0
  for _, problem in ipairs(problems) do
    local id = problem.kind .. " " .. problem.key
    now[id] = problem.message
    if told[id] ~= problem.message then
      fresh[problem.kind] = (fresh[problem.kind] or 0) + 1
      if fresh[problem.kind] <= PRINTED then
        say("%s: %s", id, problem.message)
        local event = problem.quiet and function() end or self.event
        event("Warning", problem.conflict and "Conflict" or reasons[problem.kind] or "NotApplied",
          ("%s: %s"):format(id, problem.message))
      end
    end
  end
  for kind, count in pairs(fresh) do
    if count > PRINTED then
      say("%s: and %d more", kind, count - PRINTED)
    end
  end
  for id in pairs(told) do
    if not now[id] then
      over = over + 1
      if over <= PRINTED then
        say("%s: well again", id)
      end
    end
  end
  if over > PRINTED then
    say("and %d more are well again", over - PRINTED)
  end
  self.told = now
end

-- Takes lines that people may want to know and that nothing is wrong with, and says what is new of them.
function Log:notes(lines)
  local now = {}
  for _, line in ipairs(lines) do
    now[line] = true
    if not (self.noted or {})[line] then
      say("%s", line)
      self.event("Normal", "Noted", line)
    end
  end
  self.noted = now
end

-- Whether something is told and not over.
function Log:any()
  return next(self.told) ~= nil
end

return agent_log
