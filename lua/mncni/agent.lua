-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent: follows the cluster's nodes and keeps this one as its policies say. The host (plugin/agent.c) calls
-- start once, then turn for ever; for a reload it starts another state, which takes over what this one has handed over.
--
-- A turn waits for whatever comes first (events of the kernel, of the node source, a timer), takes all of it in, and
-- then, if policies may see something new, asks them and applies the difference. All state but the nodes is found anew
-- in the kernel at each start, so that nothing depends on how the last one ended.

local core = require "mncni.core"
local config = require "mncni.agent_config"

local agent = {}

-- The longest wait of a turn, milliseconds: a turn has a limited time.
local LONGEST = 5000

-- Problems of one sort that are printed; the others are counted.
local PRINTED = 10

local Agent = {}
Agent.__index = Agent

local running -- the one agent of this state

local function now()
  return core.record.clock() // 1000
end

local function say(message, ...)
  io.stderr:write("mncni-agent: ", select("#", ...) > 0 and message:format(...) or message, "\n")
end

-- Kind of a problem -> the reason of the Event about it.
local event_reasons = { policy = "PolicyFailed", nodes = "NodeMalformed" }

-- Says it to the cluster as well, where there is one.
function Agent:event(kind, reason, message)
  if self.source and self.source.event then
    self.source:event(kind, reason, message)
  end
end

-- Problems are told when they come and when they are over, not each time.
function Agent:tell(problems)
  local told, seen, left = self.told, {}, {}
  for _, problem in ipairs(problems) do
    local id = problem.kind .. " " .. problem.key
    seen[id] = problem.message
    if told[id] ~= problem.message then
      left[problem.kind] = (left[problem.kind] or 0) + 1
      if left[problem.kind] <= PRINTED then
        say("%s %s: %s", problem.kind, problem.key, problem.message)
        self:event("Warning", event_reasons[problem.kind] or "Failed", ("%s %s: %s"):format(problem.kind, problem.key,
          problem.message))
      end
    end
  end
  for kind, count in pairs(left) do
    if count > PRINTED then
      say("%s: and %d more", kind, count - PRINTED)
    end
  end
  local over = 0
  for id in pairs(told) do
    if not seen[id] then
      over = over + 1
      if over <= PRINTED then
        say("%s: well again", id)
      end
    end
  end
  if over > PRINTED then
    say("%d more are well again", over - PRINTED)
  end
  self.told = seen
end

-- Whether everything that a pod's traffic needs stands: what concerns the whole node, and of the rest not all failed.
local blocking = { links = true, addresses = true, nft = true, sysctls = true }

