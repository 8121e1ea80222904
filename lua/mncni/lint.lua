-- SPDX-License-Identifier: Apache-2.0
-- What is wrong with a policy, found before a pod or a node finds it: by loading it, and by reading its text. For
-- `mncni lint`, `mncni try`, and the agent before it takes what the cluster gives.
--
-- A finding is { file, line (nil where there is none), severity = "error" or "warning", message }.

local core = require "mncni.core"
local policy_file = require "mncni.policy_file"

local lint = {}

-- A policy has at least one of these, and has those that the built-in one of its name has: somebody relies on it.
local MAIN = { "add", "lease", "desired" }

-- Modules of ours that not every program has.
local ELSEWHERE = { ["mncni.http"] = true, ["mncni.httpd"] = true, ["mncni.nft"] = true, ["mncni.state"] = true }

local Reading = {}
Reading.__index = Reading

function Reading:tell(line, severity, message, ...)
  message = message:format(...)
  local key = ("%s %s"):format(line, message)
  if not self.told[key] then
    self.told[key] = true
    table.insert(self.findings, { file = self.path, line = line, severity = severity, message = message })
  end
end

-- What a variable holds, as far as that is sure: { value, label } or { class, label }.
function Reading:held(variable)
  if variable.assigned or variable.func and not variable.func.hook then
    return nil
  elseif variable.func then
    local class = self.api.parameter(variable.func.hook, variable.index, self.hooks.options)
    return class and { class = class, label = variable.name, set = variable.set }
  end
  local ref = variable.value and variable.value.ref
  local held = ref and self:follow(ref)
  return held and { value = held.value, class = held.class, label = held.label, set = variable.set }
end

-- Where a ref begins. tell: say what is wrong with it.
function Reading:root(ref, tell)
  if ref.var then
    return self:held(ref.var)
  elseif ref.module then
    if (ref.module .. "."):find("mncni.", 1, true) ~= 1 or ELSEWHERE[ref.module] then
      return nil
    end
    local ok, value = pcall(require, ref.module)
    if not ok and tell then
      self:tell(ref.line, "error", "there is no module \"%s\"", ref.module)
    end
    return ok and { value = value, label = ref.module } or nil
  elseif ref.global then
    local value = _G[ref.global]
    local writes = ref.written and #ref.steps == 0
    if writes and tell then
      self:tell(ref.line, "error", "a policy may not assign to the global \"%s\"; write local %s", ref.global,
        ref.global)
    elseif value == nil and tell then
      self:tell(ref.line, "error", "there is no global \"%s\"%s", ref.global,
        self.api.hint(ref.global, self.api.names(_G)))
    end
    return value ~= nil and ref.global ~= "_G" and { value = value, label = ref.global } or nil
  end
end

-- What a name leads to: what it holds, nil where that is not known; false where there is none.
local function member(held, name)
  if held.set and held.set[name] then
    return nil -- the policy's own
  elseif held.class then
    local has = held.class.has and held.class.has[name]
    if held.class.has and has == nil then
      return false
    end
    return type(has) == "table" and { class = has, label = has.name } or nil
  elseif type(held.value) ~= "table" then
    return nil
  end
  local ok, value = pcall(function() return held.value[name] end)
  if not ok then
    return nil
  elseif value == nil then
    return false
  end
  return { value = value, label = ("%s.%s"):format(held.label, name) }
end

function Reading:missing(held, step, used)
  local names = self.api.names(held.class or held.value)
  if held.class and held.class.is_conf then
    self:tell(step.line, "error", "%s.%s: the policy declares no option \"%s\"%s", held.label, step.name, step.name,
      self.api.hint(step.name, names))
  else
    self:tell(step.line, (used or held.class) and "error" or "warning", "%s has no \"%s\"%s", held.label, step.name,
      self.api.hint(step.name, names))
  end
end

-- What a ref leads to, nil where that is not known. tell: say what is wrong on the way.
function Reading:follow(ref, tell)
  local held = self:root(ref, tell)
  for i, step in ipairs(ref.steps) do
    if not held then
      return nil
    end
    local last = i == #ref.steps
    if step.sep == "()" then
      local class = held.class and held.class.returns or held.value ~= nil and self.api.returns[held.value]
      held = class and { class = class, label = class.name } or nil
    elseif not step.name then
      return nil
    else
      local next_held = member(held, step.name)
      if next_held == false and tell and not (last and ref.written) then
        self:missing(held, step, not last)
      end
      held = next_held or nil
    end
  end
  return held
end

-- Which functions of the text are hooks.
local function mark_hooks(returned)
  local variable = returned and returned.ref and #returned.ref.steps == 0 and returned.ref.var
  local made = variable and variable.value or returned
  for _, fields in ipairs { made and made.fields or {}, variable and variable.set or {} } do
    for name, value in pairs(fields) do
      local of = value.ref and #value.ref.steps == 0 and value.ref.var
      local func = value.func or of and not of.assigned and of.value and of.value.func
      if func then
        func.hook = name
      end
    end
  end
end

