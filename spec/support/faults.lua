-- SPDX-License-Identifier: Apache-2.0
-- Faults for the plugin, and the one oracle for what they leave. A node in the ring's own namespaces, a neighbour that
-- is attached all the time and must not notice anything, a victim whose calls are disturbed by build/spec/inject.
--
--   local world <close> = faults.world(faults.case { name = "naivebridge", ... })
--   local outcome = world:call("ADD", { inject = { "--kill", "caller", "--at", 117 } })
--   world:left()                                     -- what is there and should not be, or is missing: a list of lines

local cni = require "spec.support.cni"
local core = require "mncni.core"
local mncni = require "mncni"
local pretty = require "pl.pretty"
local spaces = require "spec.support.netns"

local faults = {}

local build = assert(os.getenv "MNCNI_BUILD")
local tools = "/usr/sbin:/usr/bin:/sbin:/bin"

faults.REFERENCE = "/usr/lib/cni"

local function read(path)
  local file <close> = io.open(path, "r")
  return file and file:read "a"
end

local World = {}
World.__index = World

-- A configuration: name, plugin (the program, default naivebridge), network (keys of the configuration), ipam (keys
-- beside type host-local and the range), cold = true (neither bridge nor rules are there before an ADD; no neighbour),
-- excused (a pattern of what the oracle finds that is another program's fault), keys = function(who) that returns more
-- keys, inhabit = function(space, who) that makes what is in a pod before its ADD, behind = the plugin that it is chained
-- to (which has attached victim and neighbour before anything is disturbed), sysctl (a setting of pods to look at, too),
-- taken = true (a device of the node, which ends with the pod's namespace), prepare (shell commands on the node, before
-- the first attachment), silent = true (what the pod's gateways are to be does not answer), leaves. Returned with `leaves`:
-- what the oracle's lines begin with of an attachment that is there (given for plugins that make no link of a pod's),
-- `ours`: whether mncni is the plugin, and `alone`: whether one process does all of it.
function faults.case(args)
  local conf = {
    cniVersion = "1.1.0", name = "faults", bridge = "cbr0", type = args.plugin or "naivebridge", ipMasq = false,
    isGateway = true, isDefaultGateway = true, hairpinMode = true,
    ipam = { type = "host-local", ranges = core.json.array { core.json.array { { subnet = "10.88.0.0/24" } } } },
  }
  for key, value in pairs(args.network or {}) do conf[key] = value end
  for key, value in pairs(args.ipam or {}) do conf.ipam[key] = value end
  local ours = not conf.type:find "^reference"
  local leaves = args.leaves or { "node: link ", "victim: link ", "victim: address ", "address file " }
  if ours then leaves[#leaves + 1] = "state attachments/" end
  if conf.ipspoofchk or conf.macspoofchk then leaves[#leaves + 1] = "nft: element " end
  return {
    name = args.name, conf = conf, plugin = conf.type, cold = args.cold, excused = args.excused, leaves = leaves,
    ours = ours, inhabit = args.inhabit, keys = args.keys, behind = args.behind, sysctl = args.sysctl,
    taken = args.taken, prepare = args.prepare, silent = args.silent,
    alone = ours and not conf.ipam.type:find "^reference",
  }
end

-- Both families, for faults.case's ipam.
faults.dual_stack = {
  ranges = core.json.array {
    core.json.array { { subnet = "10.88.0.0/24" } }, core.json.array { { subnet = "fd00:88::/64" } },
  },
}

-- The seed of a short run, which decides which points it looks at; MNCNI_SEED repeats one.
faults.seed = math.tointeger(os.getenv "MNCNI_SEED" or "") or os.time() % 100000
faults.full = os.getenv "MNCNI_FAULTS" == "full"
-- How many points of each sweep, where it is not for the sweep to say.
faults.sample = math.tointeger(os.getenv "MNCNI_SAMPLE" or "")

-- Makes the node: links for the plugins, an uplink, the namespaces of neighbour and victim.
function faults.world(case)
  local world = setmetatable({ case = case, scratch = spaces.must "mktemp -d" }, World)
  world.state, world.networks, world.own = world.scratch .. "/state", world.scratch .. "/networks", world.scratch
  spaces.must("mkdir %s/bin %s/policies", world.scratch, world.scratch)
  cni.link_plugins(build .. "/bin/mncni", world.scratch .. "/bin")
  for _, name in ipairs { "bridge", "host-local" } do
    spaces.must("ln -s %s %s", faults.REFERENCE .. "/" .. name, world.scratch .. "/bin/reference-" .. name)
  end
  case.conf.ipam.dataDir = world.networks
  spaces.must "ip link add up0 mtu 1450 type veth peer name up1 && ip link set up0 up && ip link set up1 up"
  spaces.must "ip addr add 192.0.2.10/24 dev up0 && ip route add default via 192.0.2.1"
  world.host = mncni.open()
  world:begin()
  return world
end

-- The world of this case and directory, which another process has made, for calls at the same time: inject keeps what it
-- reports in the directory `own`. What comes from it makes calls, and nothing else.
function faults.join(case, scratch, own)
  return setmetatable({ case = case, scratch = scratch, state = scratch .. "/state", own = own }, World)
end

-- The namespace of "victim" or "neighbour", with what is in it before an ADD.
function World:new_pod(who)
  local space = spaces.new(who)
  if self.case.inhabit then self.case.inhabit(space, who) end
  self:attach(who)
  return space
end

-- Everything is as before the first ADD of the victim; also after a leak.
function World:begin()
  self:close_pods()
  spaces.must("rm -rf %s %s", self.state, self.networks)
  for _, link in ipairs(self:links()) do
    if link.kind == "bridge" or link.group == 78 or link.group == 79 then
      self.host.link.absent { ifname = link.ifname }
    end
  end
  spaces.must "nft flush ruleset"
  if self.case.prepare then spaces.must(self.case.prepare) end
  self.previous = {}
  self.victim = self:new_pod "victim"
  if not self.case.cold then
    self.neighbour = self:new_pod "neighbour"
    local outcome = self:call("ADD", { who = "neighbour" })
    assert(outcome.status == 0, outcome.stdout .. outcome.stderr)
  end
  -- What the first ADD makes for good (the directory, its lock, its stamp) is there before anything is compared.
  for _, verb in ipairs { "ADD", "DEL" } do
    local outcome = self:call(verb)
    assert(outcome.status == 0, outcome.stdout .. outcome.stderr)
  end
  self:settle()
  self.before = self:snapshot()
end

-- Calls the plugin that a chained one is behind.
function World:attach(who)
  if self.case.behind then
    local outcome = self:call("ADD", { who = who, plugin = self.case.behind })
    assert(outcome.status == 0, outcome.stdout .. outcome.stderr)
    self.previous[who] = outcome.json
  end
end

-- What a cold case begins each ADD without.
function World:settle()
  if self.case.cold then
    self.host.link.absent { ifname = self.case.conf.bridge }
    self.host.nft.table.absent { family = "inet", name = "mncni" }
  end
end

function World:close_pods()
  for _, who in ipairs { "victim", "neighbour" } do
    if self[who] then self[who]:close() end
    self[who] = nil
  end
end

-- The victim's namespace goes, as a container's does.
function World:end_victim()
  self.victim:close()
end

-- The victim's namespace is there, as before its ADD.
function World:new_victim()
  self.victim:close()
  self.victim = self:new_pod "victim"
end

function World:close()
  self:close_pods()
  self.host:close()
  spaces.must "nft flush ruleset"
  for _, link in ipairs(spaces.snapshot().links) do
    if link ~= "lo" then spaces.sh("ip link del %s", link) end
  end
  spaces.must("rm -rf %s", self.scratch)
end
World.__close = World.close

-- Runs one call of the plugin for the victim. args: who ("victim", "neighbour"), plugin (the case's unless given),
-- container, netns, inject (options of build/spec/inject), keys (of the configuration), env (more of it). Returns
-- { status, stdout, stderr, json, fault = what inject reported }.
function World:call(verb, args)
  args = args or {}
  local who = args.who or "victim"
  local conf = {}
  for key, value in pairs(self.case.conf) do conf[key] = value end
  conf.type = args.plugin or conf.type
  conf.prevResult = not args.plugin and self.previous and self.previous[who] or conf.prevResult
  for key, value in pairs(self.case.keys and self.case.keys(who) or {}) do conf[key] = value end
  for key, value in pairs(args.keys or {}) do conf[key] = value end
  local argv, report, errors = {}, self.own .. "/report", self.own .. "/errors"
  if args.inject then
    argv = { build .. "/spec/inject", "--report", report, "--stderr", errors, table.unpack(args.inject) }
    for i, word in ipairs(argv) do argv[i] = tostring(word) end
  end
  argv[#argv + 1] = ("%s/bin/%s"):format(self.scratch, args.plugin or self.case.plugin)
  local env = {
    CNI_COMMAND = verb, CNI_CONTAINERID = args.container or who, CNI_IFNAME = "eth0",
    CNI_NETNS = args.netns or "/run/netns/" .. who, CNI_PATH = self.scratch .. "/bin",
    MNCNI_STATE_DIR = self.state, MNCNI_POLICY_PATH = self.scratch .. "/policies", PATH = tools,
    ASAN_OPTIONS = args.inject and "detect_leaks=0" or nil, -- LeakSanitizer cannot work on what is traced
  }
  for key, value in pairs(args.env or {}) do env[key] = value end
  local outcome = core.exec { argv = argv, env = env, stdin = core.json.encode(conf), timeout = 30000 }
  local parsed, document = pcall(core.json.decode, outcome.stdout)
  outcome.json = parsed and document or nil
  if args.inject then
    outcome.fault = {}
    outcome.list, outcome.stderr = read(report), read(errors)
    local line = (outcome.list or ""):match "[^\n]*\n$"
    if not line then
      error(("%s %s: %s, and no report"):format(verb, table.concat(argv, " "),
        outcome.timed_out and "no end after 30 s" or "it ended"), 0)
    end
    for key, value in line:gmatch "(%w+)=(%S+)" do
      outcome.fault[key] = math.tointeger(value) or value
    end
  end
  return outcome
end

-- GC as a runtime asks for it, which lists the neighbour, and the victim if it is alive.
function World:gc(alive, inject)
  local valid = core.json.array {}
  if not self.case.cold then valid[1] = { containerID = "neighbour", ifname = "eth0" } end
  if alive then valid[#valid + 1] = { containerID = "victim", ifname = "eth0" } end
  return self:call("GC", { keys = { ["cni.dev/valid-attachments"] = valid }, inject = inject })
end

-- `mncni gc` as an administrator calls it, of what is of any age. Returns what core.exec returns, with json. What it says of
-- each attachment that it removes would be most of a sweep's output: it is kept in a file.
function World:collect()
  local outcome = core.exec {
    argv = { "/bin/sh", "-c", 'exec "$0/bin/mncni" gc --grace=0 --output=json 2>"$0/gc.err"', self.scratch },
    timeout = 30000, env = { MNCNI_STATE_DIR = self.state, PATH = tools },
  }
  local said <close> = assert(io.open(self.scratch .. "/gc.err"))
  outcome.stderr = said:read "a"
  local parsed, document = pcall(core.json.decode, outcome.stdout)
  outcome.json = parsed and document or nil
  return outcome
end

-- CHECK of the victim with the result of its ADD.
function World:check(result)
  return self:call("CHECK", { keys = { prevResult = result } })
end

-- Adds to the list what is not so although an ADD has said it: as CHECK sees it, and as a packet does.
function World:works(wrong, outcome)
  if not outcome.json then
    wrong[#wrong + 1] = "no result: " .. outcome.stdout
    return
  end
  local check = self:check(outcome.json)
  if check.status ~= 0 then wrong[#wrong + 1] = "CHECK failed: " .. check.stdout .. check.stderr end
  for _, ip in ipairs(outcome.json.ips or {}) do
    -- The first question for a neighbour may be lost while the bridge gets ready; it is asked again after a second.
    local text, status = "", 0
    if ip.gateway and not self.case.silent then
      text, status = self.victim:sh("ping -c 1 -W 5 -I %s %s", ip.address:match "^[^/]+", ip.gateway)
    end
    if status ~= 0 then wrong[#wrong + 1] = "no answer from the bridge: " .. text end
  end
end

function World:links(net)
  local list = {}
  for link in (net or self.host).link.list {} do list[#list + 1] = link end
  return list
end

-- Waits for the kernel to take down the links of namespaces that are gone, and then to forget their numbers, which it
-- does in its own time.
function World:wait_for_links()
  local wanted = self.case.cold and 0 or 1
  for _ = 1, 1000 do
    local count, numbers = 0, 0
    for _, link in ipairs(self:links()) do count = count + ((link.group == 78 or link.group == 79) and 1 or 0) end
    for _ in self.host.nsid.list {} do numbers = numbers + 1 end
    if count <= wanted and numbers <= #spaces.below "/run/netns" then return end
    spaces.must "sleep 0.01"
  end
  error("links of namespaces that are gone are still there after 10 s", 0)
end

-- One namespace's links, addresses, routes and rules as lines.
local function network(add, where, net, case)
  for link in net.link.list {} do
    if not (case.cold and link.ifname == case.conf.bridge) then
      add("%s: link %s group %s master %s mtu %s promisc %s up %s%s", where, link.ifname, link.group, link.master,
        link.mtu, link.promisc, link.up, where ~= "node" and " address " .. link.address or "")
    end
  end
  if where ~= "node" and case.sysctl then add("%s: sysctl %s", where, net.sysctl.get(case.sysctl)) end
  for address in net.addr.list {} do
    -- The kernel's own come and go in their own time, and what is on a shared bridge goes with it.
    if not address.address:find "^fe80:" and not (case.cold and address.dev == case.conf.bridge) then
      add("%s: address %s on %s", where, address.address, address.dev)
    end
  end
  for qdisc in net.qdisc.list {} do
    if qdisc.handle ~= "0:" then add("%s: qdisc %s %s of %s", where, qdisc.kind, qdisc.parent, qdisc.dev) end
  end
  for _, family in ipairs { "inet", "inet6" } do
    for route in net.route.list { family = family } do
      local moved = case.inhabit and where ~= "node" and route.table ~= "local" and not route.dst:find "^fe80:"
      if route.protocol ~= "kernel" or moved then
        add("%s: route %s via %s dev %s table %s", where, route.dst, route.gateway, route.dev, route.table)
      end
    end
    for rule in net.rule.list { family = family } do add("%s: rule %s %s", where, family, rule.priority) end
  end
end

-- Everything there is that an attachment could leave, as a set of lines with how often each is there.
function World:snapshot()
  local found = {}
  local function add(...)
    local parts = table.pack(...)
    for i = 2, parts.n do parts[i] = tostring(parts[i]) end
    local line = parts[1]:format(table.unpack(parts, 2, parts.n))
    found[line] = (found[line] or 0) + 1
  end
  network(add, "node", self.host, self.case)
  for _, who in ipairs { "victim", "neighbour" } do
    if self[who] then
      local inside <close> = mncni.open(self[who].ns)
      network(add, who, inside, self.case)
    end
  end
  if not self.case.cold then
    for object in self.host.nft.table.list {} do
      add("nft: table %s %s", object.family, object.name)
      for _, kind in ipairs { "chain", "set", "rule" } do
        for item in self.host.nft[kind].list { family = object.family, table = object.name } do
          add("nft: %s %s %s of %s", kind, item.name, item.handle, object.name)
          if kind == "set" then
            for element in self.host.nft.element.list {
              family = object.family, table = object.name, name = item.name,
            } do
              add("nft: element %s of %s", pretty.write(element.elem, ""), item.name) -- keys are bytes
            end
          end
        end
      end
    end
  end
  for _, name in ipairs(spaces.below(self.networks, true)) do
    -- The position of the last address is a hint: not part of what is held.
    if not name:find "/last_reserved_ip" then add("address file %s", name) end
  end
  for _, name in ipairs(spaces.below(self.state, true)) do add("state %s", name) end
  for _, name in ipairs(spaces.below("/run/netns", true)) do add("namespace %s", name) end
  for _, name in ipairs(spaces.below("/run/tmp", true)) do
    if not name:find("^" .. self.scratch:match "[^/]*$":gsub("%.", "%%.")) then add("temporary %s", name) end
  end
  for line in io.lines "/proc/locks" do
    -- Locks of other process namespaces are hidden, but for those that open files have, which no plugin takes.
    if not line:find("OFDLCK", 1, true) then add("lock %s", line:gsub("^%S+", "")) end
  end
  return found
end

-- The difference to the beginning: "what is there and was not", "missing: what was there and is not".
function World:left()
  local now, list = self:snapshot(), {}
  for line, count in pairs(now) do
    if count > (self.before[line] or 0) then list[#list + 1] = line end
  end
  for line, count in pairs(self.before) do
    if count > (now[line] or 0) then list[#list + 1] = "missing: " .. line end
  end
  table.sort(list)
  return list
end

-- An outcome that must be a success, returned.
function faults.must(outcome)
  if outcome.status ~= 0 then error(outcome.stdout .. outcome.stderr, 0) end
  return outcome
end

return faults
