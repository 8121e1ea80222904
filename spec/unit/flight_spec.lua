-- SPDX-License-Identifier: Apache-2.0
-- Whole records as text, also where a part of it is missing. How they come about is shown on the kernel (calls_spec).
local flight = require "mncni.flight"

local function note(kind, at, text, length)
  return ("%s %d %d %d\n%s\n"):format(kind, at, #text, length or #text, text)
end

local HEAD = "mncni-call 1 0000000000000007 000001f4\n"
local INPUT = note("program", 10, "/opt/cni/bin/naivebridge") .. note("env", 11, "CNI_COMMAND=ADD")
  .. note("stdin", 100, "{}\n{}")
local STEP = [[{"step":{"net":"host","object":"link","verb":"add","args":{}},"undo":{"op":"link"}}]]
local WORK = note("journal", 300, [[{"format":1}]]) .. note("journal", 500, STEP .. "\n" .. STEP)

local function kinds(call)
  local list = {}
  for i, event in ipairs(call.events) do
    list[i] = event.kind
  end
  return table.concat(list, " ")
end

local function phases(call)
  local list = {}
  for i, phase in ipairs(flight.phases(call)) do
    list[i] = phase.name .. "=" .. phase.us
  end
  return table.concat(list, " ")
end

describe("the whole record of a call", function()
  it("tells what the call was given, did and answered, and how long each phase took", function()
    local call = flight.parse(HEAD .. INPUT .. WORK .. note("journal", 900, [[{"result":{}}]])
      .. note("answer", 950, "{}") .. note("end", 1000, "0"))
    assert.same({ "CNI_COMMAND=ADD" }, call.environment)
    assert.same({ "/opt/cni/bin/naivebridge", "{}\n{}", "{}", 1000, 0 },
      { call.program, call.stdin, call.answer, call.finished, call.lost })
    assert.equal("journal step step result", kinds(call))
    assert.equal("start=100 load=200 policy=200 kernel=400 answer=100", phases(call))
  end)

  it("tells a rollback from what was made", function()
    local call = flight.parse(HEAD .. INPUT .. WORK .. note("rollback", 600, "/j") .. note("stuck", 700, "EBUSY")
      .. note("undone", 800, STEP) .. note("answer", 950, "{}") .. note("end", 1000, "0"))
    assert.equal("journal step step rollback stuck undone", kinds(call))
    assert.equal("EBUSY", call.events[5].text)
    assert.equal("start=100 load=200 policy=200 kernel=100 undo=200 answer=200", phases(call))
  end)

  it("has its work in one where no journal is written", function()
    local call = flight.parse(HEAD .. INPUT .. note("answer", 300, "{}") .. note("end", 400, "0"))
    assert.equal("start=100 work=300", phases(call))
  end)

  it("says what was cut or lost for want of room", function()
    local call = flight.parse(HEAD .. note("stdin", 1, "{", 40000)
      .. note("journal", 2, STEP .. "\n" .. STEP:sub(1, 20), 999) .. note("end", 3, "12"))
    assert.is_true(call.stdin_cut)
    assert.equal(12, call.lost)
    assert.equal("step cut", kinds(call))
  end)

  it("is read as far as it goes where it is torn, wherever that is", function()
    local whole = HEAD .. INPUT .. WORK .. note("end", 1000, "0")
    for length = 0, #whole - 1 do
      local call = flight.parse(whole:sub(1, length))
      assert.is_nil(call.finished)
      assert.equal("table", type(flight.phases(call)))
    end
    local begun = HEAD .. INPUT .. note("journal", 300, [[{"format":1}]])
    assert.equal("journal", kinds(flight.parse(begun .. "journal 5 99 99\nxx")))
    assert.equal("", kinds(flight.parse "something else"))
  end)
end)
