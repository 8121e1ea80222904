-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent: follows the cluster's nodes and keeps this one as its policies say. The host (plugin/agent.c) calls
-- start once, then turn for ever; for a reload it starts another state, which takes over what this one has handed over.
--
-- A turn waits for whatever comes first (events of the kernel, of the node source, a timer), takes all of it in, and
-- then, if policies may see something new, asks them and applies the difference. All state but the nodes is found anew
-- in the kernel at each start, so that nothing depends on how the last one ended.
--
-- With --controller it is another agent (mncni.controller), with the same functions for the host.

local core = require "mncni.core"
local agent_files = require "mncni.agent_files"
local agent_log = require "mncni.agent_log"
local config = require "mncni.agent_config"
local raised = require "mncni.raised"
local ready = require "mncni.agent_ready"
local reconcile = require "mncni.reconcile"
local same = require "mncni.same"

local agent = {}

-- The longest wait of a turn, milliseconds: a turn has a limited time.
local LONGEST = 5000

-- The shortest time between two turns while nodes are followed, milliseconds, unless the kernel has news: of heartbeats,
-- which are nearly all that comes then, each would be a turn otherwise.
local SHORTEST = 40

-- How long --once and --dry-run wait for a list of nodes, milliseconds.
local PATIENCE = 30000

local Agent = {}
Agent.__index = Agent

local running -- the one agent of this state

local function now()
  return core.record.clock() // 1000
end

-- What policies see.
function Agent:world()
  local own = self.nodes.known[self.conf.node]
  local world = {
    node = own, peers = self.nodes:peers(), reach = self.reach:table(self.nodes.known),
    underlay = self.reach:underlay(own), gateway = self.reach:gateway(), ready = self.ready,
    advertised = self.reach:advertised(own),
  }
  world.fabric = self.reach:fabric(world)
  return world
end

-- Asks the policies and takes what they want. Raises as Policies:desired.
function Agent:evaluate()
  local wanted, problems = self.policies:desired(self:world())
  self.policy_problems = problems
  self.reconciler:want(wanted)
  self.wanted_node, self.unready = wanted.node, wanted.unready
  self.log:notes(wanted.notes)
  self.changed, self.tries, self.retry_at = false, 0, nil
end

-- Asks the policies if they may see something new; with strict, raises when there is not even a first answer. What
-- failed is asked again: the reason may have been a dump that was cut short.
local function ask(self, strict)
  if self.changed then
    local ok, err = pcall(self.evaluate, self)
    if not ok and strict then
      error(err, 0)
    elseif not ok then
      self.policy_problems, self.changed = { { kind = "policy", key = "result", message = tostring(err) } }, false
      self.tries = self.tries + 1
      self.retry_at = now() + reconcile.backoff(self.tries)
    end
  end
  return self.wanted_node ~= nil
end

-- Loads the policies. Raises what is wrong with one.
function Agent:load(texts)
  self.policies = require("mncni.agent_policies").load(self.conf.policies, texts)
  self.texts, self.version, self.changed = texts, agent_files.version(self.conf.policies, texts), true
end

-- Notes that a reload was refused, and the texts that will not be tried again until they change once more.
function Agent:refuse(texts, message)
  self.refused, self.next_texts, self.refusals = texts, nil, self.refusals + 1
  agent_log.say("reload refused, going on as before: %s", message)
  self.log.event("Warning", "ReloadRefused", message)
end

-- The ConfigMap was read for the first time: before that, nobody knows what its policies want, and what they wanted the
-- last time stays. Returns whether there are policies now.
local function first_texts(self)
  local texts = self.next_texts
  if texts and not self.policies then
    self.next_texts = nil
    local ok, err = raised.catch(self.load, self, texts)
    if not ok then
      self:refuse(texts, tostring(err))
      self.ready = ready.not_yet("the policies of ConfigMap %s are refused", self.conf.configmap)
    end
  end
  return self.policies ~= nil
end

-- Brings the node up to date with what is known. What policies see includes whether it stands, so it may take more than
-- one round.
function Agent:settle(strict)
  if first_texts(self) and self.nodes:believed() then
    -- Garbage is collected when the kernel is up to date, and not on the way there; the first time there is too much.
    if self.applied then
      collectgarbage "stop"
    end
    for _ = 1, 3 do
      if not ask(self, strict) then
        break
      end
      self.reconciler:apply(now())
      self.applied = true
      local found = ready.judge(self.reconciler, self.unready)
      if same(found, self.ready) then
        break
      end
      self.ready, self.changed = found, true
    end
    collectgarbage "restart"
    self.source:publish(self.wanted_node or { conditions = {}, annotations = {} })
  end
  self.dirty = false
  self:tell()
end

