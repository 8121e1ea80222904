-- SPDX-License-Identifier: Apache-2.0
-- arguments.check(what, args, known): raises an error object when args, the named arguments of `what` ("pod:veth"), is
-- no table or has a key that is not in the list `known`; it names that key and the nearest known one.

local core = require "mncni.core"
local contains = require "mncni.contains"

local arguments = {}

local function refuse(what, args, known)
  for _, key in ipairs(require("mncni.keys")(args)) do
    if not contains(known, key) then
      local name = tostring(key)
      error(core.error {
        op = what,
        message = ("unknown key \"%s\"%s"):format(name, require("mncni.declaration").suggestion(name, known)),
      }, 0)
    end
  end
end

function arguments.check(what, args, known)
  if type(args) ~= "table" then
    error(core.error {
      op = what, message = ("expected a table of named arguments, got %s"):format(type(args)),
    }, 0)
  end
  if core.has_others(args, known) then
    refuse(what, args, known)
  end
end

return arguments
