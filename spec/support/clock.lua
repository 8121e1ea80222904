-- SPDX-License-Identifier: Apache-2.0
-- Waiting and measuring, for specs.

local core = require "mncni.core"
local mncni = require "mncni"

local clock = {}

-- Milliseconds of a monotonic clock, with fractions.
function clock.now()
  return core.record.clock() / 1000
end

-- Sleeps without a child: listens where nothing happens.
function clock.sleep(milliseconds)
  local here <close> = mncni.open()
  local quiet <close> = here:monitor { "rule" }
  quiet:next(math.max(1, math.floor(milliseconds)))
end

-- Asks until the answer is true, every few milliseconds, and returns it with the milliseconds that it took; after the
-- deadline (5 s) it returns what was answered last.
function clock.wait(question, deadline)
  local began = clock.now()
  local here <close> = mncni.open()
  local quiet <close> = here:monitor { "rule" }
  while true do
    local answer = question()
    local taken = clock.now() - began
    if answer or taken > (deadline or 5000) then
      return answer, taken
    end
    quiet:next(3)
  end
end

-- Does something, and returns how many milliseconds pass until an event for which is_it(event) is true is read in a
-- namespace; nil, and what was seen, when none comes within the deadline (5 s).
function clock.until_event(space, groups, action, is_it, deadline)
  local net <close> = mncni.netns.open(space.path)
  local monitor <close> = net:monitor(groups)
  local began = clock.now()
  action()
  local seen = {}
  while clock.now() - began < (deadline or 5000) do
    local event = monitor:next(100)
    if event then
      if is_it(event) then
        return clock.now() - began
      end
      seen[#seen + 1] = tostring(event)
    end
  end
  return nil, table.concat(seen, "\n")
end

-- Prints what was measured: milliseconds, or a text.
function clock.figure(what, measured)
  print(("    %s: %s"):format(what, type(measured) == "number" and ("%.1f ms"):format(measured) or measured))
end

return clock
