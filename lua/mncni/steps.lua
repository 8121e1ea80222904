-- SPDX-License-Identifier: Apache-2.0
-- Recorded steps: what a policy asks for is written down first, then prepared (reads only, so that what can be refused
-- is refused before anything changes), journalled with the way back, and sent in order, batched per namespace.
--
-- A step: { net = "host" | "pod", verb, object, args, where = "file:line", shared = boolean }
--   object is a netlink object ("link", "addr", "route", "rule", "neigh", "fdb", "vlan", "qdisc", "class", "filter"),
--   "sysctl", "nft" or "tun".
--   shared steps are idempotent and belong to the node: they are not undone with the pod.
-- A sysctl of a link may say whose it is (ifname), which its key tells, too.
-- A link may be made under another name (as), which its created() changes. The verb "move" takes a device of the node's
-- into the pod: args are what it is (ifname, address, ifalias, up) and to, its name there.
-- A step may bring its own prepare(context), which returns a list of plain steps (none when all is well already).
-- One of nftables may bring send(batch), for a better word on what the kernel refuses, and `told`, what the journal keeps
-- of it instead of a batch that is long. One of rtnetlink may bring explain(err), which returns a better word or nil.
-- The verb "flush" of the object "conntrack" forgets connections, and has no way back.
-- The verb "require" changes nothing: it is journalled, so that CHECK knows what of the node's the attachment needs;
-- object is then "bridge", or what mncni.check has a module for, and args what that wants to know.

local core = require "mncni.core"

local steps = {}

-- Links of pods are members of this group, and of no other's; GC moves dead ones to the second and deletes that.
steps.GROUP = 78
steps.DEAD_GROUP = 79

local Context = {}
Context.__index = Context

-- current() is the context of the attachment that is being made, or nil outside of one (at a prompt, say).
local current = core.current

-- Runs fn with context as the current one; raises what fn raises.
function steps.within(context, fn, ...)
  local outer = current()
  current(context)
  local _ <close> = setmetatable({}, { __close = function() current(outer) end })
  return fn(...)
end

-- new{ host = net, pod = net or nil, journal = object with append(text) or nil, netns = { path =, id =, cookie = } or nil }
function steps.new(args)
  return setmetatable({
    nets = { host = args.host, pod = args.pod },
    journal = args.journal,
    netns = args.netns,
    list = {},
    done = 0,
    own = { host = {}, pod = {} }, -- links made here: name -> true
    index = { host = {}, pod = {} }, -- links seen here: name -> index, which need not be looked up again
    warnings = {},
  }, Context)
end

-- Bytes as hexadecimal digits, as a journal keeps them.
function steps.hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

-- "policies/x.lua:12": the place in the user's file that a step comes from.
function steps.where()
  local file, line = core.place()
  return file and file .. ":" .. line
end

