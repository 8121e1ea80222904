-- SPDX-License-Identifier: Apache-2.0
-- Collection: finds attachments whose end nobody has told us, and removes them. Runtimes forget a DEL when they or the
-- node die at the wrong moment, and containerd never sends GC.
--
-- The kernel is the judge. An attachment is dead only when its link is not on the host and its namespace is proven to
-- be gone; an address that is in doubt is kept. What an earlier boot made is void.

local core = require "mncni.core"

local collect = {}

-- Seconds of the boot clock that an attachment is left alone after it was made.
collect.GRACE = 300

-- Milliseconds to wait for a call that works on an attachment, in all.
collect.WAIT = 1000

-- Why collect.remove leaves what another call holds.
collect.BUSY = "a call works on it"

local Look = {}
Look.__index = Look

-- A look at the node, whose parts are taken when first needed: one is good for one collection.
-- args: state_dir, network (nil: all of them).
function collect.look(args)
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

-- What the journals say about where they were made: { cookie =, view = }, as this process is now.
function collect.place(host)
  local seen, view = pcall(core.netns.view)
  return { cookie = host:socket("route"):cookie(), view = seen and view or nil }
end

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

-- The namespaces that processes and mounts hold, id -> path; nil and why when not all can be seen.
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

-- A journal as far as it can be read without its lock: { path, text, entries, head, container, ifname, ... }. damaged
-- says what is wrong with it; nil when there is none any more.
local function read(path)
  local ok, text = pcall(core.journal.peek, path)
  if ok and not text then
    return nil
  end
  local item = { path = path, text = ok and text or nil, damaged = not ok and tostring(text) or nil, entries = {} }
  for line in (item.text or ""):gmatch("([^\n]*)\n") do
    local decoded, entry = pcall(core.json.decode, line)
    if decoded and type(entry) == "table" and not core.json.is_array(entry) then
      item.entries[#item.entries + 1] = entry
    else
      item.damaged = item.damaged or "a line of its journal cannot be read"
    end
  end
  local head = item.entries[1]
  local function is(key, kind)
    return type(head[key]) == kind
  end
  if head and math.type(head.format) == "integer" and is("network", "string") and is("container", "string")
    and is("ifname", "string") then
    item.head = head
    item.network, item.container, item.ifname, item.type = head.network, head.container, head.ifname, head.type
  elseif item.text and item.text:find("\n", 1, true) then
    item.damaged = item.damaged or "the first line of its journal is not that of a journal"
  end
  -- Names that were not shortened tell the same; "@" is in no container's id and in no network's.
  if not item.head then
    item.network = path:match("/([^/#]+)/[^/]*$")
    item.container, item.type, item.ifname = path:match("/([^/@#]+)@([^/@#]+)@([^/]+)$")
  end
  item.addresses, item.links = {}, {}
  for _, entry in ipairs(item.entries) do
    local undo = type(entry.undo) == "table" and entry.undo or {}
    if undo.op == "lease" and type(undo.addresses) == "table" then
      item.dir = undo.dir
      table.move(undo.addresses, 1, #undo.addresses, #item.addresses + 1, item.addresses)
    elseif undo.op == "link" and not undo.netns then
      item.links[#item.links + 1] = { ifname = undo.ifname, alias = undo.alias }
    end
  end
  return item
end

-- The journals of the network, or of all networks, as read() gives them.
function Look:journals()
  if not self.items then
    local directories = self.network and { false } or core.journal.list { state_dir = self.state_dir }
    local items = {}
    for _, directory in ipairs(directories) do
      local network = self.network or directory:match("[^/]*$")
      -- The name of a directory is that of its network, or shortened; shortened once more it stays the same.
      for _, path in ipairs(core.journal.list { state_dir = self.state_dir, network = network }) do
        local item = read(path)
        if item and (not self.network or item.network == nil or item.network == self.network) then
          items[#items + 1] = item
        end
      end
    end
    self.items = items
  end
  return self.items
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
  if not seen[id] then
    return "gone"
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
  self.here = self.here or collect.place(self.host)
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
    if item.text == "" or item.text and not item.text:find("\n", 1, true) then
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
  local finished = item.entries[#item.entries].result ~= nil
  if age < grace and not (proof and finished) then
    return "doubt", ("it is no more than %d s old"):format(age)
  elseif #item.links == 0 and self:hidden() then
    -- No link of ours would vouch for a namespace that only a descriptor holds.
    return "doubt", "the host knows of a namespace that no process and no mount explains"
  end
  return "dead", ("its namespace %s is gone, and no link of it is on the host"):format(head.netns)
end

-- Undoes the attachment if nobody has touched its journal since it was read. Returns whether it was removed; nothing
-- and why when it was not. Raises what cannot be read or undone.
function collect.remove(item, wait)
  if not item.text then
    error(core.error { code = 5, object = item.path, message = item.damaged }, 0)
  end
  local opened, journal = pcall(core.journal.open, { path = item.path, wait = wait or collect.WAIT })
  if not opened then
    if core.is_error(journal) and journal.code == 11 then
      return false, collect.BUSY
    end
    error(journal, 0)
  elseif not journal then
    return false, "somebody else has removed it"
  end
  local held <close> = journal
  if held:read() ~= item.text then
    return false, "it changed while it was looked at"
  end
  held:undo "del"
  return true
end

-- One line about an attachment (or a link, or an address) for people.
function collect.describe(item)
  local who
  if item.container then
    who = ("attachment %s of %s in %s"):format(item.ifname or "?", item.container, item.network or "?")
  else
    who = item.path or ("link " .. item.ifname)
  end
  if item.addresses and #item.addresses > 0 then
    who = ("%s (%s)"):format(who, table.concat(item.addresses, ", "))
  end
  return who
end

-- What a report keeps of an item.
local function entry_of(item, reason)
  return {
    network = item.network, container = item.container, ifname = item.ifname, path = item.path, dir = item.dir,
    addresses = core.json.array { table.unpack(item.addresses or {}) }, reason = reason,
  }
end

-- Notes a removal where people look: on stderr, which a runtime keeps in its log.
function collect.log(item, reason)
  io.stderr:write(("mncni: gc: removed %s: %s\n"):format(collect.describe(item), reason))
end

-- One collection at work: { args, look, report }.
local Run = {}
Run.__index = Run

function Run:note(list, item, reason)
  table.insert(self.report[list], entry_of(item, reason))
end

-- Does fn(), which returns whether something was removed, or false and why not; in a dry run it is taken as done.
function Run:remove(item, reason, fn)
  if self.args.dry_run then
    return self:note("removed", item, reason)
  end
  local ok, removed, why = pcall(fn)
  if not ok then
    self:note("failed", item, tostring(removed))
  elseif removed then
    self:note("removed", item, reason);
    (self.args.log or collect.log)(item, reason)
  else
    self:note("kept", item, why)
  end
end

-- Links that an earlier collection had proven dead and did not come to delete.
function Run:buried()
  local links, steps = require "mncni.links", require "mncni.steps"
  local left = {}
  for name, link in pairs(self.look:links().name) do
    if link.group == steps.DEAD_GROUP and link.ifalias then
      left[#left + 1] = link
      self:remove({ ifname = name }, "a collection that did not end had found it dead", function() return true end)
    end
  end
  if #left > 0 and not self.args.dry_run then
    links.delete(self.look.host, left)
    self.look.found = nil
  end
end

function Run:attachment(item)
  local look, args = self.look, self.args
  local judged, verdict, reason = pcall(look.judge, look, item, args.grace or collect.GRACE, args.proof)
  if not judged then
    self:note("failed", item, tostring(verdict))
  elseif verdict == "alive" then
    self.report.alive = self.report.alive + 1
  elseif verdict == "doubt" then
    self:note("kept", item, reason)
  else
    self:remove(item, reason, function() return collect.remove(item, item.head and collect.WAIT or 0) end)
  end
end

-- The addresses of a store that no journal has: those of an earlier boot are void, of others nothing can be proven.
function Run:store(dir, known)
  local handle <close> = core.store.open { dir = dir }
  for _, entry in ipairs(handle and handle:list() or {}) do
    local item = {
      network = dir:match("[^/]*$"), container = entry.container, ifname = entry.ifname, addresses = { entry.address },
      dir = dir,
    }
    if not entry.container or known[entry.container .. "\n" .. (entry.ifname or "")] then
      goto continue
    elseif entry.stale then
      self:remove(item, "it was reserved in an earlier boot", function()
        return handle:release {
          container = entry.container, ifname = entry.ifname or "", addresses = { entry.address },
        } > 0, "somebody else has freed it"
      end)
    elseif self.look:link_of(item) then
      self.report.alive = self.report.alive + 1
    else
      self:note("kept", item, "no journal has it, so nothing can be proven")
    end
    ::continue::
  end
end

-- run{ state_dir =, network = nil for all, grace = seconds (collect.GRACE), proof = true to spare proven ones the
-- grace, dry_run = true to change nothing, stores = list of address directories to look through besides those that
-- journals name (nil: none at all), log = function(item, reason) } removes what is proven dead.
-- Returns { removed =, kept = (in doubt), failed = lists of { network, container, ifname, addresses, path, reason },
-- alive = how many are }. Raises only when it cannot look at all.
function collect.run(args)
  local look <close> = collect.look(args)
  local run = setmetatable({
    args = args, look = look, report = { removed = {}, kept = {}, failed = {}, alive = 0 },
  }, Run)
  if not args.proof then
    run:buried()
  end
  local known, stores = {}, {}
  for _, item in ipairs(look:journals()) do
    run:attachment(item)
    if item.container then
      known[item.container .. "\n" .. item.ifname] = true
    end
    stores[#stores + 1] = item.dir
  end
  if args.stores then
    local seen = {}
    for _, dir in ipairs(table.move(args.stores, 1, #args.stores, #stores + 1, stores)) do
      if type(dir) == "string" and not seen[dir] then
        seen[dir] = true
        local ok, err = pcall(run.store, run, dir, known)
        if not ok then
          run:note("failed", { path = dir }, tostring(err))
        end
      end
    end
  end
  return run.report
end

-- The addresses of the store in dir that a collection for an exhausted range would free. Changes nothing.
function collect.reclaimable(state_dir, network, dir)
  local addresses = {}
  local report = collect.run { state_dir = state_dir, network = network, proof = true, dry_run = true }
  for _, item in ipairs(report.removed) do
    if item.dir == dir then
      table.move(item.addresses, 1, #item.addresses, #addresses + 1, addresses)
    end
  end
  return addresses
end

return collect
