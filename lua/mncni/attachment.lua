-- SPDX-License-Identifier: Apache-2.0
-- Attachments: runs a policy's verb for one container and interface, with a journal that undoes it.
-- Every function takes the call (one CNI invocation as a table, see mncni.cni) and raises error objects with a code.

local core = require "mncni.core"
local errors = require "mncni.errors"
local results = require "mncni.result"
local steps = require "mncni.steps"
local policies = require "mncni.policy"

local attachment = {}

-- Milliseconds to wait for another call that works on the same attachment, before code 11.
attachment.WAIT = 10000

local JOURNAL_FORMAT = 1

local function is_ipam(policy)
  return policy.lease ~= nil and policy.add == nil
end

local function state_dir(call)
  return call.state_dir or "/run/mncni"
end

local function open_journal(call, create)
  return core.journal.open {
    state_dir = state_dir(call), network = call.network, container = call.container, type = call.type,
    ifname = call.ifname, create = create, wait = attachment.WAIT,
  }
end

-- The lines of a journal as tables; a torn last line (a crash while it was written, before the change) is no entry.
local function entries(journal)
  local list = {}
  for line in journal:read():gmatch("([^\n]*)\n") do
    local ok, entry = pcall(core.json.decode, line)
    if ok and type(entry) == "table" then
      list[#list + 1] = entry
    end
  end
  return list
end

local function finished(list)
  local last = list[#list]
  return last and last.result and list[1].format and list[1] or nil
end

-- The namespace of the call, open. Raises code 8 for one that is missing or the plugin's own: wiring that as a
-- pod would take the node's network down, so it is refused before anything is touched.
local function open_netns(call)
  local netns = core.netns.open { path = call.netns }
  if not call.netns_override then
    local own <close> = core.netns.current()
    if own == netns then
      netns:close()
      error(core.error {
        code = 8, object = call.netns,
        message = "plugin's netns and netns from CNI_NETNS should not be the same; nothing was changed",
      }, 0)
    end
  end
  return netns
end

-- Keys that the contract itself gives a meaning, and which a policy need not declare.
local protocol_keys = {
  "cniVersion", "cniVersions", "name", "type", "policy", "ipam", "dns", "args", "runtimeConfig", "capabilities",
  "limits", "prevResult", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "cni.dev/valid-attachments",
  "cni.dev/attachments",
}

-- The policy's options out of the configuration, checked and complete, with what the protocol keys hold beside them.
local function checked(call, policy)
  local conf, ignored = require("mncni.options").check(policy.options or {}, call.config, {
    unknown = "collect", also = protocol_keys, what = call.policy,
  })
  table.move(ignored, 1, #ignored, #call.ignored + 1, call.ignored)
  for _, key in ipairs { "ipam", "dns", "args", "runtimeConfig" } do
    if conf[key] == nil then
      conf[key] = call.config[key]
    end
  end
  conf.network = call.network
  return conf
end

local function header(call, netns)
  return {
    format = JOURNAL_FORMAT, network = call.network, container = call.container, type = call.type,
    ifname = call.ifname, policy = call.policy, netns = call.netns, netns_id = netns and netns:id() or nil,
  }
end

-- What an unfinished or stale attachment of the same key left is undone first; one that is alive stays as it is.
local function fresh_journal(call, netns, on_finished)
  while true do
    local journal, created = open_journal(call, true)
    if created then
      return journal
    end
    local list = entries(journal)
    local head = finished(list)
    if head and (netns == nil or head.netns_id == netns:id()) then
      local answer = on_finished(list)
      journal:close()
      return nil, answer
    end
    journal:undo "del"
    journal:close()
  end
end

-- Runs body(); whatever it raises is raised after everything it did has been undone, in reverse. A host that cannot
-- tell the runtime of the success undoes it too, so the journal stays active.
local function with_rollback(call, context, journal, body)
  journal:activate(true)
  local ok, err = errors.catch(body)
  if not ok then
    local undone, undo_err = pcall(journal.undo, journal, "rollback")
    if not undone then
      err.details = ((err.details and err.details .. "\n") or "") .. "rollback: " .. tostring(undo_err)
    end
    journal:activate(false)
    error(err, 0)
  end
  call.warnings = context.warnings
end

-- A canonical result as the runtime gets it, in the cniVersion of the call.
local function document(call, result)
  return core.json.encode(results.convert(result, call.version), { pretty = true })
end

-- Ends the journal with what a policy returned, once it is known to be a result and one that can be told to the
-- runtime: while what was done for it can still be undone. Returns the document.
local function conclude(call, journal, returned)
  local result = results.check(returned)
  local text = document(call, result)
  journal:append(core.json.encode { result = result })
  return text
end

-- ADD of an IPAM policy as a plugin of its own: an address, no interface. Returns the document.
local function add_lease(call)
  local journal, answer = fresh_journal(call, nil, function(list) return list[#list].result end)
  if not journal then
    return document(call, results.check(answer)) -- the same request again: the same address
  end
  local context = steps.new { journal = journal }
  local text
  with_rollback(call, context, journal, function()
    journal:append(core.json.encode(header(call)))
    local lease = require("mncni.lease").acquire(call, context, call.config.ipam or { type = call.policy })
    local result = { ips = {}, routes = lease.routes, dns = lease.dns }
    for i, entry in ipairs(lease.addresses) do
      result.ips[i] = { address = entry.address, gateway = entry.gateway }
    end
    text = conclude(call, journal, result)
  end)
  journal:close()
  return text
end

-- ADD. Returns the document for the runtime.
function attachment.add(call)
  local policy = policies.load(call.policy)
  if is_ipam(policy) then
    return add_lease(call)
  end
  if not policy.add then
    error(core.error {
      code = 7, object = ("policy %q"):format(call.policy),
      message = "it has no add hook, so it cannot attach a container",
    }, 0)
  end
  local conf = checked(call, policy)
  local netns <close> = open_netns(call)
  local id = netns:id() -- may fail, as nothing may between a new journal and its rollback
  local journal <close> = fresh_journal(call, netns, function()
    error(core.error {
      code = 103, errno = 17, object = ("attachment %s of %s"):format(call.ifname, call.container),
      message = "it exists already and was left as it is; DEL it first",
    }, 0)
  end)
  local net = require "mncni.net"
  local host <close> = net.open()
  local inside <close> = net.open(netns)
  local context = steps.new {
    host = host, pod = inside, journal = journal, netns = { path = call.netns, id = id },
  }
  call.netns_handle = netns
  local text
  with_rollback(call, context, journal, function()
    journal:append(core.json.encode(header(call, netns)))
    local pod = require("mncni.pod").new { call = call, conf = conf, context = context }
    local returned = steps.within(context, policy.add, pod, conf)
    context:commit()
    text = conclude(call, journal, pod:finish(returned))
  end)
  return text
end

-- Gives back what a missing journal leaves open: the addresses, by the name of the attachment.
local function del_without_journal(call)
  local ipam = call.config.ipam
  local loaded, policy = pcall(policies.load, call.policy)
  if loaded and is_ipam(policy) then
    ipam = ipam or { type = call.policy }
  end
  if type(ipam) == "table" and (ipam.type or ipam.policy) then
    require("mncni.lease").release(call, steps.new {}, ipam)
  end
end

-- DEL. Works without namespace, policy, prevResult or the configuration of the ADD; gone already is fine. Raises only
-- when something is left that must not be, after everything else has been tried.
function attachment.del(call)
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
    try(function() policy.del(call, checked(call, policy)) end)
  end
  local journal <close> = open_journal(call, false)
  if journal then
    try(journal.undo, journal, "del")
  else
    try(del_without_journal, call)
  end
  if first then
    error(first, 0)
  end
end

-- CHECK: the attachment is as it was made, as far as prevResult and later plugins of the chain left it to us.
function attachment.check(call)
  local policy = policies.load(call.policy)
  if not call.prev_result then
    error(core.error { code = 7, object = "prevResult", message = "Required prevResult missing" }, 0)
  end
  local journal <close> = open_journal(call, false)
  if not journal then
    error(core.error {
      code = 106, object = ("attachment %s of %s"):format(call.ifname, call.container),
      message = "there is no record of it on this node: it was never added, or it was deleted",
    }, 0)
  end
  local list = entries(journal)
  if is_ipam(policy) then
    require("mncni.lease").check(call, steps.new {}, call.config.ipam or { type = call.policy })
    return
  end
  local conf = checked(call, policy)
  local netns <close> = open_netns(call)
  if list[1] and list[1].netns_id and list[1].netns_id ~= netns:id() then
    error(core.error {
      code = 106, object = call.netns, message = "it is another namespace than the one that was attached",
    }, 0)
  end
  local net = require "mncni.net"
  local host <close> = net.open()
  local inside <close> = net.open(netns)
  require("mncni.check").run { host = host, pod = inside, entries = list, prev_result = call.prev_result, call = call }
  if type(conf.ipam) == "table" and conf.ipam.type then
    require("mncni.lease").check(call, steps.new {}, conf.ipam)
  end
  if policy.check then
    policy.check(call, conf)
  end
end

-- STATUS: raises code 50 (an ADD would fail) or 51 (existing containers are affected) with the reason.
function attachment.status(call)
  local ok, policy = pcall(policies.load, call.policy)
  if not ok then
    error(core.error { code = 50, object = ("policy %q"):format(call.policy), message = tostring(policy) }, 0)
  end
  local ipam = call.config.ipam
  if is_ipam(policy) then
    ipam = ipam or { type = call.policy }
  else
    local usable, err = pcall(checked, call, policy)
    if not usable then
      error(core.error { code = 50, object = "configuration", message = tostring(err) }, 0)
    end
    if policy.status then
      policy.status(err)
    end
  end
  if type(ipam) == "table" then
    require("mncni.lease").status(call, ipam)
  end
end

-- GC: undoes every attachment of the network that is not in valid ({ { containerID, ifname }, ... }). Goes on after a
-- failure and raises the first one at the end.
function attachment.gc(call, valid)
  local keep = {}
  for _, entry in ipairs(valid) do
    keep[entry.containerID .. "\n" .. entry.ifname] = true
  end
  local first
  for _, path in ipairs(core.journal.list { state_dir = state_dir(call), network = call.network }) do
    local ok, err = pcall(function()
      local journal <close> = core.journal.open { path = path, wait = attachment.WAIT }
      local head = journal and entries(journal)[1]
      -- An ADD that ended before it wrote anything left an empty one.
      if journal and (not head or head.network == call.network and head.type == call.type
        and not keep[head.container .. "\n" .. head.ifname]) then
        journal:undo "del"
      end
    end)
    first = first or (not ok and err) or nil
  end
  local ipam = call.config.ipam
  if type(ipam) == "table" then
    local ok, err = pcall(require("mncni.lease").gc, call, ipam, valid)
    first = first or (not ok and err) or nil
  end
  if first then
    error(first, 0)
  end
end

return attachment
