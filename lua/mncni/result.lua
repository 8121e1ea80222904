-- SPDX-License-Identifier: Apache-2.0
-- CNI results: between the shape of each cniVersion and the canonical one, which is that of 1.1.0 as Lua tables:
--   { interfaces = { { name, mac, mtu, sandbox, socketPath, pciID } },
--     ips = { { address = "10.0.0.2/24", gateway = "10.0.0.1", interface = 0-based } },
--     routes = { { dst, gw, mtu, advmss, priority, table, scope } }, dns = { nameservers, domain, search, options } }
-- The result of an IPAM plugin has no interfaces. Source: CNI specification, "Success" and the earlier versions'.

local core = require "mncni.core"

local result, null = {}, core.json.null

-- Oldest first.
result.versions = { "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" }

local rank = {}
for i, version in ipairs(result.versions) do
  rank[version] = i
end

-- True when version is one that mncni speaks.
function result.supported(version)
  return rank[version] ~= nil
end

-- True when version is at least `least`; both must be supported.
function result.at_least(version, least)
  return rank[version] >= rank[least]
end

-- What is wrong in a result is said by `refuse`, which raises: refuse(where, message, ...).
local function refuser(code, object)
  return function(where, message, ...)
    error(core.error { code = code, object = object, message = where .. " " .. message:format(...) }, 0)
  end
end

local function shown(value)
  local kind = type(value)
  if value == nil or value == null then
    return "missing"
  end
  if kind == "string" then
    return ("%q"):format(value):sub(1, 80)
  end
  return kind == "table" and "a table" or tostring(value)
end

local function absent(value)
  return value == nil or value == null
end

local function optional_string(entry, key, where, refuse)
  local value = entry[key]
  if absent(value) or value == "" then
    return nil
  end
  if type(value) ~= "string" then
    refuse(where .. "." .. key, "must be a string, and is %s", shown(value))
  end
  return value
end

local function optional_integer(entry, key, where, refuse)
  local value = entry[key]
  if absent(value) then
    return nil
  end
  local integer = math.type(value) and math.tointeger(value)
  if not integer or integer < 0 or integer > 0xFFFFFFFF then
    refuse(where .. "." .. key, "must be an integer from 0 up, and is %s", shown(value))
  end
  return integer
end

-- Zero means "not said" for these in the CNI libraries, which leave it out.
local function positive_integer(entry, key, where, refuse)
  local value = optional_integer(entry, key, where, refuse)
  return value ~= 0 and value or nil
end

-- An address with its prefix length, as text that keeps the host bits. lenient takes what Lua code may hand over.
local function network(value, where, refuse, complete)
  local text = type(value) == "userdata" and not absent(value) and tostring(value) or value
  local cidr, why
  if type(text) == "string" then
    cidr, why = core.cidr.parse(text)
  end
  if not cidr then
    refuse(where, "must be an address with its prefix length, and is %s%s", shown(value), why and ": " .. why or "")
  end
  if not text:find("/", 1, true) then
    if not complete then
      refuse(where, "must have its prefix length (%s/%s)", text, cidr.family == "inet" and "24" or "64")
    end
    text = ("%s/%d"):format(text, cidr.family == "inet" and 32 or 128)
  end
  return text, cidr.family
end

-- A plain address. From Lua code, a value with a prefix length will do.
local function host(value, where, refuse, lenient)
  if absent(value) or value == "" then
    return nil
  end
  local text = type(value) == "userdata" and tostring(value) or value
  local cidr, why
  if type(text) == "string" then
    cidr, why = core.cidr.parse(text)
  end
  if not cidr or (text:find("/", 1, true) and not lenient) then
    refuse(where, "must be an address without prefix length, and is %s%s", shown(value), why and ": " .. why or "")
  end
  return cidr.address, cidr.family
end

