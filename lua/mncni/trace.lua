-- SPDX-License-Identifier: Apache-2.0
-- A trace of a node: opens the sources that there are, puts together what they say (mncni.trace_calls), and fills in
-- from libcni's cache and from our own plugin's reports what could not be seen.
--
-- What it tells is a table of one of the types
--   sources  active, and missing: source -> { why, lacks }
--   call     a CNI call with its changes and delegates
--   change   one of nobody's call
--   lost     source, and the count of times that something was lost; or source "calls" and the plugin, of whose call
--            nothing is known but that it was

local answers = require "mncni.trace_answers"
local cache = require "mncni.trace_cache"
local calls = require "mncni.trace_calls"
local core = require "mncni.core"
local net = require "mncni.net"
local netns = require "mncni.netns"
local text = require "mncni.text"
local tracer = require "mncni.trace_core"

local trace = {}

local Trace = {}
Trace.__index = Trace

-- The sources, and what is not known without each.
trace.sources = {
  { "proc", "the kernel's process events", "exit statuses, and which helper of a plugin changed what" },
  { "fanotify", "plugins being opened to be run", "some configurations, where a plugin reads faster than the trace" },
  { "pipes", "standard input and output of the plugins", "configurations and results other than libcni keeps" },
  { "route", "rtnetlink in all namespaces", "links, addresses, routes, neighbours and rules" },
  { "nft", "nftables in all namespaces", "changes of nftables" },
  { "reports", "what our own plugin reports", "its requests that failed" },
  { "cache", "libcni's cache", "what the pipes lose of a configuration or result" },
  { "nlmon", "a device nlmon", "requests in the capture file: it has notifications only" },
}

local DIRECTORIES = { "/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni" }
-- Programs that plugins run to change something; a link is watched where it leads.
local HELPERS = { "/usr/sbin/nft", "/usr/sbin/iptables", "/usr/sbin/ip6tables", "/usr/sbin/xtables-nft-multi" }
local helpers = {}
for _, path in ipairs(HELPERS) do
  helpers[path:match "[^/]*$"] = true
end
local CACHE_NS = 3000 * 1000000 -- libcni writes its cache when the last plugin has answered
local LONG_NS = 10000 * 1000000 -- and a network of which nothing ends for so long is not waited for
local REPORT_NS = 300 * 1000000 -- our plugin's report is there by then
local HOLD_NS = 2000 * 1000000 -- how long a change waits for a call that is known when it has ended, without process events
local DEVICE = "mncni-nlmon"
local MACHINE = "pid:[4026531836]" -- its first process namespace, in every kernel (PROC_PID_INIT_INO)
local AT_ONCE = 1000 -- records in one step

local function add_nlmon(self)
  local ok, err = pcall(function()
    self.host.link.absent { ifname = DEVICE }
    self.host.link.add { ifname = DEVICE, kind = "nlmon", up = true }
    return self.host.link.get { ifname = DEVICE }.ifindex
  end)
  if ok then
    self.device = true
    return err
  end
  return nil, core.is_error(err) and (err.extack or err.message) or tostring(err)
end

-- Watches the directory of libcni's cache, where calls are seen by nothing else.
local function watch_cache(self)
  local ok, err = pcall(function()
    self.inotify = core.inotify()
    return self.inotify:add(self.cache) ~= nil
  end)
  return ok and err or nil, not ok and tostring(err) or "there is no " .. self.cache
end

