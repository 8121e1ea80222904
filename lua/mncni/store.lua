-- SPDX-License-Identifier: Apache-2.0
-- Leases in the address store of a network: <dataDir>/<network>, the files that the reference host-local keeps.

local core = require "mncni.core"
local ipam = require "mncni.ipam"

local store = {}

-- Milliseconds to wait for the store's lock before giving up with code 11.
store.DEADLINE = 10000

local function fail(code, object, message, ...)
  error(core.error { code = code, object = object, message = message:format(...) }, 0)
end

-- The directory of conf.network in conf.dataDir. Raises code 7 when it cannot be one.
function store.path(conf)
  local dir, network = conf.dataDir, conf.network
  if type(dir) ~= "string" or dir:sub(1, 1) ~= "/" or ("/" .. dir .. "/"):find("/../", 1, true) then
    fail(7, "ipam.dataDir", "%s is not an absolute path without \"..\"", tostring(dir))
  end
  if type(network) ~= "string" or not network:find("^%w[%w_.%-]*$") then
    fail(7, "name", "%s is not the name of a network", tostring(network))
  end
  return (dir:gsub("/+$", "")) .. "/" .. network
end

-- Opens the store of conf; nil when there is none yet and create is not set.
function store.open(conf, create)
  return core.store.open { dir = store.path(conf), create = create or false, deadline = store.DEADLINE }
end

-- The set as core.store takes it; sets are numbered from 0 on disk.
local function ranges_of(set)
  local ranges = {}
  for i, range in ipairs(set) do
    ranges[i] = { first = range.first, last = range.last, gateway = range.gateway }
  end
  return ranges
end

local function exhausted(handle, set)
  local taken, size = handle:count { ranges = ranges_of(set) }
  fail(104, handle:path(), "no IP addresses available in range set: %s; %d of %d are taken: delete pods, "
    .. "free what is stale, or widen the range", ipam.describe(set), taken, size)
end

-- The state of one lease being made: per set its number, what it is to give, and what it gave.
local Lease = {}
Lease.__index = Lease

-- Journals the planned addresses, so that a lease cut short from here on is undone.
function Lease:journal(addresses)
  local journal = self.request.journal
  if journal and #addresses > 0 then
    journal:undo {
      op = "lease", dir = self.handle:path(), container = self.request.container, ifname = self.request.ifname,
      addresses = addresses,
    }
  end
end

-- Has dead attachments removed, once, when there is no address left. Returns whether it is worth another try.
function Lease:collect()
  if self.collected or not self.request.collect then
    return false
  end
  self.collected = true
  local ok, err = pcall(self.request.collect)
  if not ok then
    io.stderr:write("mncni: gc: ", tostring(err), "\n")
  end
  return true
end

-- The address that set number `number` would give now. lost is one that others were quicker to take.
function Lease:plan(number, lost)
  if self.assigned[number] then
    return tostring(self.assigned[number])
  end
  local set = self.sets[number]
  local address = self.handle:plan { ranges = ranges_of(set), index = number - 1, lost = lost }
  if not address and self:collect() then
    return self:plan(number, lost)
  end
  return address or exhausted(self.handle, set)
end

-- Reserves the planned address of a set, or, when somebody else was quicker, the next one.
function Lease:publish(number, address)
  while true do
    local outcome = self.handle:publish {
      address = address, container = self.request.container, ifname = self.request.ifname,
    }
    if outcome ~= "taken" then
      self.got[number] = core.cidr(address)
      return
    end
    if not self.assigned[number] then
      address = self:plan(number, address)
      self:journal { address }
    elseif not self:collect() then
      fail(104, self.handle:path(), "requested IP address %s is not available in range set %s", address,
        ipam.describe(self.sets[number]))
    end
  end
end

function Lease:run()
  local planned = {}
  for number in ipairs(self.sets) do
    planned[number] = self:plan(number)
  end
  self:journal(planned)
  for number, address in ipairs(planned) do
    self:publish(number, address)
  end
end

