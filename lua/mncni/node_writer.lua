-- SPDX-License-Identifier: Apache-2.0
-- Writes the ranges that policies give to nodes, as kube-controller-manager does: podCIDR and podCIDRs in one patch.
--
-- What is to be written to a node is a promise: it counts as taken, and stays the same, until the node has a range or is
-- gone, or the API has found it invalid, for the outcome of a write may be unknown. A patch carries the node's uid and the
-- resourceVersion that the policy has seen, so that the API refuses it when anybody else was faster; the API never changes
-- a range that is there.
--
-- A write that fails because of its node is tried again by and by; one that fails for all (no answer, no right, too many)
-- holds up all others, and one at a time tries whether it is over.

local core = require "mncni.core"
local sorted_keys = require "mncni.keys"

local node_writer = {}

local AT_ONCE = 8 -- writes on their way
local FIRST, MOST = 1000, 30000 -- ms of back-off
local CONFLICT = 100 -- ms until the watch has what we did not know
local INVALID = 60000 -- ms after the API has found a range invalid
local SAID = 50 -- ms between two Events
local KEPT, REMEMBERED = 86400, 1000 -- seconds, and number, of released ranges

local Writer = {}
Writer.__index = Writer

-- new{ client, fresh, versions, before }: fresh() returns whether we lead, and how many ms a write may take; versions is
-- name -> resourceVersion as it was seen last; before is what hand_over of another state's has returned.
function node_writer.new(args)
  local before = args.before or {}
  local self = setmetatable({
    client = args.client, fresh = args.fresh, versions = args.versions, had = before.had or {}, jobs = {}, order = {},
    released = before.released or {}, flying = 0, pause = 0, hold = -math.huge, queue = {}, said_at = -math.huge,
    told = before.told or {}, counts = before.counts or { assigned = 0, failed = {} }, events = {},
  }, Writer)
  for name, job in pairs(before.jobs or {}) do
    self.jobs[name] = { name = name, uid = job.uid, cidrs = core.json.array(job.cidrs), sent = true, at = 0, tries = 0 }
  end
  return self
end

local function texts_of(one)
  local texts = core.json.array {}
  for i, cidr in ipairs(one and one.pod_cidrs or {}) do
    texts[i] = tostring(cidr)
  end
  return texts
end

