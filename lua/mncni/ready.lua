-- SPDX-License-Identifier: Apache-2.0
-- The last module of a snapshot (plugin/mncni.c): fills what else is filled when it is first used. A call that did so would
-- write into the snapshot, and the kernel copy a page for it.

local mncni = require "mncni"
local net = require "mncni.net"

local ready = { parts = 0 }

for name, part in pairs(getmetatable(mncni).parts) do
  if package.loaded[part[1]] then
    ready.parts = ready.parts + (mncni[name] and 1 or 0)
  end
end

for protocol, objects in pairs(net.families) do
  for object in pairs(objects) do
    net.tag(protocol == "netfilter" and "nft_" .. object or object, {})
  end
end

-- That nets have no __eq is noted when two are compared.
ready.alike = net.over {} == net.over {}

return ready
