-- SPDX-License-Identifier: Apache-2.0
-- Objects and requests as the lines of iproute2 and nft that would make them. What tostring shows of a link, an address
-- or a route are the arguments of `ip`; of an fdb entry or VLANs the `bridge` line, of traffic control the `tc` line; of
-- nftables objects the arguments of `nft`.
-- What one line cannot say (an alias, the options of a bridge port) follows on lines of their own.

local addresses = require "mncni.print_addr"
local print_words = require "mncni.print_words"
local routes = require "mncni.print_route"

local print_lines = {}

local quote = print_words.quote

local nsid = {}

function nsid.add(args)
  local out = print_words.new("netns", "set", quote(print_words.netns(args.netns or args.pid or args.fd) or "?"))
  out[#out + 1] = tostring(args.nsid or "auto")
  return { out:text() }
end

local sysctl = {}

function sysctl.set(args)
  return { "-w " .. quote(("%s=%s"):format(args.key, args.value)) }
end

local lines_of = {
  link = require "mncni.print_link", addr = addresses.addr, route = routes.route, rule = routes.rule,
  neigh = addresses.neigh, fdb = addresses.fdb, vlan = addresses.vlan, nsid = nsid, sysctl = sysctl,
}
local tools = { fdb = "bridge", vlan = "bridge", sysctl = "sysctl", qdisc = "tc", class = "tc", filter = "tc" }

for object in pairs(tools) do
  if tools[object] == "tc" then
    lines_of[object] = setmetatable({}, { __index = function(_, verb)
      return require("mncni.print_tc")[object][verb]
    end })
  end
end

local function tool_of(object)
  return object:find("^nft_") and "nft" or tools[object] or "ip"
end

-- lines(verb, object, args) returns a list of lines, each the arguments of one call of the object's tool, and the name
-- of the tool ("ip", "bridge", "tc", "nft", "sysctl").
function print_lines.lines(verb, object, args)
  local tool = tool_of(object)
  if tool == "nft" then
    return require("mncni.print_nft").lines(verb, object, args), tool
  end
  local make = lines_of[object] and lines_of[object][verb]
  if not make then
    return { ("%s %s"):format(object, verb) }, tool
  end
  return make(args), tool
end

-- commands(verb, object, args, netns) returns the same as whole command lines for a shell, inside the namespace of
-- that name when one is given.
function print_lines.commands(verb, object, args, netns)
  local lines, tool = print_lines.lines(verb, object, args)
  local front = tool
  if netns then
    front = (tool == "ip" or tool == "bridge" or tool == "tc") and ("%s -n %s"):format(tool, quote(netns))
      or ("ip netns exec %s %s"):format(quote(netns), tool)
  end
  for i, line in ipairs(lines) do
    lines[i] = front .. " " .. (tool == "nft" and quote(line) or line)
  end
  return lines
end

-- describe(object, value) is what tostring shows of a value that was read: the line, or lines, that would make it.
-- Values that are the kernel's defaults are left out. An fdb entry's line begins with its tool, `bridge`, and so does one of `tc`.
function print_lines.describe(object, value)
  local tool = tool_of(object)
  local lines
  if tool == "nft" then
    lines = require("mncni.print_nft").describe(object, value)
  else
    local describe = lines_of[object] and lines_of[object].describe
    lines = describe and describe(value) or print_lines.lines("add", object, value)
  end
  local front = (tool == "bridge" or tool == "tc") and tool .. " " or ""
  return front .. table.concat(lines, "\n" .. front)
end

-- event(event) is one line about a monitor's event: [nsid 0] and the line that would make the object, or delete it.
function print_lines.event(event)
  local front = event.nsid and event.nsid >= 0 and ("[nsid %d] "):format(event.nsid) or ""
  if event.event == "overrun" then
    return front .. "overrun: events were lost"
  end
  local value = event.value or {}
  local text = print_lines.describe(event.object, value):gsub("\n", "; ")
  if event.event == "del" then
    if event.object == "link" then
      text = lines_of.link.del(value)[1]
    else
      text = text:gsub("^(%S* ?%S+) add", "%1 del", 1):gsub("^add ", "delete ", 1)
    end
  end
  return front .. text
end

return print_lines
