-- SPDX-License-Identifier: Apache-2.0
-- Which rules and tables route what an interface's addresses send.

local core = require "mncni.core"
local source_routing = require "mncni.source_routing"

-- What the kernel lists of an interface with an address of each family, its gateway's routes among it.
local function listed()
  return {
    { dst = "default", family = "inet", gateway = "10.1.2.1", dev = "net1", table = "main", scope = "global",
      protocol = "boot", type = "unicast", tos = 0, flags = {}, ifindex = 3 },
    { dst = "10.1.2.0/24", family = "inet", prefsrc = "10.1.2.5", dev = "net1", table = "main", scope = "link",
      protocol = "kernel", type = "unicast", tos = 0, flags = { "linkdown" }, ifindex = 3 },
    { dst = "10.1.2.5", family = "inet", prefsrc = "10.1.2.5", dev = "net1", table = "local", scope = "host",
      protocol = "kernel", type = "local", tos = 0, ifindex = 3 },
    { dst = "10.9.0.0/16", family = "inet", gateway = "10.7.7.7", dev = "net1", table = "main", scope = "global",
      protocol = "boot", type = "unicast", tos = 0, flags = { "onlink" }, ifindex = 3 },
    { dst = "fd00:1::/64", family = "inet6", metric = 256, dev = "net1", table = "main", scope = "global",
      protocol = "kernel", type = "unicast", pref = "medium", tos = 0, flags = {}, ifindex = 3 },
    { dst = "fe80::/64", family = "inet6", metric = 256, dev = "net1", table = "main", scope = "global",
      protocol = "kernel", type = "unicast", pref = "medium", tos = 0, flags = {}, ifindex = 3 },
    { dst = "default", family = "inet6", metric = 1024, gateway = "fd00:1::1", dev = "net1", table = "main",
      scope = "global", protocol = "boot", type = "unicast", pref = "medium", tos = 0, flags = {}, ifindex = 3 },
  }
end

local v4 = { address = core.cidr "10.1.2.5/24", gateway = "10.1.2.1" }
local v6 = { address = core.cidr "fd00:1::5/64", gateway = "fd00:1::1" }

local function plan(args)
  return source_routing.plan {
    ifname = "net1", addresses = args.addresses or { v4, v6 }, routes = args.routes or listed(),
    rules = args.rules or {}, taken = args.taken or { "main", "local" }, table = args.table,
    gateways = args.gateways or {}, hints = args.hints,
  }
end

-- "dst via gateway table": what a list of routes does.
local function brief(list)
  local lines = {}
  for i, one in ipairs(list) do
    lines[i] = ("%s%s%s %s"):format(one.dst, one.gateway and " via " .. one.gateway or "",
      one.prefsrc and " src " .. one.prefsrc or "", one.table or "main")
  end
  return lines
end

describe("source_routing.plan", function()
  it("gives each address a rule for itself alone and a table", function()
    assert.same({ { src = "10.1.2.5/32", table = 100 }, { src = "fd00:1::5/128", table = 101 } }, plan({}).rules)
  end)

  it("takes the first tables from 100 on that no rule and no route uses", function()
    local rules = plan {
      rules = { { table = "main" }, { table = 100 }, { action = "nop" } }, taken = { 101, 103, "main" },
    }.rules
    assert.same({ 102, 104 }, { rules[1].table, rules[2].table })
  end)

  it("puts the default route and the interface's routes of the address into its table", function()
    assert.same({
      "0.0.0.0/0 via 10.1.2.1 100", "10.1.2.0/24 src 10.1.2.5 100",
      "::/0 via fd00:1::1 101", "fd00:1::/64 101",
    }, brief(plan({}).add))
  end)

  it("takes the interface's routes out of the main table, but for link-local ones", function()
    assert.same({
      "0.0.0.0/0 via 10.1.2.1 main", "10.9.0.0/16 via 10.7.7.7 main", "::/0 via fd00:1::1 main",
      "10.1.2.0/24 src 10.1.2.5 main", "fd00:1::/64 main",
    }, brief(plan({}).del))
  end)

  it("copies what makes a route, and not what the kernel found out", function()
    local copy = plan({}).add[2]
    assert.same({ dst = "10.1.2.0/24", family = "inet", prefsrc = "10.1.2.5", dev = "net1", table = 100, scope = "link",
      protocol = "kernel", type = "unicast" }, copy)
    assert.same({ "onlink" }, plan({}).del[2].flags)
    assert.is_nil(plan({}).add[4].scope)
  end)

  it("gives no default route where nobody knows a gateway, but for one that the interface has", function()
    local bare = { address = v4.address }
    assert.same({ "0.0.0.0/0 via 10.1.2.1 100", "10.1.2.0/24 src 10.1.2.5 100" },
      brief(plan { addresses = { bare } }.add))
    local routes = listed()
    table.remove(routes, 1)
    assert.same({ "10.1.2.0/24 src 10.1.2.5 100" }, brief(plan { addresses = { bare }, routes = routes }.add))
  end)

  it("believes a configured gateway of the subnet before the result's", function()
    local gateways = { core.cidr "10.7.0.1", core.cidr "10.1.2.9" }
    assert.equal("0.0.0.0/0 via 10.1.2.9 100", brief(plan { gateways = gateways }.add)[1])
    assert.equal("0.0.0.0/0 via 10.1.2.1 100", brief(plan { gateways = { gateways[1] } }.add)[1])
    local one = plan { gateways = gateways, addresses = { v4 } }.add
    assert.same({ "0.0.0.0/0 via 10.1.2.9 100", "10.1.2.0/24 src 10.1.2.5 100" }, brief(one))
  end)

  it("keeps default routes of another metric beside the address's own", function()
    local routes = listed()
    routes[1].metric = 200
    assert.same({ "0.0.0.0/0 via 10.1.2.1 100", "0.0.0.0/0 via 10.1.2.1 100", "10.1.2.0/24 src 10.1.2.5 100" },
      brief(plan { routes = routes, addresses = { v4 } }.add))
  end)

  it("makes rules and nothing else for a table that is given", function()
    local one = plan { table = 5001 }
    assert.same({ { src = "10.1.2.5/32", table = 5001 }, { src = "fd00:1::5/128", table = 5001 } }, one.rules)
    assert.same({ {}, {}, {} }, { one.add, one.del, one.back })
  end)

  it("leaves the routes in the main table with hints, and gives them a source", function()
    local one = plan { hints = true }
    assert.same({ "0.0.0.0/0 via 10.1.2.1 main", "::/0 via fd00:1::1 main", "fd00:1::/64 main" }, brief(one.del))
    assert.same({ "fd00:1::/64 src fd00:1::5 main", "::/0 via fd00:1::1 src fd00:1::5 main",
      "0.0.0.0/0 via 10.1.2.1 src 10.1.2.5 main" }, brief(one.back))
    assert.equal(4, #one.add)
  end)
end)
