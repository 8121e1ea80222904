-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local cidr = core.cidr

-- Seeded, so that a failure comes back.
local function random_address(rng, family)
  local parts = {}
  if family == "inet" then
    for i = 1, 4 do parts[i] = tostring(rng(0, 255)) end
    return table.concat(parts, ".")
  end
  for i = 1, 8 do parts[i] = ("%x"):format(rng(0, 3) == 0 and 0 or rng(0, 0xffff)) end
  parts[1] = "fd" .. ("%02x"):format(rng(0, 255))
  return table.concat(parts, ":")
end

local function bits(value)
  local text = value.bytes:gsub(".", function(byte)
    local out, n = {}, byte:byte()
    for i = 8, 1, -1 do
      out[i] = n % 2
      n = n // 2
    end
    return table.concat(out)
  end)
  return text
end

local function refusal(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  return tostring(err)
end

describe("a cidr", function()
  it("prints as it was given, in canonical form", function()
    for text, expected in pairs {
      ["10.244.1.7/24"] = "10.244.1.7/24",
      ["10.0.0.1"] = "10.0.0.1",
      ["0.0.0.0/0"] = "0.0.0.0/0",
      ["255.255.255.255/32"] = "255.255.255.255/32",
      ["FD00:0:0:0:0:0:0:7/64"] = "fd00::7/64",
      ["::/0"] = "::/0",
      ["::"] = "::",
      ["2001:db8:0:0:1:0:0:1"] = "2001:db8::1:0:0:1",
      ["2001:db8:0:1:1:1:1:1/128"] = "2001:db8:0:1:1:1:1:1/128",
      ["::ffff:10.0.0.1"] = "10.0.0.1",
      ["::ffff:a00:1"] = "10.0.0.1",
      ["::ffff:10.0.0.0/120"] = "10.0.0.0/24",
      ["::ffff:0:0/96"] = "0.0.0.0/0",
    } do
      assert.are.equal(expected, tostring(cidr(text)))
    end
  end)

  it("writes each byte in decimal, wherever it stands", function()
    for byte = 0, 255 do
      for at = 1, 4 do
        local bytes = { 255, 0, 10, 9 }
        bytes[at] = byte
        local text = ("%d.%d.%d.%d"):format(table.unpack(bytes))
        assert.are.equal(text, cidr(text).address)
        assert.are.equal(string.char(table.unpack(bytes)), cidr(text).bytes)
      end
    end
    for prefix = 0, 32 do
      local text = ("192.0.2.0/%d"):format(prefix)
      assert.are.equal(text, tostring(cidr(text)))
    end
    for prefix = 0, 128 do
      local text = ("2001:db8::/%d"):format(prefix)
      assert.are.equal(text, tostring(cidr(text)))
    end
  end)

  it("tells its family, prefix, address, network and bytes", function()
    local four, six = cidr "10.244.1.7/24", cidr "fd00:1::7/64"
    assert.are.same({ "inet", 24, "10.244.1.7", "10.244.1.0/24", "\10\244\1\7" },
      { four.family, four.prefix, four.address, tostring(four.network), four.bytes })
    assert.are.same({ "inet6", 64, "fd00:1::7", "fd00:1::/64" },
      { six.family, six.prefix, six.address, tostring(six.network) })
    assert.are.equal("\xfd\0\0\1" .. ("\0"):rep(11) .. "\7", six.bytes)
    assert.are.same({ 32, 128 }, { cidr("10.0.0.1").prefix, cidr("::1").prefix })
    assert.are.equal("10.0.0.1/32", tostring(cidr("10.0.0.1").network))
  end)

  for _, text in ipairs {
    "", "/", "/24", "10.0.0", "10.0.0.1.2", "10.0.0.256", "10.0.0.-1", "010.0.0.1", "10.0.0.01", "0x0a.0.0.1",
    "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/+1", "10.0.0.1/024", "10.0.0.1/24/24", "10.0.0.1/24 ",
    " 10.0.0.1", "10.0.0.1/2 4", "10.0.0.1/4294967320", "167772161", "10.0.0.1\0", "10.0.0.1/24\0x", "default",
    ":::", "1::2::3", "12345::", "g::", "fe80::1%eth0", "fe80::1%eth0/64", "::1/129", "::1/1e1", "::ffff:10.0.0.0/24",
    ("1"):rep(1000), "\xff\xfe", "1:2:3:4:5:6:7:8:9",
  } do
    it(("refuses %q"):format(text), function()
      local message = refusal(cidr, text)
      local value, why = cidr.parse(text)
      assert.is_nil(value)
      assert.is_string(why)
      assert.are.equal("cidr: " .. why, message)
      assert.is_falsy(message:find("[^ -~]"))
    end)
  end

  it("says what is wrong", function()
    assert.are.equal('cidr: "10.0.0.300/24" is not an IPv4 or IPv6 address', refusal(cidr, "10.0.0.300/24"))
    assert.are.equal('cidr: "10.0.0.1/33" has a prefix that is not a length from 0 to 32', refusal(cidr, "10.0.0.1/33"))
    assert.matches("zone", refusal(cidr, "fe80::1%eth0"))
  end)

  it("refuses what is neither text nor cidr", function()
    for _, value in ipairs { 1, true, {}, print } do
      assert.matches("expected an address as text or cidr", refusal(cidr, value))
      assert.is_nil((cidr.parse(value)))
    end
    assert.matches("got nil", select(2, cidr.parse()))
    assert.matches("got nil", refusal(cidr))
  end)

  it("is returned as it is when it is given instead of text", function()
    local value = cidr "10.0.0.1/8"
    assert.is_true(rawequal(value, cidr(value)))
    assert.is_true(rawequal(value, cidr.parse(value)))
    assert.is_true(cidr.is(value))
    assert.is_false(cidr.is "10.0.0.1/8")
  end)

  it("cannot be changed, and has no field that is not there", function()
    local value = cidr "10.0.0.1/8"
    assert.has_error(function() value.prefix = 9 end)
    assert.are.equal('cidr: a cidr has no "adress"; did you mean "address"?',
      refusal(function() return value.adress end))
    assert.are.equal('cidr: a cidr has no "containz"; did you mean "contains"?',
      refusal(function() return value:containz "10.0.0.1" end))
    assert.matches("no element of type number", refusal(function() return value[1] end))
  end)

  it("compares: IPv4 before IPv6, by address as a number, short prefixes first", function()
    local list = {}
    local sorted = {
      "9.0.0.0/8", "10.0.0.0/8", "10.0.0.0/16", "10.0.0.2", "10.0.0.10", "192.168.0.1/24", "::1", "fd00::/8",
    }
    for i, text in ipairs(sorted) do list[#sorted - i + 1] = cidr(text) end
    table.sort(list)
    for i, value in ipairs(list) do assert.are.equal(sorted[i], tostring(value)) end

    assert.is_true(cidr "10.0.0.1/24" == cidr "10.0.0.1/24")
    assert.is_true(cidr "10.0.0.1/32" == cidr "10.0.0.1")
    assert.is_false(cidr "10.0.0.1/24" == cidr "10.0.0.1/25")
    assert.is_false(cidr "0.0.0.0/0" == cidr "::/0")
    assert.is_true(cidr "10.0.0.1" <= cidr "10.0.0.1")
    assert.is_true(cidr "10.0.0.1" < "10.0.0.2")
  end)

  it("contains networks and addresses, of its own family only", function()
    local net = cidr "10.244.1.0/24"
    for text, expected in pairs {
      ["10.244.1.0"] = true, ["10.244.1.255"] = true, ["10.244.2.0"] = false, ["10.244.0.255"] = false,
      ["10.244.1.0/25"] = true, ["10.244.1.0/24"] = true, ["10.244.0.0/23"] = false, ["0.0.0.0/0"] = false,
      ["10.244.1.7/16"] = true, -- a host is looked for by its address
      ["::a:f4:1:1"] = false, ["::ffff:10.244.1.9"] = true,
    } do
      assert.are.equal(expected, net:contains(text), text)
    end
    assert.is_true(cidr("0.0.0.0/0"):contains "255.255.255.255")
    assert.is_true(cidr("::/0"):contains "ffff::")
    assert.is_false(cidr("::/0"):contains "10.0.0.1")
    assert.is_true(cidr("10.0.0.0/31"):contains "10.0.0.1")
    assert.is_false(cidr("10.0.0.0/31"):contains "10.0.0.2")
    assert.is_true(cidr("10.0.0.1"):contains "10.0.0.1/32")
    assert.is_true(cidr("fd00::/127"):contains "fd00::1")
    assert.is_false(cidr("fd00::/127"):contains "fd00::2")
    assert.matches("not an IPv4", refusal(net.contains, net, "nonsense"))
  end)

  it("overlaps when either holds the other", function()
    assert.is_true(cidr("10.0.0.0/8"):overlaps "10.1.0.0/16")
    assert.is_true(cidr("10.1.0.0/16"):overlaps "10.0.0.0/8")
    assert.is_true(cidr("10.1.0.9/16"):overlaps "10.1.7.0/24")
    assert.is_false(cidr("10.1.0.0/16"):overlaps "10.2.0.0/16")
    assert.is_true(cidr("0.0.0.0/0"):overlaps "1.2.3.4")
    assert.is_false(cidr("0.0.0.0/0"):overlaps "::/0")
  end)

  it("counts its addresses", function()
    assert.are.same({ 1, 2, 256, 1 << 32 },
      { cidr("10.0.0.1"):size(), cidr("10.0.0.0/31"):size(), cidr("10.0.0.0/24"):size(), cidr("0.0.0.0/0"):size() })
    assert.are.equal("integer", math.type(cidr("fd00::/66"):size()))
    assert.are.equal(1 << 62, cidr("fd00::/66"):size())
    assert.are.equal(2.0 ^ 64, cidr("fd00::/64"):size())
    assert.are.equal(2.0 ^ 128, cidr("::/0"):size())
  end)

  it("gives the n-th address of its network, from either end, with its own prefix", function()
    local net = cidr "10.244.1.77/24"
    assert.are.equal("10.244.1.0/24", tostring(net:nth(0)))
    assert.are.equal("10.244.1.1/24", tostring(net:nth(1)))
    assert.are.equal("10.244.1.255/24", tostring(net:nth(255)))
    assert.are.equal("10.244.1.255/24", tostring(net:nth(-1)))
    assert.are.equal("10.244.1.0/24", tostring(net:nth(-256)))
    assert.are.equal("10.0.1.4/16", tostring(cidr("10.0.0.0/16"):nth(260)))
    assert.are.equal("fd00::1:0:0/64", tostring(cidr("fd00::/64"):nth(1 << 32)))
    assert.are.equal("fd00::7fff:ffff:ffff:ffff/64", tostring(cidr("fd00::/64"):nth(math.maxinteger)))
    assert.are.equal("fd00::8000:0:0:0/64", tostring(cidr("fd00::/64"):nth(math.mininteger)))
    assert.are.equal("10.0.0.1", tostring(cidr("10.0.0.1"):nth(0)))
    assert.are.equal("255.255.255.255/0", tostring(cidr("0.0.0.0/0"):nth(-1)))
    assert.are.equal("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0", tostring(cidr("::/0"):nth(-1)))
    for _, n in ipairs { 256, -257, math.maxinteger, math.mininteger } do
      assert.matches("10.244.1.77/24 has no address number " .. ("%d"):format(n):gsub("-", "%%-"),
        refusal(net.nth, net, n))
    end
    assert.matches("no address number 2", refusal(net.nth, cidr "10.0.0.0/31", 2))
    assert.matches("no address number 1", refusal(net.nth, cidr "fd00::/128", 1))
  end)

  it("steps to the next address across byte borders, and nowhere after the last", function()
    assert.are.equal("10.0.1.0/24", tostring(cidr("10.0.0.255/24"):next()))
    assert.are.equal("11.0.0.0", tostring(cidr("10.255.255.255"):next()))
    assert.are.equal("fd00:0:0:1::/64", tostring(cidr("fd00::ffff:ffff:ffff:ffff/64"):next()))
    assert.is_nil(cidr("255.255.255.255/8"):next())
    assert.is_nil(cidr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"):next())
    assert.are.equal("0.0.0.1", tostring(cidr("0.0.0.0"):next()))
  end)

  it("knows its last address, and whether it is a host", function()
    assert.are.equal("10.0.0.255/24", tostring(cidr("10.0.0.7/24"):last()))
    assert.are.equal("fd00::ffff:ffff:ffff:ffff/64", tostring(cidr("fd00::/64"):last()))
    assert.is_true(cidr("10.0.0.7/24"):is_host())
    assert.is_false(cidr("10.0.0.0/24"):is_host())
    assert.is_true(cidr("10.0.0.0"):is_host())
    assert.is_true(cidr("10.0.0.1/31"):is_host())
    assert.is_false(cidr("::/0"):is_host())
    assert.is_true(cidr("::1/0"):is_host())
  end)

  it("takes another prefix, or none", function()
    assert.are.equal("10.0.0.7/16", tostring(cidr("10.0.0.7/24"):with_prefix(16)))
    assert.are.equal("10.0.0.7", tostring(cidr("10.0.0.7/24"):with_prefix()))
    assert.are.equal(32, cidr("10.0.0.7/24"):with_prefix().prefix)
    assert.are.equal("::/0", tostring(cidr("::/64"):with_prefix(0)))
    assert.matches("prefix 33 is not a length from 0 to 32", refusal(cidr("10.0.0.7").with_prefix, "10.0.0.7", 33))
    assert.matches("prefix %-1", refusal(cidr("::").with_prefix, "::", -1))
  end)

  it("iterates over the addresses a host may have", function()
    local function hosts(text)
      local list = {}
      for host in cidr(text):hosts() do
        list[#list + 1] = tostring(host)
        if #list == 5 then break end
      end
      return list
    end
    assert.are.same({ "10.0.0.1/30", "10.0.0.2/30" }, hosts "10.0.0.0/30")
    assert.are.same({ "10.0.0.0/31", "10.0.0.1/31" }, hosts "10.0.0.1/31")
    assert.are.same({ "10.0.0.1/32" }, hosts "10.0.0.1/32")
    assert.are.same({ "10.0.0.1" }, hosts "10.0.0.1")
    assert.are.same({ "fd00::1/126", "fd00::2/126", "fd00::3/126" }, hosts "fd00::/126")
    assert.are.same({ "fd00::/127", "fd00::1/127" }, hosts "fd00::/127")
    assert.are.same({ "fd00::9/128" }, hosts "fd00::9/128")
    assert.are.same({ "::1/0", "::2/0", "::3/0", "::4/0", "::5/0" }, hosts "::/0")
    assert.are.same({ "255.255.255.254/31", "255.255.255.255/31" }, hosts "255.255.255.254/31")

    local count = 0
    for _ in cidr("10.0.0.0/22"):hosts() do count = count + 1 end
    assert.are.equal(1022, count)
  end)
end)

describe("cidrs in general", function()
  local rng = math.random
  before_each(function() math.randomseed(20240607) end)

  for _, family in ipairs { "inet", "inet6" } do
    local full = family == "inet" and 32 or 128

    it(("of %s survive being printed and read again"):format(family), function()
      for _ = 1, 500 do
        local value = cidr(random_address(rng, family) .. "/" .. rng(0, full))
        assert.is_true(value == cidr(tostring(value)))
        assert.are.equal(tostring(value), tostring(cidr(tostring(value))))
      end
    end)

    it(("of %s contain exactly the addresses that share their first bits"):format(family), function()
      for _ = 1, 500 do
        local prefix = rng(0, full)
        local net = cidr(random_address(rng, family) .. "/" .. prefix).network
        local other = cidr(random_address(rng, family))
        if rng(0, 1) == 0 then other = net:nth(rng(0, prefix == full and 0 or 1)):with_prefix() end
        local expected = bits(net):sub(1, prefix) == bits(other):sub(1, prefix)
        assert.are.equal(expected, net:contains(other))
        assert.are.equal(expected, net:overlaps(other))
        assert.are.equal(expected, other:overlaps(net))
        assert.is_true(net:contains(net))
        assert.is_true(net:contains(net:last()))
        assert.are.equal(("0"):rep(full - prefix), bits(net):sub(prefix + 1))
        assert.are.equal(("1"):rep(full - prefix), bits(net:last()):sub(prefix + 1))
      end
    end)

    it(("of %s: the next of the n-th is the n+1-th, counted from either end"):format(family), function()
      for _ = 1, 500 do
        local prefix = rng(0, full - 2)
        local net = cidr(random_address(rng, family) .. "/" .. prefix)
        local size = net:size()
        local n = rng(0, math.type(size) == "integer" and size - 2 or math.maxinteger - 1)
        local here = net:nth(n)
        assert.is_true(here:next() == net:nth(n + 1))
        assert.is_true(here < net:nth(n + 1))
        assert.is_true(net:contains(here))
        if math.type(size) == "integer" then assert.is_true(here == net:nth(n - size)) end
      end
    end)

    it(("of %s are ordered as their bytes are"):format(family), function()
      for _ = 1, 500 do
        local a, b = cidr(random_address(rng, family)), cidr(random_address(rng, family))
        assert.are.equal(a.bytes < b.bytes, a < b)
        assert.are.equal(a.bytes <= b.bytes, a <= b)
        assert.are.equal(a.bytes == b.bytes, a == b)
      end
    end)
  end
end)
