-- SPDX-License-Identifier: Apache-2.0
-- Keeps the objects of one kind on a host as they are wanted: links, addresses, routes, neighbours, fdb entries, rules.
-- For mncni.reconcile; what is particular about each kind is in mncni.keeper_kinds.

local core = require "mncni.core"
local objects = require "mncni.objects"
local kinds = require "mncni.keeper_kinds"
local print_lines = require "mncni.print"
local reconcile = require "mncni.reconcile"
local same_value = require "mncni.same"

local keeper = {}

local Keeper = {}
Keeper.__index = Keeper

-- What had to be repaired this often within that time (milliseconds) is changed by somebody else again and again: from
-- then on it waits longer and longer, until it was left alone for that time.
keeper.REPAIRS, keeper.WINDOW = 5, 10000

-- new(kind, host, names): names is a mncni.link_names of the host.
function keeper.new(kind, host, names)
  return setmetatable({
    spec = assert(kinds[kind]), host = host, names = names,
    wants = {}, -- key -> the object wanted, marked
    have = {}, -- key -> what is there and ours
    foreign = {}, -- key -> what is there, not ours, and in the way
    repairs = {}, -- key -> { count, since, last }, of what was made since it is wanted as it is
    twins = {}, -- key -> the list of what is there and ours beside the first one
    dirty = {}, failed = {}, changed = 0, failures = 0, wanted_count = 0,
  }, Keeper)
end

function Keeper:wanted()
  return self.wanted_count
end

function Keeper:present()
  local count = 0
  for key in pairs(self.wants) do
    count = count + (self.have[key] and 1 or 0)
  end
  return count
end

-- Whether what is there is as wanted; equal text needs no second look.
local function as_wanted(object, want, have)
  for key, value in pairs(want) do
    if have[key] ~= value and not objects.matches(object, { [key] = value }, have) then
      return false
    end
  end
  return true
end

-- Takes what is wanted: key -> marked object. Returns whether anything became different from before.
function Keeper:want(wants)
  local before, any, count = self.wants, false, 0
  for key, object in pairs(wants) do
    count = count + 1
    if not same_value(before[key], object) then
      self.dirty[key], self.failed[key], self.repairs[key], any = true, nil, nil, true
      -- Who else is there under this key was not of interest before.
      self.doubt = self.doubt or before[key] == nil and self.have[key] ~= nil
        and not as_wanted(self.spec.object, self.spec.compared(object), self.have[key])
    end
  end
  for key in pairs(before) do
    if wants[key] == nil then
      self.dirty[key], self.failed[key], self.repairs[key], any = true, nil, nil, true
    end
  end
  self.wants, self.wanted_count = wants, count
  return any
end

function Keeper:resync()
  local spec = self.spec
  local had = self.have
  self.have, self.foreign, self.twins = {}, {}, {}
  for object in spec.list(self.host, self.names) do
    local key = spec.key(object)
    if spec.ours(object, self.names) and self.have[key] and spec.exactly then
      -- What is to stay is the one that is as wanted: the kernel would not make another one like it.
      local want = self.wants[key]
      local better = want and as_wanted(spec.object, spec.compared(want), object)
      self.twins[key] = self.twins[key] or {}
      table.insert(self.twins[key], better and self.have[key] or object)
      self.have[key] = better and object or self.have[key]
    elseif spec.ours(object, self.names) then
      self.have[key] = object
    elseif self.wants[key] then
      self.foreign[key] = object
    end
  end
  self.doubt = false
  for _, set in ipairs { self.wants, self.have, had } do
    for key in pairs(set) do
      self.dirty[key] = true
    end
  end
end

-- Whether somebody else changes an object whenever it was repaired.
function Keeper:contested(key)
  local failure = self.failed[key]
  return failure ~= nil and failure.contested == true
end

-- Notes that an object was made, at `now`.
local function count_repair(self, key, now)
  local repairs = self.repairs[key] or { count = -1, since = now } -- the first time it was no repair
  if not self:contested(key) and now - repairs.since > keeper.WINDOW then
    repairs.count, repairs.since = 0, now
  end
  repairs.count, repairs.last = repairs.count + 1, now
  self.repairs[key] = repairs
  if repairs.count < keeper.REPAIRS then
    self.failed[key] = nil
    return
  end
  reconcile.fail(self, key, now, ("somebody else changes it, or removes it, whenever it was repaired: another program "
    .. "that keeps %ss, or a second agent? Stop one of them"):format((self.spec.word:gsub("^an? ", ""))), true)
  self.failed[key].contested = true
end

-- Notes that an object is as wanted. One that was contested has to be left alone for a while.
local function settled(self, key, now)
  local again = self:contested(key) and self.repairs[key].last + keeper.WINDOW
  if again and now < again then
    self.failed[key].at = again
  else
    self.failed[key] = nil
    self.repairs[key] = not again and self.repairs[key] or nil
  end
end

-- Takes an event. Returns whether there is something to do.
function Keeper:event(event)
  local spec = self.spec
  if event.object ~= spec.object then
    return false
  end
  local object = event.value
  local key = spec.key(object)
  local wanted = self.wants[key]
  if spec.ours(object, self.names) then
    local had = self.have[key]
    if spec.exactly and had and (self.twins[key] or not as_wanted(spec.object, spec.compared(had), object)) then
      self.doubt = true -- it came beside the one that was there, or in its place: the event does not tell
    end
    self.have[key] = event.event == "new" and object or nil
    self.dirty[key] = true
    return true
  elseif wanted then
    -- Something that is not ours came or went where ours should be. It may have replaced ours without a word.
    self.doubt = true
    if not self:contested(key) then
      self.failed[key] = nil
    end
    return true
  end
  return false
end

