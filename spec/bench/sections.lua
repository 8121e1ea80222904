-- SPDX-License-Identifier: Apache-2.0
-- What the benchmark measures, a section each. Every one returns rows { case, verb, who, p50, p90, p99, cpu, rss, runs }
-- and ratios { what, value, goal }; contestants take turns call by call, each time in another order: a call is slower
-- after one that has left the caches cold and the kernel something to free.

local core = require "mncni.core"
local samples = require "spec.bench.samples"
local worlds = require "spec.bench.world"

local sections = {}

local function rows_of(out, case, results, contestants, verbs)
  for _, verb in ipairs(verbs) do
    for _, who in ipairs(contestants) do
      local row = results:summary(who .. " " .. verb)
      if row then
        row.case, row.verb, row.who = case, verb, who
        out.rows[#out.rows + 1] = row
      end
    end
  end
end

local function ratio(out, what, results, a, b, goal, field)
  local over, under = results:summary(a), results:summary(b)
  if over and under then
    field = field or "p50"
    out.ratios[#out.ratios + 1] = { what = what, value = over[field] / under[field], goal = goal }
  end
end

math.randomseed(78) -- the same orders in every run

-- Adds what is in list to jobs, in any order.
local function add_shuffled(jobs, list)
  for i = #list, 2, -1 do
    local j = math.random(i)
    list[i], list[j] = list[j], list[i]
  end
  table.move(list, 1, #list, #jobs + 1, jobs)
end

local function jobs_in_turns(world, verb, pods)
  local jobs = {}
  for _, pod in ipairs(pods) do
    local list = { worlds.empty_job() }
    for _, who in ipairs(world.list) do list[#list + 1] = world:job(who, verb, pod) end
    add_shuffled(jobs, list)
  end
  return jobs
end

-- Before each round the plugin is in huge pages, as after `make cni-bin`: a machine that takes cold memory away does not
-- leave it there.
local function new_pods(world, count)
  worlds.keep_huge()
  local pods = {}
  for i = 1, count do pods[i] = world:pod() end
  return pods
end

-- A world in which every bridge, table and chain stands, and whose first pod stays.
local function warm_world(settings)
  local world = worlds.new(settings)
  local warm = new_pods(world, 1)
  local unused = samples.new()
  for _, verb in ipairs(settings.lazy and { "ADD" } or { "ADD", "DEL", "ADD" }) do
    unused:run(jobs_in_turns(world, verb, warm))
  end
  for _, who in ipairs(world.list) do worlds.reserve(who, settings.reserved or 0) end
  return world
end

-- ADD and DEL of options.pods pods, options.rounds times.
local function add_and_del(world, options)
  local results = samples.new()
  for _ = 1, options.rounds do
    local pods = new_pods(world, options.pods)
    for _, verb in ipairs { "ADD", "DEL" } do results:run(jobs_in_turns(world, verb, pods)) end
    for _, pod in ipairs(pods) do world:remove(pod) end
    worlds.settle()
  end
  return results
end

local PAIR = { "ADD", "DEL" }

-- One after the other: ADD and DEL of what users configure.
function sections.single(out, options)
  for _, case in ipairs {
    {
      name = "naivebridge", policy = "naivebridge",
      contestants = { "plugin", "small", "portable", "reference", "floor" },
    },
    {
      name = "naivebridge, ipMasq", policy = "naivebridge", masquerade = true, contestants = { "plugin", "reference" },
    },
    { name = "bridge", policy = "bridge", contestants = { "plugin", "reference" } },
    { name = "chain", policy = "bridge", chain = true, contestants = { "plugin", "reference" } },
  } do
    case.masquerade, case.guard = case.masquerade or false, options.guard
    local results = add_and_del(warm_world(case), options)
    rows_of(out, case.name, results, { "plugin", "small", "portable", "reference", "floor", "exec" },
      { "ADD", "DEL", "start" })
    local goals = { ["naivebridge"] = 1 / 6, ["chain"] = 1 / 6 }
    for _, verb in ipairs(PAIR) do
      ratio(out, ("%s %s / reference"):format(case.name, verb), results, "plugin " .. verb, "reference " .. verb,
        verb == "ADD" and goals[case.name] or nil)
      ratio(out, ("%s %s / reference, processor time"):format(case.name, verb), results, "plugin " .. verb,
        "reference " .. verb, nil, "cpu")
      ratio(out, ("%s %s / reference, in small pages"):format(case.name, verb), results, "small " .. verb,
        "reference " .. verb)
      ratio(out, ("%s %s / floor"):format(case.name, verb), results, "plugin " .. verb, "floor " .. verb,
        verb == "ADD" and 1.5 or 1.1)
      ratio(out, ("%s %s / floor, processor time"):format(case.name, verb), results, "plugin " .. verb,
        "floor " .. verb, nil, "cpu")
    end
  end
end

-- CHECK, STATUS, GC and VERSION, of a pod that is there. The reference, which has no STATUS and no GC, does not run between
-- them and the empty program: they are slower after it, each by another amount.
function sections.verbs(out, options)
  local world = warm_world { policy = "naivebridge", masquerade = false, contestants = { "plugin", "reference" } }
  local pod = world:pod()
  local alone, beside = { worlds.empty_job() }, {}
  for _, who in ipairs(world.list) do
    local full, newest = {}, {}
    for key, value in pairs(who.conf) do full[key], newest[key] = value, value end
    full.prevResult = world:attached(who, pod)
    newest.cniVersion = "1.1.0"
    newest["cni.dev/valid-attachments"] = core.json.array {
      { containerID = ("%s-%s"):format(who.label, pod.name), ifname = "eth0" },
      { containerID = who.label .. "-p1", ifname = "eth0" },
    }
    local function add(list, verb, conf)
      local path = ("%s.%s"):format(who.input, verb)
      worlds.write(path, core.json.encode(conf))
      list[#list + 1] = table.concat({ who.label .. " " .. verb, who.program, path,
        table.unpack(world:environment(who, verb, pod)) }, "\t")
    end
    add(beside, "CHECK", full)
    add(who.reference and beside or alone, "VERSION", who.conf)
    if not who.reference then
      add(alone, "STATUS", newest)
      add(alone, "GC", newest)
    end
  end
  local results = samples.new()
  for _, list in ipairs { alone, beside } do
    for _ = 1, options.rounds do
      local jobs = {}
      worlds.keep_huge()
      for _ = 1, options.pods do add_shuffled(jobs, list) end
      results:run(jobs)
    end
  end
  rows_of(out, "naivebridge", results, { "plugin", "reference", "exec" },
    { "CHECK", "STATUS", "GC", "VERSION", "start" })
  ratio(out, "CHECK / reference", results, "plugin CHECK", "reference CHECK")
  for _, verb in ipairs { "STATUS", "VERSION", "GC" } do
    for field, goal in pairs { p50 = verb ~= "GC" and 1.5, cpu = false } do
      out.ratios[#out.ratios + 1] = {
        what = ("%s beyond an empty exec, ms%s"):format(verb, field == "p50" and "" or " of a processor"),
        goal = goal or nil, value = results:summary("plugin " .. verb)[field] - results:summary "exec start"[field],
      }
    end
  end
end

-- All at once: one contestant after the other, and who begins changes with each round.
function sections.burst(out, options)
  for _, count in ipairs(options.bursts) do
    for _, masquerade in ipairs { false, true } do
      local names = masquerade and { "plugin", "reference" } or { "plugin", "reference", "floor" }
      local world = warm_world { policy = "naivebridge", masquerade = masquerade, contestants = names }
      local results = samples.new()
      for round = 1, math.max(2, options.rounds - 1) do
        local pods = new_pods(world, count)
        for _, verb in ipairs(PAIR) do
          for turn = 1, #world.list do
            local who, jobs = world.list[(round + turn) % #world.list + 1], {}
            for i, pod in ipairs(pods) do jobs[i] = world:job(who, verb, pod) end
            results:run(jobs, who.label .. " " .. verb)
          end
        end
        for _, pod in ipairs(pods) do world:remove(pod) end
      end
      local case = ("%d at once%s"):format(count, masquerade and ", ipMasq" or "")
      rows_of(out, case, results, names, PAIR)
      for _, row in ipairs(out.rows) do
        local total = row.case == case and results:summary(row.who .. " " .. row.verb .. " total")
        if total then row.per_second = count / total.p50 * 1000 end
      end
      ratio(out, case .. ": throughput of ADD / reference", results, "reference ADD total", "plugin ADD total",
        count == 200 and (masquerade and 12 or 4) or nil)
      ratio(out, case .. ": throughput of ADD / floor", results, "floor ADD total", "plugin ADD total",
        count == 200 and 0.7 or nil)
    end
  end
end

-- What a DEL would take that leaves the link's deletion to the end of the namespace.
function sections.teardown(out, options)
  local names = { "floor", "lazy", "plugin", "reference" }
  local results = add_and_del(warm_world {
    policy = "naivebridge", masquerade = false, lazy = true, contestants = names,
  }, options)
  rows_of(out, "naivebridge", results, names, { "DEL" })
  ratio(out, "floor: DEL down and off the bridge only / with the link's deletion", results, "lazy DEL", "floor DEL")
  ratio(out, "floor: DEL down and off the bridge only / reference", results, "lazy DEL", "reference DEL", 1 / 4)
end

-- What calls take in one place, of what they take in another.
local function growth(out, what, results, before, label, goal)
  local now, was = results:summary(label), before:summary(label)
  out.ratios[#out.ratios + 1] = { what = what, value = now.p50 / was.p50, goal = goal }
  out.ratios[#out.ratios + 1] = { what = what .. ", processor time", value = now.cpu / was.cpu }
end

-- With so many addresses of the range taken.
function sections.reserved(out, options)
  local least
  for _, count in ipairs { 0, 1000, 10000, 60000 } do
    local world = warm_world {
      policy = "naivebridge", masquerade = false, reserved = count, contestants = { "plugin", "reference" },
    }
    -- The reference reads every file: a few calls tell enough.
    local results = add_and_del(world, {
      pods = count > 1000 and math.min(options.pods, 10) or options.pods, rounds = 2,
    })
    rows_of(out, ("%d reserved"):format(count), results, { "plugin", "reference" }, PAIR)
    least = least or results
    if count > 0 then
      for _, verb in ipairs(PAIR) do
        growth(out, ("%s with %d reserved / with none"):format(verb, count), results, least, "plugin " .. verb,
          count == 60000 and 1.2 or nil)
      end
    end
  end
end

-- With so many pods on the node. A bridge has 1023 ports, which bounds what comes and goes beside a thousand.
function sections.standing(out, options)
  local names = { "plugin", "floor" }
  local world = warm_world { policy = "naivebridge", masquerade = false, contestants = names }
  local there, first = 0, nil
  for _, count in ipairs(options.standing) do
    local pods = new_pods(world, count - there)
    if #pods > 0 then samples.new():run(jobs_in_turns(world, "ADD", pods)) end
    there = count
    local results = add_and_del(world, { pods = math.min(options.pods, 20), rounds = options.rounds })
    rows_of(out, ("%d pods there"):format(count), results, names, PAIR)
    first = first or results
    if count > options.standing[1] then
      for _, who in ipairs(names) do
        for _, verb in ipairs(PAIR) do
          growth(out, ("%s: %s with %d pods / with %d"):format(who, verb, count, options.standing[1]), results, first,
            who .. " " .. verb, who == "plugin" and verb == "ADD" and count == 1000 and 1.3 or nil)
        end
      end
    end
  end
end

-- What one call does, where no clock is asked: system calls, netlink, processes, programs; and the largest resident set.
function sections.counts(out)
  local trace = require "spec.bench.trace"
  local world = warm_world {
    policy = "naivebridge", masquerade = false, contestants = { "plugin", "portable", "reference", "floor" },
  }
  local pod = world:pod()
  for _, verb in ipairs(PAIR) do
    for _, who in ipairs(world.list) do
      local row = trace.call(world, who, verb, pod)
      row.case, row.verb, row.who = "naivebridge", verb, who.label
      out.rows[#out.rows + 1] = row
    end
  end
  -- Processes that stand at the same time, added up: the reference's, and the one it has its address from.
  local results, pods = samples.new(), new_pods(world, 5)
  results:run(jobs_in_turns(world, "ADD", pods))
  local ipam = setmetatable({ program = "/usr/lib/cni/host-local", label = "host-local" }, { __index = world.list[3] })
  for i, one in ipairs(pods) do pods[i] = world:job(ipam, "ADD", one) end
  results:run(pods)
  local rss = {}
  for _, name in ipairs { "plugin", "portable", "reference", "floor" } do
    local more = name == "reference" and results:summary "host-local ADD".rss or 0
    rss[name] = results:summary(name .. " ADD").rss + more
  end
  for _, row in ipairs(out.rows) do row.rss = row.verb == "ADD" and rss[row.who] or nil end
  out.ratios[#out.ratios + 1] = { what = "resident set of an ADD, MB", value = rss.plugin / 1024, goal = 4 }
end

return sections
