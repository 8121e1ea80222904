-- SPDX-License-Identifier: Apache-2.0
-- The IPAM policy static as a plugin of its own, and under others.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local results = require "mncni.result"
local spaces = require "spec.support.netns"

local node, before

local CONFIGURED = {
  type = "static", routes = { { dst = "0.0.0.0/0" }, { dst = "192.168.0.0/16", gw = "10.10.5.1" } },
  addresses = { { address = "10.10.0.1/24", gateway = "10.10.0.254" }, { address = "3ffe:ffff:0:1ff::1/64" } },
  dns = { nameservers = { "10.0.0.53" }, domain = "x.test", search = { "x.test" }, options = { "ndots:5" } },
}

-- A call of static itself, as a bridge makes it.
local function call(verb, more, environment)
  local conf = { cniVersion = "1.1.0", name = "testnet", type = "bridge", ipam = CONFIGURED }
  for key, value in pairs(more or {}) do conf[key] = value end
  local env = { CNI_COMMAND = verb, CNI_CONTAINERID = "web", CNI_IFNAME = "eth0", CNI_NETNS = "/some/where" }
  for _, variables in ipairs { node.env, environment or {} } do
    for key, value in pairs(variables) do env[key] = value end
  end
  local outcome = node:exec({ node.scratch .. "/bin/static" }, env, core.json.encode(conf))
  local ok, document = pcall(core.json.decode, outcome.stdout)
  outcome.json = ok and document or nil
  return outcome
end

local function must(...)
  local outcome = call(...)
  assert.are.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
  return outcome.json
end

before_each(function()
  before = spaces.snapshot()
  node = nodes.new()
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

describe("static", function()
  it("answers with what the configuration says, in every version, and keeps nothing after DEL", function()
    for _, version in ipairs(results.versions) do
      local result = must("ADD", { cniVersion = version })
      if result.ip4 then
        assert.are.same({ ip = "10.10.0.1/24", gateway = "10.10.0.254",
          routes = { { dst = "0.0.0.0/0" }, { dst = "192.168.0.0/16", gw = "10.10.5.1" } } }, result.ip4)
        assert.are.equal("3ffe:ffff:0:1ff::1/64", result.ip6.ip)
      else
        assert.are.equal("10.10.0.1/24", result.ips[1].address)
        assert.are.equal("10.10.0.254", result.ips[1].gateway)
        assert.are.equal("3ffe:ffff:0:1ff::1/64", result.ips[2].address)
        assert.is_nil(result.ips[1].interface)
        assert.are.same(CONFIGURED.routes, result.routes)
      end
      assert.are.same(CONFIGURED.dns, result.dns)
      if results.at_least(version, "0.4.0") then
        must("CHECK", { cniVersion = version, prevResult = result })
      end
      for _ = 1, 2 do
        assert.is_nil(must("DEL", { cniVersion = version }))
      end
      assert.are.same({}, node:journals())
    end
  end)

  it("lets the runtime say more than the configuration: runtimeConfig before args before CNI_ARGS", function()
    local env = { CNI_ARGS = "IP=10.9.0.5/24;GATEWAY=10.9.0.1" }
    local args = { cni = { ips = { "10.8.0.5/24" } } }
    assert.are.same({ address = "10.9.0.5/24", gateway = "10.9.0.1" }, must("ADD", nil, env).ips[3])
    must "DEL"
    assert.are.same({ { address = "10.8.0.5/24" } }, must("ADD", { args = args }, env).ips)
    must "DEL"
    assert.are.same({ { address = "10.7.0.5/24" } },
      must("ADD", { args = args, runtimeConfig = { ips = { "10.7.0.5/24" } } }, env).ips)
    must "DEL"
  end)

  it("gives the same again to who asks again, and something else once the configuration says so", function()
    assert.are.same(must "ADD", must "ADD")
    local other = { type = "static", addresses = { { address = "10.20.0.1/24" } } }
    assert.are.equal("10.20.0.1/24", must("ADD", { ipam = other }).ips[1].address)
    must "DEL"
    assert.are.same({}, node:journals())
  end)

  it("refuses what has no prefix length, and has kept nothing then", function()
    local outcome = call("ADD", { ipam = { type = "static", addresses = { { address = "10.10.0.1" } } } })
    assert.are.equal(7, outcome.json.code)
    assert.truthy(outcome.json.msg:find("expected to be in CIDR notation", 1, true), outcome.stdout)
    assert.are.same({}, node:journals())
    outcome = call("ADD", { ipam = { type = "static", addresses = { { gateway = "10.10.0.1" } } } })
    assert.truthy(outcome.json.msg:find("addresses[1].address", 1, true), outcome.stdout)
    outcome = call("ADD", { ipam = { type = "static", dns = { nameservers = "10.0.0.53" } } })
    assert.truthy(outcome.json.msg:find("dns.nameservers", 1, true), outcome.stdout)
  end)

  it("misses, in CHECK, an address that the result does not have", function()
    local result = must "ADD"
    must("CHECK", { prevResult = result })
    result.ips[1].gateway = "10.10.0.253"
    local outcome = call("CHECK", { prevResult = result })
    assert.are.equal(106, outcome.json.code, outcome.stdout)
    assert.truthy(outcome.json.msg:find("10.10.0.1/24", 1, true), outcome.stdout)
    must "DEL"
    assert.are.equal(106, call("CHECK", { prevResult = result }).json.code)
  end)

  it("tells by STATUS whether the configuration is one, and forgets by GC", function()
    must "STATUS"
    local broken = { type = "static", addresses = { { address = "10.10.0.1" } } }
    assert.are.equal(50, call("STATUS", { ipam = broken }).json.code)
    must "ADD"
    must("GC", { ["cni.dev/valid-attachments"] = { { containerID = "web", ifname = "eth0" } } })
    assert.are.equal(1, #node:journals())
    must("GC", { ["cni.dev/valid-attachments"] = core.json.array {} })
    assert.are.same({}, node:journals())
  end)

  it("gives naivebridge's pods their addresses", function()
    local conf = { ipam = {
      type = "static", addresses = { { address = "10.244.1.77/24", gateway = "10.244.1.1" } },
      routes = { { dst = "0.0.0.0/0" } },
    } }
    local result = node:add { pod = "web", conf = conf }
    assert.are.equal("10.244.1.77/24", result.ips[1].address)
    local _, status = node:pod "web":sh "ping -c 1 -W 5 10.244.1.1"
    assert.are.equal(0, status)
    assert.is_nil(node:check({ pod = "web", conf = conf }, result))
    node:must("DEL", { pod = "web", conf = conf })
    assert.are.same({ {}, {} }, { node:links(), node:journals() })
  end)
end)
