-- SPDX-License-Identifier: Apache-2.0
-- A step (mncni.steps), as a journal keeps it, as the command lines that would do the same.

local core = require "mncni.core"
local plan = require "mncni.agent_plan"

local step_text = {}

-- What a step was before its journal made text of it: bytes stand there as digits, and namespaces as what they print.
local function restored(value, key, netns)
  if type(value) == "table" then
    local copy = {}
    for name, item in pairs(value) do
      copy[name] = restored(item, name, netns)
    end
    return copy
  elseif key == "netns" and type(value) == "string" then
    return netns or value:match "^netns /proc/(%d+)/" or value:match "/netns/([^/]+)$" or value:gsub("^netns ", "")
  elseif key == "data" and type(value) == "string" and value:find "^0x%x*$" then
    return (value:sub(3):gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
  end
  return value
end

-- What is neither a request of rtnetlink nor a batch of nftables.
local others = {
  tun = function(args) return ("ip tuntap add dev %s mode tap"):format(args.ifname) end,
  move = function(args) return ("ip link set dev %s netns pod name %s"):format(args.ifname, args.to) end,
  conntrack = function(args) return "# conntrack: forget " .. core.json.encode(args) end,
  -- Of a batch that is long the journal keeps a summary.
  nft = function(args) return not args[1] and "# nft: a batch, " .. core.json.encode(args) or nil end,
}

-- lines(step, pod): pod is what the pod's namespace is called on them; without it they are as if said inside. A step may
-- be of a newer release.
function step_text.lines(step, pod)
  local plain = restored(step, nil, pod)
  local ok, lines = pcall(function()
    local other = others[plain.verb] or others[plain.object]
    local said = other and other(plain.args)
    return said and { said } or plan.lines(plain, plain.net == "pod" and pod or nil)
  end)
  if ok and #lines > 0 then
    return lines
  end
  return { ("# %s %s %s"):format(step.object, step.verb, core.json.encode(step.args or {})) }
end

return step_text
