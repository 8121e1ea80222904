-- SPDX-License-Identifier: Apache-2.0
-- Times ADD and DEL of a CNI plugin against Debian's bridge with host-local: in one run, in turns, with the same
-- configuration, in the namespaces of a ring, without an interpreter inside what is measured. Started by `make bench`.

local core = require "mncni.core"

local usage = [[
usage: make bench ARGS="[OPTION...]"
  --plugin PATH      what is measured (default: naivebridge as built here)
  --reference PATH   what it is measured against (default: /usr/lib/cni/bridge)
  --pods N           pods that are there at the same time (default 50)
  --rounds N         how often they come and go (default 4)
  --masquerade       with ipMasq
  --guard            with ipspoofchk, which the reference does not know
  --reserved N       addresses that are taken beforehand, of a /16 (default 0)
  --chain            bridge, portmap and bandwidth, ours against Debian's
  --at-once          all pods of a round are added, and deleted, at the same time
  --trace-only       no times: only what one ADD does]]

local build = assert(os.getenv "MNCNI_BUILD")
local options = {
  plugin = build .. "/bench/cni/naivebridge", reference = "/usr/lib/cni/bridge", pods = 50, rounds = 4,
  masquerade = false, guard = false, reserved = 0, chain = false, ["at-once"] = false, ["trace-only"] = false,
}

local function fail(...)
  io.stderr:write("bench: ", string.format(...), "\n")
  os.exit(1)
end

local position = 1
while arg[position] do
  local name = arg[position]:match "^%-%-(.+)$"
  local default = options[name]
  if default == nil then
    print(usage)
    os.exit(name == "help" and 0 or 2)
  elseif type(default) == "boolean" then
    options[name] = true
  else
    position = position + 1
    options[name] = arg[position] or fail("--%s needs a value", name)
    if type(default) == "number" then
      options[name] = math.tointeger(options[name]) or fail("--%s needs a number", name)
    end
  end
  position = position + 1
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local output = pipe:read "a"
  if not pipe:close() then fail("%s: %s", command, output) end
  return output
end

if options.chain and options.plugin:match "[^/]*$" == "naivebridge" then
  options.plugin = build .. "/bench/cni/bridge"
end
local scratch = assert(os.getenv "TMPDIR")
local tools = "/usr/sbin:/usr/bin:/sbin:/bin"

-- What follows the first plugin in a chain: with host ports and rates of the pod's own.
local chained = {
  { type = "portmap", capabilities = { portMappings = true }, snat = true, runtimeConfig = {
    portMappings = core.json.array { { hostPort = 0, containerPort = 80, protocol = "tcp" } } } },
  { type = "bandwidth", capabilities = { bandwidth = true }, ingressRate = 100000000, ingressBurst = 8000000,
    egressRate = 100000000, egressBurst = 8000000 },
}

-- The programs of a chain and the files of their stdin, as the spawner takes them; for DEL in reverse, and without the
-- result of the one before, which a runtime may not have.
local function chain_of(who, verb, pod)
  local programs, inputs = { who.program }, { who.input }
  for i, item in ipairs(options.chain and chained or {}) do
    local conf = {
      cniVersion = "1.0.0", name = "bench" .. who.number, prevResult = verb == "ADD" and "@previous@" or nil,
    }
    for key, value in pairs(item) do conf[key] = value end
    if conf.runtimeConfig then
      conf.runtimeConfig.portMappings[1].hostPort = 10000 + who.number * 20000 + pod.number
    end
    local path = ("%s/%d-%s-%d-%s.json"):format(scratch, who.number, verb, pod.number, item.type)
    write(path, (core.json.encode(conf):gsub('"@previous@"', "@previous@")))
    local at = verb == "ADD" and i + 1 or 1
    table.insert(programs, at, who.program:match "^(.*)/" .. "/" .. item.type)
    table.insert(inputs, at, path)
  end
  return table.concat(programs, ":"), table.concat(inputs, ":")
end

-- One of the two that are compared: its label, its program and its network.
local function contestant(label, program, number)
  local kind = program:match "[^/]*$"
  local conf = core.json.encode {
    cniVersion = "1.0.0", name = "bench" .. number, bridge = "bench" .. number, mtu = 1500,
    type = kind, policy = kind == "mncni" and "naivebridge" or nil,
    isGateway = true, isDefaultGateway = true, hairpinMode = true, ipMasq = options.masquerade,
    ipspoofchk = options.guard or nil,
    ipam = {
      type = "host-local", dataDir = scratch .. "/networks",
      ranges = core.json.array { core.json.array { { subnet = ("10.%d.0.0/16"):format(100 + number) } } },
    },
  }
  local input = ("%s/%d.json"):format(scratch, number)
  write(input, conf)
  return { label = label, kind = kind, program = program, input = input, number = number }
end

local contestants = {
  contestant("plugin", options.plugin, 1),
  contestant("reference", options.reference, 2),
}

