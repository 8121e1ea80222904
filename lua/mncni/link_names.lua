-- SPDX-License-Identifier: Apache-2.0
-- The links of a namespace by name and by index, kept up to date from a monitor's events.

local link_names = {}

local Names = {}
Names.__index = Names

function link_names.new(host)
  return setmetatable({ host = host, name = {}, index = {} }, Names)
end

-- What is kept of a link.
local function kept(link)
  return {
    ifname = link.ifname, ifindex = link.ifindex, group = link.group, up = link.up, mtu = link.mtu,
    address = link.address, kind = link.kind, master = link.master, operstate = link.operstate,
  }
end

function Names:resync()
  self.name, self.index = {}, {}
  for link in self.host.link.list {} do
    local entry = kept(link)
    self.name[entry.ifname], self.index[entry.ifindex] = entry, entry
  end
end

-- Whether the event takes routes or neighbours along, or may let some succeed that failed: a link that came, went, was
-- renamed, or whose state, MTU or address changed.
function Names:shaken(event)
  local link = event.value
  local known = self.index[link.ifindex]
  return event.event == "del" or not known or known.up ~= link.up or known.ifname ~= link.ifname
    or known.mtu ~= link.mtu or known.address ~= link.address or known.operstate ~= link.operstate
end

function Names:event(event)
  local link = event.value
  local known = self.index[link.ifindex]
  if known and self.name[known.ifname] == known then
    self.name[known.ifname] = nil
  end
  self.index[link.ifindex] = nil
  if event.event == "new" then
    local entry = kept(link)
    self.name[entry.ifname], self.index[entry.ifindex] = entry, entry
  end
end

return link_names
