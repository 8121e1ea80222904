-- SPDX-License-Identifier: Apache-2.0
-- A pod's life on a scratch node, by the calls that a runtime would make: for `mncni try`. The plugin is this very program.

local core = require "mncni.core"
local inspect = require "mncni.inspect"
local print_lines = require "mncni.print"
local scratch = require "mncni.scratch"

local trial = {}

-- Milliseconds that a call may take: more than it gives itself.
local TIMEOUT = 70000
local CNI_BIN = "/opt/cni/bin"

local Trial = {}
Trial.__index = Trial

local function milliseconds(since)
  return (core.record.clock() - since) / 1000
end

-- A directory that is removed when this process ends, however that ends: whoever removes it waits for its pipe to close.
local function directory()
  local made = core.exec {
    argv = { "mktemp", "-d", (os.getenv "TMPDIR" or "/tmp") .. "/mncni-try.XXXXXX" }, env = { PATH = inspect.PATH },
  }
  if made.status ~= 0 then
    error(core.error { object = "mktemp", code = 5, message = made.stderr:gsub("\n$", "") }, 0)
  end
  local path = made.stdout:gsub("\n$", "")
  local remover = assert(io.popen(("trap '' INT TERM HUP; read -r _; exec rm -rf '%s'"):format(path), "w"))
  return path, remover
end

-- new(named, shape): the scratch node, with a directory of the plugins, which are this program by their names.
function trial.new(named, shape)
  local self = setmetatable({ named = named, shape = shape, pods = 0 }, Trial)
  self.directory, self.remover = directory()
  self.path = ("%s/bin:%s"):format(self.directory, os.getenv "CNI_PATH" or CNI_BIN)
  return self
end

-- Makes what the calls need; list is of mncni.trial_conf. able: whether there can be a scratch node.
function Trial:prepare(list, able)
  self.list = list
  self.node = able and scratch.new(self.shape) or nil
  core.exec {
    argv = { "mkdir", self.directory .. "/bin", self.directory .. "/networks" }, env = { PATH = inspect.PATH },
  }
  local own = ("/proc/%s/exe"):format(core.file.target "/proc/self")
  for _, plugin in ipairs(list.plugins) do
    if plugin.type == self.named.name or require("mncni.policy").source(plugin.type) then
      core.file.link(("%s/bin/%s"):format(self.directory, plugin.type), own)
    end
  end
end

function Trial:close()
  if self.node then
    self.node:close()
  end
  self.remover:close()
end
Trial.__close = Trial.close

