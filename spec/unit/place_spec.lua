-- SPDX-License-Identifier: Apache-2.0
local runner = require "spec.support.runner"

describe("core.place", function()
  local LUA = os.getenv "RING_LUA"

  it("is a line at the prompt, too", function()
    local out = runner.sh(LUA .. [[ -e 'print(require "mncni.core".place())']])
    assert.are.equal("(command line)\t1\n", out)
  end)

  it("is a line of a user's file wherever that is, by its whole path", function()
    local root = runner.sh "mktemp -d":gsub("\n", "")
    local directory = root .. "/lua/mncni/" .. ("policies/"):rep(10)
    runner.sh("mkdir -p " .. directory)
    do
      local file <close> = assert(io.open(directory .. "mine.lua", "w"))
      file:write '\nprint(require "mncni.core".place())'
    end
    local out = runner.sh(LUA .. " " .. directory .. "mine.lua")
    runner.sh("rm -r " .. root)
    assert.are.equal(directory .. "mine.lua\t2\n", out)
  end)
end)
