-- SPDX-License-Identifier: Apache-2.0
-- Every built-in policy that is a plugin, as a runtime calls it. Those whose links this kernel may lack are in the ring vm.

local every = require "spec.support.every_policy"

describe("every built-in policy that is a plugin", function()
  it("has a case", function()
    for name in pairs(every.built_in()) do
      assert.is_not_nil(every.cases[name], name .. " has none in spec/support/every_policy.lua")
    end
  end)
end)

every.describe("kernel", _ENV)
