-- SPDX-License-Identifier: Apache-2.0
-- What a trace knows of the links of every namespace that it hears of: by what names they go, whose they are, and what
-- a notification about one changes.

local links = {}

local Links = {}
Links.__index = Links

links.HOME = -1 -- the number under which the node's own namespace stands

-- A link's keys that are shown when they change, all of which `ip link set` has.
local compared = { "ifname", "mtu", "address", "up", "ifalias", "group", "master" }

function links.new()
  return setmetatable({ by_nsid = {} }, Links)
end

function Links:of(nsid)
  local known = self.by_nsid[nsid] or {}
  self.by_nsid[nsid] = known
  return known
end

-- The namespace is gone, and its number free for another.
function Links:forget(nsid)
  self.by_nsid[nsid] = nil
end

-- Only these are known to be there still: a set of numbers.
function Links:keep(used)
  for nsid in pairs(self.by_nsid) do
    if not used[nsid] then
      self.by_nsid[nsid] = nil
    end
  end
end

function Links:get(nsid, index)
  local known = self.by_nsid[nsid]
  return known and known[index]
end

-- The name of a link, or its index where it was never seen.
function Links:name(nsid, index)
  local link = self:get(nsid, index)
  return link and link.ifname or index
end

-- Names stand in the place of indexes in what was decoded.
function Links:resolve(nsid, object, value)
  if object == "link" or object == "vlan" then
    if math.type(value.master) == "integer" then
      value.master = self:name(nsid, value.master)
    end
    if object == "vlan" and value.ifindex then
      value.dev = self:name(nsid, value.ifindex)
    end
    return
  end
  if value.dev == nil and value.ifindex and value.ifindex ~= 0 then
    value.dev = value.ifindex
  end
  for _, key in ipairs { "dev", "oif", "iif", "master" } do
    if math.type(value[key]) == "integer" then
      value[key] = self:name(nsid, value[key])
    end
  end
end

-- Takes in a notification about a link. Returns "add", "del", or "set" and the keys that differ; nil when it says nothing
-- new that is compared; and what is kept of the link, to which an owner may be added.
function Links:change(nsid, event, value)
  local known = self:of(nsid)
  local before = known[value.ifindex]
  if event == "del" then
    known[value.ifindex] = nil
    return "del", nil, before or {}
  end
  local now = before or {}
  local differs
  for _, key in ipairs(compared) do
    if now[key] ~= value[key] then
      differs = differs or {}
      differs[key] = value[key]
      -- What is no longer there is told by what stands for it in a request.
      if value[key] == nil then
        differs[key] = (key == "master" and 0) or (key == "ifalias" and "") or nil
      end
      now[key] = value[key]
    end
  end
  now.kind = value.kind
  now.link_netnsid = value.link_netnsid
  known[value.ifindex] = now
  if not before then
    return "add", nil, now
  end
  return differs and next(differs) and "set" or nil, differs, now
end

return links
