-- SPDX-License-Identifier: Apache-2.0
-- deploy/troubleshooting.md against the sources: every code has its part, and every message is one that can come.
local errors = require "mncni.errors"
local runner = require "spec.support.runner"

-- All that the programs can say: the sources, with strings that are joined over lines made one.
local sources = runner.sh "cat lua/mncni/*.lua lua/mncni/*/*.lua policies/*.lua core/*.c plugin/*.c core/*.h"
  :gsub('"%s*%.%.%s*"', ""):gsub('"\n%s*"', "")

-- What Lua and the kernel say themselves.
local others = "attempt to call a nil value attempt to index a nil value ENOENT ENETUNREACH ENODEV EOPNOTSUPP EPERM"

describe("deploy/troubleshooting.md", function()
  local codes, messages = {}, {}
  for line in io.lines "deploy/troubleshooting.md" do
    codes[#codes + 1] = math.tointeger(line:match "^## (%d+) ")
    messages[#messages + 1] = line:match "^| `(.-)` |"
  end

  it("has a part for each code that mncni answers with, in their order", function()
    local known = {}
    for _, code in pairs(errors.codes) do
      known[#known + 1] = code
    end
    table.sort(known)
    assert.same(known, codes)
  end)

  it("is complete: no source names another code", function()
    local listed = {}
    for _, code in ipairs(codes) do
      listed[code] = true
    end
    for code in sources:gmatch "[^%w_]code = (%d+)" do
      assert.is_true(listed[math.tointeger(code)] or code == "200" or code == "0", "code " .. code)
    end
  end)

  it("tells of messages that there are", function()
    assert.is_true(#messages > 50)
    local unknown = {}
    for _, message in ipairs(messages) do
      for part in (message .. "..."):gmatch "(.-)%.%.%." do
        part = part:gsub("^%s+", ""):gsub("%s+$", "")
        if #part >= 4 and not sources:find(part, 1, true) and not others:find(part, 1, true) then
          unknown[#unknown + 1] = ("%q of %q"):format(part, message)
        end
      end
    end
    assert.same({}, unknown)
  end)
end)
