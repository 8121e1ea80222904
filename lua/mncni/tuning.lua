-- SPDX-License-Identifier: Apache-2.0
-- What the plugin tuning may be asked for, checked. What is wrong is raised with code 7 and names the key.

local core = require "mncni.core"
local sorted_keys = require "mncni.keys"

local tuning = {}

local function refuse(key, message, ...)
  error(core.error { code = 7, object = ("\"%s\""):format(key), message = message:format(...) }, 0)
end

-- A key with slashes between its parts, the pod's interface in place of the word IFNAME. As sysctl(8) has it: where the
-- first separator is a dot, dots and slashes change places.
local function path_of(key, ifname)
  local path = key
  if key:match "[./]" == "." then
    path = key:gsub("[./]", { ["."] = "/", ["/"] = "." })
  end
  if not path:find "^net/" then
    refuse("sysctl." .. key, "only what is below net/ belongs to the pod alone, and may be set")
  end
  local from, to = path:find("IFNAME", 1, true)
  return from and path:sub(1, from - 1) .. ifname .. path:sub(to + 1) or path
end

-- sysctls(given, ifname) returns { { key, value } } with the keys as pod.inside.sysctl takes them, sorted. Each key of
-- given (as sysctl(8) writes them; IFNAME stands for the pod's interface) must be in the node's allowlist, if there is one.
function tuning.sysctls(given, ifname)
  local list, seen = {}, {}
  local patterns = next(given) and require("mncni.allowlist").read()
  for _, key in ipairs(sorted_keys(given)) do
    if patterns and not require("mncni.allowlist").allows(patterns, key) then
      refuse("sysctl." .. key, "it is not in the node's list of what may be set, %s", require("mncni.allowlist").PATH)
    end
    local path = path_of(key, ifname)
    if seen[path] then
      refuse("sysctl." .. key, "it is the same setting as \"%s\"; keep one of them", seen[path])
    end
    seen[path] = key
    list[#list + 1] = { path, given[key] }
  end
  return list
end

-- mac(text) returns an Ethernet address as the kernel writes it. Raises code 7 for what no interface can have.
function tuning.mac(text)
  local mac = text:lower():gsub("-", ":")
  local first = mac:match "^(%x%x):%x%x:%x%x:%x%x:%x%x:%x%x$"
  if not first then
    refuse("mac", "it must be an Ethernet address such as 0a:58:0a:f4:01:07, and is \"%s\"", text)
  elseif tonumber(first, 16) & 1 ~= 0 or mac == "00:00:00:00:00:00" then
    refuse("mac", "%s is the address of no single interface", text)
  end
  return mac
end

return tuning
