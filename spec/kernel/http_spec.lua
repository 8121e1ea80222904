-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local http = require "mncni.http"
local spaces = require "spec.support.netns"
local web = require "spec.support.http"
local json = core.json

local fetch, wait = web.fetch, web.wait

local function refusal(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  return err
end

-- The error of a request that fails: its name, and words that its message has to have.
local function fails(request, name, ...)
  assert.is_true(request.done)
  assert.is_true(core.is_error(request.error), "no error")
  assert.equal(name, request.error.name)
  local line = tostring(request.error)
  assert.is_nil(line:find "\n")
  for _, words in ipairs { ... } do
    assert.is_truthy(line:find(words, 1, true), line)
  end
  assert.equal(request.error, request.error)
end

describe("mncni.http", function()
  local before, multi, server

  setup(function() server = web.serve() end)

  before_each(function()
    before = spaces.snapshot()
    multi = http.multi()
  end)

  after_each(function()
    multi:close()
    web.cleanup(server)
    spaces.assert_nothing_left(before)
  end)

  teardown(web.cleanup)

  local function get(path, more)
    local arguments = { url = server:url(path) }
    for key, value in pairs(more or {}) do arguments[key] = value end
    return fetch(multi, arguments)
  end

  describe("a request", function()
    it("gives status, headers and body", function()
      local started = web.now()
      local request = multi:request { url = server:url "/hello" }
      assert.is_nil(request.status)
      assert.is_nil(request.headers)
      assert.is_nil(request.error)
      assert.equal("", request:body())
      assert.is_false(request.done)
      wait(multi, function() return request.done end)
      assert.equal(200, request.status)
      assert.is_truthy(tonumber(request.headers["x-connection"]))
      request.headers["x-connection"] = nil
      assert.same({ ["content-length"] = "5", ["x-twice"] = "a, b" }, request.headers)
      assert.equal("hello", request:body())
      assert.equal(5, request.bytes)
      assert.is_nil(request.error)
      assert.is_true(request.started >= started - 20 and request.last >= request.started)
      assert.equal(("request %s (done)"):format(server:url "/hello"), tostring(request))
    end)

    for _, case in ipairs {
      { "GET" }, { "DELETE" }, { "POST", "text" }, { "PUT", "te\0xt" }, { "PATCH", ("x"):rep(2000000) },
      { "DELETE", "{}" }, { "POST", "" }, { "PUT" },
    } do
      local method, body = table.unpack(case)
      it(("sends %s with %s"):format(method, body and #body .. " bytes" or "no body"), function()
        local seen = json.decode(get("/echo?a=%20b", { method = method, body = body, headers = {
          ["Content-Type"] = body and "application/merge-patch+json", Authorization = "Bearer t", Empty = "",
        } }):body())
        assert.equal(method, seen.method)
        assert.equal("/echo?a=%20b", seen.target)
        local sent = body or ""
        local hex = sent:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
        assert.equal(#sent < 1000 and hex or #sent, seen.body)
        assert.equal((body or method == "PUT") and tostring(#(body or "")) or nil, seen.headers["content-length"])
        seen.headers["content-length"] = nil
        assert.same({ host = "127.0.0.1:" .. server.port, accept = "*/*", authorization = "Bearer t", empty = "",
          ["content-type"] = body and "application/merge-patch+json" }, seen.headers)
      end)
    end

    it("adds no type of its own to a body", function()
      assert.is_nil(json.decode(get("/echo", { method = "POST", body = "x" }):body()).headers["content-type"])
    end)

    it("gives any status with its body, and follows no redirect", function()
      local request = get "/status?code=429"
      assert.equal(429, request.status)
      assert.equal("7", request.headers["retry-after"])
      assert.equal('{"kind":"Status","code":429}', request:body())
      request = get "/redirect"
      assert.equal(302, request.status)
      assert.equal(server:url "/hello", request.headers.location)
      assert.equal("", request:body())
    end)

    it("reaches an IPv6 address", function()
      assert.equal("hello", fetch(multi, { url = server:url("/hello", "[::1]") }):body())
    end)

    it("decodes what is compressed when it was asked to, and else leaves it", function()
      assert.equal(("z"):rep(100000), get("/gzip?size=100000", { gzip = true }):body())
      assert.equal("\x1f\x8b", get("/gzip?size=100000"):body():sub(1, 2))
    end)

    it("uses a connection again", function()
      local first = get("/hello").headers["x-connection"]
      for _ = 1, 5 do assert.equal(first, get("/hello").headers["x-connection"]) end
    end)

    it("makes another when the server has closed the one that it kept", function()
      local first = get("/leave").headers["x-connection"]
      spaces.must "sleep 0.05"
      assert.equal(first + 1, tonumber(get("/hello").headers["x-connection"]))
    end)

    it("runs beside others", function()
      local requests = {}
      for i = 1, 50 do requests[i] = multi:request { url = server:url "/chunks?count=3&pause=0.05" } end
      local started = web.now()
      for i = 1, 50 do
        wait(multi, function() return requests[i].done end)
        assert.equal(3, select(2, requests[i]:body():gsub("ADDED", "")))
      end
      assert.is_true(web.now() - started < 5000)
    end)

    it("shows what has come of a body while more comes", function()
      local request = multi:request { url = server:url "/stuck" }
      wait(multi, function() return request.bytes > 0 end)
      assert.equal("12", request:body())
      assert.is_false(request.done)
      request:close()
      fails(request, "CANCELLED", "closed before it was answered")
      request:close()
      assert.equal("", request:body())
    end)

    it("is closed at the end of its scope, and when nobody has it any more", function()
      do
        local request <close> = multi:request { url = server:url "/silent" }
        multi:poll({}, 10)
        assert.is_false(request.done)
      end
      for _ = 1, 20 do multi:request { url = server:url "/silent" } end
      multi:poll({}, 10)
      collectgarbage()
      collectgarbage()
      assert.equal("hello", get("/hello"):body())
    end)

    it("ends with its handle, and outlives it", function()
      local request = multi:request { url = server:url "/stuck" }
      wait(multi, function() return request.bytes > 0 end)
      multi:close()
      multi:close()
      fails(request, "CANCELLED")
      assert.equal("12", request:body())
      assert.equal("the handle is closed", refusal(multi.poll, multi).message)
      assert.equal("the handle is closed", refusal(multi.request, multi, { url = server:url() }).message)
    end)

    it("has no other names", function()
      local request = get "/hello"
      assert.equal('a request has no "eror"; did you mean "error"?',
        refusal(function() return request.eror end).message)
    end)
  end)

  describe("says what went wrong:", function()
    it("nobody listens", function()
      fails(fetch(multi, { url = "http://127.0.0.1:1/x?secret=1" }), "CONNECT", "request http://127.0.0.1:1/x: ",
        "does the server run")
    end)

    it("there is no route", function()
      fails(fetch(multi, { url = "http://192.0.2.1/" }), "CONNECT", "http://192.0.2.1:80/")
    end)

    it("the name is not known", function()
      spaces.must "echo nameserver 127.0.0.1 >/run/tmp/resolv.conf; mount --bind /run/tmp/resolv.conf /etc/resolv.conf"
      local request = fetch(multi, { url = "http://name.invalid/" })
      spaces.must "umount /etc/resolv.conf; rm /run/tmp/resolv.conf"
      fails(request, "RESOLVE", "name.invalid", "is the name right")
    end)

    describe("no name server answers, which", function()
      local pipe

      before_each(function()
        pipe = io.popen("exec timeout 20 python3 -c " .. spaces.quote("import socket,time\n"
          .. "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.bind(('127.0.0.1',53));print(flush=True)\n"
          .. "import os;print(os.getpid(),flush=True);time.sleep(20)"))
        pipe:read "l"
        spaces.must("printf %s >/run/tmp/resolv.conf; mount --bind /run/tmp/resolv.conf /etc/resolv.conf",
          "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
      end)

      -- What was left behind ends by itself.
      after_each(function()
        local threads
        local deadline = web.now() + 15000
        repeat
          spaces.must "sleep 0.1"
          threads = tonumber((spaces.must "ls /proc/$PPID/task | wc -l"))
        until threads == 1 or web.now() > deadline
        spaces.must("umount /etc/resolv.conf; rm /run/tmp/resolv.conf; kill %s", pipe:read "l")
        pipe:close()
        assert.equal(1, threads)
      end)

      local ASKED = { url = "http://name.invalid/", connect_timeout = 300 }

      it("holds up no poll, beyond the time given", function()
        local request, longest = multi:request(ASKED), 0
        repeat
          local began = web.now()
          multi:poll({}, 100)
          longest = math.max(longest, web.now() - began)
        until request.done
        fails(request, "TIMEOUT", "name.invalid")
        assert.is_true(longest < 1000 and web.now() - request.started < 1500, longest)
      end)

      it("holds up no close, of the request or of all", function()
        for _, what in ipairs { "request", "multi" } do
          local request = multi:request(ASKED)
          multi:poll({}, 50)
          assert.is_false(request.done)
          local began = web.now();
          ({ request = request, multi = multi })[what]:close()
          assert.is_true(web.now() - began < 1000, what)
        end
      end)

      it("holds up no program that ends", function()
        local script = [[
          local multi = require "mncni.http".multi()
          local request = multi:request { url = "http://name.invalid/" }
          multi:poll({}, 50)
          multi:close()]]
        local began = web.now()
        local output, status = spaces.sh(os.getenv "RING_LUA" .. " -e %s", script)
        assert.same({ "", 0 }, { output, status })
        assert.is_true(web.now() - began < 1500)
      end)
    end)

    it("the server does not take the connection", function()
      -- A full backlog drops the SYN, as a dead machine does.
      local script = "import socket,time\ns=socket.create_server(('127.0.0.1',0),backlog=0)\n"
        .. "print(s.getsockname()[1],flush=True)\nc=[]\nfor i in range(4):\n k=socket.socket();k.setblocking(False)\n"
        .. " k.connect_ex(s.getsockname());c.append(k)\ntime.sleep(100)"
      local pipe <close> = io.popen("exec timeout 3 python3 -c " .. spaces.quote(script))
      local port = pipe:read "l"
      spaces.must "sleep 0.1"
      local request = fetch(multi, { url = "http://127.0.0.1:" .. port, connect_timeout = 300 })
      fails(request, "TIMEOUT", "is the server alive")
      assert.is_true(web.now() - request.started < 1500)
    end)

    it("the time is over", function()
      fails(get("/silent", { timeout = 200 }), "TIMEOUT", "Operation timed out after ")
      fails(get("/stuck", { timeout = 200 }), "TIMEOUT")
    end)

    it("the connection closed or broke before the end", function()
      fails(get "/nothing", "CLOSED", "without an answer")
      for _, path in ipairs { "/short", "/half", "/reset" } do
        local request = get(path)
        fails(request, "CLOSED")
        assert.equal(200, request.status)
        assert.is_true(#request:body() > 0)
      end
    end)

    it("the server was killed", function()
      local doomed = web.serve()
      local request = multi:request { url = doomed:url "/stuck" }
      wait(multi, function() return request.bytes > 0 end)
      doomed:stop()
      wait(multi, function() return request.done end)
      fails(request, "CLOSED")
    end)

    it("this is no HTTP", function()
      fails(get "/garbage", "HTTP", "is there an HTTP server")
      fails(get "/headers", "HTTP", "larger than 65536 bytes")
      fails(get("/badgzip", { gzip = true }), "ENCODING")
    end)

    it("the body is too large, decoded or not", function()
      fails(get "/huge", "SIZE", "larger than 4194304 bytes")
      fails(get("/gzip?size=100000000", { gzip = true, max_body = 100000 }), "SIZE", "larger than 100000 bytes")
      assert.is_nil(get("/gzip?size=1000", { gzip = true, max_body = 1000 }).error)
      fails(get("/gzip?size=1001", { gzip = true, max_body = 1000 }), "SIZE")
    end)
  end)

  describe("with a picker", function()
    local list = { items = { "items", each = true }, keep = { n = true }, also = { metadata = true } }

    it("gives documents as they come in", function()
      local request = multi:request {
        url = server:url "/chunks?count=5&pause=0.1",
        pick = core.picker { keep = { type = true, object = { n = true } } },
      }
      local seen, first = {}, nil
      wait(multi, function()
        local documents, bytes = request:take()
        table.move(documents, 1, #documents, #seen + 1, seen)
        first = first or #documents > 0 and not request.done and bytes
        return request.done
      end)
      table.move(request:take(), 1, 1, #seen + 1, seen)
      assert.is_nil(request.error)
      assert.equal(5, #seen)
      assert.equal('{"type":"ADDED","object":{"n":4}}', seen[5])
      assert.is_true(first < request.bytes)
    end)

    it("gives the elements of a list and what else is kept of it", function()
      local request = get("/items?count=3", { pick = core.picker(list) })
      local documents, bytes = request:take()
      assert.same({ '{"n":0}', '{"n":1}', '{"n":2}', '{"list":{"metadata":{"resourceVersion":"5"}}}' }, documents)
      assert.equal(request.bytes, bytes)
      assert.same({}, (request:take()))
      assert.matches("the picker reads this body", refusal(request.body, request).message)
    end)

    it("keeps the body of an answer that is not good", function()
      local request = get("/status?code=410", { pick = core.picker(list) })
      assert.same({}, (request:take()))
      assert.equal('{"kind":"Status","code":410}', request:body())
    end)

    it("fails when the text is cut, or is not what was expected", function()
      fails(get("/items?count=3&cut=60", { pick = core.picker(list) }), "JSON", "found the end of the text at byte 60")
      fails(get("/hello", { pick = core.picker(list) }), "JSON", "expected a value, found 'h' at byte 0")
      fails(get("/gzip?size=10", { pick = core.picker(list) }), "JSON")
    end)

    it("holds up the server while nothing is taken, and loses nothing", function()
      local picker = core.picker { items = { "items", each = true } }
      local request = multi:request { url = server:url "/items?count=40000&size=1000", pick = picker, gzip = true }
      wait(multi, function() return request.bytes > 1000000 end)
      for _ = 1, 20 do multi:poll({}, 20) end
      local held = request.bytes
      assert.is_true(held > 1000000 and held < 1500000, held)
      assert.is_false(request.done)
      local count = 0
      repeat
        count = count + #request:take()
        multi:poll({}, 1000)
      until request.done
      count = count + #request:take()
      assert.is_nil(request.error)
      assert.equal(40000, count)
      assert.is_true(request.bytes > 40000000)
    end)

    it("tells at once of what it held back, when there is room again", function()
      local request = multi:request { url = server:url "/late", pick = core.picker { max = 2 << 20 } }
      wait(multi, function() return request.bytes > 1 << 20 end)
      for _ = 1, 10 do multi:poll({}, 50) end
      assert.equal(1, #request:take())
      local started = web.now()
      multi:poll({}, 5000)
      assert.is_true(web.now() - started < 500)
      assert.same({ '{"n":"late"}' }, (request:take()))
      -- And only once.
      started = web.now()
      multi:poll({}, 200)
      assert.is_true(web.now() - started >= 180)
    end)

    it("lends the picker to one request at a time", function()
      local picker = core.picker {}
      local request = multi:request { url = server:url "/stuck", pick = picker }
      assert.matches("another request", refusal(multi.request, multi, { url = server:url(), pick = picker }).message)
      assert.matches("a request reads with this picker", refusal(picker.feed, picker, "1").message)
      request:close()
      assert.same({ "1" }, picker:feed "1 ")
      assert.same({ '{"n":0}' }, { (get("/items?count=1", { pick = core.picker(list) }):take())[1] })
    end)
  end)

  describe("poll", function()
    local function pipe()
      spaces.must "rm -f /run/tmp/fifo; mkfifo /run/tmp/fifo"
      return assert(io.open("/run/tmp/fifo", "r+"))
    end

    -- The descriptor number of a Lua file.
    local function number(path)
      return tonumber((spaces.must(
        "for f in /proc/$PPID/fd/*; do [ \"$(readlink $f)\" = %s ] && basename $f; done; :", path)))
    end

    it("tells which descriptors can be read", function()
      local netns <close> = core.netns.current()
      local sock <close> = core.socket { netns = netns }
      local fifo <close> = pipe()
      local fd = number "/run/tmp/fifo"
      assert.same({}, multi:poll({ sock:fd(), fd }, 0))
      fifo:write "x"
      fifo:flush()
      assert.same({ fd }, multi:poll({ sock:fd(), fd }, 5000))
      assert.same({ fd }, multi:poll({ fd, sock:fd() }))
      os.remove "/run/tmp/fifo"
    end)

    it("waits as long as it was told, and no longer", function()
      local started = web.now()
      assert.same({}, multi:poll({}, 200))
      local took = web.now() - started
      assert.is_true(took >= 180 and took < 400, took)
      started = web.now()
      multi:poll({}, 0)
      multi:poll(nil, 0)
      assert.is_true(web.now() - started < 50)
    end)

    it("tells of a descriptor that has come to its end, and of one that is not open", function()
      local fifo = pipe()
      local writer = assert(io.open("/run/tmp/fifo", "w"))
      local reader <close> = assert(io.open("/run/tmp/fifo", "r"))
      local fd = tonumber((spaces.must "ls /proc/$PPID/fd | sort -n | tail -n 1"))
      while spaces.sh("readlink /proc/$PPID/fd/%s", fd) ~= "/run/tmp/fifo" do fd = fd - 1 end
      fifo:close()
      writer:close()
      assert.same({ fd }, multi:poll({ fd }, 5000))
      assert.equal("descriptor 987 is not open", refusal(multi.poll, multi, { 987 }, 0).message)
      assert.equal("[1] is no descriptor but a string", refusal(multi.poll, multi, { "x" }).message)
      assert.is_truthy(reader)
      os.remove "/run/tmp/fifo"
    end)

    it("returns at a signal", function()
      local started = web.now()
      local output = spaces.sh("(exec " .. os.getenv "RING_LUA" .. " -e %s) 2>&1 & sleep 1; kill -INT $!; wait $!",
        'require("mncni.http").multi():poll({}, 20000)')
      assert.matches("interrupted!", output)
      assert.is_true(web.now() - started < 10000)
    end)
  end)

  describe("over TLS", function()
    local made

    setup(function()
      made = web.certificates("/run/tmp/tls", {
        web = "IP:127.0.0.1,DNS:localhost", named = "DNS:kubernetes.default", client = "DNS:client",
      })
      made.other = web.certificates("/run/tmp/other", { client = "DNS:client" })
    end)

    teardown(function() spaces.must "rm -r /run/tmp/tls /run/tmp/other" end)

    local function serve(pair, more)
      return web.serve(("--cert %s --key %s %s"):format(pair.cert_path, pair.key_path, more or ""))
    end

    it("verifies the server by the authority given, as text or file", function()
      local tls = serve(made.web)
      assert.equal("hello", fetch(multi, { url = tls:url "/hello", ca = made.authority.cert }):body())
      assert.equal("hello", fetch(multi, { url = tls:url "/hello", ca_file = made.authority.path }):body())
    end)

    it("refuses a server that another authority signed, or nobody it knows", function()
      local tls = serve(made.web)
      fails(fetch(multi, { url = tls:url "/hello", ca = made.other.authority.cert }), "TLS", "is ca the authority")
      fails(fetch(multi, { url = tls:url "/hello" }), "TLS", "is ca the authority")
      assert.equal("hello", fetch(multi, { url = tls:url "/hello", insecure = true }):body())
      -- a connection that was not verified is not one for those who want that
      fails(fetch(multi, { url = tls:url "/hello" }), "TLS")
    end)

    it("trusts nobody else when an authority is given", function()
      local tls = serve(made.web)
      spaces.must("mkdir /run/tmp/certs && cp %s /run/tmp/certs/ && openssl rehash /run/tmp/certs && "
        .. "cp %s /run/tmp/certs/ca-certificates.crt", made.authority.path, made.other.authority.path)
      spaces.must "mount --bind /run/tmp/certs /etc/ssl/certs"
      local trusted = fetch(multi, { url = tls:url "/hello" })
      local other = fetch(multi, { url = tls:url "/hello", ca = made.other.authority.cert })
      local file = fetch(multi, { url = tls:url "/hello", ca_file = made.other.authority.path })
      spaces.must "umount /etc/ssl/certs && rm -r /run/tmp/certs"
      assert.equal("request " .. tls:url "/hello" .. " (done)", tostring(trusted))
      fails(other, "TLS")
      fails(file, "TLS")
    end)

    it("refuses a certificate for another name, unless that is expected", function()
      local tls = serve(made.named)
      fails(fetch(multi, { url = tls:url "/hello", ca = made.authority.cert }), "TLS", "server_name")
      local seen = fetch(multi, { url = tls:url "/echo", ca = made.authority.cert, server_name = "kubernetes.default" })
      assert.equal(200, seen.status)
      assert.equal("127.0.0.1:" .. tls.port, json.decode(seen:body()).headers.host)
      assert.equal("sni None", tls:line())
      assert.equal("sni kubernetes.default", tls:line())
      assert.equal(200, fetch(multi, { url = tls:url("/echo", "[::1]"), ca = made.authority.cert,
        server_name = "kubernetes.default" }).status)
    end)

    it("shows its own certificate, and says so when that is refused", function()
      local tls = serve(made.web, "--client-ca " .. made.authority.path)
      local ca = made.authority.cert
      local client = made.client
      local request = fetch(multi, { url = tls:url "/hello", ca = ca, cert = client.cert, key = client.key })
      assert.equal("hello", request:body())
      fails(fetch(multi, { url = tls:url "/hello", ca = ca }), "TLS", "accept our certificate")
      local other = made.other.client
      fails(fetch(multi, { url = tls:url "/hello", ca = ca, cert = other.cert, key = other.key }), "TLS",
        "accept our certificate")
      local fresh <close> = http.multi() -- a connection with the same cert would do
      fails(fetch(fresh, { url = tls:url "/hello", ca = ca, cert = client.cert, key = other.key }), "TLS",
        "of one pair")
      fails(fetch(multi, { url = tls:url "/hello", ca = ca, cert = "-----BEGIN X", key = "-----BEGIN X" }), "TLS",
        "cert and key")
    end)

    it("says that an authority is none", function()
      local tls = serve(made.web)
      local ca = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
      fails(fetch(multi, { url = tls:url "/hello", ca = ca }), "TLS", "PEM")
      fails(fetch(multi, { url = tls:url "/hello", ca_file = "/run/tmp/no-such-file" }), "TLS", "/run/tmp/no-such-file")
    end)

    it("does not take plain HTTP for TLS, nor TLS for plain HTTP", function()
      local tls = serve(made.web)
      fails(fetch(multi, { url = "http://127.0.0.1:" .. tls.port }), "CLOSED", "https")
      local silent = fetch(multi, { url = "https://127.0.0.1:" .. server.port, timeout = 500 })
      fails(silent, silent.error.name == "TLS" and "TLS" or "TIMEOUT") -- as the server makes a line of it or not
    end)

    it("uses a connection again, for the same credentials alone", function()
      local tls = serve(made.web, "--client-ca " .. made.authority.path)
      local function with(pair)
        return fetch(multi, { url = tls:url "/hello", ca = made.authority.cert, cert = pair.cert, key = pair.key })
      end
      local again = web.certificates("/run/tmp/tls/again", { client = "DNS:again" }).client
      assert.equal("1", with(made.client).headers["x-connection"])
      assert.equal("1", with(made.client).headers["x-connection"])
      assert.is_not_nil(with(again).error)
    end)

    it("goes through a proxy", function()
      local tls = serve(made.named)
      local proxy = web.serve "--proxy"
      local request = fetch(multi, { url = tls:url "/echo", ca = made.authority.cert,
        server_name = "kubernetes.default", proxy = proxy:url(""), headers = { Authorization = "Bearer secret" } })
      assert.equal(200, request.status)
      assert.equal("127.0.0.1:" .. tls.port, json.decode(request:body()).headers.host)
      assert.is_nil(request.headers["x-proxy"])
      fails(fetch(multi, { url = tls:url "/echo", proxy = "http://127.0.0.1:1" }), "CONNECT")
    end)
  end)

  it("says what is wrong with arguments", function()
    for message, arguments in pairs {
      ['unknown key "ulr"; did you mean "url"?'] = { ulr = "x" },
      ["url is missing"] = {},
      ["url is a string, not a number"] = { url = 1 },
      ["url has a zero byte in it"] = { url = "http://a\0b" },
      ["not a URL that can be asked: Port number was not a decimal number between 0 and 65535"] =
        { url = "http://a:b" },
      ["a URL begins with http:// or https://, not with file"] = { url = "file:///etc/passwd" },
      ["a URL carries no user and password here: give an Authorization header"] = { url = "http://a:b@c/" },
      ['method is GET, POST, PUT, PATCH or DELETE, not "get"'] = { url = "http://a", method = "get" },
      ["headers is a table of strings by name, not a string"] = { url = "http://a", headers = "x" },
      ["headers is a table of strings by name"] = { url = "http://a", headers = { "x" } },
      ['headers: "a b" is not a name for a header'] = { url = "http://a", headers = { ["a b"] = "x" } },
      ["headers: the value of A has byte 0x0d in it (a line break?)"] =
        { url = "http://a", headers = { A = "x\r\nB: y" } },
      ["ca is the text of a PEM file (-----BEGIN ...), which this is not"] = { url = "http://a", ca = "/etc/ca.pem" },
      ["ca and ca_file are two ways to say the same: give one"] =
        { url = "http://a", ca = "-----BEGIN ", ca_file = "x" },
      ["cert and key come together, and key is missing"] = { url = "http://a", cert = "-----BEGIN " },
      ["server_name is a host name or IPv4 address, not a:1"] = { url = "http://a", server_name = "a:1" },
      ["timeout is an integer from 0 to 2147483647"] = { url = "http://a", timeout = -1 },
      ["insecure is true or false, not a number"] = { url = "http://a", insecure = 1 },
      ["pick is a picker, not a table"] = { url = "http://a", pick = {} },
    } do
      assert.equal(message, refusal(multi.request, multi, arguments).message)
    end
  end)
end)
