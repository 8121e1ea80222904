-- SPDX-License-Identifier: Apache-2.0
-- net.conntrack: connections that are forgotten, and those that are not.

local core = require "mncni.core"
local mncni = require "mncni"
local spaces = require "spec.support.netns"

describe("net.conntrack.flush", function()
  local space, net

  before_each(function()
    space = spaces.new()
    net = mncni.open(space.ns)
    space:must "ip addr add 192.0.2.1/32 dev lo; ip addr add 192.0.2.2/32 dev lo"
    space:must "ip addr add 2001:db8::1/128 dev lo nodad"
  end)

  after_each(function()
    net:close()
    spaces.cleanup()
  end)

  -- Entries as "udp 192.0.2.1 53", sorted.
  local function tracked()
    local list = {}
    for line in space:must "cat /proc/net/nf_conntrack":gmatch "[^\n]+" do
      local protocol, address, port = line:match "(%l+) +%d+ %d+ [%u_ ]*src=%S+ dst=(%S+) sport=%d+ dport=(%d+)"
      list[#list + 1] = protocol and ("%s %s %s"):format(protocol, core.cidr(address).address, port) or nil
    end
    table.sort(list)
    return list
  end

  local function entry(protocol, address, port)
    space:must(("conntrack -I -p %s -s %s -d %s --sport 1000 --dport %d -t 100 %s"):format(protocol, address, address,
      port, protocol == "tcp" and "--state ESTABLISHED" or ""))
  end

  before_each(function()
    entry("udp", "192.0.2.1", 53)
    entry("udp", "192.0.2.2", 53)
    entry("udp", "192.0.2.1", 54)
    entry("udp", "192.0.2.1", 55)
    entry("tcp", "192.0.2.1", 53)
    entry("udp", "2001:db8::1", 53)
  end)

  local ALL = {
    "tcp 192.0.2.1 53", "udp 192.0.2.1 53", "udp 192.0.2.1 54", "udp 192.0.2.1 55", "udp 192.0.2.2 53",
    "udp 2001:db8::1 53",
  }

  local function without(...)
    local gone, left = {}, {}
    for _, name in ipairs { ... } do
      gone[name] = true
    end
    for _, name in ipairs(ALL) do
      left[#left + 1] = not gone[name] and name or nil
    end
    return left
  end

  it("forgets those of the ports, and tells how many", function()
    assert.are.same(ALL, tracked())
    assert.are.equal(2, net.conntrack.flush { family = "inet", protocol = 17, ports = { 53 } })
    assert.are.same(without("udp 192.0.2.1 53", "udp 192.0.2.2 53"), tracked())
    assert.are.equal(0, net.conntrack.flush { family = "inet", protocol = 17, ports = { 53 } })
    assert.are.equal(1, net.conntrack.flush { family = "inet6", protocol = 17, ports = { 53 } })
    assert.are.equal(2, net.conntrack.flush { family = "inet", protocol = 17, ports = { 54, 55, 56 } })
    assert.are.same({ "tcp 192.0.2.1 53" }, tracked())
  end)

  it("forgets those of an address that was asked for, or that answers, alone", function()
    local filter = { family = "inet", protocol = 17, ports = { 53, 54 }, to = { "192.0.2.2", "192.0.2.9" } }
    assert.are.equal(1, net.conntrack.flush(filter))
    assert.are.same(without "udp 192.0.2.2 53", tracked())
    filter.to, filter.answerer = nil, "192.0.2.9"
    assert.are.equal(0, net.conntrack.flush(filter))
    filter.answerer = "192.0.2.1"
    assert.are.equal(2, net.conntrack.flush(filter))
    filter.to = {}
    assert.are.equal(0, net.conntrack.flush(filter))
  end)

  it("forgets many", function()
    space:must [[for port in $(seq 2000 2299); do
      conntrack -I -p udp -s 192.0.2.1 -d 192.0.2.1 --sport 1000 --dport $port -t 100 || exit 1; done]]
    local ports = {}
    for port = 2000, 2298 do
      ports[#ports + 1] = port
    end
    assert.are.equal(299, net.conntrack.flush { family = "inet", protocol = 17, ports = ports })
    assert.are.equal(#ALL + 1, #tracked())
  end)

  it("says what is wrong with a filter", function()
    for _, case in ipairs {
      { { family = "ip" }, "family is" }, { { protocol = 256 }, "protocol is a number from 0 to 255" },
      { { ports = { 65536 } }, "a port is a number from 0 to 65535" }, { { port = 53 }, 'unknown key "port"' },
      { { to = { "2001:db8::1" } }, "no address of the family inet" },
      { { answerer = "x" }, "no address of the family" },
    } do
      local filter = { family = "inet", protocol = 17, ports = { 53 } }
      for key, value in pairs(case[1]) do
        filter[key] = value
      end
      local ok, err = pcall(net.conntrack.flush, filter)
      assert.is_false(ok)
      assert.truthy(tostring(err):find(case[2], 1, true), tostring(err))
    end
    assert.are.same(ALL, tracked())
  end)
end)
