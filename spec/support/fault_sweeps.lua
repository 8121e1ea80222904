-- SPDX-License-Identifier: Apache-2.0
-- Sweeps of faults over one case: at every place of a call, or at a sample of them, and the oracle after each.
--
--   sweeps.describe(case, { sweeps.kill, sweeps.errno, sweeps.netlink })
--
-- MNCNI_POINT looks at one point, MNCNI_SEED repeats a sample, MNCNI_SAMPLE says how many points each has.

local assert = require "luassert"
local busted = require "busted"
local faults = require "spec.support.faults"

local describe, it = busted.describe, busted.it
local must = faults.must

local sweeps = {}

local only = math.tointeger(os.getenv "MNCNI_POINT" or "")

-- Which points of 1 to count are looked at: all of them, or `sample` of them, evenly spread from where the seed says.
local function points(count, wanted)
  local list, sample = {}, faults.sample or wanted
  if only then return { only } end
  local stride = faults.full and 1 or math.max(1, count // sample)
  for point = (faults.full and 1 or 1 + faults.seed % stride), count, stride do list[#list + 1] = point end
  return list
end

-- Those of a list of lines that match no pattern.
local function without(lines, pattern)
  local rest = {}
  for _, line in ipairs(lines) do
    if not (pattern and line:find(pattern)) then rest[#rest + 1] = line end
  end
  return rest
end

-- "recvmsg of process 1, after main"
local function describe_fault(fault)
  return ("%s of process %s, %s main; exit status %s"):format(fault.call, fault.by,
    fault.ready == 1 and "after" or "before", fault.status)
end

-- Looks at every point of a sweep. args: name, count (of points), sample (how many of them the short form looks at),
-- at = function(point) that returns what was wrong (a list of lines) and the outcome of the disturbed call, with `what`
-- that was if its fault does not say so, excused = a pattern of lines that are another program's fault, reset =
-- function() for after a leak. Prints the figures; raises the leaks at the end. A sweep is none when half of its points
-- were not hit; some are not, because a call of a Go program, or a dump, is not in the same place each time.
local function sweep(args)
  local list, leaks, excused, hit = points(args.count, args.sample or 12), {}, 0, 0
  for _, point in ipairs(list) do
    local all, outcome = args.at(point)
    local wrong = without(all, args.excused)
    hit = hit + outcome.fault.hit
    if #wrong > 0 then
      leaks[#leaks + 1] = ("point %d (%s):\n    %s"):format(point, outcome.what or describe_fault(outcome.fault),
        table.concat(wrong, "\n    "))
    elseif #all > 0 then
      excused = excused + 1
    end
    if #all > 0 then args.reset() end
  end
  print(("%s: %d of %d points, %d hit, %d leaks%s%s"):format(args.name, #list, args.count, hit, #leaks,
    excused > 0 and (" and %d of the reference's"):format(excused) or "",
    faults.full and "" or ", seed " .. faults.seed))
  if #leaks > 0 then
    error(("%s\n  %s\nto repeat one: make check-faults POINT=N ARGS='--filter=\"%s\"'"):format(args.name,
      table.concat(leaks, "\n  ", 1, math.min(#leaks, 40)), args.name:gsub("%p", ".")), 0)
  end
  if hit == 0 or hit < #list // 2 then
    error(("%s: only %d of %d points were hit"):format(args.name, hit, #list), 0)
  end
end

-- A list of what went wrong in a call that must not fail, empty if nothing did.
local function failed(outcome, what)
  return outcome.status == 0 and {} or { ("%s failed: %s"):format(what, outcome.stdout .. outcome.stderr) }
end

-- One list after another.
local function concat(a, b)
  return table.move(b, 1, #b, #a + 1, a)
end

-- Sweeps whose fault a call may survive. An ADD that says it failed has left nothing, one that says it worked has; a DEL
-- that says it failed can be repeated, one that says it worked has left nothing; who fails says so in one JSON document.
-- args: world, verb ("ADD", "DEL"), name, sample (as sweep takes them), kinds (a list of faults), places (which
-- count of inject's report says how many places a fault has), disturb = function(kind, at) that makes the call with the
-- fault in that place and returns its outcome, with `what` it was, `mute` if no document is owed, and `passing` with the
-- reason why an ADD has to go on all the same.
local function promises(args)
  local world, verb = args.world, args.verb
  local function prepare()
    world:settle()
    if verb == "DEL" then must(world:call "ADD") end
  end
  prepare()
  local total = must(world:call(verb, { inject = {} })).fault[args.places]
  must(world:call "DEL")
  local name = world.case.name .. ": " .. args.name
  sweep {
    name = name, count = total * #args.kinds, sample = args.sample, excused = world.case.excused,
    reset = function() world:begin() end,
    at = function(point)
      prepare()
      local outcome, wrong = args.disturb(args.kinds[(point - 1) // total + 1], (point - 1) % total + 1), {}
      if outcome.status == 0 and verb == "ADD" then
        world:works(wrong, outcome)
      elseif outcome.status == 0 then
        wrong = world:left()
      else
        if verb == "ADD" then
          wrong = world:left()
          if outcome.passing then
            wrong[#wrong + 1] = ("it failed, for %s: %s"):format(outcome.passing, outcome.stdout)
          end
        end
        if not outcome.mute and not (outcome.json and outcome.json.code) then
          wrong[#wrong + 1] = "no error document: " .. outcome.stdout .. outcome.stderr
        end
      end
      concat(wrong, failed(world:call "DEL", "DEL"))
      return concat(wrong, world:left()), outcome
    end,
  }
end

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

-- SIGKILL at every system call, as a runtime does it whose patience ends: whatever is left must be gone after the DEL
-- that follows, or, when none does, after the garbage collection that finds the namespace gone.
function sweeps.kill(case, get, sample)
  local function every(name, total, at)
    sweep {
      name = case.name .. ": " .. name, count = total, sample = sample, at = at, excused = case.excused,
      reset = function() get():begin() end,
    }
  end

  -- Who may be killed: where there is but one process, all are the same.
  local whoms = case.alone and { "first" } or { "caller", "first", "tree" }

  -- The oracle is blind to nothing of what a sweep asks it about.
  it("an attachment is seen while it is there", function()
    local world = get()
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
      local world = get()
      local total = count(world, "ADD")
      must(world:call "DEL")
      every(("ADD killed (%s), then DEL"):format(whom), total, function(point)
        world:settle()
        local outcome = world:call("ADD", { inject = kill(whom, point) })
        local del = world:call "DEL"
        return concat(failed(del, "DEL"), world:left()), outcome
      end)
    end)

    it(("ADD, then DEL killed (%s), then DEL"):format(whom), function()
      local world = get()
      must(world:call "ADD")
      local total = count(world, "DEL")
      every(("ADD, then DEL killed (%s), then DEL"):format(whom), total, function(point)
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
        local world = get()
        local total = count(world, "ADD")
        must(world:call "DEL")
        every(name, total, function(point)
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
      local world = get()
      must(world:call "ADD")
      world:end_victim()
      local total = must(world:gc(false, {})).fault.calls
      world:new_victim()
      every("ADD, the namespace removed, GC killed, then GC", total, function(point)
        must(world:call "ADD")
        world:end_victim()
        local outcome = world:gc(false, kill("first", point))
        local gc = world:gc()
        world:new_victim()
        return concat(failed(gc, "GC"), world:left()), outcome
      end)
    end)
  end
end

local errnos = { "EINTR", "EAGAIN", "ENOMEM", "ENOSPC", "EIO", "EMFILE", "EPERM" }

-- What a call may return at any time by its manual although nothing is wrong, so that an ADD has to go on. Not here:
-- EAGAIN of calls on descriptors that wait (ours do, but for netlink's receiving side), and of calls that run into a
-- lasting limit (clone, mmap).
local passing = {
  EINTR = {
    close = "close(2): interrupted by a signal; the descriptor is gone all the same",
    dup2 = "dup(2): interrupted by a signal",
    flock = "flock(2): interrupted while waiting for a lock",
    fstatfs = "statfs(2): interrupted by a signal",
    getrandom = "getrandom(2): interrupted by a signal handler",
    ftruncate = "truncate(2): interrupted while blocked",
    open = "open(2): interrupted while waiting for a slow device", openat = "open(2)",
    poll = "poll(2): a signal occurred before any requested event", ppoll = "poll(2)",
    nanosleep = "nanosleep(2): interrupted by a signal", clock_nanosleep = "clock_nanosleep(2)",
    read = "read(2): interrupted before any data was read", pread64 = "read(2)",
    write = "write(2): interrupted before any data was written", pwrite64 = "write(2)", writev = "write(2)",
    recvmsg = "recv(2): interrupted before any data was available", recvfrom = "recv(2)",
    sendto = "send(2): a signal occurred before any data was transmitted", sendmsg = "send(2)",
    wait4 = "wait(2): a signal was caught", waitid = "wait(2)",
  },
  EAGAIN = {
    flock = "flock(2): LOCK_NB, and another process has the lock",
    getrandom = "getrandom(2): GRND_NONBLOCK, and it would have waited",
    madvise = "madvise(2): a kernel resource was temporarily unavailable",
    recvmsg = "recv(2): MSG_DONTWAIT, and nothing is there yet", recvfrom = "recv(2)",
  },
}

-- A failure at every system call, and what promises() says all the same.
function sweeps.errno(_, get, sample)
  for _, verb in ipairs { "ADD", "DEL" } do
    local name = verb .. " with a failing call"

    it(name, function()
      local world = get()
      promises {
        world = world, verb = verb, name = name, sample = sample or 40, kinds = errnos, places = "calls",
        disturb = function(errno, at)
          local outcome = world:call(verb, { inject = { "--fail", errno, "--at", at } })
          local fault = outcome.fault
          local own = fault.ready == 1 and fault.by == 1 -- of the plugin itself, once main() was reached
          outcome.what = ("%s at call %d, %s"):format(errno, at, describe_fault(fault))
          outcome.passing = own and passing[errno] and passing[errno][fault.call]
          -- Nobody speaks before main(), and a failing write may be the document's own way out.
          outcome.mute = fault.main == 0 or own and fault.call == "write"
          return outcome
        end,
      }
    end)
  end
end

-- How an answer is changed, and whether an ADD has to go on all the same. ENODEV and the like are not here: that a thing
-- is not there, or is there already, is for the kernel to say, and nobody could know better.
local ways = {
  { "EPERM" }, { "EBUSY" }, { "ENOMEM" }, { "ENOBUFS" }, { "EAGAIN" }, { "EINTR" },
  { "lost" }, { "truncated" }, { "no-buffers" },
  { "interrupted", passing = "a dump that was interrupted, which is to be repeated" },
}

-- Every answer of the kernel's netlink, falsified, and what promises() says all the same. An answer that was changed into a
-- refusal is of a request that the kernel has carried out, which is the harder case for a rollback.
function sweeps.netlink(_, get, sample)
  for _, verb in ipairs { "ADD", "DEL" } do
    local name = verb .. " with a false answer"

    it(name, function()
      local world = get()
      promises {
        world = world, verb = verb, name = name, sample = sample or 20, kinds = ways, places = "answers",
        disturb = function(way, at)
          local outcome = world:call(verb, { inject = { "--reply", way[1], "--at", at } })
          outcome.what = ("answer %d: %s, received by %s"):format(at, way[1], describe_fault(outcome.fault))
          outcome.passing = way.passing
          return outcome
        end,
      }
    end)
  end
end

-- Describes a case with sweeps of it; sample is how many points a short run looks at.
function sweeps.describe(case, kinds, sample)
  describe(case.name .. ":", function()
    local world

    busted.setup(function() world = faults.world(case) end)
    busted.teardown(function() if world then world:close() end end)

    for _, kind in ipairs(kinds) do kind(case, function() return world end, sample) end
  end)
end

return sweeps
