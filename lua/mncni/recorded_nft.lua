-- SPDX-License-Identifier: Apache-2.0
-- The model of nftables behind the recorded net: tables, chains, rules, sets and elements of one namespace, without
-- looking into rules or packets.

local model = require "mncni.recorded_route"

local nft = { objects = {} }

-- snapshot(space) and restore(space, snapshot) make a batch atomic.
function nft.snapshot(space)
  return model.copy(space.tables)
end

function nft.restore(space, snapshot)
  space.tables = snapshot
end

return nft
