-- SPDX-License-Identifier: Apache-2.0
-- What is told to the cluster: Events, conditions and annotations of nodes.
--
-- client:event{ regarding = { kind, name, namespace, uid }, type = "Normal" | "Warning", reason, message, action } says
-- something once: what was said before with the same words raises the count of the Event that stands there. It is
-- written at once, a raised count after 10 s at the earliest; an object gets 25 Events, then one in 5 minutes, and what
-- is beyond that is dropped, as client-go does it. It is a core/v1 Event, in the namespace of the object or "default".
-- It raises nothing, for whoever tells something has other work to do: what is wrong is reported as on_error. What is not
-- UTF-8 is replaced.
-- Without a uid, that of a Node is its name: what kubelet does, and `kubectl describe node` looks for.
--
-- client:patch_node_condition{ node, type, status = "True" | "False" | "Unknown", reason, message, transition, on_done }
-- sets one condition and leaves the others; transition = false keeps the time of the last change of status. Needs the
-- right to patch nodes/status. client:patch_annotations{ path = "/api/v1/nodes/NAME", annotations, on_done } sets those
-- named, and removes those that are json.null. Both report as client:request does.

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local raised = require "mncni.raised"
local text = require "mncni.text"

local kube_event = {}

local BURST, REFILL = 25, 300000 -- Events of one object: at once, and ms for one more
local SETTLE = 10000 -- ms between two writes of one Event
local RETRY = 30000 -- ms after a write that failed; three times
local KEPT = 128 -- Events, and objects, that are remembered
local MESSAGE = 1024 -- bytes, which the API allows

local Events = {}
Events.__index = Events

local function timestamp()
  return os.date "!%Y-%m-%dT%H:%M:%SZ"
end

-- Puts something under a key, and forgets what was put there first when it gets too many.
local function remember(map, key, value)
  map[key] = value
  map[#map + 1] = key
  if #map > KEPT then
    map[table.remove(map, 1)] = nil
  end
end

function kube_event.new(client, component, instance)
  return setmetatable({
    client = client, component = component, instance = instance, known = {}, budgets = {}, dropped = 0,
  }, Events)
end

-- Whether an object may have one more Event.
function Events:allowed(object, now)
  local budget = self.budgets[object]
  if not budget then
    budget = { tokens = BURST, at = now }
    remember(self.budgets, object, budget)
  end
  budget.tokens = math.min(BURST, budget.tokens + (now - budget.at) / REFILL)
  budget.at = now
  if budget.tokens < 1 then
    self.dropped = self.dropped + 1
    return false
  end
  budget.tokens = budget.tokens - 1
  return true
end

function Events:add(args)
  arguments.check("client:event", args, { "regarding", "type", "reason", "message", "action" })
  arguments.check("regarding of client:event", args.regarding, { "kind", "name", "namespace", "uid", "apiVersion" })
  local to, now = args.regarding, self.client.now
  local object = table.concat({ to.kind, to.namespace or "", to.name }, "/")
  local kind = args.type or "Normal"
  local key = table.concat({ object, kind, args.reason, args.message }, "\0")
  local event = self.known[key]
  if event then
    event.count, event.last, event.dirty = event.count + 1, timestamp(), true
    return
  elseif not self:allowed(object, now) then
    return
  end
  local seconds = os.time()
  event = {
    count = 1, last = timestamp(), dirty = true, at = -math.huge, failed = 0,
    path = ("/api/v1/namespaces/%s/events"):format(to.namespace or "default"),
    name = ("%s.%x%08x"):format(to.name:sub(1, 230), seconds, math.floor(self.client.random() * 0xFFFFFFFF)),
    regarding = {
      kind = to.kind, name = to.name, namespace = to.namespace, apiVersion = to.apiVersion or "v1",
      uid = to.uid or to.kind == "Node" and to.name or nil,
    },
    reason = text.valid(args.reason), message = text.cut(text.valid(args.message), MESSAGE), type = kind,
    action = args.action,
  }
  event.first = event.last
  remember(self.known, key, event)
  self:write(event, now)
end

-- Sends an Event: all of it the first time, its count after that.
function Events:write(event, now)
  event.dirty, event.at, event.sending = false, now, true
  local count = event.count
  local request = { on_done = function(status, _, err) self:written(event, count, status, err) end }
  if event.there then
    request.method, request.path = "PATCH", event.path .. "/" .. event.name
    request.content_type = "application/merge-patch+json"
    request.body = { count = count, lastTimestamp = event.last }
  else
    request.method, request.path = "POST", event.path
    request.body = {
      apiVersion = "v1", kind = "Event", metadata = { name = event.name }, involvedObject = event.regarding,
      reason = event.reason, message = event.message, type = event.type, count = count, action = event.action,
      firstTimestamp = event.first, lastTimestamp = event.last,
      source = { component = self.component, host = self.instance }, reportingComponent = self.component,
      reportingInstance = self.instance,
    }
  end
  local ok, problem = raised.catch(self.client.request, self.client, request)
  if not ok then
    event.sending = false
    self.client:report("an Event could not be sent: " .. tostring(problem))
  end
end

function Events:written(event, count, status, err)
  event.sending = false
  if not err then
    event.there, event.failed, event.wait = true, 0, nil
    return
  elseif status == 404 and event.there then
    event.there, event.dirty = false, true -- it is kept for an hour only
    return
  elseif status == 409 and not event.there then
    -- An earlier attempt came through, and its answer did not.
    event.there, event.dirty, event.failed, event.wait = true, true, 0, nil
    return
  elseif status and status < 500 and status ~= 429 then
    self.client:report("an Event was refused: " .. err.message)
    return
  end
  event.failed = event.failed + 1
  if event.failed <= 3 then
    event.dirty, event.wait = true, math.max(err.retry_after or 0, RETRY)
  elseif event.count == count then
    self.client:report("an Event was given up: " .. err.message)
  end
end

-- Writes what waits; returns the ms until there is more to write.
function Events:step(now)
  local due = math.huge
  for _, key in ipairs(self.known) do
    local event = self.known[key]
    if event.dirty and not event.sending then
      local at = event.at + (event.wait or SETTLE)
      if now >= at then
        self:write(event, now)
      else
        due = math.min(due, at - now)
      end
    end
  end
  return due
end

function kube_event.patch_node_condition(client, args)
  arguments.check("client:patch_node_condition", args, {
    "node", "type", "status", "reason", "message", "transition", "on_done",
  })
  local now = timestamp()
  return client:request {
    method = "PATCH", path = ("/api/v1/nodes/%s/status"):format(args.node), on_done = args.on_done,
    -- Strategic: conditions are merged by their type. A merge patch would replace those of everybody else.
    content_type = "application/strategic-merge-patch+json",
    body = { status = { conditions = core.json.array { {
      type = args.type, status = args.status, reason = args.reason, message = args.message and text.valid(args.message),
      lastHeartbeatTime = now, lastTransitionTime = args.transition ~= false and now or nil,
    } } } },
  }
end

function kube_event.patch_annotations(client, args)
  arguments.check("client:patch_annotations", args, { "path", "annotations", "on_done" })
  return client:request {
    method = "PATCH", path = args.path, on_done = args.on_done, content_type = "application/merge-patch+json",
    body = { metadata = { annotations = args.annotations } },
  }
end

return kube_event
