-- SPDX-License-Identifier: Apache-2.0
-- How this node's kernel reaches other nodes: what policies see as world.reach, world.underlay and world.gateway.
--
-- Asked of the kernel when a policy first looks, for each peer alone, and remembered until an event says that it may
-- have become different.

local core = require "mncni.core"
local fabric = require "mncni.fabric"

local reach = {}

local Reach = {}
Reach.__index = Reach

-- How many neighbours of a family are asked for their MAC addresses at once, and how many have to be known: enough to
-- see whether all have the same.
reach.PROBED, reach.ENOUGH = 8, 2

-- Milliseconds between two questions, and how long their answers are waited for before anything is known.
reach.PROBE_EVERY, reach.PATIENCE = 2000, 1000

local families = { "inet", "inet6" }

-- new(host, names): names is a mncni.link_names of the host. No probe: probes = false.
function reach.new(host, names, args)
  local self = setmetatable({
    host = host, names = names, probes = not (args and args.probes == false),
    verdicts = {}, -- family -> the last one that is worth something
    asked = {}, -- family -> who was asked last
  }, Reach)
  self:forget()
  return self
end

-- What table() returns for a peer that nobody has looked at.
local function look_at(self, peers, name)
  local node = self.nodes[name]
  if node then
    local found = {}
    for _, family in ipairs(families) do
      local address = node:address(family)
      found[family] = address and self:look(address) or nil
    end
    peers[name], self.looked = found, true
    return found
  end
end

-- Forgets everything but what was found of the network: the next look asks again.
function Reach:forget()
  self.peers = setmetatable({}, { __index = function(peers, name) return look_at(self, peers, name) end })
  self.of_dev, self.on_link, self.neighbours = {}, {}, nil
  self.probed, self.answered = nil, false
  self.gateways, self.underlays, self.advertising, self.looked = nil, nil, nil, false
end

-- "dev address" -> MAC of the neighbours that the kernel knows.
function Reach:macs()
  if not self.neighbours then
    self.neighbours = {}
    for neigh in self.host.neigh.list {} do
      if neigh.lladdr and neigh.dst then
        self.neighbours[neigh.dev .. " " .. neigh.dst] = neigh.lladdr
      end
    end
  end
  return self.neighbours
end

-- What the kernel would do with a packet to an address.
function Reach:look(address)
  local ok, route = pcall(self.host.route.get, { dst = address })
  if not ok then
    return { address = address, error = tostring(route) }
  elseif not route or not route.dev then
    return { address = address, error = ("no route to %s"):format(address) }
  end
  local link = self.names.name[route.dev]
  self.of_dev[route.dev] = true
  local mtu = link and link.mtu
  if route.metrics and route.metrics.mtu and (not mtu or route.metrics.mtu < mtu) then
    mtu = route.metrics.mtu
  end
  local found = {
    address = address, dev = route.dev, gateway = route.gateway or route.via and route.via.host,
    prefsrc = route.prefsrc, mtu = mtu,
  }
  if not found.gateway then
    self.on_link[route.dev .. " " .. address], self.answered = found, false
    found.lladdr = self:macs()[route.dev .. " " .. address]
  end
  return found
end

-- The table world.reach: peer's name -> { inet = reach, inet6 = reach }, filled as it is looked at.
function Reach:table(nodes)
  self.nodes = nodes
  return self.peers
end

-- A peer that is another one now, or gone.
function Reach:changed(name)
  local found = rawget(self.peers, name)
  self.peers[name], self.answered = nil, false
  for _, family in ipairs(found and families or {}) do
    local one = found[family]
    if one and one.dev then
      self.on_link[one.dev .. " " .. one.address] = nil
    end
  end
end

-- world.underlay: family -> the link that has this node's address of that family.
function Reach:underlay(node)
  if self.underlays and self.underlays_of == node then
    return self.underlays
  end
  local underlays, wanted = {}, {}
  for _, family in ipairs(families) do
    local address = node:address(family)
    if address then
      wanted[address] = family
    end
  end
  for addr in self.host.addr.list {} do
    local address = addr.address and addr.address:match "^[^/]+"
    local family = wanted[address]
    local link = family and self.names.name[addr.dev]
    if link and not underlays[family] then
      underlays[family] = { dev = addr.dev, address = address, mtu = link.mtu, lladdr = link.address }
      self.of_dev[addr.dev] = true
    end
  end
  self.own, self.underlays, self.underlays_of = wanted, underlays, node
  return underlays
