-- SPDX-License-Identifier: Apache-2.0
-- Nodes from the Kubernetes API, and what an agent tells the cluster in return: Events, a condition, annotations. Also the
-- ConfigMap that policies come from, where one is named.

local core = require "mncni.core"
local kube = require "mncni.kube"
local node = require "mncni.node"
local raised = require "mncni.raised"
local same = require "mncni.same"

local nodes_kube = {}

local Source = {}
Source.__index = Source

-- What is kept of a Node: what policies see. mncni.kube_proto has the same.
local KEEP = {
  metadata = { labels = true, annotations = true, deletionTimestamp = true },
  spec = { podCIDR = true, podCIDRs = true, providerID = true },
  status = { addresses = true },
}

-- Milliseconds after which telling is tried again when it failed, twice as many each time, and own conditions are looked
-- at again.
local RETRY, LOOK = 5000, 300000

-- Of a malformed node, what there is of it.
local function convert(object)
  local one, reason, name = node.from(object)
  return one or { name = name, malformed = reason }
end

-- Follows nodes; see new. keep: other members of a Node than those that policies of a node see; on_object is told of each
-- as it comes, before anything else.
function nodes_kube.watch(client, handler, args)
  return client:watch {
    -- In one piece: it is read as it comes, and a server that makes pages makes them one after the other.
    path = "/api/v1/nodes", keep = args.keep or KEEP, resource_version = args.resource_version, page = 0,
    protobuf = require("mncni.kube_proto").nodes, ignore_version = not args.on_object,
    handler = {
      convert = args.on_object and function(object)
        args.on_object(object)
        return convert(object)
      end or convert,
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

-- Follows the ConfigMap that has policies, NAMESPACE/NAME; see new.
function nodes_kube.watch_policies(client, name, handler)
  local namespace, object = name:match "^([^/]+)/([^/]+)$"
  if not namespace then
    error(core.error { object = "configmap", code = 7, message = ("expected NAMESPACE/NAME, got %q"):format(name) }, 0)
  end
  return client:watch {
    path = ("/api/v1/namespaces/%s/configmaps"):format(namespace), field_selector = "metadata.name=" .. object,
    handler = {
      synced = function(list)
        handler.policies(list[1] and texts_of(list[1]))
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
-- policies(texts, or nil when there is no such ConfigMap, which changes nothing).
function nodes_kube.new(args)
  local conf = { component = "mncni-agent", instance = args.node }
  for key, value in pairs(args.kubernetes) do
    conf[key] = value
  end
  local self = setmetatable({
    client = kube.client(conf, args.multi), node = args.node, conditions = {}, annotations = {}, publish_at = 0,
    retry = RETRY,
  }, Source)
  self.watch = nodes_kube.watch(self.client, args.handler, { resource_version = args.resource_version })
  if args.configmap then
    nodes_kube.watch_policies(self.client, args.configmap, args.handler)
  end
  return self
end

function Source.fds()
  return {}
end

-- Whether the nodes are all known, and only what changes of them is to come.
function Source:follows()
  return self.watch.state == "watch"
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

local function anything(wanted)
  return next(wanted.conditions) ~= nil or next(wanted.annotations) ~= nil
end

-- Writes what differs of the conditions and annotations wanted. They are read first: others write there too.
function Source:publish(wanted)
  if not same(self.wanted, wanted) then
    self.wanted, self.publish_at, self.retry = wanted, 0, RETRY
    self.problem = anything(wanted) and self.problem or nil
  end
end

-- A round of telling is over: what was wrong with it, if anything, stands until a round goes well.
local function told(self, wanted, err)
  self.telling, self.problem = false, err and anything(self.wanted) and err.message or nil
  if err then
    self.publish_at = self.now + math.max(self.retry, err.retry_after or 0)
    self.retry = math.min(2 * self.retry, LOOK)
  else
    self.publish_at, self.retry = self.now + LOOK, RETRY
  end
  if self.wanted ~= wanted and not (err and err.retry_after) then
    self.publish_at = 0
  end
end

-- Writes what differs of the node from what is wanted, and calls done with the first error, or nil, when all is written.
local function patch(self, object, wanted, done)
  local pending, failed = 1, nil
  local function on_done(_, _, err)
    pending, failed = pending - 1, failed or err
    if pending == 0 then
      done(failed)
    end
  end
  local function send(what, args)
    pending, args.on_done = pending + 1, on_done
    local ok, err = raised.catch(self.client[what], self.client, args)
    if not ok then
      on_done(nil, nil, err)
    end
  end
  local have = {}
  for _, condition in ipairs(object.status and object.status.conditions or {}) do
    have[condition.type] = condition
  end
  for _, want in ipairs(wanted.conditions) do
    local old = have[want.type]
    if not stands(old, want) then
      send("patch_node_condition", {
        node = self.node, type = want.type, status = want.status, reason = want.reason, message = want.message,
        transition = not old or old.status ~= want.status,
      })
    end
  end
  local annotations = {}
  local there = object.metadata and object.metadata.annotations or {}
  for key, value in pairs(wanted.annotations) do
    if there[key] ~= value then
      annotations[key] = value
    end
  end
  if next(annotations) then
    send("patch_annotations", { path = "/api/v1/nodes/" .. self.node, annotations = annotations })
  end
  on_done()
end

-- Whether there is anything to tell that is not being told.
local function has_news(self)
  return self.wanted and not self.telling and anything(self.wanted)
end

local function publish(self, now)
  if not has_news(self) or now < self.publish_at then
    return
  end
  local wanted = self.wanted
  self.telling = true
  local ok, problem = raised.catch(self.client.request, self.client, {
    path = "/api/v1/nodes/" .. self.node,
    on_done = function(_, object, err)
      if err then
        told(self, wanted, err)
      else
        patch(self, object, wanted, function(failed) told(self, wanted, failed) end)
      end
    end,
  })
  if not ok then
    told(self, wanted, problem)
  end
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

-- Whether all is told, or was tried: nothing is on its way to the API, and no news wait.
function Source:told()
  return #self.client.calls == 0 and not (has_news(self) and self.publish_at <= self.now)
end

-- What is wrong with telling the cluster, or nil.
function Source:problems()
  return self.problem and { { kind = "node", key = self.node, message = self.problem } } or {}
end

function Source:close()
  self.client:close()
end

return nodes_kube
