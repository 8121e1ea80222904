-- SPDX-License-Identifier: Apache-2.0
-- mncni.netns: core.netns, whose handles answer to the verbs of a net as well:
--
--   local pod <close> = mncni.netns.open "/run/netns/web"
--   pod.link.set { ifname = "eth0", up = true }

local core = require "mncni.core"
local net = require "mncni.net"

local nets = setmetatable({}, { __mode = "k" })
local adopted

-- Closes the sockets of the handle's net with the handle.
local function close_net(handle)
  local own = nets[handle]
  nets[handle] = nil
  if own then
    own:close()
  end
end

-- Lets every handle (they share one metatable) look up what is no method of its own in a net made when first needed.
local function adopt(handle)
  local meta = getmetatable(handle)
  if adopted == meta then
    return handle
  end
  adopted = meta
  -- The metatable outlives this module when somebody unloads it (a spec runner does).
  meta.methods, meta.close = meta.methods or meta.__index, meta.close or meta.__close
  local methods, close = meta.methods, meta.close
  function meta.__index(self, key)
    local method = methods[key]
    if method ~= nil then
      return method
    end
    local own = nets[self]
    if not own then
      own = net.of(self)
      nets[self] = own
    end
    local value = own[key]
    if type(value) == "function" then
      return function(_, ...)
        return value(own, ...)
      end
    end
    return value
  end
  function methods.close(self)
    close_net(self)
    close(self)
  end
  meta.__close = methods.close
  return handle
end

local netns = {}

for _, name in ipairs { "open", "current", "create" } do
  netns[name] = function(...)
    return adopt(core.netns[name](...))
  end
end

return setmetatable(netns, { __index = core.netns })
