-- SPDX-License-Identifier: Apache-2.0
-- lua/reference.md is what `make reference` would write now.
local runner = require "spec.support.runner"

describe("the reference", function()
  for path, argument in pairs { ["lua/reference.md"] = "", ["lua/mncni/help_functions.lua"] = "help" } do
    it("is not older than what it tells of: " .. path, function()
      local made, err, status = runner.sh(os.getenv "RING_LUA" .. " lua/reference.lua " .. argument)
      assert.equal(0, status, err)
      local file <close> = assert(io.open(path))
      local line = 0
      for kept in file:lines() do
        line = line + 1
        local now
        now, made = made:match "^([^\n]*)\n(.*)$"
        assert.equal(now, kept, ("%s:%d is old; make reference"):format(path, line))
      end
      assert.equal("", made, path .. " ends too early; make reference")
    end)
  end

  it("tells of every class of the types", function()
    local file <close> = assert(io.open "lua/reference.md")
    local text = file:read "a"
    for class in runner.sh "grep -h '^---@class' lua/types/*.lua":gmatch "@class (mncni%.[%w_.]+)" do
      local topic = class:match "%.(%u%w*)Module$"
      topic = topic and "mncni." .. topic:gsub("(%l)(%u)", "%1_%2"):lower()
      local known = text:find("### " .. class .. "\n", 1, true) or topic and text:find("### " .. topic .. "\n", 1, true)
      assert.is_truthy(known, class)
    end
  end)
end)