-- The environment of a call as NAME=VALUE strings.
local function environment(who, verb, pod)
  return {
    "CNI_COMMAND=" .. verb, ("CNI_CONTAINERID=%s-%s"):format(who.label, pod.name), "CNI_IFNAME=eth0",
    "CNI_NETNS=" .. pod.paths[who.number], "CNI_PATH=" .. who.program:match "^(.*)/", "PATH=" .. tools,
    "MNCNI_STATE_DIR=" .. assert(os.getenv "MNCNI_STATE_DIR"),
  }
end

-- A pod has a namespace for each contestant.
local pods_made = 0
local function new_pod(name)
  pods_made = pods_made + 1
  local pod = { name = name, paths = {}, number = pods_made }
  for _, who in ipairs(contestants) do
    local ns <close> = core.netns.create(("%s-%d"):format(name, who.number))
    pod.paths[who.number] = ns:path()
  end
  return pod
end

local function remove_pod(pod)
  for _, path in ipairs(pod.paths) do core.netns.remove(path) end
end

local function job(label, who, verb, pod)
  local programs, inputs = chain_of(who, verb, pod)
  return table.concat({ label, programs, inputs, table.unpack(environment(who, verb, pod)) }, "\t")
end

-- Fills the range of a contestant from its start, in the name of containers that are somewhere else.
local function reserve(who)
  local dir = ("%s/networks/bench%d"):format(scratch, who.number)
  run("mkdir -p " .. dir)
  local last
  for i = 1, options.reserved do
    last = ("10.%d.%d.%d"):format(100 + who.number, (i + 1) // 256, (i + 1) % 256)
    write(dir .. "/" .. last, ("reserved-%d\r\neth0"):format(i))
  end
  if last then write(dir .. "/last_reserved_ip.0", last) end
end

-- Calls of every pod, the contestants in turns, and who begins changes with each pod.
local function jobs_for(verb, pods)
  local list = {}
  for i, pod in ipairs(pods) do
    for turn = 1, #contestants do
      local who = contestants[(i + turn) % #contestants + 1]
      list[#list + 1] = job(who.label .. " " .. verb, who, verb, pod)
    end
    list[#list + 1] = "exec\t/bin/true\t/dev/null\tPATH=/bin"
  end
  return list
end

-- Runs jobs through the spawner and adds the microseconds to samples, by label.
local function measure(jobs, samples)
  write(scratch .. "/jobs", table.concat(jobs, "\n") .. "\n")
  local pipe = assert(io.popen(("%s/bench/spawn <%s/jobs"):format(build, scratch)))
  for line in pipe:lines() do
    local label, wall, user, system = line:match "^(.-)\t(%d+)\t(%d+)\t(%d+)$"
    samples[label] = samples[label] or { user = {}, system = {} }
    table.insert(samples[label], math.tointeger(wall))
    table.insert(samples[label].user, math.tointeger(user))
    table.insert(samples[label].system, math.tointeger(system))
  end
  if not pipe:close() then fail "a run failed: see above" end
end

-- One contestant after the other, each with all its pods at the same time; who begins changes with the round.
local function measure_at_once(verb, pods, samples, round)
  for turn = 1, #contestants do
    local who = contestants[(round + turn) % #contestants + 1]
    local list = {}
    for i, pod in ipairs(pods) do list[i] = job(who.label .. " " .. verb, who, verb, pod) end
    write(scratch .. "/jobs", table.concat(list, "\n") .. "\n")
    local pipe = assert(io.popen(("%s/bench/spawn at-once <%s/jobs"):format(build, scratch)))
    for line in pipe:lines() do
      local label, wall, user, system = line:match "^(.-)\t(%d+)\t(%d+)\t(%d+)$"
      label = label == "total" and who.label .. " " .. verb .. " total" or label
      samples[label] = samples[label] or { user = {}, system = {} }
      table.insert(samples[label], math.tointeger(wall))
      table.insert(samples[label].user, math.tointeger(user))
      table.insert(samples[label].system, math.tointeger(system))
    end
    if not pipe:close() then fail "a run failed: see above" end
  end
end

-- The value below which this part of the samples lies, in milliseconds.
local function quantile(samples, part)
  table.sort(samples)
  return samples[math.max(1, math.ceil(#samples * part))] / 1000
end

local function mean(samples)
  local sum = 0
  for _, value in ipairs(samples) do sum = sum + value end
  return sum / #samples / 1000
end

-- Processor time is a mean because the kernel counts it in ticks.
local function report(samples)
  print(("\n%-30s %8s %8s %8s %8s %8s %6s"):format(
    "milliseconds", "median", "p90", "least", "user", "system", "runs"))
  local function row(name, list)
    print(("%-30s %8.2f %8.2f %8.2f %8.2f %8.2f %6d"):format(name, quantile(list, .5), quantile(list, .9),
      quantile(list, 0), mean(list.user), mean(list.system), #list))
  end
  for _, verb in ipairs { "ADD", "DEL" } do
    for _, who in ipairs(contestants) do
      row(("%s %s (%s)"):format(verb, who.label, who.kind), samples[who.label .. " " .. verb])
    end
  end
  if samples.exec then row("starting /bin/true", samples.exec) end
  print()
  for _, verb in ipairs(options["at-once"] and { "ADD", "DEL" } or {}) do
    local rate = {}
    for _, who in ipairs(contestants) do
      local label = ("%s %s"):format(who.label, verb)
      rate[#rate + 1] = options.pods / quantile(samples[label .. " total"], .5) * 1000
      print(("%s %s (%s): %.0f a second, p99 %.1f ms"):format(verb, who.label, who.kind, rate[#rate],
        quantile(samples[label], .99)))
    end
    print(("%s: %.1f times the reference's throughput"):format(verb, rate[1] / rate[2]))
  end
  for _, verb in ipairs { "ADD", "DEL" } do
    local ours, theirs = samples["plugin " .. verb], samples["reference " .. verb]
    print(("%s: %.3f of the reference at the median (%.1f times as fast), %.3f at p90"):format(verb,
      quantile(ours, .5) / quantile(theirs, .5), quantile(theirs, .5) / quantile(ours, .5),
      quantile(ours, .9) / quantile(theirs, .9)))
  end
end

-- What one call does, by strace: system calls, processes, programs, libraries.
local function trace(who, verb, pod)
  local path = scratch .. "/trace"
  run(("env -i %s strace -f -qq -s 256 -o %s %s <%s"):format(
    table.concat(environment(who, verb, pod), " "), path, who.program, who.input))
  local seen = { calls = 0, processes = 1, threads = 0, programs = 0, libraries = {}, messages = 0 }
  local ids = {}
  for line in io.lines(path) do
    local id, call = line:match "^(%d+) +([%w_]+)%("
    if id then
      seen.calls = seen.calls + 1
      if not ids[id] then
        ids[id] = true
        seen.threads = seen.threads + 1
      end
      if (call == "fork" or call == "vfork" or call:match "^clone") and not line:find "CLONE_THREAD" then
        seen.processes = seen.processes + 1
      elseif call == "execve" and not line:find "= %-1" then
        seen.programs = seen.programs + 1
      elseif call:match "^open" and line:find "%.so" and not line:find "= %-1" then
        local library = line:match "/([^/\"]*%.so[^/\"]*)\""
        if library ~= "ld.so.cache" then table.insert(seen.libraries, library) end
      elseif (call == "sendto" or call == "sendmsg") and line:find "nlmsg_" then
        seen.messages = seen.messages + 1
      end
    end
  end
  print(("%s %s (%s): %d system calls, %d process(es), %d thread(s), %d exec(s), %d netlink send(s), %d libraries: %s")
    :format(verb, who.label, who.kind, seen.calls, seen.processes, seen.threads, seen.programs, seen.messages,
      #seen.libraries, table.concat(seen.libraries, " ")))
  return seen
end

-- The path of a pod is one process without libcurl and libnftables, or the benchmark fails.
local function check_path(who, seen)
  if who.program == options.reference then return end
  if seen.processes ~= 1 or seen.programs ~= 1 then fail("%s started other programs", who.kind) end
  for _, library in ipairs(seen.libraries) do
    if library:find "curl" or library:find "nftables" then fail("%s loaded %s", who.kind, library) end
  end
  print(("one process, no exec, neither libcurl nor libnftables: %s"):format(who.kind))
end

for _, who in ipairs(contestants) do run("test -x " .. who.program) end

local warm = new_pod "warm"
for _, verb in ipairs { "ADD", "DEL", "ADD" } do measure(jobs_for(verb, { warm }), {}) end -- bridges are there now

for _, who in ipairs(contestants) do reserve(who) end

local samples = {}
for round = 1, options["trace-only"] and 0 or options.rounds do
  local pods = {}
  for i = 1, options.pods do pods[i] = new_pod(("r%dp%d"):format(round, i)) end
  for _, verb in ipairs { "ADD", "DEL" } do
    if options["at-once"] then
      measure_at_once(verb, pods, samples, round)
    else
      measure(jobs_for(verb, pods), samples)
    end
  end
  for _, pod in ipairs(pods) do remove_pod(pod) end
end
if not options["trace-only"] then
  if options.chain then print "each a chain with portmap (one host port) and bandwidth (both ways)" end
  print(("%d pods at a time%s, %d rounds, %s masquerading, %s ipspoofchk, %d addresses reserved, "
    .. "state on tmpfs, kernel %s"):format(
    options.pods, options["at-once"] and " and at once" or "", options.rounds,
    options.masquerade and "with" or "without", options.guard and "with" or "without", options.reserved,
    (run("uname -r"):gsub("%s", ""))))
  report(samples)
end

print()
local pod = new_pod "traced"
for _, who in ipairs(contestants) do
  for _, verb in ipairs { "ADD", "DEL" } do
    local seen = trace(who, verb, pod)
    if verb == "ADD" then check_path(who, seen) end
  end
end
