-- SPDX-License-Identifier: Apache-2.0
-- Leader election by itself: a Lease that is a table, time that the spec moves, answers that are late or lost.
-- spec/kubernetes/nodeipam_spec.lua has the real server.

local core = require "mncni.core"
local leader = require "mncni.leader"
local json = core.json

local START = 1767225600000000 -- 2026-01-01T00:00:00Z in microseconds

-- A server with one Lease, at most.
local Server = {}
Server.__index = Server

local function copy(value)
  return json.decode(json.encode(value))
end

function Server:answer(args)
  local method = args.method or "GET"
  self.requests = self.requests + 1
  if method == "POST" and not self.lease then
    self.version = self.version + 1
    self.lease = copy(args.body)
  elseif method == "POST" then
    return 409, nil, { message = "already exists" }
  elseif not self.lease then
    return 404, nil, { message = "not found" }
  elseif method == "PUT" and args.body.metadata.resourceVersion ~= self.lease.metadata.resourceVersion then
    return 409, nil, { message = "conflict" }
  elseif method == "PUT" then
    self.version = self.version + 1
    self.lease = copy(args.body)
  end
  self.lease.metadata.resourceVersion = tostring(self.version)
  return method == "POST" and 201 or 200, copy(self.lease), nil
end

-- A client whose requests take some time, there and back; delay() returns both, in ms, nil for a way that nothing
-- takes. The time limit of a request is kept.
local Client = {}
Client.__index = Client

