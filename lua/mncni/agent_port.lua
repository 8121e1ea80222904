-- SPDX-License-Identifier: Apache-2.0
-- The port on which an agent answers questions about itself, through reloads: the address of the state before is free
-- only when that is closed.

local raised = require "mncni.raised"
local same = require "mncni.same"

local agent_port = {}

-- Milliseconds between two tries to listen, where another program has come in between.
local RETRY = 5000

local Port = {}
Port.__index = Port

-- open(address, before): address is { address, port }, or nil for none; before is where the state before this one
-- listens. Raises when another address cannot be had.
function agent_port.open(address, before)
  local self = setmetatable({ address = address, at = 0 }, Port)
  if address and not same(address, before) then
    self.server = require("mncni.httpd").listen(address)
  end
  return self
end

-- Listens where the state before did, if that is still to be done. Returns when to be called again.
function Port:step(now)
  if not self.address or self.server then
    return math.huge
  elseif now >= self.at then
    local ok, result = raised.catch(require("mncni.httpd").listen, self.address)
    self.server, self.problem, self.at = ok and result or nil, not ok and tostring(result) or nil, now + RETRY
  end
  return self.server and math.huge or self.at
end

-- Descriptors to wait on.
function Port:fds()
  return self.server and { self.server:fd() } or {}
end

-- Answers what was asked: answer(path) returns status, content type and body. One that raises is told to who asked, and
-- to problems().
function Port:serve(answer)
  if self.server then
    self.server:run(function(_, path)
      local ok, status, kind, body = raised.catch(answer, path)
      self.problem = not ok and ("%s: %s"):format(path, tostring(status)) or nil
      if not ok then
        return 500, "text/plain; charset=utf-8", ("%s\n"):format(status)
      end
      return status, kind, body
    end)
  end
end

-- What is wrong, as { kind = "metrics", key, message }.
function Port:problems()
  return self.problem and { { kind = "metrics", key = "port", message = self.problem } } or {}
end

-- Where it listens, for the next state; nil if it does not.
function Port:hand_over()
  return self.server and self.address or nil
end

function Port:close()
  if self.server then
    self.server:close()
  end
end

return agent_port
