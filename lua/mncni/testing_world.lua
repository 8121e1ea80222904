-- SPDX-License-Identifier: Apache-2.0
-- Worlds of the node agent, made up: this node is n2 at 10.0.0.2 with the range 10.244.2.0/24, its peers are n3, n4 and so
-- on, on the same link, and the gateway is 10.0.0.1; the same for IPv6.

local node = require "mncni.node"

local testing_world = {}

local function with(defaults, given)
  for key, value in pairs(given or {}) do
    defaults[key] = value
  end
  return defaults
end

local function made(number, given)
  return node.new(with({
    name = "n" .. number, addresses = { "10.0.0." .. number, "fd01::" .. number },
    pod_cidrs = { ("10.244.%d.0/24"):format(number), ("fd00:0:0:%d::/64"):format(number) },
  }, given))
end

-- new{ node, peers, reach, ... }: node and each peer are what mncni.node.new takes, as far as it is to differ; peers may
-- be their number alone; reach has what is to differ of [name of a peer]. What else is given is laid over the world.
function testing_world.new(given)
  local world = {
    node = made(2, given.node), peers = {}, reach = {},
    underlay = {
      inet = { dev = "eth0", address = "10.0.0.2", mtu = 1500 },
      inet6 = { dev = "eth0", address = "fd01::2", mtu = 1500 },
    },
    gateway = {
      inet = { address = "10.0.0.1", lladdr = "02:00:00:00:00:01" },
      inet6 = { address = "fe80::1", lladdr = "02:00:00:00:00:01" },
    },
    ready = { ok = true, reasons = {} },
  }
  local peers = given.peers or 1
  for i = 1, type(peers) == "table" and #peers or peers do
    local n = i + 2
    local peer = made(n, type(peers) == "table" and peers[i] or nil)
    local mac = ("02:00:00:00:00:%02x"):format(n)
    world.peers[i] = peer
    world.reach[peer.name] = (given.reach or {})[peer.name] or {
      inet = { address = "10.0.0." .. n, dev = "eth0", lladdr = mac },
      inet6 = { address = "fd01::" .. n, dev = "eth0", lladdr = mac },
    }
  end
  for key, value in pairs(given) do
    if key ~= "node" and key ~= "peers" and key ~= "reach" then
      world[key] = value
    end
  end
  return world
end

return testing_world