-- What was reserved in this run, freed again. The host does the same from the journal, if there is one.
function Lease:undo()
  local list = {}
  for _, address in pairs(self.got) do
    list[#list + 1] = tostring(address)
  end
  if #list > 0 then
    self.handle:release { container = self.request.container, ifname = self.request.ifname, addresses = list }
  end
end

-- Reserves an address of each set (ipam.range_sets) for the attachment of request { container, ifname, wanted,
-- journal }. Returns the list { { address = "10.244.1.7/24", gateway = "10.244.1.1" }, ... } in the order of the sets.
-- Raises code 104 when a set has no free address or a wanted one is taken, code 7 when one was asked for that no set
-- can give, 11 when the lock is not to be had, 5 when the directory cannot be written; nothing stays reserved then.
function store.lease(request, conf, sets)
  local assigned = ipam.assign(sets, request.wanted)
  local handle <close> = store.open(conf, true)
  local lease = setmetatable({
    request = request, sets = sets, assigned = assigned, handle = handle, got = {},
  }, Lease)
  local ok, err = pcall(lease.run, lease)
  if not ok then
    pcall(lease.undo, lease)
    error(err, 0)
  end
  local addresses = {}
  for number, set in ipairs(sets) do
    local range = ipam.find(set, lease.got[number])
    addresses[number] = {
      address = tostring(lease.got[number]:with_prefix(range.subnet.prefix)), gateway = tostring(range.gateway),
    }
  end
  return addresses
end

-- Frees all that the directory has in the name of request's attachment. What is gone already is fine; raises code 5
-- when something cannot be freed.
function store.release(request, conf)
  local handle <close> = store.open(conf)
  if handle then
    handle:release { container = request.container, ifname = request.ifname }
  end
end

-- Raises code 106 unless the addresses of the lease that lie in the sets are reserved for the attachment; at least one
-- must be.
function store.check(request, conf, sets, lease)
  local handle <close> = store.open(conf)
  local who = ("attachment %s of %s"):format(request.ifname, request.container)
  local seen = false
  if not handle then
    fail(106, who, "no address is reserved for it: %s is not there", store.path(conf))
  end
  for _, entry in ipairs(lease and lease.addresses or {}) do
    local address = core.cidr(entry.address):with_prefix()
    for _, set in ipairs(sets) do
      if ipam.find(set, address) then
        seen = true
        if not handle:holds { address = tostring(address), container = request.container, ifname = request.ifname } then
          fail(106, who, "%s is not reserved for it in %s", address, handle:path())
        end
      end
    end
  end
  if not seen and #handle:find { container = request.container, ifname = request.ifname } == 0 then
    fail(106, who, "no address is reserved for it in %s", handle:path())
  end
end

-- Whether one of the addresses is in the set.
local function any_in(set, addresses)
  for _, text in ipairs(addresses) do
    if ipam.find(set, core.cidr(text):with_prefix()) then
      return true
    end
  end
  return false
end

-- Raises code 50 when a lease would fail now: a set without a free address, or a directory that cannot be written.
-- Where given, request.reclaimable(directory) tells which addresses a collection would free. Takes no lock and changes
-- nothing.
function store.status(conf, sets, request)
  local usable, why = pcall(core.directory.usable, store.path(conf))
  if not usable then
    fail(50, store.path(conf), "%s", tostring(why))
  end
  local handle <close> = store.open(conf)
  if not handle then
    return
  end
  local writable, reason = pcall(handle.writable, handle)
  if not writable then
    fail(50, handle:path(), "%s", tostring(reason))
  end
  for number, set in ipairs(sets) do
    if not handle:has_room { ranges = ranges_of(set), index = number - 1 }
      and not (request and request.reclaimable and any_in(set, request.reclaimable(handle:path()))) then
      local taken, size = handle:count { ranges = ranges_of(set) }
      fail(50, handle:path(), "no IP addresses available in range set: %s; %d of %d are taken", ipam.describe(set),
        taken, size)
    end
  end
end

-- Frees every reservation of an attachment that is not in valid ({ { containerID, ifname }, ... }), and those of an
-- earlier boot. Returns the list of what was freed, { address, container, ifname }. Goes on after a failure and raises
-- the first one at the end.
function store.gc(valid, conf)
  local handle <close> = store.open(conf)
  local keep, freed, first = {}, {}, nil
  for _, attachment in ipairs(valid) do
    keep[attachment.containerID] = true -- the oldest form names the container alone
    keep[attachment.containerID .. "\n" .. attachment.ifname] = true
  end
  for _, entry in ipairs(handle and handle:list() or {}) do
    -- What could not be the id of a container was written by a person, who has a reason.
    local known = entry.container and entry.container:find("^%w[%w_.%-]*$")
    local key = known and entry.container .. (entry.ifname and "\n" .. entry.ifname or "")
    if key and (entry.stale or not keep[key]) then
      local ok, result = pcall(handle.release, handle, {
        container = entry.container, ifname = entry.ifname or "", addresses = { entry.address },
      })
      if not ok then
        first = first or result
      elseif result > 0 then
        freed[#freed + 1] = entry
      end
    end
  end
  if first then
    error(first, 0)
  end
  return freed
end

return store
