-- SPDX-License-Identifier: Apache-2.0
-- Waiting for duplicate address detection (RFC 4862, section 5.4): an address is tentative for a second or two.

local core = require "mncni.core"

local settle = {}

local LIMIT = 10000 -- milliseconds
local LOOK = 200

-- The first address of the link that is still tentative, or nil. Raises code 103 for one that another host has.
local function tentative(net, ifname)
  local found
  for address in net.addr.list { dev = ifname, family = "inet6" } do
    for _, flag in ipairs(address.flags or {}) do
      if flag == "dadfailed" then
        error(core.error {
          code = 103, object = ("address %s"):format(address.address),
          message = ("another host of the network has it already, so %s cannot"):format(ifname),
        }, 0)
      elseif flag == "tentative" then
        found = found or address.address
      end
    end
  end
  return found
end

-- wait(net, ifname) returns once no address of the link is tentative. Raises code 103 for a duplicate, 11 after 10 s.
function settle.wait(net, ifname)
  local monitor <close> = net:monitor { "addr" }
  local waited = 0
  local address = tentative(net, ifname)
  while address and waited < LIMIT do
    if not monitor:next(LOOK) then
      waited = waited + LOOK
    end
    address = tentative(net, ifname)
  end
  if address then
    error(core.error {
      code = 11, object = ("address %s"):format(address),
      message = ("duplicate address detection on %s did not end in %d s"):format(ifname, LIMIT // 1000),
    }, 0)
  end
end

return settle
