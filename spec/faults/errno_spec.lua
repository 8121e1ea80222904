-- SPDX-License-Identifier: Apache-2.0
-- A failure at every system call (sweeps.errno).

local cases = require "spec.support.fault_cases"
local faults = require "spec.support.faults"
local sweeps = require "spec.support.fault_sweeps"

local list = cases.some({
  faults.case { name = "naivebridge, both families", ipam = faults.dual_stack },
  cases.guarded,
  faults.case { name = "naivebridge, first on the node, masquerading", cold = true, network = { ipMasq = true } },
  faults.case { name = "naivebridge with the reference host-local", network = { cniVersion = "1.0.0" },
    ipam = { type = "reference-host-local" }, excused = "^address file" },
}, cases.plugins)

for _, case in ipairs(list) do sweeps.describe(case, { sweeps.errno }) end
