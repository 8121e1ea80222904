-- SPDX-License-Identifier: Apache-2.0
-- SIGKILL at every system call (sweeps.kill).

local cases = require "spec.support.fault_cases"
local faults = require "spec.support.faults"
local sweeps = require "spec.support.fault_sweeps"

local list = cases.some({
  faults.case { name = "naivebridge" },
  faults.case { name = "naivebridge, both families", ipam = faults.dual_stack },
  faults.case { name = "naivebridge, first on the node, masquerading", cold = true, network = { ipMasq = true } },
  cases.guarded,
  faults.case { name = "naivebridge with the reference host-local", network = { cniVersion = "1.0.0" },
    ipam = { type = "reference-host-local" }, excused = "^address file" },
  faults.case { name = "the reference bridge with our host-local", plugin = "reference-bridge",
    network = { cniVersion = "1.0.0" } },
}, cases.plugins)
if os.getenv "MNCNI_REFERENCE" == "1" then
  list[#list + 1] = faults.case { name = "the reference bridge and host-local", plugin = "reference-bridge",
    network = { cniVersion = "1.0.0" }, ipam = { type = "reference-host-local" }, excused = "" }
end

for _, case in ipairs(list) do sweeps.describe(case, { sweeps.kill }) end
