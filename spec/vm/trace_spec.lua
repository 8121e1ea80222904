-- SPDX-License-Identifier: Apache-2.0
-- The capture of mncni trace on a kernel that has nlmon: every message, requests too, as tshark reads them.

local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"
local tracing = require "spec.support.tracing"
local watched = require "spec.support.watched"

local node, before

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "web" } }
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

-- What tshark says of a capture of an ADD and a DEL, and what was told of them.
local function capture(...)
  local path = node.scratch .. "/capture"
  local trace = tracing.start(node.space, node.scratch, "-o", "json", "--pcap", path, ...)
  node:must("ADD", { pod = "web" })
  node:must("DEL", { pod = "web" })
  local told = trace:stop()
  return spaces.must("tshark -n -r %s -V 2>/dev/null", path), told
end

-- Counts what is found of a pattern.
local function count(text, pattern)
  local _, times = text:gsub(pattern, "")
  return times
end

describe("the capture of a trace", function()
  it("has requests, answers and notifications, decoded by tshark, where there is nlmon", function()
    local text, told = capture()
    assert.truthy(told.sources.missing.nlmon == nil, text)
    assert.are.equal(2, #told.calls)
    assert.truthy(text:find("Encapsulation type: Linux Netlink", 1, true), text)
    assert.truthy(text:find("Linux rtnetlink (route netlink) protocol", 1, true), text)
    assert.truthy(count(text, "Message type: Create network interface") > 2, text)
    assert.truthy(text:find("cbr0", 1, true), text)
    -- A request, which nobody is notified of.
    assert.truthy(count(text, "= Request: 1") > 10, text)
    assert.are.equal(0, count(text, "Malformed"))
    assert.are.equal("", node.space:must "ip link show type nlmon")
  end)

  it("has notifications alone without it", function()
    local text, told = capture("--without", "nlmon")
    assert.truthy(told.sources.missing.nlmon)
    assert.truthy(count(text, "Message type: Create network interface") > 2, text)
    assert.are.equal(0, count(text, "= Request: 1"))
    assert.are.equal(0, count(text, "Malformed"))
  end)

  it("is made by the command of deploy/README.md, beside nlmon and tcpdump", function()
    local question = watched.commands()[2]
    local inside = ("nsenter --net=%s env MNCNI_STATE_DIR=%s"):format(node.space.path, node.state)
    local text
    do
      local classical <close> = watched.start(question.classical, node.scratch, inside)
      classical:wait "listening on nlmon0"
      node:must("ADD", { pod = "web" })
      spaces.must "sleep 3" -- tcpdump takes packets out of its ring once a second
    end
    node.space:must "ip link del nlmon0"
    do
      local ours <close> = watched.start(question.ours, node.scratch, inside)
      ours:wait "watching:"
      node:must("DEL", { pod = "web" })
      ours:wait "= ok"
      text = ours:stop()
    end
    assert.truthy(text:find("DEL naivebridge container=web", 1, true), text)
    for file, type_of in pairs { ["all.pcap"] = "Create", ["calls.pcap"] = "Remove" } do
      local said = spaces.must("tshark -n -r %s -V 2>/dev/null", node.scratch .. "/" .. file)
      assert.truthy(count(said, "Message type: " .. type_of .. " network interface") > 1, said)
      assert.truthy(count(said, "= Request: 1") > 1, said)
    end
  end)
end)
