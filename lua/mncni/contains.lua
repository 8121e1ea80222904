-- SPDX-License-Identifier: Apache-2.0
-- contains(list, value) tells whether a list has a value.

return function(list, value)
  for _, item in ipairs(list) do
    if item == value then
      return true
    end
  end
  return false
end
