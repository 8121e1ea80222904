-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local options = require "mncni.options"
local json, cidr = core.json, core.cidr

local function refusal(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  return tostring(err), err.code
end

local declared = {
  bridge = { type = "string", default = "cbr0", min = 1, max = 15, doc = "The bridge's name." },
  mtu = { type = "integer", min = 576, max = 65535, auto = function() return 1450 end },
  hairpin = { type = "boolean", default = true },
  mode = { type = "string", choices = { "bridge", "ptp", "routed" }, default = "bridge" },
  weight = { type = "number", max = 1 },
  gateway = { type = "cidr" },
  dns = { type = "list", of = { type = "cidr" }, max = 3 },
  labels = { type = "table", of = { type = "string" } },
  args = { type = "table" },
  ipam = {
    type = "table",
    fields = {
      type = { type = "string", default = "host-local" },
      ranges = {
        type = "list",
        of = { type = "list", of = { type = "table", fields = { subnet = { type = "cidr", required = true } } } },
      },
    },
  },
}

local function check(text, opts)
  return options.check(declared, json.decode(text), opts)
end

describe("the options of a policy", function()
  it("are complete when nothing is given", function()
    local expected = { bridge = "cbr0", mtu = 1450, hairpin = true, mode = "bridge" }
    assert.are.same(expected, (options.check(declared, {})))
    assert.are.same(expected, (options.check(declared, nil)))
    assert.are.same(expected, (check '{"bridge":null,"mtu":null,"dns":null,"ipam":null}'))
    assert.are.same({}, (options.check({}, {})))
  end)

  it("arrive as what they were declared to be", function()
    local conf = check [[{
      "bridge": "br1", "mtu": 9000, "hairpin": false, "mode": "ptp", "weight": 0.5, "gateway": "10.0.0.1",
      "dns": ["10.0.0.10", "fd00::a"], "labels": {"a": "b"}, "args": {"x": [1, {}]},
      "ipam": {"ranges": [ [{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00::/64"}] ]}
    }]]
    assert.are.equal(9000, conf.mtu)
    assert.is_false(conf.hairpin)
    assert.are.equal("10.0.0.1", tostring(conf.gateway))
    assert.is_true(cidr.is(conf.dns[2]))
    assert.is_true(json.is_array(conf.dns))
    assert.are.equal("host-local", conf.ipam.type)
    assert.are.equal(64, conf.ipam.ranges[2][1].subnet.prefix)
    assert.are.same({ x = { 1, {} } }, conf.args)
    assert.are.same({ a = "b" }, conf.labels)
  end)

  it("take what Lua makes of the same things", function()
    local conf = options.check(declared, { mtu = 3000 / 2, gateway = cidr "10.0.0.1", dns = {}, args = {} })
    assert.are.equal("integer", math.type(conf.mtu))
    assert.are.equal(1500, conf.mtu)
    assert.are.equal(cidr "10.0.0.1", conf.gateway)
    assert.are.equal("[]", json.encode(conf.dns))
    assert.are.equal(1000, check '{"mtu":1e3}'.mtu)
  end)

  for text, expected in pairs {
    ['{"bridge":1}'] = 'option "bridge": expected a string of 1 to 15 bytes, got 1',
    ['{"bridge":""}'] = 'option "bridge": expected a string of 1 to 15 bytes, got the string ""',
    ['{"bridge":"0123456789abcdef"}'] =
      'option "bridge": expected a string of 1 to 15 bytes, got the string "0123456789abcdef"',
    ['{"bridge":["br0"]}'] = 'option "bridge": expected a string of 1 to 15 bytes, got an array',
    ['{"mtu":"1500"}'] = 'option "mtu": expected an integer from 576 to 65535, got the string "1500"',
    ['{"mtu":12}'] = 'option "mtu": expected an integer from 576 to 65535, got 12',
    ['{"mtu":65536}'] = 'option "mtu": expected an integer from 576 to 65535, got 65536',
    ['{"mtu":1500.5}'] = 'option "mtu": expected an integer from 576 to 65535, got the number 1500.5',
    ['{"mtu":true}'] = 'option "mtu": expected an integer from 576 to 65535, got true',
    ['{"mtu":{}}'] = 'option "mtu": expected an integer from 576 to 65535, got an object',
    ['{"hairpin":"yes"}'] = 'option "hairpin": expected true or false, got the string "yes"',
    ['{"hairpin":1}'] = 'option "hairpin": expected true or false, got 1',
    ['{"mode":"brigde"}'] =
      'option "mode": expected one of "bridge", "ptp", "routed", got the string "brigde"; did you mean "bridge"?',
    ['{"mode":"x"}'] = 'option "mode": expected one of "bridge", "ptp", "routed", got the string "x"',
    ['{"weight":2}'] = 'option "weight": expected a number at most 1, got 2',
    ['{"weight":"1"}'] = 'option "weight": expected a number at most 1, got the string "1"',
    ['{"gateway":"10.0.0.300"}'] =
      'option "gateway": expected an address, but "10.0.0.300" is not an IPv4 or IPv6 address',
    ['{"gateway":10}'] = 'option "gateway": expected an address such as "10.244.1.0/24", got 10',
    ['{"dns":"10.0.0.1"}'] =
      'option "dns": expected a list of addresses of at most 3 elements, got the string "10.0.0.1"',
    ['{"dns":{"a":"10.0.0.1"}}'] = 'option "dns": expected a list of addresses of at most 3 elements, got an object',
    ['{"dns":["10.0.0.1",null]}'] = 'option "dns[2]": expected an address such as "10.244.1.0/24", got null',
    ['{"dns":["::1","::2","::3","::4"]}'] =
      'option "dns": expected a list of addresses of at most 3 elements, got 4 elements',
    ['{"labels":["a"]}'] = 'option "labels": expected an object, got an array',
    ['{"labels":{"a.b":1}}'] = 'option "labels.a.b": expected a string, got 1',
    ['{"args":[]}'] = 'option "args": expected an object, got an array',
    ['{"args":"x"}'] = 'option "args": expected an object, got the string "x"',
    ['{"ipam":{"type":5}}'] = 'option "ipam.type": expected a string, got 5',
    ['{"ipam":{"ranges":[[{"subnet":"10.0.0.0/33"}]]}}'] =
      'option "ipam.ranges[1][1].subnet": expected an address, but "10.0.0.0/33" has a prefix that is not a length '
      .. "from 0 to 32",
    ['{"ipam":{"ranges":[[{}]]}}'] =
      'option "ipam.ranges[1][1].subnet": missing; expected an address such as "10.244.1.0/24"',
    ['{"ipam":{"ranges":[{"subnet":"10.0.0.0/8"}]}}'] =
      'option "ipam.ranges[1]": expected a list of objects, got an object',
    ['{"mtuu":1}'] = 'option "mtuu": unknown; did you mean "mtu"?',
    ['{"MTU":1}'] = 'option "MTU": unknown; did you mean "mtu"?',
    ['{"zzzzzzzzzzz":1}'] = 'option "zzzzzzzzzzz": unknown; there are args, bridge, dns, gateway, hairpin, ipam, '
      .. "labels, mode, mtu, weight",
    ['{"ipam":{"typ":"x"}}'] = 'option "ipam.typ": unknown; did you mean "type"?',
    ["[]"] = "options: expected an object, got an array",
    ['"x"'] = 'options: expected an object, got the string "x"',
    ["null"] = "options: expected an object, got null",
  } do
    it(("refuse %s"):format(text), function()
      local message, code = refusal(check, text)
      assert.are.equal(expected, message)
      assert.are.equal(7, code)
    end)
  end

  it("refuse tables that only Lua can make", function()
    assert.matches("got not%-a%-number", (refusal(options.check, declared, { weight = 0 / 0 })))
    assert.matches("got the number %-inf", (refusal(options.check, declared, { weight = -math.huge })))
    assert.matches('"dns": expected a list', (refusal(options.check, declared, { dns = { "::1", nil, "::3" } })))
    assert.matches('"dns": expected a list', (refusal(options.check, declared, { dns = { "::1", x = "::3" } })))
    assert.matches('"bridge": expected .* got a function', (refusal(options.check, declared, { bridge = print })))
    assert.matches("unexpected element %[1%]", (refusal(options.check, declared, { "bridge" })))
    assert.matches('"labels": expected an object', (refusal(options.check, declared, { labels = { [true] = "x" } })))
  end)

  it("show a hostile string as text of one line", function()
    assert.are.equal('option "mode": expected one of "bridge", "ptp", "routed", got the string "a?b???"',
      (refusal(options.check, declared, { mode = "a\nb\0\xff\xfe" })))
    assert.is_true(#refusal(options.check, declared, { mode = ("x"):rep(100000) }) < 200)
  end)

  it("name the policy that they belong to", function()
    assert.are.equal('option "mtu" of naivebridge: expected an integer from 576 to 65535, got 1',
      (refusal(options.check, declared, { mtu = 1 }, { what = "naivebridge" })))
  end)

  it("collect unknown keys when asked to, but never a known one of a wrong type", function()
    local conf, ignored = check('{"zeta":1,"alpha":{"mtu":1},"ipam":{"foo":null},"mtu":1500}', { unknown = "collect" })
    assert.are.same({ "alpha", "ipam.foo", "zeta" }, ignored)
    assert.is_nil(conf.alpha)
    assert.are.same({ type = "host-local" }, conf.ipam)
    assert.matches("expected an integer", (refusal(check, '{"mtu":"x"}', { unknown = "collect" })))
  end)

  it("leave keys alone that are somebody else's", function()
    local conf, ignored = check('{"cniVersion":"1.0.0","name":"x","mtu":1500}', { also = { "cniVersion", "name" } })
    assert.are.same({}, ignored)
    assert.is_nil(conf.name)
    assert.matches('"ipam.name": unknown', (refusal(check, '{"ipam":{"name":1}}', { also = { "name" } })))
  end)

  it("refuse a misspelt wish of the caller", function()
    assert.are.equal('options.check: unknown key "unknwon"; did you mean "unknown"?',
      (refusal(options.check, declared, {}, { unknwon = "collect" })))
  end)
end)

describe("computed options", function()
  local seen
  local computed = {
    a = { type = "integer", auto = function(conf) seen = conf.z return conf.z and conf.z + 1 end, default = 7 },
    b = { type = "integer", auto = function(conf) return conf.a * 2 end },
    z = { type = "integer" },
  }

  it("see what is given, and those before them", function()
    assert.are.same({ a = 6, b = 12, z = 5 }, (options.check(computed, { z = 5 })))
    assert.are.same({ a = 1, b = 2 }, (options.check(computed, { a = 1 })))
    assert.are.same({ a = 3, b = 0, z = 5 }, (options.check(computed, { a = 3, b = 0, z = 5 })))
  end)

  it("fall back to their default", function()
    assert.are.same({ a = 7, b = 14 }, (options.check(computed, {})))
    assert.is_nil(seen)
  end)

  it("are left out when asked", function()
    assert.are.same({ a = 7 }, (options.check(computed, {}, { auto = false })))
  end)

  it("are checked, and the policy blamed", function()
    local message, code = refusal(options.check, { mtu = { type = "integer", auto = function() return "x" end } }, {},
      { what = "mine" })
    assert.are.equal('computed option "mtu" of mine: expected an integer, got the string "x"', message)
    assert.are.equal(100, code)
  end)

  it("pass on what is raised while computing", function()
    local cause = core.error { op = "get", object = "route", message = "gone" }
    local ok, err = pcall(options.check, { mtu = { type = "integer", auto = function() error(cause) end } }, {})
    assert.is_false(ok)
    assert.are.equal(cause, err)
  end)
end)

describe("defaults", function()
  local with_tables = {
    list = { type = "list", default = { { 1 } } },
    object = { type = "table", default = { a = { 1 } } },
    nested = { type = "table", default = {}, fields = { x = { type = "integer", default = 1 } } },
  }

  it("are completed like given values", function()
    assert.are.same({ x = 1 }, options.check(with_tables, {}).nested)
  end)

  it("cannot be changed through a configuration", function()
    local first = options.check(with_tables, {})
    first.list[1][1], first.object.a[1], first.nested.x = "changed", "changed", "changed"
    local second = options.check(with_tables, {})
    assert.are.same({ { { 1 } }, { a = { 1 } }, { x = 1 } }, { second.list, second.object, second.nested })
  end)
end)

describe("a declaration", function()
  for expected, wrong in pairs {
    ['declaration of option "x": expected a table such as { type = "string" }, got the string "string"'] =
      { x = "string" },
    ['declaration of option "x": no type; there are boolean, cidr, integer, list, number, string, table'] = { x = {} },
    ['declaration of option "x": unknown type "int"; did you mean "integer"?'] = { x = { type = "int" } },
    ['declaration of option "x": unknown type "map"; there are boolean, cidr, integer, list, number, string, table'] =
      { x = { type = "map" } },
    ['declaration of option "x": unknown key "defualt"; did you mean "default"?'] =
      { x = { type = "string", defualt = 1 } },
    ['declaration of option "x": an option of type boolean has no "min"'] = { x = { type = "boolean", min = 1 } },
    ['declaration of option "x": an option of type string has no "of"'] =
      { x = { type = "string", of = { type = "string" } } },
    ['declaration of option "x": auto is the string "y", not a function'] = { x = { type = "string", auto = "y" } },
    ['declaration of option "x": min is the string "1", not a number'] = { x = { type = "integer", min = "1" } },
    ['declaration of option "x": min 2 is greater than max 1'] = { x = { type = "integer", min = 2, max = 1 } },
    ['declaration of option "x": choices is empty'] = { x = { type = "string", choices = {} } },
    ['choice of option "x": expected a string, got 1'] = { x = { type = "string", choices = { 1 } } },
    ['declaration of option "x": required, and yet with a default or auto'] =
      { x = { type = "string", required = true, default = "a" } },
    ['default of option "x": expected an integer, got the string "1"'] = { x = { type = "integer", default = "1" } },
    ['default of option "x": expected an integer 5 or more, got 1'] =
      { x = { type = "integer", default = 1, min = 5 } },
    ['default of option "x": expected one of "a", got the string "b"'] =
      { x = { type = "string", default = "b", choices = { "a" } } },
    ['default of option "x.y": unknown; did you mean "yy"?'] =
      { x = { type = "table", default = { y = 1 }, fields = { yy = { type = "integer" } } } },
    ['default of option "x[].y": expected true or false, got 1'] =
      { x = { type = "list", of = { type = "table", fields = { y = { type = "boolean", default = 1 } } } } },
    ['declaration of option "x[]": unknown type "strnig"; did you mean "string"?'] =
      { x = { type = "list", of = { type = "strnig" } } },
    ['declaration of option "x.y": no type; there are boolean, cidr, integer, list, number, string, table'] =
      { x = { type = "table", fields = { y = {} } } },
    ['declaration of option "x": has both fields and of'] =
      { x = { type = "table", fields = {}, of = { type = "string" } } },
    ['declaration of option "a.b": the name is not made of letters, digits, _ and -'] =
      { ["a.b"] = { type = "string" } },
    ['declaration of option "1": the name is not made of letters, digits, _ and -'] = { { type = "string" } },
  } do
    it("is refused: " .. expected, function()
      local message, code = refusal(options.declare, wrong)
      assert.are.equal(expected, message)
      assert.are.equal(100, code)
      assert.are.equal(expected, (refusal(options.check, wrong, {})))
      assert.are.equal(expected, (refusal(options.describe, wrong)))
    end)
  end

  it("has to be a table", function()
    assert.are.equal("options of mine: expected a table of declarations, got the string \"x\"",
      (refusal(options.declare, "x", "mine")))
    assert.are.equal("options: expected a table of declarations, got nothing", (refusal(options.check, nil, {})))
  end)

  it("is returned when it is well", function()
    assert.are.equal(declared, options.declare(declared))
  end)
end)

describe("NAME=VALUE", function()
  local function set(...)
    local given
    for _, text in ipairs { ... } do
      given = options.parse_set(declared, text, given)
    end
    return given
  end

  it("is read as the declared type", function()
    assert.are.same({ mtu = 1400, hairpin = false, bridge = "br=1", weight = 0.25, gateway = "10.0.0.1" },
      set("mtu=1400", "hairpin=no", "bridge=br=1", "weight=0.25", "gateway=10.0.0.1"))
    assert.are.same({ dns = json.array { "10.0.0.1", "fd00::1" } }, set "dns=10.0.0.1,fd00::1")
    assert.are.same({ dns = json.array {} }, set "dns=")
    assert.are.same({ args = { a = { b = 1 } } }, set 'args={"a":{"b":1}}')
    assert.are.same({ ipam = { type = "x", ranges = { { { subnet = "10.0.0.0/8" } } } } },
      set('ipam.type=x', 'ipam.ranges=[[{"subnet":"10.0.0.0/8"}]]'))
    assert.are.same({ labels = { app = "web" } }, set "labels.app=web")
    assert.are.same({ mtu = 1400 }, set("mtu=1300", "mtu=1400"))
  end)

  it("makes a table that can be checked", function()
    local conf = options.check(declared, set("mtu=1400", "dns=10.0.0.1", "ipam.type=mine"))
    assert.are.equal(1400, conf.mtu)
    assert.are.equal(cidr "10.0.0.1", conf.dns[1])
    assert.are.equal("mine", conf.ipam.type)
  end)

  for text, expected in pairs {
    ["mtu"] = 'options: expected NAME=VALUE, got "mtu"',
    ["=5"] = 'options: expected NAME=VALUE, got "=5"',
    ["."] = 'options: expected NAME=VALUE, got "."',
    [".=1"] = 'options: expected NAME=VALUE, got ".=1"',
    ["mtuu=5"] = 'option "mtuu": unknown; did you mean "mtu"?',
    ["mtu.x=5"] = 'option "mtu.x": unknown; there are none',
    ["ipam.typ=x"] = 'option "ipam.typ": unknown; did you mean "type"?',
    ["mtu=fast"] = 'option "mtu": expected an integer from 576 to 65535, got the string "fast"',
    ["mtu="] = 'option "mtu": expected an integer from 576 to 65535, got the string ""',
    ["mtu=0x500"] = 'option "mtu": expected an integer from 576 to 65535, got the string "0x500"',
    ["mtu=1"] = 'option "mtu": expected an integer from 576 to 65535, got 1',
    ["mtu=99999999999999999999"] =
      'option "mtu": expected an integer from 576 to 65535, got the string "99999999999999999999"',
    ["hairpin=maybe"] = 'option "hairpin": expected true or false, got the string "maybe"',
    ["gateway=x"] = 'option "gateway": expected an address, but "x" is not an IPv4 or IPv6 address',
    ["dns=10.0.0.1,x"] = 'option "dns[2]": expected an address, but "x" is not an IPv4 or IPv6 address',
    ["args=x"] = 'option "args": expected an object, got the string "x"',
    ["args={"] = 'option "args": expected an object, but cannot decode JSON: expected a key in quotes, found '
      .. "the end of the text at byte 1 (line 1, column 2)",
  } do
    it(("is refused as %q"):format(text), function()
      local message, code = refusal(set, text)
      assert.are.equal(expected, message)
      assert.are.equal(7, code)
    end)
  end
end)

describe("help on options", function()
  it("says what each may be, its default and its purpose", function()
    assert.are.equal([[
bridge                  a string of 1 to 15 bytes; default "cbr0"
                        The bridge's name.
ipam                    an object
ipam.ranges             a list of lists
ipam.ranges[][].subnet  an address such as "10.244.1.0/24"; required
mode                    one of "bridge", "ptp"; default "bridge"
mtu                     an integer 576 or more; computed when not given
]], options.describe {
      bridge = declared.bridge,
      mode = { type = "string", choices = { "bridge", "ptp" }, default = "bridge" },
      mtu = { type = "integer", min = 576, auto = print },
      ipam = { type = "table", fields = { ranges = declared.ipam.fields.ranges } },
    })
    assert.are.equal("", options.describe {})
  end)
end)
