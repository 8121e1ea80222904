-- SPDX-License-Identifier: Apache-2.0
-- The rules of listing and watching, against a scripted server and a clock; spec/kubernetes has the same on a real one.
local apiserver = require "spec.support.apiserver"

describe("a watch", function()
  local api, watch

  before_each(function() api = apiserver.new() end)
  after_each(function() api:cleanup() end)

  -- Lists a and b at version 100, and is then watching.
  local function synced(args)
    watch = api:watch(args)
    api:step()
    api:list("100", { "a", "b" })
    assert.equal("synced a b", api:said())
    assert.equal("1", api.last.query.watch)
  end

  it("lists consistently, page by page, and follows from there", function()
    watch = api:watch { selector = "pool in (a,b)", field_selector = "metadata.name!=x" }
    assert.equal(0, #api.requests)
    api:step()
    assert.equal("/api/v1/nodes", api.last.path)
    assert.same({ limit = "500", labelSelector = "pool in (a,b)", fieldSelector = "metadata.name!=x" }, api.last.query)
    assert.is_nil(api.last.query.resourceVersion)
    assert.is_false(watch.synced)
    api:list("100", { "a", "b" })
    assert.equal("synced a b", api:said())
    assert.is_true(watch.synced)
    assert.equal("100", watch.resource_version)
    assert.same({
      watch = "1", resourceVersion = "100", allowWatchBookmarks = "true", timeoutSeconds = "600",
      labelSelector = "pool in (a,b)", fieldSelector = "metadata.name!=x",
    }, api.last.query)
    assert.is_true(api.requests[1].closed)
  end)

  it("asks for pages of the size that is wanted, or for all at once", function()
    api:watch { page = 2 }
    api:step()
    assert.equal("2", api.last.query.limit)
    api:watch { page = 0 }
    api:step()
    assert.is_nil(api.last.query.limit)
  end)

  it("hands over what is added, modified and deleted, and remembers how far it has come", function()
    synced()
    api:event("ADDED", "c", "101")
    api:event("MODIFIED", "a", "102")
    api:event("DELETED", "b", "103")
    assert.equal("changed c; changed a; deleted b", api:said())
    assert.equal("103", watch.resource_version)
    assert.equal(3, watch.events)
    api:event("BOOKMARK", "", "110")
    api:event("NOVELTY", "x", "111")
    assert.equal("", api:said())
    assert.equal("111", watch.resource_version)
  end)

  it("takes several events that came together, and a part of a list before the rest", function()
    watch = api:watch()
    api:step()
    api:send({ metadata = { name = "a" } }, { metadata = { name = "b" } })
    assert.equal("", api:said())
    api:send { metadata = { name = "c" } }
    api:list("5", { "d" })
    assert.equal("synced a b c d", api:said())
    api:send({ type = "ADDED", object = { metadata = { name = "e", resourceVersion = "6" } } },
      { type = "DELETED", object = { metadata = { name = "a", resourceVersion = "7" } } })
    assert.equal("changed e; deleted a", api:said())
  end)

  it("puts what convert returns in the place of objects, and leaves out what it returns nothing for", function()
    watch = api:watch { handler = {
      convert = function(one)
        return one.metadata.name ~= "b" and { metadata = { name = one.metadata.name:upper() } } or nil
      end,
    } }
    api:step()
    api:list("100", { "a", "b", "c" })
    api:event("ADDED", "b", "101")
    api:event("ADDED", "d", "102")
    api:event("DELETED", "a", "103")
    api:event("DELETED", "b", "104")
    assert.equal("synced A C; changed D; deleted a; deleted b", api:said())
  end)

  describe("that ignores versions", function()
    local function object(version, labels)
      return {
        metadata = { labels = labels, name = "a", resourceVersion = tostring(version), uid = "u" },
      }
    end

    -- As a server writes it: the type first.
    local function text(type, version, labels)
      return ('{"type":"%s","object":%s}'):format(type, require("mncni.core").json.encode(object(version, labels)))
    end

    local function event(version, labels)
      api:send(text("MODIFIED", version, labels))
      assert.equal(tostring(version), watch.resource_version)
      return api:said()
    end

    before_each(function()
      watch = api:watch { keep = { metadata = { labels = true } }, ignore_version = true }
      api:step()
      api:list("100", {})
    end)

    it("passes over events that say nothing else, and counts them", function()
      assert.equal("synced", api:said())
      assert.equal("changed a", event(101, { zone = "1" }))
      assert.equal("", event(102, { zone = "1" }))
      assert.equal("changed a", event(103, { zone = "2" }))
      assert.equal("changed a", event(104, { zone = "1" }))
      assert.equal("", event(105, { zone = "1" }))
      assert.equal(5, watch.events)
      api:send(text("DELETED", 106, { zone = "1" }), text("ADDED", 107, { zone = "1" }))
      assert.equal("deleted a; changed a", api:said())
    end)

    it("knows what was in the list", function()
      api:finish()
      api:pass(60000)
      watch.next = "consistent"
      api:finish { name = "CONNECT", message = "reset" }
      api:pass(10000)
      api.last.status, api.last.done = 200, true
      api:pick(require("mncni.core").json.encode {
        kind = "NodeList", items = { object(200, { zone = "1" }) }, metadata = { resourceVersion = "200" },
      })
      api:step()
      api:said()
      assert.equal("", event(201, { zone = "1" }))
      assert.equal("changed a", event(202, { zone = "2" }))
    end)

    it("is not taken in by a label of that name", function()
      event(101, { resourceVersion = "5" })
      assert.equal("changed a", event(102, { resourceVersion = "6" }))
      assert.equal("changed a", event(103, { resourceVersion = "5" }))
    end)

    it("tells again what its handler did not take", function()
      watch.handler.changed = function() error "not now" end
      event(101, { zone = "1" })
      watch.handler.changed = function(one) api:say("changed " .. one.metadata.name) end
      assert.equal("changed a", event(102, { zone = "1" }))
      assert.equal("", event(103, { zone = "1" }))
    end)
  end)

  describe("that has failed says once that it is well", function()
    local function well() api:say "well" end

    it("when a stream goes on for a second, or brings something", function()
      synced { handler = { well = well } }
      assert.equal("", api:said())
      for _, bring in ipairs { function() api:event("ADDED", "c", "101") end, function() api:pass(1000) end } do
        api:finish { name = "CONNECT", message = "reset" }
        api:pass(tonumber(api:said():match "^failed (%d+): reset$"))
        api.last.status = 200
        api:step()
        assert.equal("", api:said())
        bring()
        assert.is_truthy((api:said() .. ";"):find "well;$")
        api:pass(5000)
        assert.equal("", api:said())
      end
    end)

    it("when a list was taken", function()
      watch = api:watch { handler = { well = well } }
      api:step()
      api:refuse(500, "etcd is down")
      api:said()
      api:pass(30000)
      api:list("100", { "a" })
      assert.equal("synced a; well", api:said())
      api:pass(2000)
      assert.equal("", api:said())
    end)

    it("but not while it is refused, ends at once, or is not believed", function()
      watch = api:watch { handler = { well = well, synced = function(list) return #list > 1, "too short" end } }
      api:step()
      api:list("100", { "a", "b" })
      for _ = 1, 3 do
        api:refuse(403, "Forbidden")
        api:pass(4000)
        api:finish()
        api:pass(4000)
      end
      api:refuse(410, "Expired")
      api:list("200", { "a" })
      assert.is_nil(api:said():find "well")
      api:pass(30000)
      api:list("201", { "a", "b" })
      assert.equal("well", api:said())
    end)

    it("but not because it goes on after an event that was not taken", function()
      synced { handler = { well = well, changed = function() error("broken", 0) end } }
      api:event("ADDED", "c", "101")
      assert.is_truthy(api:said():find "broken")
      api:pass(20000)
      assert.equal("", api:said())
      api:finish()
      api:pass(5000)
      api.last.status = 200
      api:pass(1000)
      assert.equal("well", api:said())
    end)
  end)

  it("follows without a list from a version that it is given", function()
    watch = api:watch { resource_version = "77" }
    assert.is_true(watch.synced)
    api:step()
    assert.equal("77", api.last.query.resourceVersion)
    assert.equal("1", api.last.query.watch)
    assert.equal(0, watch.lists)
  end)

  describe("when its stream ends", function()
    it("goes on from the last version, at once and without a list", function()
      synced()
      api:event("BOOKMARK", "", "150")
      api:pass(20000)
      api:finish()
      api:step()
      assert.equal("150", api.last.query.resourceVersion)
      assert.equal("1", api.last.query.watch)
      assert.same({ 1, 1, 0 }, { watch.lists, watch.restarts, watch.failures })
      assert.equal("", api:said())
    end)

    it("by a broken connection, goes on within half a second", function()
      synced()
      api:pass(20000)
      api:finish { name = "CLOSED", message = "reset" }
      assert.equal(2, #api.requests)
      api:pass(500)
      assert.equal(3, #api.requests)
      assert.equal("", api:said())
    end)

    it("again and again after a moment, waits longer and longer, but 4 s at most", function()
      synced()
      local waits = {}
      for i = 1, 6 do
        api:finish()
        waits[i] = tonumber(api:said():match "^failed (%d+): the watch ended after 0.0 s without an event$")
        api:pass(waits[i])
      end
      assert.same({ 800, 1600, 3200, 4000, 4000, 4000 }, waits)
      assert.equal(1, watch.lists)
    end)

    it("lists again, where it has heard nothing at all, as the server may count from elsewhere", function()
      synced()
      api.last.status = 200
      api:pass(600 * 1000)
      api:finish()
      api:step()
      assert.is_nil(api.last.query.watch)
      assert.equal("100", api.last.query.resourceVersion)
      assert.is_nil(api.last.query.limit)
      -- A server that was restored from a backup has not come as far.
      api:refuse(504, "Too large resource version: 100, current: 20")
      api:pass(800)
      assert.is_nil(api.last.query.resourceVersion)
      api:list("20", { "a" })
      assert.equal("failed 800: HTTP 504: Too large resource version: 100, current: 20; synced a", api:said())
    end)
  end)

  describe("that is too old", function()
    it("for the request lists again, not older than what it knows, and tells what is gone by that alone", function()
      synced()
      api:pass(20000)
      api:refuse(410, "too old resource version")
      assert.is_nil(api.last.query.watch)
      assert.equal("100", api.last.query.resourceVersion)
      api:list("900", { "b" })
      assert.equal("failed 0: its resourceVersion has expired (410); listing again; synced b", api:said())
      assert.equal("900", api.last.query.resourceVersion)
    end)

    it("in the stream lists again", function()
      synced()
      api:pass(20000)
      api:send({ type = "ADDED", object = { metadata = { name = "c", resourceVersion = "101" } } },
        { type = "ERROR", object = { kind = "Status", code = 410, reason = "Expired" } },
        { type = "ADDED", object = { metadata = { name = "never", resourceVersion = "102" } } })
      assert.equal("changed c; failed 0: its resourceVersion has expired (410); listing again", api:said())
      assert.equal("101", api.last.query.resourceVersion)
      assert.is_true(api.requests[2].closed)
    end)

    it("for the list too, lists from scratch", function()
      synced()
      api:pass(20000)
      api:refuse(410, "too old")
      api:refuse(410, "too old")
      assert.is_nil(api.last.query.resourceVersion)
      assert.equal("500", api.last.query.limit)
      api:list("901", { "a" })
      assert.is_truthy(api:said():find("; synced a", 1, true))
    end)

    it("just after a list waits, and longer each time", function()
      synced()
      local waits = {}
      for i = 1, 8 do
        api:refuse(410, "too old")
        waits[i] = tonumber(api:said():match "failed (%d+)")
        api:pass(waits[i])
        api:list("100", { "a" })
        api:said()
      end
      assert.same({ 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000 }, waits)
    end)

    it("never lists in a tight loop, even when every request is too old", function()
      watch = api:watch()
      api:step()
      for _ = 1, 100 do
        if not api.last.done then
          api:refuse(410, "too old")
        end
        api:pass(1000)
      end
      assert.is_true(#api.requests < 12, #api.requests)
    end)
  end)

  describe("whose list comes in pages", function()
    before_each(function()
      watch = api:watch { page = 2 }
      api:step()
      api:list("100", { "a", "b" }, { continue = "TOKEN+/=" })
    end)

    it("reads on with the token, and is synced with the last page only", function()
      assert.equal("", api:said())
      assert.same({ limit = "2", continue = "TOKEN+/=" }, api.last.query)
      api:list("100", { "c" }, { continue = "" })
      assert.equal("synced a b c", api:said())
      assert.equal("100", api.last.query.resourceVersion)
      assert.equal(1, watch.lists)
    end)

    it("begins again in one piece when the token has expired", function()
      api:refuse(410, "the provided continue parameter is too old")
      assert.same({}, api.last.query)
      api:list("200", { "a", "c" })
      assert.equal("failed 0: its resourceVersion has expired (410); listing again; synced a c", api:said())
    end)

    it("begins again when the pages are of different times", function()
      api:list("101", { "c" })
      assert.equal("failed 800: the pages of the list are of different times", api:said())
      api:pass(800)
      assert.same({}, api.last.query)
      api:list("300", { "d" })
      assert.equal("synced d", api:said())
    end)

    it("begins again when the connection breaks", function()
      api:finish { name = "CLOSED", message = "reset" }
      api:pass(800)
      assert.same({ limit = "2" }, api.last.query)
      api:list("101", { "x" })
      assert.equal("failed 800: reset; synced x", api:said())
    end)
  end)

  describe("that gets no list it can believe", function()
    local cases = {
      ["an empty answer"] = function() api.last.status = 200; api:finish() end,
      ["another document"] = function() api:send { list = { kind = "Status", metadata = {} } }; api:finish() end,
      ["a list without a version"] = function()
        api:send({ metadata = { name = "a" } }, { list = { kind = "NodeList" } })
        api:finish()
      end,
      ["an object without a name"] = function()
        api:send({ metadata = {} }, { list = { kind = "NodeList", metadata = { resourceVersion = "7" } } })
      end,
      ["what is no JSON"] = function()
        api.last.status = 200
        api:finish { name = "JSON", message = "expected a value, found '<'" }
      end,
      ["an object that does not decode"] = function() api:send '{"metadata":{"name":"a","name":"b"}}' end,
      ["a list that breaks off"] = function()
        api:send { metadata = { name = "a" } }
        api:finish { name = "CLOSED", message = "transfer closed with outstanding read data remaining" }
      end,
      ["a page of a proxy"] = function()
        api.last.status, api.last.text = 502, "<html>"
        api:finish()
      end,
      ["a raise in convert"] = function()
        watch.handler.convert = function() error "no" end
        api:list("7", { "a" })
        watch.handler.convert = nil
      end,
    }
    for what, answer in pairs(cases) do
      it("such as " .. what .. ", keeps what it had, says so, and asks again", function()
        watch = api:watch()
        api:step()
        answer()
        local said = api:said()
        assert.is_truthy(said:find "failed 800: ", said)
        assert.is_nil(said:find "synced")
        assert.is_false(watch.synced)
        api:pass(800)
        api:list("8", { "a" })
        assert.equal("synced a", api:said())
      end)
    end

    it("because synced says so, reads it again from scratch, and does not follow from it", function()
      local believed = false
      watch = api:watch { handler = { synced = function(objects)
        api:say("synced " .. #objects)
        if not believed then
          return false, "this node is not in it"
        end
      end } }
      api:step()
      api:list("100", {})
      assert.equal("synced 0; failed 800: the list is not believed: this node is not in it", api:said())
      assert.is_false(watch.synced)
      api:pass(800)
      assert.same({ limit = "500" }, api.last.query)
      believed = true
      api:list("101", { "a" })
      assert.equal("synced 1", api:said())
      assert.is_true(watch.synced)
    end)
  end)

  describe("that fails", function()
    it("to connect waits 0.8 s and doubles it up to 4 s, so that a server that returns is found", function()
      watch = api:watch()
      api:step()
      local waits = {}
      for i = 1, 5 do
        api:finish { name = "CONNECT", message = "connection refused" }
        waits[i] = tonumber(api:said():match "^failed (%d+): connection refused$")
        api:pass(waits[i])
      end
      assert.same({ 800, 1600, 3200, 4000, 4000 }, waits)
      api:list("1", { "a" })
      assert.equal("synced a", api:said())
    end)

    it("behind a proxy that answers in its place is not waited for any longer", function()
      watch = api:watch()
      api:step()
      for _ = 1, 6 do
        api.last.status, api.last.text = 502, "<html>"
        api:finish()
        api:pass(4000)
      end
      assert.is_truthy(api:said():find "; failed 4000: HTTP 502$")
    end)

    it("with an answer waits up to 30 s, and begins anew after other failures", function()
      watch = api:watch()
      api:step()
      local waits = {}
      for i = 1, 8 do
        api:refuse(500, "etcd is down")
        waits[i] = tonumber(api:said():match "^failed (%d+): HTTP 500: etcd is down$")
        api:pass(waits[i])
      end
      assert.same({ 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000 }, waits)
      api:finish { name = "CONNECT", message = "x" }
      assert.equal("failed 800: x", api:said())
    end)

    it("waits for a random time, at least half of what it could be", function()
      api.chance = 0
      watch = api:watch()
      api:step()
      api:refuse(500, "x")
      assert.equal("failed 400: HTTP 500: x", api:said())
    end)

    it("forgets its failures after a watch of 10 s", function()
      synced()
      for _ = 1, 4 do
        api:finish { name = "CLOSED", message = "x" }
        api:pass(4000)
      end
      api:pass(20000)
      api:finish { name = "CLOSED", message = "x" }
      api:pass(500)
      api:said()
      api:finish { name = "CONNECT", message = "x" }
      assert.equal("failed 800: x", api:said())
    end)

    it("waits as long as the server asks for, and a little longer", function()
      watch = api:watch()
      api:step()
      api:refuse(429, "slow down", { ["retry-after"] = "7" })
      assert.equal("failed 8400: HTTP 429: slow down", api:said())
      api:pass(8399)
      assert.equal(1, #api.requests)
      api:pass(1)
      assert.equal(2, #api.requests)
      api:refuse(503, "x", { ["retry-after"] = "86400" })
      assert.equal("failed 360000: HTTP 503: x", api:said())
      api:pass(360000)
      api:refuse(503, "x", { ["retry-after"] = "Fri, 31 Dec 1999 23:59:59 GMT" })
      assert.equal("failed 800: HTTP 503: x", api:said())
    end)

    it("with an error in the stream other than 410 waits, and lists again", function()
      synced()
      api:pass(20000)
      api:send { type = "ERROR", object = { kind = "Status", code = 500, message = "etcd event" } }
      assert.equal("failed 800: HTTP 500: etcd event", api:said())
      api:pass(800)
      assert.equal("100", api.last.query.resourceVersion)
      assert.is_nil(api.last.query.watch)
    end)

    it("with garbage in the stream goes on from the last event that was understood", function()
      synced()
      local unnumbered = '{"type":"ADDED","object":{"metadata":{"name":"x"}}}'
      for _, garbage in ipairs { "[]", "1", '{"type":"ADDED"}', unnumbered } do
        api:pass(20000)
        api:event("ADDED", "c", "105")
        api:send(garbage)
        assert.is_truthy(api:said():find "^changed c; failed 800: ")
        api:pass(800)
        assert.equal("105", api.last.query.resourceVersion)
        assert.equal("1", api.last.query.watch)
      end
    end)

    it("because its version is no version lists from scratch", function()
      watch = api:watch { resource_version = "rubbish" }
      api:step()
      api:refuse(400, "invalid resource version")
      api:pass(800)
      assert.same({ limit = "500" }, api.last.query)
    end)
  end)

  describe("that hears nothing", function()
    it("of a list for a minute gives it up", function()
      watch = api:watch()
      api:step()
      api:pass(50000)
      api:send { metadata = { name = "a" } }
      api:pass(59000)
      assert.equal("", api:said())
      api:pass(1000)
      assert.equal("failed 800: nothing was heard for 60 s", api:said())
      assert.is_true(api.last.closed)
    end)

    it("not even the head of an answer gives it up after a minute", function()
      synced()
      api:pass(60000)
      assert.equal("failed 800: nothing was heard for 60 s", api:said())
    end)

    it("is patient until a minute after the stream should have ended", function()
      synced()
      api.last.status = 200
      api:pass(659999)
      assert.equal("", api:said())
      api:pass(1)
      assert.is_truthy(api:said():find "failed 800: nothing was heard")
    end)

    it("from a server that sends bookmarks gives up after three minutes", function()
      synced()
      api:event("BOOKMARK", "", "101")
      api:pass(179999)
      assert.equal("", api:said())
      api:pass(1)
      assert.equal("failed 800: nothing was heard for 180 s", api:said())
      api:pass(800)
      assert.equal("101", api.last.query.resourceVersion)
    end)
  end)

  describe("whose handler raises", function()
    it("says so and goes on with the next event", function()
      synced { handler = { changed = function(one)
        api:say("changed " .. one.metadata.name)
        if one.metadata.name == "c" then error "broken" end
      end } }
      api:send({ type = "ADDED", object = { metadata = { name = "c", resourceVersion = "101" } } },
        { type = "ADDED", object = { metadata = { name = "d", resourceVersion = "102" } } })
      assert.is_truthy(api:said():find "^changed c; failed nil: changed of /api/v1/nodes: broken; changed d$")
    end)

    it("in synced reads the list again later", function()
      watch = api:watch { handler = { synced = function() error "broken" end } }
      api:step()
      api:list("100", { "a" })
      assert.equal("failed nil: synced of /api/v1/nodes: broken; failed 800: the list was not taken", api:said())
      assert.is_false(watch.synced)
      api:pass(800)
      assert.same({ limit = "500" }, api.last.query)
    end)

    it("in failed tells the client's own", function()
      watch = api:watch { handler = { failed = function() error "broken" end } }
      api:step()
      api:refuse(500, "x")
      assert.equal("error: failed of /api/v1/nodes: broken", api:said())
      api:pass(800)
      assert.equal(2, #api.requests)
    end)
  end)

  it("reads texts with zero characters, which JSON may have", function()
    synced()
    api:send '{"type":"ADDED","object":{"metadata":{"name":"z","resourceVersion":"9","annotations":{"a":"x\\u0000y"}}}}'
    assert.equal("changed z", api:said())
  end)

  it("is quiet once it is closed, by its own handler too", function()
    synced { handler = { changed = function(one)
      api:say("changed " .. one.metadata.name)
      watch:close()
    end } }
    api:send({ type = "ADDED", object = { metadata = { name = "c", resourceVersion = "101" } } },
      { type = "ADDED", object = { metadata = { name = "d", resourceVersion = "102" } } })
    api:pass(1000000)
    assert.equal("changed c", api:said())
    assert.equal(2, #api.requests)
    assert.is_true(api.last.closed)
  end)

  it("takes no arguments that it does not know", function()
    for _, case in ipairs {
      { { pth = "/x" }, 'client:watch: unknown key "pth"; did you mean "path"?' },
      { { path = "/x", handler = { syncd = print } },
        'handler of client:watch: unknown key "syncd"; did you mean "synced"?' },
      { { path = "/x", handler = { synced = print, changed = print } },
        "client:watch: handler.deleted: expected a function" },
      { { path = "/x" }, "handler of client:watch: expected a table of named arguments, got nil" },
    } do
      local ok, err = pcall(api.client.watch, api.client, case[1])
      assert.is_false(ok)
      assert.equal(case[2], tostring(err))
    end
  end)
end)
