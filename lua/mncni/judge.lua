-- SPDX-License-Identifier: Apache-2.0
-- Judging attachments by the kernel. One is dead only when its link is not on the host and its namespace is proven to be
-- gone; what an earlier boot made is void; where anything is in doubt, it is kept.
--
-- A namespace is known by its inode together with its cookie: paths and inodes are given out again, cookies are not.
-- It is gone when its path does not lead to it and neither a process nor a mount has it, as seen from where the
-- attachment was made.

local core = require "mncni.core"
local attachment = require "mncni.attachment"

local judge = {}

local Look = {}
Look.__index = Look

-- A look at the node, whose parts are taken when first needed: one is good for one collection.
-- args: state_dir, network (nil: all of them).
function judge.look(args)
  local net = require "mncni.net"
  return setmetatable({
    state_dir = args.state_dir, network = args.network, host = net.open(), boot = core.boot.id(),
    now = core.boot.clock(),
  }, Look)
end

function Look:close()
  self.host:close()
end
Look.__close = Look.close

-- The links of pods on the host: { name = { name -> link }, alias = { alias -> link } }, from one dump.
function Look:links()
  if not self.found then
    local steps = require "mncni.steps"
    local found = { name = {}, alias = {} }
    for link in self.host.link.list() do
      local ours = link.ifalias and link.ifalias:find("^mncni ") ~= nil
      if ours or not link.ifalias and (link.group == steps.GROUP or link.group == steps.DEAD_GROUP) then
        found.name[link.ifname] = link
        if ours then
          found.alias[link.ifalias] = link
        end
      end
    end
    self.found = found
  end
  return self.found
end

-- The namespaces that processes and mounts hold, id -> path (false where none leads to one); nil and why when not all can
-- be seen.
function Look:survey()
  if self.seen == nil then
    local ok, seen = pcall(core.netns.survey)
    self.seen, self.blind = ok and seen, not ok and tostring(seen) or nil
  end
  return self.seen or nil, self.blind
end

-- Whether the host knows, by number, of a namespace that neither a process nor a mount explains.
function Look:hidden()
  if self.has_hidden == nil then
    local unexplained, count = {}, 0
    for entry in self.host.nsid.list() do
      if entry.nsid and entry.nsid >= 0 then
        unexplained[entry.nsid], count = true, count + 1
      end
    end
    for _, path in pairs(count > 0 and self:survey() or {}) do
      local ok, handle = pcall(core.netns.open, { path = path })
      local known = ok and self.host.nsid.get { netns = handle }
      if known then
        unexplained[known.nsid] = nil
      end
      if ok then
        handle:close()
      end
    end
    self.has_hidden = next(unexplained) ~= nil
  end
  return self.has_hidden
end