local function conflict_message(spec, have)
  return ("%s stands in the way and is not ours: %s; remove it, or change what is wanted"):format(
    spec.word, (print_lines.describe(spec.object, have):gsub("\n", "; ")))
end

-- The removal of one that is ours and one too many under its key: each by all that it is, in case the others are not.
local function removal_of_twin(self, key)
  local twins = self.twins[key]
  local twin = twins and twins[#twins]
  return twin and { verb = "del", key = key, args = self.spec.exactly(twin), twin = true } or nil
end

-- The operation that a key needs in this stage ("puts" or "drops"), or nil.
function Keeper:operation(key, stage, now)
  local spec, want, have = self.spec, self.wants[key], self.have[key]
  if stage == "drops" then
    if not want and not have then
      self.failed[key] = nil -- it went by itself
    end
    return removal_of_twin(self, key)
      or not want and have and { verb = "del", key = key, args = spec.remove(have) } or nil
  elseif not want then
    return nil
  elseif have and as_wanted(spec.object, spec.compared(want), have) then
    settled(self, key, now)
    return nil
  end
  local foreign = self.foreign[key] or spec.blocked and not have and spec.blocked(key, self.names)
  if foreign and not (spec.yields and spec.yields(foreign)) then
    reconcile.fail(self, key, now, conflict_message(spec, foreign), true)
    return nil
  end
  return { verb = (have or foreign) and spec.change or "add", key = key, args = want, was = have }
end

-- The operations that are due in this stage: a list of { verb, key, args, kind, object }.
function Keeper:plan(stage, now)
  local list, done = {}, {}
  if self.doubt then
    self:resync()
  end
  for key in pairs(self.dirty) do
    local failure = self.failed[key]
    if not failure or failure.at <= now then
      local operation = self:operation(key, stage, now)
      if operation then
        operation.kind, operation.object = self.kind, self.spec.object
        list[#list + 1] = operation
      elseif not self.failed[key] and (stage == "drops" or self.wants[key] and not self.twins[key]) then
        done[#done + 1] = key
      end
    end
  end
  for _, key in ipairs(done) do
    self.dirty[key] = nil
  end
  table.sort(list, function(a, b) return a.key < b.key end)
  return list
end

-- What the kernel is given: devices by number, because it would look up each name, and a name that is not there is told
-- here once.
local function resolved(self, operation)
  local args = operation.args
  if not args.dev or self.spec.object == "link" then
    return args
  end
  local link = self.names.name[args.dev]
  if not link then
    return nil, ("there is no link %q"):format(args.dev)
  elseif self.names.claimed[args.dev] and link.group ~= kinds.GROUP then
    return nil, ("the link %q is not ours"):format(args.dev)
  end
  local copy = {}
  for key, value in pairs(args) do
    copy[key] = value
  end
  copy.dev, copy.ifindex = nil, link.ifindex
  return copy
end

-- What is to be thought of an operation that was refused with err: nil when it is as good as done.
local function refusal(operation, err)
  if not core.is_error(err) then
    return tostring(err)
  elseif operation.verb == "del" and objects.gone[err.name] and not operation.twin then
    return nil
  elseif operation.verb == "add" and err.name == "EEXIST" then
    return "exists"
  end
  return tostring(err)
end

-- Looks who stands where objects could not be added, all at once.
function Keeper:look_again(keys, now)
  local spec = self.spec
  for object in spec.list(self.host, self.names) do
    local key = spec.key(object)
    if keys[key] then
      if spec.ours(object, self.names) then
        self.have[key], keys[key] = object, nil
      else
        self.foreign[key], keys[key] = object, nil
        reconcile.fail(self, key, now, conflict_message(spec, object), true)
      end
    end
  end
  for key in pairs(keys) do
    reconcile.fail(self, key, now, ("the kernel says that %s is there, but does not list it"):format(spec.word))
  end
end

local function done(self, operation, now)
  local key = operation.key
  self.changed = self.changed + 1
  if operation.verb == "del" then
    self.failed[key] = nil
  else
    count_repair(self, key, now)
  end
  if operation.twin then
    self.doubt = true -- to see who is left
  elseif operation.verb == "del" then
    self.have[key] = nil
  else
    self.have[key] = self.spec.made(operation.args)
  end
  self.dirty[key] = self.failed[key] and true or nil
end

-- Each by itself, where a batch would not do: links, and what the encoder refuses to send.
local function one_by_one(self, list)
  local errors = {}
  for i, item in ipairs(list) do
    local ok, err = pcall(self.host[item[2]][item[1]], item[3])
    errors[i] = not ok and err or nil
  end
  return errors
end

-- Sends operations. Returns how many were done; the others are in failed.
function Keeper:send(operations, now)
  if self.spec.send then
    return self.spec.send(self, operations, now, done)
  end
  local batch, of, count = {}, {}, 0
  for _, operation in ipairs(operations) do
    local args, why = resolved(self, operation)
    if args then
      batch[#batch + 1], of[#of + 1] = { operation.verb, self.spec.object, args }, operation
    elseif operation.verb == "del" then
      done(self, operation, now) -- it went with its link
    else
      reconcile.fail(self, operation.key, now, why)
    end
  end
  local ok, errors = pcall(self.host.batch, self.host, batch, true)
  if not ok then
    errors = one_by_one(self, batch)
  end
  local existing, any = {}, false
  for i, operation in ipairs(of) do
    local err = errors[i]
    local why = err and refusal(operation, err)
    if not why then
      done(self, operation, now)
      count = count + 1
    elseif why == "exists" then
      existing[operation.key], any = true, true
    else
      reconcile.fail(self, operation.key, now, why)
    end
  end
  if any then
    self:look_again(existing, now)
  end
  return count
end

return keeper
