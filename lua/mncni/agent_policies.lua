-- SPDX-License-Identifier: Apache-2.0
-- The policies that an agent runs: loaded, configured, and asked what should be.

local core = require "mncni.core"
local merge = require "mncni.merge"
local options = require "mncni.options"
local raised = require "mncni.raised"

local agent_policies = {}

local Policies = {}
Policies.__index = Policies

local function fail(name, message, ...)
  error(core.error { object = ('policy "%s"'):format(name), code = 7, message = message:format(...) }, 0)
end

-- The hooks of a policy: from the texts that the cluster gave (name -> text), else as every policy is found.
local function load_hooks(name, texts)
  if texts and texts[name] then
    return require("mncni.lint").load(name, texts[name], name .. ".lua")
  end
  return require("mncni.policy").load(name)
end

-- load(list, texts, states) loads the policies of { { name, given, sets } }, and looks at all others of texts. Raises what
-- is wrong with one, and where. states makes them those of a controller, which looks at its own alone: what their `state`
-- was, name -> value.
function agent_policies.load(list, texts, states)
  local self = setmetatable({ list = {}, texts = texts, states = states }, Policies)
  local runs = {}
  for i, item in ipairs(list) do
    runs[item.name] = true
    local hooks = load_hooks(item.name, texts)
    if not hooks.desired then
      fail(item.name, "it has no desired(world, conf), so it is one for the CNI plugin and not for the agent")
    end
    local given = item.given
    for _, text in ipairs(item.sets or {}) do
      local ok, result = pcall(options.parse_set, hooks.options or {}, text, given)
      if not ok then
        result.object = ("--set %s.%s: %s"):format(item.name, text, result.object)
        error(result, 0)
      end
      given = result
    end
    local what = ('policy "%s"%s'):format(item.name, item.where and " in " .. item.where or "")
    self.list[i] = {
      name = item.name, desired = hooks.desired, conf = options.check(hooks.options or {}, given, { what = what }),
    }
  end
  for _, name in ipairs(require("mncni.keys")(texts or {})) do
    if not (states or runs[name]) then
      load_hooks(name, texts) -- somebody else than the agent runs it: the plugin gets what was found good
    end
  end
  return self
end

-- Lists of what policies want that those after them see as world.desired.
local lists = { "links", "addresses", "routes", "neighbours", "fdb", "rules", "nft", "files" }

local function add_lists(desired, answer)
  for _, kind in ipairs(lists) do
    desired[kind] = desired[kind] or {}
    for _, object in pairs(answer[kind]) do
      table.insert(desired[kind], object)
    end
  end
end

-- A policy for the other sort of agent is told so where it looks for what only that one has.
local function absent(keys, message)
  return { __index = function(_, key)
    if keys[key] then
      error(core.error { object = "world." .. key, code = 7, message = message }, 0)
    end
  end }
end
local of_node = absent({ nodes = true, promised = true, released = true },
  "it is there for a controller alone; run the policy with mncni-agent --controller")
local of_controller = absent({ node = true, peers = true, reach = true, underlay = true, gateway = true },
  "it is there for the agent of a node alone, and --controller has none")

local function answer_of(policy, world, controller)
  return merge.read(policy.name, policy.desired(world, policy.conf), policy.last, controller)
end

-- Puts the place in a policy's file before the message, for people who see nothing else.
local function placed(err)
  if err.file and not err.message:find(err.file, 1, true) then
    err.message = ("%s:%d: %s"):format(err.file, err.line, err.message)
  end
  return err
end

-- Asks every policy about the world and puts the answers together: see mncni.merge. One that fails keeps its last answer
-- as long as there is one. Returns what is wanted, and the list of { kind = "policy", key, message } that went wrong.
-- Raises when there is an answer missing, or when two claim the same. A policy sees in world.desired what those before
-- it want, and in world.policies the texts that the cluster gave; of a controller, in world.state what it returned as
-- state the last time.
function Policies:desired(world)
  local answers, problems = {}, {}
  world.desired, world.policies = {}, self.texts
  setmetatable(world, self.states and of_controller or of_node)
  for i, policy in ipairs(self.list) do
    world.state = (self.states or {})[policy.name]
    local ok, answer = raised.catch(answer_of, policy, world, self.states ~= nil)
    if ok then
      policy.last = answer
      if self.states then
        self.states[policy.name] = answer.state
      end
    elseif not policy.last then
      answer.object = answer.object or ('policy "%s"'):format(policy.name)
      error(placed(answer), 0)
    else
      local message = tostring(placed(answer)) .. "; its last answer stays"
      problems[#problems + 1] = { kind = "policy", key = policy.name, message = message }
    end
    answers[i] = { policy.name, policy.last }
    for number, message in ipairs(policy.last.warnings) do
      problems[#problems + 1] = { kind = "policy", key = ("%s %d"):format(policy.name, number), message = message }
    end
    if i < #self.list then
      add_lists(world.desired, policy.last)
    end
  end
  return merge.merge(answers), problems
end

return agent_policies
