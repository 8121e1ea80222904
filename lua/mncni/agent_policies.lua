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
    return require("mncni.policy_file").load(name, texts[name], name .. ".lua")
  end
  return require("mncni.policy").load(name)
end

-- load(list, texts) loads the policies of { { name, given, sets } }. Raises what is wrong with one, and where.
function agent_policies.load(list, texts)
  local self = setmetatable({ list = {} }, Policies)
  for i, item in ipairs(list) do
    local hooks = load_hooks(item.name, texts)
    if not hooks.desired then
      fail(item.name, "it has no desired(world, conf), so it is one for the CNI plugin and not for the agent")
    end
    local given = item.given
    for _, text in ipairs(item.sets or {}) do
      given = options.parse_set(hooks.options or {}, text, given)
    end
    self.list[i] = {
      name = item.name, desired = hooks.desired,
      conf = options.check(hooks.options or {}, given, { what = ('policy "%s"'):format(item.name) }),
    }
  end
  return self
end

local function answer_of(policy, world)
  return merge.read(policy.name, policy.desired(world, policy.conf))
end

-- Asks every policy about the world and puts the answers together: see mncni.merge. One that fails keeps its last answer
-- as long as there is one. Returns what is wanted, and the list of { kind = "policy", key, message } that went wrong.
-- Raises when there is an answer missing, or when two claim the same.
function Policies:desired(world)
  local answers, problems = {}, {}
  for i, policy in ipairs(self.list) do
    local ok, answer = raised.catch(answer_of, policy, world)
    if ok then
      policy.last = answer
    elseif not policy.last then
      answer.object = answer.object or ('policy "%s"'):format(policy.name)
      error(answer, 0)
    else
      local message = tostring(answer) .. "; its last answer stays"
      problems[#problems + 1] = { kind = "policy", key = policy.name, message = message }
    end
    answers[i] = { policy.name, policy.last }
  end
  return merge.merge(answers), problems
end

return agent_policies
