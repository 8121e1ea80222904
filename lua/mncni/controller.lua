-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent --controller: an agent that belongs to no node and gives nodes what policies say they should have. It needs
-- the API and nothing of the kernel. Of several that run, the one that leads (mncni.leader) follows the nodes, asks the
-- policies and writes (mncni.node_writer); the others wait, and read all nodes anew when they come to lead: what a watch
-- showed them before might be older than the last write of the leader before them.
--
-- Policies are pure functions, so what they have to know of the past is in world: state, as they returned it; promised;
-- released, the ranges of nodes that are gone. It is handed over to the state that a reload starts, and, as the memo of the
-- Lease, to the next leader.

local core = require "mncni.core"
local agent_files = require "mncni.agent_files"
local agent_log = require "mncni.agent_log"
local agent_policies = require "mncni.agent_policies"
local node_writer = require "mncni.node_writer"
local nodes_kube = require "mncni.nodes_kube"
local same = require "mncni.same"

local controller = {}

-- The longest wait of a turn; until policies are asked again while a node has no range; how long --once and --dry-run take
-- at most, and the end of the program: milliseconds.
local LONGEST, AGAIN, PATIENCE, GRACE = 5000, 5000, 60000, 4000

-- Released ranges that the next leader is told of.
local TOLD = 200

-- What policies see of a Node. Heartbeats change nothing of it.
local KEEP = {
  metadata = { labels = true, annotations = true, deletionTimestamp = true },
  spec = { podCIDR = true, podCIDRs = true, providerID = true },
}

local Controller = {}
Controller.__index = Controller

local running -- the one of this state

-- Milliseconds of a clock that goes on while the machine is suspended, unlike core.record.clock: a lease is over then.
local function now()
  local file <close> = assert(io.open "/proc/uptime")
  return math.floor(file:read "n" * 1000)
end

-- A name that no other candidate has, in words that tell people which one it is.
local function identity()
  local function line(path)
    local file <close> = assert(io.open(path))
    return file:read "l"
  end
  return ("%s_%s"):format(os.getenv "POD_NAME" or line "/proc/sys/kernel/hostname",
    line "/proc/sys/kernel/random/uuid")
end

