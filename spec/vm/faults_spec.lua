-- SPDX-License-Identifier: Apache-2.0
-- Faults of the policies whose links a small kernel lacks: few points of each, in a machine that is slow.

local cases = require "spec.support.fault_cases"
local sweeps = require "spec.support.fault_sweeps"

for _, case in ipairs(cases.vm) do
  sweeps.describe(case, { sweeps.kill, sweeps.errno, sweeps.netlink }, 3)
end
