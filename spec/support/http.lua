-- SPDX-License-Identifier: Apache-2.0
-- Web servers for specs (spec/support/http_server.py), throw-away certificates, and waiting for requests.

local spaces = require "spec.support.netns"

local http = {}

local running = {}

local Server = {}
Server.__index = Server

-- Where it is reached; host is 127.0.0.1 unless another is given.
function Server:url(path, host)
  return ("%s://%s:%d%s"):format(self.scheme, host or "127.0.0.1", self.port, path or "/")
end

function Server:stop()
  if running[self] then
    running[self] = nil
    spaces.sh("kill -9 %s", self.pid)
    self.pipe:close()
  end
end

-- The next line that the server prints, after that about itself.
function Server:line()
  return self.pipe:read "l"
end

-- Starts a server with these arguments; it goes with http.cleanup().
function http.serve(arguments)
  arguments = arguments or ""
  local pipe = assert(io.popen("exec python3 spec/support/http_server.py " .. arguments))
  local pid, port = assert(pipe:read "l"):match "(%d+) (%d+)"
  local server = setmetatable({
    pipe = pipe, pid = pid, port = tonumber(port), scheme = arguments:find "--cert" and "https" or "http",
  }, Server)
  running[server] = true
  return server
end

-- Stops all servers, but for one.
function http.cleanup(kept)
  for server in pairs(running) do
    if server ~= kept then server:stop() end
  end
end

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

-- Makes an authority, and pairs that it signed for the names given: { authority = { cert, path }, web = { cert, key,
-- cert_path, key_path } } with PEM texts. names: { web = "DNS:web.example,IP:127.0.0.1" }.
function http.certificates(directory, names)
  spaces.must("mkdir -p %s", directory)
  spaces.must("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
    .. "-subj %s -keyout ca.key -out ca.pem", directory, "/CN=authority of " .. directory:gsub(".*/", ""))
  local made = { authority = { path = directory .. "/ca.pem", cert = read(directory .. "/ca.pem") } }
  for name, alternatives in pairs(names) do
    spaces.must("cd %s && openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=" .. name
      .. " -keyout " .. name .. ".key -out " .. name .. ".csr && echo subjectAltName=" .. alternatives .. " >ext && "
      .. "openssl x509 -req -in " .. name .. ".csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out "
      .. name .. ".pem", directory)
    local base = directory .. "/" .. name
    made[name] = { cert = read(base .. ".pem"), key = read(base .. ".key"), cert_path = base .. ".pem",
      key_path = base .. ".key" }
  end
  return made
end

-- Milliseconds of the monotonic clock, to a hundredth of a second.
function http.now()
  local file <close> = assert(io.open "/proc/uptime")
  return math.floor(tonumber(file:read "a":match "^%S+") * 1000)
end

-- Polls until the condition holds; fails after 10 s.
function http.wait(multi, condition)
  local deadline = http.now() + 10000
  while not condition() do
    assert(http.now() < deadline, "waited for 10 s")
    multi:poll({}, 100)
  end
end

-- Starts a request and waits for its end.
function http.fetch(multi, arguments)
  local request = multi:request(arguments)
  http.wait(multi, function() return request.done end)
  return request
end

return http
