-- SPDX-License-Identifier: Apache-2.0
-- A failure at every system call, and what faults.promises promises all the same.

local faults = require "spec.support.faults"

local cases = faults.cases({
  faults.case { name = "naivebridge, both families", ipam = faults.dual_stack },
  faults.guarded,
  faults.case { name = "naivebridge, first on the node, masquerading", cold = true, network = { ipMasq = true } },
  faults.case { name = "naivebridge with the reference host-local", network = { cniVersion = "1.0.0" },
    ipam = { type = "reference-host-local" }, excused = "^address file" },
}, { faults.bridge, faults.ptp, faults.host_ports, faults.limited, faults.firewall, faults.tuning })

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

for _, case in ipairs(cases) do
  describe(case.name .. ":", function()
    local world

    setup(function() world = faults.world(case) end)
    teardown(function() world:close() end)

    for _, verb in ipairs { "ADD", "DEL" } do
      local name = verb .. " with a failing call"

      it(name, function()
        faults.promises {
          world = world, verb = verb, name = name, sample = 40, kinds = errnos, places = "calls",
          disturb = function(errno, at)
            local outcome = world:call(verb, { inject = { "--fail", errno, "--at", at } })
            local fault = outcome.fault
            local own = fault.ready == 1 and fault.by == 1 -- of the plugin itself, once main() was reached
            outcome.what = ("%s at call %d, %s"):format(errno, at, faults.describe(fault))
            outcome.passing = own and passing[errno] and passing[errno][fault.call]
            -- Nobody speaks before main(), and a failing write may be the document's own way out.
            outcome.mute = fault.main == 0 or own and fault.call == "write"
            return outcome
          end,
        }
      end)
    end
  end)
end
