-- SPDX-License-Identifier: Apache-2.0
-- Ranges, requested addresses and resolv.conf, without files.

local core = require "mncni.core"
local ipam = require "mncni.ipam"

-- Calls fn and returns what it raised, which must carry code 7.
local function refusal(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  assert.equal(7, err.code)
  return tostring(err)
end

local function sets(ranges, runtime, version)
  return ipam.range_sets({ ranges = ranges }, runtime, version)
end

describe("a range", function()
  it("has the gateway at the subnet's first address and ends before the broadcast address", function()
    local range = ipam.range({ subnet = "10.1.2.0/24" }, "range")
    assert.equal("10.1.2.1", tostring(range.gateway))
    assert.equal("10.1.2.1", tostring(range.first))
    assert.equal("10.1.2.254", tostring(range.last))
  end)

  it("of IPv6 goes to the subnet's last address, since there is no broadcast", function()
    local range = ipam.range({ subnet = "2001:db8:1::/64" }, "range")
    assert.equal("2001:db8:1::1", tostring(range.gateway))
    assert.equal("2001:db8:1::1", tostring(range.first))
    assert.equal("2001:db8:1:0:ffff:ffff:ffff:ffff", tostring(range.last))
  end)

  it("takes its start, end and gateway from the configuration, as text or as values", function()
    local range = ipam.range({
      subnet = core.cidr "10.1.2.0/24", rangeStart = core.cidr "10.1.2.9", rangeEnd = "10.1.2.20",
      gateway = "10.1.2.254",
    }, "range")
    assert.equal("10.1.2.9", tostring(range.first))
    assert.equal("10.1.2.20", tostring(range.last))
    assert.equal("10.1.2.254", tostring(range.gateway))
  end)

  it("may be a single address", function()
    local range = ipam.range({ subnet = "10.1.2.0/24", rangeStart = "10.1.2.9", rangeEnd = "10.1.2.9" }, "range")
    assert.equal(range.first, range.last)
  end)

  it("may have a gateway outside of its subnet", function()
    assert.equal("10.9.9.9", tostring(ipam.range({ subnet = "10.1.2.0/24", gateway = "10.9.9.9" }, "range").gateway))
  end)

  it("is read as runtimes written in Go spell it, with empty text for what is not set", function()
    local range = ipam.range({ Subnet = "10.1.2.0/24", RangeStart = "10.1.2.7", RangeEnd = "", Gateway = "" }, "range")
    assert.equal("10.1.2.7", tostring(range.first))
    assert.equal("10.1.2.254", tostring(range.last))
  end)

  local refused = {
    { { subnet = "192.0.2.12/24" }, "Network has host bits set.*network address is 192%.0%.2%.0" },
    { { subnet = "192.0.2.0/31" }, "192%.0%.2%.0/31 too small to allocate from" },
    { { subnet = "192.0.2.0/32" }, "too small to allocate from" },
    { { subnet = "2001:db8::/127" }, "too small to allocate from" },
    { { subnet = "192.0.2.0" }, "no prefix length" },
    { { subnet = "nonsense" }, "nonsense" },
    { { subnet = 5 }, "not number" },
    { {}, "needs a subnet" },
    { "10.1.2.0/24", "not string" },
    { { subnet = "192.0.2.0/24", rangeStart = "192.0.3.1" }, "RangeStart 192%.0%.3%.1 not in network 192%.0%.2%.0/24" },
    { { subnet = "192.0.2.0/24", rangeEnd = "192.0.1.1" }, "RangeEnd 192%.0%.1%.1 not in network" },
    { { subnet = "192.0.2.0/24", rangeStart = "192.0.2.9", rangeEnd = "192.0.2.5" }, "RangeStart 192%.0%.2%.9" },
    { { subnet = "192.0.2.0/24", rangeStart = "192.0.2.9/24" }, "is a network; give one address" },
    { { subnet = "192.0.2.0/24", rangeStart = "2001:db8::1" }, "family" },
    { { subnet = "192.0.2.0/24", gateway = "2001:db8::1" }, "family" },
  }
  for _, case in ipairs(refused) do
    it("is refused when " .. case[2]:gsub("%%", ""), function()
      local message = refusal(ipam.range, case[1], "ranges[1][1]")
      assert.matches(case[2], message)
      assert.matches("ranges[1][1]", message, 1, true)
    end)
  end
end)

describe("the range sets of a configuration", function()
  it("begin with what the runtime asks for, then the short form, then ranges", function()
    local all = ipam.range_sets({
      subnet = "10.2.0.0/24", rangeStart = "10.2.0.5", ranges = { { { subnet = "10.3.0.0/24" } } },
    }, { { { subnet = "10.1.0.0/24" } } }, "1.0.0")
    assert.equal("10.1.0.1-10.1.0.254", ipam.describe(all[1]))
    assert.equal("10.2.0.5-10.2.0.254", ipam.describe(all[2]))
    assert.equal("10.3.0.1-10.3.0.254", ipam.describe(all[3]))
  end)

  it("may pool several ranges in one set", function()
    local all = sets { { { subnet = "10.1.2.0/24" }, { subnet = "10.2.2.0/24" } }, { { subnet = "2001:db8:1::/64" } } }
    assert.equal("10.1.2.1-10.1.2.254,10.2.2.1-10.2.2.254", ipam.describe(all[1]))
    assert.equal(2, #all)
  end)

  it("may divide one subnet", function()
    local all = sets {
      { { subnet = "10.1.2.0/24", rangeEnd = "10.1.2.99" }, { subnet = "10.1.2.0/24", rangeStart = "10.1.2.100" } },
    }
    assert.equal(2, #all[1])
  end)

  it("must not be missing or empty", function()
    assert.matches("no IP ranges specified", refusal(ipam.range_sets, {}))
    assert.matches("no IP ranges specified", refusal(sets, {}))
    assert.matches("one or more ranges", refusal(sets, { {} }))
    assert.matches("not string", refusal(sets, "10.1.2.0/24"))
  end)

  it("must not overlap, inside a set or between sets", function()
    local a, b = { subnet = "10.1.0.0/16" }, { subnet = "10.1.2.0/24" }
    assert.matches("10.1.0.0/16 and 10.1.2.0/24 overlap", refusal(sets, { { a, b } }), 1, true)
    assert.matches("range set 1 .* overlaps with 2", refusal(sets, { { a }, { b } }))
    assert.matches("overlaps", refusal(sets, { { b } }, { { a } }))
  end)

  it("must not mix families in a set", function()
    local mixed = { { { subnet = "10.1.2.0/24" }, { subnet = "2001:db8::/64" } } }
    assert.matches("mixed address families", refusal(sets, mixed))
  end)

  it("must not be two of a family before cniVersion 0.3.0", function()
    local two = { { { subnet = "10.1.2.0/24" } }, { { subnet = "10.2.2.0/24" } } }
    for _, version in ipairs { "0.1.0", "0.2.0" } do
      assert.matches("does not support more than 1 address per family", refusal(sets, two, nil, version))
    end
    for _, version in ipairs { "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" } do
      assert.equal(2, #sets(two, nil, version))
    end
    assert.equal(2, #sets({ { { subnet = "10.1.2.0/24" } }, { { subnet = "2001:db8::/64" } } }, nil, "0.2.0"))
  end)
end)

describe("requested addresses", function()
  local two = { { { subnet = "10.1.2.0/24" } }, { { subnet = "10.2.2.0/24" }, { subnet = "10.3.2.0/24" } } }

  it("are given by the set that has them, with or without a prefix length", function()
    local assigned = ipam.assign(sets(two), { "10.3.2.77/24", "10.1.2.88" })
    assert.equal("10.1.2.88", tostring(assigned[1]))
    assert.equal("10.3.2.77", tostring(assigned[2]))
  end)

  it("count once when several sources ask for the same", function()
    assert.equal("10.1.2.88", tostring(ipam.assign(sets(two), { "10.1.2.88", "10.1.2.88/24" })[1]))
  end)

  it("are as few as are asked for", function()
    assert.same({}, ipam.assign(sets(two), {}))
    assert.is_nil(ipam.assign(sets(two), { "10.2.2.7" })[1])
  end)

  it("of IPv6 may be spelled in any way", function()
    local all = sets { { { subnet = "2001:db8:1::/64" } } }
    assert.equal("2001:db8:1::999", tostring(ipam.assign(all, { "2001:DB8:1:0:0::0999" })[1]))
  end)

  it("are refused when a set would have to give two", function()
    local message = refusal(ipam.assign, sets { two[1] }, { "10.1.2.88", "10.1.2.77" })
    assert.matches("^failed to allocate all requested IPs: 10%.1%.2%.", message)
  end)

  it("are refused outside of every range", function()
    local narrow = sets { { { subnet = "10.1.2.0/24", rangeStart = "10.1.2.10", rangeEnd = "10.1.2.20" } } }
    for _, address in ipairs { "10.1.2.9", "10.1.2.21", "10.9.9.9", "2001:db8::1" } do
      local message = refusal(ipam.assign, narrow, { address })
      assert.equal("failed to allocate all requested IPs: " .. address, message)
    end
  end)

  it("are refused when they are a gateway, or no address", function()
    assert.matches("10.1.2.1 is subnet's gateway", refusal(ipam.assign, sets(two), { "10.1.2.1" }), 1, true)
    assert.matches("requested IP 1", refusal(ipam.assign, sets(two), { "10.1.2" }))
  end)
end)

describe("routes", function()
  it("keep their gateway and their extras", function()
    assert.same({
      { dst = "0.0.0.0/0" }, { dst = "3.3.3.3/32", gw = "10.1.2.9" }, { dst = "2001:db8::/32", mtu = 1400, table = 7 },
    }, ipam.routes {
      { dst = "0.0.0.0/0" }, { dst = "3.3.3.3/32", gw = "10.1.2.9", unknown = 1 },
      { dst = "2001:db8::/32", mtu = 1400, table = 7 },
    })
  end)

  it("without a dst, with a bad one, or with a gateway of the other family are refused", function()
    assert.matches("routes[2]", refusal(ipam.routes, { { dst = "0.0.0.0/0" }, { gw = "10.0.0.1" } }), 1, true)
    assert.matches("routes[1].dst", refusal(ipam.routes, { { dst = "default" } }), 1, true)
    assert.matches("no prefix length", refusal(ipam.routes, { { dst = "10.0.0.1" } }))
    assert.matches("family", refusal(ipam.routes, { { dst = "0.0.0.0/0", gw = "2001:db8::1" } }))
  end)
end)

describe("resolv.conf", function()
  it("gives nameservers, domain, search and options, and nothing of comments and blank lines", function()
    assert.same({
      nameservers = { "192.0.2.1", "2001:db8::53" }, domain = "example.com",
      search = { "example.com", "example.net", "example.org" }, options = { "ndots:5", "rotate" },
    }, require("mncni.resolv_conf").parse [[
# nameserver 192.0.2.9
; search example.invalid

nameserver 192.0.2.1
  nameserver	2001:db8::53  # the second
domain example.com
search example.com example.net
search example.org
options ndots:5 rotate
nameserver
unknown words]])
  end)

  it("that says nothing gives nothing", function()
    assert.same({}, require("mncni.resolv_conf").parse "")
    assert.same({}, ipam.dns(nil))
    assert.same({}, ipam.dns "")
  end)

  it("that cannot be read is named in the refusal", function()
    assert.matches("/no/such/resolv.conf", refusal(ipam.dns, "/no/such/resolv.conf"), 1, true)
    assert.matches("cannot be read: /: Is a directory", refusal(ipam.dns, "/"), 1, true)
  end)

  it("may be an empty file", function()
    assert.same({}, ipam.dns "/dev/null")
  end)
end)
