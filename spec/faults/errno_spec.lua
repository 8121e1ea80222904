-- SPDX-License-Identifier: Apache-2.0
-- A failure at every system call. An ADD that says it failed has left nothing, one that says it worked has; a DEL that
-- says it failed can be repeated, one that says it worked has left nothing; and whoever reaches main() says so in one
-- JSON document.

local faults = require "spec.support.faults"

local cases = {
  faults.case { name = "naivebridge, both families", ipam = faults.dual_stack },
  faults.case { name = "naivebridge, first on the node, masquerading", cold = true, network = { ipMasq = true } },
  faults.case { name = "naivebridge with the reference host-local", network = { cniVersion = "1.0.0" },
    ipam = { type = "reference-host-local" }, excused = "^address file" },
}

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

local function must(outcome)
  if outcome.status ~= 0 then error(outcome.stdout .. outcome.stderr, 0) end
  return outcome
end

local function count(world, verb)
  world:settle()
  return must(world:call(verb, { inject = {} })).fault.calls
end

-- What a failing call has to say: one JSON document with a code, once main() was reached.
local function says_why(wrong, outcome)
  if outcome.fault.main > 0 and not (outcome.json and outcome.json.code) and not outcome.mute then
    wrong[#wrong + 1] = "no error document: " .. outcome.stdout .. outcome.stderr
  end
end

for _, case in ipairs(cases) do
  describe(case.name .. ":", function()
    local world

    setup(function() world = faults.world(case) end)
    teardown(function() world:close() end)

    -- Runs verb with the failure that a point stands for: every call with the first errno, then with the second.
    local function disturbed(verb, total, point)
      local errno, at = errnos[(point - 1) // total + 1], (point - 1) % total + 1
      local outcome = world:call(verb, { inject = { "--fail", errno, "--at", at } })
      local fault = outcome.fault
      outcome.what = ("%s at call %d, %s"):format(errno, at, faults.describe(fault))
      outcome.passing = fault.ready == 1 and fault.by == 1 and passing[errno] and passing[errno][fault.call]
      -- The document's own way out.
      outcome.mute = fault.call == "write" and fault.ready == 1 and fault.by == 1
      return outcome
    end

    local function sweep(name, total, at)
      faults.sweep {
        name = case.name .. ": " .. name, count = total * #errnos, sample = 40, at = at, excused = case.excused,
        reset = function() world:begin() end,
      }
    end

    it("ADD with a failing call", function()
      local total = count(world, "ADD")
      must(world:call "DEL")
      sweep("ADD with a failing call", total, function(point)
        world:settle()
        local outcome, wrong = disturbed("ADD", total, point), {}
        if outcome.status ~= 0 then
          wrong = world:left()
          says_why(wrong, outcome)
          if outcome.passing then
            wrong[#wrong + 1] = "it failed, for " .. outcome.passing .. ": " .. outcome.stdout
          end
        else
          world:works(wrong, outcome)
        end
        local del = world:call "DEL"
        if del.status ~= 0 then wrong[#wrong + 1] = "DEL failed: " .. del.stdout .. del.stderr end
        return table.move(world:left(), 1, 99, #wrong + 1, wrong), outcome.what
      end)
    end)

    it("DEL with a failing call", function()
      must(world:call "ADD")
      local total = count(world, "DEL")
      sweep("DEL with a failing call", total, function(point)
        must(world:call "ADD")
        local outcome, wrong = disturbed("DEL", total, point), {}
        if outcome.status == 0 then
          wrong = world:left()
        else
          says_why(wrong, outcome)
        end
        local del = world:call "DEL"
        if del.status ~= 0 then wrong[#wrong + 1] = "DEL failed: " .. del.stdout .. del.stderr end
        return table.move(world:left(), 1, 99, #wrong + 1, wrong), outcome.what
      end)
    end)
  end)
end

