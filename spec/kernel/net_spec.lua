-- SPDX-License-Identifier: Apache-2.0
-- The verbs against a real kernel, in namespaces made here. Needs root and a private mount namespace.
local core = require "mncni.core"
local mncni = require "mncni"

local function refusal(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  return err
end

-- Runs a shell command inside a namespace; returns what it printed, and raises when it fails.
local function shell(ns, command)
  return ns:run(function()
    local pipe <close> = io.popen(("{ %s\n} 2>&1; echo $?"):format(command))
    local output = pipe:read "a"
    local text, status = output:match "^(.*)%f[%d](%d+)\n$"
    if status ~= "0" then
      error(("%s: %s"):format(command, text))
    end
    return text
  end)
end

local function names(iterator, key)
  local list = {}
  for value in iterator do
    list[#list + 1] = value[key]
  end
  return list
end

describe("a net over the kernel", function()
  local host, pod

  before_each(function()
    host, pod = mncni.netns.create(), mncni.netns.create()
  end)

  after_each(function()
    host:close()
    pod:close()
  end)

  it("looks up of a link what is asked for, where that is told", function()
    host.link.add {
      ifname = "cbr0", kind = "bridge", address = "0a:58:0a:f4:01:01", mtu = 1400, bridge = { stp_state = 0 },
    }
    local whole = host.link.get { ifname = "cbr0" }
    local keys = { "ifindex", "kind", "address", "mtu", "up", "bridge" }
    local some = host.link.get({ ifname = "cbr0" }, keys)
    for _, key in ipairs(keys) do
      assert.same(whole[key], some[key], key)
    end
    assert.equal("bridge", some.kind)
    local few, fields, all = host.link.get({ ifname = "cbr0" }, { "mtu" }), 0, 0
    for key, value in pairs(few) do
      assert.same(whole[key], value, key)
      fields = fields + 1
    end
    for _ in pairs(whole) do all = all + 1 end
    assert.equal(1400, few.mtu)
    assert.is_nil(few.bridge)
    assert.is_true(fields < all / 4, ("%d of %d"):format(fields, all))
    local inner = host.link.get({ ifname = "cbr0" }, { "mtu", "bridge.stp_state", "bridge.group_fwd_mask" }).bridge
    assert.same({ whole.bridge.stp_state, whole.bridge.group_fwd_mask }, { inner.stp_state, inner.group_fwd_mask })
    assert.is_nil(inner.ageing_time)
    assert.same(whole.bridge, host.link.get({ ifname = "cbr0" }, { "bridge.stp_state", "bridge" }).bridge)
    assert.truthy(host.link.get({ ifname = "cbr0" }, {}))
    assert.is_nil(host.link.get({ ifname = "none" }, {}))
    assert.matches('ifnam', refusal(host.link.get, { ifnam = "cbr0" }, {}).message)
  end)

  it("tells the index of a link alone, by either of its names", function()
    host.link.add { ifname = "cbr0", kind = "bridge" }
    shell(host.netns, "ip link property add dev cbr0 altname bridge-of-pods")
    local index = host.link.get({ ifname = "cbr0" }).ifindex
    for _, name in ipairs { "cbr0", "bridge-of-pods" } do
      assert.same({ ifindex = index }, host.link.get({ ifname = name }, { "ifindex" }))
      assert.same({ ifindex = index }, host.link.get({ ifname = name }, {}))
    end
    host.addr.add { dev = "bridge-of-pods", address = "10.1.0.1/24" } -- which looks for the index, too
    assert.same({ "10.1.0.1/24" }, names(host.addr.list { dev = "cbr0" }, "address"))
    host.link.del { ifname = "cbr0" }
    for _, keys in ipairs { {}, { "ifindex" } } do assert.is_nil(host.link.get({ ifname = "cbr0" }, keys)) end
    assert.equal("lo", host.link.get({ ifname = "lo" }).ifname)
    for _, name in ipairs { "a-name-of-17-bytes", "lo\0x" } do
      assert.matches("at most 15 characters", refusal(host.link.get, { ifname = name }, {}).message)
    end
  end)

  it("makes a veth with its peer in another namespace, and addresses that reach each other", function()
    host.link.ensure { ifname = "cbr0", kind = "bridge", up = true }
    host.addr.ensure { dev = "cbr0", address = "10.244.1.1/24", flags = { "nodad" } }
    host.link.add {
      ifname = "vweb", kind = "veth", master = "cbr0", up = true, peer = { ifname = "eth0", netns = pod },
    }
    pod.link.set { ifname = "lo", up = true }
    pod.link.set { ifname = "eth0", up = true }
    pod.addr.add { dev = "eth0", address = "10.244.1.7/24", flags = { "nodad" } }
    pod.route.add { dst = "default", gateway = "10.244.1.1" }
    assert.equal("cbr0", host.link.get { ifname = "vweb" }.master)
    assert.equal("10.244.1.1", pod.route.get { dst = "203.0.113.9" }.gateway)
    assert.matches("1 received", shell(pod, "ping -c 1 -W 2 10.244.1.1"))
  end)

  it("opens what a handle, a net and a path name", function()
    local by_handle <close> = mncni.open(host)
    by_handle.link.add { ifname = "br9", kind = "bridge" }
    local by_net <close> = mncni.open(by_handle)
    assert.is_not_nil(by_net.link.get { ifname = "br9" })
    local by_path <close> = mncni.open("/proc/self/fd/" .. host:fd())
    assert.is_not_nil(by_path.link.get { ifname = "br9" })
    local own <close> = mncni.open()
    assert.is_nil(own.link.get { ifname = "br9" })
  end)

  it("tells the kernel's own words and the namespace in an error", function()
    local err = refusal(host.link.add, { ifname = "x0", kind = "brigde" })
    assert.equal("EOPNOTSUPP", err.name)
    assert.equal("Unknown device type", err.extack)
    host.link.add { ifname = "br0", kind = "bridge", up = true }
    err = refusal(host.route.add, { dst = "10.0.0.0/8", gateway = "10.9.9.9", dev = "br0" })
    assert.equal("ENETUNREACH", err.name)
    assert.matches("Nexthop has invalid gateway", tostring(err))
  end)

  it("names the nearest key when one is mistyped, and try does not hide it", function()
    local err = refusal(host.link.add, { ifname = "x0", kind = "bridge", mut = 1400 })
    assert.matches("mtu", tostring(err))
    assert.matches("mtu", tostring(refusal(mncni.try, host.link.add, { ifname = "x0", kind = "bridge", mut = 1400 })))
  end)

  it("streams only what was asked for", function()
    host.link.add { ifname = "br0", kind = "bridge", up = true }
    host.addr.add { dev = "br0", address = "10.0.0.1/24" }
    for i = 1, 300 do
      host.route.add { dst = ("10.%d.%d.0/24"):format(1 + i // 250, i % 250), gateway = "10.0.0.2",
        protocol = i % 3 == 0 and "mncni" or "static", table = i % 2 == 0 and 100 or "main" }
    end
    local count = 0
    for route in host.route.list { protocol = "mncni", table = 100 } do
      assert.equal("mncni", route.protocol)
      count = count + 1
    end
    assert.equal(50, count)
    assert.same({ "br0" }, names(host.link.list { kind = "bridge" }, "ifname"))
    assert.same({ "10.0.0.1/24" }, names(host.addr.list { dev = "br0", family = "inet" }, "address"))
    do
      local step, _, _, closing <close> = host.route.list {} -- left early, and nothing is left behind
      assert.is_not_nil(step().dst)
      assert.is_true(closing == nil or type(closing) ~= "number")
    end
    assert.is_not_nil(host.link.get { ifname = "lo" })
  end)

  describe("ensure", function()
    it("creates, leaves alone, changes in place, and refuses what cannot change", function()
      local want = {
        ifname = "cbr0", kind = "bridge", up = true, mtu = 1450, address = "0a:58:0a:f4:01:01", ifalias = "the bridge",
        bridge = { stp_state = false, forward_delay = 200, mcast_snooping = false },
      }
      local link, changed = host.link.ensure(want)
      assert.is_true(changed)
      assert.equal("the bridge", link.ifalias)
      local _, again = host.link.ensure(want)
      assert.is_false(again)
      want.mtu, want.bridge.forward_delay = 1400, 300
      link, changed = host.link.ensure(want)
      assert.is_true(changed)
      assert.equal(1400, link.mtu)
      assert.equal(300, link.bridge.forward_delay)
      local err = refusal(host.link.ensure, { ifname = "cbr0", kind = "veth" })
      assert.equal("kind", err.field)
      err = refusal(host.link.ensure, { ifname = "cbr0", mtu = 1000000 })
      assert.equal("mtu", err.field)
      assert.equal(1400, err.have)
      assert.equal(1000000, err.want)
    end)

    it("makes a port with its options and keeps it", function()
      host.link.ensure { ifname = "cbr0", kind = "bridge", up = true }
      local want = {
        ifname = "v0", kind = "veth", master = "cbr0", up = true, group = 78, ifalias = "pod web",
        peer = { ifname = "eth0", netns = pod }, bridge_slave = { hairpin = true, isolated = true, learning = false },
      }
      local link, changed = host.link.ensure(want)
      assert.is_true(changed)
      assert.is_true(link.bridge_slave.hairpin)
      local _, again = host.link.ensure(want)
      assert.is_false(again)
      host.link.set { ifname = "v0", master = false }
      link, changed = host.link.ensure(want)
      assert.is_true(changed)
      assert.is_false(link.bridge_slave.learning)
    end)

    it("is at peace with addresses, routes, rules and neighbours of both families", function()
      host.link.ensure { ifname = "br0", kind = "bridge", up = true }
      local wanted = {
        { "addr", { dev = "br0", address = "10.0.0.1/24" } },
        { "addr", { dev = "br0", address = core.cidr "fd00::1/64", flags = { "nodad" } } },
        { "route", { dst = "10.1.0.0/16", gateway = "10.0.0.2", protocol = "mncni", metrics = { mtu = 1400 } } },
        { "route", { dst = "10.2.0.0/16", dev = "br0", protocol = "mncni", metric = 7, table = 1000 } },
        { "route", { dst = "10.3.0.0/16", type = "blackhole", protocol = "mncni", metric = 1024 } },
        { "route", { dst = "10.4.0.0/16", nexthops = { { gateway = "10.0.0.2", weight = 2 },
          { gateway = "10.0.0.3" } } } },
        { "route", { dst = "default", gateway = "10.0.0.2" } },
        { "route", { dst = "fd01::/64", gateway = "fd00::2", protocol = "mncni" } },
        { "route", { dst = "default", gateway = core.cidr "fd00::2", metric = 5 } },
        { "rule", { src = "10.0.0.0/8", table = 1000, priority = 100 } },
        { "rule", { fwmark = 0x10, fwmask = 0xff, table = "main", priority = 101, family = "inet6" } },
        { "neigh", { dev = "br0", dst = "10.0.0.9", lladdr = "02:00:00:00:00:09", state = { "permanent" } } },
        { "neigh", { dev = "br0", dst = "fd00::9", lladdr = "02:00:00:00:00:09", state = { "permanent" } } },
      }
      for i, item in ipairs(wanted) do
        local _, changed = host[item[1]].ensure(item[2])
        assert.is_true(changed, "first time, number " .. i)
      end
      for i, item in ipairs(wanted) do
        local _, changed = host[item[1]].ensure(item[2])
        assert.is_false(changed, "second time, number " .. i)
      end
      for i = #wanted, 1, -1 do
        local item = wanted[i]
        assert.is_true(host[item[1]].absent(item[2]), "removing number " .. i)
        assert.is_false(host[item[1]].absent(item[2]), "removing again number " .. i)
      end
    end)

    it("replaces our own route and leaves a foreign one", function()
      host.link.ensure { ifname = "br0", kind = "bridge", up = true }
      host.addr.ensure { dev = "br0", address = "10.0.0.1/24" }
      host.route.ensure { dst = "10.1.0.0/16", gateway = "10.0.0.2", protocol = "mncni" }
      local route, changed = host.route.ensure { dst = "10.1.0.0/16", gateway = "10.0.0.3", protocol = "mncni" }
      assert.is_true(changed)
      assert.equal("10.0.0.3", route.gateway)
      assert.same({ "10.1.0.0/16" }, names(host.route.list { protocol = "mncni" }, "dst"))
      host.route.add { dst = "10.2.0.0/16", gateway = "10.0.0.2", protocol = "static" }
      local err = refusal(host.route.ensure, { dst = "10.2.0.0/16", gateway = "10.0.0.3", protocol = "mncni" })
      assert.equal("protocol", err.field)
      assert.equal("10.0.0.2", host.route.list { dst = "10.2.0.0/16" }().gateway)
    end)
  end)

  it("sends a batch at once and names the step that was refused", function()
    host.link.add { ifname = "br0", kind = "bridge" }
    host:batch {
      { "set", "link", { ifname = "br0", up = true } },
      { "add", "addr", { dev = "br0", address = "10.0.0.1/24" } },
      { "add", "route", { dst = "10.1.0.0/16", gateway = "10.0.0.2" } },
    }
    assert.equal("10.0.0.2", host.route.get { dst = "10.1.2.3" }.gateway)
    local err = refusal(host.batch, host, {
      { "set", "link", { ifname = "br0", mtu = 1400 } },
      { "add", "addr", { dev = "br0", address = "10.0.0.1/24" } },
    })
    assert.equal(2, err.index)
    assert.equal("EEXIST", err.name)
    assert.equal(1400, host.link.get { ifname = "br0" }.mtu)
  end)

  it("reads and sets sysctls of its namespace", function()
    local previous, changed = host.sysctl.set("net/ipv4/ip_forward", true)
    assert.equal("0", previous)
    assert.is_true(changed)
    assert.equal("1", host.sysctl.get "net.ipv4.ip_forward")
    assert.equal("0", pod.sysctl.get "net.ipv4.ip_forward")
    assert.is_nil(host.sysctl.get "net/ipv4/no_such_thing")
  end)

  it("is at peace with entries of a bridge and of its port", function()
    host.link.add { ifname = "br0", kind = "bridge", up = true }
    host.link.add { ifname = "p0", kind = "veth", master = "br0", up = true, peer = { ifname = "p1" } }
    for _, flag in ipairs { "master", "self" } do
      local entry = { dev = "p0", mac = "02:00:00:00:00:77", flags = { flag } }
      assert.is_true(select(2, host.fdb.ensure(entry)), flag)
      assert.is_false(select(2, host.fdb.ensure(entry)), flag)
    end
    for _, flag in ipairs { "master", "self" } do
      local entry = { dev = "p0", mac = "02:00:00:00:00:77", flags = { flag } }
      assert.is_true(host.fdb.absent(entry), flag)
      assert.is_false(host.fdb.absent(entry), flag)
    end
  end)

  it("tells of changes here and in the namespaces it knows", function()
    host.nsid.ensure { netns = pod, nsid = 5 }
    assert.equal(5, host.nsid.get { netns = pod }.nsid)
    local monitor <close> = host:monitor { "link", "addr", all_netns = true, timeout = 2000 }
    host.link.add { ifname = "v0", kind = "veth", peer = { ifname = "eth0", netns = pod } }
    pod.link.set { ifname = "eth0", up = true }
    pod.addr.add { dev = "eth0", address = "10.0.0.7/24" }
    local seen
    for event in monitor do
      if event.object == "addr" and event.value.address == "10.0.0.7/24" then
        seen = event
        break
      end
    end
    assert.equal(5, seen.nsid)
    assert.matches("^%[nsid 5%] address add 10.0.0.7/24 dev ", tostring(seen))
  end)
end)
