-- SPDX-License-Identifier: Apache-2.0
-- Traffic control through the codec: what the kernel keeps, what tc shows of it, and whether its lines make it again.
local core = require "mncni.core"
local mncni = require "mncni"
local print_lines = require "mncni.print"
local spaces = require "spec.support.netns"

local space, net

before_each(function()
  space = spaces.new "tc"
  space:must "ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up"
  net = mncni.open(space.ns)
  net.link.add { ifname = "ifb9", kind = "ifb", up = true }
end)

after_each(function()
  net:close()
  spaces.cleanup()
end)

local function shown(...)
  return core.json.decode(space:must(...))
end

describe("a qdisc", function()
  it("is what tc shows of it", function()
    net.qdisc.add { dev = "v0", handle = "1:", tbf = { rate = 125000, burst = 16000, limit = 20000 } }
    assert.same({ rate = 125000, burst = 16000, lat = 32000 }, shown("tc -json qdisc show dev v0 root")[1].options)
    net.qdisc.set { dev = "v0", tbf = { rate = 5000000000, burst = 1600000, limit = 3200000 } }
    local have = shown("tc -json qdisc show dev v0 root")[1]
    assert.same({ 5000000000, "1:" }, { have.options.rate, have.handle })
    net.qdisc.add { dev = "v0", parent = "1:1", handle = "2:", pfifo = { limit = 7 } }
    assert.equal(7, net.qdisc.get({ dev = "v0", parent = "1:1" }).pfifo.limit)
    net.qdisc.replace { dev = "v0", parent = "root", handle = "3:", bfifo = { limit = 9000 } }
    assert.equal("bfifo", net.qdisc.get({ dev = "v0", parent = "root" }).kind)
  end)

  it("knows rates and bursts as tc does, peaks too", function()
    space:must "tc qdisc add dev v0 root tbf rate 8mbit burst 20000 latency 50ms peakrate 16mbit minburst 2000"
    local have = net.qdisc.get { dev = "v0", parent = "root" }
    assert.same({ 1000000, 20000, 2000000, 2000 },
      { have.tbf.rate, have.tbf.burst, have.tbf.peakrate, have.tbf.minburst })
    net.qdisc.del { dev = "v0" }
    net.qdisc.add(have)
    assert.same(have, net.qdisc.get { dev = "v0", parent = "root" })
  end)

  it("is ensured once, changed in place, and absent after", function()
    local want = { dev = "v0", kind = "tbf", handle = "1:", tbf = { rate = 125000, burst = 16000, limit = 20000 } }
    local _, changed = net.qdisc.ensure(want)
    assert.is_true(changed)
    _, changed = net.qdisc.ensure(want)
    assert.is_false(changed)
    want.tbf.rate = 250000
    _, changed = net.qdisc.ensure(want)
    assert.is_true(changed)
    assert.equal(250000, net.qdisc.get({ dev = "v0" }).tbf.rate)
    assert.error_matches(function() net.qdisc.ensure { dev = "v0", kind = "pfifo" } end, "kind is \"tbf\"")
    assert.is_true(net.qdisc.absent { dev = "v0" })
    assert.is_false(net.qdisc.absent { dev = "v0" })
    assert.is_true(select(2, net.qdisc.ensure { dev = "v0", kind = "ingress" }))
    assert.is_false(select(2, net.qdisc.ensure { dev = "v0", kind = "ingress" }))
    assert.is_true(net.qdisc.absent { dev = "v0", kind = "ingress" })
    assert.is_false(net.qdisc.absent { dev = "v0", kind = "ingress" })
  end)

  it("is refused in the kernel's words", function()
    assert.error_matches(function() net.qdisc.add { dev = "v0", kind = "nothing" } end, "ENOENT")
    assert.error_matches(function() net.qdisc.add { dev = "v9", kind = "pfifo" } end, "there is no link \"v9\"")
    net.qdisc.add { dev = "v0", handle = "1:", kind = "pfifo" }
    assert.error_matches(function() net.qdisc.add { dev = "v0", handle = "2:", kind = "pfifo" } end, "EEXIST")
    assert.error_matches(function() net.qdisc.del { dev = "v0", handle = "2:" } end, "EINVAL.*handle")
  end)
end)

