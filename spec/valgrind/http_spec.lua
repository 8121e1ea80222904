-- SPDX-License-Identifier: Apache-2.0
-- A client and a server in one process under memcheck, with ends of all kinds.

local spaces = require "spec.support.netns"
local web = require "spec.support.http"

local script = [[
local core, http, httpd = require "mncni.core", require "mncni.http", require "mncni.httpd"
local server <close> = httpd.listen { address = "127.0.0.1" }
local multi <close> = http.multi()
local other = "http://127.0.0.1:%d"
local own = "http://127.0.0.1:" .. server:port()

local function handler(_, path)
  if path == "/raise" then error "raised" end
  return 200, nil, ("x"):rep(1000)
end

local function fetch(arguments)
  local request = multi:request(arguments)
  repeat
    if #multi:poll({ server:fd() }, 50) > 0 then server:run(handler) end
  until request.done
  return request
end

assert(#fetch { url = own .. "/", gzip = true }:body() == 1000)
assert(fetch { url = own .. "/raise" }.status == 500)
assert(fetch { url = own .. "/", method = "POST", body = "x" }.status == 405)
assert(fetch { url = other .. "/short" }.error.name == "CLOSED")
assert(fetch { url = other .. "/huge", max_body = 10 }.error.name == "SIZE")
assert(fetch { url = "http://127.0.0.1:1/" }.error.name == "CONNECT")
assert(not pcall(multi.request, multi, { url = "gopher://a" }))
assert(not pcall(core.picker, { keep = { a = { "b" } } }))
local list = { items = { "items", each = true }, keep = { n = true }, also = { metadata = true } }
local good = fetch { url = other .. "/items?count=100", pick = core.picker(list) }
assert(#good:take() == 101 and not good.error)
assert(fetch { url = other .. "/items?count=100&cut=200", pick = core.picker(list) }.error.name == "JSON")
local stuck = multi:request { url = other .. "/stuck", pick = core.picker(list) }
multi:poll({}, 200)
stuck:close()
local held = multi:request { url = other .. "/items?count=3000&size=1000",
  pick = core.picker { items = { "items", each = true } } }
repeat multi:poll({}, 100) until held.bytes > 1000000
held:take()
multi:request { url = other .. "/silent" }
multi:poll({}, 50)
print "good"
]]

describe("under valgrind", function()
  teardown(web.cleanup)

  it("HTTP leaves and breaks nothing", function()
    local server = web.serve()
    local output, status = spaces.sh("valgrind --quiet --error-exitcode=99 --leak-check=full "
      .. "--errors-for-leak-kinds=definite --show-leak-kinds=definite lua5.4 -e %s", script:format(server.port))
    assert.equal("good", output)
    assert.equal(0, status)
  end)
end)
