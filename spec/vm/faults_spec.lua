-- SPDX-License-Identifier: Apache-2.0
-- Faults of the policies whose links a small kernel lacks: in a machine that is slow, one policy in each run, at few points.

local cases = require "spec.support.fault_cases"
local sweeps = require "spec.support.fault_sweeps"

for _, case in ipairs(cases.some({}, cases.vm, 1)) do
  sweeps.describe(case, { sweeps.kill, sweeps.errno, sweeps.netlink }, 2)
end