describe("classes and filters", function()
  local function htb()
    net.qdisc.add { dev = "v0", handle = "1:", htb = { default = 0x30 } }
    for minor, rate in pairs { ["10"] = 10000000000, ["30"] = 125000 } do
      net.class.add { dev = "v0", parent = "1:", handle = "1:" .. minor,
        htb = { rate = rate, ceil = rate, burst = 16000, cburst = 16000 } }
    end
    net.filter.add { dev = "v0", parent = "1:", prio = 1, protocol = "ip",
      u32 = { flowid = "1:10", sel = { keys = { { val = 0x0a000000, mask = 0xff000000, off = 16 } } } } }
  end

  it("are what tc shows of them", function()
    htb()
    local classes = space:must "tc class show dev v0" -- this one has no JSON
    assert.truthy(classes:find("class htb 1:10 root prio 0 rate 80Gbit ceil 80Gbit burst", 1, true), classes)
    assert.truthy(classes:find("class htb 1:30 root prio 0 rate 1Mbit ceil 1Mbit burst 16000b", 1, true), classes)
    local filter = shown("tc -json filter show dev v0")[3]
    assert.same({ "1:10", "ip" }, { filter.options.flowid, filter.protocol })
    assert.truthy(space:must "tc -pretty filter show dev v0":find("match IP dst 10.0.0.0/8", 1, true))
  end)

  it("are found by link, and asked for without one is an error", function()
    htb()
    local count = 0
    for class in net.class.list { dev = "v0", kind = "htb" } do
      count = count + (class.htb.ceil > 0 and 1 or 0)
    end
    assert.equal(2, count)
    assert.equal(125000, net.class.get({ dev = "v0", handle = "1:30" }).htb.rate)
    assert.is_nil(net.class.get { dev = "v1", handle = "1:30" })
    for _, family in ipairs { "class", "filter" } do
      assert.error_matches(function() net[family].list {} end, "needs dev")
    end
  end)

  it("are ensured and absent", function()
    htb()
    local class = { dev = "v0", parent = "1:", handle = "1:20", kind = "htb",
      htb = { rate = 125000, ceil = 250000, burst = 9000, cburst = 9000 } }
    assert.is_true(select(2, net.class.ensure(class)))
    assert.is_false(select(2, net.class.ensure(class)))
    class.htb.ceil = 125000
    assert.is_true(select(2, net.class.ensure(class)))
    assert.is_true(net.class.absent { dev = "v0", handle = "1:20" })
    assert.is_false(net.class.absent { dev = "v0", handle = "1:20" })
    local filter = { dev = "v0", parent = "1:", prio = 5, protocol = "ipv6", kind = "u32",
      u32 = { flowid = "1:10", sel = { keys = { { val = 0, mask = 0, off = 0 } } } } }
    assert.is_true(select(2, net.filter.ensure(filter)))
    assert.is_false(select(2, net.filter.ensure(filter)))
    filter.u32.flowid = "1:30"
    assert.is_true(select(2, net.filter.ensure(filter)))
    assert.equal("1:30", net.filter.get({ dev = "v0", parent = "1:", prio = 5, handle = 0x80100800 }).u32.flowid)
    assert.is_true(net.filter.absent { dev = "v0", parent = "1:", prio = 5 })
    assert.is_false(net.filter.absent { dev = "v0", parent = "1:", prio = 5 })
    net.filter.flush { dev = "v0", parent = "1:" }
    assert.same({}, shown "tc -json filter show dev v0")
  end)

  it("redirect to another link", function()
    net.qdisc.add { dev = "v0", kind = "ingress" }
    net.filter.add { dev = "v0", parent = "ffff:", prio = 1, u32 = {
      sel = { keys = { { val = 0, mask = 0, off = 0 } } },
      actions = { { kind = "mirred", eaction = "egress redirect", to_dev = "ifb9", action = "stolen" } },
    } }
    local action = shown("tc -json filter show dev v0 parent ffff:")[3].options.actions[1]
    assert.same({ "redirect", "egress", "ifb9", "stolen" },
      { action.mirred_action, action.direction, action.to_dev, action.control_action.type })
    for filter in net.filter.list { dev = "v0", parent = "ffff:" } do
      if filter.u32 and filter.u32.actions then
        assert.equal("ifb9", filter.u32.actions[1].to_dev)
        assert.truthy(tostring(filter):find("action mirred egress redirect dev ifb9 stolen", 1, true), tostring(filter))
      end
    end
  end)

  it("are told of as they change", function()
    local monitor <close> = net:monitor { "tc", timeout = 20000 }
    htb()
    net.qdisc.del { dev = "v0" }
    local seen = {}
    for event in monitor do
      seen[#seen + 1] = event.event .. " " .. event.object
      if tostring(event):find "^tc qdisc del dev v0 root handle 1: htb" then
        break
      end
    end
    for _, want in ipairs { "new qdisc", "new class", "new filter", "del qdisc" } do
      assert.truthy(table.concat(seen, "; "):find(want, 1, true), table.concat(seen, "; "))
    end
  end)
end)

describe("a printed line of traffic control", function()
  it("makes the same again by tc", function()
    local function again(object, args, key)
      net[object].add(args)
      local have = assert(net[object].get(key or args))
      net[object].del(key or args)
      space:must(tostring(have))
      assert.same(have, net[object].get(key or args))
    end
    local place = { dev = "v0", parent = "root" }
    again("qdisc", { dev = "v0", handle = "1:", tbf = { rate = 125000, burst = 16000, limit = 20000 } }, place)
    net.qdisc.del(place)
    again("qdisc", { dev = "v0", handle = "1:", bfifo = { limit = 20000 } }, place)
    net.qdisc.del(place)
    net.qdisc.add { dev = "v0", handle = "1:", htb = { default = 0x30 } }
    local line = print_lines.commands("add", "class", { dev = "v0", parent = "1:", handle = "1:20",
      htb = { rate = 125000, ceil = 250000, burst = 9000, cburst = 9000, prio = 2 } })[1]
    space:must(line)
    assert.same({ 125000, 250000, 9000, 2 }, (function(htb) return { htb.rate, htb.ceil, htb.burst, htb.prio } end)(
      net.class.get({ dev = "v0", handle = "1:20" }).htb))
    space:must(print_lines.commands("add", "filter", { dev = "v0", parent = "1:", prio = 3, protocol = "ip",
      u32 = { flowid = "1:20", sel = { keys = { { val = 0x0a000000, mask = 0xff000000, off = 16 } } } } })[1])
    local found
    for filter in net.filter.list { dev = "v0", parent = "1:", prio = 3 } do
      found = filter.u32 and filter.u32.sel and filter.u32 or found
    end
    assert.same({ "1:20", 0x0a000000 }, { found.flowid, found.sel.keys[1].val })
  end)

  it("counts time as the kernel does", function()
    local file <close> = assert(io.open "/proc/net/psched")
    assert.equal("00000040", file:read "a":match "^%x+ (%x+)") -- 64 ns
  end)
end)