function Agent:tell()
  local problems = self.nodes:problems()
  for _, list in ipairs {
    self.port:problems(), self.policy_problems, self.reconciler:problems(), self.source:problems(),
  } do
    table.move(list, 1, #list, #problems + 1, problems)
  end
  self.log:problems(problems)
end

local function open_source(self, handover)
  local handler = self.nodes:handler()
  function handler.policies(texts)
    texts = texts or self.texts or {} -- none: there is no such ConfigMap, which changes nothing
    if self.policies and same(texts, self.texts) then
      self.refused, self.next_texts = nil, nil
    else
      self.next_texts = not same(texts, self.refused) and texts or nil
    end
  end
  if self.conf.nodes_file then
    return require("mncni.nodes_file").new(self.conf.nodes_file, handler)
  end
  return require("mncni.nodes_kube").new {
    multi = self.multi, node = self.conf.node, kubernetes = self.conf.kubernetes, configmap = self.conf.configmap,
    handler = handler, resource_version = self.nodes.known and handover.resource_version or nil,
  }
end

-- What is not fatal, and nobody would look for.
local function look_around(self)
  if not self.host.sysctl.get "net/bridge/bridge-nf-call-iptables" then
    local message = "br_netfilter is not loaded: Services may fail between pods of one node; modprobe br_netfilter"
    agent_log.say(message)
    self.log.event("Warning", "BridgeNetfilterMissing", message)
  end
end

local function new_agent(conf, handover)
  local host = require("mncni.net").open()
  local self = setmetatable({
    conf = conf, host = host, applied = false, changed = true, dirty = false, tries = 0, policy_problems = {},
    ready = ready.not_yet "nothing has been applied yet", unready = {}, version = "none",
    refusals = handover.refusals or 0,
  }, Agent)
  if handover.texts or not conf.configmap then
    self:load(handover.texts)
  else
    self.ready = ready.not_yet("ConfigMap %s has not been read yet", conf.configmap)
  end
  self.multi = require("mncni.http").multi()
  self.monitor = host:monitor { "link", "addr", "route", "rule", "neigh", "fdb" }
  self.monitor:leave_out(host:socket("route"):portid())
  self.reconciler = require("mncni.reconcile").new { host = host }
  self.reconciler:resync()
  self.resynced = now()
  self.reach = require("mncni.reach").new(host, self.reconciler.names, { probes = not conf.dry_run })
  self.nodes = require("mncni.agent_nodes").new(conf.node, function(name)
    self.changed = true
    self.reach:changed(name)
  end)
  self.nodes:take_over(handover.nodes)
  self.source = open_source(self, handover)
  self.log = agent_log.new(function(...)
    if self.source.event then
      self.source:event(...)
    end
  end)
  self.metrics = require("mncni.agent_metrics").new(os.getenv "MNCNI_STATE_DIR" or "/run/mncni", handover.metrics)
  local lasts = not (conf.once or conf.dry_run)
  self.port = require("mncni.agent_port").open(lasts and conf.metrics or nil, handover.listens)
  self.files = agent_files.follow(conf.files)
  self.turned = now()
  return self
end

-- Takes in everything that has come, beginning with an event of the kernel's that was read already, if one was.
local function take_in(self, event)
  event = event or self.monitor:next(0)
  while event do
    if event.object ~= "fdb" and self.reach:event(event) then
      self.changed = true
    end
    self.dirty = self.reconciler:event(event) or self.dirty
    event = self.monitor:next(0)
  end
  self.source_due = self.source:step(now())
  self.dirty = self.dirty or self.changed
end

-- Milliseconds until something is to be done even if nothing comes.
local function wait_time(self)
  local at = now()
  local due = math.min(self.source_due or at, self.resynced + self.conf.resync, self.reach:probe(at),
    self.retry_at or math.huge, self.port:step(at))
  if self.applied then
    due = math.min(due, self.reconciler:due(at))
  end
  return math.max(0, math.min(due - at, LONGEST)) // 1 | 0
end

-- What --once and --dry-run do.
local function run_once(self)
  local deadline = now() + PATIENCE
  repeat
    take_in(self)
    if not self.policies and self.next_texts then
      self:load(self.next_texts)
      self.next_texts = nil
    end
    local over = self.policies and (self.nodes.known or self.conf.nodes_file) or now() > deadline
    if not over then
      self.multi:poll(self.source:fds(), 200)
    end
  until over
  local believed, why = self.nodes:believed()
  if not self.policies then
    return {
      status = 1, stderr = ("mncni-agent: the ConfigMap %s could not be read: %s"):format(self.conf.configmap,
        self.nodes.failed.policies or "there was no answer"),
    }
  elseif not believed then
    return { status = 1, stderr = "mncni-agent: " .. (self.nodes.failed.list or why) }
  elseif not self.conf.dry_run then
    self:settle(true)
    self.source:step(now())
    while not self.source:told() and now() < deadline do
      self.multi:poll(self.source:fds(), 200)
      self.source:step(now())
    end
    self:tell()
    return { status = self.log:any() and 1 or 0 }
  end
  -- What depends on how things stand is planned as if all of it could be done.
  self.ready = { ok = true, reasons = {} }
  self:evaluate()
  local text = require("mncni.agent_plan").text(self.reconciler:plan(now()), self.wanted_node)
  self:tell()
  return { status = 0, stdout = text ~= "" and text or nil }
end

-- keeps_node{ words } tells whether nobody else may do the same in this network namespace: a controller, and what only looks,
-- may be there beside others.
function agent.keeps_node(request)
  local conf = config.read(request.words)
  return not (conf.help or conf.version or conf.controller or conf.dry_run)
end

-- start{ words, handover } reads the configuration, loads the policies and looks at the kernel; where nodes are known at
-- once it also applies what is wanted. Returns { running = true }, or { status, stdout, stderr } when that was all.
-- Raises what is wrong. request.rival: somebody else in this network namespace does this already.
function agent.start(request)
  local conf = config.read(request.words)
  if conf.help then
    return { status = 0, stdout = config.HELP }
  elseif conf.version then
    return { status = 0, stdout = core.version }
  elseif request.rival and not (conf.dry_run or conf.controller) then
    error(core.error {
      code = 11, message = "another mncni-agent is at work in this network namespace (ss -lxp shows it); stop it first",
    }, 0)
  end
  -- What is dropped is little beside what is kept, so collect early rather than let memory grow to twice its size.
  collectgarbage("incremental", 130, 200)
  if conf.controller then
    for name, fn in pairs(require "mncni.controller") do
      agent[name] = fn
    end
    return agent.start(conf, request.handover or {})
  end
  running = new_agent(conf, request.handover or {})
  if conf.once or conf.dry_run then
    return run_once(running)
  end
  take_in(running)
  if conf.nodes_file and not running.nodes.known then
    error(core.error { code = 7, message = running.nodes.failed.list:gsub("; what was known before stays$", "") }, 0)
  end
  if not request.handover then
    look_around(running)
  end
  running:settle(true)
  return { running = true }
end

-- Looks at everything anew when it is time to.
local function look_anew(self, at)
  if at - self.resynced >= self.conf.resync then
    self.reconciler.stale, self.resynced, self.changed, self.dirty = true, at, true, true
    self.reach:forget()
  end
  if self.retry_at and at >= self.retry_at then
    self.retry_at, self.changed, self.dirty = nil, true, true
  end
end

-- turn{ fds } waits for something to happen, on those descriptors of the host too, and deals with it. Returns { reload,
-- status }: whether the host is to start another state, and a line on how things stand.
function agent.turn(request)
  local self = running
  local fds = { self.monitor:fd(), self.files:fd() }
  for _, list in ipairs { request.fds, self.source:fds(), self.port:fds() } do
    table.move(list, 1, #list, #fds + 1, fds)
  end
  local rest = self.source:follows() and self.turned + SHORTEST - now() or 0
  local event = rest > 0 and self.monitor:next(rest) or nil
  self.multi:poll(fds, event and 0 or wait_time(self))
  self.turned = now()
  local began = core.record.clock()
  take_in(self, event)
  if self.files:changed() or self.policies and self.next_texts then
    return { reload = true }
  end
  local at = now()
  look_anew(self, at)
  if self.dirty or self.next_texts or self.reconciler:due(at) <= at then
    self:settle()
    self.metrics:applied((core.record.clock() - began) / 1e6)
  elseif self.log:any() or #self.nodes:problems() > 0 or #self.port:problems() > 0 then
    self:tell()
  end
  self.port:serve(function(path)
    return require("mncni.agent_health").answer(self, path)
  end)
  return { status = self.ready.ok and "everything stands" or self.ready.reasons[1] }
end

-- What another state needs to go on where this one is: the nodes, the policies that the cluster gave, figures, and what
-- this one listens on until it is closed.
function agent.handover()
  return {
    nodes = running.nodes:hand_over(), texts = running.next_texts or running.texts, refusals = running.refusals,
    resource_version = running.source.resource_version, metrics = running.metrics:hand_over(),
    listens = running.port:hand_over(),
  }
end

-- The host could not start another state for a reload, and this one goes on.
function agent.refused(request)
  running:refuse(running.next_texts or running.refused, request.message)
end

-- The program was told to end. What a node has stays as it is.
function agent.stop()
end

-- Closes what is open; the kernel stays as it is. Returns { changed }: whether there is reason for another reload.
function agent.close()
  local changed = running.files and running.files:changed() or false
  for _, name in ipairs { "port", "source", "multi", "host", "monitor", "files" } do
    if running[name] then
      running[name]:close()
    end
  end
  return { changed = changed }
end

return agent