function Client:request(args)
  local there, back = self.delay()
  local call = {
    args = args, arrives = there and self.clock.now + there, back = back, ends = self.clock.now + args.timeout,
    close = function(call) call.closed = true end,
  }
  self.clock.calls[#self.clock.calls + 1] = call
  self.calls[#self.calls + 1] = call
  return call
end

-- Hands over what has come; now is by this client's own clock.
function Client:step(now)
  self.now = now
  local calls = self.calls
  self.calls = {}
  for _, call in ipairs(calls) do
    if call.outcome and not call.closed and self.clock.now >= call.answers then
      call.args.on_done(table.unpack(call.outcome, 1, 3))
    elseif self.clock.now >= call.ends and not call.closed then
      call.args.on_done(nil, nil, { message = "no answer in time" })
    elseif not call.closed then
      self.calls[#self.calls + 1] = call
    end
  end
end

-- Lets time pass, in ms; what is on its way arrives, also from one that has given up waiting.
local function tick(clock, milliseconds)
  clock.now = clock.now + milliseconds
  local left = {}
  for _, call in ipairs(clock.calls) do
    if call.arrives and clock.now >= call.arrives then
      call.outcome = table.pack(clock.server:answer(call.args))
      call.answers = call.back and clock.now + call.back or math.huge
    elseif call.arrives then
      left[#left + 1] = call
    end
  end
  clock.calls = left
end

local function new_clock()
  return { now = 0, calls = {}, server = setmetatable({ version = 0, requests = 0 }, Server) }
end

-- A candidate, with a clock that is ahead of the others' by so many ms.
local function candidate(clock, name, fields)
  fields = fields or {}
  local client = setmetatable({ clock = clock, calls = {}, now = 0 }, Client)
  client.delay = fields.delay or function() return 0, 0 end
  local self = { name = name, changes = {}, client = client, ahead = fields.ahead or 0, memo = fields.memo }
  self.election = leader.new {
    client = client, namespace = "kube-system", name = "x", identity = name,
    random = fields.random or function() return 0 end,
    time_of_day = function() return START + (clock.now + self.ahead) * 1000 end, memo = function() return self.memo end,
    on_change = function(leads, memo) table.insert(self.changes, { leads, memo }) end, before = fields.before,
  }
  function self.turn()
    client:step(clock.now + self.ahead)
    return self.election:step(clock.now + self.ahead)
  end
  function self.fresh()
    return self.election:fresh(clock.now + self.ahead)
  end
  return self
end

-- Lets candidates run for so many ms.
local function run(clock, milliseconds, ...)
  local stop = clock.now + milliseconds
  while clock.now < stop do
    tick(clock, 50)
    for _, one in ipairs { ... } do
      one.turn()
    end
  end
end

describe("leader election", function()
  local clock

  before_each(function() clock = new_clock() end)

  it("makes the Lease where there is none, as client-go writes it", function()
    local a = candidate(clock, "a")
    run(clock, 1000, a)
    assert.same({ { true } }, a.changes)
    assert.same({ name = "x", namespace = "kube-system", resourceVersion = "1", annotations = {} },
      clock.server.lease.metadata)
    assert.same({
      holderIdentity = "a", leaseDurationSeconds = 15, leaseTransitions = 0,
      acquireTime = clock.server.lease.spec.renewTime, renewTime = clock.server.lease.spec.renewTime,
    }, clock.server.lease.spec)
    assert.matches("^2026%-01%-01T00:00:00%.%d%d%d%d%d%dZ$", clock.server.lease.spec.renewTime)
    assert.equal("2026-01-01T00:00:01.000007Z", leader.micro_time(START + 1000007))
  end)

  it("renews every retry period, and keeps when it was acquired", function()
    local a = candidate(clock, "a")
    run(clock, 1000, a)
    local first = copy(clock.server.lease.spec)
    run(clock, 20000, a)
    local spec = clock.server.lease.spec
    assert.same({ first.acquireTime, 0, "a" }, { spec.acquireTime, spec.leaseTransitions, spec.holderIdentity })
    assert.is_true(spec.renewTime > first.renewTime)
    assert.is_true(clock.server.version >= 10 and clock.server.version <= 12, clock.server.version)
  end)

  it("is taken over from a leader that is silent, after the lease's time by one's own clock", function()
    local a, b = candidate(clock, "a"), candidate(clock, "b", { ahead = 86400000 })
    run(clock, 3000, a)
    run(clock, 1000, a, b)
    assert.same({}, b.changes) -- a day ahead, and not taken in by the time in the Lease
    local silent = clock.now
    while #b.changes == 0 do
      run(clock, 50, b)
      assert.is_true(clock.now - silent < 20000)
    end
    assert.is_true(clock.now - silent > 12900, "after " .. clock.now - silent)
    assert.equal(1, clock.server.lease.spec.leaseTransitions)
    assert.equal("b", clock.server.lease.spec.holderIdentity)
    assert.matches("^2026%-01%-02", clock.server.lease.spec.acquireTime)
    a.turn()
    assert.same({ true }, a.changes[1])
    assert.is_false(a.changes[2][1])
  end)

  it("stops on its own when it cannot renew, before anybody else can lead", function()
    local there = 0
    local a = candidate(clock, "a", { delay = function() return there, 0 end })
    run(clock, 3000, a)
    there = nil
    local since = clock.now
    while a.fresh() do
      run(clock, 50, a)
    end
    assert.is_true(clock.now - since <= 10050 and clock.now - since >= 8000, clock.now - since)
    run(clock, 50, a)
    assert.is_false(a.changes[#a.changes][1])
    there = 0
    run(clock, 13000, a)
    assert.is_true(a.changes[#a.changes][1])
    assert.equal(0, clock.server.lease.spec.leaseTransitions) -- it was its own all the time
  end)

  it("gives the lead up at the end, and the next one need not wait", function()
    local a, b = candidate(clock, "a", { memo = "what a knows" }), candidate(clock, "b")
    run(clock, 5000, a, b)
    local done = false
    a.election:release(function() done = true end)
    run(clock, 200, a)
    assert.is_true(done)
    assert.same({ "", 1, 0 }, { clock.server.lease.spec.holderIdentity, clock.server.lease.spec.leaseDurationSeconds,
      clock.server.lease.spec.leaseTransitions })
    run(clock, 4500, a, b)
    assert.same({ { true, "what a knows" } }, b.changes)
    assert.equal(1, clock.server.lease.spec.leaseTransitions)
    assert.is_false(a.fresh())
  end)

  it("leaves a memo for the next one, also when it dies", function()
    local a, b = candidate(clock, "a", { memo = "one" }), candidate(clock, "b")
    run(clock, 3000, a)
    a.memo = "two"
    run(clock, 3000, a)
    run(clock, 20000, b)
    assert.same({ { true, "two" } }, b.changes)
  end)

  it("has one winner when two find it free", function()
    local a, b = candidate(clock, "a", { delay = function() return 40, 40 end }),
      candidate(clock, "b", { delay = function() return 60, 60 end })
    run(clock, 3000, a, b)
    assert.equal(1, #a.changes + #b.changes)
  end)

  it("goes on in another state of the same program", function()
    local a = candidate(clock, "a")
    run(clock, 3000, a)
    local again = candidate(clock, "other", { before = copy(a.election:hand_over()) })
    assert.is_true(again.fresh())
    run(clock, 3000, again)
    assert.same({ 0, "a" }, { clock.server.lease.spec.leaseTransitions, clock.server.lease.spec.holderIdentity })
    assert.same({}, again.changes)
  end)

  it("asks more or less often while it waits", function()
    for chance, expected in pairs { [0] = 2000, [1] = 4400 } do
      local other = new_clock()
      local a = candidate(other, "a")
      local b = candidate(other, "b", { random = function() return chance end })
      run(other, 100, a)
      b.turn()
      tick(other, 1)
      b.turn()
      assert.equal(expected, b.turn())
    end
  end)

  it("is well as long as it sees the Lease", function()
    local there = nil
    local a = candidate(clock, "a", { delay = function() return there, 0 end })
    run(clock, 11000, a)
    assert.same({ false, "no answer in time" }, { a.election:well(clock.now) })
    there = 0
    run(clock, 5000, a)
    assert.is_true((a.election:well(clock.now)))
  end)

  -- Answers late or lost, clocks that differ, candidates that stand still at any moment: what one may write, with all the
  -- time that it may take, never meets another leader.
  it("never has two who may write", function()
    local seed = os.time()
    math.randomseed(seed)
    local takeovers = 0
    for round = 1, 40 do
      local now, all, led = new_clock(), {}, nil
      local bad = false
      for i = 1, 3 do
        all[i] = candidate(now, "c" .. i, {
          ahead = math.random(-1000000, 1000000), random = math.random,
          delay = function()
            local lost = math.random(bad and 3 or 50) == 1
            local slow = bad and 4000 or 200
            return not (lost and math.random(2) == 1) and math.random(slow) or nil,
              not lost and math.random(slow) or nil
          end,
        })
        all[i].until_when, all[i].stopped = 0, 0
      end
      for _ = 1, 4000 do -- 200 s
        tick(now, 50)
        if math.random(200) == 1 then
          bad = not bad
        end
        for i, one in ipairs(all) do
          if now.now >= one.stopped and math.random(300) == 1 then
            one.stopped = now.now + math.random(30000)
          elseif now.now >= one.stopped then
            one.turn()
            local fresh, patience = one.fresh()
            if fresh then
              for j, other in ipairs(all) do
                assert.is_true(i == j or other.until_when <= now.now,
                  ("seed %d, round %d, at %d ms: c%d and c%d"):format(seed, round, now.now, i, j))
              end
              one.until_when = now.now + patience
              takeovers = takeovers + (led ~= i and 1 or 0)
              led = i
            end
          end
        end
      end
    end
    assert.is_true(takeovers > 80, "there were only " .. takeovers)
  end)
end)
