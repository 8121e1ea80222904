-- SPDX-License-Identifier: Apache-2.0
-- ADD of an IPAM policy as a plugin of its own.

local core = require "mncni.core"
local add = require "mncni.verb.add"
local results = require "mncni.result"
local steps = require "mncni.steps"

-- The header for a lease whose interface another plugin makes: the namespace is recorded if the caller names one.
local function lease_header(call)
  local host <close> = core.socket { protocol = "route" }
  local opened, netns = pcall(core.netns.open, { path = call.netns })
  if not opened then
    return add.header(call, host)
  end
  local held <close> = netns
  local inside <close> = core.socket { protocol = "route", netns = held }
  return add.header(call, host, add.identity(call, held, inside))
end

-- The result of an earlier, identical request, while its addresses are still reserved for it; else nil.
local function still_leased(call, ipam, result)
  local request = setmetatable({ prev_result = result }, { __index = call })
  local ok = pcall(require("mncni.lease").check, request, steps.new {}, ipam)
  return ok and result or nil
end

-- ADD of the IPAM policy that ipam names, as a plugin of its own: an address, no interface. Returns the document.
return function(call, ipam)
  local journal, answer = add.fresh_journal(call, nil, function(list)
    return still_leased(call, ipam, list[#list].result)
  end)
  if not journal then
    return add.document(call, results.check(answer)) -- the same request again: the same address
  end
  local context = steps.new { journal = journal }
  local text
  add.with_rollback(call, context, journal, function()
    journal:append(core.json.encode(lease_header(call)))
    local lease = require("mncni.lease").acquire(call, context, ipam)
    local result = { ips = {}, routes = lease.routes, dns = lease.dns }
    for i, entry in ipairs(lease.addresses) do
      result.ips[i] = { address = entry.address, gateway = entry.gateway }
    end
    text = add.conclude(call, journal, result)
  end)
  journal:close()
  return text
end
