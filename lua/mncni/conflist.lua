-- SPDX-License-Identifier: Apache-2.0
-- The CNI configuration of a node, for the policy cniconfig. Pure functions of the world that its desired is given;
-- world.desired is what the policies listed before it want.

local core = require "mncni.core"
local netconf = require "mncni.netconf"
local routes = require "mncni.routes"

local conflist = {}

local anywhere = { inet = "0.0.0.0/0", inet6 = "::/0" }

-- Kinds of links that put something in front of a packet.
local tunnels = { vxlan = true, geneve = true, wireguard = true, gre = true, ipip = true, sit = true }

-- mtu(world) is the largest packet, in bytes, that every way to another node takes: that of the tunnels that are wanted,
-- else that of the links between the nodes. Where nobody says what is wanted, room is left for a tunnel. nil when not
-- even the links are known.
function conflist.mtu(world)
  local least = math.huge
  for family, link in pairs(world.underlay or {}) do
    local room = world.desired and 0 or routes.OVERHEAD[family]
    least = math.min(least, (link.mtu or math.huge) - room)
  end
  for _, link in ipairs((world.desired or {}).links or {}) do
    least = math.min(least, tunnels[link.kind] and link.mtu or math.huge)
  end
  return math.tointeger(least)
end

-- Whether the agent masquerades what pods send, so that the plugin need not.
function conflist.is_masqueraded(world)
  for _, ruleset in ipairs((world.desired or {}).nft or {}) do
    if ruleset.family == "inet" and ruleset.table == "mncni" then
      return true
    end
  end
  return false
end

-- ipam(cidrs) is a section for host-local: an address of each range for every pod, and a default route by each family.
function conflist.ipam(cidrs)
  local ranges, default = {}, {}
  for i, cidr in ipairs(cidrs) do
    ranges[i] = { { subnet = tostring(cidr) } }
    default[i] = { dst = anywhere[cidr.family] }
  end
  return { type = "host-local", ranges = ranges, routes = default }
end

-- The reference plugins that may follow, by the capability that each serves.
local chained = { { "portmap", "portMappings" }, { "bandwidth", "bandwidth" } }

-- text{ version, versions, name, plugin = the first plugin's section, portmap = boolean, bandwidth = boolean } is the
-- whole configuration list, the same for the same arguments. versions are offered to runtimes that choose one.
function conflist.text(args)
  local plugins = core.json.array { args.plugin }
  args.plugin.capabilities = { [netconf.ANNOTATIONS] = true }
  for _, other in ipairs(chained) do
    local name, capability = other[1], other[2]
    if args[name] then
      plugins[#plugins + 1] = { type = name, capabilities = { [capability] = true } }
    end
  end
  return core.json.encode({
    cniVersion = args.version, cniVersions = #args.versions > 0 and args.versions or nil, name = args.name,
    plugins = plugins,
  }, { pretty = true }) .. "\n"
end

return conflist
