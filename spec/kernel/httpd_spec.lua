-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local http = require "mncni.http"
local httpd = require "mncni.httpd"
local spaces = require "spec.support.netns"
local web = require "spec.support.http"

local function refusal(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  return err
end

describe("mncni.httpd", function()
  local before, server, multi, handler, failed

  before_each(function()
    before = spaces.snapshot()
    server = httpd.listen { address = "127.0.0.1", port = 0 }
    multi = http.multi()
    failed = nil
    handler = function(method, path) return 200, "text/plain", method .. " " .. path end
  end)

  after_each(function()
    multi:close()
    server:close()
    spaces.assert_nothing_left(before)
  end)

  -- Serves and asks until the condition holds.
  local function serve_until(condition)
    local deadline = web.now() + 10000
    while not condition() do
      assert(web.now() < deadline, "waited for 10 s")
      if #multi:poll({ server:fd() }, 100) > 0 or server:timeout() == 0 then
        local _, err = server:run(handler)
        failed = err or failed
      end
    end
  end

  local function fetch(arguments)
    if type(arguments) == "string" then arguments = { url = arguments } end
    arguments.url = ("http://127.0.0.1:%d%s"):format(server:port(), arguments.url)
    local request = multi:request(arguments)
    serve_until(function() return request.done end)
    return request
  end

  -- What a client in the shell gets, which speaks for itself.
  local function talk(script)
    spaces.must("(timeout 20 bash -c %s; echo over) >/run/tmp/talk 2>&1 &",
      ("exec 3<>/dev/tcp/127.0.0.1/%d; %s"):format(server:port(), script))
    local text
    serve_until(function()
      local file <close> = io.open "/run/tmp/talk"
      text = file and file:read "a" or ""
      return text:find "over\n$"
    end)
    os.remove "/run/tmp/talk"
    return text
  end

  it("gives what the handler returns", function()
    local request = fetch "/metrics?x=1"
    assert.equal(200, request.status)
    assert.equal("text/plain", request.headers["content-type"])
    assert.equal("GET /metrics", request:body())
    handler = function() return 503, nil, "not \0 yet" end
    request = fetch "/readyz"
    assert.equal(503, request.status)
    assert.equal("not \0 yet", request:body())
    assert.equal("text/plain; charset=utf-8", request.headers["content-type"])
    handler = function() return 204 end
    assert.equal("", fetch "/":body())
    handler = function() return 200, "text/plain", ("x"):rep(3000000) end
    assert.equal(3000000, #fetch "/":body())
  end)

  it("answers HEAD with the headers alone", function()
    local text = talk "printf 'HEAD /a HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    assert.matches("^HTTP/1.. 200 OK\r\n", text)
    assert.matches("Content%-Length: 7\r\n", text)
    assert.is_nil(text:find "HEAD /a")
  end)

  it("takes nothing but GET and HEAD, and no body", function()
    local asked = false
    handler = function() asked = true return 200 end
    for _, method in ipairs { "POST", "PUT", "PATCH", "DELETE" } do
      local request = fetch { url = "/", method = method, body = "x" }
      assert.equal(405, request.status)
      assert.equal("GET, HEAD", request.headers.allow)
    end
    local text = talk "printf 'GET / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 5\\r\\n\\r\\n12345' >&3; cat <&3"
    assert.matches("^HTTP/1.1 413 ", text)
    assert.is_false(asked)
  end)

  it("refuses a request that is larger than it has memory for", function()
    local text = talk
      "printf 'GET / HTTP/1.1\\r\\nHost: a\\r\\nX: %0100000d\\r\\n\\r\\n' 1 >&3 2>/dev/null; head -n 1 <&3"
    assert.is_truthy(text:find "^HTTP/1.1 4[13][1-4] " or text:find "reset" or text:find "^over", text)
    assert.equal(200, fetch "/".status)
  end)

  it("answers 500 when the handler fails, tells what it raised, and goes on", function()
    handler = function() error("broken", 0) end
    local request = fetch "/"
    assert.equal(500, request.status)
    assert.equal("internal error\n", request:body())
    assert.equal("broken", failed)
    for returned, message in pairs { [99] = "status from 200 to 599, not 99", ["x"] = "not x", [{}] = "not table" } do
      handler = function() return returned end
      assert.equal(500, fetch "/".status)
      assert.matches(message, tostring(failed))
    end
    handler = function() return 200, "a\r\nb: c", "" end
    assert.equal(500, fetch "/".status)
    handler = function() return 200, "text/plain", {} end
    assert.equal(500, fetch "/".status)
    handler = function() return 200 end
    assert.equal(200, fetch "/".status)
  end)

  it("serves many, and keeps connections", function()
    local requests = {}
    for i = 1, 100 do
      requests[i] = multi:request { url = ("http://127.0.0.1:%d/%d"):format(server:port(), i) }
    end
    serve_until(function()
      for i = 1, 100 do
        if not requests[i].done then return false end
      end
      return true
    end)
    for i = 1, 100 do assert.equal("GET /" .. i, requests[i]:body()) end
  end)

  it("does nothing when there is nothing to do", function()
    local started = web.now()
    assert.equal(0, (server:run(handler)))
    assert.is_nil(server:timeout())
    assert.is_true(web.now() - started < 100)
    assert.equal(200, fetch "/".status)
    assert.is_true(server:timeout() <= 10000) -- the connection that is kept
  end)

  it("bears what a handler does to it", function()
    handler = function()
      assert.matches("it runs already", refusal(server.run, server, handler).message)
      server:close()
      return 200
    end
    local request = multi:request { url = ("http://127.0.0.1:%d/"):format(server:port()) }
    local deadline = web.now() + 10000
    while pcall(server.fd, server) and web.now() < deadline do
      multi:poll({}, 20)
      server:run(handler)
    end
    web.wait(multi, function() return request.done end)
    assert.equal("HTTP server (closed)", tostring(server))
    assert.equal("the handle is closed", refusal(server.run, server, handler).message)
    server:close()
  end)

  it("listens on IPv6, and says why it cannot listen", function()
    local six <close> = httpd.listen { address = "::1" }
    assert.is_true(six:port() > 0)
    assert.equal(("HTTP server (port %d)"):format(six:port()), tostring(six))
    local err = refusal(httpd.listen, { address = "127.0.0.1", port = server:port() })
    assert.equal("EADDRINUSE", err.name)
    assert.matches("another program has it", err.message)
    assert.equal("EADDRNOTAVAIL", refusal(httpd.listen, { address = "192.0.2.1" }).name)
    for message, arguments in pairs {
      ['unknown key "adress"; did you mean "address"?'] = { adress = "" },
      ['address is a string like "127.0.0.1", not a nil'] = {},
      ['address is an IPv4 or IPv6 address, like 127.0.0.1 or ::1, not "localhost"'] = { address = "localhost" },
      ["port is an integer from 0 (any) to 65535"] = { address = "::1", port = 65536 },
    } do
      assert.equal(message, refusal(httpd.listen, arguments).message)
    end
  end)
end)
