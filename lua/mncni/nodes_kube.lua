-- SPDX-License-Identifier: Apache-2.0
-- Nodes from the Kubernetes API, and what an agent tells the cluster in return: Events, a condition, annotations. Also the
-- ConfigMap that policies come from, where one is named.

local core = require "mncni.core"
local kube = require "mncni.kube"
local node = require "mncni.node"
local same = require "mncni.same"

local nodes_kube = {}

local Source = {}
Source.__index = Source

-- What is kept of a Node: what policies see.
local KEEP = {
  metadata = { labels = true, annotations = true, deletionTimestamp = true },
  spec = { podCIDR = true, podCIDRs = true, providerID = true },
  status = { addresses = true },
}

-- Milliseconds after which a patch that failed is tried again, and own conditions are looked at again.
local RETRY, LOOK = 5000, 300000

-- Of a malformed node, what there is of it.
local function convert(object)
  local one, reason, name = node.from(object)
  return one or { name = name, malformed = reason }
end

local function watch_nodes(self, handler, resource_version)
  self.watch = self.client:watch {
    -- In one piece: it is read as it comes, and a server that makes pages makes them one after the other.
    path = "/api/v1/nodes", keep = KEEP, resource_version = resource_version, page = 0,
    handler = {
      convert = convert,
      synced = function(list)
        local nodes, malformed = {}, {}
        for _, one in ipairs(list) do
          if one.malformed then
            malformed[#malformed + 1] = { name = one.name, reason = one.malformed }
          else
            nodes[one.name] = one
          end
        end
        return handler.list(nodes, malformed)
      end,
      changed = function(one)
        if one.malformed then
          handler.malformed(one.name, one.malformed)
        else
          handler.changed(one)
        end
      end,
      deleted = function(object)
        handler.deleted(object.metadata.name)
      end,
      failed = function(message, retry)
        handler.failed(message, retry)
      end,
      well = function()
        handler.well()
      end,
    },
  }
end

-- Names of files in a ConfigMap that hold policies: "routes.lua" holds the policy routes.
local function texts_of(object)
  local texts = {}
  for name, text in pairs(object.data or {}) do
    local policy = name:match "^([%w_%-][%w_.%-]*)%.lua$"
    if policy and type(text) == "string" then
      texts[policy] = text
    end
  end
  return texts
end

local function watch_policies(self, name, handler)
  local namespace, object = name:match "^([^/]+)/([^/]+)$"
  if not namespace then
    error(core.error { object = "configmap", code = 7, message = ("expected NAMESPACE/NAME, got %q"):format(name) }, 0)
  end
  self.policies = self.client:watch {
    path = ("/api/v1/namespaces/%s/configmaps"):format(namespace), field_selector = "metadata.name=" .. object,
    handler = {
      synced = function(list)
        if list[1] then
          handler.policies(texts_of(list[1]))
        end -- one that is gone, or not there yet, changes nothing
      end,
      changed = function(one)
        handler.policies(texts_of(one))
      end,
      deleted = function() end,
      failed = function(message, retry)
        handler.failed(message, retry, "policies")
      end,
      well = function()
        handler.well "policies"
      end,
    },
  }
end

-- new(args): args.multi, node (this node's name), kubernetes (conf of mncni.kubeconfig), configmap, handler, and
-- resource_version to go on from. Handler: list(nodes, malformed), changed(node), deleted(name), malformed(name, reason),
-- failed(message, retry in ms, what) and, when that is over, well(what), where what is "policies" or nil for the nodes;
-- policies(texts).
function nodes_kube.new(args)
  local conf = { component = "mncni-agent", instance = args.node }
  for key, value in pairs(args.kubernetes) do
    conf[key] = value
  end
  local self = setmetatable({
    client = kube.client(conf, args.multi), node = args.node, conditions = {}, annotations = {}, publish_at = 0,
  }, Source)
  watch_nodes(self, args.handler, args.resource_version)
  if args.configmap then
    watch_policies(self, args.configmap, args.handler)
  end
  return self
end

function Source.fds()
  return {}
end

-- Says something about this node where `kubectl describe node` shows it.
function Source:event(kind, reason, message)
  self.client:event {
    regarding = { kind = "Node", name = self.node }, type = kind, reason = reason, message = message,
    action = "Reconcile",
  }
end

-- Whether a condition is there as wanted.
local function stands(have, want)
  return have and have.status == want.status and have.reason == want.reason
end

-- Writes what differs of the conditions and annotations wanted. They are read first: others write there too.
function Source:publish(wanted)
  if not same(self.wanted, wanted) then
    self.wanted, self.publish_at = wanted, 0
  end
end

local function patch(self, object, now)
  local have = {}
  for _, condition in ipairs(object.status and object.status.conditions or {}) do
    have[condition.type] = condition
  end
  local function on_done(_, _, err)
    if err then
      self.problem, self.publish_at = err.message, self.now + RETRY
    end
  end
  for _, want in ipairs(self.wanted.conditions) do
    local old = have[want.type]
    if not stands(old, want) then
      self.client:patch_node_condition {
        node = self.node, type = want.type, status = want.status, reason = want.reason, message = want.message,
        transition = not old or old.status ~= want.status, on_done = on_done,
      }
    end
  end
  local annotations, any = {}, false
  local there = object.metadata and object.metadata.annotations or {}
  for key, value in pairs(self.wanted.annotations) do
    if there[key] ~= value then
      annotations[key], any = value, true
    end
  end
  if any then
    self.client:patch_annotations { path = "/api/v1/nodes/" .. self.node, annotations = annotations, on_done = on_done }
  end
  self.publish_at = now + LOOK
end

-- Whether there is anything to tell that is not being told.
local function has_news(self)
  local wanted = self.wanted
  return wanted and not self.asking and (next(wanted.conditions) or next(wanted.annotations)) ~= nil
end

local function publish(self, now)
  if not has_news(self) or now < self.publish_at then
    return
  end
  self.asking = true
  self.client:request {
    path = "/api/v1/nodes/" .. self.node,
    on_done = function(_, object, err)
      self.asking, self.problem = false, err and err.message
      if err then
        self.publish_at = self.now + RETRY
      else
        patch(self, object, self.now)
      end
    end,
  }
end

-- Does what there is to do. Returns when to be called again even if nothing happens.
function Source:step(now)
  self.now = now
  publish(self, now)
  local due = now + self.client:step(now)
  self.resource_version = self.watch.synced and self.watch.resource_version or nil
  if has_news(self) then
    due = math.min(due, math.max(self.publish_at, now + 1))
  end
  return due
end

-- What is wrong with telling the cluster, or nil.
function Source:problems()
  return self.problem and { { kind = "node", key = self.node, message = self.problem } } or {}
end

function Source:close()
  self.client:close()
end

return nodes_kube
