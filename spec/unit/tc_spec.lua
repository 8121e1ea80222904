-- SPDX-License-Identifier: Apache-2.0
-- Traffic control without a kernel: its values on the wire, its lines, its objects in the recorded net.
local core = require "mncni.core"
local print_lines = require "mncni.print"
local recorded = require "mncni.recorded"

local function round_trip(object, args)
  return core.decode(core.encode("new", object, args))[1].value
end

local tbf = { rate = 1000000, burst = 100000, limit = 125000 }

describe("a burst", function()
  local function bytes(rate, burst)
    return round_trip("qdisc", { kind = "tbf", tbf = { rate = rate, burst = burst, limit = 0 } }).tbf.burst
  end

  it("comes back as it was given while a tick lets no more than a byte pass", function()
    for _, rate in ipairs { 1, 999, 125000, 15625000 } do
      for _, burst in ipairs { 1, 1500, 65537, math.min(0xffffffff, 274 * rate) } do
        if burst <= 274 * rate then
          assert.equal(burst, bytes(rate, burst))
        end
      end
    end
  end)

  it("is never less, and a tick more at most, at rates above", function()
    for _, rate in ipairs { 1250000000, 5000000000, 0x7fffffffffff } do
      local back = bytes(rate, 100000)
      assert.is_true(back >= 100000 and back <= 100000 + rate * 64 // 1000000000 + 1, back)
    end
  end)

  it("is refused where the kernel could not count it, or nothing says at which rate", function()
    assert.error_matches(function() bytes(1000, 275000) end, "more than 274 seconds at 1000 bytes per second.*burst")
    assert.error_matches(function() core.encode("new", "qdisc", { kind = "tbf", tbf = { burst = 5 } }) end,
      "a burst needs the rate that it belongs to at tbf.burst")
    assert.error_matches(function() bytes(1000, -1) end, "an integer from 0")
  end)
end)

describe("a rate above 32 bits", function()
  it("comes back whole, and small ones as well", function()
    for _, rate in ipairs { 8, 0xffffffff, 0x100000000, 0x7fffffffffffffff } do
      assert.equal(rate, round_trip("qdisc", { kind = "tbf", tbf = { rate = rate, burst = 1, limit = 1 } }).tbf.rate)
      local htb = { rate = rate, ceil = rate, burst = 1, cburst = 1 }
      assert.equal(rate, round_trip("class", { kind = "htb", htb = htb }).htb.ceil)
    end
  end)
end)

describe("a request of traffic control", function()
  it("has a link's root as its place unless it says another, and what comes in a place of its own", function()
    local function made(args)
      args.ifindex = 3
      return core.decode(core.encode("add", "qdisc", args))[1].value
    end
    assert.equal("root", made({ kind = "pfifo" }).parent)
    assert.equal("1:10", made({ kind = "pfifo", parent = "1:10" }).parent)
    for _, kind in ipairs { "ingress", "clsact" } do
      local value = made { kind = kind }
      assert.same({ "ingress", "ffff:" }, { value.parent, value.handle })
    end
  end)

  it("is refused without what the kernel could not do without", function()
    assert.error_matches(function() core.encode("add", "qdisc", { ifindex = 3, tbf = { rate = 5, burst = 5 } }) end,
      "required, and not given at tbf.limit")
    assert.error_matches(function()
      core.encode("add", "filter", { ifindex = 3, matchall = { actions = { { kind = "mirred", to_dev = 4 } } } })
    end, "required, and not given at matchall.actions.action")
    assert.error_matches(function() core.encode("del", "filter", { ifindex = 3 }) end, "del needs prio; flush")
    for _, handle in ipairs { "1", ":1", "12345:", "1:g", "0x1:", "1:-1", 5 } do
      assert.error_matches(function() core.encode("add", "qdisc", { ifindex = 3, handle = handle }) end,
        "expected \"1:\", \"1:10\"", nil, tostring(handle))
    end
    assert.error_matches(function() core.encode("add", "qdisc", { ifindex = 3, netem = { loss = 1.5 } }) end,
      "a number from 0 to 1 at netem.loss")
  end)

  it("numbers its actions and counts its matches", function()
    local keys = {}
    for i = 1, 128 do
      keys[i] = { val = i, mask = 255, off = -14 + 4 * i, offmask = 0 }
    end
    local actions = {
      { kind = "police", rate = 125000, burst = 9000, action = "pipe" }, { kind = "gact", action = "drop" },
      { kind = "mirred", eaction = "ingress mirror", to_dev = 7, action = "pipe" },
    }
    local value = round_trip("filter", { kind = "u32", prio = 9, protocol = "ipv6", u32 = {
      sel = { flags = { "terminal" }, keys = keys }, actions = actions,
    } })
    assert.same(keys, value.u32.sel.keys)
    assert.same({ 9, "ipv6" }, { value.prio, value.protocol })
    for i, action in ipairs(actions) do
      for key, want in pairs(action) do
        assert.equal(want, value.u32.actions[i][key])
      end
    end
    keys[129] = keys[1]
    assert.error_matches(function() core.encode("new", "filter", { u32 = { sel = { keys = keys } } }) end, "128")
  end)

  it("reads no further than a match that is cut short", function()
    local bytes = core.encode("new", "filter", { u32 = { sel = { keys = { { val = 5 }, { val = 6 } } } } })
    -- The count of the selector's matches, third byte of it, says more than there are.
    local at = #bytes - 2 * 16 - 16 + 2 + 1
    assert.equal(2, bytes:byte(at))
    local value = core.decode(bytes:sub(1, at - 1) .. "\200" .. bytes:sub(at + 1))[1].value
    assert.equal(2, #value.u32.sel.keys)
  end)
end)

describe("the line of", function()
  local function line(verb, object, args)
    return table.concat(print_lines.lines(verb, object, args), "\n")
  end

  it("a discipline, a class and a filter is that of tc", function()
    assert.equal("qdisc add dev eth0 root handle 1: tbf rate 1000000bps burst 100000 limit 125000",
      line("add", "qdisc", { dev = "eth0", handle = "1:", tbf = tbf }))
    assert.equal("qdisc del dev eth0 ingress", line("del", "qdisc", { dev = "eth0", kind = "ingress" }))
    assert.equal("qdisc change dev eth0 root netem delay 10000us 1000.5us loss 1.5%",
      line("set", "qdisc", { dev = "eth0", netem = { delay = 10000000, jitter = 1000500, loss = 0.015 } }))
    assert.equal("class add dev eth0 parent 1: classid 1:10 htb rate 5bps ceil 6bps burst 1500 cburst 1500",
      line("add", "class", { dev = "eth0", parent = "1:", handle = "1:10",
        htb = { rate = 5, ceil = 6, burst = 1500, cburst = 1500 } }))
    assert.equal("filter add dev v parent ffff: protocol all prio 1 u32 match u32 0x0 0x0 at 0 "
      .. "action mirred egress redirect dev ifb0 stolen",
      line("add", "filter", { dev = "v", parent = "ffff:", prio = 1, u32 = { sel = { keys = { {} } },
        actions = { { kind = "mirred", eaction = "egress redirect", to_dev = "ifb0", action = "stolen" } } } }))
    assert.same({ "tc -n pod filter del dev v parent ffff:" },
      print_lines.commands("flush", "filter", { dev = "v", parent = "ffff:" }, "pod"))
    assert.equal("tc qdisc add dev eth0 root handle 1: pfifo limit 5",
      print_lines.describe("qdisc", { dev = "eth0", parent = "root", handle = "1:", kind = "pfifo",
        pfifo = { limit = 5 } }))
  end)
end)

describe("traffic control in the recorded net", function()
  it("is there once, can be changed and removed, and goes with its link", function()
    local world = recorded.new {}
    local host = world.host
    host.link.add { ifname = "v0", kind = "ifb" }
    local monitor = host:monitor { "tc", timeout = 0 }
    local have, changed = host.qdisc.ensure { dev = "v0", kind = "tbf", tbf = tbf }
    assert.same({ "tbf", true }, { have.kind, changed })
    assert.is_false(select(2, host.qdisc.ensure { dev = "v0", kind = "tbf", tbf = tbf }))
    assert.is_true(select(2, host.qdisc.ensure { dev = "v0", kind = "tbf",
      tbf = { rate = 5, burst = 5, limit = 5 } }))
    assert.equal(5, host.qdisc.get({ dev = "v0" }).tbf.rate)
    assert.error_matches(function() host.qdisc.add { dev = "v0", kind = "pfifo" } end, "EEXIST")
    assert.equal("qdisc", monitor:next(0).object)
    assert.is_true(host.qdisc.absent { dev = "v0" })
    assert.is_false(host.qdisc.absent { dev = "v0" })
    host.qdisc.add { dev = "v0", kind = "ingress" }
    host.filter.add { dev = "v0", parent = "ffff:", prio = 1, matchall = {} }
    host.link.del { ifname = "v0" }
    for _ in host.qdisc.list {} do
      error "it is still there"
    end
  end)
end)
