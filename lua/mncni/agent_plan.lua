-- SPDX-License-Identifier: Apache-2.0
-- What an agent would do, and what a call has done, for people: lines of ip, bridge, nft and sysctl.

local print_lines = require "mncni.print"

local agent_plan = {}

local function add(lines, list)
  table.move(list, 1, #list, #lines + 1, lines)
end

-- A route's table is told only where it is another one than usual, and the protocol of addresses not at all: Debian
-- 12's `ip` has no word for it.
local function shown(step)
  local args = {}
  for key, value in pairs(step.args) do
    args[key] = value
  end
  if step.object == "route" and args.table == "main" then
    args.table = nil
  elseif step.object == "addr" then
    args.protocol = nil
  end
  return args
end

-- The lines of one step of the kernel's.
function agent_plan.lines(step)
  if step.object ~= "nft" then
    return print_lines.commands(step.verb, step.object, shown(step))
  end
  local lines = {}
  for _, item in ipairs(step.args) do
    add(lines, print_lines.commands(item[1], "nft_" .. item[2]:gsub("^nft_", ""), item[3]))
  end
  return lines
end

-- text(plan, node) is the text of a plan (mncni.reconcile) and of what is to be told of the node.
function agent_plan.text(plan, node)
  local lines = {}
  for _, step in ipairs(plan) do
    if step.kind == "files" then
      for _, item in ipairs(step.args) do
        lines[#lines + 1] = item.link and ("# link %s to %s"):format(item.path, item.link)
          or item.remove and "# remove " .. item.path
          or ("# write %s: %d bytes, mode %04o"):format(item.path, #item.content, item.mode)
      end
    else
      add(lines, agent_plan.lines(step))
    end
  end
  for _, condition in ipairs(node.conditions) do
    lines[#lines + 1] = ("# node condition %s=%s: %s"):format(condition.type, condition.status, condition.reason)
  end
  for _, key in ipairs(require("mncni.keys")(node.annotations)) do
    lines[#lines + 1] = ("# node annotation %s=%s"):format(key, node.annotations[key])
  end
  return table.concat(lines, "\n")
end

return agent_plan
