-- SPDX-License-Identifier: Apache-2.0
-- contains(list, value) tells whether a list has a value.

return require("mncni.core").contains