local function list(value, where, refuse)
  if absent(value) then
    return {}
  end
  if type(value) ~= "table" or (next(value) ~= nil and #value == 0) then
    refuse(where, "must be a list, and is %s", type(value) == "table" and "an object" or shown(value))
  end
  return value
end

local function object(value, where, refuse)
  if type(value) ~= "table" then
    refuse(where, "must be an object, and is %s", shown(value))
  end
  return value
end

local function read_interfaces(given, refuse)
  local interfaces = {}
  for i, entry in ipairs(list(given, "interfaces", refuse)) do
    local where = "interfaces[" .. i - 1 .. "]"
    object(entry, where, refuse)
    interfaces[i] = {
      name = optional_string(entry, "name", where, refuse) or refuse(where .. ".name", "is missing"),
      mac = optional_string(entry, "mac", where, refuse),
      mtu = positive_integer(entry, "mtu", where, refuse),
      sandbox = optional_string(entry, "sandbox", where, refuse),
      socketPath = optional_string(entry, "socketPath", where, refuse),
      pciID = optional_string(entry, "pciID", where, refuse),
    }
  end
  return interfaces
end

local function read_ips(given, interfaces, refuse, lenient)
  local ips = {}
  for i, entry in ipairs(list(given, "ips", refuse)) do
    local where = "ips[" .. i - 1 .. "]"
    object(entry, where, refuse)
    local address, family = network(entry.address, where .. ".address", refuse)
    local gateway, gateway_family = host(entry.gateway, where .. ".gateway", refuse, lenient)
    if gateway and gateway_family ~= family then
      refuse(where .. ".gateway", "%s is not of the family of %s", gateway, address)
    end
    local index = optional_integer(entry, "interface", where, refuse)
    if index and index >= #interfaces then
      refuse(where .. ".interface", "is %d, and there %s", index,
        #interfaces == 0 and "are no interfaces" or ("is no interface after %d"):format(#interfaces - 1))
    end
    ips[i] = { address = address, gateway = gateway, interface = index }
  end
  return ips
end

local function read_route(entry, where, refuse, lenient)
  object(entry, where, refuse)
  local gw, gw_family = host(entry.gw, where .. ".gw", refuse, lenient)
  local dst = entry.dst
  if dst == "default" and lenient then
    dst = gw_family == "inet6" and "::/0" or "0.0.0.0/0"
  end
  return {
    dst = network(dst, where .. ".dst", refuse, lenient),
    gw = gw,
    mtu = positive_integer(entry, "mtu", where, refuse),
    advmss = positive_integer(entry, "advmss", where, refuse),
    priority = positive_integer(entry, "priority", where, refuse),
    table = optional_integer(entry, "table", where, refuse),
    scope = optional_integer(entry, "scope", where, refuse),
  }
end

local function read_routes(given, refuse, lenient, prefix)
  local routes, name = {}, (prefix or "") .. "routes"
  for i, entry in ipairs(list(given, name, refuse)) do
    routes[i] = read_route(entry, name .. "[" .. i - 1 .. "]", refuse, lenient)
  end
  return routes
end

local function read_dns(given, refuse)
  if absent(given) then
    return nil
  end
  object(given, "dns", refuse)
  local dns = {
    domain = optional_string(given, "domain", "dns", refuse),
  }
  for _, key in ipairs { "nameservers", "search", "options" } do
    local strings = core.json.array {}
    for i, text in ipairs(list(given[key], "dns." .. key, refuse)) do
      if type(text) ~= "string" then
        refuse(("dns.%s[%d]"):format(key, i - 1), "must be a string, and is %s", shown(text))
      end
      strings[i] = text
    end
    dns[key] = #strings > 0 and strings or nil
  end
  return next(dns) and dns or nil
end

local function family(address)
  return core.cidr(address).family
end

-- For mncni.result_old.
result.readers = {
  absent = absent, object = object, network = network, host = host, routes = read_routes, dns = read_dns,
  family = family,
}

local function read(document, refuse, lenient)
  object(document, "the result", refuse)
  local interfaces = read_interfaces(document.interfaces, refuse)
  return {
    interfaces = interfaces,
    ips = read_ips(document.ips, interfaces, refuse, lenient),
    routes = read_routes(document.routes, refuse, lenient),
    dns = read_dns(document.dns, refuse),
  }
end

-- The canonical form of a result that another plugin or the runtime handed over (decoded JSON). Its own cniVersion
-- tells its shape; without one it is in `version`. Keys that no version has are dropped.
-- Raises, naming the place, what is malformed: with args.code (6 without) and args.object.
function result.canonical(document, version, args)
  args = args or {}
  local refuse = refuser(args.code or 6, args.object or "result")
  object(document, "it", refuse)
  local own = document.cniVersion
  if absent(own) or own == "" then
    own = version
  end
  if not rank[own] then
    refuse("cniVersion", "%s is none of %s", shown(own), table.concat(result.versions, ", "))
  end
  if rank[own] < rank["0.3.0"] then
    return require("mncni.result_old").read(document, refuse)
  end
  return read(document, refuse, false)
end

-- Checks what a policy returned as its result and returns a clean copy of it. What Lua code may hand over is taken:
-- cidr values, a gateway with prefix length, a route to "default". Raises, with code 100, what is no result.
function result.check(returned)
  return read(returned, refuser(100, "the policy's result"), true)
end

-- A marked copy of a list through `fn`; nil when it is empty, so that the key is left out.
local function mapped(entries, fn)
  local copy = core.json.array {}
  for i, entry in ipairs(entries or {}) do
    copy[i] = fn(entry)
  end
  return #copy > 0 and copy or nil
end

-- The document that a runtime gets: a canonical result in the shape of `version` (a supported one), for
-- json.encode. Raises code 1 for a result without addresses below 0.3.0, which cannot say so.
function result.convert(canonical, version)
  if rank[version] < rank["0.3.0"] then
    return require("mncni.result_old").convert(canonical, version)
  end
  local newest = rank[version] >= rank["1.1.0"]
  local numbered = rank[version] < rank["1.0.0"]
  return {
    cniVersion = version,
    interfaces = mapped(canonical.interfaces, function(link)
      return {
        name = link.name, mac = link.mac, sandbox = link.sandbox, mtu = newest and link.mtu or nil,
        socketPath = newest and link.socketPath or nil, pciID = newest and link.pciID or nil,
      }
    end),
    ips = mapped(canonical.ips, function(ip)
      return {
        version = numbered and (family(ip.address) == "inet" and "4" or "6") or nil,
        address = ip.address, gateway = ip.gateway, interface = ip.interface,
      }
    end),
    -- What 1.1.0 added to routes does no harm to older readers, and the next plugin of the chain may use it.
    routes = mapped(canonical.routes, function(route)
      return {
        dst = route.dst, gw = route.gw, mtu = route.mtu, advmss = route.advmss, priority = route.priority,
        table = route.table, scope = route.scope,
      }
    end),
    dns = canonical.dns and next(canonical.dns) and canonical.dns or nil,
  }
end

return result
