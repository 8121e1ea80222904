-- SPDX-License-Identifier: Apache-2.0
-- `make demo`, the README's first command: it has a node of its own, whatever it is called from.

local lab = require "spec.support.containerd"

describe("make demo", function()
  it("runs containers on the policy, changes it, and leaves nothing", function()
    local before = lab.footprint()
    local said = lab.run("sh", "deploy/demo.sh")
    assert.matches("[9/9]", said, 1, true)
    assert.are.same(before, lab.footprint())
  end)
end)
