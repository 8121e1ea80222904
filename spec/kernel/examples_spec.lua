-- SPDX-License-Identifier: Apache-2.0
-- The policies in examples that a pod's network may have, copied to where a user would copy them, and run.

local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local node, before

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "web", "db" }, subnets = { "10.244.1.0/24", "fd00:1::/64" } }
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

local function copy(name)
  node:policy(name, spaces.must("cat %s", "examples/" .. name .. ".lua"))
end

-- The routes of a pod, but for those that every link has.
local function routes(name, words)
  local list = {}
  for _, family in ipairs { "-4", "-6" } do
    for line in (node.pods[name]:must("ip " .. family .. " route show dev eth0")):gmatch "[^\n]+" do
      if not line:find "^fe80:" then
        list[#list + 1] = words and line:match(words) or line:match "^%S+"
      end
    end
  end
  table.sort(list)
  return list
end

local function chained(verb, name, result, conf)
  local all = { ipam = false, prevResult = result }
  for key, value in pairs(conf or {}) do
    all[key] = value
  end
  return node:call(verb, { pod = "web", policy = name, conf = all })
end

local function must(...)
  local outcome = chained(...)
  assert.are.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
  return outcome.json
end

describe("an example", function()
  it("is shorter than a page", function()
    for path in spaces.must "ls examples/*.lua":gmatch "%S+" do
      local count = 0
      for _ in io.lines(path) do
        count = count + 1
      end
      assert.is_true(count <= 40, path)
    end
  end)

  describe("quickack", function()
    local result, had

    before_each(function()
      copy "quickack"
      result = node:add { pod = "web", conf = { isDefaultGateway = true } }
      had = routes("web", ".*")
      assert.are.equal(4, #had)
    end)

    it("is on every route of the pod's interface, and the result is as before", function()
      assert.are.same(result, must("ADD", "quickack", result))
      local now = routes("web", "quickack 1")
      assert.are.same({ "quickack 1", "quickack 1", "quickack 1", "quickack 1" }, now)
      for _, address in ipairs { "10.244.1.1", "fd00:1::1", "192.0.2.10" } do
        node.pods.web:must("ping -c 1 -W 5 " .. address)
      end
      must("CHECK", "quickack", result)
    end)

    it("is gone after DEL, and the routes are as before", function()
      must("ADD", "quickack", result)
      must("DEL", "quickack", result)
      assert.are.same(had, routes("web", ".*"))
      must("DEL", "quickack", result)
      assert.is_nil(node:check({ pod = "web" }, result))
    end)

    it("is missed by CHECK", function()
      must("ADD", "quickack", result)
      node.pods.web:must "ip route replace default via 10.244.1.1"
      local outcome = chained("CHECK", "quickack", result)
      assert.are.equal(106, outcome.json and outcome.json.code, outcome.stdout)
    end)
  end)

  describe("route-override", function()
    local result

    before_each(function()
      copy "route-override"
      result = node:add { pod = "web", conf = { isDefaultGateway = true, ipam = { type = "host-local",
        ranges = node.ranges, routes = { { dst = "10.9.0.0/16" }, { dst = "10.8.0.0/16", gw = "10.244.1.7" } } } } }
      assert.are.same({ "10.244.1.0/24", "10.8.0.0/16", "10.9.0.0/16", "default", "default", "fd00:1::/64" },
        routes "web")
    end)

    local function told(from)
      local list = {}
      for i, route in ipairs(from.routes or {}) do
        list[i] = route.dst .. (route.gw and " via " .. route.gw or "")
      end
      table.sort(list)
      return list
    end

    it("adds, deletes and flushes routes, in the pod and in the result", function()
      local had = routes("web", ".*")
      for _, case in ipairs {
        { { flushgateway = true }, { "10.244.1.0/24", "10.8.0.0/16", "10.9.0.0/16", "fd00:1::/64" },
          { "10.8.0.0/16 via 10.244.1.7", "10.9.0.0/16" } },
        { { flushroutes = true, addroutes = { { dst = "0.0.0.0/0", gw = "10.244.1.9" } } },
          { "10.244.1.0/24", "default", "fd00:1::/64" }, { "0.0.0.0/0 via 10.244.1.9" } },
        { { delroutes = { { dst = "10.9.0.0/16" }, { dst = "10.8.0.0/16", gw = "10.244.1.1" } } },
          { "10.244.1.0/24", "10.8.0.0/16", "default", "default", "fd00:1::/64" },
          { "0.0.0.0/0 via 10.244.1.1", "10.8.0.0/16 via 10.244.1.7", "::/0 via fd00:1::1" } },
        { { addroutes = { { dst = "fd00:9::/64", gw = "fd00:1::9" }, { dst = "10.7.0.0/16" } } },
          { "10.244.1.0/24", "10.7.0.0/16", "10.8.0.0/16", "10.9.0.0/16", "default", "default", "fd00:1::/64",
            "fd00:9::/64" },
          { "0.0.0.0/0 via 10.244.1.1", "10.7.0.0/16", "10.8.0.0/16 via 10.244.1.7", "10.9.0.0/16",
            "::/0 via fd00:1::1", "fd00:9::/64 via fd00:1::9" } },
        { {}, { "10.244.1.0/24", "10.8.0.0/16", "10.9.0.0/16", "default", "default", "fd00:1::/64" }, told(result) },
      } do
        local after = must("ADD", "route-override", result, case[1])
        assert.are.same({ case[2], case[3] }, { routes "web", told(after) })
        assert.are.same(result.ips, after.ips)
        must("CHECK", "route-override", after, case[1])
        must("DEL", "route-override", after, case[1])
        assert.are.same(had, routes("web", ".*"))
      end
    end)

    it("refuses a route that is none, and changes nothing", function()
      local had = routes "web"
      for _, route in ipairs { { gw = "10.244.1.1" }, { dst = "everywhere" } } do
        local outcome = chained("ADD", "route-override", result, { flushroutes = true, addroutes = { route } })
        assert.are.equal(7, outcome.json.code, outcome.stdout)
        assert.are.same(had, routes "web")
      end
    end)

    it("takes back what it did when one route cannot be", function()
      local had = routes("web", ".*")
      local outcome = chained("ADD", "route-override", result, {
        flushroutes = true, addroutes = { { dst = "10.6.0.0/16", gw = "203.0.113.1" } },
      })
      assert.are.equal(102, outcome.json.code, outcome.stdout)
      assert.are.same(had, routes("web", ".*"))
    end)
  end)

  describe("fixed-address", function()
    local function add(pod, address, verb)
      return node:call(verb or "ADD", { pod = pod, conf = {
        capabilities = { ["io.kubernetes.cri.pod-annotations"] = true },
        runtimeConfig = { ["io.kubernetes.cri.pod-annotations"] = { ["example.com/address"] = address } },
        ipam = { type = "fixed-address", ranges = node.ranges },
      } })
    end

    before_each(function() copy "fixed-address" end)

    it("gives a pod the addresses that its annotation says, of one family or both", function()
      assert.are.equal("10.244.1.77/24", add("web", "10.244.1.77").json.ips[1].address)
      local both = add("db", "10.244.1.78, fd00:1::78").json
      assert.are.same({ "10.244.1.78/24", "fd00:1::78/64" }, { both.ips[1].address, both.ips[2].address })
      node.pods.db:must "ping -c 1 -W 5 10.244.1.77"
      for _, pod in ipairs { "web", "db" } do
        assert.are.equal(0, add(pod, "10.244.1.77", "DEL").status)
      end
      assert.are.same({}, node:reserved())
    end)

    it("refuses one that another pod holds, and one that is no pod's to have", function()
      add("web", "10.244.1.77")
      local held = node:reserved()
      for address, message in pairs {
        ["10.244.1.77"] = "10.244.1.77", ["10.244.1.1"] = "gateway", ["192.0.2.5"] = "192.0.2.5", ["none"] = "none",
      } do
        local outcome = add("db", address)
        assert.truthy(outcome.json.code == 104 or outcome.json.code == 7, outcome.stdout)
        assert.truthy(outcome.json.msg:find(message, 1, true), outcome.stdout)
        assert.are.same(held, node:reserved())
        assert.falsy(node.pods.db:sh("ip link"):find "eth0")
      end
    end)

    it("gives a pod without one any address, and forgets the fixed one with the pod", function()
      add("web", "10.244.1.77")
      assert.truthy(add("db").json.ips[1].address:find "^10%.244%.1%.%d+/24$")
      node:must("GC", { conf = { ipam = { type = "fixed-address", ranges = node.ranges },
        ["cni.dev/valid-attachments"] = { { containerID = "db", ifname = "eth0" } } } })
      assert.are.equal(2, #node:reserved())
      assert.are.equal("10.244.1.77/24", add("third", "10.244.1.77").json.ips[1].address)
    end)
  end)
end)
