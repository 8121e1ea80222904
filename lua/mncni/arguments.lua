-- SPDX-License-Identifier: Apache-2.0
-- arguments.check(what, args, known): raises an error object when args, the named arguments of `what` ("pod:veth"), is
-- no table or has a key that is not in the list `known`; it names that key and the nearest known one.

local core = require "mncni.core"

local arguments = {}

function arguments.check(what, args, known)
  if type(args) ~= "table" then
    error(core.error {
      op = what, message = ("expected a table of named arguments, got %s"):format(type(args)),
    }, 0)
  end
  local names = {}
  for _, name in ipairs(known) do
    names[name] = true
  end
  for _, key in ipairs(require("mncni.keys")(args)) do
    if not names[key] then
      local name = tostring(key)
      error(core.error {
        op = what,
        message = ("unknown key \"%s\"%s"):format(name, require("mncni.declaration").suggestion(name, known)),
      }, 0)
    end
  end
end

return arguments