end

-- world.gateway: family -> { address, dev, lladdr } of the default route.
function Reach:gateway()
  if not self.gateways then
    local gateways = {}
    for _, family in ipairs(families) do
      local ok, route = pcall(self.host.route.get, { dst = "default", family = family, table = "main" })
      if ok and route and route.gateway and route.dev then
        local key = route.dev .. " " .. route.gateway
        gateways[family] = { address = route.gateway, dev = route.dev, lladdr = self:macs()[key] }
        self.of_dev[route.dev] = true
      end
    end
    self.gateways = gateways
  end
  return self.gateways
end

-- An integer of net/ipv6/conf/DEV, or 0.
local function ipv6_conf(self, dev, key)
  local ok, value = pcall(self.host.sysctl.get, ("net/ipv6/conf/%s/%s"):format(dev, key))
  return ok and math.tointeger(tonumber(value)) or 0
end

-- world.advertised: the links, sorted, on which the kernel itself follows router advertisements (RFC 4861), as far as
-- they matter to the node: those with routes that came by one, and those with its IPv6 address or default route that
-- listen. Where accept_ra is 0, somebody else follows them (systemd-networkd), or nobody.
function Reach:advertised(node)
  if not self.advertising then
    local devs, found = {}, {}
    for _, link in ipairs { self:underlay(node).inet6 or {}, self:gateway().inet6 or {} } do
      devs[link.dev or ""] = "listens"
    end
    for route in self.host.route.list { family = "inet6", protocol = "ra" } do
      devs[route.dev or ""] = "has routes"
    end
    for dev, why in pairs(devs) do
      local accept = dev ~= "" and ipv6_conf(self, dev, "accept_ra") or 0
      local listens = accept == 2 or accept == 1 and ipv6_conf(self, dev, "forwarding") == 0
      if accept ~= 0 and (listens or why == "has routes") then
        found[#found + 1], self.of_dev[dev] = dev, true
      end
    end
    table.sort(found)
    self.advertising = found
  end
  return self.advertising
end

local function covers(self, dst)
  local range = core.cidr.parse(dst)
  if not range then
    return true
  end
  for _, found in pairs(self.peers) do
    local one = found[range.family]
    if one and range:contains(core.cidr(one.address)) then
      return true
    end
  end
  return false
end

-- A neighbour's MAC address became known, or another one. What is on the way is followed whoever looks.
local function neighbour_event(self, event)
  local neigh = event.value
  if not self.neighbours or not neigh.dst or not neigh.dev then
    return false
  end
  local key = neigh.dev .. " " .. neigh.dst
  local mac = event.event == "new" and neigh.lladdr or nil
  if not mac or mac == self.neighbours[key] then
    return false -- one that is forgotten is asked for again when it is needed
  end
  self.neighbours[key] = mac
  local found = self.on_link[key]
  local any = found ~= nil and found.lladdr ~= mac
  if found then
    found.lladdr = mac
  end
  for _, gateway in pairs(self.gateways or {}) do
    if gateway.dev .. " " .. gateway.address == key and gateway.lladdr ~= mac then
      gateway.lladdr, any = mac, true
    end
  end
  return any
end

-- Takes an event of a monitor, before the names of links follow it. Returns whether policies may see something else
-- than before.
function Reach:event(event)
  local value, object = event.value, event.object
  local forget = false
  if event.event == "overrun" then
    forget = true
  elseif object == "neigh" then
    return neighbour_event(self, event)
  elseif object == "link" then
    local known = self.names.index[value.ifindex]
    forget = (self.of_dev[value.ifname] or known and self.of_dev[known.ifname]) and self.names:shaken(event)
  elseif object == "addr" then
    forget = self.of_dev[value.dev] or self.own and self.own[(value.address or ""):match "^[^/]*"] ~= nil
  elseif object == "route" then
    forget = value.protocol ~= "mncni" and value.table ~= "local"
      and (value.dst == nil or value.dst == "default" or covers(self, value.dst))
  end
  if forget then
    self:forget()
  end
  return forget or false
end

-- Asks the gateways, and some of the neighbours that policies looked for, whose MAC addresses are not known, as long as
-- too few are: others each time, in case these do not answer. The kernel's own resolution is started, and its outcome
-- comes as an event. Returns how many were asked.
local function ask(self)
  local batch, macs = {}, self:macs()
  local function put(dev, address)
    local link = self.names.name[dev]
    if link then
      local args = { ifindex = link.ifindex, dst = address, flags = { "use" }, state = {} }
      batch[#batch + 1] = { "replace", "neigh", args }
    end
  end
  local silent, known = { inet = {}, inet6 = {} }, { inet = 0, inet6 = 0 }
  for key, found in pairs(self.on_link) do
    local family = found.address:find(":", 1, true) and "inet6" or "inet"
    if macs[key] then
      known[family] = known[family] + 1
    else
      table.insert(silent[family], key)
    end
  end
  for _, family in ipairs(families) do
    local keys = silent[family]
    if known[family] < reach.ENOUGH then
      table.sort(keys)
      local first = 1
      while keys[first] and keys[first] <= (self.asked[family] or "") do
        first = first + 1
      end
      for i = 0, math.min(#keys, reach.PROBED) - 1 do
        local key = keys[(first - 1 + i) % #keys + 1]
        self.asked[family] = key
        put(self.on_link[key].dev, self.on_link[key].address)
      end
    end
  end
  for _, gateway in pairs(self:gateway()) do
    if not gateway.lladdr then
      put(gateway.dev, gateway.address)
    end
  end
  if #batch > 0 then
    pcall(self.host.batch, self.host, batch, true)
  end
  return #batch
end

-- Asks again as long as too little is known. Returns when to be called again (math.huge: no need).
function Reach:probe(now)
  if not self.probes or not self.looked or self.answered then
    return math.huge
  elseif self.probed and now < self.probed + reach.PROBE_EVERY then
    return self.probed + reach.PROBE_EVERY
  end
  self.probed, self.answered = now, ask(self) == 0
  return self.answered and math.huge or now + reach.PROBE_EVERY
end

-- Whether routes of ours lead directly to peers on the link: the judgement of an earlier agent, that nothing speaks
-- against yet.
local function goes_directly(self, world, family)
  local next_hops = {}
  for _, peer in ipairs(world.peers) do
    local found = world.reach[peer.name]
    found = found and found[family]
    if found and not found.gateway and not found.error then
      next_hops[found.dev .. " " .. found.address] = true
    end
  end
  for route in self.host.route.list { family = family, protocol = "mncni" } do
    if route.gateway and next_hops[(route.dev or "") .. " " .. route.gateway] then
      return true
    end
  end
  return false
end

-- Asks for MAC addresses and waits until they tell enough of every family, at most reach.PATIENCE: before the first
-- routes are made, and once in the life of an agent.
local function wait_for_answers(self, world)
  self.waited = true
  local monitor <close> = self.host:monitor { "neigh" }
  local function unknown()
    for _, family in ipairs(families) do
      local verdict = fabric.judge(world, family)
      if verdict and verdict.unknown then
        return true
      end
    end
    return false
  end
  local deadline = core.record.clock() + 1000 * reach.PATIENCE
  ask(self)
  while unknown() do
    local left = (deadline - core.record.clock()) // 1000
    local event = left > 0 and monitor:next(left)
    if not event then
      return
    elseif event.object == "neigh" then
      neighbour_event(self, event)
    end
  end
end

-- The verdict of mncni.fabric that holds: a new one that is as sure as the last, else the last.
local function verdict_of(self, world, family)
  local found = fabric.judge(world, family)
  if not found then
    return nil
  end
  local last = self.verdicts[family]
  if found.unknown and not last then
    if goes_directly(self, world, family) then
      found = { forwards = true, sure = false }
    elseif self.probes and not self.waited then
      wait_for_answers(self, world)
      found = fabric.judge(world, family)
    end
  end
  if found.unknown or last and last.sure and not found.sure then
    return last or found
  end
  self.verdicts[family] = found
  return found
end

-- world.fabric: family -> what is known of the network between the nodes (mncni.fabric), found when it is looked at.
function Reach:fabric(world)
  return setmetatable({}, {
    __index = function(cache, family)
      local verdict = verdict_of(self, world, family)
      cache[family] = verdict
      return verdict
    end,
  })
end

return reach
