-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local result = require "mncni.result"

local json = core.json

local function decoded(text)
  return json.decode(text)
end

-- A result with everything in it, as another plugin of cniVersion 1.1.0 would print it.
local function full()
  return decoded [[{
    "cniVersion": "1.1.0",
    "interfaces": [
      {"name": "cbr0", "mac": "0a:00:00:00:00:01", "mtu": 1450},
      {"name": "vethx", "mac": "0a:00:00:00:00:02", "mtu": 1450, "socketPath": "/run/s", "pciID": "0000:00:1f.6"},
      {"name": "eth0", "mac": "0a:00:00:00:00:03", "mtu": 1450, "sandbox": "/run/netns/x"}
    ],
    "ips": [
      {"address": "10.1.2.3/24", "gateway": "10.1.2.1", "interface": 2},
      {"address": "fd00::3/64", "gateway": "fd00::1", "interface": 2},
      {"address": "10.9.9.9/32", "interface": 0}
    ],
    "routes": [
      {"dst": "0.0.0.0/0", "gw": "10.1.2.1", "mtu": 1400, "advmss": 1360, "priority": 5, "table": 0, "scope": 0},
      {"dst": "::/0", "gw": "fd00::1"},
      {"dst": "192.168.0.0/16"}
    ],
    "dns": {"nameservers": ["10.0.0.10"], "domain": "x.test", "search": ["a.test"], "options": ["ndots:5"]}
  }]]
end

