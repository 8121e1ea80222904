-- SPDX-License-Identifier: Apache-2.0
-- A transport for mncni.kube whose answers a spec writes, and a clock that it moves.
--
--   local api = apiserver.new()                  -- api.client is a client of it, without credentials
--   local watch = api:watch { page = 0 }         -- its handlers write api.log: "synced a b", "changed a", ...
--   api:step()                                   -- the request that this makes is api.last
--   api:list("100", { "a", "b" })                -- answers it, and steps
--   api:event("ADDED", "c", "101")
--   api:pass(5000)                               -- lets time pass, step by step as the client asks for

local core = require "mncni.core"
local kube = require "mncni.kube"
local runner = require "spec.support.runner"
local json = core.json

local apiserver = {}
apiserver.__index = apiserver

local Request = {}
Request.__index = Request

function Request:take()
  local texts = self.texts
  self.texts = {}
  return texts, self.bytes
end

function Request:body()
  return self.text or ""
end

function Request:close()
  self.closed = true
end

local Transport = {}
Transport.__index = Transport

function Transport:request(args)
  local request = setmetatable({ args = args, texts = {}, bytes = 0, headers = {}, done = false }, Request)
  local api = self.api
  api.requests[#api.requests + 1], api.last = request, request
  request.url = args.url:gsub("^https?://[^/]+", "")
  request.path, request.query = request.url:match "^[^?]*", {}
  for key, value in request.url:gmatch "[?&]([^=]+)=([^&]*)" do
    request.query[key] = value:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  end
  return request
end

local function object(name, version)
  return { metadata = { name = name, resourceVersion = version or "1", uid = "uid-" .. name } }
end

-- args: fields of a client's conf.
function apiserver.new(args)
  local self = setmetatable({ requests = {}, log = {}, now = 1000, chance = 1, steps = 0 }, apiserver)
  local conf = { random = function() return self.chance end, on_error = function(text) self:say("error: " .. text) end }
  for key, value in pairs(args or {}) do
    conf[key] = value
  end
  if not conf.kubeconfig then
    self.directory = runner.directory()
    conf.kubeconfig = self.directory .. "/config"
    runner.write(conf.kubeconfig, "clusters: [{name: c, cluster: {server: 'http://api'}}]\n"
      .. "contexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n")
  end
  self.client = kube.client(conf, setmetatable({ api = self }, Transport))
  return self
end

function apiserver:cleanup()
  if self.directory then
    runner.sh("rm -rf " .. self.directory)
  end
end

function apiserver:say(text)
  self.log[#self.log + 1] = text
end

-- What was said since it was last asked, as one text.
function apiserver:said()
  local text = table.concat(self.log, "; ")
  self.log = {}
  return text
end

-- Begins a watch of nodes. args: fields of client:watch's; handler's are put over those that write the log.
function apiserver:watch(args)
  local what = { path = "/api/v1/nodes", keep = { spec = true } }
  for key, value in pairs(args or {}) do
    what[key] = value
  end
  what.handler = {
    synced = function(objects)
      local names = {}
      for i, one in ipairs(objects) do
        names[i] = one.metadata.name
      end
      self:say("synced" .. (#names > 0 and " " or "") .. table.concat(names, " "))
    end,
    changed = function(one) self:say("changed " .. one.metadata.name) end,
    deleted = function(one) self:say("deleted " .. one.metadata.name) end,
    failed = function(message, milliseconds)
      self:say(("failed %s: %s"):format(milliseconds, (message:gsub("^.-of http://api/api/v1/nodes: ", ""))))
    end,
  }
  for key, value in pairs(args and args.handler or {}) do
    what.handler[key] = value or nil
  end
  return self.client:watch(what)
end

function apiserver:step()
  self.steps = self.steps + 1
  self.due = self.client:step(self.now)
  return self.due
end

-- Lets a time pass: steps when the client asks for it.
function apiserver:pass(milliseconds)
  local stop = self.now + milliseconds
  repeat
    self.now = math.min(stop, self.now + math.max(1, self.client:step(self.now)))
  until self.now == stop
  self:step()
end

-- Documents for the last request, as tables or texts; its status is 200 unless it has one.
function apiserver:send(...)
  self.last.status = self.last.status or 200
  for _, document in ipairs { ... } do
    local text = type(document) == "string" and document or json.encode(document)
    self.last.texts[#self.last.texts + 1] = text
    self.last.bytes = self.last.bytes + #text
  end
  self:step()
end

-- The last request is over, with status 200 unless it could not connect; with an error { name =, message = } if given.
function apiserver:finish(err)
  self.last.status = self.last.status or (not err or err.name ~= "CONNECT") and 200 or nil
  self.last.done, self.last.error = true, err
  self:step()
end

-- Puts what the last request picks of a text where it takes it from.
function apiserver:pick(text)
  local request = self.last
  request.bytes = request.bytes + #text
  for _, document in ipairs(request.args.pick:feed(text)) do
    request.texts[#request.texts + 1] = document
  end
end

-- Answers the last request with a whole list of objects by their names; more: fields of its metadata.
function apiserver:list(version, names, more)
  local items, metadata = json.array {}, { resourceVersion = version, selfLink = "/x" }
  for i, name in ipairs(names) do
    items[i] = object(name)
  end
  for key, value in pairs(more or {}) do
    metadata[key] = value
  end
  self.last.status, self.last.done = 200, true
  self:pick(json.encode { kind = "NodeList", apiVersion = "v1", metadata = metadata, items = items })
  self:step()
end

-- Refuses the last request with a Status.
function apiserver:refuse(status, message, headers)
  local words = { kind = "Status", code = status, reason = "Reason", message = message }
  self.last.status, self.last.done, self.last.headers = status, true, headers or {}
  self.last.text = json.encode(words)
  self:step()
end

function apiserver:event(kind, name, version)
  self.last.status = 200
  self:pick(json.encode { type = kind, object = object(name, version) } .. "\n")
  self:step()
end

return apiserver
