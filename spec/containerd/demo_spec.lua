-- SPDX-License-Identifier: Apache-2.0
-- `make demo`, the README's first command: it has a node of its own, whatever it is called from.

local lab = require "spec.support.containerd"

-- The lines that the README shows of it.
local function shown()
  local list = {}
  for line in lab.read "README.md":match "\n```text\n(%[.-)\n```":gmatch "[^\n]+" do list[#list + 1] = line end
  return list
end

describe("make demo", function()
  it("runs containers on the policy, changes it, says what the README shows, and leaves nothing", function()
    local before = lab.footprint()
    local said = lab.run("sh", "deploy/demo.sh"):gsub(" +\n", "\n")
    local from = 1
    for _, line in ipairs(shown()) do
      from = said:find(line, from, true) or error("it does not say: " .. line .. "\n" .. said, 0)
    end
    assert.matches("[9/9]", said, from, true)
    assert.are.same(before, lab.footprint())
  end)
end)
