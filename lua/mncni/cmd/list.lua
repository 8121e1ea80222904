-- SPDX-License-Identifier: Apache-2.0
-- mncni list: the attachments on this node, and the node drawn in text.

local core = require "mncni.core"
local terminal = require "mncni.terminal"
local words = require "mncni.words"

local list = {}

list.summary = "lists the pods' attachments on this node, or draws it"
list.about = [[
From the journals and the kernel. STATE is empty where all is well; "stale": what it was for is gone, and mncni gc
takes it; "doubt": nothing can be proven; "unfinished": its ADD was cut short, or is at work. The reason follows.]]
list.options = {
  { "pod", value = "POD", doc = "only this pod's: a name, NAMESPACE/NAME, or the beginning of its container's id" },
  { "network", value = "NETWORK", doc = "only this network's" },
  { "stale", doc = "only what is not well" },
  { "tree", doc = "draw the node: bridges, their ports, pods, peers and routes" },
  { "output", short = "o", value = "json", choices = { { "json" } }, doc = "tell all of it as one JSON document" },
  { "state-dir", value = "DIR", doc = "where the journals are (default $MNCNI_STATE_DIR or /run/mncni)" },
}
list.exit = "0, 1 when there is no such pod or the journals cannot be read, 2 for a mistake in the words."

-- 4000 as "1h6m".
function list.age(seconds)
  if not seconds then
    return "-"
  elseif seconds < 60 then
    return ("%ds"):format(seconds)
  elseif seconds < 3600 then
    return ("%dm%ds"):format(seconds // 60, seconds % 60)
  elseif seconds < 86400 then
    return ("%dh%dm"):format(seconds // 3600, seconds % 3600 // 60)
  end
  return ("%dd%dh"):format(seconds // 86400, seconds % 86400 // 3600)
end

local COLOURS = { stale = "red", doubt = "yellow", unfinished = "yellow" }

local function listing(found)
  local rows = { { "POD", "CONTAINER", "IFNAME", "ADDRESS", "LINK", "MASTER", "POLICY", "NETWORK", "AGE", "STATE" } }
  for _, one in ipairs(found) do
    local row = {
      one.pod or "-", (one.container or "-"):sub(1, 12), one.ifname or "-", table.concat(one.addresses, ","),
      one.link or "-", one.master and tostring(one.master) or "-", table.concat(one.policies, ","), one.network or "-",
      list.age(one.age), one.state ~= "alive" and one.state or "",
    }
    for i, cell in ipairs(row) do
      row[i] = terminal.line(cell == "" and i < 10 and "-" or cell)
    end
    rows[#rows + 1] = row
  end
  local lines = {}
  local function paint(n)
    return n > 1 and COLOURS[found[n - 1].state] or nil
  end
  for n, line in ipairs(terminal.columns(rows, {}, paint)) do
    lines[#lines + 1] = line
    local reason = n > 1 and found[n - 1].reason
    lines[#lines + 1] = reason and "  " .. terminal.line(reason) or nil
  end
  return table.concat(lines, "\n")
end

function list.run(given)
  if given.tree and given.output then
    return words.usage("list", "--tree and --output exclude each other")
  end
  local state_dir, found = words.state_dir(given), core.json.array {}
  local all = words.as_root(require("mncni.attachments").list, { state_dir = state_dir, network = given.network })
  for _, one in ipairs(all) do
    if (not given.pod or words.is_of(one, given.pod)) and (not given.stale or one.state ~= "alive") then
      found[#found + 1] = one
    end
  end
  if given.output then
    for _, one in ipairs(found) do
      one.addresses, one.policies = core.json.array(one.addresses), core.json.array(one.policies)
      one.master = one.master and tostring(one.master)
    end
    return { status = 0, stdout = core.json.encode(found, { pretty = true }) }
  elseif #found == 0 and given.pod then
    local message = "mncni list: no attachment of pod %q is on this node; \"mncni list\" shows all"
    return { status = 1, stderr = message:format(given.pod) }
  elseif given.tree then
    return { status = 0, stdout = require("mncni.node_tree").text(found, list.age) }
  elseif #found == 0 then
    return { status = 0, stderr = ("mncni list: nothing to list; the journals in %s were looked at"):format(state_dir) }
  end
  return { status = 0, stdout = listing(found) }
end

return list
