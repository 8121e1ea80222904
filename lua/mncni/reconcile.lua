-- SPDX-License-Identifier: Apache-2.0
-- Makes a node what its policies say: desired state against the kernel's, and the difference applied.
--
--   local reconciler = reconcile.new { host = mncni.open(), log = print }
--   reconciler:resync()                    -- what is there and ours
--   reconciler:want(desired)               -- what should be, as mncni.merge returns it
--   reconciler:apply(now)                  -- makes it so; again and again, as events and timers ask
--   reconciler:event(event)                -- what a monitor of the host tells
--
-- Each sort of object is kept by a keeper (mncni.keeper and its like), which knows what is wanted, what is there,
-- what may differ (dirty) and what could not be done (failed, tried again later). Keepers only ever change or remove
-- what carries our mark; something foreign where ours should be is a conflict, which is told and left alone.
-- New things are made and changed in the order below, and what is no longer wanted is removed last, in reverse: a
-- route is replaced, or its successor made, before anything that it replaces goes.

local kinds = require "mncni.keeper_kinds"

local reconcile = {}

local Reconciler = {}
Reconciler.__index = Reconciler

-- Milliseconds between two looks at what tells nothing of its changes: nftables, sysctls, files.
reconcile.POLL = 10000

-- Kinds of desired state in the order in which they are made.
reconcile.KINDS = { "sysctls", "nft", "links", "addresses", "neighbours", "fdb", "routes", "rules", "files" }

local function make_keeper(kind, host, names)
  local polled = require("mncni.keeper_polls")[kind]
  if polled then
    return require("mncni.keeper_polled").new(polled, host)
  end
  return require("mncni.keeper").new(kind, host, names)
end

-- new{ host = net } makes a reconciler; nothing is read yet.
function reconcile.new(args)
  local self = setmetatable({ host = args.host, names = require("mncni.link_names").new(args.host), keepers = {} },
    Reconciler)
  for i, kind in ipairs(reconcile.KINDS) do
    local keeper = make_keeper(kind, args.host, self.names)
    keeper.kind = kind
    self.keepers[i], self.keepers[kind] = keeper, keeper
  end
  return self
end

-- Reads what is there of all kinds. What cannot be read is raised.
function Reconciler:resync()
  self.used = nil
  self.names:resync()
  for _, keeper in ipairs(self.keepers) do
    keeper:resync()
  end
end

-- Takes the desired state as mncni.merge returns it: kind -> key -> object. Returns whether anything is to be done.
function Reconciler:want(desired)
  self.used = nil
  self.names.claimed = desired.links or {}
  local dirty = false
  for _, keeper in ipairs(self.keepers) do
    dirty = keeper:want(desired[keeper.kind] or {}) or dirty
  end
  return dirty
end

-- What goes without a word, or with its link.
local ON_LINKS = { "addresses", "neighbours", "fdb", "routes" }

-- The names of links, and the source addresses, that what is wanted or ours depends on; and whether something may depend
-- on any link, because it does not say on which.
local function dependencies(self)
  if not self.used then
    self.used, self.uses_any = {}, false
    for _, kind in ipairs(ON_LINKS) do
      local keeper = self.keepers[kind]
      for key, want in pairs(keeper.wants) do
        local have = keeper.have[key]
        local dev = want.dev or have and have.dev
        self.uses_any = self.uses_any or not dev and want.gateway ~= nil
        self.used[dev or ""], self.used[want.prefsrc or ""] = true, true
      end
      for _, have in pairs(keeper.have) do
        self.used[have.dev or ""] = true
      end
    end
    self.used[""] = nil
  end
  return self.used
end

-- Whether something of ours may depend on a link. Ports of bridges carry nothing but their bridge's.
local function matters(self, link)
  local used = dependencies(self)
  return used[link.ifname] or link.group == kinds.GROUP or self.names.claimed and self.names.claimed[link.ifname] ~= nil
    or self.uses_any and not link.master
end

-- What an event means for the kinds that it is not itself about: the names of links whose objects are to be read anew,
-- or nil. IPv4 routes go without a word when their device or the address they start from goes.
local function shakes(self, event)
  local value = event.value
  if event.object == "link" then
    local known = self.names.index[value.ifindex]
    if self.names:shaken(event) and (matters(self, value) or known and matters(self, known)) then
      return { value.ifname, known and known.ifname }
    end
  elseif event.object == "addr" and event.event == "del" then
    local link = self.names.name[value.dev] or { ifname = value.dev }
    if matters(self, link) or dependencies(self)[(value.address or ""):match "^[^/]*"] then
      return { value.dev }
    end
  end
end

