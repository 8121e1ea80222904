-- SPDX-License-Identifier: Apache-2.0
-- Addresses of the recorded net: see mncni.recorded_model.

local core = require "mncni.core"
local model = require "mncni.recorded_model"

local connected, drop, view_entry = model.connected, model.drop, model.view_entry

local function full_address(text)
  local cidr = core.cidr(tostring(text))
  return ("%s/%d"):format(cidr.address, cidr.prefix), cidr
end

local function find_addr(space, dev, address)
  for i, addr in ipairs(space.addrs) do
    if addr.link == dev and addr.address == address then
      return addr, i
    end
  end
end

local addr = {}

local function put_addr(space, verb, args)
  local dev = model.link_of(space, verb, "addr", args)
  local address, cidr = full_address(args.address)
  local made, old = find_addr(space, dev, address)
  if made and verb == "add" then
    space:refuse(verb, "addr", args, "EEXIST", cidr.family == "inet" and "ipv4: Address already assigned"
      or "ipv6: address already assigned")
  end
  local flags, noprefixroute = { "permanent" }, false
  for _, flag in ipairs(args.flags or {}) do
    flags[#flags + 1] = flag
    noprefixroute = noprefixroute or flag == "noprefixroute"
  end
  if made then
    table.remove(space.addrs, old)
    drop(space.routes, function(route)
      return route.of == made
    end)
  end
  made = {
    family = cidr.family, link = dev, address = address, flags = flags, noprefixroute = noprefixroute,
    scope = args.scope or "global",
    label = args.label or cidr.family == "inet" and dev.ifname or nil,
    broadcast = args.broadcast and tostring(args.broadcast), peer = args.peer and tostring(args.peer),
    valid_life_time = args.valid_life_time, preferred_life_time = args.preferred_life_time,
    metric = args.metric, protocol = args.protocol,
  }
  table.insert(space.addrs, made)
  connected(space, dev, made)
  space:event("new", "addr", view_entry(made))
end

function addr.add(space, args)
  put_addr(space, "add", args)
end

function addr.replace(space, args)
  put_addr(space, "replace", args)
end

function addr.del(space, args)
  local dev = model.link_of(space, "del", "addr", args)
  local gone, index = find_addr(space, dev, (full_address(args.address)))
  if not gone then
    space:refuse("del", "addr", args, "EADDRNOTAVAIL", core.cidr(tostring(args.address)).family == "inet"
      and "ipv4: Address not found" or "ipv6: address not found")
  end
  table.remove(space.addrs, index)
  local host = core.cidr(gone.address).address
  drop(space.routes, function(route)
    return route.of == gone or route.prefsrc == host and route.protocol ~= "kernel"
  end)
  space:event("del", "addr", view_entry(gone))
end

function addr.dump(space)
  return model.views(space.addrs)
end

return addr
