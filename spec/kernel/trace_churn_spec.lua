-- SPDX-License-Identifier: Apache-2.0
-- A trace that runs on while pods come and go needs no more memory and no more descriptors: in the second half of the time
-- than in the first, by whose end, when that is long, its heap is as large as it gets. MNCNI_CHURN_SECONDS sets how long (20).

local clock = require "spec.support.clock"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"
local tracing = require "spec.support.tracing"

local seconds = tonumber(os.getenv "MNCNI_CHURN_SECONDS") or 20
local node, before

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "one", "two", "three" } }
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

-- Resident memory that belongs to it alone, in KiB, and how many descriptors it has open, when it has come to rest: it
-- learns of the last namespace a little later.
local function usage(pid)
  local descriptors, since = nil, 0
  clock.wait(function()
    local now = tonumber(spaces.must("ls /proc/%s/fd | wc -l", pid))
    if now ~= descriptors then
      descriptors, since = now, clock.now()
    end
    return clock.now() - since > 1000
  end, 10000)
  local private = spaces.must("awk '/^Private_/ { sum += $2 } END { print sum }' /proc/%s/smaps_rollup", pid)
  return tonumber(private), descriptors
end

-- Pods come and go until the time is over. A namespace is made anew, and so gets a number anew, from time to time.
local function churn(until_time)
  local calls = 0
  repeat
    for _, name in ipairs { "one", "two", "three" } do
      node:must("ADD", { pod = name })
    end
    for _, name in ipairs { "one", "two" } do
      node:must("DEL", { pod = name })
    end
    node:kill "three"
    node:must("DEL", { pod = "three" })
    node:pod "three"
    calls = calls + 6
  until os.time() >= until_time
  return calls
end

describe("a trace that runs on", function()
  it("keeps its memory and descriptors while pods come and go", function()
    local trace = tracing.start(node.space, node.scratch, "--plugin", "none")
    local pid = trace.process.pid
    local calls = churn(os.time() + seconds // 2)
    local memory, descriptors = usage(pid)
    calls = calls + churn(os.time() + seconds // 2)
    local memory_after, descriptors_after = usage(pid)
    print(("\n%d calls in %d s: %d KiB at half time, %d KiB in the end; %d descriptors, then %d"):format(calls, seconds,
      memory, memory_after, descriptors, descriptors_after))
    assert.is_true(calls > 0)
    assert.are.equal(descriptors, descriptors_after)
    local more = seconds < 600 and 4096 or 512
    assert.is_true(memory_after < memory + more, ("%d KiB became %d KiB"):format(memory, memory_after))
    trace:stop()
  end)
end)