-- Takes an event of a monitor. Returns whether there is something to do now.
function Reconciler:event(event)
  if event.event == "overrun" then
    self.stale = true
    return true
  end
  local shaken = shakes(self, event)
  if event.object == "link" then
    self.names:event(event)
  end
  local dirty = shaken ~= nil
  for _, keeper in ipairs(self.keepers) do
    dirty = keeper:event(event) or dirty
  end
  for _, name in ipairs(shaken or {}) do
    self.shaken = self.shaken or {}
    self.shaken[name] = true
  end
  return dirty
end

-- Removals come last and backwards. In a dry run nothing is sent, and the operations are returned.
local function each(self, stage, now, plan)
  local changed = 0
  local first, last, step = 1, #self.keepers, 1
  if stage == "drops" then
    first, last, step = last, first, -1
  end
  for i = first, last, step do
    local keeper = self.keepers[i]
    local list = keeper:plan(stage, now)
    if plan then
      table.move(list, 1, #list, #plan + 1, plan)
    elseif #list > 0 then
      changed = changed + keeper:send(list, now)
    end
  end
  return changed
end

-- Applies what differs and is due at `now` (milliseconds of a monotonic clock). Returns how many changes were made.
-- Failures are kept per object and never raised: see problems().
function Reconciler:apply(now)
  if self.stale then
    self:resync()
    self.stale, self.shaken = false, nil
  elseif self.shaken then
    local shaken = self.shaken
    self.shaken = nil
    for _, kind in ipairs(ON_LINKS) do
      self.keepers[kind]:resync()
    end
    self.used = nil
    self:hurry(shaken)
  end
  for _, keeper in ipairs(self.keepers) do
    if keeper.polled then
      keeper.looked = keeper.looked or now
      if now - keeper.looked >= reconcile.POLL then
        keeper.looked = now
        keeper:resync()
      end
    end
  end
  return each(self, "puts", now) + each(self, "drops", now)
end

-- What apply would do: a list of { kind, verb, object, args }, in order.
function Reconciler:plan(now)
  local plan = {}
  each(self, "puts", now, plan)
  each(self, "drops", now, plan)
  return plan
end

-- Whether a failure of an object may be over with a change of these links (name -> true). What does not say where it
-- belongs may be.
local function concerned(keeper, key, links)
  local want = keeper.wants[key]
  local dev = keeper.kind == "links" and key or type(want) == "table" and want.dev or nil
  return dev == nil or links[dev] ~= nil
end

-- Tries at once what failed before and concerns these links: what may have been the reason has changed. What they took
-- along did not go by somebody's doing.
function Reconciler:hurry(links)
  for _, keeper in ipairs(self.keepers) do
    for key, failure in pairs(keeper.failed) do
      if not failure.contested and concerned(keeper, key, links) then
        failure.at = 0
      end
    end
    for key in pairs(keeper.kind ~= "links" and keeper.repairs or {}) do
      local failure, want = keeper.failed[key], keeper.wants[key]
      if want and links[want.dev or ""] and not (failure and failure.contested) then
        keeper.repairs[key] = nil
      end
    end
  end
end

-- When apply has something to do even if nothing happens (milliseconds, math.huge: never).
function Reconciler:due(now)
  local due = math.huge
  for _, keeper in ipairs(self.keepers) do
    due = keeper.doubt and now or due
    for _, failure in pairs(keeper.failed) do
      due = math.min(due, failure.at)
    end
    if keeper.looked and keeper:wanted() > 0 then
      due = math.min(due, keeper.looked + reconcile.POLL)
    end
  end
  return math.max(due, now)
end

-- What could not be done: a list of { kind, key, message, conflict = boolean }, in a stable order.
function Reconciler:problems()
  local list = {}
  for _, keeper in ipairs(self.keepers) do
    local first = #list + 1
    for key, failure in pairs(keeper.failed) do
      list[#list + 1] = {
        kind = keeper.kind, key = key, message = failure.message, conflict = failure.conflict or false,
      }
    end
    local part = table.move(list, first, #list, 1, {})
    table.sort(part, function(a, b) return a.key < b.key end)
    table.move(part, 1, #part, first, list)
  end
  return list
end

-- kind -> { wanted, present, changed, failed }: for metrics. The last two count since the start.
function Reconciler:counts()
  local counts = {}
  for _, keeper in ipairs(self.keepers) do
    counts[keeper.kind] = {
      wanted = keeper:wanted(), present = keeper:present(), changed = keeper.changed, failed = keeper.failures,
    }
  end
  return counts
end

-- Milliseconds until the next try after this many.
function reconcile.backoff(tries)
  return math.min(500 * 2 ^ (tries - 1), 30000) // 1 | 0
end

-- Notes that the object of this key could not be brought about: in keeper.failed.
function reconcile.fail(keeper, key, now, message, conflict)
  local failure = keeper.failed[key] or { tries = 0 }
  failure.tries = failure.tries + 1
  failure.at = now + reconcile.backoff(failure.tries)
  failure.message = tostring(message)
  failure.conflict = conflict
  keeper.failed[key] = failure
  keeper.failures = keeper.failures + 1
end

return reconcile
