-- SPDX-License-Identifier: Apache-2.0
-- The plugin in huge pages, with Debian 12's own kernel.

assert(loadfile("spec/kernel/warm_spec.lua", "t", _ENV))()