-- Where programs are opened that plugins are: the directories, and what links in them lead to.
local function directories_of(self, given)
  local list, seen = {}, {}
  local function add(path)
    if not seen[path] then
      seen[path], list[#list + 1] = true, path
    end
  end
  for _, directory in ipairs(given or DIRECTORIES) do
    add(self.root .. directory)
    local ok, names = pcall(core.directory.list, self.root .. directory)
    for _, name in ipairs(ok and names or {}) do
      local found, target = pcall(core.file.target, ("%s%s/%s"):format(self.root, directory, name))
      if found and target and target:find("/", 1, true) then
        add(self.root .. (target:sub(1, 1) == "/" and target or directory .. "/" .. target))
      end
    end
  end
  for _, helper in ipairs(HELPERS) do
    add(self.root .. helper)
  end
  return list
end

-- Opens what is wanted and says what is active, and what is missing and why.
local function open_sources(self, options)
  local without, wanted, missing, index = options.without or {}, {}, {}, nil
  if options.capture and not without.nlmon then
    index, missing.nlmon = add_nlmon(self)
  end
  for _, source in ipairs(trace.sources) do
    local name = source[1]
    if without[name] then
      missing[name] = "switched off"
    elseif name ~= "cache" and (name ~= "nlmon" or index) then
      wanted[#wanted + 1] = name
    end
  end
  local failed
  self.source, failed = tracer.open {
    sources = wanted, netns = self.netns_path, directories = directories_of(self, options.directories),
    report = self.root .. options.state_dir .. "/trace.sock", nlmon = index,
  }
  for name, why in pairs(failed) do
    missing[name] = why
  end
  self.blind = missing.proc and missing.fanotify
  if self.blind and not missing.cache then
    local ok, why = watch_cache(self)
    missing.cache = not ok and why or nil
  end
  local told = { type = "sources", active = core.json.array {}, missing = {} }
  for _, source in ipairs(trace.sources) do
    local name = source[1]
    if missing[name] then
      told.missing[name] = { why = missing[name], lacks = source[3] }
    elseif name ~= "nlmon" or index then
      table.insert(told.active, name)
    end
  end
  self.missing, self.capturing = missing, index and "packet" or "message"
  return told
end

-- Whether all that can be known of a call that has ended is known: libcni's cache comes a little after the last plugin of
-- its network.
local function is_ready(self, entry, now)
  return answers.are_complete(entry.told) or self.missing.cache ~= nil
    or answers.from_cache(entry.told, self.cache) or now - entry.ended > LONG_NS
    or not self.calls:is_active(entry.told, now - CACHE_NS)
end

-- open{ without = { source = true }, node = pid of a process of the node (nil: this one), state_dir =, cache =, directories =
-- of plugins, all = minor changes too, capture = a pcap, tell = function(told) }: begins to watch. Raises where it cannot at all.
function trace.open(options)
  local self = setmetatable({ recent = {}, unseen = {}, pcap = options.capture }, Trace)
  self.root = options.node and ("/proc/%d/root"):format(options.node) or ""
  self.netns_path = options.node and ("/proc/%d/ns/net"):format(options.node) or "/proc/self/ns/net"
  self.cache = self.root .. (options.cache or cache.DIRECTORY)
  self.netns = netns.open(self.netns_path)
  self.host = net.of(self.netns)
  local told = open_sources(self, options)
  self.tell, self.offset = options.tell, tracer.offset()
  self.calls = calls.new {
    offset = self.offset, all = options.all, tell = options.tell, hold = self.missing.proc and HOLD_NS or REPORT_NS,
    global = core.file.target "/proc/self/ns/pid" == MACHINE,
    ready = function(entry, now) return is_ready(self, entry, now) end,
  }
  told.time = self.calls:clock(tracer.now())
  options.tell(told)
  self:look(false)
  pcall(function()
    for set in self.host.nft.set.list {} do
      self.calls.sets:learn(calls.HOME, "new", set)
    end
  end)
  return self
end

-- Takes the links of the node as they are; what differs from what was known, after a loss, is told as a change.
function Trace:look(differences)
  local seen = {}
  local ok, err = pcall(function()
    for link in self.host.link.list {} do
      seen[link.ifindex] = true
      local event, differs, known = self.calls.links:change(calls.HOME, "new", link)
      if differences and event then
        self.calls:place {
          time = tracer.now(), nsid = calls.HOME, portid = 0, event = event, object = "link", value = link,
          differs = differs, link = known, dev = known.ifname, resync = true,
        }
      end
    end
  end)
  for index, known in pairs(ok and self.calls.links:of(calls.HOME) or {}) do
    if not seen[index] then
      self.calls.links:change(calls.HOME, "del", { ifindex = index })
      self.calls:place {
        time = tracer.now(), nsid = calls.HOME, portid = 0, event = "del", object = "link",
        value = { ifname = known.ifname, ifindex = index }, link = known, dev = known.ifname, resync = true,
      }
    end
  end
  return ok, err
end

-- A call that is known only by its report: what it has changed was heard already.
local function after_the_fact(self, record, report)
  local started = record.time - report.duration * 1000
  local data = {
    CNI_COMMAND = report.verb, CNI_CONTAINERID = report.container, CNI_IFNAME = report.ifname, CNI_NETNS = report.netns,
    CNI_ARGS = report.args, plugin = report.called, number = record.pid,
  }
  if report.netns then
    pcall(function()
      -- A link of the node's is none of ours.
      local pod <close> = netns.open(self.root .. report.netns:gsub("^/var/run/", "/run/"))
      data.nsid = (self.host.nsid.get { netns = pod } or {}).nsid
    end)
  end
  local entry = self.calls:begin(record.pid, started, data)
  entry.told.seen_by = "report"
  answers.from_report(entry.told, report)
  -- What was read on account of the report has a later time than it.
  self.calls:adopt(entry, started, tracer.now())
  answers.from_pipes(self.calls:finish(record.pid, record.time, report.code ~= 0 and 256 or 0))
  self.recent[#self.recent + 1] = {
    pid = record.pid, container = report.container, ifname = report.ifname, verb = report.verb,
  }
  if #self.recent > 64 then
    table.remove(self.recent, 1)
  end
end

function Trace:report(record)
  local report = answers.report(record.data)
  if not report then
    return
  end
  local entry = self.calls.pids[record.pid]
  if entry and entry.pid == record.pid then
    answers.from_report(entry.told, report)
  else
    after_the_fact(self, record, report)
  end
end

-- Whether the cache only says what a report has said.
local function was_reported(self, verb, container, ifname)
  for i, one in ipairs(self.recent) do
    if one.verb == verb and one.container == container and one.ifname == ifname then
      table.remove(self.recent, i)
      return true
    end
  end
end

local function types_of(entry)
  local types = {}
  for i, plugin in ipairs(cache.plugins_of(entry.config)) do
    types[i] = tostring(plugin.type)
  end
  return table.concat(types, "+")
end

-- Tells of processes that ran a plugin and had ended when they were looked at, unless their report has come meanwhile.
function Trace:tell_unseen(now)
  while self.unseen[1] and now - self.unseen[1].time > REPORT_NS do
    local one = table.remove(self.unseen, 1)
    local reported = false
    for _, call in ipairs(self.recent) do
      reported = reported or call.pid == one.pid
    end
    if not reported then
      self.tell {
        type = "lost", time = self.calls:clock(one.time), source = "calls", count = 1, plugin = one.plugin,
      }
    end
  end
end

-- Attachments that come and go in libcni's cache, where nothing else tells of calls.
function Trace:look_at_cache()
  self.cached = self.cached or {}
  for _, change in ipairs(self.inotify:read()) do
    local entry = change.name and cache.read(self.cache .. "/" .. change.name)
    local known = change.name and self.cached[change.name]
    local verb = entry and not known and "ADD" or not entry and known and "DEL"
    entry = entry or known
    if change.name then
      self.cached[change.name] = verb ~= "DEL" and entry or nil
    end
    if verb and not was_reported(self, verb, entry.container, entry.ifname) then
      local now = tracer.now()
      local call = self.calls:begin(0, now, {
        CNI_COMMAND = verb, CNI_CONTAINERID = entry.container, CNI_IFNAME = entry.ifname, plugin = types_of(entry),
      })
      local told = call.told
      told.pid, told.seen_by, told.network = nil, "cache", entry.network
      told.config, told.config_from = entry.config, entry.config and "cache"
      if verb == "ADD" then
        told.result, told.result_from = entry.result, entry.result and "cache"
      end
      self.calls:finish(0, now)
      told.duration_us = nil
    end
  end
end

local take = {
  call = function(self, record) self.calls:begin(record.pid, record.time, record.data) end,
  fork = function(self, record) self.calls:forked(record.pid, record.other, record.nsid) end,
  message = function(self, record) self.calls:messages(record) end,
  report = Trace.report,
  output = function(self, record)
    local entry = self.calls.pids[record.pid]
    if entry and entry.pid == record.pid then
      entry.outputs[record.other] = record.data
    end
  end,
  exit = function(self, record)
    local entry = self.calls:finish(record.pid, record.time, record.other)
    if entry then
      answers.from_pipes(entry)
    end
  end,
  missed = function(self, record)
    local name = text.valid(record.data:match "[^/]*$")
    if not helpers[name] and not self.calls:begin_unseen(record.pid, record.time, text.valid(record.data)) then
      table.insert(self.unseen, { pid = record.pid, time = record.time, plugin = name })
    end
  end,
  lost = function(self, record)
    self.tell { type = "lost", time = self.calls:clock(record.time), source = record.data, count = record.other }
    self.calls:lost(record.data)
    if record.data ~= "nft" and record.data ~= "proc" then
      self:look(true)
    end
  end,
}

-- Goes on for so many milliseconds, or until something has happened. Returns false when somebody stops it by a signal.
-- Where the capture could not be written, self.full says why.
function Trace:step(milliseconds)
  local waits = self.calls:is_waiting() or self.unseen[1] or self.inotify
  local record = self.source:next(waits and math.min(milliseconds, 50) or milliseconds)
  local left = AT_ONCE
  while record do
    if record.type == "stop" then
      return false
    elseif self.pcap and record.type == self.capturing then
      local direction = record.type == "packet" and record.nsid or nil
      local kept, why = self.pcap:add(record.time + self.offset, record.other, record.data, direction)
      self.full = not kept and why or self.full
    end
    if take[record.type] then
      take[record.type](self, record)
    end
    self.calls:tell_ended(record.time)
    left = left - 1
    record = left > 0 and self.source:next(0)
  end
  if self.inotify then
    self:look_at_cache()
  end
  local now = tracer.now()
  self:tell_unseen(now)
  self.calls:look(now)
  self.calls:flush(now)
  return true
end

-- Ends it; what is not complete is told as it is.
function Trace:close()
  if not self.source then
    return
  end
  self.source:close()
  self.source = nil
  self:tell_unseen(math.maxinteger)
  self.calls:look(tracer.now())
  self.calls:flush(0, true)
  for _, entry in ipairs(self.calls.live) do
    if not entry.parent then
      entry.told.unfinished = true
      self.tell(entry.told)
    end
  end
  if self.device then
    pcall(self.host.link.absent, { ifname = DEVICE })
  end
  if self.inotify then
    self.inotify:close()
  end
  self.host:close()
  self.netns:close()
end
Trace.__close = Trace.close

return trace
