-- SPDX-License-Identifier: Apache-2.0
-- DEL: undoes what the journal lists, and where there is none what the attachment's name leads to.

local core = require "mncni.core"
local attachment = require "mncni.attachment"
local policies = require "mncni.policy"

local del = {}

-- Whether it is no journal any more: a failing disk, or somebody's editor.
local function is_damaged(journal)
  local ok, text = pcall(journal.read, journal)
  for line in (ok and text or ""):gmatch("([^\n]*)\n") do
    local decoded, entry = pcall(core.json.decode, line)
    ok = ok and decoded and type(entry) == "table" and not core.json.is_array(entry)
  end
  return not ok
end

-- Whether not even its first line is whole.
local function is_empty(journal)
  local ok, text = pcall(journal.read, journal)
  return ok and not text:find("\n", 1, true)
end

-- Gives back what a missing or damaged journal leaves open, by the name of the attachment: the link on the host, and
-- the addresses. Raises the first failure after both were tried.
local function del_by_name(call)
  local loaded, policy = pcall(policies.load, call.policy)
  local ipam = attachment.ipam(call, loaded and policy)
  local deleted, err = true, nil
  if not (loaded and attachment.is_ipam(policy)) then
    deleted, err = pcall(function()
      local look <close> = require("mncni.judge").look {
        state_dir = attachment.state_dir(call), network = call.network,
      }
      require("mncni.links").delete(look.host, { look:link_of(call) })
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

  -- A policy that wants more than its steps undone says so in del; it is no reason to keep the rest.
  local loaded, policy = pcall(policies.load, call.policy)
  if loaded and policy.del then
    try(function() policy.del(call, attachment.checked(call, policy)) end)
  end
  local journal <close> = attachment.journal(call, false)
  if not journal then
    try(del_by_name, call)
  elseif is_empty(journal) then
    -- An ADD that ended before it began; or somebody's loss, so that nothing but the name is left to go by.
    try(del_by_name, call)
    try(journal.remove, journal)
  else
    local ok, err = pcall(journal.undo, journal, "del")
    if not ok and is_damaged(journal) then
      -- What it still told is undone; the rest is found by name, and it would only stand in the way of the next DEL.
      io.stderr:write("mncni: ", tostring(err), "; the attachment is deleted by its name\n")
      try(del_by_name, call)
      if not first then
        try(journal.remove, journal)
      end
    elseif not ok then
      first = first or err
    end
  end
  if first then
    error(first, 0)
  end
end

return del
