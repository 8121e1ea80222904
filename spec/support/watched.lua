-- SPDX-License-Identifier: Apache-2.0
-- The commands of deploy/README.md's part on watching a node, run beside a spec as they stand there: ours and the classical
-- one for each of its questions.
--
--   local command <close> = watched.start(watched.commands()[1].ours, directory)
--   command:wait "watching:"
--   local text = command:stop()

local watched = {}

local Command = {}
Command.__index = Command

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function sh(line)
  local pipe = assert(io.popen(line))
  local output = pipe:read "a"
  return output:gsub("%s+$", ""), pipe:close()
end

-- The questions in their order: { ours =, classical = }.
function watched.commands()
  local file <close> = assert(io.open "deploy/README.md")
  local section = assert(file:read("a"):match "\n## What a node does, watched\n(.-)\n## ")
  local list = {}
  for ours, classical in section:gmatch "\n    ([^\n]+)\n    ([^\n]+)" do
    list[#list + 1] = { ours = ours, classical = classical }
  end
  return list
end

-- Starts a command in the directory, with the programs built here in its PATH. Behind prefix it runs somewhere else.
function watched.start(command, directory, prefix)
  local out = os.tmpname()
  local path = sh(("realpath %s"):format((os.getenv "MNCNI_BUILD" or "build") .. "/bin"))
  local pid = sh(("cd %s && PATH=%s:$PATH setsid %s stdbuf -oL sh -c %s >%s 2>&1 </dev/null & echo $!"):format(
    directory, path, prefix or "", quote(command), out))
  return setmetatable({ command = command, pid = pid, out = out }, Command)
end

function Command:text()
  local file <close> = assert(io.open(self.out))
  return file:read "a"
end

-- Waits until it has written this; raises after half a minute.
function Command:wait(words)
  local deadline = os.time() + 30
  while not self:text():find(words, 1, true) do
    assert(os.time() < deadline, ("%s: no %q in:\n%s"):format(self.command, words, self:text()))
    sh "sleep 0.1"
  end
end

-- Ends it, with whatever it has started, and returns what it wrote.
function Command:stop()
  if self.pid then
    sh(("kill -TERM -%s; for i in $(seq 100); do kill -0 -%s || break; sleep 0.1; done 2>/dev/null"):format(self.pid,
      self.pid))
    self.pid, self.said = nil, self:text()
    os.remove(self.out)
  end
  return self.said
end
Command.__close = Command.stop

return watched
