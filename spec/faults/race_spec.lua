-- SPDX-License-Identifier: Apache-2.0
-- Many calls at the same time. What they did is judged by their history: an address has one living owner, what was
-- deleted is free, and nothing that lives is collected.

local core = require "mncni.core"
local faults = require "spec.support.faults"
local spaces = require "spec.support.netns"

local interpreter = os.getenv "RING_LUA"

-- The addresses from first to last as the only range.
local function range(first, last)
  return { ranges = core.json.array { core.json.array {
    { subnet = "10.88.0.0/24", rangeStart = "10.88.0." .. first, rangeEnd = "10.88.0." .. last },
  } } }
end

describe("200 pods at once, first on the node, masquerading, both families:", function()
  local COUNT = 200
  local world

  setup(function()
    world = faults.world(faults.case {
      name = "at once", cold = true, network = { ipMasq = true }, ipam = faults.dual_stack,
    })
  end)
  teardown(function() world:close() end)

  -- Runs a verb for all of them; none starts before all are ready. Returns the documents, and what went wrong.
  local function all(verb)
    local dir = world.scratch .. "/at-once"
    spaces.must("rm -rf %s && mkdir %s && mkfifo %s", dir, dir, dir .. "/gate")
    local script = assert(io.open(dir .. "/script", "w"))
    script:write(("exec 3<>%s/gate; conf='%s'\n"):format(dir, core.json.encode(world.case.conf)))
    for i = 1, COUNT do
      script:write(("(read -r go <%s/gate; printf %%s \"$conf\" | env -i CNI_COMMAND=%s CNI_CONTAINERID=pod%d "
        .. "CNI_NETNS=/run/netns/pod%d CNI_IFNAME=eth0 CNI_PATH=%s/bin PATH=$PATH MNCNI_STATE_DIR=%s "
        .. "%s/bin/naivebridge >%s/%d 2>&1; echo $? >%s/%d.status) &\n"):format(
        dir, verb, i, i, world.scratch, world.state, world.scratch, dir, i, dir, i))
    end
    script:write(("yes '' | head -n %d >&3; wait\n"):format(COUNT))
    script:close()
    spaces.must("sh %s", dir .. "/script")
    local documents, wrong = {}, {}
    for i = 1, COUNT do
      local text, status = spaces.must("cat %s", dir .. "/" .. i), spaces.must("cat %s", dir .. "/" .. i .. ".status")
      if status ~= "0" then wrong[#wrong + 1] = ("%s of pod%d: %s"):format(verb, i, text) end
      local parsed, document = pcall(core.json.decode, text)
      documents[i] = parsed and document or nil
    end
    spaces.must("rm -rf %s", dir)
    return documents, wrong
  end

  it("ADDs give 200 distinct addresses of each family, and DELs leave nothing", function()
    for i = 1, COUNT do core.netns.create("pod" .. i):close() end
    finally(function()
      for i = 1, COUNT do core.netns.remove("pod" .. i) end
    end)
    world:settle()
    local results, wrong = all "ADD"
    assert.are.same({}, wrong)
    local seen, distinct = {}, 0
    for _, result in ipairs(results) do
      for _, ip in ipairs(result.ips) do
        distinct = distinct + (seen[ip.address] and 0 or 1)
        seen[ip.address] = true
      end
    end
    assert.are.equal(COUNT, #results)
    assert.are.equal(2 * COUNT, distinct)
    local function not_ours(line) return line:find "^namespace pod%d" end
    local held = 0
    for _, line in ipairs(world:left()) do held = held + (line:find "^address file" and 1 or 0) end
    assert.are.equal(2 * COUNT, held)

    local _, failures = all "DEL"
    assert.are.same({}, failures)
    local left = {}
    for _, line in ipairs(world:left()) do
      if not not_ours(line) then left[#left + 1] = line end
    end
    assert.are.same({}, left)
  end)
end)

-- What is wrong with a history: calls that failed without having been killed, and addresses with two owners. A pod has
-- its address from the end of ADD to the begin of what ends it.
local function judge(history)
  local wrong, owners, begun = {}, {}, {}
  table.sort(history, function(a, b) return a.began < b.began end)
  for _, event in ipairs(history) do
    if event.what ~= "END" and event.status ~= 0 and not event.killed then
      wrong[#wrong + 1] = ("%s of %s failed: %s"):format(event.what, event.container or event.who, event.message)
    end
    if event.address then
      begun[event.container] = { container = event.container, address = event.address, from = event.ended }
    elseif (event.what == "DEL" or event.what == "END") and begun[event.container] then
      local owner = begun[event.container]
      owner.to, begun[event.container] = event.began, nil
      owners[#owners + 1] = owner
    end
  end
  table.sort(owners, function(a, b) return a.from < b.from end)
  local last = {}
  for _, owner in ipairs(owners) do
    local before = last[owner.address]
    if before and owner.from < before.to then
      wrong[#wrong + 1] = ("%s belonged to %s and %s at the same time"):format(owner.address, before.container,
        owner.container)
    end
    if not before or owner.to > before.to then last[owner.address] = owner end
  end
  return wrong
end

-- How many clients, and how many pods each of them has.
local CLIENTS, ROUNDS = faults.full and 8 or 4, faults.full and 150 or 12

-- Runs clients and collectors (a list of roles) to their ends. Returns the history of all, and how often each
-- what happened.
local function race(world, collectors, disturb)
  spaces.must("mkdir %s/ended", world.scratch)
  local racers, running = {}, {}
  for i = 1, CLIENTS do racers[i] = "client" .. i end
  local function start(who, role, seed)
    local argument = core.json.encode {
      case = { conf = world.case.conf, plugin = world.case.plugin }, scratch = world.scratch, who = who, role = role,
      seed = seed, disturb = disturb, rounds = ROUNDS, racers = core.json.array { table.unpack(racers) },
    }
    local history = world.scratch .. "/history-" .. who
    running[who] = { history = history, pipe = assert(io.popen(("%s spec/support/racer.lua %s 2>&1 >%s"):format(
      interpreter, spaces.quote(argument), history))) }
  end
  local function wait(who)
    local errors = running[who].pipe:read "a"
    if not running[who].pipe:close() then error(who .. ": " .. errors, 0) end
  end
  for i, who in ipairs(racers) do start(who, "pods", faults.seed * 100 + i) end
  for i, role in ipairs(collectors) do start(role .. i, role, i) end
  for _, who in ipairs(racers) do wait(who) end
  assert(io.open(world.scratch .. "/over", "w")):close()
  for i, role in ipairs(collectors) do wait(role .. i) end
  local history, counts = {}, {}
  for _, racer in pairs(running) do
    for line in io.lines(racer.history) do
      local event = core.json.decode(line)
      history[#history + 1] = event
      counts[event.what] = (counts[event.what] or 0) + 1
      if event.killed then counts.killed = (counts.killed or 0) + 1 end
    end
  end
  for _, name in ipairs { "ended", "over" } do spaces.must("rm -rf %s", world.scratch .. "/" .. name) end
  return history, counts
end

local function figures(name, counts)
  local list = {}
  for what, count in pairs(counts) do list[#list + 1] = ("%d %s"):format(count, what) end
  table.sort(list)
  print(("%s: %s; %d clients, seed %d"):format(name, table.concat(list, ", "), CLIENTS, faults.seed))
end

describe("racing:", function()
  local world

  after_each(function() world:close() end)

  it("an ok DEL frees the address at once: pods that come and go need no more addresses than there are pods", function()
    world = faults.world(faults.case { name = "racing", ipam = range(10, 10 + CLIENTS) })
    local history, counts = race(world, {}, false)
    assert.are.same({}, judge(history))
    assert.are.equal(CLIENTS * ROUNDS, counts.ADD)
    assert.are.same({}, world:left())
    figures("ADD and DEL racing", counts)
  end)

  it("nothing that lives is collected, and what died without a DEL is, though calls are killed", function()
    world = faults.world(faults.case { name = "racing", ipam = range(10, 70) })
    local history, counts = race(world, { "verb", "command" }, true)
    assert.are.same({}, judge(history))
    world:wait_for_links()
    local report = world:collect().json
    assert.are.same({ {}, {} }, { report.kept, report.failed })
    assert.are.same({}, world:left())
    for client = 1, CLIENTS do
      for round = 1, ROUNDS do
        local outcome = world:call("DEL", { container = ("client%d-%d"):format(client, round) })
        assert.are.equal(0, outcome.status, outcome.stdout)
      end
    end
    assert.are.same({}, world:left())
    figures("ADD, DEL and GC racing", counts)
  end)
end)
