-- SPDX-License-Identifier: Apache-2.0
-- libcni's cache: what it keeps of every attachment that was made, for the DEL to come. A trace finds there what it could
-- not see in the pipes: the configuration and the result.

local core = require "mncni.core"
local text = require "mncni.text"

local cache = {}

cache.DIRECTORY = "/var/lib/cni/results"

local MAX = 4 << 20

-- What is told of one of its files, or nil when it is none or half written.
function cache.read(path)
  local ok, words = pcall(core.file.read, path, MAX)
  local decoded, entry = pcall(core.json.decode, ok and words or "")
  if not decoded or type(entry) ~= "table" or entry.kind ~= "cniCacheV1" then
    return nil
  end
  local config = type(entry.config) == "string" and text.base64(entry.config)
  local read, list = pcall(core.json.decode, config or "")
  return {
    container = entry.containerId, ifname = entry.ifName, network = entry.networkName,
    config = read and list or nil, result = entry.result,
  }
end

-- What there is of an attachment, or nil: the network's name leads the file's, and may not be known.
function cache.find(directory, call)
  local config = type(call.config) == "table" and call.config
  if config and config.name then
    return cache.read(("%s/%s-%s-%s"):format(directory, config.name, call.container, call.ifname))
  end
  local tail = ("-%s-%s"):format(call.container, call.ifname)
  local ok, names = pcall(core.directory.list, directory)
  for _, name in ipairs(ok and names or {}) do
    if name:sub(-#tail) == tail then
      return cache.read(directory .. "/" .. name)
    end
  end
end

-- The configuration that a plugin of the list was given, as far as the list says it: libcni puts in the name and version.
function cache.config_of(entry, plugin)
  local list = entry.config
  if type(list) ~= "table" or type(list.plugins) ~= "table" then
    return list
  end
  for _, one in ipairs(list.plugins) do
    if one.type == plugin then
      one.name, one.cniVersion = list.name, list.cniVersion
      return one
    end
  end
end

return cache