local function refusal(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  return err
end

local function shape(version, document)
  return decoded(json.encode(result.convert(result.canonical(document or full(), "1.1.0"), version)))
end

describe("a result", function()
  it("is the same in 1.1.0 after it was read", function()
    assert.same(full(), shape "1.1.0")
  end)

  it("loses what 1.1.0 added to interfaces in 1.0.0", function()
    local expected = full()
    expected.cniVersion = "1.0.0"
    for _, link in ipairs(expected.interfaces) do
      link.mtu, link.socketPath, link.pciID = nil, nil, nil
    end
    assert.same(expected, shape "1.0.0")
  end)

  for _, version in ipairs { "0.3.0", "0.3.1", "0.4.0" } do
    it("has the family of each address in " .. version, function()
      local expected = full()
      expected.cniVersion = version
      for _, link in ipairs(expected.interfaces) do
        link.mtu, link.socketPath, link.pciID = nil, nil, nil
      end
      expected.ips[1].version, expected.ips[2].version, expected.ips[3].version = "4", "6", "4"
      assert.same(expected, shape(version))
    end)
  end

  for _, version in ipairs { "0.1.0", "0.2.0" } do
    it("has one address of each family with its routes in " .. version, function()
      assert.same(decoded(([[{
        "cniVersion": "%s",
        "ip4": {"ip": "10.1.2.3/24", "gateway": "10.1.2.1",
                "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "192.168.0.0/16"}]},
        "ip6": {"ip": "fd00::3/64", "gateway": "fd00::1", "routes": [{"dst": "::/0", "gw": "fd00::1"}]},
        "dns": {"nameservers": ["10.0.0.10"], "domain": "x.test", "search": ["a.test"], "options": ["ndots:5"]}
      }]]):format(version)), shape(version))
    end)

    it("drops routes of a family without address in " .. version, function()
      local document = full()
      document.ips = json.array { document.ips[1] }
      assert.is_nil(shape(version, document).ip6)
    end)

    it("cannot be without address in " .. version, function()
      local err = refusal(result.convert, { ips = {} }, version)
      assert.equal(1, err.code)
      assert.equal("cannot convert: no valid IP addresses", tostring(err))
    end)
  end

  for _, version in ipairs(result.versions) do
    it("is the same after going through " .. version .. ", as far as that can say it", function()
      local once = shape(version)
      local again = result.convert(result.canonical(once, "1.1.0"), version)
      assert.same(once, decoded(json.encode(again)))
    end)
  end

  it("leaves out what is empty, and keeps interface 0", function()
    local text = json.encode(result.convert({
      interfaces = { { name = "eth0" } }, ips = { { address = "10.0.0.2/24", interface = 0 } }, routes = {}, dns = {},
    }, "1.0.0"))
    assert.same({
      cniVersion = "1.0.0", interfaces = { { name = "eth0" } }, ips = { { address = "10.0.0.2/24", interface = 0 } },
    }, decoded(text))
    assert.equal('{"cniVersion":"1.0.0"}', (json.encode(result.convert({}, "1.0.0")):gsub("%s", "")))
  end)

  it("of an IPAM plugin has addresses without interfaces", function()
    local document = decoded '{"ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1"}],"dns":{}}'
    assert.same({
      interfaces = {}, ips = { { address = "10.0.0.2/24", gateway = "10.0.0.1" } }, routes = {},
    }, result.canonical(document, "1.0.0"))
  end)

  it("without cniVersion is in that of the configuration", function()
    local canonical = result.canonical(decoded '{"ip4":{"ip":"10.0.0.2/24"}}', "0.2.0")
    assert.equal("10.0.0.2/24", canonical.ips[1].address)
  end)

  it("keeps the host bits of an address, and a route as it was written", function()
    local document = decoded '{"ips":[{"address":"10.0.0.77/24"}],"routes":[{"dst":"10.1.2.3/8"}]}'
    local canonical = result.canonical(document, "1.0.0")
    assert.equal("10.0.0.77/24", canonical.ips[1].address)
    assert.equal("10.1.2.3/8", canonical.routes[1].dst)
  end)

  it("may say null where it has nothing", function()
    local canonical = result.canonical(decoded [[{"interfaces":null,"ips":[{"address":"10.0.0.2/24","gateway":null,
      "interface":null}],"routes":null,"dns":null}]], "1.0.0")
    assert.same({ interfaces = {}, ips = { { address = "10.0.0.2/24" } }, routes = {} }, canonical)
  end)
end)

describe("a malformed result", function()
  local malformed = {
    { "an interface without name", '{"interfaces":[{"mac":"x"}]}', "interfaces%[0%]%.name is missing" },
    { "an interface that is a string", '{"interfaces":["eth0"]}', "interfaces%[0%] must be an object" },
    { "an MTU that is text", '{"interfaces":[{"name":"a","mtu":"1500"}]}', "interfaces%[0%]%.mtu must be an integer" },
    { "an interface index without list",
      '{"ips":[{"address":"10.0.0.2/24","interface":0}]}', "there are no interfaces" },
    { "an address without prefix length", '{"ips":[{"address":"10.0.0.2"}]}', "address must have its prefix length" },
    { "an address that is none", '{"ips":[{"address":"10.0.0.256/24"}]}', "ips%[0%]%.address must be an address" },
    { "an address that is a number", '{"ips":[{"address":10}]}', "ips%[0%]%.address must be an address" },
    { "no address", '{"ips":[{"gateway":"10.0.0.1"}]}', "ips%[0%]%.address must be .* missing" },
    { "a gateway with prefix length",
      '{"ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1/24"}]}', "ips%[0%]%.gateway" },
    { "a gateway of the other family",
      '{"ips":[{"address":"10.0.0.2/24","gateway":"fd00::1"}]}', "not of the family" },
    { "an interface index beyond the list",
      '{"interfaces":[{"name":"a"}],"ips":[{"address":"10.0.0.2/24","interface":1}]}',
      "ips%[0%]%.interface is 1, and there is no interface after 0" },
    { "an interface index without list",
      '{"ips":[{"address":"10.0.0.2/24","interface":0}]}', "there are no interfaces" },
    { "a negative interface index",
      '{"interfaces":[{"name":"a"}],"ips":[{"address":"10.0.0.2/24","interface":-1}]}',
      "ips%[0%]%.interface must be an integer" },
    { "a route to nowhere", '{"routes":[{"gw":"10.0.0.1"}]}', "routes%[0%]%.dst" },
    { "routes that are an object", '{"routes":{"dst":"10.0.0.0/8"}}', "routes must be a list" },
    { "a nameserver that is a number", '{"dns":{"nameservers":[1]}}', "dns%.nameservers%[0%] must be a string" },
    { "a version nobody speaks", '{"cniVersion":"2.0.0"}', "cniVersion" },
  }
  for _, case in ipairs(malformed) do
    it("with " .. case[1] .. " is refused, naming the place", function()
      local document = decoded(case[2])
      local err = refusal(result.canonical, document, "1.0.0", { code = 7, object = "prevResult" })
      assert.equal(7, err.code)
      assert.equal("prevResult", err.object)
      assert.matches(case[3], err.message)
    end)
  end

  it("that is text is refused", function()
    assert.equal(6, refusal(result.canonical, "x", "1.0.0").code)
  end)
end)

describe("the result of a policy", function()
  it("may hold cidr values, gateways with prefix and a route to default", function()
    local canonical = result.check {
      interfaces = { { name = "eth0" } },
      ips = { { address = core.cidr "fd00::2/64", gateway = core.cidr "fd00::1/64", interface = 0 } },
      routes = {
        { dst = "default", gw = "fd00::1" }, { dst = "default" }, { dst = core.cidr("10.0.0.9") },
        { dst = core.cidr("10.0.0.0/8") },
      },
    }
    assert.same({ { address = "fd00::2/64", gateway = "fd00::1", interface = 0 } }, canonical.ips)
    assert.same({
      { dst = "::/0", gw = "fd00::1" }, { dst = "0.0.0.0/0" }, { dst = "10.0.0.9/32" }, { dst = "10.0.0.0/8" },
    }, canonical.routes)
  end)

  for what, rubbish in pairs {
    ["a number"] = 7,
    ["text"] = "done",
    ["true"] = true,
    ["an address without prefix length"] = { ips = { { address = "10.0.0.1" } } },
    ["a function for a name"] = { interfaces = { { name = print } } },
    ["ips that are text"] = { ips = "10.0.0.1/8" },
    ["an interface index too big"] = {
      interfaces = { { name = "a" } }, ips = { { address = "10.0.0.1/8", interface = 1 } },
    },
  } do
    it("is refused with code 100 when it is or has " .. what, function()
      assert.equal(100, refusal(result.check, rubbish).code)
    end)
  end

  it("that is nil is refused", function()
    assert.equal(100, refusal(result.check, nil).code)
  end)
end)