function Context:record(step)
  step.where = step.where or steps.where()
  self.list[#self.list + 1] = step
  return step
end

-- What puts back an object that a step removes, or nil when there is none. Where its surroundings are gone by then (the
-- device is down, the gateway out of reach) there is nothing to put it back into.
local function put_back(context, step, netns)
  local found = require("mncni.ensure").find(context.nets[step.net], step.object, step.args)
  if not found then
    return nil
  elseif step.object == "route" then
    found = require("mncni.route").settable(found)
  end
  return {
    op = "netlink", protocol = "route", netns = netns, restore = true,
    message = context:encode(step.net, "add", step.object, found),
  }
end

-- What a setting is, or nil where the kernel has none, or one that can only be written.
function steps.setting(net, key)
  local ok, value = pcall(net.sysctl.get, key)
  if not ok and not (core.is_error(value) and value.name == "EACCES") then
    error(value, 0)
  end
  return ok and value or nil
end

-- What names one of traffic control's objects. With the kind and the handle, the kernel removes none that somebody else
-- has put into its place.
local tc_keys = {
  qdisc = { "dev", "parent", "handle", "kind" }, class = { "dev", "parent", "handle", "kind" },
  filter = { "dev", "parent", "prio", "protocol", "handle", "kind", "chain" },
}

local function name_of(object, args)
  local name = {}
  for _, key in ipairs(tc_keys[object]) do
    name[key] = args[key]
  end
  return name
end

-- The inverse of a plain step, or nil where the removal of a link made here, or of the namespace, covers it.
local function inverse(context, step)
  local object, verb, args = step.object, step.verb, step.args
  local netns = step.net == "pod" and context.netns or nil
  if step.undo or step.shared or verb == "require" or object == "nft" or object == "conntrack" then
    return step.undo
  end
  if (object == "link" or object == "tun") and verb == "add" then
    local final = { op = "link", ifname = args.ifname, alias = step.alias, netns = netns, lasting = step.lasting }
    return step.as and { { op = "link", ifname = step.as, alias = step.alias, netns = netns }, final } or final
  elseif verb == "move" then
    return {
      op = "move", ifname = args.ifname, alias = args.ifalias, address = args.address, up = args.up,
      netns = context.netns,
    }
  end
  if object == "sysctl" then
    local interface = step.ifname or args.key:match("^net/ipv[46]/%a+/([^/]+)/")
    if interface and context.own[step.net][interface] then
      return nil
    end
    local previous = steps.setting(context.nets[step.net], args.key)
    if not previous or previous == tostring(args.value) then
      return nil
    end
    return { op = "sysctl", key = args.key, value = previous, netns = netns }
  end
  local own = context.own[step.net]
  local dev = args.dev or args.ifname
  if (dev and own[dev]) or (not dev and step.net == "pod" and next(own)) then
    return nil
  end
  if object == "link" and verb == "set" then
    local now = context.nets[step.net].link.get { ifname = args.ifname }
    local back, differs = { ifname = args.ifname }, false
    for key, value in pairs(args) do
      if key ~= "ifname" and now and now[key] ~= value then
        back[key], differs = now[key], true
      end
    end
    if not differs then
      return nil
    end
    return {
      op = "netlink", protocol = "route", netns = netns, message = context:encode(step.net, "set", object, back),
    }
  end
  if verb == "del" then
    return put_back(context, step, netns)
  end
  return {
    op = "netlink", protocol = "route", netns = netns,
    message = context:encode(step.net, "del", object, tc_keys[object] and name_of(object, args) or args),
  }
end

-- The bytes of a request as hex digits, with names of devices resolved now: undo has no tables and no look-ups.
function Context:encode(net, verb, object, args)
  local resolved = {}
  for key, value in pairs(args) do
    resolved[key] = value
  end
  for _, key in ipairs { "dev", "ifname" } do
    local name = resolved[key]
    if type(name) == "string" then
      local link = self.nets[net].link.get({ ifname = name }, { "ifindex" })
      if not link then
        error(core.error {
          op = verb, object = ("%s on %q"):format(object, name), code = 103, errno = 19,
          message = "there is no such link",
        }, 0)
      end
      resolved[key] = nil
      resolved[key == "dev" and "dev" or "ifindex"] = link.ifindex
    end
  end
  return steps.hex(core.encode(verb, object, resolved))
end

local function locate(err, step)
  if step and step.explain and core.is_error(err) then
    err = step.explain(err) or err
  end
  if core.is_error(err) and not err.file and step and step.where then
    err.file, err.line = step.where:match("^(.*):(%d+)$")
  end
  return err
end

-- Calls fn; an error object that comes out of it learns which line of the policy asked for the step.
local function blame(step, fn, ...)
  local result = table.pack(pcall(fn, ...))
  if not result[1] then
    error(locate(result[2], step), 0)
  end
  return table.unpack(result, 2, result.n)
end

local function refuse_existing(context, net, ifname)
  if context.nets[net].link.get({ ifname = ifname }, {}) then
    error(core.error {
      op = "add", object = ("link %q"):format(ifname), netns = net == "pod" and context.netns.path or nil,
      errno = 17, code = 103,
      message = "a link of this name is there already and was left as it is; remove it or choose another name",
    }, 0)
  end
end

-- A discipline that somebody has put there is not ours to replace, nor to remove when the step fails.
local function refuse_qdisc(context, step)
  local args = step.args
  local have = not context.own[step.net][args.dev]
    and require("mncni.ensure").find(context.nets[step.net], "qdisc", args)
  if have then
    error(core.error {
      op = "add", object = ("qdisc %s"):format(args.parent or args.kind or "root"), errno = 17, code = 103,
      message = ("%s has a %s discipline %s there already, which was left as it is; another plugin or somebody shapes "
        .. "this link"):format(tostring(args.dev), have.kind, have.handle),
    }, 0)
  end
end

-- Notes what a plain step makes, so that later steps need no undo of their own.
local function note_made(context, step)
  if step.verb == "move" then
    context.own.pod[step.args.to] = true
  elseif step.verb == "add" and (step.object == "link" or step.object == "tun") and not step.shared then
    local peer = step.args.peer
    context.own[step.net][step.args.ifname] = true
    if peer then
      context.own[peer.netns and "pod" or step.net][peer.ifname] = true
    end
  end
end

-- Adds the plain steps that a recorded one comes to.
local function prepare(context, step, plain_steps)
  if step.prepare then
    for _, request in ipairs(step.prepare(context)) do
      request.where, request.shared = step.where, step.shared
      plain_steps[#plain_steps + 1] = request
      note_made(context, request)
    end
    return
  end
  if step.verb == "move" then
    refuse_existing(context, "pod", step.args.to)
  elseif (step.object == "link" or step.object == "tun") and step.verb == "add" then
    -- Before the journal names it: undo would take a living attachment's link for what this call has made.
    refuse_existing(context, step.net, step.args.ifname)
  elseif step.object == "qdisc" and step.verb == "add" then
    refuse_qdisc(context, step)
  end
  plain_steps[#plain_steps + 1] = step
  note_made(context, step)
end

-- What the journal keeps of a step: enough for CHECK and for people to read. Handles stand as their path, and bytes as
-- digits.
local function plain(value)
  if type(value) == "string" and value:find("[^ -~]") then
    return "0x" .. steps.hex(value)
  elseif type(value) ~= "table" then
    return type(value) == "userdata" and tostring(value) or value
  end
  local copy = {}
  for key, item in pairs(value) do
    copy[key] = plain(item)
  end
  return core.json.is_array(value) and core.json.array(copy) or copy
end

local function add_back(context, step, back)
  if step.object == "nft" and not step.told then
    step.told = plain(step.args) -- bytes that are no text
  end
  back[#back + 1] = inverse(context, step) or false
end

-- The lines of a journal for steps and their ways back; bytes that JSON cannot hold stand in it as digits.
local function journal_text(plain_steps, back)
  local ok, text = pcall(core.journal.steps, plain_steps, back)
  if ok then
    return text
  end
  for i, step in ipairs(plain_steps) do
    if not pcall(core.journal.steps, { step }, { back[i] }) then
      step.told = plain(step.told or step.args)
      blame(step, core.journal.steps, { step }, { back[i] })
    end
  end
  return core.journal.steps(plain_steps, back)
end

-- Collects what goes to one net by one call: a batch of netlink or of sysctl. The last field of an item, which neither
-- looks at, is the step that it belongs to.
local Sender = {}
Sender.__index = Sender

function Sender:flush()
  local batch, kind, net = self.batch, self.kind, self.net
  if #batch == 0 then
    return
  end
  self.batch = {}
  local ok, err
  if kind == "sysctl" then
    ok, err = pcall(net.sysctl.batch, batch, true)
  else
    ok, err = pcall(net.batch, net, batch, false, self.known)
  end
  if not ok then
    local item = batch[core.is_error(err) and err.index or 1] or batch[1]
    error(locate(err, item[#item]), 0)
  end
end

function Sender:add(net, known, kind, item)
  if net ~= self.net or kind ~= self.kind then
    self:flush()
  end
  self.net, self.known, self.kind = net, known, kind
  self.batch[#self.batch + 1] = item
end

-- The arguments of a step as they are sent: a link that is made under another name gets that.
local function sent_args(step)
  if not step.as then
    return step.args
  end
  local copy = {}
  for key, value in pairs(step.args) do
    copy[key] = value
  end
  copy.ifname = step.as
  return copy
end

-- Sends the creation of a link, and says in whose way it is when the kernel finds the peer's name taken.
local function create(context, sender, step)
  local ok, err = pcall(sender.flush, sender)
  local peer = step.args.peer
  if not ok and core.is_error(err) and err.name == "EEXIST" and peer and peer.netns then
    blame(step, refuse_existing, context, "pod", peer.ifname)
  end
  if not ok then
    error(err, 0)
  end
  if step.created then
    step.created(context)
  end
end

local function send(context, plain_steps)
  local sender = setmetatable({ batch = {} }, Sender)
  for _, step in ipairs(plain_steps) do
    local net = context.nets[step.net]
    if step.verb == "require" then -- luacheck: ignore 542
    elseif step.object == "sysctl" then
      sender:add(net, nil, "sysctl", {
        step.args.key, step.args.value, step, optional = step.args.optional,
        fresh = step.ifname and context.own[step.net][step.ifname],
      })
    elseif step.object == "nft" then
      sender:flush()
      blame(step, step.send or net.nft.batch, step.args)
    elseif step.object == "conntrack" then
      sender:flush()
      blame(step, net.conntrack.flush, step.args)
    elseif step.verb == "move" then
      sender:flush()
      blame(step, step.send, context)
    elseif step.object == "tun" then
      sender:flush()
      blame(step, require("mncni.tun").make, net, step.args)
      step.created(context)
    elseif step.exists_ok or step.gone_ok then
      -- Somebody else may make, or remove, the same shared object at this moment; that is as good as ours.
      sender:flush()
      local ok, err = pcall(net[step.object][step.verb], step.args)
      if not ok and not (core.is_error(err) and err.name == (step.exists_ok and "EEXIST" or "EADDRNOTAVAIL")) then
        error(locate(err, step), 0)
      end
    else
      sender:add(net, context.index[step.net], "netlink", { step.verb, step.object, sent_args(step), step })
      -- The kernel goes on after a message that failed: a link must be known to be ours before it is named again.
      if step.object == "link" and step.verb == "add" then
        create(context, sender, step)
      end
    end
  end
  sender:flush()
end

-- Calls fn(context, step, result) with each step of a list from `first` on; an error object that comes out of it learns
-- which line of the policy asked for the step. Returns result, a list that fn adds to.
local function each(context, list, first, fn)
  local result, step = {}, nil
  local ok, err = pcall(function()
    for i = first, #list do
      step = list[i]
      fn(context, step, result)
    end
  end)
  if not ok then
    error(locate(err, step), 0)
  end
  return result
end

-- Prepares, journals and sends every step recorded since the last commit.
function Context:commit()
  local plain_steps = each(self, self.list, self.done + 1, prepare)
  self.done = #self.list
  if #plain_steps == 0 then
    return
  end
  if self.journal then
    self.journal:append(journal_text(plain_steps, each(self, plain_steps, 1, add_back)))
  end
  send(self, plain_steps)
end

-- Writes down how to undo something durable that is about to happen outside of the steps (an address, a delegate).
function Context:undo(entry)
  if self.journal then
    self.journal:append(core.json.encode { undo = entry })
  end
end

function Context:warn(message)
  io.stderr:write("mncni: ", message, "\n") -- raises what is no text
  self.warnings[#self.warnings + 1] = message
end

local verbs = { add = true, append = true, replace = true, set = true, del = true }
local looks = { get = true, list = true }
local families = {
  link = true, addr = true, route = true, rule = true, neigh = true, fdb = true, vlan = true, qdisc = true,
  class = true, filter = true,
}

-- What a recorder has, for mncni.lint.
steps.families, steps.verbs = families, { verbs, looks }

-- A net whose changes are recorded as steps of context and whose look-ups (get, list) are answered at once:
-- recorder.route.add{...}, recorder.link.get{...}, recorder.sysctl.set(key, value).
function Context:recorder(name)
  local recorder = {}
  return setmetatable(recorder, {
    __index = function(_, family)
      if family == "sysctl" then
        return {
          get = function(...) return self.nets[name].sysctl.get(...) end,
          set = function(key, value)
            self:record { net = name, verb = "set", object = "sysctl", args = { key = key, value = value } }
          end,
        }
      end
      if not families[family] then
        error(("a pod's %s has no %q; it has link, addr, route, rule, neigh, fdb, vlan, qdisc, class, filter and "
          .. "sysctl"):format(name == "pod" and "inside" or "host", tostring(family)), 2)
      end
      return setmetatable({}, {
        __index = function(_, verb)
          if looks[verb] then
            return self.nets[name][family][verb]
          elseif not verbs[verb] then
            error(("a pod's %s records add, append, replace, set and del of %s, and looks by get and list; "
              .. "there is no %q"):format(name == "pod" and "inside" or "host", family, tostring(verb)), 2)
          end
          return function(args)
            self:record { net = name, verb = verb, object = family, args = args }
          end
        end,
      })
    end,
  })
end

-- Does at once what a shared verb describes when no attachment is being made; otherwise records it.
function steps.apply(step)
  local context = current()
  if context then
    context:record(step)
    return
  end
  local host <close> = require "mncni.net".open()
  context = steps.new { host = host }
  context:record(step)
  context:commit()
end

return steps
