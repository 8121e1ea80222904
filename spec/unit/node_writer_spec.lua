-- SPDX-License-Identifier: Apache-2.0
-- Ranges on their way to nodes: what is sent, and what comes of every answer.

local core = require "mncni.core"
local apiserver = require "spec.support.apiserver"
local node_writer = require "mncni.node_writer"
local mncni = require "mncni"

describe("the writer of nodes' ranges", function()
  local api, known, versions, fresh, writer

  local function new(before)
    return node_writer.new {
      client = api.client, fresh = function() return fresh, 4321 end, versions = versions, before = before,
    }
  end

  before_each(function()
    api, known, versions, fresh = apiserver.new(), {}, {}, true
    writer = new()
  end)
  after_each(function() api:cleanup() end)

  local function see(name, cidrs, uid)
    known[name] = mncni.node.new { name = name, uid = uid or "uid-" .. name, pod_cidrs = cidrs }
    versions[name] = "7"
    writer:seen(name, known[name], 1000)
  end

  local function forget(name)
    known[name] = nil
    writer:seen(name, nil, 1000)
  end

  -- name -> text, or a list of them
  local function want(wanted)
    local nodes = {}
    for name, cidrs in pairs(wanted) do
      nodes[name] = { events = {}, pod_cidrs = core.json.array(type(cidrs) == "table" and cidrs or { cidrs }) }
    end
    writer:want(nodes, known)
  end

  local function step()
    api:step()
    return writer:step(api.now)
  end

  -- Requests of a sort since the last look, as "PATCH /api/v1/nodes/a".
  local seen = 0
  local function sent(wanted)
    local list = {}
    for i = seen + 1, #api.requests do
      local request = api.requests[i]
      if not wanted or request.args.method == wanted then
        list[#list + 1] = ("%s %s"):format(request.args.method or "GET", request.url)
      end
    end
    seen = #api.requests
    return list
  end
  before_each(function() seen = 0 end)

  local function later(milliseconds)
    api.now = api.now + milliseconds
    return step()
  end

  -- The request for a node, to be answered.
  local function answer(name, how, ...)
    for i = #api.requests, 1, -1 do
      if api.requests[i].url == "/api/v1/nodes/" .. name then
        api.last = api.requests[i]
        api[how](api, ...)
        return writer:step(api.now)
      end
    end
    error("no request for " .. name)
  end

  local function messages()
    local list = {}
    for i, problem in ipairs(writer:problems()) do
      list[i] = problem.key .. ": " .. problem.message
    end
    return table.concat(list, "\n")
  end

  it("sends both fields in one strategic patch, with what must still be so", function()
    see "a"
    want { a = { "10.244.1.0/24", "fd00::/64" } }
    step()
    assert.same({ "PATCH /api/v1/nodes/a" }, sent())
    assert.equal("application/strategic-merge-patch+json", api.last.args.headers["Content-Type"])
    assert.same({
      metadata = { uid = "uid-a", resourceVersion = "7" },
      spec = { podCIDR = "10.244.1.0/24", podCIDRs = { "10.244.1.0/24", "fd00::/64" } },
    }, core.json.decode(api.last.args.body))
    assert.equal(4321, api.last.args.timeout)
    assert.same({ a = { "10.244.1.0/24", "fd00::/64" } }, writer:promised())
    api.last.text = "{}"
    answer("a", "finish")
    assert.is_true(writer:idle())
    assert.same({ "10.244.1.0/24", "fd00::/64" }, writer:promised().a) -- until the watch shows it
    see("a", { "10.244.1.0/24", "fd00::/64" })
    assert.same({}, writer:promised())
    assert.equal(1, writer.counts.assigned)
  end)

  it("sends nothing when it does not lead for sure, nor of a node whose version it does not know", function()
    see "a"
    fresh = false
    want { a = "10.244.1.0/24" }
    step()
    fresh, versions.a = true, nil
    step()
    assert.same({}, sent())
    versions.a = "8"
    step()
    assert.same({ "PATCH /api/v1/nodes/a" }, sent())
  end)

  it("sends eight at once, at most", function()
    local wanted = {}
    for i = 1, 20 do
      see(("n%02d"):format(i))
      wanted[("n%02d"):format(i)] = ("10.244.%d.0/24"):format(i)
    end
    want(wanted)
    step()
    assert.equal(8, #sent())
    api.last = api.requests[1]
    api.last.text = "{}"
    api:finish()
    step()
    assert.same({ "PATCH /api/v1/nodes/n09" }, sent())
  end)

  it("tries again with the version that it has learnt of, when somebody else was faster", function()
    see "a"
    want { a = "10.244.1.0/24" }
    step()
    answer("a", "refuse", 409, "the object has been modified")
    assert.same({ "10.244.1.0/24" }, writer:promised().a)
    assert.equal("", messages())
    sent()
    versions.a = "9"
    later(100)
    assert.same({ "PATCH /api/v1/nodes/a" }, sent())
    assert.equal("9", core.json.decode(api.last.args.body).metadata.resourceVersion)
  end)

  it("keeps a promise whose outcome it does not know", function()
    see "a"
    want { a = "10.244.1.0/24" }
    step()
    answer("a", "finish", { name = "TIMEOUT", message = "timed out" })
    see "b"
    want { a = "10.244.9.0/24", b = "10.244.1.0/24" } -- a policy that gives it to another one
    assert.same({ a = { "10.244.1.0/24" } }, writer:promised())
    assert.matches("b refused: not given: 10.244.1.0/24 overlaps 10.244.1.0/24, which is another node's", messages(),
      1, true)
    later(1000)
    assert.same({ podCIDR = "10.244.1.0/24", podCIDRs = { "10.244.1.0/24" } },
      core.json.decode(api.last.args.body).spec)
  end)

  it("gives up a promise when its node is gone, or is another one of that name, or has a range", function()
    for _, what in ipairs { function() forget "a" end, function() see("a", {}, "other") end,
      function() see("a", { "10.244.7.0/24" }) end } do
      known, versions, writer = {}, {}, nil
      writer = new()
      see "a"
      want { a = "10.244.1.0/24" }
      step()
      what()
      assert.same({}, writer:promised())
      assert.same({}, writer.released)
    end
  end)

  it("tries with one when all are refused, and with longer waits, and all when that one was not", function()
    local wanted = {}
    for i = 1, 10 do
      see("n" .. i)
      wanted["n" .. i] = ("10.244.%d.0/24"):format(i)
    end
    want(wanted)
    step()
    assert.equal(8, #sent "PATCH")
    for i = 1, 8 do
      api.last = api.requests[i]
      api:refuse(403, "not allowed")
    end
    writer:step(api.now)
    later(999)
    assert.equal(0, #sent "PATCH")
    later(1)
    assert.equal(1, #sent "PATCH")
    local function newest()
      for i = #api.requests, 1, -1 do
        if api.requests[i].args.method == "PATCH" then
          api.last = api.requests[i]
          return
        end
      end
    end
    newest()
    api:refuse(403, "not allowed")
    later(1999)
    assert.equal(0, #sent "PATCH")
    later(1)
    assert.equal(1, #sent "PATCH")
    newest()
    api.last.text = "{}"
    api:finish()
    step()
    assert.equal(8, #sent "PATCH")
    assert.equal(9, writer.counts.failed.Reason)
    assert.matches("n10: PATCH /api/v1/nodes/n10: HTTP 403: not allowed", messages(), 1, true)
  end)

  it("asks no more often than it is told to", function()
    see "a"
    want { a = "10.244.1.0/24" }
    step()
    answer("a", "refuse", 429, "slow down", { ["retry-after"] = "20" })
    sent()
    later(19999)
    assert.same({}, sent "PATCH")
    later(1)
    assert.equal(1, #sent "PATCH")
  end)

  it("says so, and waits long, when the API finds a range invalid", function()
    see "a"
    want { a = "10.244.1.0/24" }
    step()
    answer("a", "refuse", 422, "podCIDR is no good")
    assert.matches("a: PATCH /api/v1/nodes/a: HTTP 422: podCIDR is no good", messages(), 1, true)
    local event = core.json.decode(api.last.args.body)
    assert.same({ "CIDRAssignmentFailed", "Normal", "a" }, { event.reason, event.type, event.involvedObject.name })
    assert.matches("^Node a status is now: CIDRAssignmentFailed: .*no good", event.message)
    sent()
    assert.same({}, writer:promised())
    want { a = "10.244.2.0/24" }
    later(20000)
    assert.same({}, sent "PATCH")
    later(40000)
    assert.equal(1, #sent "PATCH")
    assert.equal("10.244.2.0/24", core.json.decode(api.last.args.body).spec.podCIDR)
  end)

  it("gives no two nodes the same, whatever policies say", function()
    see("a", { "10.244.4.0/22", "fd00::/64" })
    for _, name in ipairs { "b", "c", "d", "e", "f" } do
      see(name)
    end
    want { b = "10.244.5.0/24", c = "10.244.0.0/16", d = { "10.245.0.0/24", "fd00::/64" }, e = "10.245.0.0/24",
      f = "10.245.0.0/25" }
    assert.same({ e = { "10.245.0.0/24" } }, writer:promised())
    assert.equal(4, #writer:problems())
  end)

  it("says what is wrong with a node once, and again when it was over", function()
    see "a"
    local function tell(events)
      writer:want({ a = { events = events } }, known)
      for _ = 1, 5 do
        later(100)
      end
      return #sent "POST"
    end
    local event = { type = "Warning", reason = "CIDROutOfRange", message = "x" }
    assert.equal(1, tell { event })
    assert.equal(0, tell { event })
    assert.equal(0, tell {})
    event.message = "y"
    assert.equal(1, tell { event })
    assert.same({ CIDROutOfRange = 1 }, writer:figures())
  end)

  it("notes what became free, each range once, and hands it over with its promises", function()
    see("a", { "10.244.1.0/24", "fd00::/64" })
    see("b", { "10.244.2.0/24" })
    see "c"
    want { c = "10.244.3.0/24" }
    forget "a"
    see("b", { "10.244.1.0/24" }, "another")
    writer:seen("b", nil, 1060)
    local again = new(core.json.decode(core.json.encode(writer:hand_over())))
    assert.same({
      { cidr = "fd00::/64", at = 1000 }, { cidr = "10.244.2.0/24", at = 1000 }, { cidr = "10.244.1.0/24", at = 1060 },
    }, again.released)
    assert.same({ c = { "10.244.3.0/24" } }, again:promised())
    again:seen("z", nil, 1061 + 86400)
    assert.same({}, again.released)
  end)
end)
