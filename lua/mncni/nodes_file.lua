-- SPDX-License-Identifier: Apache-2.0
-- Nodes from a file: a list as `kubectl get nodes -o json` prints it, followed as it changes. For a few machines without
-- Kubernetes, and for trying things out. Replace it whole (write another, then rename), as editors do.

local core = require "mncni.core"
local node = require "mncni.node"

local nodes_file = {}

-- Bytes of a list: some ten thousand nodes of a cloud.
local LARGEST = 256 << 20

local Source = {}
Source.__index = Source

-- Milliseconds between looks for a directory that is gone.
local LOOK = 1000

-- Follows the directory that is at its path now: another may have taken its place. Returns whether there is one.
function Source:follow()
  local number = self.inotify:add(self.directory)
  if number ~= self.number then
    if self.number then
      self.inotify:remove(self.number)
    end
    self.number, self.changed = number, true
  end
  return number ~= nil
end

-- new(path, handler): handler.list(nodes, malformed) is called with a complete list, name -> node, and the list of
-- { name or nil, reason } of those that cannot be used; handler.failed(message) when the file cannot be read.
function nodes_file.new(path, handler)
  local directory, name = path:match "^(.*)/([^/]*)$"
  local self = setmetatable({
    path = path, directory = directory == "" and "/" or directory or ".", name = name or path, handler = handler,
    inotify = core.inotify(),
  }, Source)
  if not self:follow() then
    error(core.error {
      object = path, code = 7, message = "its directory is not there; make it, or name another file",
    }, 0)
  end
  self.changed = true
  return self
end

-- Returns name -> node and the malformed ones. Raises what is wrong with the file.
function nodes_file.read(path)
  local ok, list = pcall(core.json.decode, core.file.read(path, LARGEST))
  if not ok then
    error(core.error { op = "read", object = path, code = 7, message = tostring(list) }, 0)
  elseif type(list) ~= "table" or type(list.items) ~= "table" then
    error(core.error {
      op = "read", object = path, code = 7,
      message = "it is no list of nodes: an object with \"items\", as `kubectl get nodes -o json` prints it",
    }, 0)
  end
  local nodes, malformed = {}, {}
  for _, item in ipairs(list.items) do
    local one, reason, name = node.from(item)
    if one and nodes[one.name] then
      malformed[#malformed + 1] = { reason = ("node %q is there twice; the first is taken"):format(one.name) }
    elseif one then
      nodes[one.name] = one
    else
      malformed[#malformed + 1] = { name = name, reason = reason }
    end
  end
  return nodes, malformed
end

-- Descriptors to wait on.
function Source:fds()
  return { self.inotify:fd() }
end

-- As that of mncni.nodes_kube: a file is read when it has changed, and not often.
function Source.follows()
  return false
end

-- Reads the file if it has changed. Returns when to be called again even if nothing happens.
function Source:step(now)
  local there = self.number
  for _, event in ipairs(self.inotify:read()) do
    local own = event.watch == self.number
    there = there and not event.overflow and not (own and event.name == nil)
    self.changed = self.changed or event.overflow or own and (event.name or self.name) == self.name
  end
  if not there then
    local ok, problem = pcall(self.follow, self)
    if not ok then
      self.handler.failed(tostring(problem))
    end
    there = ok and self.number
  end
  if self.changed then
    self.changed = false
    local ok, nodes, malformed = pcall(nodes_file.read, self.path)
    if ok then
      self.handler.list(nodes, malformed)
    else
      self.handler.failed(tostring(nodes))
    end
  end
  return there and math.huge or now + LOOK
end

-- There is nobody to tell.
function Source.publish()
end

function Source.told()
  return true
end

function Source.problems()
  return {}
end

function Source:close()
  self.inotify:close()
end

return nodes_file