local function readiness(self)
  local reasons, ok, failed = {}, self.applied, {}
  for _, problem in ipairs(self.reconciler:problems()) do
    if problem.kind ~= "files" then
      failed[problem.kind] = (failed[problem.kind] or 0) + 1
      ok = ok and not blocking[problem.kind]
      if #reasons < PRINTED then
        reasons[#reasons + 1] = ("%s %s: %s"):format(problem.kind, problem.key, problem.message)
      end
    end
  end
  for kind, count in pairs(failed) do
    ok = ok and count < self.reconciler.keepers[kind]:wanted()
  end
  if not self.applied then
    reasons[1] = "nothing has been applied yet"
  end
  return { ok = ok, reasons = reasons }
end

local function sorted_peers(self)
  if not self.peers then
    local peers = {}
    for name, one in pairs(self.nodes) do
      if name ~= self.conf.node then
        peers[#peers + 1] = one
      end
    end
    table.sort(peers, function(a, b) return a.name < b.name end)
    self.peers = peers
  end
  return self.peers
end

function Agent:world()
  local own = self.nodes[self.conf.node]
  return {
    node = own, peers = sorted_peers(self), reach = self.reach:table(self.nodes), underlay = self.reach:underlay(own),
    gateway = self.reach:gateway(), ready = self.ready,
  }
end

-- Asks the policies and takes what they want. Raises as Policies:desired.
function Agent:evaluate()
  local wanted, problems = self.policies:desired(self:world())
  self.policy_problems = problems
  self.reconciler:want(wanted)
  self.wanted_node = wanted.node
  self.changed = false
end

-- A list of nodes without this node in it is not believed, and before there was one, nothing is removed.
local function believed(self)
  if not self.nodes then
    return false, "there has been no complete list of nodes yet"
  elseif not self.nodes[self.conf.node] then
    return false, ("there is no node %q in the list of nodes, so it is not believed; is that this node's name?"):format(
      self.conf.node)
  end
  return true
end

local function same_ready(a, b)
  return a.ok == b.ok and table.concat(a.reasons, "\n") == table.concat(b.reasons, "\n")
end

local function source_problems(self)
  local list = {}
  for _, problems in ipairs { self.source_failed, self.malformed } do
    for key, message in pairs(problems) do
      list[#list + 1] = { kind = "nodes", key = key, message = message }
    end
  end
  table.sort(list, function(a, b) return a.key < b.key end)
  return list
end

-- Brings the node up to date with what is known. What policies see includes whether it stands, so it may take two rounds.
-- With strict, a policy that gives no first answer is raised.
function Agent:settle(strict)
  local ok, why = believed(self)
  local problems = source_problems(self)
  if not ok then
    problems[#problems + 1] = { kind = "nodes", key = self.conf.node, message = why }
    self:tell(problems)
    return
  end
  for _ = 1, 3 do
    if self.changed then
      local fine, err = pcall(self.evaluate, self)
      if not fine and strict then
        error(err, 0)
      elseif not fine then
        self.policy_problems, self.changed = { { kind = "policy", key = "result", message = tostring(err) } }, false
      end
    end
    if not self.wanted_node then
      break -- no policy has said yet what should be
    end
    self.reconciler:apply(now())
    self.applied = true
    local ready = readiness(self)
    if same_ready(ready, self.ready) then
      break
    end
    self.ready, self.changed = ready, true
  end
  for _, list in ipairs { self.policy_problems, self.reconciler:problems(), self.source:problems() } do
    table.move(list, 1, #list, #problems + 1, problems)
  end
  self:tell(problems)
  self.source:publish(self.wanted_node or { conditions = {}, annotations = {} })
end

-- Takes a node that is new or may be another one now. Policies cannot tell most changes, which are heartbeats.
function Agent:put_node(one)
  local before = self.nodes[one.name]
  self.malformed[one.name] = nil
  if not before or not require("mncni.node").same(before, one) then
    self.nodes[one.name], self.peers, self.changed = one, nil, true
    self.reach:changed(one.name)
  end
end

function Agent:drop_node(name)
  if self.nodes[name] and name ~= self.conf.node then
    self.nodes[name], self.peers, self.changed = nil, nil, true
    self.reach:changed(name)
  end
  self.malformed[name] = nil
end

-- Notes a node that cannot be understood: until it can, it stays what it was.
function Agent:skip_node(name, reason)
  self.malformed[name] = reason .. (self.nodes and self.nodes[name] and "; it stays what it was" or "; it is left out")
end

-- Takes a complete list: name -> node. Returns false and why when it is not believed.
function Agent:replace_nodes(nodes, malformed)
  local own = self.conf.node
  if self.nodes and self.nodes[own] and not nodes[own] then
    return false, ("there is no node %q in the list; what was known before stays"):format(own)
  end
  local before = self.nodes or {}
  self.nodes, self.malformed, self.changed = self.nodes or {}, {}, self.changed or self.nodes == nil
  for i, bad in ipairs(malformed) do
    self:skip_node(bad.name or ("item " .. i), bad.reason)
    if bad.name then
      nodes[bad.name] = nodes[bad.name] or before[bad.name]
    end
  end
  for _, one in pairs(nodes) do
    local reason = self.malformed[one.name]
    self:put_node(one)
    self.malformed[one.name] = reason
  end
  for _, name in ipairs(require("mncni.keys")(before)) do
    if not nodes[name] then
      self:drop_node(name)
    end
  end
  return true
end

-- What the node source calls.
local function handler_of(self)
  return {
    list = function(nodes, malformed)
      local ok, why = self:replace_nodes(nodes, malformed)
      self.source_failed.list = why
      return ok, why
    end,
    changed = function(one)
      self.source_failed.list = nil
      self:put_node(one)
    end,
    deleted = function(name)
      self:drop_node(name)
    end,
    malformed = function(name, reason)
      self:skip_node(name, reason)
    end,
    failed = function(message, _, what)
      self.source_failed[what or "list"] = message .. "; what was known before stays"
    end,
    policies = function(texts)
      local same = require("mncni.node").same
      self.next_texts = not same(texts, self.texts or {}) and not same(texts, self.refused or {}) and texts or nil
    end,
  }
end

local function open_source(self, handover)
  local handler = handler_of(self)
  if self.conf.nodes_file then
    return require("mncni.nodes_file").new(self.conf.nodes_file, handler)
  end
  return require("mncni.nodes_kube").new {
    multi = self.multi, node = self.conf.node, kubernetes = self.conf.kubernetes, configmap = self.conf.configmap,
    handler = handler, resource_version = self.nodes and handover.resource_version or nil,
  }
end

-- Follows the files that a reload reads: the configuration, and the directories of policies.
local function follow_files(self)
  self.inotify, self.followed = core.inotify(), {}
  for _, path in ipairs(self.conf.files) do
    local directory, name = path:match "^(.*)/([^/]*)$"
    local watch = self.inotify:add(directory == "" and "/" or directory or ".")
    if watch then
      self.followed[watch] = { [name or path] = true }
    end
  end
  for _, directory in ipairs(core.policy.directories()) do
    local watch = self.inotify:add(directory)
    if watch then
      self.followed[watch] = self.followed[watch] or {}
      setmetatable(self.followed[watch], { __index = function(_, name) return name:find "%.lua$" ~= nil end })
    end
  end
end

-- Whether one of them was changed.
local function files_changed(self)
  local any = false
  for _, event in ipairs(self.inotify:read()) do
    local names = self.followed[event.watch]
    any = any or event.overflow or names ~= nil and event.name ~= nil and names[event.name] == true
  end
  return any
end

-- What is to be printed of a plan: lines of ip, bridge, nft and sysctl.
local function plan_lines(plan)
  local print_lines = require "mncni.print"
  local lines = {}
  for _, step in ipairs(plan) do
    if step.kind == "files" then
      lines[#lines + 1] = ("write %s (%d bytes)"):format(step.args.path, #step.args.content)
    elseif step.object == "nft" then
      for _, item in ipairs(step.args) do
        for _, line in ipairs(print_lines.commands(item[1], "nft_" .. item[2]:gsub("^nft_", ""), item[3])) do
          lines[#lines + 1] = line
        end
      end
    else
      for _, line in ipairs(print_lines.commands(step.verb, step.object, step.args)) do
        lines[#lines + 1] = line
      end
    end
  end
  return table.concat(lines, "\n")
end

local function new_agent(conf, handover)
  local host = require("mncni.net").open()
  local self = setmetatable({
    conf = conf, host = host, told = {}, applies = 0, applied = false, changed = true, policy_problems = {},
    ready = { ok = false, reasons = { "nothing has been applied yet" } }, source_failed = {}, malformed = {},
    texts = handover.texts,
  }, Agent)
  self.policies = require("mncni.agent_policies").load(conf.policies, handover.texts)
  self.multi = require("mncni.http").multi()
  self.monitor = host:monitor { "link", "addr", "route", "rule", "neigh", "fdb" }
  self.monitor:leave_out(host:socket("route"):portid())
  self.reconciler = require("mncni.reconcile").new { host = host }
  self.reconciler:resync()
  self.reach = require("mncni.reach").new(host, self.reconciler.names, { probes = not conf.dry_run })
  self.resynced = now()
  if handover.nodes then
    local nodes = {}
    for _, fields in ipairs(handover.nodes) do
      nodes[fields.name] = require("mncni.node").new(fields)
    end
    self:replace_nodes(nodes, {})
  end
  self.source = open_source(self, handover)
  follow_files(self)
  return self
end

-- Takes in everything that has come. Returns whether something is to be done.
local function take_in(self)
  local dirty = false
  while true do
    local event = self.monitor:next(0)
    if not event then
      break
    end
    if event.object ~= "fdb" and self.reach:event(event) then
      self.changed, dirty = true, true
    end
    dirty = self.reconciler:event(event) or dirty
  end
  self.source_due = self.source:step(now())
  return dirty or self.changed
end

-- Milliseconds until something is to be done even if nothing comes.
local function wait_time(self)
  local at = now()
  local due = math.min(self.source_due or at, self.resynced + self.conf.resync, self.reach:probe(at))
  if self.applied then
    due = math.min(due, self.reconciler:due(at))
  end
  return math.max(0, math.min(due - at, LONGEST))
end

-- Whether a file cannot be read, which waiting does not cure.
local function conf_failed(self)
  return self.conf.nodes_file and next(self.source_failed)
end

local function run_once(self)
  local deadline = now() + 30000
  repeat
    take_in(self)
    if not self.nodes then
      self.multi:poll(self.source:fds(), 200)
    end
  until self.nodes or conf_failed(self) or now() > deadline
  local ok, why = believed(self)
  if not ok then
    local _, failed = next(self.source_failed)
    return { status = 1, stderr = "mncni-agent: " .. (failed or why) }
  end
  self:evaluate()
  if self.conf.dry_run then
    -- What depends on how things stand is planned as if all of it could be done.
    self.ready = { ok = true, reasons = {} }
    self:evaluate()
    local text = plan_lines(self.reconciler:plan(now()))
    self:tell(self.reconciler:problems())
    return { status = 0, stdout = text ~= "" and text or nil }
  end
  self:settle()
  local problems = #self.reconciler:problems() + #self.policy_problems
  return { status = problems > 0 and 1 or 0 }
end

-- start{ words, handover } reads the configuration, loads the policies and looks at the kernel; with what another state
-- has handed over it also applies it. Returns { running = true }, or { status, stdout, stderr } when that was all.
-- Raises what is wrong.
function agent.start(request)
  local conf = config.read(request.words)
  if conf.help then
    return { status = 0, stdout = config.HELP }
  elseif conf.version then
    return { status = 0, stdout = core.version }
  end
  running = new_agent(conf, request.handover or {})
  if conf.once or conf.dry_run then
    return run_once(running)
  end
  take_in(running)
  if conf.nodes_file and not running.nodes then
    local _, failed = next(running.source_failed)
    error(core.error { code = 7, message = (failed or "no nodes"):gsub("; what was known.*", "") }, 0)
  end
  if believed(running) then
    running:settle(true)
  end
  return { running = true }
end

-- turn{ fds } waits for something to happen, on those descriptors of the host too, and deals with it. Returns { reload,
-- ready }: whether the host is to start another state, and whether everything stands.
function agent.turn(request)
  local self = running
  local fds = self.source:fds()
  table.move(request.fds, 1, #request.fds, #fds + 1, fds)
  fds[#fds + 1], fds[#fds + 2] = self.monitor:fd(), self.inotify:fd()
  self.multi:poll(fds, wait_time(self))
  local dirty = take_in(self)
  if files_changed(self) or self.next_texts then
    return { reload = true }
  end
  local at = now()
  if at - self.resynced >= self.conf.resync then
    self.reconciler.stale, self.resynced, dirty = true, at, true
    self.reach:forget()
    self.changed = true
  end
  if dirty or self.reconciler:due(at) <= at or next(self.source_failed) or next(self.malformed) or next(self.told) then
    self:settle()
  end
  return { ready = self.applied and self.ready.ok or false }
end

-- What another state needs to go on without a list of its own: the nodes.
function agent.handover()
  local nodes = {}
  for _, one in pairs(running.nodes or {}) do
    local cidrs = {}
    for i, cidr in ipairs(one.pod_cidrs) do
      cidrs[i] = tostring(cidr)
    end
    nodes[#nodes + 1] = {
      name = one.name, uid = one.uid, addresses = core.json.array(one.addresses), pod_cidrs = core.json.array(cidrs),
      labels = one.labels, annotations = one.annotations, provider_id = one.provider_id,
    }
  end
  return {
    nodes = running.nodes and core.json.array(nodes) or nil, texts = running.next_texts or running.texts,
    resource_version = running.source.resource_version,
  }
end

-- The host could not start another state for a reload, and this one goes on.
function agent.refused(request)
  -- Texts that were refused are not tried again until they change once more.
  running.refused, running.next_texts = running.next_texts or running.refused, nil
  running.refusals = (running.refusals or 0) + 1
  say("reload refused, going on as before: %s", request.message)
  running:event("Warning", "ReloadRefused", request.message)
end

-- Closes what is open; the kernel stays as it is.
function agent.close()
  running.source:close()
  running.multi:close()
  running.host:close()
  running.monitor:close()
  running.inotify:close()
end

return agent
