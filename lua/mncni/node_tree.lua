-- SPDX-License-Identifier: Apache-2.0
-- The node drawn in text: what leads out of it, bridges with their ports, pods, and the routes to peers that the agent keeps.

local terminal = require "mncni.terminal"

local node_tree = {}

-- Adds the lines of a list of { text, children } to lines, each behind what its depth has it begin with.
local function draw(lines, front, list)
  for i, item in ipairs(list) do
    local last = i == #list
    lines[#lines + 1] = front .. (last and "└── " or "├── ") .. item.text
    draw(lines, front .. (last and "    " or "│   "), item)
  end
end

local function branch(colour, ...)
  local words = {}
  for _, word in ipairs { ... } do
    words[#words + 1] = word ~= "" and word or nil
  end
  return { text = terminal.painter()(colour, terminal.line(table.concat(words, "  "))) }
end

-- What is on the node: links by name, their addresses, default routes by device, routes of the agent's.
local function look()
  local net = require "mncni.net"
  local host <close> = net.open()
  local seen = { links = {}, names = {}, addresses = {}, defaults = {}, routes = {} }
  for link in host.link.list() do
    seen.links[link.ifname], seen.names[#seen.names + 1] = link, link.ifname
    seen.addresses[link.ifname], seen.defaults[link.ifname] = {}, {}
  end
  for address in host.addr.list() do
    if seen.addresses[address.dev] and address.scope ~= "link" then
      table.insert(seen.addresses[address.dev], tostring(address.address))
    end
  end
  for route in host.route.list() do
    if tostring(route.dst or "default") == "default" and tostring(route.table or "main") == "main" and route.dev then
      table.insert(seen.defaults[route.dev] or {}, "default" .. (route.gateway and " via " .. route.gateway or ""))
    end
    if route.protocol == "mncni" then
      seen.routes[#seen.routes + 1] = route
    end
  end
  table.sort(seen.names)
  return seen
end

local function link_branch(seen, name, ...)
  local link = seen.links[name]
  return branch(not link.up and "yellow" or nil, name, link.kind and ("(%s)"):format(link.kind) or "",
    link.up and "up" or "down", ("mtu %d"):format(link.mtu), table.concat(seen.addresses[name], " "), ...)
end

local COLOURS = { stale = "red", doubt = "yellow", unfinished = "yellow" }

local function pod_branch(one, age)
  return branch(COLOURS[one.state], one.link or "", one.pod or (one.container or "?"):sub(1, 12), one.ifname or "?",
    table.concat(one.addresses, " "), table.concat(one.policies, ","), "age " .. age(one.age),
    one.state ~= "alive" and ("%s: %s"):format(one.state, one.reason) or "")
end

-- Where a route leads: the gateways of its next hops, or what it has instead.
local function way(route)
  local gateways = {}
  for _, hop in ipairs(route.nexthops or { route }) do
    gateways[#gateways + 1] = hop.gateway or type(hop.via) == "table" and hop.via.host or nil
  end
  if #gateways > 0 then
    return "peer " .. table.concat(gateways, ", ")
  end
  return route.type and route.type ~= "unicast" and tostring(route.type) or "on the link"
end

local function peers(seen)
  local list, known = { text = "routes of the agent (protocol mncni)" }, {}
  for _, route in ipairs(seen.routes) do
    local where = way(route) .. (route.dev and "  dev " .. route.dev or "")
    if not known[where] then
      known[where] = branch(nil, where)
      list[#list + 1] = known[where]
    end
    table.insert(known[where], branch(nil, tostring(route.dst), route.prefsrc and "src " .. route.prefsrc or "",
      route.metrics and route.metrics.mtu and "mtu " .. route.metrics.mtu or ""))
  end
  return list
end

-- text(list, age): list is of mncni.attachments, age a function that tells a number of seconds.
function node_tree.text(list, age)
  local seen = look()
  local masters, alone, elsewhere = {}, {}, { text = "pods without a link on the node" }
  for _, one in ipairs(list) do
    local master = one.master and tostring(one.master)
    if not one.link then
      table.insert(elsewhere, pod_branch(one, age))
    elseif master and seen.links[master] then
      masters[master] = masters[master] or {}
      masters[master][one.link] = pod_branch(one, age)
    else
      table.insert(alone, pod_branch(one, age))
    end
  end
  local hostname = ""
  do
    local file <close> = io.open "/proc/sys/kernel/hostname"
    hostname = file and file:read "l" or hostname
  end
  local root = { text = terminal.line("node " .. hostname) }
  for _, name in ipairs(seen.names) do
    if masters[name] then
      local bridge = link_branch(seen, name, table.concat(seen.defaults[name], "; "))
      for _, port in ipairs(seen.names) do
        if tostring(seen.links[port].master) == name then
          table.insert(bridge, masters[name][port] or link_branch(seen, port, "no pod's"))
        end
      end
      table.insert(root, bridge)
    elseif #seen.defaults[name] > 0 then
      table.insert(root, link_branch(seen, name, table.concat(seen.defaults[name], "; ")))
    end
  end
  table.move(alone, 1, #alone, #root + 1, root)
  for _, group in ipairs { elsewhere, peers(seen) } do
    root[#root + 1] = #group > 0 and group or nil
  end
  local lines = { root.text }
  draw(lines, "", root)
  return table.concat(lines, "\n")
end

return node_tree
