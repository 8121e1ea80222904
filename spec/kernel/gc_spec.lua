-- SPDX-License-Identifier: Apache-2.0
-- What removes attachments that nobody deletes: the GC verb, mncni gc, and an ADD that finds its range exhausted.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local node, before

before_each(function()
  before = spaces.snapshot()
  node = nodes.new()
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

local function add(...)
  local results = {}
  for i, name in ipairs { ... } do
    results[i] = node:must("ADD", { pod = name })
  end
  return table.unpack(results)
end

-- A GC for the attachments of these pods.
local function collect(valid, args)
  args = args or {}
  args.conf = args.conf or {}
  args.conf["cni.dev/valid-attachments"] = core.json.array {}
  for i, name in ipairs(valid) do
    args.conf["cni.dev/valid-attachments"][i] = { containerID = name, ifname = "eth0" }
  end
  return node:call("GC", args)
end

local function reasons(list)
  local found = {}
  for _, item in ipairs(list) do
    found[item.container or item.path or item.ifname] = item.reason
  end
  return found
end

describe("the GC verb", function()
  it("removes address, link and journal of what is not listed, and leaves the others and other networks", function()
    add("web", "db", "old")
    node:must("ADD", { pod = "other", conf = { name = "second", ipam = { type = "host-local", subnet = "10.9.0.0/24" },
      bridge = "cbr1" } })
    assert.are.equal(4, #node:links())
    local outcome = collect { "web", "db" }
    assert.are.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
    assert.are.same({ "10.244.1.2", "10.244.1.3" }, node:reserved())
    assert.are.same({ "10.9.0.2" }, node:reserved "second")
    assert.are.equal(3, #node:links())
    assert.are.equal(3, #node:journals())
    assert.truthy(outcome.stderr:find("removed attachment eth0 of old in testnet (10.244.1.4): the runtime does not", 1, true))
    node:must("CHECK", { pod = "web", conf = { prevResult = { cniVersion = "1.1.0", interfaces = core.json.array {},
      ips = core.json.array {} } } })
  end)
end)

describe("mncni gc", function()
  it("removes what is dead and keeps what is alive", function()
    add("web", "db")
    node:kill "db"
    local report = node:gc("--grace", "0")
    assert.are.same({ db = "its namespace /run/netns/db is gone, and no link of it is on the host" },
      reasons(report.removed))
    assert.are.same({}, report.kept)
    assert.are.same({}, report.failed)
    assert.are.equal(1, report.alive)
    assert.are.same({ "10.244.1.2" }, node:reserved())
    assert.are.same({ "testnet/web@naivebridge@eth0" }, node:journals())
  end)
end)