-- Notes in item what one way back of its journal tells.
local function take(item, undo)
  if type(undo) ~= "table" then
    return
  elseif core.json.is_array(undo) then
    for _, one in ipairs(undo) do
      take(item, one)
    end
  elseif undo.op == "lease" and type(undo.addresses) == "table" then
    item.dir = undo.dir
    table.move(undo.addresses, 1, #undo.addresses, #item.addresses + 1, item.addresses)
  elseif undo.op == "link" and not undo.netns and not undo.lasting then -- one that lasts says nothing of the namespace
    item.links[#item.links + 1] = { ifname = undo.ifname, alias = undo.alias }
  elseif undo.op == "exec" and type(undo.argv) == "table" then
    item.delegates[#item.delegates + 1] = { path = undo.argv[1], stdin = undo.stdin }
  end
end

-- The addresses that a result tells of.
local function addresses_of(result)
  local list = {}
  for _, ip in ipairs(type(result.ips) == "table" and result.ips or {}) do
    local address = type(ip) == "table" and ip.address
    list[#list + 1] = type(address) == "string" and address or nil
  end
  return list
end

-- A journal as far as it can be read without its lock; nil when it is gone. { path, hash (of its text), empty (not a
-- whole line), head, network, container, ifname, addresses and dir of its lease, links, delegates, finished, given (the
-- addresses of its result, with their prefixes) }; damaged says what is wrong with it. A node may have very many, so the
-- text itself is not kept.
local function read(path)
  local ok, text = pcall(core.journal.peek, path)
  if ok and not text then
    return nil
  end
  local item = { path = path, addresses = {}, links = {}, delegates = {} }
  local head
  if ok then
    item.hash, item.empty = core.journal.hash(text), not text:find("\n", 1, true)
  else
    item.damaged = tostring(text)
  end
  for line in (ok and text or ""):gmatch("([^\n]*)\n") do
    local decoded, entry = pcall(core.json.decode, line)
    if not decoded or type(entry) ~= "table" or core.json.is_array(entry) then
      item.damaged = item.damaged or "a line of its journal cannot be read"
    else
      head = head or entry
      take(item, entry.undo)
      item.finished = entry.result ~= nil
      item.given = type(entry.result) == "table" and addresses_of(entry.result) or item.given
    end
  end
  local function is(key, kind)
    return type(head[key]) == kind
  end
  if head and math.type(head.format) == "integer" and is("network", "string") and is("container", "string")
    and is("ifname", "string") then
    item.head, item.network, item.container, item.ifname = head, head.network, head.container, head.ifname
  else
    if not item.empty then
      item.damaged = item.damaged or "the first line of its journal is not that of a journal"
    end
    -- Names that were not shortened tell the same; "@" is in no container's id.
    item.network = path:match("/([^/#]+)/[^/]*$")
    item.container, item.ifname = path:match("/([^/@#]+)@[^/@#]+@([^/]+)$")
  end
  return item
end

-- Iterates over the journals of the network, or of all networks, as read() gives them.
function Look:journals()
  local paths = {}
  if self.network then
    paths = core.journal.list { state_dir = self.state_dir, network = self.network }
  else
    for _, directory in ipairs(core.journal.list { state_dir = self.state_dir }) do
      -- The name of a directory is that of its network, or shortened, and then no longer shortened once more.
      local list = core.journal.list { state_dir = self.state_dir, network = directory:match("[^/]*$") }
      table.move(list, 1, #list, #paths + 1, paths)
    end
  end
  local i = 0
  return function()
    while i < #paths do
      i = i + 1
      local item = read(paths[i])
      if item and (not self.network or not item.network or item.network == self.network) then
        return item
      end
    end
    return nil
  end
end

-- The link on the host of an attachment, or nil: by the names and aliases that its journal has, and those that it
-- would have by itself.
function Look:link_of(item)
  local pod = require "mncni.pod"
  local links = self:links()
  local wanted = { table.unpack(item.links or {}) }
  if item.network and item.container and item.ifname then
    wanted[#wanted + 1] = {
      ifname = pod.host_ifname(item.container, item.ifname),
      alias = pod.alias(item.network, item.container, item.ifname),
    }
  end
  for _, want in ipairs(wanted) do
    local named = links.name[want.ifname]
    if named and (not named.ifalias or named.ifalias == want.alias) then
      return named
    elseif links.alias[want.alias] then
      return links.alias[want.alias]
    end
  end
  return nil
end

-- Whether an open namespace is the one with this cookie; nil when nobody can tell.
local function is_same(handle, cookie)
  local ok, other = pcall(function()
    local socket <close> = core.socket { protocol = "route", netns = handle }
    return socket:cookie()
  end)
  if not ok or not other or not cookie then
    return nil
  end
  return other == cookie
end

-- "alive", "gone" or "unknown", and the reason, for the namespace of an attachment.
function Look:namespace_of(head)
  local path, id = head.netns, head.netns_id
  if type(path) ~= "string" or type(id) ~= "string" then
    return "unknown", "its namespace was not recorded"
  end
  local opened, handle = pcall(core.netns.open, { path = path })
  if opened then
    local at_path <close> = handle
    if at_path:id() == id and is_same(at_path, head.netns_cookie) ~= false then
      return "alive", ("its namespace %s is there"):format(path)
    end
  elseif handle.name ~= "ENOENT" and handle.name ~= "ENOTDIR" then
    return "unknown", ("%s is there, but no namespace as seen from here, which proves nothing"):format(path)
  end
  local seen, why = self:survey()
  if not seen then
    return "unknown", why
  end
  if seen[id] == nil then
    return "gone"
  elseif not seen[id] then
    return "unknown", "a mount that is covered by another one holds a namespace of that number"
  end
  local found, held = pcall(core.netns.open, { path = seen[id] })
  if not found then
    return "unknown", ("%s changed while it was looked at"):format(seen[id])
  end
  local holder <close> = held
  local same = is_same(holder, head.netns_cookie)
  if same == nil then
    return "unknown", ("%s is perhaps its namespace"):format(seen[id])
  elseif same then
    return "alive", ("its namespace is held by %s"):format(seen[id])
  end
  return "gone" -- the number has a new owner
end

-- Whether this process could see what made the attachment: nil, or why not.
function Look:elsewhere(head)
  local made = type(head.host) == "table" and head.host or {}
  self.here = self.here or attachment.place(self.host:socket "route")
  if not made.cookie or not made.view then
    return "where it was made was not recorded"
  elseif made.cookie ~= self.here.cookie then
    return "it was made from another network namespace than this one, whose links cannot be seen here"
  elseif made.view ~= self.here.view then
    return "it was made from another process namespace than this one, whose processes cannot be seen here"
  end
  return nil
end

-- Judges a journal: "dead", "alive" or "doubt", and the reason. grace is in seconds; with proof, an attachment that was
-- finished needs none: its namespace cannot come back, and nobody works on it while the journal's lock is free.
-- Only what was cut short keeps it, since a plugin that it had started may live on for a while.
function Look:judge(item, grace, proof)
  local head = item.head
  if not head then
    if item.empty then
      return "dead", "its call ended before it had changed anything"
    end
    return "doubt", item.damaged
  elseif head.format > 1 then
    return "doubt", "a newer release of mncni wrote its journal"
  elseif self.boot and head.boot and head.boot ~= self.boot then
    return "dead", "it is of an earlier boot"
  end
  local age = math.type(head.time) == "integer" and self.boot == head.boot and self.now - head.time
  if not age or age < 0 then
    return "doubt", "when it was made was not recorded"
  end
  local why = self:elsewhere(head)
  if why then
    return "doubt", why
  end
  local link = self:link_of(item)
  if link then
    return "alive", ("its link %s is there"):format(link.ifname)
  end
  local state, reason = self:namespace_of(head)
  if state == "alive" then
    return "alive", reason
  elseif state == "unknown" then
    return "doubt", reason
  end
  if age < grace and not (proof and item.finished) then
    return "doubt", ("it is no more than %d s old"):format(age)
  elseif #item.links == 0 and self:hidden() then
    -- No link of ours would vouch for a namespace that only a descriptor holds.
    return "doubt", "the host knows of a namespace that no process and no mount explains"
  end
  return "dead", ("its namespace %s is gone, and no link of it is on the host"):format(head.netns)
end

return judge
