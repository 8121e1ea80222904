-- SPDX-License-Identifier: Apache-2.0
-- mncni calls: what the plugin keeps of its calls, listed, told whole, and repeated.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local KUBERNETES = "IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s"

local BROKEN = [[
return { add = function(pod, conf)
  local lease = pod:lease(conf.ipam)
  local eth = pod:veth {}
  pod:commit()
  eth:adress(lease)
  return pod:result { eth, lease }
end }
]]

local node, before

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "web", "db" } }
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

local function run(...)
  return node:mncni("calls", ...)
end

local function calls(...)
  return node:say("calls", ...)
end

local function json(...)
  return core.json.decode(calls("-o", "json", ...))
end

local function column(list, key)
  local values = {}
  for i, call in ipairs(list) do
    values[i] = call[key]
  end
  return values
end

-- A call of the plugin for a pod that Kubernetes names.
local function call(verb, namespace, pod, args)
  args = args or {}
  args.pod = pod
  node.env.CNI_ARGS = KUBERNETES:format(namespace, pod)
  local outcome = node:call(verb, args)
  node.env.CNI_ARGS = nil
  return outcome
end

-- Five calls: two of web, three of db, of which the second ADD fails.
local function history()
  call("ADD", "default", "web")
  call("ADD", "kube-system", "db")
  call("ADD", "kube-system", "db")
  call("DEL", "kube-system", "db")
  call("DEL", "default", "web", { conf = { name = "othernet" } })
end

local function has(text, ...)
  for _, part in ipairs { ... } do
    assert(text:find(part, 1, true), ("there is no %q in\n%s"):format(part, text))
  end
end

-- Changes bytes of the record: of the ring's header and slots, and behind them 32 KiB for each call whole.
local function patch(offset, bytes)
  local file <close> = assert(io.open(node.state .. "/calls.ring", "r+b"))
  file:seek("set", offset)
  file:write(bytes)
end

