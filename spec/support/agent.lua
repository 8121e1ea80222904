-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent for specs: in the background of a node, or to its end.
--
--   local agent = node:start_agent { policy = "routes", set = { "routes.mode=direct" } }
--   agent:wait_stderr "conflict"; agent:signal "HUP"; assert.are.equal(0, agent:stop())

local clock = require "spec.support.clock"
local lfs = require "lfs"
local spaces = require "spec.support.netns"

local agent = {}
agent.__index = agent

agent.BIN = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni-agent"

local function read(path)
  local file <close> = io.open(path)
  return file and file:read "a"
end

-- The program and its arguments. args: policy (a name, or a list), set (a list of NAME.OPTION=VALUE), nodes (default:
-- the cluster's file), node (its name; false leaves it out), config (a path), args (what else stands there).
function agent.argv(node, args)
  local argv = { spaces.must("realpath %s", agent.BIN) }
  local function put(...)
    for _, word in ipairs { ... } do
      argv[#argv + 1] = word
    end
  end
  if args.node ~= false then
    put("--node", args.node or node.name)
  end
  if args.nodes ~= false then
    put("--nodes", args.nodes or "file:" .. node.nodes_file)
  end
  if args.config then
    put("--config", args.config)
  end
  local policies = args.policy or {}
  for _, name in ipairs(type(policies) == "table" and policies or { policies }) do
    put("--policy", name)
  end
  for _, setting in ipairs(args.set or {}) do
    put("--set", setting)
  end
  put(table.unpack(args.args or {}))
  return argv
end

local function environment(node, args)
  local env = {}
  for key, value in pairs(node.env) do
    env[key] = value
  end
  for key, value in pairs(args.env or {}) do
    env[key] = value
  end
  return env
end

-- Starts it; see argv, and env for more of its environment. It ends with node:stop_agents(), at the latest.
function agent.start(node, args)
  local files = spaces.must("mktemp -d -p %s agent.XXXXXX", node.scratch)
  local words = { "env", "-i" }
  for key, value in pairs(environment(node, args)) do
    words[#words + 1] = spaces.quote(key .. "=" .. value)
  end
  for _, word in ipairs(agent.argv(node, args)) do
    words[#words + 1] = spaces.quote(word)
  end
  local self = setmetatable({ node = node, files = files, started = clock.now() }, agent)
  self.pid = tonumber(node.space:must(([[cd FILES
    { WORDS >stdout 2>stderr </dev/null & pid=$!; echo $pid >pid; wait $pid; echo $? >.status; mv .status status; } \
      >/dev/null 2>&1 &
    until [ -s pid ]; do sleep 0.001; done; cat pid]]):gsub("FILES", spaces.quote(files))
    :gsub("WORDS", function() return table.concat(words, " ") end)))
  node.agents[#node.agents + 1] = self
  return self
end

-- Runs it to its end (10 s); core.exec's outcome with stdout, stderr and status.
function agent.run(node, args)
  return node:exec({ "timeout", "-k", "1", tostring(args.timeout or 10), table.unpack(agent.argv(node, args)) },
    environment(node, args))
end

function agent:stderr()
  return read(self.files .. "/stderr") or ""
end

function agent:stdout()
  return read(self.files .. "/stdout") or ""
end

-- Its exit status, 128 + n when signal n ended it; nil while it runs.
function agent:status()
  local text = read(self.files .. "/status")
  return text and tonumber(text)
end

function agent:alive()
  return lfs.attributes("/proc/" .. self.pid) ~= nil and not self:status()
end

function agent:signal(name)
  return spaces.sh("kill -%s %s", name, self.pid)
end

-- Ends it by a signal (TERM) and returns its exit status; KILL after 5 s.
function agent:stop(signal)
  if not self:status() then
    self:signal(signal or "TERM")
    if not clock.wait(function() return self:status() end) then
      self:signal "KILL"
      clock.wait(function() return self:status() end)
    end
  end
  return self:status()
end

-- Waits until its stderr has a text (a pattern), from a position on; returns the line, or raises with all of it.
function agent:wait_stderr(pattern, deadline, from)
  local line = clock.wait(function()
    for candidate in self:stderr():sub(from or 1):gmatch "[^\n]+" do
      if candidate:find(pattern) then
        return candidate
      end
    end
  end, deadline)
  return line or error(("agent of %s: no line of its stderr has %q:\n%s"):format(self.node.name, pattern,
    self:stderr()), 2)
end

-- Kilobytes of memory that it occupies.
function agent:rss()
  return tonumber((read("/proc/" .. self.pid .. "/status") or ""):match "VmRSS:%s*(%d+)")
end

return agent
