-- SPDX-License-Identifier: Apache-2.0
-- One of those that race for spec/faults/race_spec.lua, a process each. Prints what it did, one JSON document a line:
-- { who, what, container, began, ended (microseconds of one clock for all), outcome ("ok", "killed", "code 104"), address,
-- message }. Says "ready" on standard error, and begins when there is a file "go" in scratch.
--
-- Its argument is a JSON document: case and scratch (of the world), who (its name), role, seed, disturb, rounds.
-- Roles: "pods" attaches and detaches `rounds` pods, one after the other in a namespace of the same name; "verb" and
-- "command" collect until there is a file "over" in scratch.

local core = require "mncni.core"
local faults = require "spec.support.faults"
local lfs = require "lfs"
local record = require "mncni.record"
local spaces = require "spec.support.netns"

local args = core.json.decode(arg[1])
local own = args.scratch .. "/" .. args.who
local ended = args.scratch .. "/ended"

assert(lfs.mkdir(own))
math.randomseed(args.seed)
local world = faults.join(args.case, args.scratch, own)

local function note(event)
  event.who = args.who
  print(core.json.encode(event))
end

local KILLED = 128 + 9 -- inject's status for SIGKILL

local function outcome_of(outcome)
  if outcome.status == 0 then
    return "ok"
  elseif outcome.status == KILLED and outcome.fault and outcome.fault.hit == 1 then
    return "killed"
  end
  return outcome.json and ("code %s"):format(outcome.json.code)
    or ("status %s, signal %s"):format(outcome.status, outcome.signal)
end

-- Runs a call, notes it, and returns its outcome.
local function timed(what, container, run)
  local began = record.clock()
  local outcome = run()
  local ok = outcome.status == 0
  note {
    what = what, container = container, began = began, ended = record.clock(), outcome = outcome_of(outcome),
    address = ok and what == "ADD" and outcome.json.ips[1].address or nil,
    message = not ok and outcome.stdout .. (outcome.stderr or "") or nil,
  }
  return outcome
end

local function call(verb, container, more)
  more = more or {}
  more.container, more.netns = container, "/run/netns/" .. args.who
  return timed(verb, container, function() return world:call(verb, more) end)
end

-- Now and then: the options that end a call at some system call, or none if it ends before.
local function kill()
  return args.disturb and math.random(3) == 1 and { "--kill", "first", "--at", math.random(300) } or nil
end

local function pods()
  for round = 1, args.rounds do
    local container = ("%s-%d"):format(args.who, round)
    local pod = spaces.new(args.who)
    local add = call("ADD", container, { inject = kill() })
    if add.status == 0 then
      call("CHECK", container, { keys = { prevResult = add.json } })
    end
    if args.disturb and math.random(3) == 1 then
      -- Its end is told to nobody: who collects may know of it before the namespace is gone, or later.
      note { what = "END", container = container, began = record.clock() }
      assert(io.open(ended .. "/" .. container, "w")):close()
    else
      local inject = kill()
      if call("DEL", container, { inject = inject }).status ~= 0 and inject then call("DEL", container) end
    end
    pod:close()
  end
end

-- Every attachment there may be, but for those that have ended.
local function living()
  local valid = core.json.array {}
  for _, who in ipairs(args.racers) do
    for round = 1, args.rounds do
      local container = ("%s-%d"):format(who, round)
      if not lfs.attributes(ended .. "/" .. container) then
        valid[#valid + 1] = { containerID = container, ifname = "eth0" }
      end
    end
  end
  valid[#valid + 1] = { containerID = "neighbour", ifname = "eth0" }
  return valid
end

local function collect()
  while not lfs.attributes(args.scratch .. "/over") do
    if args.role == "verb" then
      call("GC", nil, { keys = { ["cni.dev/valid-attachments"] = living() } })
    else
      timed("mncni gc", nil, function() return world:collect() end)
    end
  end
end

io.stderr:write "ready\n"
while not lfs.attributes(args.scratch .. "/go") do
  os.execute "sleep 0.01"
end
if args.role == "pods" then pods() else collect() end
