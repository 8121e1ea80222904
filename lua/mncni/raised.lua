-- SPDX-License-Identifier: Apache-2.0
-- Catching what is raised, as error objects. What makes one of anything else (mncni.errors) is loaded when there is need.

local core = require "mncni.core"

local raised = {}

-- A handler for xpcall: turns what was raised into an error object with its code, and notes the Lua file and
-- line, which are gone once the stack is unwound.
function raised.handler(value)
  if not core.is_error(value) then
    return require("mncni.errors").object(value, true)
  end
  if not value.file and not value.where then
    value.file, value.line = core.place()
  end
  return value
end

-- Lua calls no handler when memory runs out.
local function objectified(ok, ...)
  if ok or core.is_error((...)) then
    return ok, ...
  end
  return false, require("mncni.errors").object((...), false)
end

-- pcall(fn, ...) whose error is always an error object made by raised.handler.
function raised.catch(fn, ...)
  return objectified(xpcall(fn, raised.handler, ...))
end

return raised
