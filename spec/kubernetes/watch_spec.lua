-- SPDX-License-Identifier: Apache-2.0
-- Listing and watching against a real API server; the rules by themselves are in spec/unit/kube_watch_spec.lua.
local core = require "mncni.core"
local followers = require "spec.support.follower"
local kubes = require "spec.support.kube"
local spaces = require "spec.support.netns"
local json = core.json

local nodes = "/api/v1/nodes"

describe("following a real API server", function()
  local kube
  local serial = 0

  setup(function()
    spaces.must "ip link add elsewhere type veth peer name nowhere && ip addr add 198.51.100.1/24 dev elsewhere"
    kube = kubes.new { addresses = { "198.51.100.1" } }
    kube:nodes { count = 60, prefix = "n" }
  end)
  teardown(function()
    kubes.cleanup()
    spaces.sh "ip link del elsewhere"
  end)
  before_each(function() kube:start() end)
  after_each(followers.cleanup)

  -- What the API server has: name -> podCIDR.
  local function truth()
    local all = {}
    for _, node in ipairs(kube:must("GET", nodes).items) do
      all[node.metadata.name] = node.spec.podCIDR or "none"
    end
    return all
  end

  local function follow(what, conf)
    conf = conf or {}
    conf.kubeconfig = conf.kubeconfig or kube.admin
    return followers.new(conf, what)
  end

  local function synced(what, conf)
    local follower = follow(what, conf)
    follower:wait("the list", function() return follower.watch.state == "watch" end)
    return follower
  end

  -- Makes a node; returns its name.
  local function create(fields)
    serial = serial + 1
    local name = ("extra-%d"):format(serial)
    kube:must("POST", nodes, { metadata = { name = name, labels = fields and fields.labels },
      spec = { podCIDR = ("10.%d.0.0/24"):format(100 + serial % 100) } })
    return name
  end

  local function delete(name)
    kube:must("DELETE", nodes .. "/" .. name)
  end

  local function annotate(name, value)
    kube:must("PATCH", nodes .. "/" .. name, { metadata = { annotations = { spec = value } } },
      "application/merge-patch+json")
  end

  -- Waits until the follower has what the server has.
  local function converged(follower, seconds)
    local all = truth()
    local function same()
      for name, cidr in pairs(all) do
        if follower.store[name] ~= cidr then return false end
      end
      for name in pairs(follower.store) do
        if not all[name] then return false end
      end
      return true
    end
    return follower:wait("what the server has", same, seconds)
  end

  it("is synced with the whole list, in pages or in one piece", function()
    for _, page in ipairs { 7, 500, 0 } do
      local follower = synced { page = page }
      assert.same(truth(), follower.store)
      assert.equal(1, #follower.log)
    end
  end)

  it("hears what is created, changed and deleted", function()
    local follower = synced()
    local name = create()
    follower:wait("the new node", function() return follower.store[name] end)
    annotate(name, "x")
    follower:wait("the change", function() return follower.last.metadata.annotations end)
    assert.equal("x", follower.last.metadata.annotations.spec)
    delete(name)
    follower:wait("the deletion", function() return not follower.store[name] end)
    assert.same({ "synced 60", "changed " .. name, "changed " .. name, "deleted " .. name }, follower.log)
  end)

  for form, protobuf in pairs { JSON = false, ["protocol buffers"] = require("mncni.kube_proto").nodes } do
    it("passes over heartbeats and hears of changes, in " .. form, function()
      local name = create { labels = { zone = "1" } }
      local follower = synced {
        ignore_version = true, protobuf = protobuf or nil, page = 0,
        keep = { metadata = { labels = true, annotations = true }, spec = { podCIDR = true, podCIDRs = true } },
      }
      local said = #follower.log
      for beat = 1, 3 do
        kube:must("PATCH", nodes .. "/" .. name .. "/status",
          { status = { conditions = { { type = "Ready", status = "True", reason = "beat" .. beat } } } },
          "application/merge-patch+json")
        local version = kube:must("GET", nodes .. "/" .. name).metadata.resourceVersion
        follower:wait("heartbeat " .. beat, function() return follower.watch.resource_version == version end)
        assert.equal(said, #follower.log)
        assert.is_true(follower.watch.events >= beat)
      end
      assert.equal(protobuf and "application/vnd.kubernetes.protobuf;stream=watch" or "application/json",
        follower.watch.request.headers["content-type"])
      annotate(name, "x")
      follower:wait("the change", function() return #follower.log == said + 1 end)
      assert.equal("x", follower.last.metadata.annotations.spec)
      assert.equal("1", follower.last.metadata.labels.zone)
      assert.is_truthy(follower.last.metadata.uid)
      delete(name)
      follower:wait("the deletion", function() return not follower.store[name] end)
      assert.same({ "changed " .. name, "deleted " .. name }, table.move(follower.log, said + 1, said + 2, 1, {}))
    end)
  end

  it("hears only of what it selects", function()
    local one = create { labels = { pool = "a" } }
    local follower, field = synced { selector = "pool in (a,b)" }, synced { field_selector = "metadata.name=" .. one }
    assert.same({ [one] = truth()[one] }, follower.store)
    assert.same(follower.store, field.store)
    local other = create { labels = { pool = "b" } }
    follower:wait("the other", function() return follower.store[other] end)
    delete(one)
    delete(other)
    follower:wait("both deletions", function() return not next(follower.store) end)
    field:wait("the deletion", function() return not next(field.store) end)
  end)

  it("goes on without a list after its connection was lost, and hears what happened meanwhile", function()
    local gone = create()
    local follower = synced()
    local version = follower.watch.resource_version
    follower:close()
    delete(gone)
    local name = create()
    local again = follow { resource_version = version }
    again:wait("the new node", function() return again.store[name] end)
    assert.same({ "deleted " .. gone, "changed " .. name }, again.log)
    assert.equal(0, again.watch.lists)
    delete(name)
  end)

  it("learns by a list of what was deleted while nobody watched, when the version has expired", function()
    local gone, stays = create(), create()
    local follower = synced()
    follower:pass(10) -- no list of just now, or it would wait before the next
    -- Not a turn from here on: the server forgets what happened, twice over.
    kube:kill()
    kube:start()
    delete(gone)
    for i = 1, 5 do annotate(stays, tostring(i)) end
    kube:kill()
    kube:compact()
    kube:start()
    local from = #follower.log + 1
    follower:wait("the list", function() return follower:said("synced 61", from) end)
    assert.is_truthy(follower:said("has expired (410)", from))
    assert.is_nil(follower:said("deleted", from))
    assert.is_nil(follower.store[gone])
    assert.same(truth(), follower.store)
    delete(stays)
  end)

  it("lists from scratch when it is told to follow from a version long gone", function()
    kube:compact()
    local follower = follow { resource_version = "1" }
    follower:wait("the list", function() return follower:said "synced 60" end)
    assert.is_truthy(follower:said "has expired (410)")
    assert.same(truth(), follower.store)
  end)

  it("lists in one piece when the token of a page has expired", function()
    local follower = follow { page = 20 }
    local tokens = 0
    function follower.before(args)
      if args.url:find("continue=", 1, true) then
        tokens = tokens + 1
        if tokens == 2 then
          annotate("n000001", "before the compaction")
          kube:compact()
        end
      end
    end
    follower:wait("the list", function() return follower:said "synced" end)
    assert.is_truthy(follower:said "has expired (410)")
    assert.is_nil(follower:said "failed 8")
    assert.equal(2, tokens)
    assert.same(truth(), follower.store)
  end)

  it("loses nothing and removes nothing while the server is away, and is back within 5 s of its return", function()
    local follower = synced()
    kube:kill()
    follower:pass(25)
    assert.is_truthy(follower:said "failed")
    kube:start()
    local name = create()
    local took = follower:wait("the new node", function() return follower.store[name] end)
    assert.is_true(took < 5000, took)
    assert.same({}, follower.removed)
    assert.same(truth(), follower.store)
    delete(name)
    follower:wait("the deletion", function() return not follower.store[name] end)
    assert.equal(1, follower.watch.lists)
  end)

  it("survives a server that comes and goes", function()
    local follower = synced()
    local names = {}
    for i = 1, 4 do
      kube:kill()
      follower:pass(0.7 * i)
      kube:start()
      names[i] = create()
      follower:pass(0.7 * i)
    end
    local took = converged(follower, 6)
    assert.is_true(took < 5000, took)
    assert.same({}, follower.removed)
    for _, name in ipairs(names) do delete(name) end
    converged(follower)
  end)

  it("keeps up by bookmarks with what it does not select, so that its version does not expire", function()
    -- A watch of 15 s instead of 300 to 600; the server sends a bookmark before its end.
    local follower = synced({ field_selector = "metadata.name=n000001" }, { random = function() return -0.95 end })
    local version = follower.watch.resource_version
    follower:pass(1) -- the watch has begun
    for i = 1, 5 do annotate("n000002", tostring(i)) end
    follower:wait("the bookmark", function() return follower.watch.resource_version ~= version end, 30)
    version = follower.watch.resource_version
    follower:wait("the next watch", function() return follower.watch.restarts == 1 end)
    follower:pass(1)
    assert.same({ "synced 1" }, follower.log)
    assert.same({ 1, 0, version }, { follower.watch.lists, follower.watch.failures, follower.watch.resource_version })
  end)

  it("notices a connection that has fallen silent, and goes on over a new one", function()
    local follower = synced(nil, { server = kube.url:gsub("127.0.0.1", "198.51.100.1") })
    local gone = create()
    follower:wait("the new node", function() return follower.store[gone] end)
    spaces.must "nft 'add table inet spec; add chain inet spec in { type filter hook input priority 0; }'"
    spaces.must "nft add rule inet spec in ip daddr 198.51.100.1 drop"
    spaces.must "nft add rule inet spec in ip saddr 198.51.100.1 drop"
    delete(gone)
    local took = follower:wait("the failure", function() return follower:said "failed" end, 100)
    assert.is_true(took < 90000, took)
    assert.is_truthy(follower.store[gone])
    spaces.must "nft delete table inet spec"
    follower:wait("the deletion", function() return not follower.store[gone] end, 15)
    assert.equal(1, follower.watch.lists)
  end)

  describe("through a proxy that is broken", function()
    local proxy, file, port, url

    local function start()
      local who = kube:identity("kubernetes-admin", { "system:masters" })
      local words = { "spec/support/broken_proxy", port, kube.url, kube.ca, who.cert, who.key, file }
      for i, word in ipairs(words) do words[i] = spaces.quote(word) end
      proxy = spaces.must(table.concat(words, " ") .. " >/dev/null 2>&1 & echo $!")
      -- 7 says that nobody listens; any other outcome will do.
      local ask = "curl -s -o /dev/null --noproxy '*' " .. url
      spaces.must(("for i in $(seq 200); do %s; [ $? = 7 ] || exit 0; sleep 0.1; done; exit 1"):format(ask))
    end

    local function stop()
      spaces.sh("kill %s", proxy)
    end

    before_each(function()
      serial = serial + 1
      file, port = kube:path "proxy-mode", 8000 + serial
      url = ("http://127.0.0.1:%d"):format(port)
      spaces.must("echo pass >%s", file)
      start()
    end)
    after_each(stop)

    local function mode(word)
      spaces.must("echo %s >%s.new && mv %s.new %s", word, file, file, file)
    end

    local function through(what)
      local path = kube:path "proxy-kubeconfig"
      local config <close> = assert(io.open(path, "w"))
      config:write(json.encode {
        clusters = { { name = "c", cluster = { server = url } } }, ["current-context"] = "x",
        contexts = { { name = "x", context = { cluster = "c" } } },
      })
      config:close()
      return follow(what, { kubeconfig = path })
    end

    it("hears what it would hear without", function()
      local follower = through()
      follower:wait("the list", function() return follower.watch.synced end)
      local name = create()
      follower:wait("the new node", function() return follower.store[name] end)
      delete(name)
      follower:wait("the deletion", function() return not follower.store[name] end)
    end)

    for _, how in ipairs { "garbage", "page", "short", "cut", "closed", "busy" } do
      it(("keeps what it knows while lists are answered with: %s"):format(how), function()
        local follower = through()
        follower.own = "n000001"
        follower:wait("the list", function() return follower.watch.state == "watch" end)
        mode(how .. " gone")
        stop()
        start()
        local from, lists = #follower.log + 1, follower.watch.lists
        follower:wait("two lists", function() return follower.watch.lists >= lists + 2 end, 20)
        assert.is_nil(follower:said("synced", from))
        assert.is_nil(next(follower.removed))
        mode "pass"
        follower:wait("the list", function() return follower:said("synced 60", from) end)
      end)
    end

    it("does not believe an empty list when its node is not in it", function()
      local follower = through()
      follower.own = "n000001"
      mode "empty"
      follower:wait("two refusals", function() return follower.watch.failures >= 2 end)
      assert.is_truthy(follower:said "failed" and follower:said "the node n000001 is not in it")
      assert.is_false(follower.watch.synced)
      mode "pass"
      follower:wait("the list", function() return follower:said "synced 60" end)
    end)

    it("lists again when a watch is answered with 410 itself, and not in a tight loop", function()
      local follower = through()
      mode "gone"
      follower:pass(6)
      assert.is_true(follower.watch.lists >= 2 and follower.watch.lists < 8, follower.watch.lists)
      assert.same({}, follower.removed)
      mode "pass"
      local name = create()
      follower:wait("the new node", function() return follower.store[name] end)
      delete(name)
    end)

    it("does not ask in a tight loop when every watch ends at once", function()
      local follower = through()
      mode "hangup"
      follower:pass(6)
      assert.is_true(follower.watch.restarts >= 2 and follower.watch.restarts < 8, follower.watch.restarts)
      assert.equal(1, follower.watch.lists)
    end)
  end)
end)
