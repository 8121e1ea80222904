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

-- Whether it is no journal any more: a failing disk, or somebody's editor.
local function is_damaged(journal)
  local ok, text = pcall(journal.read, journal)
  for line in (ok and text or ""):gmatch("([^\n]*)\n") do
    local decoded, entry = pcall(core.json.decode, line)
    ok = ok and decoded and type(entry) == "table" and not core.json.is_array(entry)
  end
  return not ok
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
  "prevResult", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "cni.dev/valid-attachments",
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

-- What tells a namespace from all others: path and inode, which may be given out again, and the cookie, which is not.
local function identity(call, netns, socket)
  return { path = call.netns, id = netns:id(), cookie = socket:cookie() }
end

-- The first line of a journal: whose it is, and what will tell whether that is still alive (mncni.judge). host is a
-- socket of the node's; netns is the identity of the pod's namespace, if it is known.
local function header(call, host, netns)
  netns = netns or {}
  return {
    format = JOURNAL_FORMAT, network = call.network, container = call.container, type = call.type,
    ifname = call.ifname, policy = call.policy, netns = call.netns, netns_id = netns.id, netns_cookie = netns.cookie,
    boot = core.boot.id(), time = core.boot.clock(), host = { cookie = host:cookie(), view = core.netns.view() },
  }
end

-- Whether a journal is of this boot and, where it matters, of this very namespace.
local function is_current(head, netns)
  if head.boot and head.boot ~= (core.boot.id() or head.boot) then
    return false
  end
  return not netns or head.netns_id == netns.id and (not head.netns_cookie or head.netns_cookie == netns.cookie)
end

-- What an unfinished or stale attachment of the same key left is undone first; one that is alive stays as it is, and
-- on_finished(its entries) gives the answer (nil: it is stale all the same).
local function fresh_journal(call, netns, on_finished)
  while true do
    local journal, created = open_journal(call, true)
    if created then
      return journal
    end
    local list = entries(journal)
    local head = finished(list)
    if head and is_current(head, netns) then
      local answer = on_finished(list)
      if answer then
        journal:close()
        return nil, answer
      end
    end
    journal:undo "del"
    journal:close()
  end
end

-- Runs body(context, journal); whatever it raises is raised after everything it did has been undone, in reverse.
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
  journal:activate(false)
  call.warnings = context.warnings
end

-- The policy's result, once it is known to be one, and one that can be told in the cniVersion of the call: while what
-- was done for it can still be undone.
local function usable_result(call, returned)
  local result = results.check(returned)
  results.convert(result, call.version)
  return result
end

-- The header for a lease whose interface another plugin makes: the namespace is recorded if the caller names one.
local function lease_header(call)
  local host <close> = core.socket { protocol = "route" }
  local opened, netns = pcall(core.netns.open, { path = call.netns })
  if not opened then
    return header(call, host)
  end
  local held <close> = netns
  local inside <close> = core.socket { protocol = "route", netns = held }
  return header(call, host, identity(call, held, inside))
end

-- The result of an earlier, identical request, while its addresses are still reserved for it; else nil.
local function still_leased(call, result)
  local request = setmetatable({ prev_result = result }, { __index = call })
  local ok = pcall(require("mncni.lease").check, request, steps.new {}, call.config.ipam or { type = call.policy })
  return ok and result or nil
end

