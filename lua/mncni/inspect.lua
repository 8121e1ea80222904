-- SPDX-License-Identifier: Apache-2.0
-- A policy as somebody names it on a command line, looked at by mncni.lint in a process of its own, with the limits of a
-- pod's call: what it does while it loads, and what runs away, ends there.

local core = require "mncni.core"

local inspect = {}

inspect.PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

-- Milliseconds after which the process is ended, should its own limits not have done so.
local TIMEOUT = 30000

-- named(word) tells the name of a policy and the directories in which it is looked for, of a name or the path of a file.
-- Returns nil and why where it is neither.
function inspect.named(word)
  local directories = table.concat(core.policy.directories(), ":")
  local directory, file = word:match "^(.*)/([^/]*)$"
  if not directory and not word:find "%.lua$" then
    return { name = word, directories = directories }
  end
  directory, file = directory == "" and "/" or directory or ".", file or word
  local name = file:match "^(%w[%w_.-]*)%.lua$"
  if not name then
    return nil, ("%q: a policy is a file NAME.lua, its name of letters, digits, \"_\", \".\" and \"-\""):format(word)
  elseif directory:find(":", 1, true) then
    return nil, ("%q: a directory of policies has no colon in its name"):format(word)
  elseif not core.file.mode(word) and not core.file.target(word) then
    return nil, ("%q: there is no such file"):format(word)
  end
  return { name = name, directories = directory .. ":" .. directories }
end

-- run(named, module, ...) runs a module of ours that loads the policy, with these words behind its name. Returns what it
-- answers, or nil and the error { msg, file, line, ... } that it ended with.
function inspect.run(named, module, ...)
  local outcome = core.exec {
    argv = { "/proc/self/exe", "--bounded", module, named.name, ... }, timeout = TIMEOUT, max_output = 1 << 24,
    env = { PATH = inspect.PATH, MNCNI_POLICY_PATH = named.directories, TMPDIR = os.getenv "TMPDIR" },
  }
  local ok, answer = pcall(core.json.decode, outcome.stdout)
  if not ok then
    return nil, { msg = "it does not come back from a C function (a pattern that backtracks?), and was ended" }
  elseif outcome.status ~= 0 then
    return nil, answer
  end
  return answer
end

-- look(named) returns what there is to tell of the policy: { path, findings, hooks, options, chained }, see mncni.lint.
function inspect.look(named)
  local told, err = inspect.run(named, "mncni.lint")
  if told then
    return told
  end
  return {
    path = err.file or named.name, hooks = core.json.array {}, options = core.json.array {},
    findings = core.json.array { {
      file = err.file or named.name, line = err.line, severity = "error",
      message = (err.message or err.msg):gsub("^stopped at %S+: ", "while it was loading, "),
    } },
  }
end

return inspect
