-- SPDX-License-Identifier: Apache-2.0
-- Input: netlink messages. Whatever they hold, they decode to something; what of it the encoder takes back settles, in
-- a few rounds (an attribute that is there twice or does not fit its row takes one), to what stays the same.

local core = require "mncni.core"
local check = dofile "spec/fuzz/check.lua"

local ROUNDS = 4

local function again(message)
  return core.decode(core.encode("new", message.object, message.value))[1]
end

return function(bytes)
  for _, message in ipairs(core.decode(bytes)) do
    if message.event == "new" then
      local ok, before = check.raises_well(nil, again, message)
      for round = 1, ok and ROUNDS or 0 do
        local after = again(before)
        assert(after.object == message.object, "another object")
        if check.same(before.value, after.value) then
          break
        elseif round == ROUNDS then
          check.equal(before.value, after.value, "never the same")
        end
        before = after
      end
    end
  end
end