-- ADD of an IPAM policy as a plugin of its own: an address, no interface.
local function add_lease(call, policy)
  local journal, answer = fresh_journal(call, nil, function(list) return still_leased(call, list[#list].result) end)
  if not journal then
    return answer -- the same request again: the same address
  end
  local context = steps.new { journal = journal }
  local result
  with_rollback(call, context, journal, function()
    journal:append(core.json.encode(lease_header(call)))
    local lease = require("mncni.lease").acquire(call, context, call.config.ipam or { type = call.policy })
    result = { ips = {}, routes = lease.routes, dns = lease.dns }
    for i, entry in ipairs(lease.addresses) do
      result.ips[i] = { address = entry.address, gateway = entry.gateway }
    end
    result = usable_result(call, result)
    journal:append(core.json.encode { result = result })
  end)
  journal:close()
  return result, policy
end

-- ADD. Returns the result in canonical form (that of cniVersion 1.1.0).
function attachment.add(call)
  local policy = policies.load(call.policy)
  if is_ipam(policy) then
    return (add_lease(call, policy))
  end
  if not policy.add then
    error(core.error {
      code = 7, object = ("policy %q"):format(call.policy),
      message = "it has no add hook, so it cannot attach a container",
    }, 0)
  end
  local conf = checked(call, policy)
  local netns <close> = open_netns(call)
  local net = require "mncni.net"
  local host <close> = net.open()
  local inside <close> = net.open(netns)
  local place = identity(call, netns, inside:socket "route") -- may fail, as nothing may between journal and rollback
  local journal <close> = fresh_journal(call, place, function()
    error(core.error {
      code = 103, errno = 17, object = ("attachment %s of %s"):format(call.ifname, call.container),
      message = "it exists already and was left as it is; DEL it first",
    }, 0)
  end)
  local context = steps.new { host = host, pod = inside, journal = journal, netns = place }
  call.netns_handle = netns
  local result
  with_rollback(call, context, journal, function()
    journal:append(core.json.encode(header(call, host:socket "route", place)))
    local pod = require("mncni.pod").new { call = call, conf = conf, context = context }
    local returned = steps.within(context, policy.add, pod, conf)
    context:commit()
    result = usable_result(call, pod:finish(returned))
    journal:append(core.json.encode { result = result })
  end)
  return result
end

-- Gives back what a missing or damaged journal leaves open, by the name of the attachment: the link on the host, and
-- the addresses. Raises the first failure after both were tried.
local function del_by_name(call)
  local ipam = call.config.ipam
  local loaded, policy = pcall(policies.load, call.policy)
  local deleted, err = true, nil
  if loaded and is_ipam(policy) then
    ipam = ipam or { type = call.policy }
  else
    deleted, err = pcall(function()
      local look <close> = require("mncni.judge").look { state_dir = state_dir(call), network = call.network }
      require("mncni.links").delete(look.host, { look:link_of(call) })
    end)
  end
  if type(ipam) == "table" and (ipam.type or ipam.policy) then
    require("mncni.lease").release(call, steps.new {}, ipam)
  end
  if not deleted then
    error(err, 0)
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
  if not journal then
    try(del_by_name, call)
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

-- STATUS: raises code 50 (an ADD would fail) or 51 (containers that exist are affected, too: they cannot be deleted, or
-- what they are attached to is not what it was) with the reason. Takes no lock and changes nothing.
function attachment.status(call)
  local function try(object, fn, ...)
    local ok, result = pcall(fn, ...)
    if ok then
      return result
    elseif core.is_error(result) and (result.code == 50 or result.code == 51) then
      error(result, 0)
    end
    error(core.error {
      code = 50, object = object, message = tostring(result), details = core.is_error(result) and result.details or nil,
    }, 0)
  end
  local usable, why = pcall(core.directory.usable, ("%s/attachments/%s"):format(state_dir(call), call.network))
  if not usable then
    error(core.error { code = why.op == "read" and 51 or 50, object = "state directory", message = tostring(why) }, 0)
  end
  local policy = try(("policy %q"):format(call.policy), policies.load, call.policy)
  local ipam = call.config.ipam
  if is_ipam(policy) then
    ipam = ipam or { type = call.policy }
  else
    local conf = try("configuration", checked, call, policy)
    if policy.status then
      try("configuration", policy.status, conf)
    end
  end
  if type(ipam) == "table" then
    try("ipam", require("mncni.lease").status, call, ipam)
  end
end

-- GC: removes what the network has and valid ({ { containerID, ifname }, ... }) does not list. Goes on after a failure
-- and raises the first one at the end.
function attachment.gc(call, valid)
  require("mncni.gc").run(call, valid, checked)
end

return attachment
