-- SPDX-License-Identifier: Apache-2.0
-- What spec/kernel/every_policy_spec.lua says, of policies whose links a small kernel lacks.

require("spec.support.every_policy").describe("vm", _ENV)
