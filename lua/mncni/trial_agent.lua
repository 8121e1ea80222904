-- SPDX-License-Identifier: Apache-2.0
-- A policy of the agent at work on a scratch node, by mncni-agent --dry-run: for `mncni try`.

local core = require "mncni.core"
local inspect = require "mncni.inspect"

local trial_agent = {}

-- Milliseconds.
local TIMEOUT = 70000

-- A list of nodes for the agent: this one, one on its link and one behind its gateway, each with a range for pods; for a
-- controller the last has none. Returns the path of the file, and this node's name.
local function nodes(trial, controller)
  local items = {}
  local function add(name, number, address_of)
    local cidrs, addresses = core.json.array {}, core.json.array {}
    for _, family in ipairs { "inet", "inet6" } do
      local has = trial.shape.families[family]
      if has then
        cidrs[#cidrs + 1] = (family == "inet" and "10.244.%d.0/24" or "fd00:10:244:%d::/64"):format(number)
        addresses[#addresses + 1] = { type = "InternalIP", address = address_of(has) }
      end
    end
    local spec = not (controller and name == "far") and { podCIDR = cidrs[1], podCIDRs = cidrs } or {}
    items[#items + 1] = {
      metadata = { name = name, uid = name }, spec = spec, status = { addresses = addresses },
    }
  end
  add("this-node", 1, function(has) return core.cidr(has.address).address end)
  add("near", 2, function(has)
    local own = core.cidr(has.address)
    return own.network:nth(own.address == own.network:nth(7).address and 8 or 7).address
  end)
  add("far", 3, function(has) return has.outside end)
  local path = trial.directory .. "/nodes.json"
  core.file.replace(path, core.json.encode { items = core.json.array(items) }, 384) -- 0600
  return path, "this-node"
end

-- The name of the first node of a user's list.
local function first_name(path)
  local ok, name = pcall(function()
    return core.json.decode(core.file.read(path, 256 << 20)).items[1].metadata.name
  end)
  if not ok then
    error(core.error {
      object = path, code = 7, message = "it is no list of nodes, as `kubectl get nodes -o json` prints it",
    }, 0)
  end
  return name
end

-- run(trial, given, sets): what mncni-agent --dry-run says of the policy (status, stdout, stderr) with the user's list of
-- nodes, or one that is made up; on the scratch node, else on this one. sets: NAME=VALUE of its options.
function trial_agent.run(trial, given, sets, controller)
  local own = core.file.target "/proc/self/exe" or ""
  local program = core.find_program("mncni-agent", (own:match "^(.*)/" or "/") .. ":" .. inspect.PATH)
  if not program then
    error(core.error {
      object = "mncni-agent", code = 4, message = "a policy of the agent is tried by mncni-agent --dry-run, which is "
        .. "neither beside this program nor in " .. inspect.PATH,
    }, 0)
  end
  local list, node
  if given then
    list, node = given, first_name(given)
  else
    list, node = nodes(trial, controller)
  end
  local said = trial.directory .. "/agent.log" -- apart from what the agent would do
  local argv = {
    "/bin/sh", "-c", ('exec "$0" "$@" 2>\'%s\''):format(said), program, "--nodes", "file:" .. list,
    "--policy", trial.named.name, "--dry-run", controller and "--controller" or "--node=" .. node,
  }
  for _, set in ipairs(sets or {}) do
    argv[#argv + 1] = ("--set=%s.%s"):format(trial.named.name, set)
  end
  local what = {
    argv = argv, env = {
      PATH = inspect.PATH, MNCNI_POLICY_PATH = trial.named.directories, MNCNI_STATE_DIR = trial.directory .. "/state",
    }, timeout = TIMEOUT, max_output = 1 << 24,
  }
  local outcome = trial.node and trial.node.handles.node:run(core.exec, what) or core.exec(what)
  outcome.stderr = core.file.read(said, 1 << 20)
  if not controller and outcome.status ~= 0 and outcome.stderr:find("mncni-agent --controller", 1, true) then
    return trial_agent.run(trial, given, sets, true)
  end
  return outcome
end

return trial_agent
