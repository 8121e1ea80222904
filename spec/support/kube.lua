-- SPDX-License-Identifier: Apache-2.0
-- A real Kubernetes API server for specs: kube-apiserver and etcd on loopback, in the ring's own network namespace (or
-- one of a spec's), with everything that they write in a scratch directory. `make check-kubernetes` builds the server.
--
--   local kube = kubes.new()                              -- ready; about 4 s
--   kube:nodes { count = 500 }                            -- large ones, as a cloud's; about 3 s
--   local status, list = kube:request("GET", "/api/v1/nodes")
--   local watch = kube:watch("/api/v1/nodes?resourceVersion=" .. list.metadata.resourceVersion)
--   local event = watch:next()
--   kubes.cleanup()                                       -- after_each or teardown: ends what is still there

local core = require "mncni.core"
local processes = require "spec.support.process"
local spaces = require "spec.support.netns"

local kubes = {}
local kube = {}
kube.__index = kube

local programs = os.getenv "MNCNI_KUBERNETES" or error("run this through `make check-kubernetes ARGS=...`", 0)
local ANSWER = 1 << 29 -- bytes, the most that a request may bring
local open = {}
local count = 0

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

-- Writes a file aside and renames it into place: whoever reads it sees the old or the new one.
local function write(path, text)
  local file = assert(io.open(path .. ".new", "w"))
  assert(file:write(text))
  assert(file:close())
  assert(os.rename(path .. ".new", path))
end

