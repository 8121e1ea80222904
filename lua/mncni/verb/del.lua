-- SPDX-License-Identifier: Apache-2.0
-- DEL: undoes what the journal lists, and, where that is less than a whole one, what the attachment's name leads to.

local core = require "mncni.core"
local attachment = require "mncni.attachment"
local policies = require "mncni.policy"

local del = {}

-- What is left of a journal: "whole", "damaged" (it has lines that are none: a failing disk, or somebody's editor), or
-- "part": it does not begin as one, or does not end with a result. Then an ADD did not come to its end, or somebody cut
-- it off, and what it does not tell may be there all the same.
local function condition(journal)
  local ok, whole = pcall(function()
    local first, last = journal:ends()
    return first and core.json.decode(first).format and core.json.decode(last).result
  end)
  return not ok and "damaged" or whole and "whole" or "part"
end

-- Deletes the link that pod:node_link has made for this attachment, if it is there.
local function del_node_link(call)
  local alias = require("mncni.pod").alias(call.network, call.container, call.ifname, call.type)
  local look <close> = require("mncni.judge").look { state_dir = attachment.state_dir(call), network = call.network }
  require("mncni.links").delete(look.host, { look:links().alias[alias] })
end

-- Deletes a link inside the pod whose alias names the attachment.
local function delete_inside(call)
  local opened, netns = pcall(attachment.netns, call)
  if not opened then
    return
  end
  local held <close> = netns
  local inside <close> = require("mncni.net").open(held)
  local link = inside.link.get { ifname = call.ifname }
  if link and link.ifalias == require("mncni.pod").alias(call.network, call.container, call.ifname) then
    require("mncni.links").delete(inside, { link })
  end
end

-- Gives back what no journal, or less than a whole one, tells of, by the name of the attachment: the links on the host
-- and in the pod, and the addresses. Raises the first failure after all were tried. To a chained policy none of these
-- belongs, but a link of its own on the node may; what else does, its hook `lost` finds, if it has one.
local function del_by_name(call)
  local loaded, policy = pcall(policies.load, call.policy)
  if loaded and policy.chained then
    del_node_link(call)
    return policy.lost and policy.lost(call)
  end
  local ipam = attachment.ipam(call, loaded and policy)
  local deleted, err = true, nil
  if not (loaded and attachment.is_ipam(policy)) then
    deleted, err = pcall(function()
      local look <close> = require("mncni.judge").look {
        state_dir = attachment.state_dir(call), network = call.network,
      }
      require("mncni.links").delete(look.host, { look:link_of(call) })
      delete_inside(call)
    end)
  end
  if ipam and (ipam.type or ipam.policy) then
    require("mncni.lease").release(call, require("mncni.steps").new {}, ipam)
  end
  if not deleted then
    error(err, 0)
  end
end

-- DEL. Works without namespace, policy, prevResult or the configuration of the ADD; gone already is fine. Raises only
-- when something is left that must not be, after everything else has been tried.
function del.run(call)
  local first
  local function try(fn, ...)
    local ok, err = pcall(fn, ...)
    if not ok and not first then
      first = err
    end
  end

  local function undo(journal, left)
    local ok, err = pcall(journal.undo, journal, "del")
    if not ok and left == "damaged" then
      -- What it still told is undone, and it would only stand in the way of the next DEL.
      io.stderr:write("mncni: ", tostring(err), "; the attachment is deleted by its name\n")
      if not first then
        try(journal.remove, journal)
      end
    elseif not ok then
      first = first or err
    end
  end

  -- A policy that wants more than its steps undone says so in del; it is no reason to keep the rest.
  local loaded, policy = pcall(policies.load, call.policy)
  if loaded and policy.del then
    try(function() policy.del(call, attachment.checked(call, policy)) end)
  end
  local found = false
  for journal in attachment.journals(call, loaded and policy.chained) do
    local open <close> = journal
    local left = condition(open)
    if left ~= "whole" then
      try(del_by_name, call) -- under the journal's lock
    end
    undo(open, left)
    found = true
  end
  if not found then
    try(del_by_name, call)
  end
  if first then
    error(first, 0)
  end
end

return del
