-- SPDX-License-Identifier: Apache-2.0
-- Every answer of the kernel's netlink, falsified, and what faults.promises promises all the same. An answer that was
-- changed into a refusal is of a request that the kernel has carried out, which is the harder case for a rollback.

local faults = require "spec.support.faults"

local cases = faults.cases({
  faults.case { name = "naivebridge, both families", ipam = faults.dual_stack },
  faults.guarded,
  faults.case { name = "naivebridge, first on the node, masquerading", cold = true, network = { ipMasq = true } },
}, { faults.bridge, faults.ptp, faults.host_ports, faults.limited, faults.firewall, faults.tuning })

-- How an answer is changed, and whether an ADD has to go on all the same. ENODEV and the like are not here: that a thing
-- is not there, or is there already, is for the kernel to say, and nobody could know better.
local ways = {
  { "EPERM" }, { "EBUSY" }, { "ENOMEM" }, { "ENOBUFS" }, { "EAGAIN" }, { "EINTR" },
  { "lost" }, { "truncated" }, { "no-buffers" },
  { "interrupted", passing = "a dump that was interrupted, which is to be repeated" },
}

for _, case in ipairs(cases) do
  describe(case.name .. ":", function()
    local world

    setup(function() world = faults.world(case) end)
    teardown(function() world:close() end)

    for _, verb in ipairs { "ADD", "DEL" } do
      local name = verb .. " with a false answer"

      it(name, function()
        faults.promises {
          world = world, verb = verb, name = name, sample = 20, kinds = ways, places = "answers",
          disturb = function(way, at)
            local outcome = world:call(verb, { inject = { "--reply", way[1], "--at", at } })
            outcome.what = ("answer %d: %s, received by %s"):format(at, way[1], faults.describe(outcome.fault))
            outcome.passing = way.passing
            return outcome
          end,
        }
      end)
    end
  end)
end
