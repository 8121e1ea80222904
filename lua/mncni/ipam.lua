-- SPDX-License-Identifier: Apache-2.0
-- Ranges of addresses as the reference host-local plugin configures them: pure functions, no files but resolv.conf.
-- A range is { subnet, first, last, gateway } of cidr values; a range set is a list of ranges, of which an attachment
-- gets one address. Everything wrong with a configuration is raised with code 7.

local core = require "mncni.core"

local ipam = {}

local function invalid(where, message, ...)
  error(core.error { code = 7, object = where, message = message:format(...) }, 0)
end

-- JSON's null, and the empty text that runtimes written in Go give for an address that is not set.
local function absent(value)
  return value == nil or value == "" or type(value) == "userdata" and not core.cidr.is(value)
end

-- The value at key, without regard to case (such runtimes write "RangeStart"); nil when absent.
local function field(table, key)
  local value = table[key]
  if value == nil then
    for name, candidate in pairs(table) do
      if type(name) == "string" and #name == #key and name:lower() == key:lower() then
        value = candidate
      end
    end
  end
  if absent(value) then
    return nil
  end
  return value
end

local function parse(value, where)
  if type(value) ~= "string" and not core.cidr.is(value) then
    invalid(where, "an IP address is expected as text, not %s", type(value))
  end
  local address, why = core.cidr.parse(value)
  if not address then
    invalid(where, "%s", why)
  end
  return address
end

-- An address without a prefix, or nil.
local function parse_address(value, where)
  if value == nil then
    return nil
  end
  local address = parse(value, where)
  if tostring(address):find("/", 1, true) then
    invalid(where, "%s is a network; give one address, without a prefix length", address)
  end
  return address
end

-- Reads one range { subnet, rangeStart, rangeEnd, gateway }. The gateway defaults to the subnet's first address,
-- rangeStart to the same (the gateway is skipped), rangeEnd to the last one before an IPv4 broadcast address.
-- `where` ("ranges[1][1]") begins the message of what is raised.
function ipam.range(given, where)
  if type(given) ~= "table" then
    invalid(where, "a range is an object with a subnet, not %s", type(given))
  end
  local text = field(given, "subnet")
  if text == nil then
    invalid(where, "a range needs a subnet, for example \"10.244.1.0/24\"")
  end
  local subnet = parse(text, where .. ".subnet")
  if not tostring(subnet):find("/", 1, true) then
    invalid(where .. ".subnet", "%s has no prefix length; write it as in \"10.244.1.0/24\"", subnet)
  end
  local bits = subnet.family == "inet" and 32 or 128
  if subnet.prefix > bits - 2 then
    invalid(where .. ".subnet", "Network %s too small to allocate from", subnet)
  end
  if subnet.address ~= subnet.network.address then
    invalid(where .. ".subnet", "Network has host bits set: for a prefix length of %d the network address is %s",
      subnet.prefix, subnet.network.address)
  end
  local range = {
    subnet = subnet,
    gateway = parse_address(field(given, "gateway"), where .. ".gateway") or subnet:nth(1):with_prefix(),
    first = parse_address(field(given, "rangeStart"), where .. ".rangeStart"),
    last = parse_address(field(given, "rangeEnd"), where .. ".rangeEnd"),
  }
  for _, key in ipairs { "gateway", "first", "last" } do
    if range[key] and range[key].family ~= subnet.family then
      invalid(where, "%s is not of the family of %s", range[key], subnet)
    end
  end
  if range.first and not subnet:contains(range.first) then
    invalid(where, "RangeStart %s not in network %s", range.first, subnet)
  end
  if range.last and not subnet:contains(range.last) then
    invalid(where, "RangeEnd %s not in network %s", range.last, subnet)
  end
  range.first = range.first or subnet:nth(1):with_prefix()
  range.last = range.last or subnet:nth(subnet.family == "inet" and -2 or -1):with_prefix()
  if range.last < range.first then
    invalid(where, "RangeStart %s is above RangeEnd %s", range.first, range.last)
  end
  return range
end

local function overlap(a, b)
  return a.subnet.family == b.subnet.family and a.first <= b.last and b.first <= a.last
end

-- A range set as a person reads it: "10.1.2.1-10.1.2.254,10.2.2.1-10.2.2.254".
function ipam.describe(set)
  local parts = {}
  for i, range in ipairs(set) do
    parts[i] = ("%s-%s"):format(range.first, range.last)
  end
  return table.concat(parts, ",")
end

local function check_set(set, where)
  for i, range in ipairs(set) do
    if range.subnet.family ~= set[1].subnet.family then
      invalid(where, "mixed address families: %s and %s; one set gives one address", set[1].subnet, range.subnet)
    end
    for j = 1, i - 1 do
      if overlap(range, set[j]) then
        invalid(where, "subnets %s and %s overlap", set[j].subnet, range.subnet)
      end
    end
  end
end

