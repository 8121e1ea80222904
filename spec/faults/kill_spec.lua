-- SPDX-License-Identifier: Apache-2.0
-- SIGKILL at every system call, as a runtime does it whose patience ends: whatever is left must be gone after the DEL
-- that follows, or, when none does, after the garbage collection that finds the namespace gone.

local faults = require "spec.support.faults"

-- What is left of an attachment without a link on the node.
local inside = { "victim: link ", "victim: address ", "address file " }

local cases = faults.cases({
  faults.case { name = "naivebridge" },
  faults.case { name = "naivebridge, both families", ipam = faults.dual_stack },
  faults.case { name = "naivebridge, first on the node, masquerading", cold = true, network = { ipMasq = true } },
  faults.guarded,
  faults.case { name = "naivebridge with the reference host-local", network = { cniVersion = "1.0.0" },
    ipam = { type = "reference-host-local" }, excused = "^address file" },
  faults.case { name = "the reference bridge with our host-local", plugin = "reference-bridge",
    network = { cniVersion = "1.0.0" } },
}, {
  faults.bridge, faults.ptp, faults.host_ports, faults.limited, faults.firewall, faults.tuning, faults.sbr,
  faults.case { name = "macvlan", plugin = "macvlan", network = { master = "up0" }, leaves = inside },
  faults.case { name = "tap", plugin = "tap", network = { bridge = "" }, leaves = inside },
  faults.case { name = "host-device", plugin = "host-device", cold = true, network = { device = "up1" },
    leaves = inside, taken = true },
})
if os.getenv "MNCNI_REFERENCE" == "1" then
  cases[#cases + 1] = faults.case { name = "the reference bridge and host-local", plugin = "reference-bridge",
    network = { cniVersion = "1.0.0" }, ipam = { type = "reference-host-local" }, excused = "" }
end

local must, failed, concat = faults.must, faults.failed, faults.concat

-- How many calls a verb makes when nothing disturbs it.
local function count(world, verb)
  world:settle()
  return must(world:call(verb, { inject = {} })).fault.calls
end

local function kill(whom, point)
  return { "--kill", whom, "--at", point }
end

-- What removes the attachment of a namespace that is gone when no DEL comes: the runtime, or somebody in its stead.
local cures = {
  { name = "GC", run = function(world) return world:gc() end },
  { name = "mncni gc", run = function(world)
    world:wait_for_links()
    return world:collect()
  end },
}

for _, case in ipairs(cases) do
  describe(case.name .. ":", function()
    local world

    setup(function() world = faults.world(case) end)
    teardown(function() world:close() end)

    local function sweep(name, total, at)
      faults.sweep {
        name = case.name .. ": " .. name, count = total, at = at, excused = case.excused,
        reset = function() world:begin() end,
      }
    end

    -- Who may be killed: where there is but one process, all are the same.
    local whoms = case.alone and { "first" } or { "caller", "first", "tree" }

    -- The oracle is blind to nothing of what a sweep asks it about.
    it("an attachment is seen while it is there", function()
      must(world:call "ADD")
      local seen = table.concat(world:left(), "\n")
      for _, kind in ipairs(case.leaves) do
        assert.truthy(seen:find(kind, 1, true), ("no %s among\n%s"):format(kind, seen))
      end
      must(world:call "DEL")
      assert.are.same({}, world:left())
    end)

    for _, whom in ipairs(whoms) do
      it(("ADD killed (%s), then DEL"):format(whom), function()
        local total = count(world, "ADD")
        must(world:call "DEL")
        sweep(("ADD killed (%s), then DEL"):format(whom), total, function(point)
          world:settle()
          local outcome = world:call("ADD", { inject = kill(whom, point) })
          local del = world:call "DEL"
          return concat(failed(del, "DEL"), world:left()), outcome
        end)
      end)

      it(("ADD, then DEL killed (%s), then DEL"):format(whom), function()
        must(world:call "ADD")
        local total = count(world, "DEL")
        sweep(("ADD, then DEL killed (%s), then DEL"):format(whom), total, function(point)
          must(world:call "ADD")
          local outcome = world:call("DEL", { inject = kill(whom, point) })
          local del = world:call "DEL"
          return concat(failed(del, "DEL"), world:left()), outcome
        end)
      end)
    end

    if case.alone and not case.behind and not case.taken then
      for _, cure in ipairs(cures) do
        local name = ("ADD killed, the namespace removed, then %s"):format(cure.name)

        it(name, function()
          local total = count(world, "ADD")
          must(world:call "DEL")
          sweep(name, total, function(point)
            world:settle()
            local outcome = world:call("ADD", { inject = kill("first", point) })
            world:end_victim()
            local cured = failed(cure.run(world), cure.name)
            world:new_victim()
            return concat(cured, world:left()), outcome
          end)
        end)
      end

      it("ADD, the namespace removed, GC killed, then GC", function()
        must(world:call "ADD")
        world:end_victim()
        local total = must(world:gc(false, {})).fault.calls
        world:new_victim()
        sweep("ADD, the namespace removed, GC killed, then GC", total, function(point)
          must(world:call "ADD")
          world:end_victim()
          local outcome = world:gc(false, kill("first", point))
          local gc = world:gc()
          world:new_victim()
          return concat(failed(gc, "GC"), world:left()), outcome
        end)
      end)
    end
  end)
end
