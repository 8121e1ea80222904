-- SPDX-License-Identifier: Apache-2.0
-- What a policy would do to a pod, on the recorded net: for `mncni try` without root, in a process with the limits of a
-- pod's call (mncni.inspect).

local attachment = require "mncni.attachment"
local core = require "mncni.core"
local policies = require "mncni.policy"
local raised = require "mncni.raised"
local results = require "mncni.result"
local scratch = require "mncni.scratch"
local steps = require "mncni.steps"

local plan = {}

local VERSION = "1.1.0"

local function new_call(args, world, conf)
  return {
    command = "ADD", container = "try1", ifname = "eth0", network = args.list.name, netns = "/run/netns/pod",
    netns_handle = world.namespaces.pod.netns, config = conf, version = VERSION, policy = conf.type, type = conf.type,
    args = { K8S_POD_NAME = "try1", K8S_POD_NAMESPACE = "default" }, annotations = {}, ignored = {}, warnings = {},
    path = {}, env = {}, state_dir = args.directory .. "/state",
  }
end

-- ADD of one plugin of the list. Returns its result in canonical form.
local function add(world, call)
  local policy = policies.load(call.policy)
  local inside = world.namespaces.pod
  local context = steps.new { host = world.host, pod = inside, netns = { path = call.netns, id = "recorded" } }
  if attachment.is_ipam(policy) then
    local lease = require("mncni.lease").acquire(call, context, attachment.ipam(call, policy))
    local result = { ips = {}, routes = lease.routes, dns = lease.dns }
    for i, entry in ipairs(lease.addresses) do
      result.ips[i] = { address = entry.address, gateway = entry.gateway }
    end
    return result
  elseif policy.chained then
    require("mncni.chain").check(call)
  end
  local conf = attachment.checked(call, policy)
  local pod = require("mncni.pod").new { call = call, conf = conf, context = context }
  local returned = steps.within(context, policy.add, pod, conf)
  context:commit()
  return results.check(pod:finish(returned))
end

-- For mncni --bounded: words are the policy's name and a JSON text { list (mncni.trial_conf), shape, directory }.
-- Answers { calls = { { command, plugin, steps, result or error } } }.
function plan.run(words)
  local args = core.json.decode(words[2])
  local world = require("mncni.recorded").new(scratch.fixture(args.shape))
  local calls, previous = core.json.array {}, nil
  for i, conf in ipairs(args.list.plugins) do
    local call = new_call(args, world, conf)
    call.prev_result = previous
    local ok, result = raised.catch(world.run, add, world, call)
    local done = { command = "ADD", plugin = conf.type, steps = core.json.array {} }
    for _, entry in ipairs(world.log) do
      table.insert(done.steps, { line = entry.line })
    end
    world.clear()
    calls[i] = done
    if not ok then
      local err = require("mncni.errors").convert(result)
      done.error = { code = err.code, msg = err.msg, details = err.details }
      break
    end
    previous = result
    done.result = results.convert(result, VERSION)
  end
  return { status = 0, stdout = core.json.encode { calls = calls } }
end

return plan
