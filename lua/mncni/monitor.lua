-- SPDX-License-Identifier: Apache-2.0
-- Listening to what changes in a namespace: net:monitor{...}.

local net = require "mncni.net"

local monitor = {}

local Monitor = {}
Monitor.__index = Monitor
Monitor.__name = "mncni.monitor"

local event_meta = {
  __name = "mncni.event",
  __tostring = function(event)
    return require("mncni.print").event(event)
  end,
}

-- monitor:next([milliseconds]) returns the next event {event = "new"|"del"|"overrun", object, value, nsid, portid,
-- seq}, or nil when the time is over; without a time it waits.
function Monitor:next(milliseconds)
  local event = self.source:next(milliseconds)
  if event then
    net.tag(event.object, event.value)
    setmetatable(event, event_meta)
  end
  return event
end

function Monitor:fd()
  return self.source:fd()
end

-- monitor:leave_out(portid): from now on without the events that the requests of that socket cause; net:socket("route")
-- has portid().
function Monitor:leave_out(portid)
  self.source:leave_out(portid)
end

function Monitor:close()
  self.source:close()
end
Monitor.__close = Monitor.close

function Monitor:__call()
  return self:next(self.timeout)
end

-- net:monitor{ "link", "route", all_netns = true, timeout = milliseconds } listens from now on, and is both an iterator
-- for `for event in` (which ends only when a timeout is given and passes) and an object with next, fd and close.
-- An event "overrun" means that some were lost: look again at what matters.
function monitor.open(self, args)
  local groups = {}
  for i, group in ipairs(args) do
    groups[i] = group
  end
  for key in pairs(args) do
    if math.type(key) ~= "integer" and key ~= "all_netns" and key ~= "timeout" then
      net.unknown("monitor", key, { "all_netns", "timeout" }, 2)
    end
  end
  local source = self.backend.monitor {
    groups = groups, netns = rawget(self, "netns"), all_netns = args.all_netns or false,
  }
  local opened = setmetatable({ source = source, timeout = args.timeout }, Monitor)
  return opened, nil, nil, opened
end

return monitor
