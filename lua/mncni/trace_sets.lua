-- SPDX-License-Identifier: Apache-2.0
-- The sets of nftables that a trace knows the types of: their elements come as bytes, and a prefix as two of them, where it
-- begins and what is behind its end.

local contains = require "mncni.contains"
local core = require "mncni.core"
local nft_value = require "mncni.print_nft_value"

local sets = {}

local Sets = {}
Sets.__index = Sets

local SIZES = { ipv4_addr = 4, ipv6_addr = 16 }

function sets.new()
  return setmetatable({ sizes = {} }, Sets)
end

local function id_of(nsid, value)
  return ("%s %s %s %s"):format(nsid, value.family, value.table, value.name)
end

-- Takes in what is told of a set.
function Sets:learn(nsid, event, value)
  self.sizes[id_of(nsid, value)] = event ~= "del" and SIZES[value.type] or nil
end

-- A namespace is gone, and its number free for another.
function Sets:forget(nsid)
  for id in pairs(self.sizes) do
    if id:find(nsid .. " ", 1, true) == 1 then
      self.sizes[id] = nil
    end
  end
end

local function before(bytes)
  for i = #bytes, 1, -1 do
    if bytes:byte(i) > 0 then
      return bytes:sub(1, i - 1) .. string.char(bytes:byte(i) - 1) .. ("\255"):rep(#bytes - i)
    end
  end
  return bytes
end

-- The words for what begins at some bytes and ends before others.
local function range(first, behind)
  local last = before(behind)
  local from, to = nft_value.address(first), nft_value.address(last)
  for length = 0, #first * 8 do
    local prefix = core.cidr(("%s/%d"):format(from, length))
    if prefix.network.bytes == first and prefix:last().bytes == last then
      return length == #first * 8 and from or tostring(prefix)
    end
  end
  return from .. "-" .. to
end

local function is_end(item)
  return contains(item.flags or {}, "interval_end")
end

-- The one element that a change is about, of a set of addresses; else nil.
local function element(self, change)
  local elem = change.object == "nft_element" and type(change.value.elem) == "table" and change.value.elem
  local item = elem and #elem == 1 and type(elem[1]) == "table" and elem[1]
  local size = item and self.sizes[id_of(change.nsid, change.value)]
  return size and type(item.key) == "string" and #item.key == size and item or nil
end

-- The changes of a transaction, with addresses and prefixes in the place of bytes.
function Sets:joined(changes)
  local list, open = {}, nil
  for _, change in ipairs(changes) do
    if change.object == "nft_set" then
      self:learn(change.nsid, change.event, change.value)
    end
    local item = element(self, change)
    local id = item and id_of(change.nsid, change.value) .. change.event
    if item and is_end(item) and open and open.id == id then
      open.item.key, open = range(open.first, item.key), nil
    else
      list[#list + 1] = change
      open = item and { id = id, item = item, first = item.key } or nil
      if item then
        item.key = nft_value.address(item.key)
      end
    end
  end
  return list
end

return sets