describe("mncni calls", function()
  it("lists the calls, the newest last, a line each", function()
    history()
    local lines = {}
    for line in calls():gmatch "[^\n]+" do
      lines[#lines + 1] = line
    end
    assert.are.equal(6, #lines)
    assert.matches("^ID +TIME +VERB +POLICY +NETWORK +POD +CONTAINER +IFNAME +CODE +MS$", lines[1])
    assert.matches("^ 1  %S+Z +ADD +naivebridge +testnet +default/web +web +eth0 +0 +%d+%.%d$", lines[2])
    assert.matches("^ 3  %S+Z +ADD +naivebridge +testnet +kube%-system/db +db +eth0 +103 +%d+%.%d$", lines[4])
    assert.matches("^ 5  %S+Z +DEL +naivebridge +othernet ", lines[6])
  end)

  it("chooses by pod, network, failure and number", function()
    history()
    for _, case in ipairs {
      { { 1, 2, 3, 4, 5 } }, { { 2, 3, 4 }, "--pod", "kube-system/db" }, { { 2, 3, 4 }, "--pod=db" },
      { { 1, 5 }, "--pod", "we" }, { { 5 }, "--network", "othernet" }, { { 3 }, "--failed" },
      { { 4, 5 }, "--last", "2" },
      { { 3, 4 }, "--pod", "db", "--last=2" }, { {}, "--failed", "--network", "othernet" },
    } do
      assert.are.same(case[1], column(json(table.unpack(case, 2)), "number"))
    end
  end)

  it("tells a call whole: what it was given, did and answered", function()
    local result = call("ADD", "default", "web").json
    local text = calls "1"
    has(text, "call 1: ADD of pod default/web (container web), eth0 in network testnet", "outcome    success",
      "CNI_NETNS=/run/netns/web", '"dataDir":', "journal begun", "address 10.244.1.2 of " .. node.networks,
      ("ip link add dev %s"):format(nodes.port "web"), "netns web  (policies/naivebridge.lua:",
      "pod   ip address add 10.244.1.2/24 dev eth0  (policies/naivebridge.lua:", "nft 'add table inet mncni'",
      "all steps done", "answer\n", result.interfaces[3].mac)
    local whole = json "1"
    assert.are.same(result, whole.answer)
    assert.are.equal("web", whole.environment.CNI_CONTAINERID)
    assert.are.equal("naivebridge", whole.stdin.type)
    assert.are.equal(node.scratch .. "/bin/naivebridge", whole.program)
    assert.are.same({ "start", "load", "policy", "kernel", "answer" }, column(whole.phases, "name"))
    local sum = 0
    for _, phase in ipairs(whole.phases) do
      sum = sum + phase.us
    end
    assert.is_true(sum > 0 and sum >= whole.duration)
    for i = 2, #whole.events do
      assert.is_true(whole.events[i].at >= whole.events[i - 1].at)
    end
  end)

  it("tells the rules of nft as nft takes them", function()
    call("ADD", "default", "web")
    local rules = {}
    for line in calls("1"):gmatch "nft '([^\n]-)'[^\n]*\n" do
      rules[#rules + 1] = line
    end
    assert.is_true(#rules > 5)
    local space <close> = spaces.new()
    space:must("printf %%s %s | nft -f -", table.concat(rules, "\n") .. "\n")
    assert.matches("masquerade", space:must "nft list chain inet mncni postrouting")
  end)

  it("tells what a DEL has undone, and when", function()
    call("ADD", "default", "web")
    call("DEL", "default", "web")
    has(calls "2", "undo by " .. node.state, ("undone: ip link add dev %s "):format(nodes.port "web"),
      "undone: address 10.244.1.2")
    assert.are.same({ "start", "load", "undo", "answer" }, column(json("2").phases, "name"))
  end)

  it("catches a broken policy: file, line, what was undone, and how to go on", function()
    node:policy("mine", BROKEN)
    assert.are.equal(1, call("ADD", "default", "web", { policy = "mine" }).status)
    local path = node.scratch .. "/policies/mine.lua"
    local text = calls "--last-error"
    has(text, "outcome    failed with code 100", "error      attempt to call a nil value (method 'adress')",
      "rollback", ("undone: ip link add dev %s "):format(nodes.port "web"), "undone: address 10.244.1.2",
      ("(%s:3)"):format(path), ("look at %s:5; the next call uses what you save"):format(path), "mncni calls 1 --shell")
    assert.are.equal(("%s:5"):format(path), json("--last-error").answer.details)

    node:policy("mine", (BROKEN:gsub("adress", "address")))
    local repeated = node:exec { "/bin/sh", "-c", calls("--last-error", "--shell") }
    assert.are.equal(0, repeated.status)
    assert.matches("^10%.244%.1%.", core.json.decode(repeated.stdout).ips[1].address)
    has(calls(), " 2  ")
    call("DEL", "default", "web", { policy = "mine" })
  end)

  it("repeats a call with exactly what it was given, whatever that was", function()
    local flight = require "mncni.flight"
    local env = {
      CNI_COMMAND = "ADD", CNI_PATH = node.scratch .. "/bin", MNCNI_STATE_DIR = node.state, TRACEPARENT = "it's\\n",
      CNI_ARGS = "A='x';B=\"$(touch " .. node.scratch .. "/ran)\";C=\27[31m\n`id`;D=zürich\xff",
    }
    for i, stdin in ipairs { '{"name": "x",\n"a": "END"}\nEND\n', "no json\0\1\255 \\n '", "" } do
      node:exec({ node.scratch .. "/bin/portmap" }, env, stdin)
      node:exec({ "/bin/sh", "-c", calls(tostring(2 * i - 1), "--shell") }, { PATH = os.getenv "PATH" })
      local one, other = flight.read(node.state, 2 * i - 1), flight.read(node.state, 2 * i)
      table.sort(one.environment)
      table.sort(other.environment)
      assert.are.same(one.environment, other.environment)
      assert.are.equal(one.program, other.program)
      assert.is_true(other.stdin == one.stdin or other.stdin == one.stdin .. "\n")
    end
    assert.is_nil(io.open(node.scratch .. "/ran"))
  end)

  it("keeps what a call that was stopped had done, and what became of it", function()
    node:policy("stuck", [[
return { add = function(pod, conf)
  pod:lease(conf.ipam)
  pod:veth {}
  pod:commit()
  return (("a"):rep(40) .. "b"):find(("a*"):rep(30) .. "c")
end }
]])
    node.env.MNCNI_WALL_MS = "1500"
    assert.are.equal(1, call("ADD", "default", "web", { policy = "stuck" }).status)
    local whole = json "--last-error"
    assert.are.equal(101, whole.code)
    assert.are.equal("stuck", whole.stdin.policy)
    assert.are.equal("web", whole.environment.CNI_CONTAINERID)
    local text = calls "1"
    has(text, "rollback", ("(%s/policies/stuck.lua:3)"):format(node.scratch), "undone: address 10.244.1.2",
      ("undone: ip link add dev %s "):format(nodes.port "web"), '"code":  101')
    assert.are.same({ "start", "load", "policy", "kernel", "undo", "answer" }, column(whole.phases, "name"))
  end)

  it("has no room for what is larger than any configuration should be, and says so", function()
    node:call("ADD", { pod = "web", conf = { junk = ("x"):rep(20000) } })
    local text = calls "1"
    has(text, "standard input (the beginning)", "all steps done", "10.244.1.2/24")
    local _, errors, status = run("1", "--shell")
    assert.are.equal("mncni calls: the configuration of call 1 was too large for the record\n", errors)
    assert.are.equal(1, status)
    node:must "DEL"
  end)

  it("keeps 256 calls in 8 MiB, whatever they are", function()
    node:exec { "/bin/sh", "-c", ([[head -c 40000 /dev/zero | tr '\0' x >%s/input
      for i in $(seq 260); do CNI_COMMAND=ADD %s/bin/mncni <%s/input >/dev/null; done]]):gsub("%%s", node.scratch) }
    local list = json()
    assert.are.same({ 256, 5, 260 }, { #list, list[1].number, list[256].number })
    local bytes = tonumber(spaces.must("stat -c %%s %s", node.state .. "/calls.ring"))
    assert.is_true(bytes <= 266240 + (8 << 20), bytes)
    assert.are.equal("ADD", json("260").environment.CNI_COMMAND)
    local _, errors, status = run "4"
    assert.are.equal(1, status)
    assert.are.equal("mncni calls: there is no call 4: the record has 5 to 260; \"mncni calls\" lists them\n", errors)
  end)

  it("reads what is left of a record that is torn, and of an older release's", function()
    history()
    patch(266240 + 700, "\0\0\nnothing of ours\n" .. ("x"):rep(20000))
    has(calls "1", "CNI_CONTAINERID=web", "the record is torn")
    assert.is_true(json("1").torn)
    patch(266240, "x")
    has(calls "1", "call 1: ADD of pod default/web", "Nothing more is recorded of it")
    spaces.must("truncate -s %s %s", tostring(257 * 1024), node.state .. "/calls.ring")
    assert.are.same({ 1, 2, 3, 4, 5 }, column(json(), "number"))
    has(calls "3", "failed with code 103", "Nothing more is recorded of it")
    local _, errors = run("3", "--shell")
    assert.are.equal("mncni calls: what call 3 was given was not recorded\n", errors)
    node:must("ADD", { pod = "db" })
    has(calls "6", "all steps done")
    node:must("DEL", { pod = "db" })
  end)

  it("may be read by root alone, and says so", function()
    history()
    assert.are.equal("700\n600", spaces.must("stat -c %%a %s %s", node.state, node.state .. "/calls.ring"))
    spaces.must("chmod 755 %s", node.scratch)
    local output, status = spaces.sh("MNCNI_STATE_DIR=%s setpriv --reuid 65534 --clear-groups %s calls", node.state,
      node.scratch .. "/bin/mncni")
    assert.are.equal(1, status)
    assert.matches("^mncni calls: open %S+: EACCES [^\n]*: only root may read it, [^\n]*; run this as root$", output)
  end)

  it("is in colour at a terminal, and nowhere else", function()
    history()
    local bin = node.scratch .. "/bin/mncni"
    local function at_terminal(front)
      return spaces.must("MNCNI_STATE_DIR=%s " .. front .. " script -qec %s /dev/null", node.state, bin .. " calls")
    end
    assert.matches("\27%[31m 3  %S+Z +ADD", at_terminal "TERM=xterm")
    for _, front in ipairs { "TERM=xterm NO_COLOR=1", "TERM=dumb" } do
      assert.is_nil(at_terminal(front):find "\27")
    end
    assert.is_nil(spaces.must("MNCNI_STATE_DIR=%s TERM=xterm %s calls | cat", node.state, bin):find "\27")
  end)

  it("shows nothing to a terminal that it would obey", function()
    node.env.CNI_ARGS = "IgnoreUnknown=1;K8S_POD_NAME=\27[2Jweb"
    node:call("ADD", { pod = "web", conf = { junk = "\u{9b}31m" } })
    for _, words in ipairs { {}, { "1" }, { "1", "--shell" } } do
      local output = calls(table.unpack(words))
      assert.is_nil(output:find "[%z\1-\9\11-\31\127]", output)
    end
    node.env.CNI_ARGS = nil
    node:must "DEL"
  end)

  for _, case in ipairs {
    { { "--failled" }, 2, 'there is no option "--failled", did you mean "--failed"?; mncni calls --help' },
    { { "one" }, 2, '"one" is no number of a call; mncni calls --help' },
    { { "--last", "0" }, 2, '--last is how many calls, not "0"; mncni calls --help' },
    { { "--shell" }, 2, "--shell needs ID or --last-error; mncni calls --help" },
    { { "1", "--last-error" }, 2, "ID and --last-error exclude each other; mncni calls --help" },
    { { "1" }, 1, "no call is recorded in STATE" },
    { { "--last-error" }, 1, "there is no call that failed in STATE" },
    { { "--pod", "ghost" }, 1, 'no call of pod "ghost" is recorded; "mncni calls" lists what there is' },
    { {}, 0, "no call is recorded in STATE" },
  } do
    it(("answers %q on an empty node in one line"):format(table.concat(case[1], " ")), function()
      local output, errors, status = run(table.unpack(case[1]))
      assert.are.same({ "", "mncni calls: " .. case[3]:gsub("STATE", node.state) .. "\n", case[2] },
        { output, errors, status })
    end)
  end
end)
