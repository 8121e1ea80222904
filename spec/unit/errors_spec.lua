-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local errors = require "mncni.errors"
local raised = require "mncni.raised"

-- What a runtime is told when fn raises.
local function told(fn, ...)
  local ok, err = raised.catch(fn, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err))
  return errors.convert(err)
end

-- A policy: Lua code under a policy's file name.
local function policy(text)
  return assert(load(text, "@/etc/mncni/policies/x.lua", "t"))
end

describe("what was raised becomes a CNI error", function()
  it("with code 100, the message and the Lua file and line for a plain error of a policy", function()
    assert.same({ code = 100, msg = "no such tenant", details = "/etc/mncni/policies/x.lua:2" },
      told(policy 'local x = 1\nerror("no such tenant")'))
  end)

  it("with the line for a mistake of a policy", function()
    local err = told(policy 'local x\n\nreturn x.y')
    assert.equal(100, err.code)
    assert.matches("attempt to index a nil value", err.msg)
    assert.equal("/etc/mncni/policies/x.lua:3", err.details)
  end)

  it("with the line of the policy that called what raised", function()
    local vocabulary = assert(load("error(...)", "@lua/mncni/y.lua"))
    local err = told(policy "local f, err = ...\nf(err)\nreturn 1", vocabulary, core.error { message = "no" })
    assert.equal("/etc/mncni/policies/x.lua:2", err.details)
  end)

  it("with its own code for an error object that has one", function()
    local err = told(policy "error(...)", core.error { code = 104, message = "none free", details = "range 1" })
    assert.equal(104, err.code)
    assert.equal("none free", err.msg)
    assert.equal("/etc/mncni/policies/x.lua:1\nrange 1", err.details)
  end)

  it("with code 102 for the kernel's refusal, whose words are in the message", function()
    local err = told(policy "error(...)", core.error {
      op = "add", object = "link \"cbr0\"", errno = 17, extack = "exists", attribute = "ifname",
    })
    assert.equal(102, err.code)
    assert.equal('add link "cbr0": EEXIST File exists: "exists" at ifname', err.msg)
  end)

  it("with code 100 for an error object without code and errno", function()
    assert.equal(100, told(policy "error(...)", core.error { message = "unknown key" }).code)
  end)

  it("with the code, message and details of a table that has them", function()
    assert.same({ code = 120, msg = "busy", details = "/etc/mncni/policies/x.lua:1\nlater" },
      told(policy 'error { code = 120, msg = "busy", details = "later" }'))
  end)

  it("in words for a table without any", function()
    local err = told(policy "error {}")
    assert.equal(100, err.code)
    assert.equal("a table without a message was raised", err.msg)
  end)

  it("in the words of an object that can be printed, and in others when that fails", function()
    assert.equal("seven", told(policy "error(setmetatable({}, { __tostring = function() return 'seven' end }))").msg)
    assert.equal("a table without a message was raised",
      told(policy "error(setmetatable({}, { __tostring = function() error 'x' end }))").msg)
  end)

  it("for nil, numbers and functions", function()
    assert.equal("nil was raised instead of an error", told(policy "error(nil)").msg)
    assert.equal("7", told(policy "error(7)").msg)
    assert.matches("^function", told(policy "error(print)").msg)
  end)

  it("with code 101 when memory ran out", function()
    assert.equal(101, told(policy "error('not enough memory', 0)").code)
  end)

  for _, code in ipairs { 0, -1, 1.5, "x", 1 << 32 } do
    it("with code 100 when its code is " .. tostring(code) .. ", which is none", function()
      assert.equal(100, told(policy "error(...)", core.error { code = code, message = "m" }).code)
    end)
  end

  it("that fits in a document when the message is huge or no text", function()
    local err = told(policy "error(('x'):rep(1 << 20), 0)")
    assert.is_true(#err.msg < 5000)
    assert.equal("a\\xffb\\x00c", told(policy "error('a\\xffb\\0c', 0)").msg)
    assert.is_string(errors.document(told(policy "error('a\\xffb\\0c')"), "1.0.0"))
  end)

  it("even when it did not go through the handler", function()
    assert.same({ code = 100, msg = "m", details = "/p/x.lua:3" }, errors.convert "/p/x.lua:3: m")
    assert.equal(100, errors.convert(nil).code)
    assert.equal(100, errors.convert({}).code)
  end)

  it("with a traceback when no policy had a part in it", function()
    local chunk = assert(load("local x\nreturn x.y", "@lua/mncni/y.lua"))
    -- On a stack of its own, without this file.
    local result = select(2, coroutine.wrap(raised.catch)(chunk))
    local err = errors.convert(result)
    assert.equal(100, err.code)
    assert.matches("^attempt to index", err.msg)
    assert.matches("lua/mncni/y.lua:2", err.details)
    assert.matches("stack traceback", err.details)
  end)
end)

describe("the error document", function()
  it("has cniVersion, code, msg and details", function()
    assert.same({ cniVersion = "0.4.0", code = 7, msg = "m", details = "d" },
      core.json.decode(errors.document({ code = 7, msg = "m", details = "d" }, "0.4.0")))
  end)

  it("leaves out details that there are none of", function()
    assert.same({ cniVersion = "0.4.0", code = 7, msg = "m" },
      core.json.decode(errors.document({ code = 7, msg = "m" }, "0.4.0")))
  end)
end)

describe("printable text", function()
  it("is left as it is when it is UTF-8", function()
    assert.equal("grüße ✓", errors.printable "grüße ✓")
  end)

  it("shows every byte that is none", function()
    assert.equal("\\xc3(\\xed\\xa0\\x80", errors.printable "\xc3(\xed\xa0\x80")
  end)

  it("is not cut inside of a character", function()
    assert.equal("aé...", errors.printable("aéé", 4))
    assert.equal("a...", errors.printable("a✓", 3))
  end)
end)
