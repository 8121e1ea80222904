-- SPDX-License-Identifier: Apache-2.0
-- Host ports without a kernel: which elements a mapping becomes, what the journal keeps of them, and what CHECK compares.

local core = require "mncni.core"
local hostport = require "mncni.hostport"
local recorded = require "mncni.recorded"
local rules = require "mncni.hostport_rules"
local steps = require "mncni.steps"

local world

-- A node with a pod of both families behind cbr0, and what an ADD for it records.
local function new_pod(name)
  local lines = {}
  local context = steps.new {
    host = world.host, journal = { append = function(_, text) lines[#lines + 1] = text end },
  }
  local pod = {
    network = "net", container = name or "web", ifname = "eth0", host = world.host,
    _call = { state_dir = "/nonexistent" },
    addresses = function()
      return { core.cidr "10.0.0.2/24", core.cidr "10.0.0.3/24", core.cidr "fd00::2/64" }
    end,
    warn = function(_, text) context.warnings[1] = text end,
  }
  return pod, context, lines
end

local function add(mappings, more, name)
  local pod, context, lines = new_pod(name)
  local args = { pod = pod, mappings = mappings }
  for key, value in pairs(more or {}) do
    args[key] = value
  end
  steps.within(context, hostport.ensure, args)
  context:commit()
  local entries = {}
  for line in table.concat(lines, "\n"):gmatch "[^\n]+" do
    entries[#entries + 1] = core.json.decode(line)
  end
  return entries, context
end

-- The keys that sets have, as digits.
local function held(set)
  local list = {}
  for found in world.host.nft.element.list { family = "inet", table = "mncni", name = set } do
    list[#list + 1] = steps.hex(found.elem) .. (found.data and " " .. steps.hex(found.data) or "")
  end
  return list
end

local function needs(entries)
  for _, entry in ipairs(entries) do
    if entry.step and entry.step.object == "hostport" then
      return entry.step.args
    end
  end
end

describe("host ports", function()
  before_each(function()
    world = recorded.new { host = { sysctls = { ["net/ipv4/conf/cbr0/route_localnet"] = "0" } } }
    world.host.link.add { ifname = "cbr0", kind = "bridge", up = true }
    world.host.addr.add { dev = "cbr0", address = "10.0.0.1/24" }
    world.host.addr.add { dev = "cbr0", address = "fd00::1/64" }
  end)

  it("are one element of a map, for the first address of each family", function()
    add { { hostPort = 8080, containerPort = 80 } }
    assert.same({ "060000001f900000 0a00000200500000" }, held "hostports4")
    assert.same({ "060000001f900000 fd00000000000000000000000000000200500000" }, held "hostports6")
    assert.same({}, held "hostip_ports4")
    assert.equal(1, #held "hostport_owners4")
    assert.same({ "63627230000000000000000000000000060000001f9000000a000002" }, held "hostport_snat4")
    assert.same({}, held "hostport_masq4")
  end)

  it("of one address of the node are in the map that is looked at first", function()
    add { { hostPort = 53, containerPort = 5353, protocol = "UDP", hostIP = "192.0.2.1" } }
    assert.same({ "11000000c000020100350000 0a00000214e90000" }, held "hostip_ports4")
    assert.same({}, held "hostports4")
    assert.same({}, held "hostports6")
  end)

  it("are masqueraded as it was asked for", function()
    add({ { hostPort = 1, containerPort = 1 } }, { masq_all = true })
    assert.same({ "06000000000100000a000002" }, held "hostport_masq4")
    assert.same({}, held "hostport_snat4")
    add({ { hostPort = 2, containerPort = 2 } }, { snat = false, masq_all = true }, "db")
    assert.equal(1, #held "hostport_masq4")
    assert.same({}, held "hostport_snat4")
  end)

  it("have a way back that begins with whose they are", function()
    local entries = add {
      { hostPort = 8080, containerPort = 80 }, { hostPort = 53, containerPort = 53, protocol = "udp" },
    }
    local undo = entries[1].undo
    assert.equal("elements", undo[1].op)
    assert.same(rules.sets "inet", undo[1].sets)
    assert.equal(steps.hex(rules.owner("net", "web", "eth0")), undo[1].keys[1][1]:sub(-16))
    assert.equal(rules.sets("inet6")[1], undo[2].sets[1])
    assert.same({ op = "conntrack", protocol = 17, ports = { 53 }, answerer = "10.0.0.2" }, undo[3])
    assert.same({ op = "conntrack", protocol = 17, ports = { 53 }, answerer = "fd00::2" }, undo[4])
    assert.same({ ports = 4 }, entries[1].step.args)
  end)

  it("of the same attachment have the same owner, and of another one another", function()
    assert.equal(rules.owner("net", "web", "eth0"), rules.owner("net", "web", "eth0"))
    local seen = {}
    for _, key in ipairs { { "net", "web", "eth1" }, { "net", "db", "eth0" }, { "net2", "web", "eth0" } } do
      local owner = rules.owner(table.unpack(key))
      assert.equal(8, #owner)
      assert.is_nil(seen[owner])
      seen[owner] = true
    end
    assert.is_nil(seen[rules.owner("net", "web", "eth0")])
  end)

  it("that another pod has are refused by name, and nothing is changed", function()
    add { { hostPort = 8080, containerPort = 80 } }
    local before = { held "hostports4", held "hostport_owners4", held "hostport_snat6" }
    local ok, err = pcall(add, { { hostPort = 8080, containerPort = 81 } }, nil, "db")
    assert.is_false(ok)
    assert.equal(103, err.code)
    assert.matches("host port 8080/tcp", tostring(err), 1, true)
    assert.matches("container web (eth0 in network net) has it already", tostring(err), 1, true)
    assert.same(before, { held "hostports4", held "hostport_owners4", held "hostport_snat6" })
  end)

  it("are looked at by CHECK, from what the journal keeps", function()
    local args = needs(add {
      { hostPort = 8080, containerPort = 80 },
      { hostPort = 53, containerPort = 53, protocol = "udp", hostIP = "192.0.2.1" },
    })
    local function difference()
      local ok, err = pcall(hostport.check, world.host, args, function(object) error(object, 0) end)
      return not ok and err or nil
    end
    assert.is_nil(difference())
    local element = { family = "inet", table = "mncni", name = "hostports6" }
    for found in world.host.nft.element.list(element) do
      element.elem = { { key = found.elem } }
    end
    world.host.nft.element.del(element)
    assert.equal('nft set "inet mncni hostports6"', difference())
    element.elem[1].data = ("\0"):rep(20)
    world.host.nft.element.add(element)
    assert.equal('nft set "inet mncni hostports6"', difference())
    args.owner = ("00"):rep(8)
    assert.equal('nft set "inet mncni hostport_owners4"', difference())
  end)

  it("do without masquerading the pod's own side where the pod is behind a router", function()
    world.host.route.add { dst = "10.9.0.0/24", gateway = "10.0.0.9" }
    local args = needs(add({ { hostPort = 1, containerPort = 1 } }, { addresses = { core.cidr "10.9.0.2/24" } }))
    assert.same({}, args.devices)
    assert.equal(1, #held "hostports4")
    assert.same({}, held "hostport_snat4")
    assert.equal("0", world.host.sysctl.get "net/ipv4/conf/cbr0/route_localnet")
  end)

  it("say so when there is no address for them", function()
    local _, context = add({ { hostPort = 1, containerPort = 1, hostIP = "::" } },
      { addresses = { core.cidr "10.0.0.2/24" } })
    assert.matches("no address of the family", context.warnings[1])
    assert.equal(0, #context.list)
  end)

  it("make no step of an empty list", function()
    local _, context = add {}
    assert.equal(0, #context.list)
  end)
end)
