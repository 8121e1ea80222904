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

-- How many of a list of { began =, ended = } went on at the same time, at most.
local function most_at_once(calls)
  local most = 0
  for _, one in ipairs(calls) do
    local count = 0
    for _, other in ipairs(calls) do
      if other.began <= one.began and one.began < other.ended then count = count + 1 end
    end
    most = math.max(most, count)
  end
  return most
end

-- Runs a verb count times at once: none starts before all are ready. name tells the container of a number, and so its
-- namespace. Returns the documents, and how often each outcome came: "ok", "code 104", or whatever it was.
local function at_once(world, verb, count, name)
  local dir = world.scratch .. "/at-once"
  spaces.must("rm -rf %s && mkdir %s && mkfifo %s", dir, dir, dir .. "/gate")
  local script = assert(io.open(dir .. "/script", "w"))
  script:write(("exec 3<>%s/gate; conf='%s'\n"):format(dir, core.json.encode(world.case.conf)))
  for i = 1, count do
    script:write(("(read -r go <%s/gate; read -r began rest </proc/uptime; printf %%s \"$conf\" | env -i "
      .. "CNI_COMMAND=%s CNI_CONTAINERID=%s CNI_NETNS=/run/netns/%s CNI_IFNAME=eth0 CNI_PATH=%s/bin PATH=$PATH "
      .. "MNCNI_STATE_DIR=%s %s/bin/naivebridge >%s/%d 2>&1; status=$?; read -r ended rest </proc/uptime; "
      .. "echo $status $began $ended >%s/%d.status) &\n"):format(
      dir, verb, name(i), name(i), world.scratch, world.state, world.scratch, dir, i, dir, i))
  end
  script:write(("yes '' | head -n %d >&3; wait\n"):format(count))
  script:close()
  spaces.must("sh %s", dir .. "/script")
  local documents, outcomes, calls = {}, {}, {}
  for i = 1, count do
    local text = spaces.must("cat %s", dir .. "/" .. i)
    local status, began, ended = spaces.must("cat %s", dir .. "/" .. i .. ".status"):match "^(%d+) (%S+) (%S+)$"
    local parsed, document = pcall(core.json.decode, text)
    local outcome = status == "0" and "ok" or status == "1" and parsed and ("code %s"):format(document.code)
      or ("%s of %s, status %s: %s"):format(verb, name(i), status, text)
    documents[i], outcomes[outcome] = parsed and document or nil, (outcomes[outcome] or 0) + 1
    calls[i] = { began = tonumber(began), ended = tonumber(ended) }
  end
  spaces.must("rm -rf %s", dir)
  assert.is_true(most_at_once(calls) > 1)
  return documents, outcomes
end

local function numbered(i) return "pod" .. i end

