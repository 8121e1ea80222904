-- SPDX-License-Identifier: Apache-2.0
-- What the benchmark compares, and what it is compared on: programs that are called as a runtime calls them, each with a
-- network of its own, and pods with a namespace for each of them.

local core = require "mncni.core"

local world = {}

local scratch = assert(os.getenv "TMPDIR")
local state_dir = assert(os.getenv "MNCNI_STATE_DIR")
local build = assert(os.getenv "MNCNI_BUILD")

-- Writes a file whole.
function world.write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

-- The output of a command of the shell; an error that tells it when it fails.
function world.run(command, ...)
  command = command:format(...)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local output = pipe:read "a"
  if not pipe:close() then error(command .. ": " .. output, 0) end
  return output
end

-- What can be compared: `dir` has its plugins, `reference` is Debian's containernetworking-plugins.
world.programs = {
  plugin = { dir = build .. "/bench/cni" },
  small = { dir = build .. "/bench/small" }, -- the same as plugin, in small pages
  portable = { dir = build .. "/bench/portable" },
  reference = { dir = "/usr/lib/cni", reference = true },
  floor = { dir = build .. "/bench", floor = true },
  lazy = { dir = build .. "/bench", floor = true, lazy = true }, -- its DEL does not delete the link
}

-- Has the plugin, and the portable one, in huge pages; prints what stands in the way once.
local told = false
function world.keep_huge()
  local pipe = assert(io.popen(("%s/bin/mncni warm %s/mncni %s/mncni 2>&1 >/dev/null"):format(build,
    world.programs.plugin.dir, world.programs.portable.dir)))
  local wrong = pipe:read "a"
  pipe:close()
  if wrong ~= "" and not told then
    io.stderr:write(wrong)
    told = true
  end
end

-- What follows the first plugin in a chain: with host ports and rates of the pod's own.
local chained = {
  { type = "portmap", capabilities = { portMappings = true }, snat = true, runtimeConfig = {
    portMappings = core.json.array { { hostPort = 0, containerPort = 80, protocol = "tcp" } } } },
  { type = "bandwidth", capabilities = { bandwidth = true }, ingressRate = 100000000, ingressBurst = 8000000,
    egressRate = 100000000, egressBurst = 8000000 },
}

local World = {}
World.__index = World

local networks, pods_made = 0, 0

-- One that is compared, in the network of its own.
local function contestant(name, settings)
  networks = networks + 1
  local program = world.programs[name]
  local kind = program.floor and "floor" or program.reference and "bridge" or settings.policy
  local it = {
    label = name, number = networks, kind = kind, program = program.dir .. "/" .. kind, network = "bench" .. networks,
    dir = program.dir, reference = program.reference, floor = program.floor, lazy = program.lazy,
    gateway = ("10.%d.0.1"):format(networks),
  }
  it.conf = {
    cniVersion = "1.0.0", name = it.network, bridge = it.network, mtu = 1500, type = kind,
    isGateway = true, isDefaultGateway = true, hairpinMode = true, ipMasq = settings.masquerade,
    ipspoofchk = not it.reference and settings.guard or nil,
    ipam = {
      type = "host-local", dataDir = scratch .. "/networks",
      ranges = core.json.array { core.json.array { { subnet = ("10.%d.0.0/16"):format(it.number) } } },
    },
  }
  it.input = ("%s/%d.json"):format(scratch, it.number)
  world.write(it.input, core.json.encode(it.conf))
  if it.floor then
    world.run("ip link add %s type bridge forward_delay 0 && ip addr add %s/16 dev %s && ip link set %s up", it.network,
      it.gateway, it.network, it.network)
  end
  return it
end

-- settings: contestants (names), policy ("naivebridge", "bridge"), chain, masquerade, guard (booleans).
function world.new(settings)
  local self = setmetatable({ settings = settings, list = {} }, World)
  for i, name in ipairs(settings.contestants) do self.list[i] = contestant(name, settings) end
  return self
end

