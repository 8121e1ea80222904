-- SPDX-License-Identifier: Apache-2.0
-- Collection: removes attachments whose end nobody has told us. Runtimes forget a DEL when they or the node die at the
-- wrong moment, and containerd never sends GC. mncni.judge says what is dead.

local core = require "mncni.core"
local judge = require "mncni.judge"

local collect = {}

-- Seconds of the boot clock that an attachment is left alone after it was made.
collect.GRACE = 300

-- Milliseconds to wait for a call that works on an attachment.
collect.WAIT = 1000

-- How many attachments are removed at most when a range is exhausted.
collect.ENOUGH = 64

-- Why collect.remove leaves what another call holds.
collect.BUSY = "a call works on it"

-- Undoes the attachment if nobody has touched its journal since it was read. Returns whether it was removed; nothing
-- and why when it was not. Raises what cannot be read or undone.
function collect.remove(item, wait)
  if not item.hash then
    error(core.error { code = 5, object = item.path, message = item.damaged }, 0)
  end
  local opened, journal = pcall(core.journal.open, { path = item.path, wait = wait or collect.WAIT })
  if not opened then
    if core.is_error(journal) and journal.code == 11 then
      return false, collect.BUSY
    end
    error(journal, 0)
  elseif not journal then
    return false, "somebody else has removed it"
  end
  local held <close> = journal
  if core.journal.hash(held:read()) ~= item.hash then
    return false, "it changed while it was looked at"
  end
  held:undo "del"
  return true
end

-- One line about an attachment (or a link, or an address) for people.
function collect.describe(item)
  local who
  if item.container then
    who = ("attachment %s of %s in %s"):format(item.ifname or "?", item.container, item.network or "?")
  else
    who = item.path or ("link " .. item.ifname)
  end
  if item.addresses and #item.addresses > 0 then
    who = ("%s (%s)"):format(who, table.concat(item.addresses, ", "))
  end
  return who
end

-- What a report keeps of an item.
local function entry_of(item, reason)
  return {
    network = item.network, container = item.container, ifname = item.ifname, path = item.path, dir = item.dir,
    addresses = core.json.array { table.unpack(item.addresses or {}) }, reason = reason,
  }
end

-- Notes a removal where people look: on stderr, which a runtime keeps in its log.
function collect.log(item, reason)
  io.stderr:write(("mncni: gc: removed %s: %s\n"):format(collect.describe(item), reason))
end

-- One collection at work: { args, look, report }.
local Run = {}
Run.__index = Run

function Run:note(list, item, reason)
  table.insert(self.report[list], entry_of(item, reason))
end

-- Does fn(), which returns whether something was removed, or false and why not; in a dry run it is taken as done.
function Run:remove(item, reason, fn)
  if self.args.dry_run then
    return self:note("removed", item, reason)
  end
  local ok, removed, why = pcall(fn)
  if not ok then
    self:note("failed", item, tostring(removed))
  elseif removed then
    self:note("removed", item, reason);
    (self.args.log or collect.log)(item, reason)
  else
    self:note("kept", item, why)
  end
end

-- Links that an earlier collection had proven dead and did not come to delete.
function Run:buried()
  local links, steps = require "mncni.links", require "mncni.steps"
  local look, left, err = self.look, {}, nil
  for _, link in pairs(look:links().name) do
    if link.group == steps.DEAD_GROUP and link.ifalias then
      left[#left + 1] = link
    end
  end
  if #left > 0 and not self.args.dry_run then
    local ok, why = pcall(links.delete, look.host, left)
    look.found, err = nil, not ok and why or nil
  end
  for _, link in ipairs(left) do
    self:remove({ ifname = link.ifname }, "a collection that did not end had found it dead", function()
      return not (err and look:links().name[link.ifname]) or error(err, 0)
    end)
  end
end

function Run:attachment(item)
  local look, args = self.look, self.args
  local judged, verdict, reason = pcall(look.judge, look, item, args.grace or collect.GRACE, args.proof)
  if not judged then
    self:note("failed", item, tostring(verdict))
  elseif verdict == "alive" then
    self.report.alive = self.report.alive + 1
  elseif verdict == "doubt" then
    self:note("kept", item, reason)
  else
    self:remove(item, reason, function() return collect.remove(item, item.head and collect.WAIT or 0) end)
  end
end

-- The addresses of a store that no journal has: those of an earlier boot are void, of others nothing can be proven.
function Run:store(dir, known)
  local handle <close> = core.store.open { dir = dir }
  for _, entry in ipairs(handle and handle:list() or {}) do
    local item = {
      network = dir:match("[^/]*$"), container = entry.container, ifname = entry.ifname, addresses = { entry.address },
      dir = dir,
    }
    if not entry.container or known[entry.container .. "\n" .. (entry.ifname or "")] then
      goto continue
    elseif entry.stale then
      self:remove(item, "it was reserved in an earlier boot", function()
        return handle:release {
          container = entry.container, ifname = entry.ifname or "", addresses = { entry.address },
        } > 0, "somebody else has freed it"
      end)
    elseif self.look:link_of(item) then
      self.report.alive = self.report.alive + 1
    else
      self:note("kept", item, "no journal has it, so nothing can be proven")
    end
    ::continue::
  end
end

-- run{ state_dir =, network = nil for all, grace = seconds (collect.GRACE), proof = true to spare proven ones the
-- grace, limit = how many to remove at most, dry_run = true to change nothing, stores = list of address directories to
-- look through besides those that journals name (nil: none at all), log = function(item, reason) } removes what is proven dead.
-- Returns { removed =, kept = (in doubt), failed = lists of { network, container, ifname, addresses, path, reason },
-- alive = how many are }. Raises only when it cannot look at all.
function collect.run(args)
  local look <close> = judge.look(args)
  local run = setmetatable({
    args = args, look = look, report = { removed = {}, kept = {}, failed = {}, alive = 0 },
  }, Run)
  if not args.proof then
    run:buried()
  end
  local known, stores = {}, {}
  for item in look:journals() do
    if #run.report.removed >= (args.limit or math.huge) then
      return run.report
    end
    run:attachment(item)
    if item.container then
      known[item.container .. "\n" .. item.ifname] = true
    end
    if item.dir and not stores[item.dir] then
      stores[item.dir], stores[#stores + 1] = true, item.dir
    end
  end
  for _, dir in ipairs(args.stores or {}) do
    if not stores[dir] then
      stores[#stores + 1] = dir
    end
  end
  for _, dir in ipairs(args.stores and stores or {}) do
    local ok, err = pcall(run.store, run, dir, known)
    if not ok then
      run:note("failed", { path = dir }, tostring(err))
    end
  end
  return run.report
end

-- Removes a few attachments of a network whose range is exhausted: enough for those that wait for an address.
function collect.relieve(state_dir, network)
  return collect.run { state_dir = state_dir, network = network, proof = true, limit = collect.ENOUGH }
end

-- The addresses of the store in dir that relieve would free. Changes nothing.
function collect.reclaimable(state_dir, network, dir)
  local addresses = {}
  local report = collect.run {
    state_dir = state_dir, network = network, proof = true, limit = collect.ENOUGH, dry_run = true,
  }
  for _, item in ipairs(report.removed) do
    if item.dir == dir then
      table.move(item.addresses, 1, #item.addresses, #addresses + 1, addresses)
    end
  end
  return addresses
end

return collect
