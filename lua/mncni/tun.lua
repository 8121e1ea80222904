-- SPDX-License-Identifier: Apache-2.0
-- TUN and TAP devices of pods.

local core = require "mncni.core"

local tun = {}

-- make(net, args) makes the device of a step { ifname, mode, multi_queue, owner, group, link = what of a link is set at
-- once }. It stays only when it is known by its alias to be ours: whoever is killed before leaves nothing.
function tun.make(net, args)
  local handle <close> = core.tun.open(rawget(net, "netns"), args)
  local link = { ifname = args.ifname }
  for key, value in pairs(args.link) do
    link[key] = value
  end
  net.link.set(link)
  handle:persist()
end

return tun
