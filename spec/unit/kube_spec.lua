-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local apiserver = require "spec.support.apiserver"
local runner = require "spec.support.runner"
local json = core.json

describe("a client of the API", function()
  local api

  before_each(function() api = apiserver.new() end)
  after_each(function() api:cleanup() end)

  -- Sends a request whose outcome is said.
  local function ask(args)
    args.on_done = function(status, body, err)
      api:say(("%s %s %s"):format(status, body and json.encode(body), err))
      api.err = err
    end
    return api.client:request(args)
  end

  it("sends requests at once, with path, query and body, and hands over the answer", function()
    ask { method = "POST", path = "/api/v1/x", query = { b = "2 &", a = 1 }, body = { k = { 1 } } }
    assert.equal("/api/v1/x?a=1&b=2%20%26", api.last.url)
    assert.same({ "POST", '{"k":[1]}', "application/json" },
      { api.last.args.method, api.last.args.body, api.last.args.headers["Content-Type"] })
    assert.is_nil(api.last.args.headers.Authorization)
    api:step()
    assert.equal("", api:said())
    api.last.status, api.last.text = 201, '{"ok":true}'
    api:finish()
    assert.equal('201 {"ok":true} nil', api:said())
    assert.is_true(api.last.closed)
    api:pass(100000)
    assert.equal("", api:said())
  end)

  it("says what was refused and why, with the API's reason and what Retry-After asks for", function()
    ask { path = "/api/v1/x" }
    api.last.text = '{"message":"slow down","reason":"TooManyRequests"}'
    api.last.status, api.last.headers = 429, { ["retry-after"] = "3" }
    api:finish()
    assert.is_truthy(api:said():find("GET /api/v1/x: HTTP 429: slow down", 1, true))
    assert.same({ "TooManyRequests", 429, 3000 }, { api.err.name, api.err.status, api.err.retry_after })
    ask { path = "/api/v1/x", method = "DELETE" }
    api.last.status, api.last.text = 502, "<html>"
    api:finish()
    assert.equal("502 nil DELETE /api/v1/x: HTTP 502", api:said())
    ask { path = "/api/v1/x" }
    api.last.status, api.last.text = 200, "<html>"
    api:finish()
    assert.is_truthy(api:said():find("200 nil GET /api/v1/x: decode JSON: expected a value", 1, true))
  end)

  it("says when there was no answer", function()
    ask { path = "/api/v1/x" }
    api:finish { name = "CONNECT", message = "connection refused" }
    assert.equal("nil nil GET /api/v1/x: connection refused", api:said())
    assert.equal("CONNECT", api.err.name)
  end)

  it("goes on when a handler raises, and reports it", function()
    api.client:request { path = "/a", on_done = function() error "broken" end }
    api.last.status, api.last.text = 200, "{}"
    api:finish()
    assert.is_truthy(api:said():find "^error: on_done of /a: .*broken$")
  end)

  it("lets a handler send, close and watch", function()
    api.client:request { path = "/a", on_done = function()
      ask { path = "/b" }
      api:watch()
    end }
    local other = ask { path = "/c" }
    local first = api.requests[1]
    first.status, first.done, first.text = 200, true, "{}"
    other:close()
    api:step()
    api:step()
    assert.same({ "/a", "/c", "/b", "/api/v1/nodes" },
      { api.requests[1].path, api.requests[2].path, api.requests[3].path, api.requests[4].path })
    api.client:close()
    assert.is_true(api.requests[3].closed and api.requests[4].closed)
    api:pass(100000)
    assert.equal("", api:said())
  end)

  it("names a key that it does not know", function()
    assert.has_error(function() api.client:request { pth = "/x" } end,
      'client:request: unknown key "pth"; did you mean "path"?')
  end)

  describe("with a token in a file", function()
    local directory

    before_each(function()
      directory = runner.directory()
      runner.write(directory .. "/token", "one")
      runner.write(directory .. "/config", [[
clusters: [{name: c, cluster: {server: "https://api"}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
users: [{name: u, user: {tokenFile: token}}]
current-context: x
]])
      api:cleanup()
      api = apiserver.new { kubeconfig = directory .. "/config" }
    end)
    after_each(function() runner.sh("rm -rf " .. directory) end)

    it("sends a request that is refused as unknown once more, if there is a new token", function()
      ask { path = "/x" }
      assert.equal("Bearer one", api.last.args.headers.Authorization)
      runner.write(directory .. "/token", "two")
      api.last.text = "{}"
      api:refuse(401, "Unauthorized")
      assert.equal(2, #api.requests)
      assert.equal("Bearer two", api.last.args.headers.Authorization)
      api:refuse(401, "Unauthorized")
      assert.equal(2, #api.requests)
      assert.is_truthy(api:said():find(
        ("GET /x: HTTP 401: Unauthorized; are the credentials in %s/token still good?"):format(directory), 1, true))
    end)

    it("does so for every request that went with the old one", function()
      ask { path = "/x" }
      ask { path = "/y" }
      runner.write(directory .. "/token", "two")
      for i = 1, 2 do
        api.requests[i].status, api.requests[i].text, api.requests[i].done = 401, "{}", true
        api:step()
      end
      assert.equal(4, #api.requests)
      for i = 3, 4 do
        assert.equal("Bearer two", api.requests[i].args.headers.Authorization)
      end
    end)

    it("does not wait any longer with a watch either, when something else has used the new token before", function()
      api:watch()
      api:step()
      for _ = 1, 6 do
        api:refuse(401, "Unauthorized")
        api:pass(tonumber(api:said():match "failed (%d+)"))
      end
      api:refuse(401, "Unauthorized")
      api:pass(5000)
      runner.write(directory .. "/token", "two")
      ask { path = "/x" }
      local count = #api.requests
      api:pass(1000)
      assert.equal(count + 1, #api.requests)
      assert.same({ "/api/v1/nodes", "Bearer two" }, { api.last.path, api.last.args.headers.Authorization })
    end)

    it("does not wait any longer with a watch when the token is a new one", function()
      api:watch()
      api:step()
      for _ = 1, 6 do
        api:refuse(401, "Unauthorized")
        api:pass(tonumber(api:said():match "failed (%d+)"))
      end
      api:refuse(401, "Unauthorized")
      assert.is_truthy(api:said():find "failed 30000")
      api:pass(5000)
      local count = #api.requests
      runner.write(directory .. "/token", "two")
      api:pass(1000)
      assert.equal(count + 1, #api.requests)
      assert.equal("Bearer two", api.last.args.headers.Authorization)
    end)

    it("says what is wrong with the file", function()
      ask { path = "/x" }
      runner.write(directory .. "/token", "")
      api.last.text = "{}"
      ask { path = "/y" }
      api.last.text = "{}"
      api:refuse(401, "Unauthorized")
      assert.is_truthy(api:said():find(("(%s/config: user \"u\".tokenFile: %s/token holds no token)")
        :format(directory, directory), 1, true))
    end)
  end)

  describe("patches", function()
    it("a condition of a node without touching the others", function()
      api.client:patch_node_condition {
        node = "n1", type = "NetworkUnavailable", status = "False", reason = "RoutesSet", message = "all there",
      }
      assert.same({ "PATCH", "/api/v1/nodes/n1/status", "application/strategic-merge-patch+json" },
        { api.last.args.method, api.last.path, api.last.args.headers["Content-Type"] })
      local condition = json.decode(api.last.args.body).status.conditions[1]
      assert.is_truthy(condition.lastTransitionTime:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$")
      assert.equal(condition.lastTransitionTime, condition.lastHeartbeatTime)
      assert.same({ "NetworkUnavailable", "False", "RoutesSet", "all there" },
        { condition.type, condition.status, condition.reason, condition.message })
      api.client:patch_node_condition { node = "n1", type = "X", status = "True", transition = false }
      assert.is_nil(json.decode(api.last.args.body).status.conditions[1].lastTransitionTime)
    end)

    it("annotations, and removes those that are null", function()
      api.client:patch_annotations { path = "/api/v1/nodes/n1", annotations = { a = "1", b = json.null } }
      assert.equal("application/merge-patch+json", api.last.args.headers["Content-Type"])
      assert.equal('{"metadata":{"annotations":{"a":"1","b":null}}}', api.last.args.body)
    end)
  end)

  describe("tells Events", function()
    local function event(message, node)
      api.client:event {
        regarding = { kind = "Node", name = node or "n1" }, type = "Warning", reason = "RouteConflict",
        message = message,
      }
    end

    local function written(status)
      local request = api.last
      request.status, request.done, request.text = status or 201, true, "{}"
      api:step()
      return request.args.method, request.path, json.decode(request.args.body)
    end

    before_each(function() api:step() end)

    it("of an object, in the words of core/v1", function()
      event "a foreign route"
      local method, path, body = written()
      assert.same({ "POST", "/api/v1/namespaces/default/events" }, { method, path })
      assert.same({ kind = "Node", name = "n1", uid = "n1", apiVersion = "v1" }, body.involvedObject)
      assert.same({ "RouteConflict", "a foreign route", "Warning", 1, "mncni-agent" },
        { body.reason, body.message, body.type, body.count, body.source.component })
      assert.is_truthy(body.metadata.name:find "^n1%.%x+$")
      assert.equal(body.firstTimestamp, body.lastTimestamp)
    end)

    it("once, and counts what is said again, but writes that every 10 s at most", function()
      event "x"
      local _, _, first = written()
      for _ = 1, 5 do
        event "x"
        api:pass(100)
      end
      assert.equal(1, #api.requests)
      api:pass(10000)
      assert.equal(2, #api.requests)
      local method, path, body = written(200)
      assert.same({ "PATCH", "/api/v1/namespaces/default/events/" .. first.metadata.name }, { method, path })
      assert.equal(6, body.count)
      assert.equal("application/merge-patch+json", api.last.args.headers["Content-Type"])
      api:pass(100000)
      assert.equal(2, #api.requests)
    end)

    it("anew when the cluster has forgotten it", function()
      event "x"
      written()
      event "x"
      api:pass(10000)
      written(404)
      api:pass(10000)
      local method, _, body = written()
      assert.same({ "POST", 2 }, { method, body.count })
    end)

    it("up to 25 of one object, then one in 5 minutes", function()
      for i = 1, 100 do
        event("problem " .. i)
      end
      assert.equal(25, #api.requests)
      event("problem", "n2")
      assert.equal(26, #api.requests)
      api:pass(300000)
      event "one more"
      event "one too many"
      assert.equal(27, #api.requests)
    end)

    it("again after a while when the server is away, but not for ever", function()
      event "x"
      for _ = 1, 10 do
        api:finish { name = "CONNECT", message = "refused" }
        api:pass(30000)
      end
      assert.equal(4, #api.requests)
      assert.equal("error: an Event was given up: POST /api/v1/namespaces/default/events: refused", api:said())
    end)

    it("with the count of one that came through although its answer was lost", function()
      event "x"
      api:finish { name = "CLOSED", message = "reset" }
      event "x"
      api:pass(30000)
      local _, _, first = written(409)
      api:pass(10000)
      local method, path, body = written(200)
      assert.same({ "PATCH", "/api/v1/namespaces/default/events/" .. first.metadata.name, 2 },
        { method, path, body.count })
      api:pass(100000)
      assert.equal(3, #api.requests)
      assert.equal("", api:said())
    end)

    it("and reports one that is refused", function()
      event "x"
      written(403)
      assert.is_truthy(api:said():find("error: an Event was refused: POST /api/v1/namespaces/default/events: HTTP 403",
        1, true))
      api:pass(100000)
      assert.equal(1, #api.requests)
    end)

    it("with as many bytes as the API takes, in whole characters", function()
      event(("é"):rep(2000))
      local _, _, body = written()
      assert.is_true(#body.message <= 1024 and #body.message > 1020)
      assert.is_truthy(utf8.len(body.message))
      assert.is_truthy(body.message:find "%.%.%.$")
    end)

    it("in UTF-8, whatever the kernel and names were made of", function()
      event "link eth\xff: cut in the middle of \xc3"
      local _, _, body = written()
      assert.equal("link eth\u{FFFD}: cut in the middle of \u{FFFD}", body.message)
      assert.equal("", api:said())
    end)

    it("without raising: what cannot be told is reported", function()
      event(nil)
      assert.is_truthy(api:said():find "^error: ")
      api.client.multi.request = function() error("no memory", 0) end
      event "x"
      assert.equal("error: an Event could not be sent: no memory", api:said())
      api.client.multi.request = nil
      event "x"
      api:pass(10000)
      local _, _, body = written()
      assert.same({ "x", 2 }, { body.message, body.count })
    end)
  end)
end)
