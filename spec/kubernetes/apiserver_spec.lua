-- SPDX-License-Identifier: Apache-2.0
-- The API server that the specs of this ring run against, and what of its behaviour they rely on.

local kubes = require "spec.support.kube"
local spaces = require "spec.support.netns"

local NODES = "/api/v1/nodes"
local FIRST = NODES .. "/aks-nodepool1-vmss000000"
local READ_NODES = { { verbs = { "get", "list", "watch" }, resources = { "nodes" } } }

-- Changes something about a node; returns the resourceVersion that this gave it.
local function touch(kube, value)
  return kube:must("PATCH", FIRST, { metadata = { annotations = { touched = value } } },
    "application/merge-patch+json").metadata.resourceVersion
end

describe("the API server of this ring", function()
  local kube, created

  setup(function()
    kube = kubes.new()
    created = kube:nodes { count = 500 }
  end)

  teardown(function()
    kubes.cleanup()
  end)

  it("is the version that deploy/lab/build names", function()
    assert.are.equal("v1.20.2", kube:must("GET", "/version").gitVersion)
  end)

  it("takes nodes as large as those of a cloud, and lists them", function()
    assert.are.equal(500, created.created)
    local list = kube:must("GET", NODES)
    assert.are.equal(500, #list.items)
    local node = list.items[1]
    assert.is_true(created.bytes > 10000)
    assert.are.equal("10.128.0.0/24", node.spec.podCIDR)
    assert.are.same({ type = "InternalIP", address = "10.224.0.4" }, node.status.addresses[1])
    assert.are.equal(44, #node.status.images)
    assert.are.equal("kubelet", node.metadata.managedFields[1].manager)
  end)

  it("lists them in protocol buffers, and says the same", function()
    local followers, types = require "spec.support.follower", {}
    local function list(protobuf)
      local follower = followers.new({ kubeconfig = kube.admin }, {
        page = 0, protobuf = protobuf,
        keep = { metadata = { labels = true, annotations = true }, status = { addresses = true },
          spec = { podCIDR = true, podCIDRs = true, providerID = true } },
      })
      local objects, request
      follower.watch.handler.synced = function(all)
        objects, request = all, follower.watch.request
        types[#types + 1] = request.headers["content-type"]
      end
      follower:wait("the list", function() return objects end)
      followers.cleanup()
      return objects
    end
    assert.are.same(list(nil), list(require("mncni.kube_proto").nodes))
    assert.are.same({ "application/json", "application/vnd.kubernetes.protobuf" }, types)
  end)

  it("refuses a list in protocol buffers in words that can be read", function()
    local followers = require "spec.support.follower"
    local follower = followers.new({ kubeconfig = kube:kubeconfig { user = "nobody" } }, {
      protobuf = require("mncni.kube_proto").nodes,
    })
    follower:wait("the refusal", function()
      return table.concat(follower.log, "\n"):find("nodes is forbidden: User \"nobody\" cannot list", 1, true)
    end)
    followers.cleanup()
  end)

  it("takes one node changed by hand, and lets it go again", function()
    local node = kube:node { first = 1000 }
    node.metadata.name, node.status.addresses[1].address = "by-hand", "192.0.2.77"
    kube:must("POST", NODES, node)
    assert.are.equal("192.0.2.77", kube:must("GET", NODES .. "/by-hand").status.addresses[1].address)
    kube:must("DELETE", NODES .. "/by-hand")
    assert.are.equal(404, (kube:request("GET", NODES .. "/by-hand")))
  end)

  it("tells a watch of a patch", function()
    local since = kube:must("GET", NODES .. "?limit=1").metadata.resourceVersion
    local watch = kube:watch(NODES .. "?resourceVersion=" .. since)
    assert.are.equal(200, watch:status())
    local version = touch(kube, "for the watch")
    local event = watch:next()
    assert.are.equal("MODIFIED", event.type)
    assert.are.equal(version, event.object.metadata.resourceVersion)
    assert.are.equal("for the watch", event.object.metadata.annotations.touched)
    watch:stop()
  end)

  it("answers a list of a compacted revision, and the rest of one, with status 410", function()
    local page = kube:must("GET", NODES .. "?limit=10")
    touch(kube, "after the page")
    kube:compact()
    local status, answer = kube:request("GET", NODES .. "?limit=10&resourceVersion=" .. page.metadata.resourceVersion)
    assert.are.equal(410, status)
    assert.are.equal("Expired", answer.reason)
    assert.are.equal(410, (kube:request("GET", NODES .. "?limit=10&continue=" .. page.metadata.continue)))
  end)

  it("answers a watch from before its memory with status 200 and an event that says 410", function()
    local since = touch(kube, "seen")
    touch(kube, "not seen")
    kube:stop()
    kube:start()
    local watch = kube:watch(NODES .. "?resourceVersion=" .. since)
    assert.are.equal(200, watch:status())
    local event = watch:next()
    assert.are.equal("ERROR", event.type)
    assert.are.equal(410, event.object.code)
    assert.is_nil(watch:next()) -- and ends
    assert.is_false(watch.process:alive())
  end)

  it("does the same from etcd's memory when it runs without its own", function()
    kube:stop()
    kube:start { ["watch-cache"] = "false" }
    local since = touch(kube, "seen")
    touch(kube, "forgotten")
    touch(kube, "kept") -- a watch from the one before it would lack the state before, which is an ERROR of code 500
    kube:compact()
    local watch = kube:watch(NODES .. "?resourceVersion=" .. since)
    assert.are.equal(200, watch:status())
    local event = watch:next()
    assert.are.equal("ERROR", event.type)
    assert.are.equal(410, event.object.code)
    watch:stop()
    kube:stop()
    kube:start { ["watch-cache"] = false }
  end)

  it("keeps its objects while it is stopped or killed", function()
    for _, ending in ipairs { "stop", "kill" } do
      local watch = kube:watch(NODES .. "?resourceVersion=" .. touch(kube, "before the end"))
      assert.are.equal(200, watch:status())
      kube[ending](kube)
      assert.is_nil((kube:request("GET", FIRST)))
      assert.is_nil(watch:next())
      assert.is_false(watch.process:alive())
      kube:start()
      assert.are.equal("before the end", kube:must("GET", FIRST).metadata.annotations.touched)
    end
    assert.are.equal(500, #kube:must("GET", NODES).items)
  end)

  it("lets a client certificate do what its user may", function()
    local somebody = kube:identity("somebody", { "some" })
    assert.are.equal(403, (kube:request("GET", FIRST, nil, nil, somebody)))
    kube:grant("somebody", READ_NODES)
    assert.are.equal(200, (kube:request("GET", FIRST, nil, nil, somebody)))
  end)

  it("lets a kubelet change its own node, and no other", function()
    local kubelet = kube:identity("system:node:aks-nodepool1-vmss000001", { "system:nodes" })
    local patch = { metadata = { annotations = { by = "kubelet" } } }
    local own = NODES .. "/aks-nodepool1-vmss000001"
    assert.are.equal(200, (kube:request("PATCH", own, patch, "application/merge-patch+json", kubelet)))
    assert.are.equal(403, (kube:request("PATCH", FIRST, patch, "application/merge-patch+json", kubelet)))
  end)

  it("gives a service account a token", function()
    local token = kube:token("kube-system/agent", 600)
    assert.are.equal(403, (kube:request("GET", FIRST, nil, nil, { token = token })))
    kube:grant("system:serviceaccount:kube-system:agent", READ_NODES)
    assert.are.equal(200, (kube:request("GET", FIRST, nil, nil, { token = token })))
    assert.are.equal(401, (kube:request("GET", FIRST, nil, nil, { token = token .. "x" })))
  end)

  it("mounts the token of a service account as a kubelet does, and replaces it", function()
    local mount = kube:mount "kube-system/mounted"
    assert.are.equal("kube-system", spaces.must("cat %s/namespace", mount))
    local first = spaces.must("cat %s/token", mount)
    spaces.must "sleep 1" -- tokens of one second are the same
    assert.are.equal(mount, kube:mount("kube-system/mounted", 600, mount))
    local second = spaces.must("cat %s/token", mount)
    assert.are_not.equal(first, second)
    local status = kube:request("GET", FIRST, nil, nil, { token = second, ca = mount .. "/ca.crt" })
    assert.are.equal(403, status)
  end)

  it("knows the tokens of its file, and forgets them when that is replaced", function()
    kube:grant("rotated", READ_NODES)
    kube:static_tokens { { token = "first", user = "rotated" } }
    assert.are.equal(200, (kube:request("GET", FIRST, nil, nil, { token = "first" })))
    kube:static_tokens { { token = "second", user = "rotated" } }
    assert.are.equal(401, (kube:request("GET", FIRST, nil, nil, { token = "first" })))
    assert.are.equal(200, (kube:request("GET", FIRST, nil, nil, { token = "second" })))
  end)

  it("has another authority after rotate_ca, which a client with the old one does not believe", function()
    local token = kube:token("kube-system/agent")
    local embedded = kube:kubeconfig { token = token, embed = true }
    local old = kube:rotate_ca()
    local status, message = kube:request("GET", FIRST, nil, nil, { ca = old })
    assert.is_nil(status)
    assert.matches("certificate", message)
    assert.are.equal(200, (kube:request("GET", FIRST)))
    assert.are_not.equal(401, (kube:request("GET", FIRST, nil, nil, { token = token })))
    local ca = spaces.must("sed -n 's/.*certificate-authority-data: //p' %s | base64 -d", embedded)
    assert.are.equal(spaces.must("cat %s", old), ca)
  end)

  it("takes the heartbeats of its nodes at a steady rate", function()
    local watch = kube:watch(NODES)
    local beats = kube:heartbeats { rate = 20, count = 500 }
    for _ = 1, 500 do watch:next() end -- what is there already
    assert.are.equal("MODIFIED", watch:next().type)
    watch:stop()
    local report = beats:stop()
    assert.are.equal(0, report.failed)
    assert.is_true(report.rate > 10, "20 a second were asked for, " .. report.rate .. " were reached")
  end)
end)

describe("an API server that does not start", function()
  after_each(function() kubes.cleanup() end)

  it("says why, with the end of its log, and leaves nothing", function()
    local before = spaces.sh "ls $TMPDIR"
    local ok, message = pcall(kubes.new, { flags = { ["no-such-flag"] = "1" } })
    assert.is_false(ok)
    assert.matches("kube%-apiserver has ended.*unknown flag: %-%-no%-such%-flag", message)
    assert.are.equal(before, spaces.sh "ls $TMPDIR")
    local words = spaces.sh "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'"
    assert.is_nil(words:find "\netcd\n")
    assert.is_nil(words:find "/kube%-apiserver\n")
  end)
end)

describe("an API server in a namespace of its own", function()
  after_each(function()
    kubes.cleanup()
    spaces.cleanup()
  end)

  it("answers at the addresses that it is given", function()
    local space = spaces.new "control"
    space:must "ip addr add 192.0.2.1/32 dev lo"
    local kube = kubes.new { space = space, addresses = { "192.0.2.1" } }
    assert.are.equal("ok", kube:must("GET", "/readyz"))
    local url = ("https://192.0.2.1:%d/readyz"):format(kube.port)
    assert.are.equal("ok", space:must("curl -sS --noproxy '*' --cacert %s %s", kube.ca, url))
  end)
end)
