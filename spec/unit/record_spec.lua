-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local record = require "mncni.record"

describe("the record of calls", function()
  local directory, ring

  before_each(function()
    directory = os.tmpname()
    os.remove(directory)
    ring = directory .. "/calls.ring"
  end)

  after_each(function()
    os.execute(("rm -rf '%s'"):format(directory))
  end)

  local function write(call)
    record.write(directory, call)
  end

  local function patch(offset, bytes)
    local file <close> = assert(io.open(ring, "r+b"))
    file:seek("set", offset)
    file:write(bytes)
  end

  it("keeps what it was given, with the time", function()
    write {
      verb = "ADD", policy = "naivebridge", network = "pods", pod = "default/web", container = "abc", ifname = "eth0",
      netns = "/run/netns/x", duration = 4321, code = 7, message = "bad \"mtu\"", ignored = { "foo", "bar" },
      trace = "00-1-2-01",
    }
    local call = record.list(directory)[1]
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%d%d%d%dZ$", call.time)
    assert.equal(os.date "!%Y-%m-%d", call.time:sub(1, 10))
    call.time = nil
    assert.same({
      format = 1, number = 1, verb = "ADD", policy = "naivebridge", network = "pods", pod = "default/web",
      container = "abc", ifname = "eth0", netns = "/run/netns/x", duration = 4321, code = 7,
      message = "bad \"mtu\"", ignored = { "foo", "bar" }, trace = "00-1-2-01",
    }, call)
  end)

  it("lists the newest first and keeps 256", function()
    for i = 1, 300 do
      write { verb = "ADD", duration = i, code = 0 }
    end
    local calls = record.list(directory)
    assert.equal(256, #calls)
    assert.same({ 300, 300 }, { calls[1].duration, calls[1].number })
    assert.same({ 45, 45 }, { calls[256].duration, calls[256].number })
  end)

  it("is empty where there is none", function()
    assert.same({}, record.list(directory))
  end)

  it("is readable by root only", function()
    write { verb = "ADD", code = 0 }
    local pipe <close> = io.popen(("stat -c %%a '%s' '%s'"):format(directory, ring))
    assert.equal("700\n600\n", pipe:read "a")
  end)

  it("cuts a message that is too long, at a character", function()
    write {
      verb = "ADD", code = 100, container = ("c"):rep(300), message = ("é\"\n"):rep(2000), ignored = { ("k"):rep(900) },
    }
    local call = record.list(directory)[1]
    assert.is_true(#call.message > 20)
    assert.matches("^é\"\né", call.message)
    assert.matches("^ccc", call.container)
  end)

  it("takes text that is no UTF-8", function()
    write { verb = "A\xff", code = 4, message = "x\xc3" }
    assert.equal("A?", record.list(directory)[1].verb)
    assert.equal("x?", record.list(directory)[1].message)
  end)

  it("counts a STATUS that is repeated instead of pushing others out", function()
    write { verb = "ADD", code = 0 }
    for _ = 1, 300 do
      write { verb = "STATUS", network = "pods", code = 50, message = "no podCIDR yet" }
    end
    local calls = record.list(directory)
    assert.equal(2, #calls)
    assert.equal(299, calls[1].repeated)
    write { verb = "STATUS", network = "pods", code = 0 }
    assert.equal(3, #record.list(directory))
  end)

  it("is not begun by a STATUS", function()
    write { verb = "STATUS", code = 0 }
    assert.is_nil(io.open(ring))
  end)

  it("leaves out a slot that was torn, and goes on", function()
    write { verb = "ADD", duration = 1, code = 0 }
    write { verb = "ADD", duration = 2, code = 0 }
    patch(1024 + 60, "XX")
    assert.same({ 2 }, { record.list(directory)[1].duration })
    assert.equal(1, #record.list(directory))
    write { verb = "ADD", duration = 3, code = 0 }
    assert.equal(3, record.list(directory)[1].duration)
  end)

  it("finds its place again when the header is damaged", function()
    for i = 1, 3 do
      write { verb = "ADD", duration = i, code = 0 }
    end
    patch(0, "garbage garbage")
    write { verb = "ADD", duration = 4, code = 0 }
    local calls = record.list(directory)
    assert.equal(4, #calls)
    assert.equal(4, calls[1].duration)
  end)

  it("starts anew over a file that is something else, or was cut off", function()
    write { verb = "ADD", duration = 1, code = 0 }
    os.execute(("truncate -s 700 '%s'"):format(ring))
    assert.same({}, record.list(directory))
    write { verb = "ADD", duration = 2, code = 0 }
    assert.equal(2, record.list(directory)[1].duration)
    os.execute(("head -c 5000 /dev/urandom >'%s'"):format(ring))
    assert.same({}, record.list(directory))
    write { verb = "ADD", duration = 3, code = 0 }
    assert.equal(3, record.list(directory)[1].duration)
    assert.equal(1, #record.list(directory))
  end)

  it("leaves a ring of a newer format alone", function()
    write { verb = "ADD", duration = 1, code = 0 }
    patch(0, "mncni-calls format=2")
    local ok, err = pcall(write, { verb = "ADD", duration = 2, code = 0 })
    assert.is_false(ok)
    assert.equal(5, err.code)
    assert.equal(1, #record.list(directory))
  end)

  it("refuses a directory or a link in its place", function()
    os.execute(("mkdir -p '%s'"):format(ring))
    assert.is_false((pcall(write, { verb = "ADD", code = 0 })))
    os.execute(("rmdir '%s'; ln -s /dev/null '%s'"):format(ring, ring))
    assert.is_false((pcall(write, { verb = "ADD", code = 0 })))
  end)

  it("does not wait for another that holds the file", function()
    write { verb = "ADD", code = 0 }
    local holder <close> = io.popen(("flock '%s' sh -c 'echo held; sleep 2'"):format(ring))
    assert.equal("held", holder:read "l")
    local before = record.clock()
    local ok, err = pcall(write, { verb = "ADD", code = 0 })
    assert.is_false(ok)
    assert.equal("EAGAIN", err.name)
    assert.is_true(record.clock() - before < 1000000)
  end)

  it("takes the records of many processes at once", function()
    local script = os.tmpname()
    do
      local file <close> = assert(io.open(script, "w"))
      file:write(([[
        local record = require "mncni.record"
        for i = 1, 10 do
          while not pcall(record.write, %q, { verb = "ADD", container = arg[1], duration = i, code = 0 }) do end
        end]]):format(directory))
    end
    -- RING_LUA: how an interpreter that loads the module is started.
    os.execute(("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do LUA_PATH='%s' LUA_CPATH='%s' %s %s $i & done; wait")
      :format(package.path, package.cpath, os.getenv "RING_LUA" or "lua5.4", script))
    os.remove(script)
    local seen = {}
    for _, call in ipairs(record.list(directory)) do
      seen[call.container .. "/" .. call.duration] = true
    end
    local count = 0
    for _ in pairs(seen) do
      count = count + 1
    end
    assert.equal(120, count)
  end)

  it("names a key that it does not know", function()
    local ok, err = pcall(write, { verb = "ADD", messge = "x" })
    assert.is_false(ok)
    assert.matches('did you mean "message"', tostring(err))
    assert.is_true(core.is_error(err))
  end)
end)
