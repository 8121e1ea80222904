-- SPDX-License-Identifier: Apache-2.0
-- ADD: runs a policy for one container and interface, with a journal that undoes it.

local core = require "mncni.core"
local attachment = require "mncni.attachment"
local policies = require "mncni.policy"
local raised = require "mncni.raised"
local results = require "mncni.result"
local steps = require "mncni.steps"

local add = {}

local JOURNAL_FORMAT = 1

local function finished(list)
  local last = list[#list]
  return last and last.result and list[1].format and list[1] or nil
end

-- What tells a namespace from all others: path and inode, which may be given out again, and the cookie, which is not.
function add.identity(call, netns, socket)
  return { path = call.netns, id = netns:id(), cookie = socket:cookie() }
end

-- The first line of a journal: whose it is, and what will tell whether that is still alive (mncni.judge). host is a
-- socket of the node's; netns is the identity of the pod's namespace, if it is known; chained is the policy's.
function add.header(call, host, netns, chained)
  netns = netns or {}
  return {
    format = JOURNAL_FORMAT, network = call.network, container = call.container, type = call.type,
    ifname = call.ifname, pod = call.pod, policy = call.policy, chained = chained or nil, netns = call.netns,
    netns_id = netns.id, netns_cookie = netns.cookie, boot = core.boot.id(), time = core.boot.clock(),
    host = attachment.place(host),
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
function add.fresh_journal(call, netns, on_finished)
  while true do
    local journal, created = attachment.journal(call, true)
    if created then
      return journal
    end
    local list = attachment.entries(journal)
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

-- Runs body(); whatever it raises is raised after everything it did has been undone, in reverse. A host that cannot
-- tell the runtime of the success undoes it too, so the journal stays active.
function add.with_rollback(call, context, journal, body)
  journal:activate(true)
  local ok, err = raised.catch(body)
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
function add.document(call, result)
  return core.json.encode(results.convert(result, call.version), { pretty = true })
end

-- Ends the journal with what a policy returned, once it is known to be a result and one that can be told to the
-- runtime: while what was done for it can still be undone. Returns the document.
function add.conclude(call, journal, returned)
  local result = results.check(returned)
  local text = add.document(call, result)
  journal:append(core.json.encode { result = result, leased = call.leased })
  return text
end

-- Raises code 7 unless a policy can attach a container, and what it goes on from is there.
function add.check(call, policy)
  if not policy.add then
    error(core.error {
      code = 7, object = ("policy %q"):format(call.policy),
      message = "it has no add hook, so it cannot attach a container",
    }, 0)
  end
  if policy.chained then
    require("mncni.chain").check(call)
  end
end

-- Lets a policy wire the pod and sends what it recorded. Returns what its add returned, as a result.
function add.wire(call, policy, conf, context)
  local pod = require("mncni.pod").new { call = call, conf = conf, context = context }
  local returned = steps.within(context, policy.add, pod, conf)
  context:commit()
  return pod:finish(returned)
end

-- ADD. Returns the document for the runtime.
function add.run(call)
  local policy = policies.load(call.policy)
  if attachment.is_ipam(policy) then
    return require("mncni.verb.add_lease")(call, attachment.ipam(call, policy))
  end
  add.check(call, policy)
  local conf = attachment.checked(call, policy)
  local net = require "mncni.net"
  local host <close> = net.open()
  local socket = host:socket "route" -- first: it tells the own namespace in less time than /proc
  local netns <close> = attachment.netns(call)
  local inside <close> = net.open(netns)
  local place = add.identity(call, netns, inside:socket "route") -- may fail, as nothing may between journal and rollback
  local journal <close> = add.fresh_journal(call, place, function()
    error(core.error {
      code = 103, errno = 17, object = ("attachment %s of %s"):format(call.ifname, call.container),
      message = "it exists already and was left as it is; DEL it first",
    }, 0)
  end)
  local context = steps.new { host = host, pod = inside, journal = journal, netns = place }
  call.netns_handle = netns
  local text
  add.with_rollback(call, context, journal, function()
    journal:append(core.json.encode(add.header(call, socket, place, policy.chained)))
    text = add.conclude(call, journal, add.wire(call, policy, conf, context))
  end)
  return text
end

return add