describe("at once:", function()
  local world

  -- Namespaces for numbered pods, until the spec ends.
  local function pods(count)
    for i = 1, count do core.netns.create(numbered(i)):close() end
    finally(function()
      for i = 1, count do core.netns.remove(numbered(i)) end
    end)
  end

  -- What is left, but for the namespaces of pods, and how many lines of it begin like this.
  local function left(prefix)
    local list, count = {}, 0
    for _, line in ipairs(world:left()) do
      if not line:find "^namespace pod%d" then list[#list + 1] = line end
      if prefix and line:find(prefix, 1, true) == 1 then count = count + 1 end
    end
    return list, count
  end

  after_each(function() world:close() end)

  it("ADDs of 200 pods, first on the node, masquerading, both families, give 200 distinct addresses of each family, "
    .. "and DELs leave nothing", function()
    local COUNT = 200
    world = faults.world(faults.case {
      name = "at once", cold = true, network = { ipMasq = true }, ipam = faults.dual_stack,
    })
    pods(COUNT)
    world:settle()
    local results, outcomes = at_once(world, "ADD", COUNT, numbered)
    assert.are.same({ ok = COUNT }, outcomes)
    local seen, distinct = {}, 0
    for _, result in ipairs(results) do
      for _, ip in ipairs(result.ips) do
        distinct = distinct + (seen[ip.address] and 0 or 1)
        seen[ip.address] = true
      end
    end
    assert.are.equal(COUNT, #results)
    assert.are.equal(2 * COUNT, distinct)
    assert.are.equal(2 * COUNT, select(2, left "address file "))
    assert.are.same({ ok = COUNT }, select(2, at_once(world, "DEL", COUNT, numbered)))
    assert.are.same({}, left())
  end)

  it("of more pods than there are addresses, as many as there are get one; the others are told so, and leave nothing",
    function()
      local COUNT, ADDRESSES = 40, 20 -- one of which is the neighbour's
      world = faults.world(faults.case { name = "at once", ipam = range(10, 10 + ADDRESSES - 1) })
      pods(COUNT)
      local _, outcomes = at_once(world, "ADD", COUNT, numbered)
      assert.are.same({ ok = ADDRESSES - 1, ["code 104"] = COUNT - ADDRESSES + 1 }, outcomes)
      for _, kind in ipairs { "address file ", "node: link ", "state attachments/" } do
        assert.are.equal(ADDRESSES - 1, select(2, left(kind)), kind)
      end
      assert.are.same({ ok = COUNT }, select(2, at_once(world, "DEL", COUNT, numbered)))
      assert.are.same({}, left())
    end)

  it("one of many ADDs of the same attachment makes it, the others leave it as it is; so with DELs", function()
    local COUNT = 20
    world = faults.world(faults.case { name = "at once" })
    local function victim() return "victim" end
    local documents, outcomes = at_once(world, "ADD", COUNT, victim)
    assert.are.same({ ok = 1, ["code 103"] = COUNT - 1 }, outcomes)
    local wrong = {}
    for i = 1, COUNT do
      if not documents[i].code then world:works(wrong, { json = documents[i] }) end
    end
    assert.are.same({}, wrong)
    assert.are.equal(1, select(2, left "address file "))
    assert.are.same({ ok = COUNT }, select(2, at_once(world, "DEL", COUNT, victim)))
    assert.are.same({}, left())
  end)
end)

-- What is wrong with a history: calls that failed without having been killed, addresses with two owners, and racers that
-- raced nobody. A pod has its address from the end of ADD to the begin of what ends it.
local function judge(history)
  local wrong, owners, begun, raced = {}, {}, {}, {}
  table.sort(history, function(a, b) return a.began < b.began end)
  for i, event in ipairs(history) do
    if event.what ~= "END" and event.outcome ~= "ok" and event.outcome ~= "killed" then
      wrong[#wrong + 1] = ("%s of %s failed: %s, %s"):format(event.what, event.container or event.who, event.outcome,
        event.message)
    end
    raced[event.who] = raced[event.who] or false
    for later = i + 1, event.ended and #history or 0 do
      local other = history[later]
      if other.began >= event.ended then break end
      if other.ended and other.who ~= event.who then raced[event.who], raced[other.who] = true, true end
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
  for who, did in pairs(raced) do
    if not did then wrong[#wrong + 1] = who .. " was never at work at the same time as another one" end
  end
  return wrong
end

-- How many clients, and how many pods each of them has.
local CLIENTS, ROUNDS = faults.full and 8 or 4, faults.full and 150 or 12

-- Runs clients and collectors (a list of roles) to their ends; none begins before all are ready. Returns the history of
-- all, and how often each outcome of each what came: counts.ADD.ok.
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
  for who, racer in pairs(running) do
    local line = racer.pipe:read "l"
    if line ~= "ready" then error(("%s: %s%s"):format(who, line, racer.pipe:read "a"), 0) end
  end
  assert(io.open(world.scratch .. "/go", "w")):close()
  for _, who in ipairs(racers) do wait(who) end
  assert(io.open(world.scratch .. "/over", "w")):close()
  for i, role in ipairs(collectors) do wait(role .. i) end
  local history, counts = {}, {}
  for _, racer in pairs(running) do
    for line in io.lines(racer.history) do
      local event = core.json.decode(line)
      history[#history + 1] = event
      local count, outcome = counts[event.what] or {}, event.outcome or "ok"
      counts[event.what], count[outcome] = count, (count[outcome] or 0) + 1
    end
  end
  for _, name in ipairs { "ended", "go", "over" } do spaces.must("rm -rf %s", world.scratch .. "/" .. name) end
  return history, counts
end

local function names(outcomes)
  local list = {}
  for outcome in pairs(outcomes) do list[#list + 1] = outcome end
  return list
end

local function figures(name, counts)
  local list = {}
  for what, outcomes in pairs(counts) do
    for outcome, count in pairs(outcomes) do list[#list + 1] = ("%s: %d %s"):format(what, count, outcome) end
  end
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
    local each = { ok = CLIENTS * ROUNDS }
    assert.are.same({ ADD = each, CHECK = each, DEL = each }, counts)
    assert.are.same({}, world:left())
    figures("ADD and DEL racing", counts)
  end)

  it("nothing that lives is collected, and what died without a DEL is, though calls are killed", function()
    world = faults.world(faults.case { name = "racing", ipam = range(10, 70) })
    local history, counts = race(world, { "verb", "command" }, true)
    assert.are.same({}, judge(history))
    local add, check, del = counts.ADD, counts.CHECK, counts.DEL
    -- Nothing has failed but what was killed: each pod has one ADD, then a DEL that worked or an end that nobody told.
    assert.are.equal(CLIENTS * ROUNDS, add.ok + add.killed)
    assert.are.same({ ok = add.ok }, check)
    assert.are.equal(CLIENTS * ROUNDS, del.ok + counts.END.ok)
    assert.are.same({ { "ok" }, { "ok" } }, { names(counts.GC), names(counts["mncni gc"]) })
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
