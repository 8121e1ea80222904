-- SPDX-License-Identifier: Apache-2.0
-- A false answer of the kernel's netlink, at every one (sweeps.netlink).

local cases = require "spec.support.fault_cases"
local faults = require "spec.support.faults"
local sweeps = require "spec.support.fault_sweeps"

local list = cases.some({
  faults.case { name = "naivebridge, both families", ipam = faults.dual_stack },
  cases.guarded,
  faults.case { name = "naivebridge, first on the node, masquerading", cold = true, network = { ipMasq = true } },
}, cases.plugins)

for _, case in ipairs(list) do sweeps.describe(case, { sweeps.netlink }) end
