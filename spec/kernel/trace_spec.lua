-- SPDX-License-Identifier: Apache-2.0
-- mncni trace on a node whose plugins are called as a runtime does. The ring is no first namespace, so what there is of
-- processes comes from fanotify; spec/containerd/trace_spec.lua has the rest.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"
local tracing = require "spec.support.tracing"

local BIN = spaces.must("realpath %s", (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni")
local node, before

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "web", "db" } }
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

local function start(...)
  return tracing.start(node.space, node.scratch, ...)
end

local function has(text, ...)
  for _, words in ipairs { ... } do
    assert.truthy(text:find(words, 1, true), ("no %q in:\n%s"):format(words, text))
  end
end

-- Runs the command line outside of any namespace of the node's. Returns status and text.
local function run(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = spaces.quote(word) end
  local text, status = spaces.sh(("%s trace %s 2>&1"):format(spaces.quote(BIN), table.concat(words, " ")))
  return status, text
end

describe("mncni trace", function()
  it("shows an ADD with its pod, configuration, changes and result", function()
    local trace = start("-o", "json")
    local result = node:add { pod = "web" }
    node:must("DEL", { pod = "web" })
    local told = trace:stop()
    assert.same({}, told.lost)
    assert.are.equal(2, #told.calls)
    local add, del = told.calls[1], told.calls[2]
    assert.are.equal("ADD naivebridge web eth0",
      ("%s %s %s %s"):format(add.command, add.plugin, add.container, add.ifname))
    assert.are.equal("DEL", del.command)
    assert.are.equal("naivebridge", add.config.type)
    assert.are.same(result.ips, add.result.ips)
    has(tracing.changes(add), "host: link add dev cbr0", "host: link add dev " .. nodes.port "web",
      "pod: address add " .. result.ips[1].address .. " dev eth0", "pod: route add default via",
      "add element inet mncni masq4 { 10.244.1.0/24 }")
    has(tracing.changes(del), "link del dev " .. nodes.port "web")
    assert.truthy(add.duration_us > 0 and add.changes[1].after_us > 0)
  end)

  it("prints a block for a person", function()
    local trace = start()
    node.env.CNI_ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1"
    node:must("ADD", { pod = "web" })
    trace:wait "= ok"
    has(trace:stop(), "watching: fanotify, pipes, route, nft, reports", "without proc (", "exit statuses",
      " ADD naivebridge pod=shop/web-1 container=web if=eth0 netns=", "   config {", "pod: address add 10.244.1.",
      "= ok ")
  end)

  it("shows what the kernel refused, with the line of the policy", function()
    node:policy("broken", [[
local policy = {}
function policy.add(pod)
  local eth = pod:veth { mtu = 1400 }
  pod.inside.route.add { dst = "10.77.0.0/16", gateway = "192.0.2.1" }
  return pod:result { eth }
end
return policy
]])
    local trace = start()
    assert.are_not.equal(0, node:call("ADD", { pod = "web", policy = "broken", conf = { ipam = false } }).status)
    trace:wait "= error"
    has(trace:stop(), "! add route \"10.77.0.0/16\": ENETUNREACH", "Nexthop has invalid gateway", "broken.lua:4",
      "= error 102", "host: link del dev " .. nodes.port "web")
  end)

  it("knows whose the changes are that were there before it looked at the call", function()
    local trace = start("-o", "json")
    local pid = trace.process.pid
    node:policy("early", ([[
local policy = {}
function policy.add(pod)
  local eth = pod:veth { mtu = 1400 }
  os.execute "ip link add early0 type bridge; kill -CONT %d; sleep 0.5"
  return pod:result { eth }
end
return policy
]]):format(pid))
    spaces.must("kill -STOP %s", pid)
    node:must("ADD", { pod = "web", policy = "early", conf = { ipam = false } })
    local told = trace:stop()
    has(tracing.changes(told.calls[1]), "host: link add dev early0 address ", "host: link add dev " .. nodes.port "web")
    assert.same({}, told.changes)
  end)

  it("shows changes of nobody's call apart", function()
    local trace = start()
    node.space:must "ip addr add 192.0.2.99/24 dev up0"
    trace:wait "192.0.2.99"
    has(trace:stop(), "nobody's call: host: address add 192.0.2.99/24 dev up0")
  end)

  it("filters by pod, plugin and failure", function()
    local record = node.scratch .. "/record"
    local trace = start("--record", record)
    node:must("ADD", { pod = "web" })
    node:must("ADD", { pod = "db" })
    node:call("ADD", { pod = "db" }) -- there already
    trace:wait "= error"
    trace:stop()
    local texts = {}
    for i, words in ipairs { { "--pod", "we" }, { "--plugin", "portmap" }, { "--failed" } } do
      local status
      status, texts[i] = run("--read", record, table.unpack(words))
      assert.are.equal(0, status)
    end
    has(texts[1], "container=web")
    assert.is_nil(texts[1]:find("container=db", 1, true))
    assert.is_nil(texts[2]:find("container=", 1, true))
    has(texts[3], "container=db", "= error")
    assert.is_nil(texts[3]:find("container=web", 1, true))
  end)

  it("keeps a record that shows the same again, and a capture", function()
    local record, capture = node.scratch .. "/record", node.scratch .. "/capture"
    local trace = start("--record", record, "--pcap", capture)
    node:must("ADD", { pod = "web" })
    trace:wait "= ok"
    local text = trace:stop()
    local status, again = run("--read", record)
    assert.are.equal(0, status)
    assert.are.equal(text, again .. "\n")
    status, again = run("--read", record, "--json")
    assert.are.equal(0, status)
    assert.are.equal("web", tracing.sorted(again).calls[1].container)
    local file <close> = assert(io.open(capture, "rb"))
    local magic, major, _, _, _, _, link = string.unpack("=I4I2I2i4I4I4I4", file:read(24))
    assert.are.same({ 0xa1b23c4d, 2, 253 }, { magic, major, link })
    local _, _, size = string.unpack("=I4I4I4", file:read(16))
    local packet = file:read(size)
    local arphrd = string.unpack(">I2", packet, 3)
    assert.are.equal(824, arphrd)
    assert.truthy(core.decode(packet:sub(17))[1])
  end)

  it("says so when what is to be kept cannot be", function()
    for _, option in ipairs { "--record", "--pcap" } do
      local status, text = run("--for", "5", option, "/dev/full")
      assert.are.equal(1, status)
      assert.matches("mncni trace: /dev/full: No space left on device; the trace has ended", text, 1, true)
    end
  end)

  it("says what a source that is missing leaves out, and is true to it", function()
    local all, missed = { "fanotify", "pipes", "route", "nft", "reports" }, 0
    local from_pipes = 0
    for _, source in ipairs(all) do
      local trace = start("-o", "json", "--without", source)
      local result = node:add { pod = "web" }
      node:must("DEL", { pod = "web" })
      node.space:must "nft delete table inet mncni"
      local told = trace:stop()
      local missing, add = told.sources.missing, told.calls[1]
      assert.are.equal("switched off", missing[source].why)
      assert.truthy(missing.proc and missing.proc.lacks)
      assert.are.equal(2, #told.calls, "calls without " .. source)
      local changes = tracing.changes(add)
      -- On a busy machine a call may have ended before it is looked at; its report has it all the same.
      missed = missed + (source ~= "fanotify" and add.seen_by and 1 or 0)
      assert.are.equal((source == "fanotify" or add.seen_by) and "report" or nil, add.seen_by)
      -- The plugin, or who reads its answer, may be faster than the trace; then its report alone has it.
      from_pipes = from_pipes + (add.config_from == "stdin" and 1 or 0)
      if source ~= "reports" or add.result then
        assert.are.same(result.ips, add.result.ips)
      end
      if source == "fanotify" or source == "pipes" then
        assert.are.equal("report", add.config_from)
      end
      assert.are.equal(source ~= "nft", changes:find("inet mncni", 1, true) ~= nil, changes)
      local address = "address add " .. result.ips[1].address
      assert.are.equal(source ~= "route", changes:find(address, 1, true) ~= nil, changes)
      assert.are.equal(source ~= "reports" and true or nil, add.reported)
    end
    assert.is_true(from_pipes >= 2, ("%d of 3 configurations came from the pipes"):format(from_pipes))
    assert.is_true(missed <= 1, ("%d of 4 calls were known by their report alone"):format(missed))
  end)

  it("sees attachments by libcni's cache alone where nothing else is left", function()
    local cache = node.scratch .. "/results"
    spaces.must("mkdir %s", cache)
    local trace = start("-o", "json", "--without", "fanotify", "--without", "reports", "--cache-dir", cache)
    local result = node:add { pod = "web" }
    local list = core.json.encode { cniVersion = "1.0.0", name = "net", plugins = { { type = "naivebridge" } } }
    local entry = io.open(node.scratch .. "/entry", "w")
    local encoded = spaces.must("printf %%s %s | base64 -w 0", list)
    entry:write(core.json.encode {
      kind = "cniCacheV1", containerId = "web", ifName = "eth0", networkName = "net", config = encoded, result = result,
    })
    entry:close()
    spaces.must("mv %s/entry %s/net-web-eth0", node.scratch, cache)
    assert(trace:wait "ADD")
    spaces.must("rm %s/net-web-eth0", cache)
    assert(trace:wait "DEL")
    local told = trace:stop()
    assert.are.equal("cache", told.calls[1].seen_by)
    assert.are.equal("naivebridge", told.calls[1].plugin)
    assert.are.same(result.ips, told.calls[1].result.ips)
    assert.truthy(told.sources.missing.reports)
  end)

  it("tells of what was lost, and looks again", function()
    local trace = start()
    local pid = trace.process.pid
    spaces.must("kill -STOP %s", pid)
    node.space:must [[
      for i in $(seq 1 12000); do
        printf 'address add 10.%d.%d.%d/32 dev up0\n' $((100 + i / 60000)) $((i / 250 % 240)) $((i % 250 + 1))
      done | ip -batch -
      ip link add late0 type veth peer name late1]]
    spaces.must("kill -CONT %s", pid)
    trace:wait "LOST: events of route"
    trace:wait "link add dev late0"
    has(trace:stop(), "looked at again")
  end)

  it("refuses what it cannot use, in a line with the remedy", function()
    local status, text = run("--whitout", "proc")
    assert.are.equal(2, status)
    has(text, "there is no option \"--whitout\", did you mean \"--without\"?")
    status, text = run("--without", "magic")
    assert.are.equal(2, status)
    has(text, "is one of proc, fanotify")
    status, text = run("--read", node.scratch .. "/none")
    assert.are.equal(1, status)
    has(text, "none: No such file or directory; give a file that --record has made")
    status, text = run("--record", "/proc/none/file")
    assert.are.equal(1, status)
    has(text, "choose a file that can be written")
    status, text = run("--node", "999999999")
    assert.are.equal(1, status)
    has(text, "there is no process 999999999")
    status, text = run("--for", "ever")
    assert.are.equal(2, status)
    has(text, "--for is a number of seconds")
    for _, answer in ipairs { text } do
      assert.is_nil(answer:find("traceback", 1, true))
    end
  end)
end)