-- Bytes stand in a journal as digits, and the pod's namespace as the text of its handle.
local function undigest(value)
  if type(value) == "string" and value:find "^0x%x+$" and #value % 2 == 0 then
    return (value:sub(3):gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
  elseif type(value) ~= "table" then
    return type(value) == "string" and value:find "^netns /proc/" and "pod" or value
  end
  local copy = core.json.is_array(value) and core.json.array {} or {}
  for key, item in pairs(value) do
    copy[key] = undigest(item)
  end
  return copy
end

-- Steps that are no request of rtnetlink or nftables.
local others = {
  tun = function(args) return ("ip -n pod tuntap add dev %s mode tap"):format(args.ifname) end,
  move = function(args) return ("ip link set dev %s netns pod name %s"):format(args.ifname, args.to) end,
  conntrack = function(args) return "# conntrack: forget " .. core.json.encode(args) end,
  -- Of a batch that is long the journal keeps a summary.
  nft = function(args) return "# nft: a batch, " .. core.json.encode(args) end,
}

local function lines_of(step)
  local netns = step.net == "pod" and "pod" or nil
  local args, other = undigest(step.args), others[step.verb] or others[step.object]
  if step.verb == "require" then
    return {}
  elseif step.object == "nft" and #args > 0 then
    local lines = {}
    for _, item in ipairs(args) do
      local list = print_lines.commands(item[1], "nft_" .. item[2]:gsub("^nft_", ""), item[3], netns)
      table.move(list, 1, #list, #lines + 1, lines)
    end
    return lines
  end
  return other and { other(args) } or print_lines.commands(step.verb, step.object, args, netns)
end

-- steps(text of a journal) returns { { line, where } }: what was sent, as lines of ip, nft and the like.
function trial.steps(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do
    local ok, entry = pcall(core.json.decode, line)
    for _, command in ipairs(ok and entry.step and lines_of(entry.step) or {}) do
      list[#list + 1] = { line = command, where = entry.step.where }
    end
  end
  return list
end

function Trial:journal(pod, plugin)
  local ok, journal = pcall(core.journal.open, {
    state_dir = self.directory .. "/state", network = self.list.name, container = pod.container, type = plugin.type,
    ifname = "eth0",
  })
  if not ok or not journal then
    return {}
  end
  local held <close> = journal
  return trial.steps(held:read())
end

-- One call of one plugin of the list. Returns { command, plugin, ms, result or error, warnings }.
function Trial:call(command, pod, plugin, previous)
  local conf = {}
  for key, value in pairs(plugin) do
    conf[key] = value
  end
  conf.cniVersion, conf.name, conf.prevResult = self.list.cniVersion, self.list.name, previous
  local env = {
    CNI_COMMAND = command, CNI_CONTAINERID = pod.container, CNI_NETNS = pod.path, CNI_IFNAME = "eth0",
    CNI_PATH = self.path,
    CNI_ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" .. pod.container, PATH = inspect.PATH,
    MNCNI_STATE_DIR = self.directory .. "/state", MNCNI_POLICY_PATH = self.named.directories,
  }
  local done = { command = command, plugin = plugin.type }
  local path = core.find_program(plugin.type, self.path)
  if not path then
    done.error = {
      code = 7, msg = ("there is no plugin %q in %s, nor a policy of that name"):format(plugin.type, self.path),
    }
    return done
  end
  local began = core.record.clock()
  local outcome = self.node.handles.node:run(core.exec, {
    argv = { path }, env = env, stdin = core.json.encode(conf), timeout = TIMEOUT, max_output = 1 << 24,
  })
  done.ms = milliseconds(began)
  local ok, document = pcall(core.json.decode, outcome.stdout)
  if outcome.status ~= 0 then
    done.error = ok and document or { code = 105, msg = "it ended without an answer" }
  else
    done.result = ok and document or nil
  end
  if command == "ADD" and done.result then
    done.steps = self:journal(pod, plugin)
  end
  return done
end

-- ADD by all plugins of the list. Returns the calls; pod.result is what the last one answered.
function Trial:add(pod)
  local calls = {}
  for _, plugin in ipairs(self.list.plugins) do
    local done = self:call("ADD", pod, plugin, pod.result)
    calls[#calls + 1] = done
    if done.error then
      return calls
    end
    pod.result = done.result
  end
  pod.whole = true
  return calls
end

function Trial:check(pod)
  local calls = {}
  for _, plugin in ipairs(self.list.plugins) do
    local done = self:call("CHECK", pod, plugin, pod.result)
    calls[#calls + 1] = done
  end
  return calls
end

function Trial:del(pod)
  local calls = {}
  for i = #self.list.plugins, 1, -1 do
    calls[#calls + 1] = self:call("DEL", pod, self.list.plugins[i], pod.result)
  end
  return calls
end

-- Another pod.
function Trial:pod()
  self.pods = self.pods + 1
  local handle, path = self.node:pod()
  return { container = ("try%d"):format(self.pods), handle = handle, path = path }
end

-- Pings an address from the pod, a few times until it is answered. Returns milliseconds, or nil and why there are none.
local function ping(pod, address, tries)
  local program = core.find_program("ping", inspect.PATH)
  if not program then
    return nil, "there is no ping on this node; install iputils-ping"
  end
  for _ = 1, tries do
    local outcome = pod.handle:run(core.exec, {
      argv = { "/bin/sh", "-c", 'exec "$0" -n -c 1 -W 1 "$1" 2>/dev/null', program, address },
      env = { PATH = inspect.PATH }, timeout = 5000,
    })
    if outcome.status == 0 then
      return tonumber(outcome.stdout:match "time=([%d.]+)") or 0
    end
  end
  return nil, "no answer"
end

-- Whether the pod's interface is there and somebody is at the other end of it.
local function is_connected(net)
  local link = net.link.get { ifname = "eth0" }
  return link and link.up and link.operstate ~= "DOWN" and link.operstate ~= "LOWERLAYERDOWN"
end

-- Pings what the pod's result names as gateways, and beyond: first without anybody outside who knows the way back to the
-- pod, as masquerading wants it. Returns a list of { to, what, ms or error, note }, of what the pod has a route to.
function Trial:pings(pod)
  local list, addresses, seen = {}, {}, {}
  local net <close> = require("mncni").open(pod.handle)
  local function try(what, to, tries)
    local entry = { what = what, to = to }
    if seen[to] then
      return entry
    elseif not require("mncni").try(net.route.get, { dst = to }) then
      entry.note = "the pod has no route to it"
    else
      entry.ms, entry.error = ping(pod, to, tries)
    end
    seen[to], list[#list + 1] = true, entry
    return entry
  end
  if not is_connected(net) then
    return list
  end
  for _, ip in ipairs(pod.result.ips or {}) do
    addresses[#addresses + 1] = ip.address
    if ip.gateway then
      try("gateway", ip.gateway, 5)
    end
  end
  for _, text in ipairs(addresses) do
    local own = self.shape.families[core.cidr(text).family]
    local entry = own and try("outside", own.outside, 2) or {}
    if entry.ms then
      local is_own = core.cidr(own.address).network:contains(core.cidr(text).address)
      entry.note = is_own and "by its own address, on the node's network" or "the node's address stands for the pod's"
    elseif entry.error == "no answer" then
      self.node:route_back(addresses)
      entry.ms, entry.error = ping(pod, own.outside, 3)
      entry.note = entry.ms and "by its own address: the network has to know the way back to the pod" or nil
    end
  end
  return list
end

-- What is kept on disk of pods: addresses ("networks") and journals ("attachments"), or one of them.
function Trial:kept(only)
  local found = core.exec {
    argv = {
      "find", self.directory, "-type", "f", "(", "-path", ("*/%s/*"):format(only or "attachments"), "-o", "-path",
      ("*/%s/*"):format(only or "networks"), ")",
    },
    env = { PATH = inspect.PATH },
  }
  local list = {}
  for path in found.stdout:gmatch "[^\n]+" do
    local name = path:match "[^/]+$"
    if not (name:find "^last_reserved" or name == "lock" or name == ".mncni" or name:find "%.lock$") then
      list[#list + 1] = "file " .. path:sub(#self.directory + 2)
    end
  end
  return list
end

-- A policy that asked for no address has nothing to do with the ipam that was made up for it.
function Trial:drop_ipam()
  if #self:kept "networks" == 0 then
    for _, plugin in ipairs(self.list.plugins) do
      plugin.ipam = nil
    end
  end
end

-- left(before, first) compares: what the first pod's end left, and stays for those after it, and what a second pod leaves
-- besides, which would add up. before and first are of node:look().
function Trial:left(before, first)
  local second = self:pod()
  self:add(second)
  self:del(second)
  local left = scratch.more(first, self.node:look())
  table.move(self:kept(), 1, #self:kept(), #left + 1, left)
  return left, scratch.more(before, first)
end

return trial
