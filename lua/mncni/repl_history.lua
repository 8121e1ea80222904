-- SPDX-License-Identifier: Apache-2.0
-- The lines typed at the prompt of `mncni repl`, kept from one time to the next.

local core = require "mncni.core"

local repl_history = {}

local LINES = 1000
local BYTES = 1 << 20

local History = {}
History.__index = History

-- Where they are kept; nil without a home.
local function path()
  local state, home = os.getenv "XDG_STATE_HOME", os.getenv "HOME"
  if state and state:find "^/" then
    return state .. "/mncni/history"
  end
  return home and home:find "^/" and home .. "/.mncni_history" or nil
end

-- open(complain): what was kept, as lines. Nothing is kept where somebody else could read or change it meanwhile (sudo
-- leaves HOME as it is, and the file would be root's in another's directory): complain(message) is told so.
function repl_history.open(complain)
  local self = setmetatable({ lines = {}, path = path() }, History)
  if not self.path then
    return self
  end
  local ok, text = pcall(core.file.trusted, self.path, BYTES)
  if not ok then
    complain(("no history is kept in %s, because others could change it; XDG_STATE_HOME names another directory")
      :format(self.path))
    self.path = nil
    return self
  end
  for line in (text or ""):gmatch "[^\n]+" do
    self.lines[#self.lines + 1] = line
  end
  return self
end

-- Keeps a line, at once: a prompt may end by os.exit().
function History:add(line)
  if self.lines[#self.lines] == line then
    return
  end
  table.insert(self.lines, line)
  if #self.lines > LINES then
    table.remove(self.lines, 1)
  end
  if self.path then
    local ok = pcall(core.file.replace, self.path, table.concat(self.lines, "\n") .. "\n", 384) -- 0600
    self.path = ok and self.path or nil -- a full disk is no reason to end
  end
end

return repl_history
