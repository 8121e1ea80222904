-- SPDX-License-Identifier: Apache-2.0
-- mncni gc: removes attachments that are proven dead, for runtimes that never send GC.

local core = require "mncni.core"
local collect = require "mncni.collect"
local words = require "mncni.words"

local gc = {}

gc.summary = "removes attachments that are proven dead"
gc.about = [[
The link is gone from the host and so is the namespace, or they are of an earlier boot. What is in doubt is kept.
One line is printed for each that is removed. For runtimes that never send GC.]]
gc.options = {
  { "network", value = "NETWORK", doc = "only those of this network" },
  { "grace", value = "SECONDS", doc = "leave alone what is younger (default 300)" },
  { "dry-run", doc = "only tell" },
  { "verbose", doc = "tell what is kept in doubt, too, and why" },
  { "output", short = "o", value = "json", choices = { { "json" } }, doc = "tell all of it as one JSON document" },
  { "state-dir", value = "DIR", doc = "where the journals are (default $MNCNI_STATE_DIR or /run/mncni)" },
  { "data-dir", value = "DIR", doc = "with --network, where addresses are (default /var/lib/cni/networks)" },
}
gc.exit = "0 when all that is dead is gone, 1 when something could not be removed, 2 for a mistake in the options."

local function usage(...)
  return words.usage("gc", ...)
end

local function lines(report, given)
  local out = {}
  local function tell(list, word)
    for _, item in ipairs(list) do
      out[#out + 1] = ("%s %s: %s"):format(word, collect.describe(item), item.reason)
    end
  end
  tell(report.removed, given["dry-run"] and "would remove" or "removed")
  if given.verbose then
    tell(report.kept, "kept")
    out[#out + 1] = ("%d alive, %d kept in doubt"):format(report.alive, #report.kept)
  end
  return table.concat(out, "\n")
end

local function errors(report)
  local out = {}
  for _, item in ipairs(report.failed) do
    out[#out + 1] = ("mncni gc: could not remove %s: %s"):format(collect.describe(item), item.reason)
  end
  return #out > 0 and table.concat(out, "\n") or nil
end

-- The record of calls has one entry for the collection, not one for each removal: they would displace all others.
local function record(state_dir, report, network, started)
  local ring = require "mncni.record"
  if #report.removed + #report.failed > 0 then
    pcall(ring.write, state_dir, {
      verb = "GC", network = network, duration = ring.clock() - started, code = #report.failed > 0 and 5 or 0,
      message = ("mncni gc: %d removed, %d kept in doubt, %d failed"):format(#report.removed, #report.kept,
        #report.failed),
    })
  end
end

function gc.run(given)
  local grace = given.grace and math.tointeger(tonumber(given.grace))
  if given.grace and (not grace or grace < 0) then
    return usage("--grace is a number of seconds, not %q", given.grace)
  elseif given.network and not given.network:find("^%w[%w_.%-]*$") then
    return usage("%q is not the name of a network", given.network)
  elseif given["data-dir"] and not given.network then
    return usage("--data-dir needs --network")
  end
  local state_dir = words.state_dir(given)
  local started = require("mncni.record").clock()
  local report = collect.run {
    state_dir = state_dir, network = given.network, grace = grace, dry_run = given["dry-run"],
    stores = { given.network and (given["data-dir"] or "/var/lib/cni/networks") .. "/" .. given.network or nil },
    log = function() end,
  }
  if not given["dry-run"] then
    record(state_dir, report, given.network, started)
  end
  local status = #report.failed > 0 and 1 or 0
  if given.output then
    for _, list in ipairs { "removed", "kept", "failed" } do
      report[list] = core.json.array(report[list])
    end
    return { status = status, stdout = core.json.encode(report, { pretty = true }) }
  end
  local text = lines(report, given)
  return { status = status, stdout = text ~= "" and text or nil, stderr = errors(report) }
end

return gc
