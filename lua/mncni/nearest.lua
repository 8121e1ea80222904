-- SPDX-License-Identifier: Apache-2.0
-- nearest(name, names): the string in the list `names` that `name` most likely meant, nil when none is near.

return require("mncni.core").nearest