-- Notes that a node is new, gone, or another one (nil: it is gone); wall: seconds since 1970.
function Writer:seen(name, one, wall)
  local texts, stays = texts_of(one), {}
  for _, text in ipairs(texts) do
    stays[text] = true
  end
  for _, text in ipairs(self.had[name] or {}) do
    if not stays[text] then
      for i = #self.released, 1, -1 do
        if self.released[i].cidr == text then
          table.remove(self.released, i)
        end
      end
      table.insert(self.released, { cidr = text, at = wall })
    end
  end
  self.had[name] = #texts > 0 and texts or nil
  local job = self.jobs[name]
  if job and (not one or one.uid ~= job.uid or #texts > 0) then
    -- One that is on its way may still arrive, at a node that it is not for: the API then refuses it.
    self.jobs[name] = nil
  end
  while #self.released > 0 and (#self.released > REMEMBERED or self.released[1].at < wall - KEPT) do
    table.remove(self.released, 1)
  end
end

-- What a policy is to count as taken: name -> texts.
function Writer:promised()
  local map = {}
  for name, job in pairs(self.jobs) do
    map[name] = not job.invalid and job.cidrs or nil
  end
  return map
end

-- Ranges that lie apart, in their order.
local function apart(list)
  table.sort(list)
  local kept = {}
  for _, cidr in ipairs(list) do
    if not kept[#kept] or not kept[#kept]:overlaps(cidr) then
      kept[#kept + 1] = cidr
    end
  end
  return kept
end

-- Where a range belongs in such a list, and what of it it overlaps, if anything.
local function place(list, cidr)
  local low, high = 1, #list + 1
  while low < high do
    local middle = (low + high) // 2
    if list[middle] < cidr then
      low = middle + 1
    else
      high = middle
    end
  end
  for _, other in ipairs { list[low - 1] or false, list[low] or false } do
    if other and other:overlaps(cidr) then
      return low, other
    end
  end
  return low
end

-- Takes what policies give: name -> { pod_cidrs, events }, among all nodes that are known. Whatever they say, no two
-- nodes get the same.
function Writer:want(nodes, known)
  local held = {}
  for _, one in pairs(known) do
    table.move(one.pod_cidrs, 1, #one.pod_cidrs, #held + 1, held)
  end
  for _, job in pairs(self.jobs) do
    for _, text in ipairs(job.invalid and {} or job.cidrs) do
      held[#held + 1] = core.cidr(text)
    end
  end
  held = apart(held)
  self.refused, self.events = {}, {}
  for _, name in ipairs(sorted_keys(nodes)) do
    local one, given = known[name], nodes[name]
    self.events[name] = one and given.events or nil
    local job = self.jobs[name]
    if one and given.pod_cidrs and (not job or job.invalid) and #one.pod_cidrs == 0 then
      local clash
      for _, text in ipairs(given.pod_cidrs) do
        local _, other = place(held, core.cidr(text))
        clash = clash or other and ("%s overlaps %s, which is another node's"):format(text, tostring(other))
      end
      if clash then
        self.refused[name] = clash
      else
        for _, text in ipairs(given.pod_cidrs) do
          local cidr = core.cidr(text)
          table.insert(held, (place(held, cidr)), cidr)
        end
        job = job or { name = name, uid = one.uid, at = 0, tries = 0 }
        job.cidrs, job.invalid, self.jobs[name] = given.pod_cidrs, nil, job
      end
    end
  end
  self.order, self.known, self.news = sorted_keys(self.jobs), known, true
end

-- Queues an Event about a node, unless the same was said of it and is not over.
local function say(self, name, uid, event)
  local id = ("%s %s %s"):format(name, uid or "", event.reason)
  if not self.told[id] then
    table.insert(self.queue, { name = name, event = event })
  end
  self.told[id] = true
  return id
end

local function status_event(name, reason, message)
  return { type = "Normal", reason = reason, message = ("Node %s status is now: %s: %s"):format(name, reason, message) }
end

-- Says what is new of what policies and the API have found wrong with nodes.
local function tell(self)
  local now = {}
  self.news = false
  for name, events in pairs(self.events) do
    for _, event in ipairs(events) do
      if event.reason == "CIDRNotAvailable" then
        event = status_event(name, event.reason, event.message)
      end
      now[say(self, name, self.known[name].uid, event)] = true
    end
  end
  for name, job in pairs(self.jobs) do
    if job.problem then
      now[say(self, name, job.uid, status_event(name, "CIDRAssignmentFailed", job.problem))] = true
    end
  end
  for id in pairs(self.told) do
    self.told[id] = now[id]
  end
end

local function back_off(self, milliseconds)
  return math.floor(milliseconds * (0.5 + 0.5 * self.client.random()))
end

-- A patch was refused, or has no answer.
local function failed(self, job, status, err)
  local reason = err.name or status and ("HTTP %d"):format(status) or "none"
  local now = self.client.now
  self.counts.failed[reason] = (self.counts.failed[reason] or 0) + 1
  job.tries = job.tries + 1
  if status == 404 then
    job.at = now + FIRST -- the watch will tell that it is gone
  elseif status == 409 then
    -- Another resourceVersion. A node that is refused for long says why.
    job.at = now + back_off(self, math.min(CONFLICT << math.min(job.tries - 1, 8), MOST))
    job.problem = job.tries > 5 and err.message or nil
  elseif status and status < 500 and status ~= 401 and status ~= 403 and status ~= 429 then
    job.at, job.problem, job.invalid = now + INVALID, err.message, true -- the policy may think of another one
  else
    job.problem = err.message
    if now >= self.hold then -- not yet by one that was on its way with this one
      self.pause = math.min(self.pause > 0 and self.pause * 2 or FIRST, MOST)
      self.hold = now + math.max(err.retry_after or 0, back_off(self, self.pause))
    end
    job.at = self.hold
  end
end

local function patch(self, job, patience)
  job.flying, job.sent, self.flying = true, true, self.flying + 1
  job.call = self.client:request {
    method = "PATCH", path = "/api/v1/nodes/" .. job.name, content_type = "application/strategic-merge-patch+json",
    timeout = math.max(1, math.floor(patience)),
    body = {
      metadata = { uid = job.uid, resourceVersion = self.versions[job.name] },
      spec = { podCIDR = job.cidrs[1], podCIDRs = job.cidrs },
    },
    on_done = function(status, _, err)
      job.flying, self.flying, self.news = false, self.flying - 1, true
      if err then
        return failed(self, job, status, err)
      end
      self.counts.assigned = self.counts.assigned + 1
      self.pause, self.hold = 0, -math.huge
      -- It stays promised until the watch shows it.
      job.done, job.problem, job.tries = true, nil, 0
    end,
  }
end

-- Writes what is due, and only while we lead for sure. Returns how many ms later it wants to be called at the latest.
function Writer:step(now)
  local due = math.huge
  if self.news then
    tell(self)
  end
  local event = self.queue[1]
  if event and now >= self.said_at + SAID then
    table.remove(self.queue, 1)
    self.said_at = now
    self.client:event {
      regarding = { kind = "Node", name = event.name }, type = event.event.type, reason = event.event.reason,
      message = event.event.message, action = "AssignRange",
    }
  end
  if self.queue[1] then
    due = self.said_at + SAID - now
  end
  for _, name in ipairs(self.order) do
    local job = self.jobs[name]
    if job and not (job.done or job.flying or job.invalid) and self.versions[name] then
      local at = math.max(job.at, self.hold)
      if now < at then
        due = math.min(due, at - now)
      elseif self.flying < (self.pause > 0 and 1 or AT_ONCE) then
        local fresh, patience = self.fresh()
        if not fresh then
          return due
        end
        patch(self, job, patience)
      end
    end
  end
  return math.max(0, due)
end

-- Whether nothing is to be written any more.
function Writer:idle()
  for _, job in pairs(self.jobs) do
    if not job.done then
      return false
    end
  end
  return #self.queue == 0
end

-- What is wrong, as a list of { kind = "ranges", key, message }; the nodes have it as Events.
function Writer:problems()
  local list = {}
  for name, events in pairs(self.events) do
    for _, event in ipairs(events) do
      list[#list + 1] = {
        kind = "ranges", key = ("%s %s"):format(name, event.reason), message = event.message, quiet = true,
      }
    end
  end
  for name, job in pairs(self.jobs) do
    if job.problem then
      list[#list + 1] = { kind = "ranges", key = name, message = job.problem, quiet = true }
    end
  end
  for name, message in pairs(self.refused or {}) do
    list[#list + 1] = { kind = "ranges", key = name .. " refused", message = "not given: " .. message }
  end
  table.sort(list, function(a, b) return a.key < b.key end)
  return list
end

-- Of nodes with something wrong, how many there are: reason -> number.
function Writer:figures()
  local count = {}
  for _, events in pairs(self.events) do
    for _, event in ipairs(events) do
      count[event.reason] = (count[event.reason] or 0) + 1
    end
  end
  return count
end

-- Ends what is on its way.
function Writer:close()
  for _, job in pairs(self.jobs) do
    if job.flying then
      job.call:close()
    end
  end
end

-- What another state needs to go on; see new.
function Writer:hand_over()
  local jobs = {}
  for name, job in pairs(self.jobs) do
    jobs[name] = not job.invalid and { uid = job.uid, cidrs = job.cidrs } or nil
  end
  return { had = self.had, released = self.released, told = self.told, counts = self.counts, jobs = jobs }
end

return node_writer
