-- SPDX-License-Identifier: Apache-2.0
-- What an agent makes of mncni.kube, for specs with a real API server: a store that follows it.
--
--   local follower = followers.new { kubeconfig = path }      -- a client, and a watch of nodes
--   follower:wait("synced", function() return follower.watch.synced end)
--   assert.same(truth, follower.store)                        -- name -> podCIDR
--   follower.log                                              -- "synced 3", "changed a", "deleted b", "failed ..."
--   followers.cleanup()

local http = require "mncni.http"
local kube = require "mncni.kube"

local followers = {}
local Follower = {}
Follower.__index = Follower
local open = {}

-- Milliseconds since the boot.
function followers.now()
  local file <close> = assert(io.open "/proc/uptime")
  return math.floor(file:read "n" * 1000)
end

local KEEP = { spec = { podCIDR = true }, metadata = { annotations = true } }

-- conf: of a client. what: fields of the watch's arguments, and of its handler.
function followers.new(conf, what)
  local self = setmetatable({ store = {}, log = {}, errors = {}, removed = {} }, Follower)
  conf.on_error = function(message) self.errors[#self.errors + 1] = message end
  self.multi = http.multi()
  open[#open + 1] = self
  -- A spec may look at each request before it is sent, as follower.before.
  self.client = kube.client(conf, { request = function(_, args)
    if self.before then
      self.before(args)
    end
    return self.multi:request(args)
  end })
  local function say(...)
    self.log[#self.log + 1] = table.concat({ ... }, " ")
  end
  local args = { path = "/api/v1/nodes", keep = KEEP }
  for key, value in pairs(what or {}) do
    args[key] = value
  end
  args.handler = {
    synced = function(objects)
      local all = {}
      for _, object in ipairs(objects) do
        all[object.metadata.name] = object.spec.podCIDR or "none"
      end
      if self.own and not all[self.own] then
        say("refused", #objects)
        return false, "the node " .. self.own .. " is not in it"
      end
      for name in pairs(self.store) do
        if not all[name] then
          self.removed[name] = true
        end
      end
      self.store = all
      say("synced", #objects)
    end,
    changed = function(object)
      self.store[object.metadata.name] = object.spec.podCIDR or "none"
      self.last = object
      say("changed", object.metadata.name)
    end,
    deleted = function(object)
      self.store[object.metadata.name] = nil
      self.removed[object.metadata.name] = true
      say("deleted", object.metadata.name)
    end,
    failed = function(message, milliseconds)
      say("failed", milliseconds or "-", message)
    end,
  }
  for key, value in pairs(what and what.handler or {}) do
    args.handler[key] = value
  end
  self.watch = self.client:watch(args)
  return self
end

-- Goes round the loop once, for so many ms at most.
function Follower:turn(milliseconds)
  local due = self.client:step(followers.now())
  self.multi:poll({}, math.min(due, milliseconds or 100))
  self.client:step(followers.now())
end

-- Goes round until condition holds; returns how many ms that took. An error names what did not come in so many seconds.
function Follower:wait(what, condition, seconds)
  local began = followers.now()
  while not condition() do
    if followers.now() - began > (seconds or 10) * 1000 then
      error(("%s did not come; the log ends with:\n%s"):format(what, table.concat(self.log, "\n", math.max(1,
        #self.log - 20))), 2)
    end
    self:turn()
  end
  return followers.now() - began
end

-- Goes round for some time, whatever comes.
function Follower:pass(seconds)
  local stop = followers.now() + seconds * 1000
  while followers.now() < stop do
    self:turn(stop - followers.now())
  end
end

-- Whether a line of the log, from the one of this number on, has a text in it; the line.
function Follower:said(text, from)
  for i = from or 1, #self.log do
    if self.log[i]:find(text, 1, true) then
      return self.log[i]
    end
  end
end

function Follower:close()
  self.client:close()
  self.multi:close()
end

function followers.cleanup()
  for _, follower in ipairs(open) do
    follower:close()
  end
  open = {}
end

return followers
