-- SPDX-License-Identifier: Apache-2.0
-- Tokens, certificates and authorities that are wrong, or are replaced while the client runs, against a real API server.
local followers = require "spec.support.follower"
local kubes = require "spec.support.kube"

local nodes = "/api/v1/nodes"

describe("credentials for a real API server", function()
  local kube, path
  local serial = 0

  setup(function()
    kube = kubes.new()
    kube:nodes { count = 3, prefix = "n" }
    kube:grant("agent", { { verbs = { "list", "watch" }, resources = { "nodes" } } })
    kube:grant("system:serviceaccount:default:agent", { { verbs = { "list", "watch" }, resources = { "nodes" } } })
  end)
  teardown(kubes.cleanup)
  before_each(function() kube:start() end)
  after_each(followers.cleanup)

  local function write(name, text)
    path = kube:path(name)
    local file <close> = assert(io.open(path .. ".new", "w"))
    file:write(text)
    file:close()
    assert(os.rename(path .. ".new", path))
    return path
  end

  local function read(from)
    local file <close> = assert(io.open(from))
    return file:read "a"
  end

  local function synced(conf)
    local follower = followers.new(conf)
    follower:wait("the list", function() return follower.watch.state == "watch" end)
    return follower
  end

  -- Makes a node, waits until it is there, and removes it. Returns how long it took to be there, in ms.
  local function hears(follower, seconds)
    serial = serial + 1
    local name = "heard-" .. serial
    kube:must("POST", nodes, { metadata = { name = name }, spec = { podCIDR = "10.1.2.0/24" } })
    local took = follower:wait("the new node", function() return follower.store[name] end, seconds)
    kube:must("DELETE", nodes .. "/" .. name)
    follower:wait("the deletion", function() return not follower.store[name] end)
    return took
  end

  it("may be a token of a service account, in a pod's environment", function()
    local values = { KUBERNETES_SERVICE_HOST = "127.0.0.1", KUBERNETES_SERVICE_PORT = kube.url:match "%d+$" }
    write("token", kube:token "default/agent")
    write("ca.crt", read(kube.ca))
    local follower = synced { getenv = function(name) return values[name] end, service_account = kube.scratch }
    hears(follower)
    assert.equal("synced 3", follower.log[1])
  end)

  it("that are unknown are told, with where they come from, and taken when they are replaced, within 2 s", function()
    local token = write("token", "not.a.token")
    local follower = followers.new { kubeconfig = kube:kubeconfig { token_file = token } }
    follower:pass(8)
    local told = follower:said(("HTTP 401: Unauthorized; are the credentials in %s still good?"):format(token))
    assert.is_not_nil(told)
    assert.is_true(follower.watch.failures < 8, follower.watch.failures)
    write("token", kube:token "default/agent")
    local took = follower:wait("the list", function() return follower.watch.synced end)
    assert.is_true(took < 2000, took)
  end)

  it("without rights are told in the API's words", function()
    local token = write("token", kube:token "default/nobody")
    local follower = followers.new { kubeconfig = kube:kubeconfig { token_file = token } }
    follower:wait("the refusal", function()
      return follower:said 'HTTP 403: nodes is forbidden: User "system:serviceaccount:default:nobody" cannot list'
    end)
    assert.is_false(follower.watch.synced)
  end)

  it("in a file of tokens may be rotated: the new one is used at the next request", function()
    kube:static_tokens { { token = "first", user = "agent" } }
    local token = write("token", "first")
    local follower = synced { kubeconfig = kube:kubeconfig { token_file = token } }
    -- The server knows the new one only; the file follows later.
    kube:static_tokens { { token = "second", user = "agent" } }
    follower:wait("the refusal", function() return follower:said "HTTP 401" end)
    write("token", "second")
    local took = hears(follower)
    assert.is_true(took < 5000, took)
    assert.is_nil(next(follower.removed, next(follower.removed)))
    assert.equal(1, follower.watch.lists)
  end)

  it("of the server may be rotated: the new authority is taken as soon as its file is there", function()
    local ca = write("trusted.crt", read(kube.ca))
    local config = read(kube.admin):gsub(kube.ca:gsub("%p", "%%%0"), ca)
    local follower = synced { kubeconfig = write("rotating-kubeconfig", config) }
    kube:rotate_ca()
    follower:wait("the failure", function()
      return follower:said "certificate" or follower:said "verify" or follower:said "TLS"
    end)
    follower:pass(3)
    assert.is_nil(next(follower.removed))
    write("trusted.crt", read(kube.ca))
    local took = hears(follower)
    assert.is_true(took < 5000, took)
    assert.equal(1, follower.watch.lists)
  end)

  it("may be client certificates, replaced by others on the way", function()
    local first, second = kube:identity "agent", kube:identity("agent", { "second" })
    local config = read(kube:kubeconfig { user = "agent" })
    local cert, key = write("client.crt", read(first.cert)), write("client.key", read(first.key))
    config = config:gsub("client%-certificate: [^\n]*", "client-certificate: " .. cert)
    config = config:gsub("client%-key: [^\n]*", "client-key: " .. key)
    local follower = synced { kubeconfig = write("client-kubeconfig", config) }
    write("client.crt", read(second.cert))
    follower.watch.request:close()
    write("client.key", read(second.key))
    kube:kill()
    follower:pass(1)
    kube:start()
    hears(follower)
    assert.equal(read(second.cert), follower.watch.sent.cert)
  end)

  it("of a server that is somebody else are not sent", function()
    local other = kubes.new()
    local config = read(kube.admin):gsub("server: [^\n]*", "server: " .. other.url)
    local follower = followers.new { kubeconfig = write("foreign-kubeconfig", config) }
    follower:wait("the failure", function() return follower.watch.failures > 1 end)
    assert.is_false(follower.watch.synced)
    other:cleanup()
  end)
end)
