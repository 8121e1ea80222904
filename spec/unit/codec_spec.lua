-- SPDX-License-Identifier: Apache-2.0
-- The codec without a kernel: what goes in comes out, and what is wrong is named.
local core = require "mncni.core"

local schema = core.schema()

local function sorted(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return ipairs(keys)
end

-- Values that a field can have, the extreme ones among them; nil, true for a field that cannot stand alone.
local values

local function of_fields(fields, extra)
  local all = {}
  for _, key in sorted(fields) do
    for _, value in ipairs(values(fields[key])) do
      local one = { [key] = value }
      for k, v in pairs(extra or {}) do
        one[k] = v
      end
      all[#all + 1] = one
    end
  end
  return all
end

local function of_list(field)
  local all = {}
  for _, one in ipairs(of_fields(field.fields)) do
    all[#all + 1] = { one }
  end
  for _, kind in sorted(field.kinds or {}) do
    local many = of_fields(field.kinds[kind], { kind = kind })
    many[#many + 1] = { kind = kind }
    all[#all + 1] = many
  end
  return all
end

local makers = {
  integer = function(field) return { field.min, field.max, (field.min + field.max) // 2 } end,
  boolean = function() return { true, false } end,
  name = function(field) return field.values end,
  names = function(field) return { { field.values[1] }, { field.values[1], field.values[#field.values] } } end,
  string = function(field) return { "x", ("y"):rep(field.max or 20) } end,
  bytes = function() return { "\0\1\2" } end,
  mac = function() return { "02:00:00:00:0a:ff" } end,
  bridge_id = function() return { "8000.02:00:00:00:00:01" } end,
  address = function(field)
    return field.family == "inet6" and { "fd00::7" } or field.family and { "10.1.2.3" } or { "10.1.2.3", "fd00::7" }
  end,
  cidr = function() return { "10.1.0.0/16", "fd00:1::/64" } end,
  link = function() return { 5, 0x7fffffff } end,
  netns = function() return { { fd = 7 } } end,
  range = function() return { 7, "5-9" } end,
  via = function() return { { family = "inet6", host = "fd00::1" }, { family = "inet", host = "10.0.0.1" } } end,
  data = function() return { "\10\0\0\1", { verdict = "drop" }, { verdict = "jump", chain = "x" } } end,
  strings = function() return { { "a", "bc" } } end,
  handle = function() return { "root", "ingress", "1:", "1:10", "ffff:fff3" } end,
  burst = function() return {} end, -- by itself it cannot be told: spec/unit/tc_spec.lua
  share = function() return { 0.0, 1.0 } end,
  table = function(field)
    return field.of and { { ifname = "x", mtu = 1500, up = true } } or of_fields(field.fields)
  end,
  list = of_list,
}

-- A VLAN alone, one with flags, and a range; there is no range without a beginning.
local vlans = {
  { { vlan = 1 } }, { { vlan = 4094, flags = { "PVID", "Egress Untagged" } }, { vlan = 2, vlanEnd = 4093 } },
}

function values(field)
  if field.type == "boolean" and field.attr:match "^IFLA_VXLAN_G[BP]" or field.attr:match "_FLUSH$"
    or field.attr == "IFLA_VXLAN_TTL_INHERIT" then
    return { true } -- told by its presence, so false reads as absent
  end
  if field.attr == "IFLA_BRIDGE_VLAN_INFO" then
    return vlans
  end
  return assert(makers[field.type], field.type)(field)
end

-- What else has to be given for a key to make sense, and what the decoder says instead of nothing.
local companions = {
  addr = { peer = { address = "10.0.0.1/32" } },
}

local unsaid = {
  rule = { suppress_prefixlength = -1 },
  link = { ifindex = false },
}

local function round_trip(object, key, value)
  local args = { [key] = value }
  for k, v in pairs(companions[object] and companions[object][key] or {}) do
    args[k] = type(value) == "string" and value:find(":") and "fd00::9/128" or v
  end
  local bytes = core.encode("new", object, args)
  local list = core.decode(bytes)
  assert.equal(1, #list)
  assert.equal(object, list[1].object)
  assert.equal("new", list[1].event)
  return list[1].value, bytes
end

-- Whether all of want is in have.
local function contains(want, have, path)
  if type(want) ~= "table" then
    assert.equal(want, have, path)
    return
  end
  assert.is_table(have, path)
  for k, v in pairs(want) do
    -- There is nobody to ask for a link's name, so its index is what comes back.
    contains(v, have[k == "dev" and math.type(v) and "ifindex" or k], path .. "." .. tostring(k))
  end
end

describe("the codec", function()
  for _, object in sorted(schema) do
    it("gives back every value of every key of a " .. object, function()
      local seen = 0
      for _, key in sorted(schema[object]) do
        for _, value in ipairs(values(schema[object][key])) do
          -- A forwarding entry's family is given by what it is; a family alone is a message's, not an object's.
          local fixed = key == "family" and (object == "fdb" and value ~= "bridge"
            or value == "bridge" and (object == "neigh"))
          if not fixed and not (unsaid[object] and unsaid[object][key] == value) then
            local decoded = round_trip(object, key, value)
            local field = schema[object][key]
            contains(value, decoded[key == "dev" and field.type == "link" and "ifindex" or key], object .. "." .. key)
            seen = seen + 1
          end
        end
      end
      assert.is_true(seen >= 3)
    end)
  end

  it("encodes what it decoded to the same bytes", function()
    for _, case in ipairs {
      { "link", { ifindex = 3, ifname = "v0", kind = "vxlan", vxlan = { id = 5, port = 4789 }, mtu = 1400 } },
      { "route", { dst = "10.0.0.0/8", table = 1000,
        nexthops = { { gateway = "10.9.0.1", ifindex = 4, weight = 3 } } } },
      { "addr", { address = "fd00::2/64", ifindex = 2, flags = { "nodad" } } },
      { "nft_rule", { family = "inet", table = "t", chain = "c", comment = "x",
        expr = { { kind = "meta", key = "nfproto", dreg = 1 }, { kind = "cmp", sreg = 1, op = "eq", data = "\2" } } } },
    } do
      local value = core.decode(core.encode("new", case[1], case[2]))[1].value
      local bytes = core.encode("new", case[1], value)
      assert.same(value, core.decode(bytes)[1].value)
      assert.equal(bytes, core.encode("new", case[1], core.decode(bytes)[1].value))
    end
  end)

  it("keeps attributes that it does not know, wherever they are", function()
    local raw = {
      [4000] = "abc", [0x8000 | 4001] = "\0\0", [4002] = "",
      IFLA_LINKINFO = { [77] = "in linkinfo", IFLA_INFO_DATA = { [3] = "of a kind without a table" } },
      IFLA_AF_SPEC = { [44] = "x", AF_INET6 = { [99] = "yz" } },
    }
    local args = { ifname = "x", kind = "dummy", raw = raw, bridge_slave = { cost = 7, raw = { [500] = "q" } } }
    local value = core.decode(core.encode("new", "link", args))[1].value
    assert.same(raw, value.raw)
    assert.same({ [500] = "q" }, value.bridge_slave.raw)
    assert.same(raw, core.decode(core.encode("new", "link", value))[1].value.raw)
    args = { dst = "10.0.0.0/8", metrics = { raw = { [200] = "m" } } }
    assert.same({ [200] = "m" }, core.decode(core.encode("new", "route", args))[1].value.metrics.raw)
  end)

  it("keeps an attribute that is too short for its row as bytes", function()
    local value = core.decode(core.encode("new", "link", { raw = { [4] = "\1" } }))[1].value
    assert.is_nil(value.mtu)
    assert.same({ [4] = "\1" }, value.raw)
  end)

  it("zeroes what is padding", function()
    local a = core.encode("add", "link", { ifname = "abcdefghi", kind = "bridge" })
    core.encode("add", "link", { ifname = "\255\255\255\255\255\255\255\255\255", kind = "bridge" })
    assert.equal(a, core.encode("add", "link", { ifname = "abcdefghi", kind = "bridge" }))
    assert.equal("abcdefghi\0\0\0", a:sub(37, 48))
  end)

  it("takes addresses as strings and as values", function()
    for _, text in ipairs { "10.1.2.3", "fd00::3" } do
      local as_text = core.encode("add", "route", { dst = text, gateway = text })
      assert.equal(as_text, core.encode("add", "route", { dst = core.cidr(text), gateway = core.cidr(text) }))
    end
  end)

  it("says default, and takes a prefix of length 0 for it", function()
    assert.equal("default", core.decode(core.encode("new", "route", { dst = "default" }))[1].value.dst)
    assert.equal("default", core.decode(core.encode("new", "route", { dst = "::/0" }))[1].value.dst)
    assert.equal(core.encode("add", "route", { dst = "default", gateway = "10.0.0.1" }),
      core.encode("add", "route", { dst = "0.0.0.0/0", gateway = "10.0.0.1" }))
  end)

  it("reads tables above 255", function()
    local value = core.decode(core.encode("add", "route", { dst = "10.0.0.0/8", table = 70000 }))[1].value
    assert.equal(70000, value.table)
    assert.equal("main", core.decode(core.encode("add", "route", { dst = "10.0.0.0/8" }))[1].value.table)
  end)

  it("fills in what ip fills in", function()
    local function route(args)
      return core.decode(core.encode("add", "route", args))[1].value
    end
    assert.equal("link", route { dst = "10.0.0.0/8", ifindex = 2 }.scope)
    assert.equal("global", route { dst = "10.0.0.0/8", gateway = "10.0.0.1" }.scope)
    assert.equal("boot", route { dst = "10.0.0.0/8", ifindex = 2 }.protocol)
    assert.equal("local", route { dst = "10.0.0.1", ifindex = 2, type = "local" }.table)
    assert.equal("mncni", route { dst = "10.0.0.0/8", ifindex = 2, protocol = 78 }.protocol)
  end)

  it("writes and reads the kinds of links that stand on others, with the keys of `ip -json`", function()
    for kind, options in pairs {
      vlan = { id = 5, protocol = "802.1ad", flags = { "REORDER_HDR", "GVRP" } },
      macvlan = { mode = "private", bcqueuelen = 5000, flags = { "nopromisc" } },
      macvtap = { mode = "passthru" },
      ipvlan = { mode = "l3s", flags = { "vepa" } },
      vrf = { table = 1001 },
    } do
      local value = core.decode(core.encode("add", "link",
        { ifname = "x", kind = kind, link = 7, link_netnsid = 0, [kind] = options }))[1].value
      assert.same({ kind, 7, 0 }, { value.kind, value.link, value.link_netnsid })
      for key, want in pairs(options) do
        assert.same(want, value[kind][key], kind .. "." .. key)
      end
    end
  end)

  it("refuses values that such kinds do not take, naming the key", function()
    for _, case in ipairs {
      { "vlan", { id = 4095 }, "from 0 to 4094, got 4095 at vlan.id (IFLA_VLAN_ID)" },
      { "macvlan", { mode = "brigde" }, 'the nearest known name is "bridge" at macvlan.mode' },
      { "ipvlan", { mode = "l4" }, "at ipvlan.mode" },
      { "vrf", { table = 0 }, "at vrf.table (IFLA_VRF_TABLE)" },
      { "vrf", { tabel = 1 }, 'unknown key "vrf.tabel", the nearest known one is "table"' },
      { "tun", { persist = true }, "is told by the kernel and cannot be set" },
    } do
      local _, err = pcall(core.encode, "add", "link", { ifname = "x", kind = case[1], [case[1]] = case[2] })
      assert.matches(case[3], tostring(err), 1, true)
    end
  end)

  it("sets in a second message what the kernel ignores while it creates a link", function()
    local list = core.decode(core.encode("add", "link",
      { ifname = "v0", kind = "veth", ifalias = "pod", bridge_slave = { hairpin = true }, peer = { ifname = "v1" } }))
    assert.equal(2, #list)
    assert.is_nil(list[1].value.ifalias)
    assert.is_nil(list[1].value.bridge_slave)
    assert.equal("v1", list[1].value.peer.ifname)
    assert.equal("pod", list[2].value.ifalias)
    assert.same({ hairpin = true }, list[2].value.bridge_slave)
    assert.is_nil(list[2].value.peer)
  end)

  it("writes a CIDR in a set as where it starts and the first address after it", function()
    local function keys(elem)
      local value = core.decode(core.encode("add", "nft_element",
        { family = "inet", table = "t", name = "s", elem = elem }))[1].value
      local list = {}
      for i, one in ipairs(value.elem) do
        list[i] = one.key .. (one.flags and "!" or "")
      end
      return list
    end
    assert.same({ "\10\0\0\0", "\11\0\0\0!" }, keys { "10.0.0.0/8" })
    assert.same({ "\10\0\0\0", "\11\0\0\0!" }, keys "10.0.0.0/8")
    assert.same({ "\10\0\0\7" }, keys { { val = "10.0.0.7" } })
    assert.same({ "\10\255\255\0", "\11\0\0\0!" }, keys { "10.255.255.0/24" })
    assert.same({ "\255\0\0\0" }, keys { "255.0.0.0/8" })
    assert.same({ "\0\0\0\0" }, keys { "0.0.0.0/0" })
    assert.same({ "\10\0\0\1", "\10\0\0\6!" }, keys { "10.0.0.1-10.0.0.5" })
    assert.same({ "\253" .. ("\0"):rep(15), "\254" .. ("\0"):rep(15) .. "!" }, keys { "fd00::/8" })
    assert.same({ "ab" }, keys { { key = "ab" } })
    assert.same({ "\0\80" }, keys { { key = { be16 = 80 } } })
    assert.same({ "eth0" .. ("\0"):rep(12) .. "\10\0\0\1" },
      keys { { key = { { ifname = "eth0" }, { address = "10.0.0.1" } } } })
  end)

  it("joins the types of a set's key, and knows how long it is", function()
    local function set(type)
      local bytes = core.encode("add", "nft_set", { family = "bridge", table = "t", name = "s", type = type })
      local value = core.decode(bytes)[1].value
      return value.type, value.key_len
    end
    local function is(want_type, want_length, given)
      local type, length = set(given)
      assert.same({ want_type, want_length }, { type, length })
    end
    is({ "ifname", "ether_addr", "ipv4_addr" }, 28, { "ifname", "ether_addr", "ipv4_addr" })
    is({ "ether_addr", "ipv6_addr" }, 24, { "ether_addr", "ipv6_addr" })
    is({ "ifname", "ether_addr" }, 24, 41 << 6 | 9)
    is("ether_addr", 6, { "ether_addr" })
    is(41 << 6 | 63, 20, 41 << 6 | 63) -- a type that has no name here
  end)
end)

describe("a wrong argument", function()
  local function refusal(verb, object, args)
    local ok, err = pcall(core.encode, verb, object, args)
    assert.is_false(ok)
    assert.is_true(core.is_error(err), tostring(err))
    assert.equal(verb, err.op)
    return err
  end

  local cases = {
    { "an unknown key, with the nearest known one", "link", { ifname = "x", mtuu = 1 },
      'add link "x": unknown key "mtuu", the nearest known one is "mtu"' },
    { "an unknown key of a nest", "link", { ifname = "x", bridge = { stp_stat = true } },
      'unknown key "bridge.stp_stat", the nearest known one is "stp_state"' },
    { "a key of another kind of expression", "nft_rule",
      { family = "inet", table = "t", chain = "c", expr = { { kind = "masq", base = "network" } } },
      'unknown key "expr.base"' },
    { "a value of the wrong type", "link", { ifname = "x", mtu = "big" },
      'expected an integer from 0 to 4294967295, got "big" at mtu (IFLA_MTU)' },
    { "a value out of range", "link", { ifname = "x", bridge = { vlan_default_pvid = 5000 } },
      "expected an integer from 0 to 4094, got 5000 at bridge.vlan_default_pvid (IFLA_BR_VLAN_DEFAULT_PVID)" },
    { "a number that is no integer", "link", { ifname = "x", mtu = 1.5 }, "got 1.5 at mtu (IFLA_MTU)" },
    { "a name that is too long", "link", { ifname = ("x"):rep(16) }, "at most 15 characters" },
    { "a name with a zero byte", "link", { ifname = "a\0b" }, "without zero bytes" },
    { "a name that is unknown, with the nearest one", "route", { dst = "10.0.0.0/8", protocol = "statik" },
      '"statik" is unknown, the nearest known name is "static" at protocol (rtm_protocol)' },
    { "a flag that is unknown", "addr", { address = "10.0.0.1/8", ifindex = 1, flags = { "nodda" } },
      '"nodda" is unknown, the nearest known name is "nodad"' },
    { "what is no address", "route", { dst = "10.0.0.300" }, 'or "default", got "10.0.0.300" at dst (RTA_DST)' },
    { "a prefix that is too long", "addr", { address = "10.0.0.1/33", ifindex = 1 }, 'got "10.0.0.1/33"' },
    { "addresses of two families", "route", { dst = "10.0.0.0/8", gateway = "fd00::1" },
      "a gateway of another family is given as via" },
    { "what only the kernel sets", "link", { ifname = "x", qdisc = "fq" }, "is told by the kernel and cannot be set" },
    { "a MAC address that is none", "link", { ifname = "x", address = "02:00:00:00:00" }, "expected a MAC address" },
    { "a kind and the data of another", "link", { ifname = "x", kind = "veth", bridge = {} },
      'kind is "veth", so there can be no bridge' },
    { "a peer beside the data of another kind", "link", { ifname = "x", vxlan = { id = 1 }, peer = { ifname = "y" } },
      "vxlan and peer exclude each other" },
    { "a peer that shall be up", "link", { ifname = "x", kind = "veth", peer = { ifname = "y", up = true } },
      "a peer cannot be set up while it is created" },
    { "a peer's alias", "link", { ifname = "x", kind = "veth", peer = { ifalias = "y" } },
      "ifalias cannot be set while" },
    { "a link's name without a socket", "addr", { dev = "eth0", address = "10.0.0.1/8" }, "without a socket" },
    { "raw that is no bytes", "link", { ifname = "x", raw = { [5] = 5 } }, "raw holds byte strings" },
    { "a missing name", "nft_table", { family = "inet" }, "required, and not given at name (NFTA_TABLE_NAME)" },
    { "a missing family", "nft_table", { name = "t" }, "at family (nfgen_family)" },
    { "host bits in an element", "nft_element", { family = "ip", table = "t", name = "s", elem = { "10.0.0.1/8" } },
      "bits set behind its prefix length" },
    { "a key that is no name", "link", { "x" }, "keys are names" },
    { "a joined type that is unknown", "nft_set",
      { family = "ip", table = "t", name = "s", type = { "ifname", "ipv4" } },
      '"ipv4" is unknown, the nearest known name is "ipv4_addr" at type (NFTA_SET_KEY_TYPE)' },
    { "types that are no names", "nft_set", { family = "ip", table = "t", name = "s", type = { { "ifname" } } },
      "expected a list of names, got a table" },
    { "more types than can be joined", "nft_set", { family = "ip", table = "t", name = "s",
      type = { "mark", "mark", "mark", "mark", "mark", "mark" } }, "expected a list of 1 to 5 names, got 6" },
  }

  for _, case in ipairs(cases) do
    it("names " .. case[1], function()
      assert.is_truthy(tostring(refusal("add", case[2], case[3])):find(case[4], 1, true),
        tostring(refusal("add", case[2], case[3])))
    end)
  end

  it("cannot delete everything by leaving out what to delete", function()
    local rule = { family = "inet", table = "t", chain = "c" }
    assert.matches("del needs handle; flush removes all", tostring(refusal("del", "nft_rule", rule)))
    assert.matches("del needs elem; flush removes all",
      tostring(refusal("del", "nft_element", { family = "inet", table = "t", name = "s" })))
    assert.is_string(core.encode("flush", "nft_rule", rule))
  end)

  it("names verbs and objects that are none", function()
    assert.has_error(function() core.encode("destroy", "link", {}) end)
    assert.matches('there is no object "lnik".* the nearest is "link"', tostring(select(2,
      pcall(core.encode, "add", "lnik", {}))))
    assert.matches("there is no append for a link", tostring(refusal("append", "link", { ifname = "x" })))
  end)
end)

describe("the decoder", function()
  it("leaves half a message out, and takes garbage for what it is", function()
    local bytes = core.encode("new", "link", { ifname = "x" })
    assert.equal(0, #core.decode(bytes:sub(1, -2)))
    assert.equal(0, #core.decode "")
    assert.equal(0, #core.decode "abc")
    assert.equal(1, #core.decode(bytes .. "abc"))
    local list = core.decode(("\16\0\0\0\255\0\0\0\1\0\0\0\2\0\0\0"))
    assert.same({ { type = 255, flags = 0, seq = 1, portid = 2 } }, list)
  end)

  it("survives messages with any byte changed", function()
    math.randomseed(4711)
    local seeds = {
      core.encode("new", "link", { ifname = "x", kind = "veth", address = "02:00:00:00:00:01",
        bridge_slave = { cost = 5 }, peer = { ifname = "y", kind = "bridge", bridge = { priority = 3 } } }),
      core.encode("new", "route", { dst = "10.0.0.0/8", metrics = { mtu = 1400, lock = { "mtu" } },
        nexthops = { { gateway = "10.0.0.1", ifindex = 3 }, { via = { host = "fd00::1" }, ifindex = 4 } } }),
      core.encode("new", "rule", { src = "fd00::/8", sport = "1-5", uidrange = "0-9", fwmark = 5, table = 1000 }),
      core.encode("new", "addr", { address = "10.0.0.1/8", valid_life_time = 5, label = "x" }),
      core.encode("new", "neigh", { dst = "10.0.0.1", lladdr = "02:00:00:00:00:01", ifindex = 3 }),
      core.encode("new", "fdb", { mac = "02:00:00:00:00:01", dst = "fd00::1", vni = 5, ifindex = 3 }),
      core.encode("new", "nft_rule", { family = "inet", table = "t", chain = "c", comment = "abc", expr = {
        { kind = "payload", base = "network", offset = 12, len = 4, dreg = 1 }, { kind = "masq" },
        { kind = "immediate", dreg = 0, data = { verdict = "jump", chain = "z" } } } }),
      core.encode("new", "nft_element", { family = "ip", table = "t", name = "s", elem = { "10.0.0.0/8", "1.2.3.4" } }),
    }
    for i = 1, 20000 do
      local bytes = seeds[i % #seeds + 1]
      for _ = 1, math.random(4) do
        local at = math.random(5, #bytes)
        bytes = bytes:sub(1, at - 1) .. string.char(math.random(0, 255)) .. bytes:sub(at + 1)
      end
      for _, message in ipairs(core.decode(bytes)) do
        if message.event == "new" then
          pcall(core.encode, "new", message.object, message.value)
        end
      end
    end
  end)
end)

describe("the schema", function()
  it("tells type, attribute, range and names of each key", function()
    assert.same({ type = "integer", attr = "IFLA_MTU", min = 0, max = 4294967295 }, schema.link.mtu)
    assert.equal("IFLA_BR_STP_STATE", schema.link.bridge.fields.stp_state.attr)
    assert.same({ "default", "main", "local" }, schema.route.table.values)
    assert.is_true(schema.link.min_mtu.readonly)
    assert.equal("link", schema.link.peer.of)
    assert.is_table(schema.nft_rule.expr.kinds.payload.base)
  end)
end)
