-- SPDX-License-Identifier: Apache-2.0
-- The plugin with loopback on a real kernel.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local results = require "mncni.result"
local spaces = require "spec.support.netns"

describe("loopback", function()
  local node, pod, before

  -- The configuration is containerd's own.
  local function args_of(more)
    local args = { name = "loopback", pod = "web", ifname = "lo", conf = {
      cniVersion = "0.3.1", name = "cni-loopback", type = "loopback", ipam = false,
    } }
    for key, value in pairs(more or {}) do args.conf[key] = value end
    return args
  end

  local function is_up()
    return pod:must "ip link show lo":find("LOOPBACK,UP", 1, true) ~= nil
  end

  before_each(function()
    before = spaces.snapshot()
    node = nodes.new { pods = { "web" } }
    pod = node:pod "web"
    pod:must "ip link set lo down"
  end)

  after_each(function()
    node:cleanup()
    spaces.assert_nothing_left(before)
  end)

  it("takes no address, so that CHECK misses none, where the configuration has an ipam that it does not ask", function()
    local args = args_of { cniVersion = "1.0.0", ipam = { type = "host-local", subnet = "10.9.0.0/24" } }
    local result = node:must("ADD", args)
    assert.are.same({}, node:reserved())
    assert.is_nil(node:check(args, result))
    node:must("DEL", args)
  end)

  it("takes lo up and reports its addresses, and down again on DEL, however often", function()
    local result = node:must("ADD", args_of())
    assert.are.same({ name = "lo", mac = "00:00:00:00:00:00", sandbox = pod.path }, result.interfaces[1])
    assert.are.same({ address = "127.0.0.1/8", interface = 0, version = "4" }, result.ips[1])
    assert.are.same({ address = "::1/128", interface = 0, version = "6" }, result.ips[2])
    assert.is_true(is_up())
    for _ = 1, 2 do
      node:must("DEL", args_of())
      assert.is_false(is_up())
    end
  end)

  it("answers in every version of the contract, and looks at lo on CHECK", function()
    for _, version in ipairs(results.versions) do
      local result = node:must("ADD", args_of { cniVersion = version })
      assert.are.equal(version, result.cniVersion)
      assert.is_true(is_up())
      if results.at_least(version, "0.4.0") then
        local check = args_of { cniVersion = version, prevResult = result }
        node:must("CHECK", check)
        pod:must "ip link set lo down"
        local outcome = node:call("CHECK", check)
        assert.are.equal(106, outcome.json.code)
        assert.truthy(outcome.json.msg:find('link "lo": it is down', 1, true), outcome.stdout)
      end
      node:must("DEL", args_of { cniVersion = version })
      assert.is_false(is_up())
    end
  end)

  it("works on lo whatever interface it is told", function()
    local args = args_of()
    args.ifname = "eth0"
    local result = node:must("ADD", args)
    assert.are.equal("lo", result.interfaces[1].name)
    assert.is_true(is_up())
    node:must("DEL", args)
    assert.is_false(is_up())
  end)

  it("gives the result of a plugin before it back as it was", function()
    local previous = {
      cniVersion = "0.3.1", interfaces = { { name = "eth0", sandbox = pod.path } },
      ips = { { version = "4", address = "10.1.2.2/24", interface = 0 } },
    }
    assert.are.same(previous, node:must("ADD", args_of { prevResult = previous }))
    assert.is_true(is_up())
  end)

  it("leaves lo up on DEL where it was up before", function()
    pod:must "ip link set lo up"
    node:must("ADD", args_of())
    node:must("DEL", args_of())
    assert.is_true(is_up())
  end)

  it("refuses a lo that others have given an address, and leaves it as it is", function()
    for _, address in ipairs { "10.1.2.3/32", "fd00::1/128" } do
      pod:must("ip addr add %s dev lo", address)
      local outcome = node:call("ADD", args_of())
      assert.are.equal(103, outcome.json.code, outcome.stdout)
      assert.truthy(outcome.json.msg:find(address:match "^[^/]+", 1, true), outcome.stdout)
      assert.is_false(is_up())
      pod:must("ip addr del %s dev lo", address)
    end
    pod:must "ip addr add 127.0.0.7/8 dev lo"
    node:must("ADD", args_of())
  end)

  it("is content with a namespace that is gone", function()
    node:must("ADD", args_of())
    node.pods.web:close()
    for _, netns in ipairs { "", "/run/netns/web" } do
      local args = args_of()
      args.netns = netns
      node:must("DEL", args)
    end
    assert.are.same({}, node:journals())
  end)

  it("says by STATUS that it would work, and is collected", function()
    node:must("STATUS", args_of { cniVersion = "1.1.0" })
    node:must("ADD", args_of())
    node:must("GC", args_of { cniVersion = "1.1.0", ["cni.dev/valid-attachments"] = core.json.array {} })
    assert.are.same({}, node:journals())
    assert.is_false(is_up())
  end)
end)