-- What policies see.
function Controller:world()
  return {
    nodes = self.nodes:peers(), now = os.time(), promised = self.writer:promised(),
    released = table.move(self.writer.released, 1, #self.writer.released, 1, {}),
  }
end

-- Asks the policies. Raises as Policies:desired.
local function ask(self)
  for name in pairs(self.touched) do
    self.writer:seen(name, self.nodes.known[name], os.time())
  end
  self.touched, self.changed = {}, false
  local wanted, problems = self.policies:desired(self:world())
  self.policy_problems, self.wanted = problems, wanted
  self.writer:want(wanted.nodes, self.nodes.known)
  self.log:notes(wanted.notes)
end

local function evaluate(self, at)
  local ok, err = pcall(ask, self)
  if not ok and self.memorized then
    -- It may be what another version left, or somebody wrote.
    agent_log.say("what the last leader left is not taken: %s", tostring(err))
    self.policies.states, self.memorized = {}, nil
    ok, err = pcall(ask, self)
  end
  if not ok then
    self.policy_problems = { { kind = "policy", key = "result", message = tostring(err) } }
  end
  self.memorized = nil
  self.ask_at = at + ((not ok or #self.writer:problems() > 0) and AGAIN or self.conf.resync)
end

-- What the last leader left for this one.
local function take_memo(self, text)
  local ok, memo = pcall(core.json.decode, text or "{}")
  if not ok or type(memo) ~= "table" then
    return
  end
  for _, one in ipairs(type(memo.released) == "table" and memo.released or {}) do
    if type(one) == "table" and type(one.cidr) == "string" and core.cidr.parse(one.cidr)
        and type(one.at) == "number" then
      table.insert(self.writer.released, { cidr = one.cidr, at = one.at })
    end
  end
  if type(memo.states) == "table" then
    self.policies.states, self.memorized = memo.states, true
  end
end

local function memo(self)
  local released = self.writer.released
  return core.json.encode {
    released = core.json.array(table.move(released, math.max(1, #released - TOLD + 1), #released, 1, {})),
    states = self.policies.states,
  }
end

local function follow_nodes(self, before)
  self.nodes = require("mncni.agent_nodes").new(nil, function(name)
    self.touched[name], self.changed = true, true
  end)
  self.nodes:take_over(before)
  local handler = self.nodes:handler()
  local deleted = handler.deleted
  function handler.deleted(name)
    self.versions[name] = nil
    deleted(name)
  end
  self.watch = nodes_kube.watch(self.client, handler, { keep = KEEP, on_object = function(object)
    self.versions[object.metadata.name] = object.metadata.resourceVersion
  end })
end

-- Begins to lead; before is what was handed over by another state of this program that led.
local function begin(self, before)
  self.versions, self.touched, self.changed, self.ask_at = {}, {}, true, math.huge
  self.writer = node_writer.new {
    client = self.client, versions = self.versions, before = before and before.writer,
    fresh = function() return self.election:fresh(now()) end,
  }
  follow_nodes(self, before and before.nodes)
end

local function cease(self)
  if self.watch then
    self.writer:close()
    self.watch:close()
  end
  self.watch, self.writer, self.nodes, self.wanted, self.policy_problems = nil, nil, nil, nil, {}
  self.policies.states = {}
end

local function on_change(self, leads, text)
  agent_log.say(leads and "leading, as %s" or "not leading any more, as %s", self.election.identity)
  self.client:event {
    regarding = self.lease, reason = "LeaderElection", action = "LeaderElection",
    message = ("%s %s"):format(self.election.identity, leads and "became leader" or "stopped leading"),
  }
  if leads then
    begin(self)
    take_memo(self, text)
  else
    cease(self)
  end
end

local function new_election(self, who, before)
  local lease = self.conf.leader
  return require("mncni.leader").new {
    client = self.client, namespace = lease.namespace, name = lease.name, identity = who, before = before,
    lease_duration = lease.lease_duration, renew_deadline = lease.renew_deadline, retry_period = lease.retry_period,
    memo = function() return self.writer and memo(self) end,
    on_change = function(leads, text) on_change(self, leads, text) end,
  }
end

local function empty_world()
  return { nodes = {}, now = os.time(), promised = {}, released = {} }
end

local function new_controller(conf, handover)
  local self = setmetatable({
    conf = conf, texts = handover.texts, refusals = handover.refusals or 0, policy_problems = {}, touched = {},
    versions = {}, ask_at = math.huge, version = "none",
  }, Controller)
  -- What the policies of a ConfigMap are is known once it was read: then another state is started with them.
  self.waits = conf.configmap ~= nil and not handover.texts
  if not self.waits then
    -- What a policy finds wrong with its options comes out here, and not when it is this one's turn to lead.
    agent_policies.load(conf.policies, handover.texts, {}):desired(empty_world())
    self.policies = agent_policies.load(conf.policies, handover.texts, handover.states or {})
    self.version = agent_files.version(conf.policies, handover.texts)
  end
  self.multi = require("mncni.http").multi()
  if conf.nodes_file then
    return self
  end
  local lease = conf.leader
  self.lease = {
    kind = "Lease", apiVersion = "coordination.k8s.io/v1", namespace = lease.namespace, name = lease.name,
  }
  local who = handover.election and handover.election.identity or identity()
  local api = { component = "mncni-agent", instance = who }
  for key, value in pairs(conf.kubernetes) do
    api[key] = value
  end
  self.client = require("mncni.kube").client(api, self.multi)
  self.log = agent_log.new(function(kind, reason, message)
    self.client:event { regarding = self.lease, type = kind, reason = reason, message = message, action = "Reconcile" }
  end)
  if conf.configmap then
    self.texts_watch = nodes_kube.watch_policies(self.client, conf.configmap, {
      policies = function(texts)
        texts = texts or self.texts or {} -- none: there is no such ConfigMap, which changes nothing
        if not self.waits and same(texts, self.texts) then
          self.refused, self.next_texts = nil, nil
        else
          self.next_texts = not same(texts, self.refused) and texts or nil
        end
      end,
      failed = function(message) self.texts_problem = message end,
      well = function() self.texts_problem = nil end,
    })
  end
  if not (conf.dry_run or self.waits) then
    self.election = new_election(self, who, handover.election)
    if self.election.leads then
      begin(self, handover)
    end
  end
  local lasts = not (conf.once or conf.dry_run)
  self.port = require("mncni.agent_port").open(lasts and conf.metrics or nil, handover.listens)
  self.files = agent_files.follow(conf.files)
  return self
end

-- Whether policies may be asked: about all nodes, and as the cluster has them.
local function informed(self)
  return self.watch and self.watch.synced and self.nodes.known and (not self.texts_watch or self.texts_watch.synced)
    and not self.next_texts
end

local function problems_of(self)
  local problems = {}
  for _, list in ipairs {
    self.port:problems(), self.policy_problems, self.nodes and self.nodes:problems() or {},
    self.writer and self.writer:problems() or {},
  } do
    table.move(list, 1, #list, #problems + 1, problems)
  end
  -- In the words of the first time: those of others differ by milliseconds.
  local found = self.election and self.election.problem
  self.lease_problem = found and (self.lease_problem or found)
  if self.lease_problem then
    table.insert(problems, { kind = "lease", key = self.lease.name, message = self.lease_problem, quiet = true })
  end
  if self.texts_problem then
    table.insert(problems, { kind = "nodes", key = "policies", message = self.texts_problem })
  end
  return problems
end

-- Does what there is to do. Returns how many ms later there is more, at the latest.
local function work(self)
  local at = now()
  local due = math.min(self.client:step(at), self.election and self.election:step(at) or math.huge,
    self.port:step(at) - at, LONGEST)
  if self.election and informed(self) and self.election:fresh(at) then
    if self.changed or at >= self.ask_at then
      evaluate(self, at)
    end
    due = math.min(due, self.ask_at - at, self.writer:step(at))
  end
  self.log:problems(problems_of(self))
  -- What was asked of the client meanwhile is sent by the next poll.
  return math.max(0, math.ceil(due))
end

local function poll(self, fds)
  -- One that was stopped for a while sends nothing of what waits to be sent.
  if self.election and not self.election:fresh(now()) then
    self.election:step(now())
  end
  self.multi:poll(fds, self.due or 0)
end

-- What --dry-run prints: commands that would give the nodes their ranges.
local function plan(self)
  local lines, keys = {}, require "mncni.keys"
  for _, name in ipairs(keys(self.wanted.nodes)) do
    local entry = self.wanted.nodes[name]
    for _, event in ipairs(entry.events) do
      lines[#lines + 1] = ("# node %s: %s: %s"):format(name, event.reason, event.message)
    end
    if entry.pod_cidrs then
      lines[#lines + 1] = ("kubectl patch node %s --patch '%s'"):format(name, core.json.encode {
        spec = { podCIDR = entry.pod_cidrs[1], podCIDRs = entry.pod_cidrs },
      })
    end
  end
  for _, range in ipairs(self.wanted.ranges) do
    lines[#lines + 1] = ("# %s: %d used, %d resting, %d free"):format(range.cidr, range.used, range.resting, range.free)
  end
  return table.concat(lines, "\n")
end

local function dry_run(self)
  local deadline = now() + PATIENCE
  if self.conf.nodes_file then
    self.nodes = require("mncni.agent_nodes").new(nil, function() end)
    require("mncni.nodes_file").new(self.conf.nodes_file, self.nodes:handler()):step()
  else
    follow_nodes(self)
    while not (informed(self) or self.nodes.failed.list or now() > deadline) do
      self.multi:poll({}, math.min(200, self.client:step(now())))
      self.client:step(now())
    end
  end
  if not self.nodes.known then
    return { status = 1, stderr = "mncni-agent: " .. (self.nodes.failed.list or "there was no list of nodes in time") }
  end
  local world = empty_world()
  world.nodes = self.nodes:peers()
  self.wanted = self.policies:desired(world)
  return { status = 0, stdout = plan(self) }
end

local function run_once(self)
  local deadline = now() + PATIENCE
  repeat
    self.due = math.min(work(self), 200)
    poll(self, {})
  until now() > deadline or self.wanted and self.writer:idle() and not self.changed
  work(self)
  local why = not self.wanted and (self.election.problem or self.nodes and self.nodes.failed.list
    or ("%s leads"):format(self.election:holder()))
  local lines = self.wanted and plan(self)
  local status = self.wanted and not self.log:any() and self.writer:idle() and 0 or 1
  controller.stop()
  return { status = status, stdout = lines, stderr = why and "mncni-agent: nothing was done: " .. why or nil }
end

-- The functions of mncni.agent, for a controller.
function controller.start(conf, handover)
  running = new_controller(conf, handover)
  if conf.dry_run then
    return dry_run(running)
  elseif conf.once then
    return run_once(running)
  end
  return { running = true }
end

-- Whether this one does what it is there for; else why not.
function Controller:readiness()
  if self.waits then
    return false, ("the ConfigMap %s has not been read yet, or what it has was refused"):format(self.conf.configmap)
  end
  local ok, why = self.election:well(now())
  if ok and self.election.leads and not self.wanted then
    ok, why = false, "the nodes are not known yet"
  end
  return ok, why
end

function controller.turn(request)
  local self = running
  local fds = { self.files:fd() }
  for _, list in ipairs { request.fds, self.port:fds() } do
    table.move(list, 1, #list, #fds + 1, fds)
  end
  poll(self, fds)
  self.due = work(self)
  if self.files:changed() or self.next_texts then
    return { reload = true }
  end
  self.port:serve(function(path)
    return require("mncni.controller_health").answer(self, path)
  end)
  local ok, why = self:readiness()
  return { status = ok and (self.election.leads and "it leads" or "another one leads") or why }
end

function controller.handover()
  local self = running
  return {
    election = self.election and self.election:hand_over(), states = self.policies and self.policies.states,
    texts = self.next_texts or self.texts,
    refusals = self.refusals, writer = self.writer and self.writer:hand_over(),
    nodes = self.nodes and self.nodes:hand_over(), listens = self.port:hand_over(),
  }
end

function controller.refused(request)
  local self = running
  self.refused, self.next_texts = self.next_texts or self.refused, nil
  self.refusals = self.refusals + 1
  agent_log.say("reload refused, going on as before: %s", request.message)
  self.log.event("Warning", "ReloadRefused", request.message)
end

-- Ends what is on its way, and lets another one lead at once.
function controller.stop()
  local self, over = running, false
  if not self.election then
    return
  end
  local deadline = now() + GRACE
  while self.writer and self.writer.flying > 0 and now() < deadline and self.election:fresh(now()) do
    self.multi:poll({}, 50)
    self.client:step(now())
  end
  if self.writer and self.writer.flying > 0 then
    return -- what may still arrive is not to meet another leader
  end
  self.election:release(function() over = true end)
  while not over and now() < deadline do
    self.multi:poll({}, math.min(50, self.client:step(now())))
    self.client:step(now())
  end
end

function controller.close()
  local changed = running.files and running.files:changed() or false
  for _, name in ipairs { "port", "client", "multi", "files" } do
    if running[name] then
      running[name]:close()
    end
  end
  return { changed = changed }
end

return controller
