-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local mncni = require "mncni"
local net = require "mncni.net"
local recorded = require "mncni.recorded"

local function refusal(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  return err
end

local function mistake(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  assert.equal("string", type(err))
  return err
end

describe("a net", function()
  local world, host

  before_each(function()
    world = recorded.new {
      host = {
        links = { { ifname = "eth0", mtu = 1450, up = true } },
        addresses = { { dev = "eth0", address = "192.0.2.10/24" } },
      },
    }
    host = world.host
  end)

  describe("when something is mistyped", function()
    it("names the nearest verb, family or object, and the place", function()
      assert.matches('net_spec.lua:%d+: link has no "ad"; did you mean "add"%?',
        mistake(function() host.link.ad {} end))
      assert.matches('net has no "lnk"; did you mean "link"%?', mistake(function() host.lnk.add {} end))
      assert.matches('nft has no "elements"; did you mean "element"%?',
        mistake(function() host.nft.elements.add {} end))
      assert.matches('batch has no "links"; did you mean "link"%?',
        mistake(function() host:batch { { "add", "links", {} } } end))
    end)

    it("lists what there is when nothing is near", function()
      assert.matches("rule has no \"frobnicate\"; it has absent, add, del, ensure, get, list",
        mistake(function() host.rule.frobnicate {} end))
    end)

    it("asks for the one table of arguments", function()
      assert.matches("net_spec.lua:%d+: link.add takes one table of arguments, not nothing",
        mistake(function() host.link.add() end))
      assert.matches("addr.add takes one table of arguments, not string",
        mistake(function() host.addr.add "10.0.0.1/24" end))
    end)

    it("asks which one is meant", function()
      assert.matches("which one%? give its ifname or ifindex", refusal(host.link.ensure, { kind = "bridge" }).message)
      assert.matches("which one%? give its address", refusal(host.addr.absent, { dev = "eth0" }).message)
    end)
  end)

  describe("ensure", function()
    it("creates what is not there and says so", function()
      local link, changed = host.link.ensure { ifname = "cbr0", kind = "bridge", up = true }
      assert.equal("cbr0", link.ifname)
      assert.is_true(link.up)
      assert.is_true(changed)
    end)

    it("changes nothing when all is as wanted", function()
      host.link.ensure { ifname = "cbr0", kind = "bridge", up = true, bridge = { stp_state = 0 } }
      world.clear()
      local want = { ifname = "cbr0", kind = "bridge", up = true, bridge = { stp_state = false } }
      local _, changed = host.link.ensure(want)
      assert.is_false(changed)
      assert.same({}, world.lines())
    end)

    it("changes in place only what differs", function()
      host.link.ensure { ifname = "cbr0", kind = "bridge", mtu = 1450, bridge = { stp_state = 1, max_age = 600 } }
      world.clear()
      local link, changed = host.link.ensure {
        ifname = "cbr0", kind = "bridge", mtu = 1450, up = true, bridge = { stp_state = 0 },
      }
      assert.is_true(changed)
      assert.equal(600, link.bridge.max_age)
      assert.same({ "ip link set dev cbr0 up type bridge stp_state 0" }, world.lines())
    end)

    it("puts a link into a bridge and then sets it as a port", function()
      host.link.add { ifname = "cbr0", kind = "bridge" }
      host.link.add { ifname = "d0", kind = "dummy" }
      local link = host.link.ensure { ifname = "d0", master = "cbr0", bridge_slave = { hairpin = true } }
      assert.equal("cbr0", link.master)
      assert.is_true(link.bridge_slave.hairpin)
      local free, changed = host.link.ensure { ifname = "d0", master = false }
      assert.is_nil(free.master)
      assert.is_true(changed)
    end)

    it("names field, have and want when something else stands there", function()
      host.link.add { ifname = "cbr0", kind = "dummy" }
      local err = refusal(host.link.ensure, { ifname = "cbr0", kind = "bridge" })
      assert.equal(103, err.code)
      assert.equal("kind", err.field)
      assert.equal("dummy", err.have)
      assert.equal("bridge", err.want)
      assert.equal('ensure link "cbr0" (netns host): kind is "dummy", wanted "bridge", and that cannot change in place',
        tostring(err))
      assert.is_not_nil(host.link.get { ifname = "cbr0" })
    end)

    it("looks again when another process created it in between", function()
      local add = host.link.add
      rawset(host.link, "add", function(args)
        add { ifname = args.ifname, kind = args.kind, mtu = 1280 } -- the other one was faster
        rawset(host.link, "add", nil)
        return add(args)
      end)
      local link, changed = host.link.ensure { ifname = "cbr0", kind = "bridge" }
      assert.equal(1280, link.mtu)
      assert.is_false(changed)
    end)

    it("looks again when another process deleted it in between", function()
      host.link.add { ifname = "cbr0", kind = "bridge" }
      local set = host.link.set
      rawset(host.link, "set", function(args)
        rawset(host.link, "set", nil)
        host.link.del { ifname = "cbr0" }
        return set(args)
      end)
      local link = host.link.ensure { ifname = "cbr0", kind = "bridge", mtu = 1400 }
      assert.equal(1400, link.mtu)
    end)

    it("gives up with the refusal when it is said to exist and never found", function()
      local exists = core.error { op = "add", object = "link cbr0", errno = 17 }
      rawset(host.link, "add", function()
        error(exists, 0)
      end)
      assert.equal("EEXIST", refusal(host.link.ensure, { ifname = "cbr0", kind = "bridge" }).name)
    end)

    it("compares addresses however they are written", function()
      host.addr.ensure { dev = "eth0", address = "2001:db8:0:0::1/64" }
      local _, changed = host.addr.ensure { dev = "eth0", address = core.cidr "2001:db8::1/64" }
      assert.is_false(changed)
      local _, again = host.addr.ensure { dev = "eth0", address = "192.0.2.10/24", flags = { "nodad" } }
      assert.is_false(again)
    end)

    it("compares a MAC whatever its letters' case", function()
      host.link.add { ifname = "d0", kind = "dummy", address = "0a:58:0a:f4:01:01" }
      local _, changed = host.link.ensure { ifname = "d0", address = "0A:58:0A:F4:01:01" }
      assert.is_false(changed)
    end)

    it("replaces our own route in place", function()
      local want = { dst = "10.244.3.0/24", gateway = "192.0.2.13", protocol = "mncni" }
      host.route.ensure(want)
      want.gateway = "192.0.2.14"
      local route, changed = host.route.ensure(want)
      assert.is_true(changed)
      assert.equal("192.0.2.14", route.gateway)
      local _, again = host.route.ensure { dst = core.cidr "10.244.3.0/24", protocol = 78, table = 254 }
      assert.is_false(again)
    end)

    it("reports and leaves a route that is not ours", function()
      host.route.add { dst = "10.244.3.0/24", gateway = "192.0.2.13", protocol = "static" }
      local err = refusal(host.route.ensure, { dst = "10.244.3.0/24", gateway = "192.0.2.14", protocol = "mncni" })
      assert.equal(103, err.code)
      assert.equal("protocol", err.field)
      assert.equal("static", err.have)
      err = refusal(host.route.ensure, { dst = "10.244.3.0/24", gateway = "192.0.2.14" })
      assert.equal("protocol", err.field)
      assert.equal("192.0.2.13", host.route.list { dst = "10.244.3.0/24" }().gateway)
    end)

    it("tells routes of another metric or table apart", function()
      host.route.add { dst = "10.0.0.0/8", gateway = "192.0.2.1", metric = 100 }
      local _, changed = host.route.ensure { dst = "10.0.0.0/8", gateway = "192.0.2.2" }
      assert.is_true(changed)
      local _, there = host.route.ensure { dst = "10.0.0.0/8", gateway = "192.0.2.2", table = 100 }
      assert.is_true(there)
      local count = 0
      for _ in host.route.list { dst = "10.0.0.0/8" } do
        count = count + 1
      end
      assert.equal(3, count)
    end)

    it("adds a rule once", function()
      local rule = { src = "10.244.0.0/16", table = 100, priority = 1000 }
      local _, first = host.rule.ensure(rule)
      local _, second = host.rule.ensure(rule)
      assert.is_true(first)
      assert.is_false(second)
    end)

    it("sets a neighbour's address in place", function()
      host.neigh.ensure { dev = "eth0", dst = "192.0.2.9", lladdr = "02:00:00:00:00:01", state = { "permanent" } }
      local neigh, changed = host.neigh.ensure { dev = "eth0", dst = "192.0.2.9", lladdr = "02:00:00:00:00:02" }
      assert.is_true(changed)
      assert.equal("02:00:00:00:00:02", neigh.lladdr)
      local _, again = host.neigh.ensure { dev = "eth0", dst = "192.0.2.9", lladdr = "02:00:00:00:00:02" }
      assert.is_false(again)
    end)
  end)

  describe("absent", function()
    it("deletes, and tells whether there was something", function()
      host.link.add { ifname = "d0", kind = "dummy" }
      assert.is_true(host.link.absent { ifname = "d0" })
      assert.is_false(host.link.absent { ifname = "d0" })
      assert.is_false(host.addr.absent { dev = "eth0", address = "192.0.2.77/24" })
      assert.is_false(host.addr.absent { dev = "gone0", address = "192.0.2.77/24" })
      assert.is_false(host.route.absent { dst = "10.0.0.0/8" })
      assert.is_false(host.rule.absent { priority = 77 })
    end)

    it("does not hide another refusal", function()
      assert.equal("EOPNOTSUPP", refusal(host.link.absent, { ifname = "eth0" }).name)
    end)
  end)

  describe("list", function()
    it("yields what fits all given fields", function()
      host.route.add { dst = "10.1.0.0/16", gateway = "192.0.2.1", protocol = "mncni" }
      host.route.add { dst = "10.2.0.0/16", gateway = "192.0.2.1", protocol = "static" }
      local seen = {}
      for route in host.route.list { protocol = "mncni", gateway = core.cidr "192.0.2.1" } do
        seen[#seen + 1] = tostring(route)
      end
      assert.same({ "route add 10.1.0.0/16 via 192.0.2.1 dev eth0 proto 78" }, seen)
    end)
  end)

  it("takes a net wherever a namespace is expected, and leaves the caller's table alone", function()
    local args = { ifname = "v0", kind = "veth", peer = { ifname = "eth0", netns = world.pod } }
    host.link.add(args)
    assert.equal(world.pod, args.peer.netns)
    assert.is_not_nil(world.pod.link.get { ifname = "eth0" })
  end)

  it("opens a socket per protocol, when first needed, and closes them once", function()
    local opened, closed = {}, 0
    local object = net.over {
      socket = function(protocol)
        opened[#opened + 1] = protocol
        return {
          request = function() return true end,
          batch = function() return true end,
          close = function() closed = closed + 1 end,
        }
      end,
    }
    assert.same({}, opened)
    object.link.add { ifname = "a" }
    object.route.del { dst = "default" }
    object.nft.batch { { "add", "table", { name = "x" } } }
    assert.same({ "route", "netfilter" }, opened)
    object:close()
    object:close()
    assert.equal(2, closed)
    assert.matches("it is closed", refusal(object.link.add, { ifname = "a" }).message)
  end)
end)

describe("mncni.try", function()
  local host = recorded.new().host

  it("returns what the function returns", function()
    local a, b, c = mncni.try(function(...) return ... end, 1, nil, 3)
    assert.same({ 1, 3 }, { a, c })
    assert.is_nil(b)
  end)

  it("turns a refusal into nil and the error", function()
    local value, err = mncni.try(host.link.set, { ifname = "none", up = true })
    assert.is_nil(value)
    assert.equal("ENODEV", err.name)
  end)

  it("does not swallow a programming mistake", function()
    assert.matches("attempt to index", mistake(mncni.try, function() return (nil).x end))
    local misuse = core.error { op = "add", object = "link", message = 'unknown key "ifnam"' }
    assert.equal(misuse, refusal(mncni.try, function() error(misuse) end))
  end)
end)

describe("mncni.route_mtu", function()
  local function mtu(fixture)
    return recorded.new(fixture).run(mncni.route_mtu)
  end
  local function links()
    return { { ifname = "eth0", mtu = 1450, up = true }, { ifname = "eth1", mtu = 9000, up = true } }
  end
  local addresses = {
    { dev = "eth0", address = "192.0.2.10/24" }, { dev = "eth1", address = "198.51.100.10/24" },
    { dev = "eth1", address = "2001:db8::10/64" },
  }

  it("is the MTU of the device with the default route of the smallest metric", function()
    local routes = {
      { dst = "default", gateway = "192.0.2.1", metric = 200 },
      { dst = "default", gateway = "198.51.100.1", metric = 100 },
    }
    assert.equal(9000, mtu { host = { links = links(), addresses = addresses, routes = routes } })
    routes[1].metric = nil
    assert.equal(1450, mtu { host = { links = links(), addresses = addresses, routes = routes } })
  end)

  it("prefers IPv4 to IPv6", function()
    local routes = { { dst = "default", gateway = "2001:db8::1" } }
    assert.equal(9000, mtu { host = { links = links(), addresses = addresses, routes = routes } })
    routes[2] = { dst = "default", gateway = "192.0.2.1", metric = 5000 }
    assert.equal(1450, mtu { host = { links = links(), addresses = addresses, routes = routes } })
  end)

  it("is 1500 without a default route, and takes the first of several next hops", function()
    assert.equal(1500, mtu { host = { links = links(), addresses = addresses } })
    local routes = { { dst = "default", nexthops = { { gateway = "198.51.100.1" }, { gateway = "192.0.2.1" } } } }
    assert.equal(9000, mtu { host = { links = links(), addresses = addresses, routes = routes } })
  end)
end)