local function check_between(sets)
  for i = 2, #sets do
    for j = 1, i - 1 do
      for _, a in ipairs(sets[i]) do
        for _, b in ipairs(sets[j]) do
          if overlap(a, b) then
            invalid("ranges", "range set %d (%s) overlaps with %d (%s)", j, ipam.describe(sets[j]), i,
              ipam.describe(sets[i]))
          end
        end
      end
    end
  end
end

local function check_families(sets, version)
  local major, minor = tostring(version or "1.0.0"):match("^(%d+)%.(%d+)")
  if not major or tonumber(major) > 0 or tonumber(minor) >= 3 then
    return
  end
  local count = {}
  for _, set in ipairs(sets) do
    local family = set[1].subnet.family
    count[family] = (count[family] or 0) + 1
    if count[family] > 1 then
      invalid("ranges", "CNI version %s does not support more than 1 address per family", version)
    end
  end
end

-- The range sets of a configuration { subnet, rangeStart, rangeEnd, gateway, ranges } in the order in which they are
-- numbered: those that the runtime asks for (runtimeConfig.ipRanges), the subnet, then ranges. version is the
-- cniVersion of the call (before 0.3.0 a result has room for one address of a family).
function ipam.range_sets(conf, runtime_ranges, version)
  local sets = {}
  local function add(list, name)
    if absent(list) then
      return
    end
    if type(list) ~= "table" then
      invalid(name, "a list of range sets is expected, not %s", type(list))
    end
    for i, given in ipairs(list) do
      local where = name .. "[" .. i .. "]"
      if type(given) ~= "table" or #given == 0 then
        invalid(where, "a range set is a list of one or more ranges, as in [{\"subnet\": \"10.244.1.0/24\"}]")
      end
      local set = {}
      for j, range in ipairs(given) do
        set[j] = ipam.range(range, where .. "[" .. j .. "]")
      end
      check_set(set, where)
      sets[#sets + 1] = set
    end
  end
  add(runtime_ranges, "runtimeConfig.ipRanges")
  if field(conf, "subnet") ~= nil then
    sets[#sets + 1] = { ipam.range(conf, "ipam") }
  end
  add(conf.ranges, "ranges")
  if #sets == 0 then
    invalid("ipam", "no IP ranges specified: set subnet or ranges")
  end
  check_between(sets)
  check_families(sets, version)
  return sets
end

-- The range of the set that has the address, or nil.
function ipam.find(set, address)
  for _, range in ipairs(set) do
    if address.family == range.subnet.family and range.first <= address and address <= range.last then
      return range
    end
  end
  return nil
end

-- Which set gives which of the addresses that were asked for: a table from the set's number to an address. A set
-- gives one at most; raises, before anything is reserved, when any is left over, or is a gateway.
function ipam.assign(sets, wanted)
  local assigned, seen, left = {}, {}, {}
  for i, text in ipairs(wanted or {}) do
    local address = parse(text, ("requested IP %d"):format(i)):with_prefix()
    if not seen[tostring(address)] then
      seen[tostring(address)] = true
      left[#left + 1] = address
    end
  end
  for number, set in ipairs(sets) do
    for i, address in ipairs(left) do
      local range = ipam.find(set, address)
      if range then
        if address == range.gateway then
          invalid("requested IP " .. tostring(address), "requested ip %s is subnet's gateway", address)
        end
        assigned[number] = table.remove(left, i)
        break
      end
    end
  end
  if #left > 0 then
    local texts = {}
    for i, address in ipairs(left) do
      texts[i] = tostring(address)
    end
    invalid(nil, "failed to allocate all requested IPs: %s", table.concat(texts, " "))
  end
  return assigned
end

-- The routes of a configuration, each checked to have a dst and, if any, a gw of its family.
function ipam.routes(given)
  local routes = core.json.array {}
  for i, route in ipairs(given or {}) do
    local where = ("routes[%d]"):format(i)
    if type(route) ~= "table" or field(route, "dst") == nil then
      invalid(where, "a route needs a dst, as in {\"dst\": \"0.0.0.0/0\"}")
    end
    local checked = {}
    for _, key in ipairs { "dst", "gw", "mtu", "advmss", "priority", "table", "scope" } do
      checked[key] = field(route, key)
    end
    local dst = parse(checked.dst, where .. ".dst")
    local gateway = parse_address(checked.gw, where .. ".gw")
    if not tostring(dst):find("/", 1, true) then
      invalid(where .. ".dst", "%s has no prefix length", dst)
    end
    if gateway and gateway.family ~= dst.family then
      invalid(where, "gw %s is not of the family of %s", gateway, dst)
    end
    checked.dst, checked.gw = tostring(dst), gateway and tostring(gateway)
    routes[i] = checked
  end
  return routes
end

-- The dns part of a result from the resolv.conf at path; an empty table when path is nil. Raises code 7 when it cannot be
-- read.
function ipam.dns(path)
  if path == nil or path == "" then
    return {}
  end
  return require("mncni.resolv_conf").read(path)
end

return ipam
