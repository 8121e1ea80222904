-- SPDX-License-Identifier: Apache-2.0
-- A program at a terminal, which tmux plays: keys that are typed, and the screen that a person would see.
--
--   local terminal <close> = terminals.start { argv = { BIN, "repl" }, log = scratch }
--   terminal:type "1 + 1\n"
--   terminal:wait "^2$"

local processes = require "spec.support.process"
local spaces = require "spec.support.netns"

local terminals = {}

local Terminal = {}
Terminal.__index = Terminal

local count = 0

-- start{ argv =, directory = one of the spec's own, where tmux keeps its socket, env = "NAME=VALUE ..." }
function terminals.start(args)
  count = count + 1
  local self = setmetatable({ socket = ("%s/tmux%d"):format(args.directory, count) }, Terminal)
  local words = {}
  for i, word in ipairs(args.argv) do
    words[i] = spaces.quote(word)
  end
  spaces.must("env -u TMUX LC_ALL=C.UTF-8 tmux -S %s -f /dev/null new-session -d -x 100 -y 40 %s", self.socket,
    ("cd %s && %s %s; printf 'ended with %%s\\n' $?; exec sleep 1000"):format(spaces.quote(args.directory),
      args.env or "", table.concat(words, " ")))
  return self
end

-- Types a text; keys("Up", "Tab", "C-d", ...) presses keys by tmux's names.
function Terminal:type(text)
  for line, newline in text:gmatch "([^\n]*)(\n?)" do
    if line ~= "" then
      spaces.must("tmux -S %s send-keys -l -- %s", self.socket, line)
    end
    if newline ~= "" then
      self:keys "Enter"
    end
  end
end

function Terminal:keys(...)
  for _, key in ipairs { ... } do
    spaces.must("tmux -S %s send-keys %s", self.socket, key)
  end
end

-- What is on the screen, without what is blank at its end.
function Terminal:screen()
  return (spaces.must("tmux -S %s capture-pane -p", self.socket):gsub("%s+$", ""))
end

-- Waits until a line of the screen matches the pattern; fails with the screen when none ever does.
function Terminal:wait(pattern)
  local found = processes.wait(20, function()
    for line in self:screen():gmatch "[^\n]+" do
      if line:find(pattern) then
        return line
      end
    end
  end)
  return found or error(("there is no line %q on the screen:\n%s"):format(pattern, self:screen()), 2)
end

-- Ends the program and the terminal.
function Terminal:close()
  spaces.sh("tmux -S %s kill-server", self.socket)
end
Terminal.__close = Terminal.close

return terminals
