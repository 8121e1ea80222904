-- SPDX-License-Identifier: Apache-2.0
-- Every answer of the kernel's netlink, falsified: what the plugin then says must be so. An answer that was changed
-- into a refusal is of a request that the kernel has carried out, which is the harder case for a rollback.

local faults = require "spec.support.faults"

local cases = {
  faults.case { name = "naivebridge, both families", ipam = faults.dual_stack },
  faults.case { name = "naivebridge, first on the node, masquerading", cold = true, network = { ipMasq = true } },
}

-- How an answer is changed, and whether an ADD has to go on all the same. ENODEV and the like are not here: that a thing
-- is not there, or is there already, is for the kernel to say, and nobody could know better.
local ways = {
  { "EPERM" }, { "EBUSY" }, { "ENOMEM" }, { "ENOBUFS" }, { "EAGAIN" }, { "EINTR" },
  { "lost" }, { "truncated" }, { "no-buffers" }, { "interrupted", passing = true },
}

local function must(outcome)
  if outcome.status ~= 0 then error(outcome.stdout .. outcome.stderr, 0) end
  return outcome
end

for _, case in ipairs(cases) do
  describe(case.name .. ":", function()
    local world

    setup(function() world = faults.world(case) end)
    teardown(function() world:close() end)

    local function disturbed(verb, total, point)
      local way, at = ways[(point - 1) // total + 1], (point - 1) % total + 1
      local outcome = world:call(verb, { inject = { "--reply", way[1], "--at", at } })
      outcome.what = ("answer %d: %s, received by %s"):format(at, way[1], faults.describe(outcome.fault))
      outcome.way = way
      return outcome
    end

    local function sweep(name, total, at)
      faults.sweep {
        name = case.name .. ": " .. name, count = total * #ways, sample = 20, at = at,
        reset = function() world:begin() end,
      }
    end

    local function told(wrong, outcome)
      if not (outcome.json and outcome.json.code) then wrong[#wrong + 1] = "no error document: " .. outcome.stdout end
    end

    it("ADD with a false answer", function()
      world:settle()
      local total = must(world:call("ADD", { inject = {} })).fault.answers
      must(world:call "DEL")
      sweep("ADD with a false answer", total, function(point)
        world:settle()
        local outcome, wrong = disturbed("ADD", total, point), {}
        if outcome.status ~= 0 then
          wrong = world:left()
          told(wrong, outcome)
          if outcome.way.passing then wrong[#wrong + 1] = "it failed: " .. outcome.stdout end
        else
          world:works(wrong, outcome)
        end
        local del = world:call "DEL"
        if del.status ~= 0 then wrong[#wrong + 1] = "DEL failed: " .. del.stdout .. del.stderr end
        return table.move(world:left(), 1, 99, #wrong + 1, wrong), outcome.what
      end)
    end)

    it("DEL with a false answer", function()
      must(world:call "ADD")
      local total = must(world:call("DEL", { inject = {} })).fault.answers
      sweep("DEL with a false answer", total, function(point)
        must(world:call "ADD")
        local outcome, wrong = disturbed("DEL", total, point), {}
        if outcome.status == 0 then
          wrong = world:left()
        else
          told(wrong, outcome)
        end
        local del = world:call "DEL"
        if del.status ~= 0 then wrong[#wrong + 1] = "DEL failed: " .. del.stdout .. del.stderr end
        return table.move(world:left(), 1, 99, #wrong + 1, wrong), outcome.what
      end)
    end)
  end)
end
