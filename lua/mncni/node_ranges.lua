-- SPDX-License-Identifier: Apache-2.0
-- Which ranges nodes have, and which are free for those that have none: the arithmetic of nodeipam, for variants of it.
--
--   local ranges = mncni.node_ranges.new(world, { reserved = conf.service_cidrs, rest = conf.rest })
--   local pool = ranges:pool(mncni.cidr "10.244.0.0/16", 24)
--   for _, node in ipairs(ranges:waiting()) do
--     ranges:give(node, { pool })
--   end
--   return ranges:result()
--
-- A pool gives its ranges in turn: the next one after the last given, so that one that became free comes again as late as
-- can be. Nothing depends on how large a pool is: only what is taken is kept.

local core = require "mncni.core"
local sorted_keys = require "mncni.keys"

local node_ranges = {}

local Ranges = {}
Ranges.__index = Ranges

local function fail(what, message, ...)
  error(core.error { object = what, code = 7, message = message:format(...) }, 0)
end

-- An address as two words, of which IPv4 has the second alone.
local function words(cidr)
  if cidr.family == "inet" then
    return 0, (string.unpack(">I4", cidr.bytes))
  end
  return string.unpack(">i8i8", cidr.bytes)
end

local function from_words(family, high, low, prefix)
  local text
  if family == "inet" then
    text = ("%d.%d.%d.%d"):format(string.byte(string.pack(">I4", low), 1, 4))
  else
    text = ("%x:%x:%x:%x:%x:%x:%x:%x"):format(string.unpack(">I2I2I2I2I2I2I2I2", string.pack(">i8i8", high, low)))
  end
  return core.cidr(("%s/%d"):format(text, prefix))
end

-- Which range of the pool an address of it is in, from 0 on.
local function index_of(pool, cidr)
  local high, low = words(cidr)
  local shifted = pool.shift >= 64 and high >> (pool.shift - 64) or low >> pool.shift | high << (64 - pool.shift)
  return shifted & (pool.size - 1)
end

local function range_of(pool, index)
  local high, low = words(pool.cidr)
  if pool.shift >= 64 then
    high = high | index << (pool.shift - 64)
  else
    high, low = high | (pool.shift > 0 and index >> (64 - pool.shift) or 0), low | index << pool.shift
  end
  return from_words(pool.cidr.family, high, low, pool.mask)
end

-- Of a range that overlaps a pool, the first and last range of the pool that it has something of.
local function span(pool, cidr)
  if cidr.prefix <= pool.cidr.prefix then
    return 0, pool.size - 1
  end
  local first = index_of(pool, cidr.network)
  return first, cidr.prefix >= pool.mask and first or first + (1 << (pool.mask - cidr.prefix)) - 1
end

