-- SPDX-License-Identifier: Apache-2.0
-- keys(t) returns the keys of a table as a list in a stable order, whatever they are.

return require("mncni.core").keys
