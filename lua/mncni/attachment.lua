-- SPDX-License-Identifier: Apache-2.0
-- Attachments: what the verbs (mncni.verb.add and its like) share. Every function takes the call (one CNI invocation as a
-- table, see mncni.cni) and raises error objects with a code.

local core = require "mncni.core"

local attachment = {}

-- Milliseconds to wait for another call that works on the same attachment, before code 11.
attachment.WAIT = 10000

-- Whether a policy gives addresses, and no interfaces.
function attachment.is_ipam(policy)
  return policy.lease ~= nil and policy.add == nil
end

-- The "ipam" section of the configuration, or nil; one that names nobody is none. An IPAM policy that is called as a
-- plugin of its own needs none; policy is the call's, if it could be loaded.
function attachment.ipam(call, policy)
  local ipam = call.config.ipam
  if policy and policy.chained then
    return nil
  elseif ipam == nil and policy and attachment.is_ipam(policy) then
    return { type = call.policy }
  end
  return type(ipam) == "table" and (ipam.type or ipam.policy) and ipam or nil
end

-- Where the journals are.
function attachment.state_dir(call)
  return call.state_dir or "/run/mncni"
end

-- What journals say of where an attachment was made, as this process is now: the node's network namespace, of which
-- socket is, and, where the kernel tells it, the process namespace.
function attachment.place(socket)
  local seen, view = pcall(core.netns.view)
  return { cookie = socket:cookie(), view = seen and view or nil }
end

-- What is called "mncni" serves many policies, and a chain or its IPAM may have several of them: theirs are told apart.
local MANY = "mncni"

-- The name by which the journal of a plugin is found again, whatever else its configuration says by then: what it was
-- called by and, where that does not tell it from others, its policy. for_ipam: another plugin has asked it for addresses.
function attachment.plugin(called, policy, for_ipam)
  return called == MANY and ("%s%s:%s"):format(MANY, for_ipam and ".ipam" or "", policy or "") or called
end

-- The journal of the call's attachment, and whether it was made now; nil when there is none and create is not set.
function attachment.journal(call, create)
  return core.journal.open {
    state_dir = attachment.state_dir(call), network = call.network, container = call.container, type = call.type,
    ifname = call.ifname, create = create, wait = attachment.WAIT,
  }
end

-- Begins the file names of a container's journals, also where the rest was shortened (core/journal.c).
local BEGINNING = 63

-- Iterates over the journals that a DEL of the call undoes, each open. That is its own or, where there is none, what "mncni"
-- has made of the attachment for other policies: its configuration names another one than the ADD's did, or none at all.
-- All entries of a chain are deleted together, so nothing is taken that stays; of a chained policy (chained is true), which
-- is deleted first, only what others of its kind have made.
function attachment.journals(call, chained)
  local own = attachment.journal(call, false)
  local many = not own and call.type:match("^" .. MANY .. "[^:]*:")
  local paths = many and core.journal.list { state_dir = attachment.state_dir(call), network = call.network } or {}
  local beginning = "/" .. call.container:sub(1, BEGINNING)
  local function is_other(path)
    local text = path:find(beginning, 1, true) and core.journal.peek(path)
    local decoded, head = pcall(core.json.decode, text and text:match "^[^\n]*" or "")
    return decoded and type(head) == "table" and head.container == call.container and head.ifname == call.ifname
      and type(head.type) == "string" and head.type:sub(1, #many) == many and (head.chained or not chained)
  end
  local i = 0
  return function()
    local journal = own
    own = nil
    while not journal and i < #paths do
      i = i + 1
      journal = is_other(paths[i]) and core.journal.open { path = paths[i], wait = attachment.WAIT }
    end
    return journal or nil
  end
end

-- The lines of a journal as tables; a torn last line (a crash while it was written, before the change) is no entry.
function attachment.entries(journal)
  local list = {}
  for line in journal:read():gmatch("([^\n]*)\n") do
    local ok, entry = pcall(core.json.decode, line)
    if ok and type(entry) == "table" then
      list[#list + 1] = entry
    end
  end
  return list
end

-- The namespace of the call, open. Raises code 8 for one that is missing or the plugin's own: wiring that as a
-- pod would take the node's network down, so it is refused before anything is touched.
function attachment.netns(call)
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
function attachment.checked(call, policy)
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

return attachment
