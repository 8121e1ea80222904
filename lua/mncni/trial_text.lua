-- SPDX-License-Identifier: Apache-2.0
-- What `mncni try` has seen, as text for people.

local text = {}

-- Columns up to the place in the policy's file that a line comes from.
local WIDTH = 78

local function result_lines(result, lines)
  for _, interface in ipairs(result.interfaces or {}) do
    lines[#lines + 1] = ("  -> %s%s%s"):format(interface.name, interface.mac and " " .. interface.mac or "",
      interface.sandbox and interface.sandbox ~= "" and ", the pod's" or "")
  end
  for _, ip in ipairs(result.ips or {}) do
    lines[#lines + 1] = ("  -> %s%s"):format(ip.address, ip.gateway and " via " .. ip.gateway or "")
  end
  for _, route in ipairs(result.routes or {}) do
    lines[#lines + 1] = ("  -> route %s%s"):format(route.dst, route.gw and " via " .. route.gw or "")
  end
end

-- One call: what it was, its steps, and its result or error.
function text.call(call)
  local took = call.ms and ("  %.1f ms"):format(call.ms) or ""
  local lines = { ("%-6s %s%s%s"):format(call.command, call.plugin, took, call.error and "  failed" or "") }
  for _, step in ipairs(call.steps or {}) do
    local place = step.where and "# " .. step.where:match "[^/]*$" or nil
    local line = "  " .. step.line
    lines[#lines + 1] = place and ("%s  %s"):format(line .. (" "):rep(WIDTH - #line), place) or line
  end
  if call.error then
    local said = (call.error.msg or ""):gsub("/proc/%d+/fd/%d+", "pod")
    lines[#lines + 1] = ("  error %s: %s"):format(call.error.code or "", said)
    if call.error.details then
      lines[#lines + 1] = "  " .. tostring(call.error.details):gsub("\n", "\n  ")
    end
  elseif call.command == "ADD" and call.result then
    result_lines(call.result, lines)
  end
  return table.concat(lines, "\n")
end

function text.ping(ping)
  local said = ping.ms and ("%.2f ms"):format(ping.ms) or ping.error
  local note = ping.note and (said and ", " or "") .. ping.note or ""
  return ("ping   %s (%s)  %s"):format(ping.to, ping.what, (said or "") .. note)
end

-- What is left after the pod, and what stays because other pods share it.
function text.rest(left, stays)
  local lines = {}
  for _, line in ipairs(stays) do
    if not line:find "^nft" or line:find "^nft table" then -- the tables stand for what is in them
      lines[#lines + 1] = "stays  " .. line
    end
  end
  for _, line in ipairs(left) do
    lines[#lines + 1] = "LEFT   " .. line
  end
  if #left == 0 then
    lines[#lines + 1] = #stays > 0 and "Nothing else is left, and a second pod leaves nothing more."
      or "Nothing is left."
  end
  return table.concat(lines, "\n")
end

return text
