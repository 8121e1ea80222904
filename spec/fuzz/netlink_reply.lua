-- SPDX-License-Identifier: Apache-2.0
-- Makes the request of a number, on a socket whose answers are the fuzzer's. What goes wrong is an error object.

local core = require "mncni.core"
local check = dofile "spec/fuzz/check.lua"

local route = core.socket { protocol = "route" }
local netfilter = core.socket { protocol = "netfilter" }
local monitor = core.monitor { groups = { "link", "addr", "route", "neigh" } }

local function dump(socket, object, filter)
  return function()
    for value in socket:dump(object, filter) do
      assert(type(value) == "table")
    end
  end
end

local function request(socket, verb, object, args)
  return function()
    local value = socket:request(verb, object, args)
    assert(value == nil or value == true or type(value) == "table")
  end
end

local in_table = { family = "inet", table = "mncni" }
local in_set = { family = "inet", table = "mncni", name = "set" }

local requests = {
  dump(route, "link"),
  dump(route, "link", { kind = "veth" }),
  dump(route, "addr", { dev = 2 }),
  dump(route, "route", { family = "inet6" }),
  dump(route, "rule"),
  dump(route, "neigh", { dev = "eth0" }),
  dump(route, "fdb"),
  dump(route, "nsid"),
  dump(route, "qdisc"),
  dump(route, "class", { dev = 2 }),
  dump(route, "filter", { dev = 2, parent = "ffff:" }),
  request(route, "get", "link", { ifname = "eth0" }),
  request(route, "get", "route", { dst = "10.0.0.1" }),
  request(route, "get", "addr", { dev = "eth0", address = "10.0.0.1/24" }),
  request(route, "add", "link", { ifname = "veth0", kind = "veth", group = 78, peer = { ifname = "eth0" } }),
  request(route, "add", "route", { dst = "10.0.0.0/8", gateway = "10.0.0.1", dev = "eth0" }),
  request(route, "set", "link", { ifname = "br0", mtu = 1400, bridge = { ageing_time = 100 } }),
  request(route, "del", "neigh", { dev = 3, dst = "10.0.0.1" }),
  request(route, "add", "rule", { src = "10.0.0.0/8", table = 100 }),
  dump(netfilter, "nft_table"),
  dump(netfilter, "nft_chain", in_table),
  dump(netfilter, "nft_rule", in_table),
  dump(netfilter, "nft_set", in_table),
  dump(netfilter, "nft_element", in_set),
  request(netfilter, "get", "nft_element", { family = "inet", table = "mncni", name = "set", elem = "10.0.0.0/8" }),
  request(netfilter, "get", "nft_gen"),
  request(netfilter, "add", "nft_element", {
    family = "inet", table = "mncni", name = "set", elem = { "10.0.0.0/8" },
  }),
  request(netfilter, "add", "nft_chain", {
    family = "inet", table = "mncni", name = "c", type = "nat", hook = "postrouting", prio = 100,
  }),
  function()
    route:batch {
      { "add", "link", { ifname = "br0", kind = "bridge" } },
      { "add", "addr", { dev = "br0", address = "10.0.0.1/24" } },
      { "set", "link", { ifname = "br0", up = true } },
    }
  end,
  function()
    for _ = 1, 50 do
      local event = monitor:next(0)
      if not event then
        break
      end
      assert(type(event.event) == "string")
    end
  end,
  dump(route, "vlan"),
}

return function(number)
  check.raises_well(nil, requests[number % #requests + 1])
end