-- A pod: a name and a namespace for each contestant.
function World:pod()
  pods_made = pods_made + 1
  local pod = { name = "p" .. pods_made, paths = {}, number = pods_made }
  for _, who in ipairs(self.list) do
    local ns <close> = core.netns.create(("p%d-%d"):format(pods_made, who.number))
    pod.paths[who.number] = ns:path()
  end
  return pod
end

function World.remove(_, pod)
  for _, path in pairs(pod.paths) do core.netns.remove(path) end
end

-- Waits until the kernel has deleted the links of namespaces that are gone.
function world.settle()
  world.run "while ip -o link show group 79 | grep -q .; do sleep 0.05; done"
end

-- The programs of a call and the files of their stdin, as the spawner takes them; for DEL in reverse, and without the
-- result of the one before, which a runtime may not have.
function World:chain(who, verb, pod)
  local programs, inputs = { who.program }, { who.input }
  for i, item in ipairs(self.settings.chain and chained or {}) do
    local conf = { cniVersion = "1.0.0", name = who.network, prevResult = verb == "ADD" and "@previous@" or nil }
    for key, value in pairs(item) do conf[key] = value end
    if conf.runtimeConfig then
      conf.runtimeConfig.portMappings[1].hostPort = 1024 + (who.number * 8000 + pod.number) % 60000
    end
    local path = ("%s/%d-%s-%d-%s.json"):format(scratch, who.number, verb, pod.number, item.type)
    world.write(path, (core.json.encode(conf):gsub('"@previous@"', "@previous@")))
    local at = verb == "ADD" and i + 1 or 1
    table.insert(programs, at, who.dir .. "/" .. item.type)
    table.insert(inputs, at, path)
  end
  return table.concat(programs, ":"), table.concat(inputs, ":")
end

-- The environment of a call as NAME=VALUE strings.
function World.environment(_, who, verb, pod)
  local list = {
    "CNI_COMMAND=" .. verb, ("CNI_CONTAINERID=%s-%s"):format(who.label, pod.name), "CNI_IFNAME=eth0",
    "CNI_NETNS=" .. pod.paths[who.number], "CNI_PATH=" .. who.dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    "MNCNI_STATE_DIR=" .. state_dir,
  }
  if who.floor then
    local at = pod.number % 65000 + 2
    table.move({ "BENCH_BRIDGE=" .. who.network, "BENCH_GATEWAY=" .. who.gateway,
      ("BENCH_ADDRESS=10.%d.%d.%d/16"):format(who.number, at // 256, at % 256),
      who.lazy and "BENCH_TEARDOWN=lazy" or nil }, 1, 4, #list + 1, list)
  end
  return list
end

-- One run for the spawner.
function World:job(who, verb, pod)
  local programs, inputs = self:chain(who, verb, pod)
  local label = who.label .. " " .. verb
  return table.concat({ label, programs, inputs, table.unpack(self:environment(who, verb, pod)) }, "\t")
end

-- A run of an empty program, which is what starting one costs.
function world.empty_job()
  return ("exec start\t%s/bench/empty\t/dev/null\tPATH=/bin"):format(build)
end

-- Fills the range of a contestant from its start, in the name of containers that are somewhere else.
function world.reserve(who, count)
  if who.floor then return end
  local dir = ("%s/networks/%s"):format(scratch, who.network)
  world.run("mkdir -p %s", dir)
  local last
  for i = 1, count do
    last = ("10.%d.%d.%d"):format(who.number, (i + 1) // 256, (i + 1) % 256)
    world.write(dir .. "/" .. last, ("reserved-%d\r\neth0"):format(i))
  end
  if last then world.write(dir .. "/last_reserved_ip.0", last) end
end

-- Has a pod attached, and returns a configuration with its result, for the calls that want one.
function World:attached(who, pod)
  local words = { "env", "-i" }
  table.move(self:environment(who, "ADD", pod), 1, 20, #words + 1, words)
  words[#words + 1] = who.program
  local outcome = core.exec { argv = words, stdin = core.json.encode(who.conf), timeout = 30000 }
  assert(outcome.status == 0, outcome.stdout)
  return core.json.decode(outcome.stdout)
end

return world
