-- SPDX-License-Identifier: Apache-2.0
-- Has the spawner run jobs, and keeps what it measured: by contestant and verb, wall clock and processor time in
-- microseconds and resident sets in KiB.

local samples = {}

local build, scratch = assert(os.getenv "MNCNI_BUILD"), assert(os.getenv "TMPDIR")

local Samples = {}
Samples.__index = Samples

function samples.new()
  return setmetatable({}, Samples)
end

-- Runs the jobs (world.job), one by one or all at once; calls of one contestant when at once, whose name is given then.
function Samples:run(jobs, at_once)
  local path = scratch .. "/jobs"
  do
    local file <close> = assert(io.open(path, "w"))
    file:write(table.concat(jobs, "\n"), "\n")
  end
  local pipe = assert(io.popen(("%s/bench/spawn %s <%s"):format(build, at_once and "at-once" or "", path)))
  for line in pipe:lines() do
    local label, wall, cpu, rss = line:match "^(.-)\t(%d+)\t(%d+)\t(%d+)$"
    label = label == "total" and at_once .. " total" or label
    local list = self[label] or { wall = {}, cpu = {}, rss = {} }
    self[label] = list
    table.insert(list.wall, math.tointeger(wall))
    table.insert(list.cpu, math.tointeger(cpu))
    table.insert(list.rss, math.tointeger(rss))
  end
  if not pipe:close() then error("a run failed: see above", 0) end
end

-- The value below which this part of a list lies.
function samples.quantile(list, part)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  return sorted[math.max(1, math.ceil(#sorted * part))]
end

-- What is told of one contestant's calls of a verb: milliseconds and KiB, or nil when there were none.
function Samples:summary(label)
  local list = self[label]
  if not list then return nil end
  local function ms(values, part) return samples.quantile(values, part) / 1000 end
  return {
    p50 = ms(list.wall, .5), p90 = ms(list.wall, .9), p99 = ms(list.wall, .99), least = ms(list.wall, 0),
    cpu = ms(list.cpu, .5), rss = samples.quantile(list.rss, 1), runs = #list.wall,
  }
end

return samples
