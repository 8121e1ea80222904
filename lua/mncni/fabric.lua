-- SPDX-License-Identifier: Apache-2.0
-- The network between the nodes: whether it carries a packet to the next hop that a node chooses, which is what direct
-- routes need. A cloud's network often looks at the destination alone, answers for all nodes with one MAC address, and
-- drops what is for pods.
--
-- What speaks for it is a judgement of the MAC addresses by which other nodes on the link answer:
--   two or more nodes, more than one MAC address   it does, surely
--   two or more nodes, one MAC address             it does not, surely
--   the gateway's MAC address, or Azure's router   it does not, surely
--   a single node, which is the only one on the link, and answers otherwise than the gateway (or there is no gateway):
--                                                  it does, presumably, until something is sure
--   less than that                                 it is not known, and packets are carried meanwhile
-- mncni.reach keeps the last judgement until there is one as sure.

local fabric = {}

local AZURE_ROUTER = "12:34:56:78:9a:bc" -- what Azure answers to every ARP request

local UNKNOWN = "it is not known yet whether the network carries packets to the pods of other nodes; their MAC "
  .. "addresses will tell, when they answer"

local function against(message, ...)
  return { forwards = false, sure = true, why = message:format(...) }
end

-- judge(world, family) looks at the peers, reach and gateway of a world. Returns { forwards, sure, unknown = booleans,
-- why = text, where it does not }, or nil when no node is on the link.
function fabric.judge(world, family)
  local gateway, reaches = (world.gateway or {})[family], world.reach or {}
  local on_link, known, alike, seen, only = 0, 0, true, nil, nil
  for _, peer in ipairs(world.peers) do
    local reach = reaches[peer.name]
    reach = reach and reach[family]
    if reach and not reach.gateway and not reach.error then
      on_link, only = on_link + 1, reach
      local mac = reach.lladdr
      if mac == AZURE_ROUTER then
        return against("%s answers with Azure's MAC address %s", peer.name, mac)
      elseif mac and gateway and mac == gateway.lladdr and reach.address ~= gateway.address then
        return against("%s answers with the gateway's MAC address %s", peer.name, mac)
      elseif mac then
        alike = alike and (seen or mac) == mac
        seen, known = mac, known + 1
      end
    end
  end
  if on_link == 0 then
    return nil
  elseif known > 1 and alike then
    return against("all nodes answer with one MAC address, %s", seen)
  elseif known > 1 then
    return { forwards = true, sure = true }
  elseif known == 1 and on_link == 1 and (not gateway or gateway.lladdr or gateway.address == only.address) then
    return { forwards = true, sure = false }
  end
  return { forwards = false, sure = false, unknown = true, why = UNKNOWN }
end

return fabric
