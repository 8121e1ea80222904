-- SPDX-License-Identifier: Apache-2.0
-- What an agent tells the API about its node, against a scripted server and a clock.
local apiserver = require "spec.support.apiserver"
local nodes_kube = require "mncni.nodes_kube"
local json = require "mncni.core".json

describe("an agent's word about its node", function()
  local api, source, now

  local WANTED = {
    conditions = { { type = "NetworkUnavailable", status = "False", reason = "RoutesSet", message = "all there" } },
    annotations = { ["mncni/mtu"] = "1450" },
  }

  before_each(function()
    api, now = apiserver.new(), 0
    local handler = setmetatable({}, { __index = function() return function() end end })
    source = nodes_kube.new {
      multi = api.client.multi, node = "n1", kubernetes = { kubeconfig = api.directory .. "/config" },
      handler = handler,
    }
    source:step(now)
  end)

  after_each(function()
    source:close()
    api:cleanup()
  end)

  local function problem()
    return (source:problems()[1] or {}).message
  end

  -- Answers a request and steps.
  local function answer(request, status, body, headers)
    request.status, request.text, request.headers, request.done = status, json.encode(body or {}), headers or {}, true
    source:step(now)
  end

  -- The requests from one on, but for those of the watch.
  local function from(first)
    local list = {}
    for i = first, #api.requests do
      if api.requests[i].path ~= "/api/v1/nodes" then
        list[#list + 1] = api.requests[i]
      end
    end
    return list
  end

  -- The requests that follow until a time from now on.
  local function sent(milliseconds)
    local before, stop = #api.requests, now + milliseconds
    while now < stop do
      now = math.min(stop, math.max(now + 1, source:step(now)))
    end
    source:step(now)
    return from(before + 1)
  end

  -- Begins a round: returns the requests that follow the answer to its look at the node.
  local function look(milliseconds)
    local requests = sent(milliseconds)
    assert.same({ 1, "/api/v1/nodes/n1" }, { #requests, requests[1] and requests[1].path })
    local before = #api.requests
    answer(requests[1], 200, { metadata = {}, status = {} })
    return table.unpack(from(before + 1))
  end

  it("is written once, and looked at again after 5 minutes", function()
    source:publish(WANTED)
    local condition, annotations = look(1)
    assert.same({ "/api/v1/nodes/n1/status", "/api/v1/nodes/n1" }, { condition.path, annotations.path })
    answer(condition, 200)
    answer(annotations, 200)
    assert.same({}, sent(299990))
    assert.equal(1, #sent(10))
    assert.is_nil(problem())
  end)

  it("that is refused is a problem until it is written, and is tried less and less often", function()
    source:publish(WANTED)
    local wait = 1
    for _, next_wait in ipairs { 5000, 10000, 20000, 40000, 80000, 160000, 300000, 300000 } do
      local condition, annotations = look(wait)
      if wait > 1 then
        assert.is_truthy(problem():find "HTTP 403: no")
      end
      answer(condition, 403, { message = "no" })
      answer(annotations, 200)
      assert.is_truthy(problem():find "HTTP 403: no")
      assert.same({}, sent(next_wait - 10))
      wait = 10
    end
    local condition, annotations = look(wait)
    answer(condition, 200)
    assert.is_truthy(problem())
    answer(annotations, 200)
    assert.is_nil(problem())
    assert.same({}, sent(299990))
  end)

  it("waits as long as the server asks", function()
    source:publish(WANTED)
    local condition, annotations = look(1)
    answer(condition, 429, { message = "slow down" }, { ["retry-after"] = "60" })
    answer(annotations, 200)
    assert.same({}, sent(59990))
    assert.equal(1, #sent(10))
  end)

  it("that is another by now is told when the one before is", function()
    source:publish(WANTED)
    local condition = look(1)
    source:publish { conditions = WANTED.conditions, annotations = {} }
    assert.same({}, sent(1000))
    answer(condition, 200)
    answer(api.last, 200)
    assert.is_truthy(look(1).path:find "status$")
  end)

  it("is no problem any more when there is nothing to tell", function()
    source:publish(WANTED)
    local condition, annotations = look(1)
    answer(condition, 403)
    answer(annotations, 403)
    assert.is_truthy(problem())
    source:publish { conditions = {}, annotations = {} }
    assert.is_nil(problem())
    assert.same({}, sent(100000))
  end)
end)
