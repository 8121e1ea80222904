-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local kube_auth = require "mncni.kube_auth"
local kubeconfig = require "mncni.kubeconfig"
local runner = require "spec.support.runner"

-- "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n", and the same with PRIVATE KEY.
local CERTIFICATE = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFRSUQKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="
local KEY = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCkFRSUQKLS0tLS1FTkQgUFJJVkFURSBLRVktLS0tLQo="

local function pem(kind, content)
  return ("-----BEGIN %s-----\n%s\n-----END %s-----\n"):format(kind, content or "AQID", kind)
end

-- As kubectl config writes it.
local written = ([[
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: CERTIFICATE
    server: https://10.0.0.1:6443/
  name: prod
- cluster:
    certificate-authority: pki/ca.crt
    proxy-url: http://proxy:3128
    server: https://[fd00::1]:6443
    tls-server-name: kubernetes
  name: lab
- cluster:
    insecure-skip-tls-verify: true
    server: https://127.0.0.1:6443
  name: loose
contexts:
- context:
    cluster: prod
    namespace: kube-system
    user: admin
  name: admin@prod
- context:
    cluster: lab
    user: reader
  name: lab
- context:
    cluster: loose
    user: file
  name: loose
- context:
    cluster: prod
  name: nobody
current-context: admin@prod
kind: Config
preferences: {}
users:
- name: admin
  user:
    client-certificate-data: CERTIFICATE
    client-key-data: KEY
- name: reader
  user:
    token: abc.def
- name: file
  user:
    token: not-this-one
    tokenFile: /var/lib/token
]]):gsub("CERTIFICATE", CERTIFICATE):gsub("KEY", KEY)