local function append(list, ...)
  for _, value in ipairs { ... } do list[#list + 1] = value end
  return list
end

-- core.exec, without a copy of the program's stderr on ours.
local function exec(what)
  local path = os.tmpname()
  what.argv = append({ "/bin/sh", "-c", 'exec "$@" 2>"$0"', path }, table.unpack(what.argv))
  local outcome = core.exec(what)
  outcome.stderr = read(path)
  os.remove(path)
  return outcome
end

-- Starts a program in the background, which cleanup ends.
local function spawn(self, name, argv)
  local started = self.run(processes.start, { argv = argv, log = self:path(name .. ".log") })
  self.processes[started] = true
  return started
end

-- ----------------------------------------------------------------------------------------------------- certificates

-- Makes scratch/NAME.crt and .key. ca: the name of the one that signs it, itself when not given.
local function certificate(self, name, subject, ca, extensions)
  local argv = {
    "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
    subject, "-keyout", self:path(name .. ".key.new"), "-out", self:path(name .. ".crt.new"),
  }
  if ca then append(argv, "-CA", self:path(ca .. ".crt"), "-CAkey", self:path(ca .. ".key")) end
  for _, extension in ipairs(extensions) do append(argv, "-addext", extension) end
  local outcome = exec { argv = argv }
  if outcome.status ~= 0 then error("openssl: " .. outcome.stderr, 2) end
  for _, suffix in ipairs { ".key", ".crt" } do
    assert(os.rename(self:path(name .. suffix .. ".new"), self:path(name .. suffix)))
  end
end

local function authority(self, name)
  self.serial = self.serial + 1
  certificate(self, name, ("/CN=spec %s %d"):format(name, self.serial), nil, {
    "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign",
  })
end

local function server_certificate(self)
  local names = { "DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default.svc", "IP:127.0.0.1", "IP:10.96.0.1" }
  for _, address in ipairs(self.addresses) do names[#names + 1] = "IP:" .. address end
  certificate(self, "server", "/CN=kube-apiserver", "ca", {
    "basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth", "subjectAltName=" .. table.concat(names, ","),
  })
end

-- The files of a client certificate { cert, key } for a user in groups (a list), made once.
function kube:identity(user, groups)
  local subject = ""
  for _, group in ipairs(groups or {}) do subject = subject .. "/O=" .. group end
  subject = subject .. "/CN=" .. user
  local known = self.identities[subject]
  if not known then
    self.serial = self.serial + 1
    local name = "client-" .. self.serial
    certificate(self, name, subject, "clients", {
      "basicConstraints=critical,CA:FALSE", "extendedKeyUsage=clientAuth",
    })
    known = { cert = self:path(name .. ".crt"), key = self:path(name .. ".key") }
    self.identities[subject] = known
  end
  return known
end

-- kubeconfig{ user =, groups = | token = | token_file =, embed = true } writes one and returns its path. It names the
-- files of certificates, unless they are to be embedded: those do not follow when the authority is replaced.
function kube:kubeconfig(args)
  local function file(key, path)
    if not args.embed then return ("%s: %s"):format(key, path) end
    return ("%s-data: %s"):format(key, spaces.must("base64 -w 0 %s", path))
  end
  local user
  if args.token then
    user = "token: " .. args.token
  elseif args.token_file then
    user = "tokenFile: " .. args.token_file
  else
    local identity = self:identity(args.user, args.groups)
    user = file("client-certificate", identity.cert) .. "\n    " .. file("client-key", identity.key)
  end
  self.serial = self.serial + 1
  local path = self:path(("kubeconfig-%d"):format(self.serial))
  write(path, ([[
apiVersion: v1
kind: Config
clusters:
- name: spec
  cluster:
    server: %s
    %s
contexts:
- name: spec
  context:
    cluster: spec
    user: spec
current-context: spec
users:
- name: spec
  user:
    %s
]]):format(self.url, file("certificate-authority", self.ca), user))
  return path
end

-- --------------------------------------------------------------------------------------------------------- requests

-- The words of curl that say who asks: who = { token = | cert =, key = }, the administrator when neither is given, and
-- ca = the file that the server is checked with. For an agent called curl the server would indent its JSON.
local function curl(self, who)
  who = who or {}
  local argv = { "curl", "-sS", "-A", "mncni-spec", "--noproxy", "*", "--cacert", who.ca or self.ca }
  if who.token then return append(argv, "--oauth2-bearer", who.token) end
  local identity = who.cert and who or self:identity("kubernetes-admin", { "system:masters" })
  return append(argv, "--cert", identity.cert, "--key", identity.key)
end

-- Asks the API server. body: a table, which is sent as JSON, or text. content_type: application/json when not given.
-- Returns the status and the decoded body (its text when it is not JSON), or nil and curl's words.
function kube:request(method, path, body, content_type, who)
  local argv = append(curl(self, who), "--max-time", "60", "-X", method, "-w", "\n%{http_code}", self.url .. path)
  if body then
    append(argv, "-H", "Content-Type: " .. (content_type or "application/json"), "--data-binary", "@-")
  end
  local outcome = self.run(exec, {
    argv = argv, max_output = ANSWER, timeout = 70000,
    stdin = type(body) == "table" and core.json.encode(body) or body or "",
  })
  if outcome.status ~= 0 then
    return nil, outcome.stderr
  end
  local text, status = outcome.stdout:match "^(.*)\n(%d+)$"
  local ok, document = pcall(core.json.decode, text)
  return tonumber(status), ok and document or text
end

-- The same, which must succeed; returns the body.
function kube:must(method, path, body, content_type, who)
  local status, answer = self:request(method, path, body, content_type, who)
  if not status or status >= 300 then
    local said = type(answer) == "table" and answer.message or answer
    error(("%s %s: %s: %s"):format(method, path, status or "no answer", said), 2)
  end
  return answer
end

local watching = {}
watching.__index = watching

-- Watches a path (with its query), in the background. Returns { next(seconds), status(), stop() }; stop also comes with
-- cleanup.
function kube:watch(path, who)
  self.serial = self.serial + 1
  local name = "watch-" .. self.serial
  local watch = setmetatable({ body = self:path(name), head = self:path(name .. ".head"), at = 0 }, watching)
  write(watch.body, "")
  local url = self.url .. path .. (path:find("?", 1, true) and "&" or "?") .. "watch=true"
  watch.process = spawn(self, name, append(curl(self, who), "--no-buffer", "--max-time", "600", "-D", watch.head, "-o",
    watch.body, url))
  return watch
end

-- The next event, decoded; nil when the stream has ended, or after so many seconds (10).
function watching:next(seconds)
  return processes.wait(seconds or 10, function()
    local alive = self.process:alive()
    local file <close> = assert(io.open(self.body))
    file:seek("set", self.at)
    local line = file:read "L"
    if line and line:sub(-1) == "\n" then
      self.at = self.at + #line
      return { core.json.decode(line) }
    end
    return not alive and {} or nil
  end or {})[1]
end

-- The HTTP status, once there is one.
function watching:status()
  return tonumber(processes.wait(10, function()
    local ok, head = pcall(read, self.head)
    return ok and head:match "^HTTP/%S+ (%d+).*\r\n\r\n" or nil
  end))
end

function watching:stop()
  self.process:stop()
end

-- ----------------------------------------------------------------------------------------------------------- tokens

-- A token of a service account "NAMESPACE/NAME", by a TokenRequest; the account is made when it is not there. It lasts
-- for seconds (at least 600, one hour when not given).
function kube:token(account, seconds)
  local namespace, name = account:match "^([^/]+)/([^/]+)$"
  local path = "/api/v1/namespaces/" .. namespace .. "/serviceaccounts"
  local status, answer = self:request("POST", path, { metadata = { name = name } })
  if status ~= 201 and status ~= 409 then
    error(("service account %s: %s"):format(account, answer.message or answer), 2)
  end
  local request = { spec = { expirationSeconds = seconds or 3600 } }
  return self:must("POST", path .. "/" .. name .. "/token", request).status.token
end

-- Lays a token, ca.crt and namespace into a directory as a kubelet mounts them for a pod's service account, and returns
-- its path. Given that path again, replaces all three at once: a new link ..data, renamed over the old one.
function kube:mount(account, seconds, directory)
  self.serial = self.serial + 1
  directory = directory or self:path("mount-" .. self.serial)
  local data = ("%s/..%d"):format(directory, self.serial)
  spaces.must("mkdir -p %s", data)
  write(data .. "/token", self:token(account, seconds))
  write(data .. "/ca.crt", read(self.ca))
  write(data .. "/namespace", (account:match "^[^/]+"))
  spaces.must("cd %s && ln -s %s ..new && mv -T ..new ..data && ln -sf ..data/token ..data/ca.crt ..data/namespace .",
    directory, data:match "[^/]+$")
  return directory
end

-- Replaces the server's file of tokens: a list of { token =, user =, groups = { ... } }. It is read at start only, so a
-- server that runs is restarted.
function kube:static_tokens(list)
  local lines = {}
  for i, entry in ipairs(list) do
    local groups = table.concat(entry.groups or {}, ",")
    lines[i] = ('%s,%s,uid-%s,"%s"\n'):format(entry.token, entry.user, entry.user, groups)
  end
  write(self:path "tokens.csv", table.concat(lines))
  if self.server and self.server:alive() then
    self:stop()
    self:start()
  end
end

-- Lets a user ("system:serviceaccount:NAMESPACE:NAME" is one) do what the rules say: grant(user, { { verbs = { ... },
-- resources = { ... }, apiGroups = { "" } } }), in the whole cluster.
function kube:grant(user, rules)
  self.serial = self.serial + 1
  local name = "spec-" .. self.serial
  local path, group = "/apis/rbac.authorization.k8s.io/v1/", "rbac.authorization.k8s.io"
  for _, rule in ipairs(rules) do rule.apiGroups = rule.apiGroups or { "" } end
  self:must("POST", path .. "clusterroles", { metadata = { name = name }, rules = rules })
  self:must("POST", path .. "clusterrolebindings", {
    metadata = { name = name }, roleRef = { apiGroup = group, kind = "ClusterRole", name = name },
    subjects = { { apiGroup = group, kind = "User", name = user } },
  })
end

-- ------------------------------------------------------------------------------------------------------------ nodes

-- The words for spec/support/nodes: its options are the fields of args.
local function nodes_argv(self, what, args)
  local admin = self:identity("kubernetes-admin", { "system:masters" })
  local argv = { "spec/support/nodes", what, self.url, "--ca", self.ca, "--cert", admin.cert, "--key", admin.key }
  for key, value in pairs(args) do append(argv, "--" .. key, tostring(value)) end
  return argv
end

-- Creates many Nodes: nodes{ count =, first =, prefix =, addresses =, pods =, addresses6 =, pods6 =, parallel = }, which
-- spec/support/nodes explains. Returns its report { created, bytes, seconds, rate }.
function kube:nodes(args)
  local outcome = self.run(exec, { argv = nodes_argv(self, "create", args), timeout = 600000 })
  if outcome.status ~= 0 then error(outcome.stderr, 2) end
  return core.json.decode(outcome.stdout)
end

-- One such Node as a table, to be changed and sent with request. args as for nodes.
function kube:node(args)
  local outcome = exec { argv = nodes_argv(self, "show", args or {}) }
  if outcome.status ~= 0 then error(outcome.stderr, 2) end
  return core.json.decode(outcome.stdout)
end

local beating = {}
beating.__index = beating

-- Lets Nodes beat: heartbeats{ rate = a second, count =, first =, prefix =, parallel =, seconds = 600 at most }.
-- Returns { stop() }, which returns the report { sent, failed, skipped, seconds, rate, p50, p99, max, error }.
function kube:heartbeats(args)
  self.serial = self.serial + 1
  local process = spawn(self, "heartbeats-" .. self.serial, nodes_argv(self, "heartbeat", args))
  if not processes.wait(10, function() return read(process.log):find("beating", 1, true) end) then
    error("no heartbeats: " .. process:tail(), 2)
  end
  return setmetatable({ process = process }, beating)
end

function beating:stop()
  self.process:stop("TERM", 40)
  local text = read(self.process.log)
  local report = text:match "\n(%b{})\n$" or error("heartbeats: " .. text, 2)
  return core.json.decode(report)
end

-- ------------------------------------------------------------------------------------------------------- the servers

local function start_etcd(self)
  local client, peer = "http://127.0.0.1:" .. self.etcd_port, "http://127.0.0.1:" .. self.etcd_port + 1
  self.etcd_url = client
  self.etcd = spawn(self, "etcd", {
    "etcd", "--data-dir", self:path "etcd", "--name", "spec", "--listen-client-urls", client, "--advertise-client-urls",
    client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "spec=" .. peer,
    "--logger", "zap", "--log-level", "warn", "--quota-backend-bytes", tostring(2 << 30),
  })
end

-- Asks etcd through its JSON gateway.
local function etcd(self, path, body)
  local outcome = self.run(exec, { argv = {
    "curl", "-sS", "--noproxy", "*", "--fail-with-body", self.etcd_url .. path, "-d", core.json.encode(body),
  } })
  if outcome.status ~= 0 then error(("etcd %s: %s%s"):format(path, outcome.stdout, outcome.stderr), 2) end
  return core.json.decode(outcome.stdout)
end

-- The revision that etcd is at, an integer. The API's resourceVersions are such revisions.
function kube:revision()
  return tonumber(etcd(self, "/v3/kv/range", { key = "AA==" }).header.revision) // 1
end

-- Forgets etcd's history before a revision, that of now when not given: a list of an older resourceVersion is then
-- answered with 410, and so is a watch that the server has no memory of (restart it, or run it with the flag watch-cache
-- "false"). Returns the revision.
function kube:compact(revision)
  revision = revision or self:revision()
  etcd(self, "/v3/kv/compaction", { revision = tostring(revision), physical = true })
  return revision
end

local function flags(self)
  local words = {
    ["advertise-address"] = self.addresses[1] or "127.0.0.1",
    ["allow-privileged"] = "true",
    ["authorization-mode"] = "Node,RBAC",
    ["bind-address"] = #self.addresses > 0 and "0.0.0.0" or "127.0.0.1",
    ["client-ca-file"] = self:path "clients.crt",
    ["enable-admission-plugins"] = "NodeRestriction",
    ["endpoint-reconciler-type"] = "none", -- which would refuse an address of loopback
    ["etcd-compaction-interval"] = "0",
    ["etcd-servers"] = self.etcd_url,
    ["secure-port"] = self.port,
    ["service-account-issuer"] = "https://kubernetes.default.svc",
    ["service-account-key-file"] = self:path "accounts.pub",
    ["service-account-signing-key-file"] = self:path "accounts.key",
    ["service-cluster-ip-range"] = "10.96.0.0/16",
    ["tls-cert-file"] = self:path "server.crt",
    ["tls-private-key-file"] = self:path "server.key",
    ["token-auth-file"] = self:path "tokens.csv",
  }
  for name, value in pairs(self.flags) do words[name] = value or nil end
  local argv = { programs .. "/kube-apiserver" }
  for name, value in pairs(words) do append(argv, ("--%s=%s"):format(name, value)) end
  return argv
end

-- Starts the API server and waits until it is ready; does nothing when it runs. Sets kube.started, the seconds it took.
-- changes: flags that are new or other ones (false: left out) from now on.
function kube:start(changes)
  for name, value in pairs(changes or {}) do self.flags[name] = value end
  if self.server and self.server:alive() then return end
  local began = spaces.must "date +%s.%N"
  self.server = spawn(self, "kube-apiserver", flags(self))
  local ready = processes.wait(self.patience, function()
    if not self.server:alive() then
      error("kube-apiserver has ended; the end of its log:\n" .. self.server:tail(), 0)
    end
    return self:request("GET", "/readyz") == 200
  end)
  if not ready then
    local _, why = self:request("GET", "/readyz?verbose")
    error(("kube-apiserver is not ready after %d s: %s\nThe end of its log:\n%s"):format(self.patience, why,
      self.server:tail()), 0)
  end
  self.started = tonumber(spaces.must "date +%s.%N") - tonumber(began)
end

-- Ends the API server (etcd stays) as a service manager does: TERM, and KILL after so many seconds (2). It takes no new
-- connection after TERM, but goes on with open watches for a minute.
function kube:stop(seconds)
  self.server:stop("TERM", seconds or 2)
end

-- Ends the API server at once.
function kube:kill()
  self.server:stop "KILL"
end

-- Replaces the authority and the certificate of the server, and restarts it. kube.ca has the new one, under the same
-- path; returns the path of the old one. Tokens and client certificates remain good.
function kube:rotate_ca()
  self.serial = self.serial + 1
  local old = self:path(("ca-%d.crt"):format(self.serial))
  write(old, read(self.ca))
  authority(self, "ca")
  server_certificate(self)
  if self.server:alive() then
    self:stop()
    self:start()
  end
  return old
end

function kube:path(name)
  return self.scratch .. "/" .. name
end

-- Ends all that was started here, watches and heartbeats too, and removes the scratch directory.
function kube:cleanup()
  open[self] = nil
  for started in pairs(self.processes) do
    if started ~= self.etcd then started:stop "KILL" end
  end
  if self.etcd then self.etcd:stop "KILL" end
  spaces.must("rm -rf %s", self.scratch)
end

-- Makes one and starts it. args: addresses (besides 127.0.0.1 that it answers on and that its certificate names), space
-- (of spec.support.netns, where it runs), flags (of kube-apiserver, over our own; false leaves one out), patience
-- (seconds to become ready, 60). Its fields: url, ca (path), admin (path of a kubeconfig), scratch, log, server and etcd
-- (processes).
function kubes.new(args)
  args = args or {}
  local self = setmetatable({
    scratch = spaces.must "mktemp -d", addresses = args.addresses or {}, flags = {}, patience = args.patience or 60,
    port = 6443 + count, etcd_port = 2379 + 2 * count, processes = {}, identities = {}, serial = 0,
  }, kube)
  count = count + 1
  open[self] = true
  self.run = args.space and function(...) return args.space:run(...) end or function(call, ...) return call(...) end
  self.url = ("https://127.0.0.1:%d"):format(self.port)
  self.ca, self.log = self:path "ca.crt", self:path "kube-apiserver.log"
  for name, value in pairs(args.flags or {}) do self.flags[name] = value end
  local ok, message = pcall(function()
    start_etcd(self)
    authority(self, "ca")
    authority(self, "clients")
    server_certificate(self)
    spaces.must("openssl ecparam -name prime256v1 -genkey -noout -out %s && openssl ec -in %s -pubout -out %s",
      self:path "accounts.key", self:path "accounts.key", self:path "accounts.pub")
    write(self:path "tokens.csv", "")
    self.admin = self:kubeconfig { user = "kubernetes-admin", groups = { "system:masters" } }
    local function healthy()
      return self.run(spaces.sh, "curl -sf --noproxy '*' %s/health", self.etcd_url):find "true"
    end
    if not processes.wait(self.patience, healthy) then
      error("etcd is not healthy; the end of its log:\n" .. self.etcd:tail(), 0)
    end
    self:start()
  end)
  if not ok then
    self:cleanup()
    error(message, 0)
  end
  return self
end

-- Ends every server that is still there.
function kubes.cleanup()
  for self in pairs(open) do self:cleanup() end
end

return kubes
