-- SPDX-License-Identifier: Apache-2.0
-- libcni's cache: what it keeps of every attachment that was made, for the DEL to come. A trace finds there what it could
-- not see in the pipes: the configuration and the result.

local core = require "mncni.core"
local text = require "mncni.text"

local cache = {}

cache.DIRECTORY = "/var/lib/cni/results"

local MAX = 4 << 20

-- A JSON document as a table, or nil where the text is none.
function cache.decode(words)
  local ok, value = pcall(core.json.decode, words or "")
  return ok and type(value) == "table" and value or nil
end

-- What a file's text tells, or nil when it is none of the cache's, or half written.
function cache.parse(words)
  local entry = cache.decode(words)
  if not entry or entry.kind ~= "cniCacheV1" or type(entry.containerId) ~= "string"
    or type(entry.ifName) ~= "string" then
    return nil
  end
  return {
    container = entry.containerId, ifname = entry.ifName,
    network = type(entry.networkName) == "string" and entry.networkName or nil,
    config = type(entry.config) == "string" and cache.decode(text.base64(entry.config)) or nil,
    result = type(entry.result) == "table" and entry.result or nil,
  }
end

-- The same of a file.
function cache.read(path)
  local ok, words = pcall(core.file.read, path, MAX)
  return ok and cache.parse(words) or nil
end

-- What there is of an attachment, or nil. The network's name leads the file's; a trace may not know it.
function cache.find(directory, call)
  local tail = ("-%s-%s"):format(call.container, call.ifname)
  if call.network and not call.network:find("/", 1, true) then
    return cache.read(directory .. "/" .. call.network .. tail)
  end
  local ok, names = pcall(core.directory.list, directory)
  for _, name in ipairs(ok and names or {}) do
    if name:sub(-#tail) == tail then
      return cache.read(directory .. "/" .. name)
    end
  end
end

-- The plugins of a configuration list, those that are tables.
function cache.plugins_of(list)
  local plugins = {}
  for i, plugin in ipairs(list and type(list.plugins) == "table" and list.plugins or {}) do
    if type(plugin) ~= "table" then
      break
    end
    plugins[i] = plugin
  end
  return plugins
end

-- The configuration that a plugin of the list was given, as far as the list says it: libcni puts in the name and version.
function cache.config_of(entry, plugin)
  local list = entry.config
  if not list or type(list.plugins) ~= "table" then
    return list
  end
  for _, one in ipairs(cache.plugins_of(list)) do
    if one.type == plugin then
      one.name, one.cniVersion = list.name, list.cniVersion
      return one
    end
  end
end

return cache