describe("a kubeconfig", function()
  local directory, path

  before_each(function()
    directory = runner.directory()
    path = directory .. "/config"
  end)
  after_each(function() runner.sh("rm -rf " .. directory) end)

  local function endpoint(text, conf)
    runner.write(path, text or written)
    conf = conf or {}
    conf.kubeconfig = path
    return kubeconfig.endpoint(conf)
  end

  local function refusal(text, conf)
    local ok, err = pcall(endpoint, text, conf)
    assert.is_false(ok)
    assert.is_true(core.is_error(err), tostring(err))
    assert.equal(7, err.code)
    return tostring(err)
  end

  it("gives the server, the CA and the client certificate of its current context", function()
    local found = endpoint()
    assert.equal("https://10.0.0.1:6443", found.server)
    assert.equal(pem "CERTIFICATE", found.ca.text)
    assert.equal(pem "CERTIFICATE", found.cert.text)
    assert.equal(pem "PRIVATE KEY", found.key.text)
    assert.is_false(found.insecure)
    assert.is_nil(found.token)
  end)

  it("gives another context, with files beside it, a token, a proxy and a server name", function()
    local found = endpoint(nil, { context = "lab" })
    assert.equal("https://[fd00::1]:6443", found.server)
    assert.equal(directory .. "/pki/ca.crt", found.ca.file)
    assert.same({ text = "abc.def" }, found.token)
    assert.equal("http://proxy:3128", found.proxy)
    assert.equal("kubernetes", found.server_name)
  end)

  it("prefers the file of a token, may go without verification, and without a user", function()
    local found = endpoint(nil, { context = "loose" })
    assert.equal("/var/lib/token", found.token.file)
    assert.is_true(found.insecure)
    found = endpoint(nil, { context = "nobody" })
    assert.is_nil(found.token or found.cert)
  end)

  it("is overridden by a server and a server name", function()
    local found = endpoint(nil, { server = "https://192.0.2.1:8443", server_name = "api" })
    assert.equal("https://192.0.2.1:8443", found.server)
    assert.equal("api", found.server_name)
  end)

  it("may be JSON", function()
    local found = endpoint [[{"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:8080"}}],
      "contexts": [{"name": "x", "context": {"cluster": "c"}}], "current-context": "x", "users": null}]]
    assert.equal("http://127.0.0.1:8080", found.server)
  end)

  for _, case in ipairs {
    { "the file, line and column of what is no YAML", "clusters:\n\t- x\n", "config:2: a tab cannot indent" },
    { "a file that is no map", "- 1\n", "expected a kubeconfig, with clusters, users and contexts" },
    { "an empty file", "", "expected a kubeconfig, with clusters, users and contexts" },
    { "a context that is not there",
      function(text) return text:gsub("current%-context: .-\n", "current-context: no\n") end,
      'config: current-context: there is no context "no" in contexts; there are admin@prod, lab, loose, nobody' },
    { "no current context", function(text) return text:gsub("current%-context: .-\n", "") end,
      "config: current-context: missing; name a context" },
    { "a cluster that is not there", function(text) return text:gsub("cluster: prod", "cluster: pord") end,
      'config: context "admin@prod".cluster: there is no cluster "pord" in clusters; there are prod, lab, loose' },
    { "a user that is not there", function(text) return text:gsub("user: admin", "user: adm") end,
      'there is no user "adm" in users; there are admin, reader, file' },
    { "a server that is no URL", function(text) return text:gsub("https://10.0.0.1:6443/", "10.0.0.1:6443") end,
      'cluster "prod".server: "10.0.0.1:6443" is no address of an API server; expected https://HOST:PORT' },
    { "a cluster without a server", function(text) return text:gsub("server: https://10[^\n]*", "x: y") end,
      'cluster "prod".server: missing' },
    { "a CA that is not base64", function(text) return text:gsub("authority%-data: .-\n", "authority-data: a$b\n") end,
      'cluster "prod".certificate-authority-data: expected base64' },
    { "a CA that is no PEM", function(text) return text:gsub("authority%-data: .-\n", "authority-data: AAAA\n") end,
      'cluster "prod".certificate-authority-data: expected PEM in base64' },
    { "a certificate without a key", function(text) return text:gsub("client%-key%-data: .-\n", "x: y\n") end,
      'user "admin": client-certificate and client-key belong together' },
    { "a value of another type", function(text) return text:gsub("user: admin\n", "user: 7\n", 1) end,
      'context "admin@prod".user: expected a text (numbers need quotes)' },
    { "clusters that are no list", function(text) return text:gsub("^.-contexts:", "clusters: x\ncontexts:") end,
      "clusters: expected a list" },
    { "a credential program", function(text)
      return text:gsub("client%-certificate%-data: .-\n", "exec:\n      command: aws\n")
    end, 'user "admin".exec: credential programs (exec) are not run by the agent; give it a token, a tokenFile' },
    { "a password", function(text) return text:gsub("client%-certificate%-data: .-\n", "username: me\n") end,
      'user "admin".username: basic authentication is not supported' },
    { "credentials that would go over http", function(text) return text:gsub("https://10", "http://10") end,
      "credentials do not go over http" },
  } do
    it("names " .. case[1], function()
      local text = type(case[2]) == "string" and case[2] or (case[2](written))
      assert.is_truthy(refusal(text):find(case[3], 1, true), refusal(text))
    end)
  end

  it("that cannot be read is an error with its path", function()
    local ok, err = pcall(kubeconfig.endpoint, { kubeconfig = directory .. "/none" })
    assert.is_false(ok)
    assert.equal(("kubeconfig: read %s/none: ENOENT No such file or directory: is the path right?"):format(directory),
      tostring(err))
  end)

  it("and what else was asked for must agree", function()
    for _, case in ipairs {
      { { kubeconfig = "x", in_cluster = true }, "exclude each other" },
      { { context = "x" }, "there is no kubeconfig that it could be in" },
      { { in_cluster = false }, "kubeconfig: missing" },
      { { kubeconfg = "x" }, 'unknown key "kubeconfg"; did you mean "kubeconfig"?' },
      { { getenv = function() end }, "this is no pod; give a kubeconfig" },
    } do
      local ok, err = pcall(kubeconfig.endpoint, case[1])
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find(case[2], 1, true), tostring(err))
    end
  end)
end)

describe("a pod's environment", function()
  local function in_cluster(host)
    local values = { KUBERNETES_SERVICE_HOST = host, KUBERNETES_SERVICE_PORT = "443" }
    return kubeconfig.endpoint { getenv = function(name) return values[name] end, service_account = "/account" }
  end

  it("gives the server, the CA and the token", function()
    local found = in_cluster "10.0.0.1"
    assert.equal("https://10.0.0.1:443", found.server)
    assert.equal("/account/ca.crt", found.ca.file)
    assert.equal("/account/token", found.token.file)
    assert.equal("https://[fd00::1]:443", in_cluster "fd00::1".server)
  end)
end)

