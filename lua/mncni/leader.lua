-- SPDX-License-Identifier: Apache-2.0
-- Leader election on a Lease (coordination.k8s.io/v1), as client-go does it: of several that run, one leads. Nothing here
-- waits; the loop that steps the client steps this too.
--
--   local election = leader.new { client = client, namespace = "kube-system", name = "x", identity = "host_uuid",
--     on_change = function(leads, memo) ... end }
--   election:step(now); if election:fresh(now) then write() end
--
-- What is in the Lease is read and compared, but its times are another machine's and are never compared with ours: a
-- leader is gone when its record has stood still for lease_duration, by our own clock, since we saw it change. Who leads
-- stops on its own when it could not renew for renew_deadline, counted from before the request that renewed last was
-- sent: that is earlier than anybody else can take over. Between the two lies the time that a write may still take.
--
-- The leader may leave a memo for the next one, as an annotation of the Lease.

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local same = require "mncni.same"

local leader = {}

local JITTER = 1.2 -- client-go's: a candidate asks every 1 to 2.2 retry periods
local ANNOTATION = "mncni/memo"

local Leader = {}
Leader.__index = Leader

local offset -- of the time of day from core.record.clock, microseconds

-- Microseconds since 1970: os.time has seconds alone.
local function time_of_day()
  local clock, seconds = core.record.clock(), os.time()
  if not offset or math.abs((clock + offset) // 1000000 - seconds) > 1 then
    offset = seconds * 1000000 - clock
  end
  return clock + offset
end

-- A MicroTime of the API: always six digits.
function leader.micro_time(microseconds)
  return os.date("!%Y-%m-%dT%H:%M:%S", microseconds // 1000000) .. (".%06dZ"):format(microseconds % 1000000)
end

-- new{ client, namespace, name, identity, on_change, ... }: on_change(leads, memo) is called when we begin and when we
-- cease to lead, with what the leader before us left, or nil. And: lease_duration (15000), renew_deadline (10000),
-- retry_period (2000), in ms; memo() returns what to leave, a text; before is what hand_over of another state's returned;
-- random and time_of_day, for specs.
function leader.new(args)
  arguments.check("leader.new", args, {
    "client", "namespace", "name", "identity", "on_change", "lease_duration", "renew_deadline", "retry_period", "memo",
    "before", "random", "time_of_day",
  })
  local base = ("/apis/coordination.k8s.io/v1/namespaces/%s/leases"):format(args.namespace)
  local before = args.before or {}
  return setmetatable({
    client = args.client, base = base, path = base .. "/" .. args.name, name = args.name, namespace = args.namespace,
    identity = before.identity or args.identity, on_change = args.on_change, memo = args.memo,
    lease_duration = args.lease_duration or 15000, renew_deadline = args.renew_deadline or 10000,
    retry_period = args.retry_period or 2000, random = args.random or math.random,
    time_of_day = args.time_of_day or time_of_day,
    leads = before.leads or false, renewed = before.renewed, spec = before.spec, observed = before.observed,
    looked = before.looked, at = -math.huge,
  }, Leader)
end

-- Whether we lead, and may say so to the API: what is checked before each write. Returns as well how many ms a write may
-- take before another one could lead.
function Leader:fresh(now)
  local fresh = self.leads and now < self.renewed + self.renew_deadline
  return fresh, fresh and self.renewed + self.lease_duration - now or 0
end

-- Who leads, as far as is known; "" when nobody does.
function Leader:holder()
  return self.spec and self.spec.holderIdentity or ""
end

-- Notes the record that is in the Lease, and when it became another one.
local function observe(self, object, now)
  local spec = type(object.spec) == "table" and object.spec or {}
  self.looked, self.problem = now, nil
  if not self.spec or not same(self.spec, spec) then
    self.spec, self.observed = spec, now
  end
end

local function change(self, leads, memo)
  if self.leads ~= leads then
    self.leads = leads
    self.on_change(leads, memo)
  end
end

-- Ends a try. What comes next is a retry period away, for candidates more or less.
local function over(self, err)
  self.busy = nil
  self.problem = err and err.message
  local period = self.retry_period
  self.at = self.client.now + (self.leads and period or period * (1 + self.random() * JITTER))
end

-- The record that makes us the leader, or keeps us so.
local function record(self, old)
  local now, mine = leader.micro_time(self.time_of_day()), old.holderIdentity == self.identity
  return {
    holderIdentity = self.identity, leaseDurationSeconds = self.lease_duration // 1000, renewTime = now,
    acquireTime = mine and old.acquireTime or now,
    leaseTransitions = mine and old.leaseTransitions or (old.leaseTransitions or -1) + 1,
  }
end

-- Writes a Lease; began is when the try began.
local function write(self, object, method, path, began)
  local memo = self.leads and self.memo and self.memo()
  local metadata = object.metadata
  metadata.annotations = metadata.annotations or {}
  local left = metadata.annotations[ANNOTATION]
  metadata.annotations[ANNOTATION] = memo or left
  object.spec = record(self, object.spec or {})
  self.busy = self.client:request {
    method = method, path = path, body = object, timeout = self.patience,
    on_done = function(_, written, err)
      if not err then
        observe(self, written, self.client.now)
        self.renewed = began
        change(self, true, left)
      end
      over(self, err)
    end,
  }
end

-- What to do about the Lease as it is.
local function decide(self, object, began)
  local now, holder = self.client.now, object.spec and object.spec.holderIdentity or ""
  observe(self, object, now)
  if holder ~= "" and holder ~= self.identity and now < self.observed + self.lease_duration then
    change(self, false)
    over(self)
  else
    write(self, object, "PUT", self.path, began)
  end
end

-- One try to become the leader, or to stay it.
local function try(self, now)
  local left = self.leads and self.renewed + self.renew_deadline - now or self.renew_deadline
  self.patience = math.max(1, math.floor(left))
  self.busy = self.client:request {
    path = self.path, timeout = self.patience,
    on_done = function(status, object, err)
      if status == 404 then
        write(self, { metadata = { name = self.name, namespace = self.namespace } }, "POST", self.base, now)
      elseif err then
        over(self, err)
      else
        decide(self, object, now)
      end
    end,
  }
end

-- Does what there is to do; to be called after client:step. Returns how many ms later it wants to be called at the latest.
function Leader:step(now)
  if self.leads and not self:fresh(now) then
    if self.busy then
      self.busy:close()
      self.busy = nil
    end
    self.at = now
    change(self, false)
  end
  if not self.busy and not self.released and now >= self.at then
    try(self, now)
  end
  local due = self.busy and self.patience or self.at - now
  if self.leads then
    due = math.min(due, self.renewed + self.renew_deadline - now)
  end
  return math.max(0, due)
end

-- Whether we have seen the Lease lately; else why not.
function Leader:well(now)
  if self.looked and now < self.looked + self.lease_duration then
    return true
  end
  return false, self.problem or "the Lease has not been read yet"
end

-- Gives the lead up, so that another one need not wait; on_done is called when that is written, or cannot be.
function Leader:release(on_done)
  if self.busy then
    self.busy:close()
    self.busy = nil
  end
  self.released = true
  if not self.leads then
    return on_done()
  end
  local memo = self.memo and self.memo()
  change(self, false)
  self.client:request {
    path = self.path, timeout = self.retry_period,
    on_done = function(_, object, err)
      if err or object.spec.holderIdentity ~= self.identity then
        return on_done(err)
      end
      local now = leader.micro_time(self.time_of_day())
      object.spec = {
        holderIdentity = "", leaseDurationSeconds = 1, renewTime = now, acquireTime = now,
        leaseTransitions = object.spec.leaseTransitions,
      }
      object.metadata.annotations = object.metadata.annotations or {}
      object.metadata.annotations[ANNOTATION] = memo
      self.client:request {
        method = "PUT", path = self.path, body = object, timeout = self.retry_period,
        on_done = function(_, _, failed) on_done(failed) end,
      }
    end,
  }
end

-- What another state of this program needs to go on as the same candidate, or leader.
function Leader:hand_over()
  return {
    identity = self.identity, leads = self.leads, renewed = self.renewed, spec = self.spec, observed = self.observed,
    looked = self.looked,
  }
end

return leader