-- Takes ranges out of a pool: each counts once, however many take it. Returns how many there are now.
local function occupy(pool, cidrs)
  local wide = {}
  for _, cidr in ipairs(cidrs) do
    if cidr:overlaps(pool.cidr) then
      local first, last = span(pool, cidr)
      if first == last then
        pool.taken[first] = true
      else
        wide[#wide + 1] = { first, last }
      end
    end
  end
  -- Those over several are kept as spans, merged.
  table.move(pool.wide, 1, #pool.wide, #wide + 1, wide)
  table.sort(wide, function(a, b) return a[1] < b[1] end)
  pool.wide = {}
  for _, one in ipairs(wide) do
    local before = pool.wide[#pool.wide]
    if before and one[1] <= before[2] then
      before[2] = math.max(before[2], one[2])
    else
      pool.wide[#pool.wide + 1] = { one[1], one[2] }
    end
  end
  local count = 0
  for index in pairs(pool.taken) do
    count = count + 1
    for _, one in ipairs(pool.wide) do
      if one[1] <= index and index <= one[2] then
        count = count - 1
        break
      end
    end
  end
  for _, one in ipairs(pool.wide) do
    count = count + one[2] - one[1] + 1
  end
  return count
end

-- The next range that nobody has, nil when there is none.
local function next_free(pool)
  if pool.used >= pool.size then
    return nil
  end
  local index = (pool.last or -1) + 1
  while true do
    index = index < pool.size and index or 0
    local after
    for _, one in ipairs(pool.wide) do
      after = one[1] <= index and index <= one[2] and one[2] or after
    end
    if not after and not pool.taken[index] then
      return index
    end
    index = (after or index) + 1
  end
end

local function add_event(self, node, kind, reason, message)
  local entry = self.nodes[node.name] or {}
  entry.events = entry.events or {}
  table.insert(entry.events, { type = kind, reason = reason, message = message })
  self.nodes[node.name] = entry
end

-- Tells of ranges that two nodes have something of. Ranges lie apart or within one another, so in their order what
-- overlaps stands behind what it overlaps with.
local function find_duplicates(self)
  local all = {}
  for _, node in ipairs(self.world.nodes) do
    for _, cidr in ipairs(node.pod_cidrs) do
      all[#all + 1] = { cidr = cidr, node = node }
    end
  end
  table.sort(all, function(a, b)
    if a.cidr == b.cidr then
      return a.node.name < b.node.name
    end
    return a.cidr < b.cidr
  end)
  local widest, told = nil, {}
  local function tell(one, other)
    add_event(self, one.node, "Warning", "CIDRDuplicate", ("its range %s overlaps %s of node %s; delete one of the two "
      .. "Nodes, for a range cannot be changed"):format(one.cidr, other.cidr, other.node.name))
  end
  for _, one in ipairs(all) do
    if widest and widest.cidr:overlaps(one.cidr) then
      tell(one, widest)
      if not told[widest] then
        tell(widest, one)
        told[widest] = true
      end
    else
      widest = one
    end
  end
end

-- new(world, { reserved, rest }): reserved are ranges that no node may get, rest is how many seconds a range is left alone
-- after its node is gone.
function node_ranges.new(world, conf)
  local self = setmetatable({ world = world, pools = {}, nodes = {}, held = {}, resting = {}, last = {} }, Ranges)
  self.reserved = conf.reserved or {}
  for name, index in pairs((world.state or {}).last or {}) do
    self.last[name] = index
  end
  for _, node in ipairs(world.nodes) do
    table.move(node.pod_cidrs, 1, #node.pod_cidrs, #self.held + 1, self.held)
  end
  for _, name in ipairs(sorted_keys(world.promised or {})) do
    for _, cidr in ipairs(world.promised[name]) do
      self.held[#self.held + 1] = core.cidr(cidr)
    end
  end
  for _, one in ipairs(world.released or {}) do
    if one.at + (conf.rest or 0) > world.now then
      self.resting[#self.resting + 1] = core.cidr(one.cidr)
    end
  end
  find_duplicates(self)
  return self
end

-- pool(cidr, mask) is a range of addresses that is given away in ranges of so many bits. Two pools may not overlap.
function Ranges:pool(cidr, mask)
  cidr = core.cidr(cidr).network
  local bits, name = cidr.family == "inet" and 32 or 128, tostring(cidr)
  if mask < cidr.prefix or mask > bits then
    fail(name, "its nodes cannot have a /%d of it: expected from /%d to /%d", mask, cidr.prefix, bits)
  elseif mask - cidr.prefix > 61 then
    fail(name, "a /%d of it leaves more than 2^61 ranges; take a smaller one", mask)
  end
  for _, other in ipairs(self.pools) do
    if other.cidr:overlaps(cidr) then
      fail(name, "it overlaps %s, and nodes would get the same addresses twice", tostring(other.cidr))
    end
  end
  local pool = {
    cidr = cidr, mask = mask, shift = bits - mask, size = 1 << (mask - cidr.prefix), taken = {}, wide = {},
    last = self.last[name],
  }
  if pool.last and (pool.last < 0 or pool.last >= pool.size) then
    pool.last = nil -- it was another mask's
  end
  occupy(pool, self.reserved)
  pool.held = occupy(pool, self.held)
  pool.used = occupy(pool, self.resting)
  pool.resting = pool.used - pool.held
  self.pools[#self.pools + 1] = pool
  return pool
end

-- The nodes that have no range, by name.
function Ranges:waiting()
  local list = {}
  for _, node in ipairs(self.world.nodes) do
    if #node.pod_cidrs == 0 then
      list[#list + 1] = node
    end
  end
  return list
end

-- give(node, pools) gives it a range of each of the pools, of all or of none; what was promised before stays.
function Ranges:give(node, pools)
  local promised = (self.world.promised or {})[node.name]
  local entry = self.nodes[node.name] or {}
  self.nodes[node.name] = entry
  if promised then
    entry.pod_cidrs = promised
    return
  end
  local found = {}
  for i, pool in ipairs(pools) do
    found[i] = next_free(pool)
    if not found[i] then
      -- The same words as long as it lasts.
      add_event(self, node, "Normal", "CIDRNotAvailable", ("none of the %d ranges /%d of %s is free"):format(pool.size,
        pool.mask, tostring(pool.cidr)))
      return
    end
  end
  entry.pod_cidrs = {}
  for i, pool in ipairs(pools) do
    pool.taken[found[i]], pool.last = true, found[i]
    pool.held, pool.used = pool.held + 1, pool.used + 1
    self.last[tostring(pool.cidr)] = found[i]
    entry.pod_cidrs[i] = tostring(range_of(pool, found[i]))
  end
end

-- Tells of nodes whose ranges are not of the pools.
local function check_places(self)
  local texts = {}
  for i, pool in ipairs(self.pools) do
    texts[i] = tostring(pool.cidr)
  end
  for _, node in ipairs(self.world.nodes) do
    for _, cidr in ipairs(node.pod_cidrs) do
      local inside, reserved = false, nil
      for _, pool in ipairs(self.pools) do
        inside = inside or pool.cidr:contains(cidr)
      end
      for _, other in ipairs(self.reserved) do
        reserved = cidr:overlaps(other) and other or reserved
      end
      if not inside then
        add_event(self, node, "Warning", "CIDROutOfRange", ("its range %s is not within %s; it stays as it is"):format(
          tostring(cidr), table.concat(texts, ", ")))
      elseif reserved then
        add_event(self, node, "Warning", "CIDRReserved", ("its range %s overlaps %s, which is for services"):format(
          tostring(cidr), tostring(reserved)))
      end
    end
  end
end

-- What `desired` returns. What is reserved counts as used.
function Ranges:result()
  check_places(self)
  local figures = {}
  for i, pool in ipairs(self.pools) do
    figures[i] = {
      cidr = tostring(pool.cidr), family = pool.cidr.family, used = pool.held, resting = pool.resting,
      free = pool.size - pool.used,
    }
  end
  return { nodes = self.nodes, ranges = figures, state = { last = self.last } }
end

return node_ranges
