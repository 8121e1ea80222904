-- SPDX-License-Identifier: Apache-2.0
-- The part of a net that speaks to nftables.

local net = require "mncni.net"

-- net.nft: table, chain, rule, set and element with their verbs; batch{ {verb, object, args}, ... } is one atomic
-- transaction; add, del, get and list also take the object's name first: nft.add("element", {...}).
return function(self, nftables, family)
  local nft = {}
  for object, list in pairs(nftables) do
    nft[object] = family(self, object, "netfilter", list)
  end
  for _, verb in ipairs { "add", "del", "get", "list" } do
    nft[verb] = function(object, args)
      if not nftables[object] then
        net.unknown("nft", object, nftables, 2)
      end
      return nft[object][verb](args)
    end
  end
  function nft.batch(list)
    net.check_args("nft", "batch", list)
    local steps = {}
    for i, step in ipairs(list) do
      local object = tostring(step[2]):gsub("^nft_", "")
      if not nftables[object] then
        net.unknown("nft", object, nftables, 2)
      end
      steps[i] = { step[1], "nft_" .. object, step[3] }
    end
    return self:socket("netfilter"):batch(steps)
  end
  return setmetatable(nft, {
    __index = function(_, name)
      net.unknown("nft", name, nft, 2)
    end,
  })
end
