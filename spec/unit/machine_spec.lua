-- SPDX-License-Identifier: Apache-2.0
-- What is asked about the machine: which boot this is, and whether a directory can be written.

local core = require "mncni.core"
local support = require "spec.support.store"

describe("the boot", function()
  it("has the kernel's id, and a clock that counts from it", function()
    assert.are.equal(support.read("/proc/sys/kernel/random/boot_id"):match "%S+", core.boot.id())
    assert.are.equal("integer", math.type(core.boot.clock()))
    assert.is_true(core.boot.clock() >= 0)
  end)
end)

describe("a directory", function()
  local top

  before_each(function() top = support.directory() end)
  after_each(function() support.remove(top) end)

  it("is usable when files can be made in it, or in what is above it", function()
    core.directory.usable(top)
    core.directory.usable(top .. "/not/there/yet")
    assert.are.same({}, support.names(top))
  end)

  it("is not where something else than a directory is in the way, and the error names it", function()
    support.write(top .. "/file", "")
    for _, path in ipairs { top .. "/file", top .. "/file/below" } do
      local ok, err = pcall(core.directory.usable, path)
      assert.is_false(ok)
      assert.are.same({ 5, "ENOTDIR", "read" }, { err.code, err.name, err.op })
      assert.matches(top .. "/file", tostring(err), 1, true)
    end
  end)
end)
