-- SPDX-License-Identifier: Apache-2.0
-- Which call made which change: what a trace's records say, put together. A call is told when it has ended, with its
-- delegates in it; a change that is no call's is told by itself.
--
-- A change belongs, in this order, to the call
--   pid       whose process (or one that it made) sent the request, as the kernel tells of nftables, addresses and routes
--   netns     in whose namespace it was made
--   link      to whose pod the link leads
--   follows   whose change the kernel has made it after, on the same link
--   only      that was the only one at that time

local core = require "mncni.core"
local links = require "mncni.trace_links"
local print_lines = require "mncni.print"
local sets = require "mncni.trace_sets"
local text = require "mncni.text"

local calls = {}

local Calls = {}
Calls.__index = Calls

calls.HOME = links.HOME

local NFT = 12 -- NETLINK_NETFILTER
local FOLLOWS = 2000000 -- nanoseconds
local LEADS = 5000 * 1000000 -- how long it may take until it is known where a link leads

-- What is kept to itself unless all is asked for: what mirrors something that is shown.
local minor = { fdb = true, vlan = true, nsid = true, nft_gen = true }

-- new{ offset = of the clock to that of the world, all = minor changes too, hold = nanoseconds for which a change waits for
-- a call that is told of late, tell = function(told) that gets whatever is to be shown, in order, ready = function(entry, now)
-- whether all that can be known of a call that has ended is known, global = whether numbers of processes are the machine's,
-- which the kernel tells of nftables' changes }
function calls.new(args)
  return setmetatable({
    offset = args.offset, global = args.global, all = args.all, tell = args.tell, ready = args.ready,
    links = links.new(), sets = sets.new(), live = {}, pids = {}, numbers = {}, ended = {}, held = {}, leading = {},
    hold = args.hold or 0, transactions = {}, follows = {},
  }, Calls)
end

-- Nanoseconds of the records' clock as a time of day.
function Calls:clock(time)
  local world = time + self.offset
  return os.date("!%Y-%m-%dT%H:%M:%S", world // 1000000000) .. (".%06dZ"):format(world % 1000000000 // 1000)
end

-- CNI_ARGS of kubelets name the pod.
local function pod_of(args)
  local name = (args or ""):match "K8S_POD_NAME=([^;]+)"
  return name and { name = name, namespace = (args or ""):match "K8S_POD_NAMESPACE=([^;]+)" } or nil
end

local function own(self, pid, entry)
  self.pids[pid] = entry
  entry.pids[#entry.pids + 1] = pid
end

-- Puts what is told of a change among those of a call, by its time.
local function insert(entry, told)
  local changes = entry.told.changes
  local at = #changes + 1
  while at > 1 and changes[at - 1].after_us > told.after_us do
    at = at - 1
  end
  table.insert(changes, at, told)
end

-- What a call has sent before it was told of was taken for its maker's.
local function reclaim(self, entry)
  local changes = entry.parent and entry.parent.told.changes or {}
  for i = #changes, 1, -1 do
    local told = changes[i]
    if told.by ~= "pid" and self.numbers[told.portid] == entry then
      table.remove(changes, i)
      told.by, told.after_us = "pid", math.max(0, told.after_us - (entry.started - entry.parent.started) // 1000)
      insert(entry, told)
    end
  end
end

-- Begins a call; data is what a record of type "call" has.
function Calls:begin(pid, time, data)
  for key, value in pairs(data) do
    data[key] = type(value) == "string" and text.valid(value) or value
  end
  local parent = self.pids[tonumber(data.parent)]
  local entry = {
    pid = pid, started = time, nsid = tonumber(data.nsid), numbers = { tonumber(data.number) }, pids = {},
    outputs = {}, parent = parent, unnamed = {},
    told = {
      type = "call", time = self:clock(time), command = data.CNI_COMMAND,
      plugin = (data.plugin or ""):match "[^/]*$", path = data.plugin, pid = pid,
      caller = data.caller and { name = data.caller, pid = tonumber(data.parent) } or nil,
      container = data.CNI_CONTAINERID, ifname = data.CNI_IFNAME,
      netns = data.CNI_NETNS ~= "" and data.CNI_NETNS or nil,
      inode = tonumber(data.inode), args = data.CNI_ARGS, pod = pod_of(data.CNI_ARGS),
      changes = core.json.array {}, delegates = core.json.array {},
    },
  }
  if entry.nsid and entry.nsid < 0 then
    entry.nsid = nil
  end
  self.live[#self.live + 1] = entry
  own(self, pid, entry)
  if entry.numbers[1] then
    self.numbers[entry.numbers[1]] = entry
    reclaim(self, entry)
  end
  return entry
end

-- Whether a call was made by another, or is it.
local function is_below(entry, other)
  while entry and entry ~= other do
    entry = entry.parent
  end
  return entry ~= nil
end

-- The one of the live calls for which matches(entry) is true that a change is of: a delegate before who has made it, until
-- that one has sent something again. Calls for one interface come one after another, and when the next is there, the end of
-- the one before may not have been told of yet: it is that one's until the next has sent something. Of several networks that
-- a runtime adds to a namespace at the same time, it is the one whose interface dev is, and not the loopback's without need.
function Calls:innermost(matches, dev)
  local found, rank = nil, 0
  for _, entry in ipairs(self.live) do
    local its = not entry.is_over and matches(entry)
      and (entry.told.ifname == dev and 3 or entry.told.ifname ~= "lo" and 2 or 1) or 0
    if its > rank or its > 0 and its == rank and (entry.has_sent or is_below(entry, found)) then
      found, rank = entry, its
    end
  end
  return found
end

local function root_of(entry)
  while entry.parent do
    entry = entry.parent
  end
  return entry
end

-- The live call, if all that live belong to one.
local function only(self)
  local root = self.live[1] and root_of(self.live[1])
  for _, entry in ipairs(self.live) do
    if root_of(entry) ~= root then
      return nil
    end
  end
  return self.live[#self.live]
end

-- Notes that a call has sent what the kernel tells of in the order in which it was done: what it has waited for is over.
local function note_sent(self, entry)
  for _, one in ipairs(self.live) do
    one.is_over = one.is_over or one.parent == entry
  end
  while entry do
    entry.has_sent, entry = true, entry.parent
  end
end

-- Whose change it is, and how that is known.
function Calls:attribute(change)
  local by_pid = self.pids[change.process_id]
  if by_pid then
    return by_pid, "pid"
  end
  by_pid = change.portid ~= 0 and self.numbers[change.portid]
  if by_pid then
    note_sent(self, by_pid)
    return by_pid, "pid"
  end
  local nsid = change.nsid ~= links.HOME and change.nsid
  local inside = nsid and self:innermost(function(entry) return entry.nsid == nsid end, change.dev)
  if inside then
    return inside, "netns"
  end
  local link = change.link
  local container = link and link.container
  local leads = link and (container and self:innermost(function(entry) return entry.told.container == container end)
    or link.link_netnsid and change.nsid == links.HOME
      and self:innermost(function(entry) return entry.nsid == link.link_netnsid end))
  if leads then
    return leads, "link"
  end
  local before = change.portid == 0 and change.dev and self.follows[change.nsid]
  if before and before.dev == change.dev and change.time - before.time < FOLLOWS then
    return before.entry, "follows"
  end
  return only(self), "only"
end

-- The words of a change, as `ip` or nft would make it.
local function words_of(change)
  if change.object == "link" and change.event == "set" then
    local args = { ifname = change.link.ifname }
    for key, value in pairs(change.differs) do
      args[key] = value
    end
    return table.concat((print_lines.lines("set", "link", args)), "; ")
  end
  return print_lines.event { event = change.event == "add" and "new" or change.event, object = change.object,
    value = change.value }
end

local function text_of(change)
  local ok, words = pcall(words_of, change)
  return text.valid(ok and words or ("%s %s"):format(change.object, change.event))
end

local function place_of(change, entry)
  if change.nsid == links.HOME then
    return "host"
  elseif entry and entry.nsid == change.nsid then
    return "pod"
  end
  return "nsid " .. change.nsid
end

-- A link of which nothing was known when a change of it was heard of may have a name now.
local function find_name(self, change)
  local link = not change.link and change.value.ifindex and self.links:get(change.nsid, change.value.ifindex)
  if link then
    self.links:resolve(change.nsid, change.object, change.value)
    change.link = link
  end
end

-- What is told of a change.
local function told_of(self, change, entry, how)
  find_name(self, change)
  local link, process = change.link, change.process
  return {
    time = self:clock(change.time), after_us = entry and (change.time - entry.started) // 1000 or nil,
    event = change.event, object = change.object, netns = place_of(change, entry),
    text = text_of(change), by = entry and how or nil,
    process = process and text.valid(process), pid = change.process_id,
    portid = change.portid ~= 0 and change.portid or nil, link = link and link.ifname and text.valid(link.ifname),
    container = link and link.container, resync = change.resync,
  }
end

local function keep(self, change, entry, how)
  local told = told_of(self, change, entry, how)
  told.container = nil
  if change.process == entry.told.plugin:sub(1, 15) then
    told.process = nil
  end
  insert(entry, told)
  if not change.link and change.value.ifindex then
    entry.unnamed[#entry.unnamed + 1] = { change = change, told = told }
  end
  local link = change.link
  if link and not link.container and how ~= "only" and how ~= "follows"
    and (change.nsid ~= links.HOME or link.link_netnsid) then
    link.container, link.pod = entry.told.container, entry.told.pod
  end
  if how == "pid" and change.dev then
    self.follows[change.nsid] = { entry = entry, dev = change.dev, time = change.time }
  end
end

-- A change that is no call's, told apart.
local function apart(self, change)
  local told = told_of(self, change)
  told.type = "change"
  told.running = change.running > 0 and change.running or nil
  told.pod = change.link and change.link.pod or nil
  self.tell(told)
end

-- What was made before it was known where the link leads is of the same call, or of who has made that.
local function claim(self, link, entry)
  for i = #self.leading, 1, -1 do
    local change = self.leading[i]
    local whose = change.link == link and entry or nil
    while whose and change.time < whose.started do
      whose = whose.parent
    end
    if whose then
      table.remove(self.leading, i)
      keep(self, change, whose, "link")
    end
  end
end

-- A link has a name now: so have the changes of it that are a call's already.
local function name(self, nsid, index)
  for _, entry in ipairs(self.live) do
    for i = #entry.unnamed, 1, -1 do
      local change, told = entry.unnamed[i].change, entry.unnamed[i].told
      if change.nsid == nsid and change.value.ifindex == index then
        table.remove(entry.unnamed, i)
        find_name(self, change)
        told.text, told.link = text_of(change), text.valid(change.link.ifname or "")
      end
    end
  end
end

-- Puts a change where it belongs.
function Calls:place(change)
  local entry, how = self:attribute(change)
  if entry then
    keep(self, change, entry, how)
    if change.link and (how == "netns" or how == "link") and self.leading[1] then
      claim(self, change.link, entry)
    end
  else
    change.running = #self.live
    table.insert(change.link and self.leading or self.held, change)
  end
end

-- Changes of nftables wait for the end of their transaction, which says whose it is.
local function of_nftables(self, change)
  local key = change.nsid .. " " .. change.portid
  local waiting = self.transactions[key] or {}
  self.transactions[key] = waiting
  if change.object ~= "nft_gen" then
    waiting[#waiting + 1] = change
    return
  end
  self.transactions[key] = nil
  for _, one in ipairs(self.sets:joined(waiting)) do
    one.process, one.process_id = change.value.process, self.global and change.value.pid or nil
    self:place(one)
  end
end

-- One message of the kernel's.
function Calls:message(record, message)
  local value = message.value
  if not message.object or not value then
    return
  end
  local change = {
    time = record.time, nsid = record.nsid, portid = message.portid, event = message.event == "new" and "add" or "del",
    object = message.object, value = value,
  }
  if message.object == "nsid" and message.event == "del" and record.nsid == links.HOME then
    self.links:forget(value.nsid)
    self.sets:forget(value.nsid)
  end
  if not self.all and message.object ~= "nft_gen" and (minor[message.object]
    or message.object == "neigh" and value.type == "multicast") then
    return
  end
  if record.other ~= NFT then
    self.links:resolve(record.nsid, message.object, value)
    if message.object == "link" then
      change.event, change.differs, change.link = self.links:change(record.nsid, message.event, value)
      change.dev = change.link.ifname or value.ifname
      if change.event == "add" then
        name(self, record.nsid, value.ifindex)
      end
      if not change.event then
        return
      end
    else
      change.link = self.links:get(record.nsid, value.ifindex)
      change.dev = value.dev
    end
    self:place(change)
  else
    of_nftables(self, change)
  end
end

-- Takes in a message record of core's tracer.
function Calls:messages(record)
  for _, message in ipairs(core.decode(record.data)) do
    self:message(record, message)
  end
end

-- Something of a source was lost: what waits for more of it has waited in vain.
function Calls:lost(source)
  if source == "nft" then
    local waiting = self.transactions
    self.transactions = {}
    for _, list in pairs(waiting) do
      for _, change in ipairs(list) do
        self:place(change)
      end
    end
  elseif source == "route" then
    local used = { [links.HOME] = true }
    for _, entry in ipairs(self.live) do
      used[entry.nsid or links.HOME] = true
    end
    self.links:keep(used)
  end
end

-- A process (or thread) that belongs to the call that `parent` belongs to.
-- number: what the kernel calls it in what it sends, where that is known.
function Calls:forked(pid, parent, number)
  local entry = self.pids[parent]
  if entry and not self.pids[pid] then
    own(self, pid, entry)
    if number and number > 0 then
      self.numbers[number] = entry
      entry.numbers[#entry.numbers + 1] = number
    end
  end
end

-- A plugin that a call has started, and that had ended when it was looked at: for what it was called is what the call is for,
-- whose environment it inherits. Returns whether a call has started it.
function Calls:begin_unseen(pid, time, plugin)
  local parent = self.pids[pid]
  if not parent or parent.pid == pid then
    return false
  end
  local told = parent.told
  self:begin(pid, time, {
    CNI_COMMAND = told.command, CNI_CONTAINERID = told.container, CNI_IFNAME = told.ifname, CNI_NETNS = told.netns,
    CNI_ARGS = told.args, plugin = plugin, parent = tostring(parent.pid), caller = told.plugin, nsid = parent.nsid,
    inode = told.inode,
  }).told.seen_by = "start"
  return true
end

-- A call's process, or one of its helpers, has ended. Returns the call's entry.
function Calls:finish(pid, time, status)
  local entry = self.pids[pid]
  if not entry or entry.pid ~= pid then
    return nil
  end
  for _, one in ipairs(entry.pids) do
    self.pids[one] = nil
  end
  for _, number in ipairs(entry.numbers) do
    if self.numbers[number] == entry then
      self.numbers[number] = nil
    end
  end
  for i, one in ipairs(self.live) do
    if one == entry then
      table.remove(self.live, i)
      break
    end
  end
  for nsid, before in pairs(self.follows) do
    if before.entry == entry then
      self.follows[nsid] = nil
    end
  end
  entry.ended, entry.told.duration_us = time, (time - entry.started) // 1000
  if status and status >= 0 then
    entry.told.status = status >> 8 & 0xff
    entry.told.signal = status & 0x7f ~= 0 and status & 0x7f or nil
  end
  if entry.parent and not entry.parent.gone then
    entry.told.after_us = (entry.started - entry.parent.started) // 1000
    table.insert(entry.parent.told.delegates, entry.told)
  else
    table.insert(self.ended, entry)
  end
  return entry
end

-- Whether a call for the same interface runs, or has ended since a time.
function Calls:is_active(told, since)
  local function is_its(entry)
    return entry.told.container == told.container and entry.told.ifname == told.ifname
  end
  for _, entry in ipairs(self.live) do
    if is_its(entry) then
      return true
    end
  end
  for _, entry in ipairs(self.ended) do
    if is_its(entry) and entry.ended > since then
      return true
    end
  end
  return false
end

-- Looks at what has ended: what would complete it may be gone when its turn comes.
function Calls:look(now)
  for _, entry in ipairs(self.ended) do
    entry.complete = entry.complete or self.ready(entry, now)
  end
end

-- Tells of what has ended and is complete, in that order; all of it when the trace ends.
function Calls:tell_ended(now, all)
  while self.ended[1] and (all or self.ended[1].complete or self.ready(self.ended[1], now)) do
    local entry = table.remove(self.ended, 1)
    entry.gone = true
    self.tell(entry.told)
  end
end

-- Tells of those changes of a list for which is_due(change) is true; returns the others.
local function tell_due(self, list, is_due)
  local rest = {}
  for _, change in ipairs(list) do
    if is_due(change) then
      apart(self, change)
    else
      rest[#rest + 1] = change
    end
  end
  return rest
end

-- And of the changes for which no call has come. Those without a link, which may be many, are due in their order.
function Calls:flush(now, all)
  self:tell_ended(now, all)
  if self.leading[1] then
    self.leading = tell_due(self, self.leading, function(change)
      return all or now - change.time > (change.running > 0 and LEADS or self.hold)
    end)
  end
  if self.held[1] and (all or now - self.held[1].time > self.hold) then
    self.held = tell_due(self, self.held, function(change) return all or now - change.time > self.hold end)
  end
end

-- Whether there is something that may be told of when time has passed.
function Calls:is_waiting()
  return (self.ended[1] or self.held[1] or self.leading[1]) ~= nil
end

-- Gives a call that is known only now those of the changes that wait that are its own, of the time from which to which it ran.
function Calls:adopt(entry, from, to)
  for _, which in ipairs { "leading", "held" } do
    local rest = {}
    for _, change in ipairs(self[which]) do
      local whose, how
      if change.time >= from and change.time <= to then
        whose, how = self:attribute(change)
      end
      if whose == entry then
        keep(self, change, entry, how)
      else
        rest[#rest + 1] = change
      end
    end
    self[which] = rest
  end
end

return calls