describe("credentials", function()
  local directory, endpoint

  before_each(function()
    directory = runner.directory()
    endpoint = { server = "https://api", from = "spec", insecure = false }
    for _, name in ipairs { "ca", "cert", "key", "token" } do
      endpoint[name] = { file = directory .. "/" .. name, what = "the " .. name }
    end
    runner.write(directory .. "/ca", pem "CERTIFICATE")
    runner.write(directory .. "/cert", pem("CERTIFICATE", "one"))
    runner.write(directory .. "/key", pem("PRIVATE KEY", "one"))
    runner.write(directory .. "/token", "first\n")
  end)
  after_each(function() runner.sh("rm -rf " .. directory) end)

  local function applied(credentials)
    local request = { headers = {} }
    local sent, problem = credentials:apply(request)
    return request, problem, sent
  end

  it("go into every request", function()
    local request, problem = applied(kube_auth.new(endpoint))
    assert.is_nil(problem)
    assert.equal("Bearer first", request.headers.Authorization)
    assert.equal(pem "CERTIFICATE", request.ca)
    assert.equal(pem("CERTIFICATE", "one"), request.cert)
    assert.equal(pem("PRIVATE KEY", "one"), request.key)
  end)

  it("are read again for the next one, and tell whether they have changed", function()
    local credentials = kube_auth.new(endpoint)
    local _, _, first = applied(credentials)
    assert.is_false((credentials:refresh(first)))
    runner.write(directory .. "/token", "second")
    assert.is_true((credentials:refresh(first)))
    local request, _, second = applied(credentials)
    assert.equal("Bearer second", request.headers.Authorization)
    assert.is_true((credentials:refresh(first)))
    assert.is_false((credentials:refresh(second)))
    runner.write(directory .. "/ca", pem("CERTIFICATE", "new"))
    assert.is_true((credentials:refresh(second)))
    assert.equal(pem("CERTIFICATE", "new"), applied(credentials).ca)
  end)

  it("stay as they were while a file is missing, empty or half written, which is told", function()
    local credentials = kube_auth.new(endpoint)
    for name, text in pairs { token = "", ca = "-----BEGIN CERTIFICATE-----\nAQ", cert = "x" } do
      local good <close> = assert(io.open(directory .. "/" .. name))
      local before = good:read "a"
      runner.write(directory .. "/" .. name, text)
      local request, problem = applied(credentials)
      assert.is_truthy(problem:find("the " .. name, 1, true), problem)
      assert.equal("Bearer first", request.headers.Authorization)
      assert.equal(pem "CERTIFICATE", request.ca)
      assert.equal(pem("CERTIFICATE", "one"), request.cert)
      runner.write(directory .. "/" .. name, before)
    end
    os.remove(directory .. "/token")
    local request, problem = applied(credentials)
    assert.is_truthy(problem:find("the token: read " .. directory .. "/token: ENOENT", 1, true), problem)
    assert.equal("Bearer first", request.headers.Authorization)
  end)

  it("take a certificate only together with its key", function()
    local credentials = kube_auth.new(endpoint)
    runner.write(directory .. "/cert", pem("CERTIFICATE", "two"))
    runner.write(directory .. "/key", "")
    assert.equal(pem("CERTIFICATE", "one"), applied(credentials).cert)
    runner.write(directory .. "/key", pem("PRIVATE KEY", "two"))
    local request = applied(credentials)
    assert.equal(pem("CERTIFICATE", "two"), request.cert)
    assert.equal(pem("PRIVATE KEY", "two"), request.key)
  end)

  it("that are not good at the start are an error", function()
    for name, text in pairs { token = "two words", ca = "no PEM", key = "" } do
      runner.write(directory .. "/" .. name, text)
      local ok, err = pcall(kube_auth.new, endpoint)
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find(("the %s: %s/%s"):format(name, directory, name), 1, true), tostring(err))
      runner.write(directory .. "/" .. name, name == "token" and "first" or pem "CERTIFICATE")
    end
    os.remove(directory .. "/ca")
    assert.has_error(function() kube_auth.new(endpoint) end,
      ("the ca: read %s/ca: ENOENT No such file or directory: is the path right?"):format(directory))
  end)
end)
