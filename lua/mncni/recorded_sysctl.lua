-- SPDX-License-Identifier: Apache-2.0
-- Kernel settings of the recorded net.

local core = require "mncni.core"
local model = require "mncni.recorded_model"

local recorded_sysctl = {}

local ENOENT = 2

-- What conf/default says is so for every link that has no value of its own.
local function inherited(space, key)
  local tree, name, rest = key:match("^(net/ipv[46]/%a+/)([^/]+)/(.+)$")
  if not tree or name == "all" or name == "default" then
    return nil
  end
  return model.find_link(space, name) and space.sysctls[tree .. "default/" .. rest] or nil
end

-- The key with slashes; dots where there are no slashes do as well.
function recorded_sysctl.key(key)
  return key:find("/") and key or (key:gsub("%.", "/"))
end

-- A value as the kernel shows it.
function recorded_sysctl.text(value)
  if type(value) == "boolean" then
    return value and "1" or "0"
  end
  return tostring(value)
end

-- over(world) makes what a backend has as sysctl (see mncni.net).
function recorded_sysctl.over(world)
  local sysctl = {}
  function sysctl.get(netns, ...)
    local space, values = world:space_of(netns), table.pack(...)
    for i = 1, values.n do
      local key = recorded_sysctl.key(values[i])
      values[i] = space.sysctls[key] or inherited(space, key)
    end
    return table.unpack(values, 1, values.n)
  end
  function sysctl.set(netns, key, value)
    local space = world:space_of(netns)
    key = recorded_sysctl.key(key)
    local previous = sysctl.get(netns, key)
    if not previous then
      error(core.error {
        op = "set", object = "sysctl " .. key, netns = space.name, errno = ENOENT,
      }, 0)
    end
    value = recorded_sysctl.text(value)
    if value == previous then
      return previous, false
    end
    space.sysctls[key] = value
    world:record(space, "set", "sysctl", { key = key, value = value })
    return previous, true
  end
  function sysctl.batch(netns, list, quiet)
    local space, done = world:space_of(netns), {}
    local before = model.copy(space.sysctls)
    for i, item in ipairs(list) do
      local ok, previous, changed = pcall(sysctl.set, netns, item[1], item[2])
      if not ok and item.optional and previous.name == "ENOENT" then
        previous, changed = nil, false
      elseif not ok then
        space.sysctls, previous.index = before, i
        error(previous, 0)
      end
      done[i] = { key = recorded_sysctl.key(item[1]), previous = previous, changed = changed }
    end
    return not quiet and done or nil
  end
  return sysctl
end

return recorded_sysctl
