-- SPDX-License-Identifier: Apache-2.0
-- Events, conditions and annotations, on a real API server.
local core = require "mncni.core"
local followers = require "spec.support.follower"
local kubes = require "spec.support.kube"

describe("telling a real API server", function()
  local kube, follower

  setup(function()
    kube = kubes.new()
    kube:nodes { count = 1, prefix = "n" }
  end)
  teardown(kubes.cleanup)
  before_each(function()
    follower = followers.new { kubeconfig = kube.admin, instance = "n000000" }
    follower:wait("the list", function() return follower.watch.state == "watch" end)
  end)
  after_each(followers.cleanup)

  local function node()
    return kube:must("GET", "/api/v1/nodes/n000000")
  end

  -- Sends, and waits for the answer; returns status and error.
  local function done(verb, args)
    local answer
    function args.on_done(status, _, err) answer = { status, err } end
    follower.client[verb](follower.client, args)
    follower:wait("the answer", function() return answer end)
    return answer[1], answer[2]
  end

  it("a condition leaves the node's others as they are", function()
    local before = node().status.conditions
    local status, err = done("patch_node_condition", {
      node = "n000000", type = "NetworkUnavailable", status = "False", reason = "RoutesAreSet", message = "60 routes",
    })
    assert.same({ 200 }, { status, err })
    local after, found = node().status.conditions, nil
    for i, condition in ipairs(after) do
      if condition.type == "NetworkUnavailable" then
        found = table.remove(after, i)
        break
      end
    end
    for i, condition in ipairs(before) do
      if condition.type == "NetworkUnavailable" then
        table.remove(before, i)
        break
      end
    end
    assert.same(before, after)
    assert.same({ "False", "RoutesAreSet", "60 routes" }, { found.status, found.reason, found.message })
    local since = found.lastTransitionTime
    core.exec { argv = { "sleep", "1.1" } }
    done("patch_node_condition", {
      node = "n000000", type = "NetworkUnavailable", status = "False", reason = "Other", transition = false,
    })
    for _, condition in ipairs(node().status.conditions) do
      if condition.type == "NetworkUnavailable" then
        assert.same({ since, "Other" }, { condition.lastTransitionTime, condition.reason })
        assert.is_true(condition.lastHeartbeatTime > since)
      end
    end
  end)

  it("annotations sets them, and removes those that are null", function()
    local path = "/api/v1/nodes/n000000"
    local function set(annotations) return done("patch_annotations", { path = path, annotations = annotations }) end
    assert.equal(200, (set { ["mncni/a"] = "1", ["mncni/b"] = "2" }))
    assert.equal(200, (set { ["mncni/a"] = "3", ["mncni/b"] = core.json.null }))
    local annotations = node().metadata.annotations
    assert.equal("3", annotations["mncni/a"])
    assert.is_nil(annotations["mncni/b"])
    local status, err = done("patch_annotations", { path = "/api/v1/nodes/none", annotations = { a = "1" } })
    assert.same({ 404, "NotFound" }, { status, err.name })
    assert.is_truthy(tostring(err):find('PATCH /api/v1/nodes/none: HTTP 404: nodes "none" not found', 1, true))
  end)

  it("an Event is there once, with its count, where kubectl describe looks for it", function()
    local function event()
      follower.client:event {
        regarding = { kind = "Node", name = "n000000" }, type = "Warning", reason = "RouteConflict",
        message = "10.244.1.0/24 is somebody else's",
      }
    end
    local function events()
      return kube:must("GET", "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dn000000,"
        .. "involvedObject.uid%3Dn000000").items
    end
    event()
    follower:wait("the Event", function() return #events() == 1 end)
    for _ = 1, 4 do event() end
    follower:wait("the count", function() return events()[1].count == 5 end, 15)
    assert.equal(1, #events())
    local found = events()[1]
    assert.same({ "Warning", "RouteConflict", "mncni-agent", "n000000" },
      { found.type, found.reason, found.source.component, found.source.host })
    kube:must("DELETE", "/api/v1/namespaces/default/events/" .. found.metadata.name)
    event()
    follower:wait("the Event anew", function() return #events() == 1 end, 25)
    assert.equal(6, events()[1].count)
    assert.same({}, follower.errors)
  end)
end)