-- What the text of a policy says that is wrong, without running it; hooks are what it was when it was loaded, or {}.
local function read(path, text, hooks, findings)
  local self = setmetatable({
    path = path, hooks = hooks, findings = findings, told = {}, api = require "mncni.lint_api",
  }, Reading)
  local found = require("mncni.lint_source").read(text)
  mark_hooks(found.returned)
  for _, ref in ipairs(found.refs) do
    self:follow(ref, true)
  end
end

-- What Policy:load of a text has raised, as a finding.
local function refusal(path, text, err)
  local message = core.is_error(err) and err.message or tostring(err)
  if err == "not enough memory" then
    message = "it needs more memory than a policy has, 32 MiB, while it is loading"
  end
  local line = core.is_error(err) and err.line or nil
  local file, number, rest = message:match "^(%S+):(%d+): (.*)$"
  if file then
    path, line, message = file, math.tointeger(tonumber(number)), rest
  elseif core.is_error(err) and err.file then
    path = err.file
  end
  local option = core.is_error(err) and tostring(err.object):match 'option "([%w_-]+)'
  if not line and option then -- Lua does not tell where a table was made
    message = ('option "%s": %s'):format(option, message)
    local at = text:find("%f[%w_]" .. option:gsub("%-", "%%-") .. "%f[^%w_]%W-=%s*{")
    line = at and select(2, text:sub(1, at):gsub("\n", "")) + 1
  end
  line = line or math.tointeger(tonumber(message:match "%(line (%d+)%)"))
  return { file = path, line = line, severity = "error", message = message }
end

-- The hooks that are there must be enough for somebody to run.
local function check_hooks(path, name, hooks, findings)
  local function tell(severity, message, ...)
    findings[#findings + 1] = { file = path, severity = severity, message = message:format(...) }
  end
  local builtin, any = require("mncni.policy_builtin").get(name) or {}, false
  for _, hook in ipairs(MAIN) do
    any = any or hooks[hook] ~= nil
    if builtin[hook] and not hooks[hook] then
      tell("error", "it has no %s, which the built-in policy of this name has; give it another name", hook)
    end
  end
  if not any then
    tell("error", "it has none of the hooks %s, so nobody can run it", table.concat(MAIN, ", "))
  elseif hooks.chained and not hooks.add then
    tell("error", "it is chained, and has no add")
  end
end

local function by_line(a, b)
  return (a.line or 0) < (b.line or 0)
end

-- text(name, text, path) looks at the text of a policy: returns its findings, sorted by line, and its hooks, nil when it
-- does not load. What it does while it loads it does to the recorded net.
function lint.text(name, text, path)
  local findings = {}
  local ok, hooks = pcall(policy_file.load, name, text, path)
  if not ok then
    findings[1] = refusal(path, text, hooks)
  else
    check_hooks(path, name, hooks, findings)
  end
  if pcall(policy_file.compile, name, text, path) then
    read(path, text, ok and hooks or {}, findings)
  end
  if not ok then -- the text may tell the same of the same line
    for i = #findings, 2, -1 do
      if findings[i].line == findings[1].line then
        table.remove(findings, i)
      end
    end
  end
  table.sort(findings, by_line)
  return findings, ok and hooks or nil
end

-- "mynet.lua:12: error: ...": a finding as compilers tell them.
function lint.line(finding)
  local place = finding.line and ("%s:%d"):format(finding.file, finding.line) or finding.file
  return ("%s: %s: %s"):format(place, finding.severity, finding.message)
end

-- Returns the hooks of a policy that somebody gave as a text. Raises (code 100, with file and line) the first error found.
function lint.load(name, text, path)
  local findings, hooks = lint.text(name, text, path)
  for _, finding in ipairs(findings) do
    if finding.severity == "error" then
      error(core.error {
        op = "load", object = ('policy "%s"'):format(name), code = 100, file = finding.file, line = finding.line,
        message = lint.line(finding):gsub("error: ", "", 1),
      }, 0)
    end
  end
  return hooks
end

-- For mncni --bounded: what there is to tell of the policy of that name, as JSON: path, findings, and where it loads
-- hooks (names), chained and options (names).
function lint.run(words)
  local name = words[1]
  local trusted, text, path = pcall(core.policy.read, name)
  local told = { findings = core.json.array {}, hooks = core.json.array {}, options = core.json.array {} }
  local hooks
  if not trusted then -- somebody else could have written it
    told.path = text.object
    told.findings[1] = { file = text.object, severity = "error", message = text.message }
  elseif text then
    told.path = path
    local findings
    findings, hooks = require("mncni.recorded").new().run(lint.text, name, text, path)
    told.findings = core.json.array(findings)
  else
    told.path, hooks = "built in", require("mncni.policy").load(name)
  end
  local keys = require "mncni.keys"
  if hooks then
    told.hooks, told.options = core.json.array(keys(hooks)), core.json.array(keys(hooks.options or {}))
    told.chained = hooks.chained or false
  end
  return { status = 0, stdout = core.json.encode(told) }
end

return lint
