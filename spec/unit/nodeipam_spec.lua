-- SPDX-License-Identifier: Apache-2.0
-- The policy nodeipam and mncni.node_ranges: who gets which range.

local core = require "mncni.core"
local mncni = require "mncni"
local policies = require "mncni.testing"

local function node(name, cidrs, fields)
  local all = { name = name, pod_cidrs = cidrs }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  return mncni.node.new(all)
end

local function world_of(nodes, fields)
  local world = { nodes = nodes, now = 10000, promised = {}, released = {} }
  for key, value in pairs(fields or {}) do
    world[key] = value
  end
  return world
end

-- What a node gets, as one text.
local function given(answer, name)
  local entry = answer.nodes[name]
  return entry and entry.pod_cidrs and table.concat(entry.pod_cidrs, " ")
end

local function reasons(answer, name)
  local list = {}
  for i, event in ipairs((answer.nodes[name] or {}).events or {}) do
    list[i] = event.reason
  end
  return table.concat(list, " ")
end

describe("the policy nodeipam", function()
  local policy = policies.load "nodeipam"

  local function desired(nodes, conf, fields)
    conf.cluster_cidrs = conf.cluster_cidrs or { "10.244.0.0/16" }
    return policies.desired(policy, world_of(nodes, fields), conf)
  end

  it("gives nodes without a range the next ones, in turn, and leaves those that have one", function()
    local answer = desired({ node "a", node("b", { "10.244.1.0/24" }), node "c", node "d" }, {})
    assert.same({ "10.244.0.0/24", nil, "10.244.2.0/24", "10.244.3.0/24" },
      { given(answer, "a"), given(answer, "b"), given(answer, "c"), given(answer, "d") })
    assert.is_nil(given(answer, "b"))
    assert.equal("10.244.2.0/24", given(answer, "c"))
    assert.same({ { cidr = "10.244.0.0/16", family = "inet", used = 4, resting = 0, free = 252 } }, answer.ranges)
    -- The next one comes after the last, and not where something became free.
    assert.equal("10.244.4.0/24", given(desired({ node "e" }, {}, { state = answer.state }), "e"))
    assert.same({ last = { ["10.244.0.0/16"] = 3 } }, answer.state)
  end)

  it("does not change what it is given", function()
    local state = { last = { ["10.244.0.0/16"] = 7 } }
    local world = world_of({ node "a" }, { state = state })
    local first = policies.desired(policy, world, { cluster_cidrs = { "10.244.0.0/16" } })
    assert.same({ last = { ["10.244.0.0/16"] = 7 } }, state)
    assert.same(first, policies.desired(policy, world, { cluster_cidrs = { "10.244.0.0/16" } }))
  end)

  it("begins anew at the end of the range", function()
    local conf = { cluster_cidrs = { "10.0.0.0/22" } }
    local answer = desired({ node("a", { "10.0.0.0/24" }), node "b", node "c" }, conf,
      { state = { last = { ["10.0.0.0/22"] = 2 } } })
    assert.equal("10.0.3.0/24", given(answer, "b"))
    assert.equal("10.0.1.0/24", given(answer, "c"))
  end)

  it("gives both families or none", function()
    local conf = { cluster_cidrs = { "fd00:10:244::/62", "10.244.0.0/16" } }
    local answer = desired({ node "a", node "b", node "c", node "d", node "e" }, conf)
    assert.equal("fd00:10:244::/64 10.244.0.0/24", given(answer, "a"))
    assert.equal("fd00:10:244:3::/64 10.244.3.0/24", given(answer, "d"))
    assert.is_nil(given(answer, "e"))
    assert.equal("CIDRNotAvailable", reasons(answer, "e"))
    assert.equal("none of the 4 ranges /64 of fd00:10:244::/62 is free", answer.nodes.e.events[1].message)
    assert.equal(4, answer.ranges[2].used)
  end)

  it("takes masks per family", function()
    local conf = { cluster_cidrs = { "10.0.0.0/8", "fd00::/104" }, mask_ipv4 = 30, mask_ipv6 = 112 }
    local answer = desired({ node "a", node "b" }, conf)
    assert.equal("10.0.0.4/30 fd00::1:0/112", given(answer, "b"))
    assert.equal(1 << 22, answer.ranges[1].used + answer.ranges[1].free)
  end)

  it("knows what nodes have of other sizes", function()
    local conf = { cluster_cidrs = { "10.244.0.0/21" } }
    local answer = desired({
      node("wide", { "10.244.0.0/22" }), node("small", { "10.244.5.128/25" }), node "a", node "b", node "c",
      node("all", { "10.0.0.0/8" }),
    }, { cluster_cidrs = { "192.168.0.0/16" } })
    assert.equal("192.168.0.0/24", given(answer, "a"))
    answer = desired({
      node("wide", { "10.244.0.0/22" }), node("small", { "10.244.5.128/25" }), node "a", node "b", node "c", node "d",
    }, conf)
    assert.same({ "10.244.4.0/24", "10.244.6.0/24", "10.244.7.0/24" },
      { given(answer, "a"), given(answer, "b"), given(answer, "c") })
    assert.equal("CIDRNotAvailable", reasons(answer, "d"))
  end)

  it("gives nothing of the services' ranges, whatever their size", function()
    local conf = { cluster_cidrs = { "10.0.0.0/20" }, service_cidrs = { "10.0.0.0/22", "10.0.6.0/28" } }
    local answer = desired({ node "a", node "b", node "c", node("d", { "10.0.1.0/24" }) }, conf)
    assert.same({ "10.0.4.0/24", "10.0.5.0/24", "10.0.7.0/24" },
      { given(answer, "a"), given(answer, "b"), given(answer, "c") })
    assert.equal("CIDRReserved", reasons(answer, "d"))
  end)

  it("tells of a range outside of the cluster's, and goes on", function()
    local answer = desired({ node("a", { "10.9.0.0/24" }), node "b" }, {})
    assert.equal("CIDROutOfRange", reasons(answer, "a"))
    assert.matches("10.9.0.0/24 is not within 10.244.0.0/16", answer.nodes.a.events[1].message, 1, true)
    assert.equal("10.244.0.0/24", given(answer, "b"))
  end)

  it("tells of ranges that two nodes have, whole or in part", function()
    local answer = desired({
      node("a", { "10.244.1.0/24" }), node("b", { "10.244.1.0/24" }), node("c", { "10.244.4.0/22" }),
      node("d", { "10.244.4.0/24" }), node("e", { "10.244.6.0/24" }), node("f", { "10.244.8.0/24" }),
    }, {})
    for name, other in pairs { a = "node b", b = "node a", c = "node d", d = "node c", e = "node c" } do
      assert.equal("CIDRDuplicate", reasons(answer, name))
      assert.matches(other, answer.nodes[name].events[1].message, 1, true)
    end
    assert.equal("", reasons(answer, "f"))
  end)

  it("lets released ranges rest, and gives them when they have", function()
    local conf = { cluster_cidrs = { "10.0.0.0/23" }, rest = 60 }
    local released = { { cidr = "10.0.0.0/24", at = 9950 }, { cidr = "10.0.1.0/24", at = 9900 } }
    local answer = desired({ node "a", node "b" }, conf, { released = released })
    assert.equal("10.0.1.0/24", given(answer, "a"))
    assert.equal("CIDRNotAvailable", reasons(answer, "b"))
    assert.equal(1, answer.ranges[1].resting)
    answer = desired({ node "b" }, conf, { released = released, now = 10010, state = answer.state })
    assert.equal("10.0.0.0/24", given(answer, "b"))
  end)

  it("keeps what was promised", function()
    local answer = desired({ node "a", node "b" }, {}, { promised = { b = { "10.244.0.0/24" } } })
    assert.equal("10.244.1.0/24", given(answer, "a"))
    assert.equal("10.244.0.0/24", given(answer, "b"))
  end)

  for _, case in ipairs {
    { "two ranges of one family", { cluster_cidrs = { "10.0.0.0/16", "10.1.0.0/16" } }, "two of one family" },
    { "nodes larger than the cluster", { cluster_cidrs = { "10.0.0.0/25" } },
      "10.0.0.0/25: its nodes cannot have a /24 of it: expected from /25 to /32" },
    { "more ranges than can be counted", { cluster_cidrs = { "fd00::/8" }, mask_ipv6 = 126 },
      "leaves more than 2^61 ranges" },
    { "no range", { cluster_cidrs = {} }, "cluster_cidrs" },
  } do
    it("refuses " .. case[1], function()
      local ok, err = pcall(desired, {}, case[2])
      assert.is_false(ok)
      assert.matches(case[3], tostring(err), 1, true)
    end)
  end

  -- Nodes come and go, with ranges of their own making too; whatever happens, no two overlap that were given.
  it("never gives two nodes the same, nor anything of the services', in thousands of steps", function()
    local seed = os.time()
    math.randomseed(seed)
    local clusters = {
      { "10.0.0.0/20" }, { "10.0.0.0/20", "fd00:1::/59" }, { "fd00:1::/116" }, { "fd00:1::/56", "10.0.0.0/18" },
    }
    local steps, full = 0, 0
    for _, cluster in ipairs(clusters) do
      for _ = 1, 12 do
        local conf = {
          cluster_cidrs = cluster, mask_ipv4 = math.random(20, 26), mask_ipv6 = cluster[1] == "fd00:1::/116"
            and math.random(117, 122) or math.random(60, 66), rest = math.random(0, 40),
          service_cidrs = { ("10.0.%d.0/%d"):format(math.random(0, 15), math.random(22, 28)),
            ("fd00:1:0:%x::/%d"):format(math.random(0, 31), math.random(60, 112)) },
        }
        local services = { mncni.cidr(conf.service_cidrs[1]).network, mncni.cidr(conf.service_cidrs[2]).network }
        conf.service_cidrs = { tostring(services[1]), tostring(services[2]) }
        local nodes, released, state, now, own, count = {}, {}, nil, 1000, {}, 0
        for _ = 1, 60 do
          steps, now = steps + 1, now + math.random(0, 10)
          -- Some come, with a range of somebody else's making now and then; some go.
          for _ = 1, math.random(0, 3) do
            count = count + 1
            nodes[("n%04d"):format(count)] = node(("n%04d"):format(count))
          end
          for name, one in pairs(nodes) do
            if math.random(12) == 1 then
              nodes[name] = nil
              for _, cidr in ipairs(one.pod_cidrs) do
                own[tostring(cidr)] = nil
                released[#released + 1] = { cidr = tostring(cidr), at = now }
              end
            end
          end
          local list = {}
          for _, one in pairs(nodes) do
            list[#list + 1] = one
          end
          table.sort(list, function(a, b) return a.name < b.name end)
          local answer = desired(list, conf, { state = state, now = now, released = released })
          state = answer.state
          for name, entry in pairs(answer.nodes) do
            if not entry.pod_cidrs then
              full = full + 1
              assert.equal("CIDRNotAvailable", reasons(answer, name))
            end
            for i, text in ipairs(entry.pod_cidrs or {}) do
              local cidr = mncni.cidr(text)
              local where = ("%s, seed %d, step %d"):format(text, seed, steps)
              assert.is_true(mncni.cidr(cluster[i]):contains(cidr), where)
              assert.equal(cidr, cidr.network, where)
              for other in pairs(own) do
                assert.is_false(cidr:overlaps(other), where .. " and " .. other)
              end
              for _, service in ipairs(services) do
                assert.is_false(cidr:overlaps(service), where .. " and " .. tostring(service))
              end
              for _, one in ipairs(released) do
                assert.is_false(one.cidr == text and one.at + conf.rest > now, where .. " rests")
              end
              own[text] = name
            end
            -- Not all are written at once.
            if entry.pod_cidrs then
              nodes[name] = node(name, entry.pod_cidrs)
            end
          end
        end
      end
    end
    assert.equal(#clusters * 12 * 60, steps)
    assert.is_true(full > 20, "ranges are never exhausted, so nothing is shown")
  end)

  it("takes little time for 5000 nodes", function()
    local nodes = {}
    for i = 1, 5000 do
      nodes[i] = node(("n%04d"):format(i), i % 2 == 0 and { ("10.%d.%d.0/24"):format(i // 256, i % 256) } or {})
    end
    local began = core.record.clock()
    local answer = desired(nodes, { cluster_cidrs = { "10.0.0.0/8", "fd00:10::/48" } })
    assert.is_true(core.record.clock() - began < 2000000)
    assert.equal(5000, answer.ranges[1].used)
  end)
end)

describe("the example that looks at labels", function()
  it("gives ranges of another pool to labelled nodes", function()
    local policy = policies.load "examples/nodeipam-by-label.lua"
    local answer = policies.desired(policy, world_of {
      node "a", node("b", {}, { labels = { ["example.com/pods"] = "many" } }), node "c",
    })
    assert.same({ "10.244.0.0/24", "10.244.128.0/22", "10.244.1.0/24" },
      { given(answer, "a"), given(answer, "b"), given(answer, "c") })
  end)
end)
