-- SPDX-License-Identifier: Apache-2.0
-- Which call a change is put down to, what is taken of answers that have no shape, and the file of --record.

local answers = require "mncni.trace_answers"
local cache = require "mncni.trace_cache"
local calls = require "mncni.trace_calls"
local core = require "mncni.core"
local file = require "mncni.trace_file"
local print_of = require "mncni.trace_print"

local HOME = calls.HOME

describe("a change", function()
  local told, watched, now

  before_each(function()
    told, now = {}, 0
    watched = calls.new {
      offset = 0, global = true, tell = function(item) told[#told + 1] = item end, ready = function() return true end,
    }
  end)

  local function begin(pid, fields)
    now = now + 1000000
    return watched:begin(pid, now, {
      CNI_COMMAND = "ADD", CNI_CONTAINERID = fields.container or "web", CNI_IFNAME = fields.ifname or "eth0",
      plugin = "/opt/cni/bin/" .. (fields.plugin or "bridge"), nsid = fields.nsid, parent = fields.parent,
      number = tostring(pid),
    })
  end

  local function link(nsid, value, event)
    now = now + 1000000
    watched:message({ time = now, nsid = nsid, other = 0 },
      { object = "link", event = event or "new", portid = 0, value = value })
  end

  local function addr(nsid, dev, address, portid)
    now = now + 1000000
    watched:message({ time = now, nsid = nsid, other = 0 },
      { object = "addr", event = "new", portid = portid or 0, value = { ifindex = dev, address = address } })
  end

  local function nft(object, value)
    now = now + 1000000
    watched:message({ time = now, nsid = HOME, other = 12 },
      { object = object, event = "new", portid = 77, value = value })
  end

  local function how(entry)
    local list = {}
    for i, change in ipairs(entry.told.changes) do list[i] = ("%s %s"):format(change.by, change.text) end
    return list
  end

  it("is that of the process which sent it, whatever its namespace", function()
    local web = begin(10, { nsid = "1" })
    local db = begin(11, { nsid = "2", container = "db" })
    addr(1, 5, "10.0.0.1/24", 11)
    assert.same({}, how(web))
    assert.matches("^pid address add", how(db)[1])
  end)

  it("is that of the call which a namespace is for", function()
    local web = begin(10, { nsid = "1" })
    begin(11, { nsid = "2", container = "db" })
    link(1, { ifindex = 2, ifname = "eth0", kind = "veth" })
    assert.matches("^netns link add dev eth0", how(web)[1])
  end)

  it("goes to the network whose interface it is, of two that are added at once", function()
    local eth0 = begin(10, { nsid = "1" })
    local lo = begin(11, { nsid = "1", ifname = "lo", plugin = "loopback" })
    link(1, { ifindex = 1, ifname = "lo", up = true })
    link(1, { ifindex = 2, ifname = "veth0a", kind = "veth" })
    link(1, { ifindex = 2, ifname = "eth0", kind = "veth" })
    assert.equal(1, #how(lo))
    assert.equal(2, #how(eth0))
  end)

  it("on the node follows the link to the pod that it leads to, also what came before that was known", function()
    local web = begin(10, { nsid = "1" })
    begin(11, { nsid = "2", container = "db" })
    link(HOME, { ifindex = 7, ifname = "veth7", kind = "veth" })
    link(HOME, { ifindex = 7, ifname = "veth7", kind = "veth", link_netnsid = 1, mtu = 1400 })
    assert.equal(2, #how(web))
    assert.matches("^link link add dev veth7", how(web)[1])
  end)

  it("is a delegate's, too, that had ended when it was looked at", function()
    local web = begin(10, { nsid = "1" })
    assert.is_false(watched:begin_unseen(12, now, "/opt/cni/bin/host-local"))
    watched:forked(12, 10)
    assert.is_true(watched:begin_unseen(12, now, "/opt/cni/bin/host-local"))
    addr(1, 5, "10.0.0.1/24", 12)
    watched:finish(12, now + 1000000, 0)
    watched:finish(10, now + 2000000, 0)
    watched:flush(now, true)
    local delegate = told[1].delegates[1]
    assert.same({ "host-local", "ADD", "web", "start" },
      { delegate.plugin, delegate.command, delegate.container, delegate.seen_by })
    assert.equal(web.told, told[1])
    assert.matches("(seen by its start only)", print_of.lines(told[1]), 1, true)
  end)

  it("that came before a delegate is of who made that, when its link's later ones are the delegate's", function()
    local web = begin(10, { nsid = "1" })
    begin(11, { nsid = "2", container = "db" })
    link(HOME, { ifindex = 7, ifname = "veth7", kind = "veth" })
    local delegate = begin(12, { nsid = "1", parent = "10", plugin = "host-local" })
    link(HOME, { ifindex = 7, ifname = "veth7", kind = "veth", link_netnsid = 1, mtu = 1400 })
    assert.same({ "link link add dev veth7 type veth" }, how(web))
    assert.same({ "link link set dev veth7 mtu 1400" }, how(delegate))
    addr(1, 2, "10.0.0.1/24", 10)
    link(1, { ifindex = 2, ifname = "eth0", kind = "veth" })
    assert.equal(3, #how(web))
  end)

  it("is that of the plugin before until the next one of the chain has sent something", function()
    local bridge = begin(10, { nsid = "1" })
    local portmap = begin(11, { nsid = "1", plugin = "portmap" })
    link(1, { ifindex = 2, ifname = "eth0", kind = "veth" })
    addr(1, 2, "10.0.0.1/24", 10)
    link(HOME, { ifindex = 7, ifname = "veth7", kind = "veth", link_netnsid = 1 })
    addr(1, 2, "10.0.0.2/24", 11)
    link(HOME, { ifindex = 7, ifname = "veth7", kind = "veth", link_netnsid = 1, mtu = 1400 })
    assert.equal(3, #how(bridge))
    assert.same({ "pid address add 10.0.0.2/24 dev eth0", "link link set dev veth7 mtu 1400" }, how(portmap))
  end)

  it("is a delegate's that has sent it, also where that one is told of late", function()
    local web = begin(10, { nsid = "1" })
    addr(1, 2, "10.0.0.1/24", 12)
    assert.equal(1, #how(web))
    local delegate = begin(12, { nsid = "1", parent = "10", plugin = "static" })
    assert.same({}, how(web))
    assert.matches("^pid address add", how(delegate)[1])
  end)

  it("has its link's name also where that is heard of later", function()
    local web = begin(10, { nsid = "1" })
    addr(1, 2, "10.0.0.1/24")
    assert.matches("dev 2$", how(web)[1])
    link(1, { ifindex = 2, ifname = "eth0", kind = "veth" })
    assert.matches("dev eth0$", how(web)[1])
    assert.equal("eth0", web.told.changes[1].link)
  end)

  it("waits for a call that is known when it has ended, and is nobody's after that", function()
    watched.hold = 300000000
    begin(11, { nsid = "2", container = "db" })
    begin(12, { nsid = "4", container = "mail" })
    addr(1, 5, "10.0.0.1/24")
    addr(HOME, 9, "10.0.0.9/24")
    addr(3, 2, "10.0.0.3/24")
    link(3, { ifindex = 2, ifname = "eth0", kind = "veth" })
    local web = begin(10, { nsid = "1" })
    watched:adopt(web, 0, now)
    assert.same({ "netns address add 10.0.0.1/24 dev 5" }, how(web))
    watched:flush(now)
    assert.same({}, told)
    assert.is_true(watched:is_waiting())
    watched:flush(now + 310000000)
    assert.same({ "address add 10.0.0.9/24 dev 9", "address add 10.0.0.3/24 dev eth0" }, { told[1].text, told[2].text })
    watched:flush(now + 5010000000)
    assert.matches("^link add dev eth0", told[3].text) -- it might have led to the pod of the call
    assert.is_false(watched:is_waiting())
  end)

  it("is the only call's, when nothing else tells, and says so", function()
    local web = begin(10, { nsid = "1" })
    addr(HOME, 9, "10.0.0.1/24")
    assert.matches("^only address", how(web)[1])
  end)

  it("is nobody's, when two could have made it", function()
    begin(10, { nsid = "1" })
    begin(11, { nsid = "2", container = "db" })
    addr(HOME, 9, "10.0.0.1/24")
    watched:flush(now, true)
    assert.equal("change", told[1].type)
    assert.equal(2, told[1].running)
  end)

  it("of nftables waits for the end of its transaction, or for the loss of that", function()
    local web = begin(10, { nsid = "1" })
    nft("nft_table", { family = "inet", name = "x" })
    assert.same({}, how(web))
    nft("nft_gen", { pid = 10, process = "bridge" })
    assert.matches("^pid add table inet x", how(web)[1])
    nft("nft_table", { family = "inet", name = "y" })
    watched:lost "nft"
    assert.matches("^only add table inet y", how(web)[2])
  end)

  it("of a set of addresses has prefixes, which the kernel tells of as two elements", function()
    local web = begin(10, { nsid = "1" })
    local function element(name, ...)
      for i, bytes in ipairs { ... } do
        nft("nft_element", { family = "inet", table = "x", name = name,
          elem = { { key = bytes, flags = i == 2 and { "interval_end" } or nil } } })
      end
    end
    nft("nft_set", { family = "inet", table = "x", name = "s", type = "ipv4_addr", flags = { "interval" } })
    element("s", "\10\244\1\0", "\10\244\2\0")
    element("s", "\10\0\0\1", "\10\0\0\4")
    element("s", "\10\0\0\9", "\10\0\0\10")
    element("t", "\10\0\0\9")
    nft("nft_gen", { pid = 10, process = "bridge" })
    assert.same({
      "pid add element inet x s { 10.244.1.0/24 }", "pid add element inet x s { 10.0.0.1-10.0.0.3 }",
      "pid add element inet x s { 10.0.0.9 }",
    }, table.move(how(web), 2, 4, 1, {}))
    assert.matches("{ 0x", how(web)[5])
  end)

  it("of a delegate is in the call that it was made by", function()
    local web = begin(10, { nsid = "1" })
    begin(12, { nsid = "1", parent = "10", plugin = "host-local" })
    assert.is_not_nil(watched:finish(12, now, 0))
    watched:finish(10, now, 0)
    watched:flush(now)
    assert.equal(web.told, told[1])
    assert.equal("host-local", told[1].delegates[1].plugin)
  end)
end)

describe("what a call was given and has answered", function()
  local function entry(outputs)
    return { outputs = outputs, told = { command = "ADD", plugin = "bridge", changes = {}, delegates = {} } }
  end

  it("is taken from its pipes", function()
    local one = entry { [0] = '{"name":"net","type":"bridge"}', '{"ips":[{"address":"10.0.0.2/24"}]}', "warning\xff" }
    answers.from_pipes(one)
    assert.same({ "net", "stdin", "stdout", "warning\u{FFFD}" },
      { one.told.network, one.told.config_from, one.told.result_from, one.told.stderr })
  end)

  it("may be an error", function()
    local one = entry { [1] = '{"code":7,"msg":"no","details":{"a":1}}' }
    answers.from_pipes(one)
    assert.same({ code = 7, msg = "no" }, one.told.error)
  end)

  it("may be nothing that makes sense", function()
    for _, answer in ipairs {
      "[1]", "7", "{", '{"ips":7}', '{"ips":[1,{"address":2}],"ip4":3}', '{"code":"x","msg":1}',
    } do
      local one = entry { [0] = answer, answer }
      answers.from_pipes(one)
      one.told.type, one.told.time = "call", "2026-11-23T12:01:07.114235Z"
      assert.matches("^12:01:07.114 ADD bridge\n", print_of.lines(one.told))
    end
  end)

  it("comes from libcni's cache where the pipes were too fast", function()
    local kept = cache.parse(core.json.encode {
      kind = "cniCacheV1", containerId = "web", ifName = "eth0", networkName = "net",
      config = "eyJuYW1lIjoibmV0IiwicGx1Z2lucyI6W3sidHlwZSI6ImJyaWRnZSJ9XX0=", result = { ips = {} },
    })
    assert.same({ "web", "eth0", "net" }, { kept.container, kept.ifname, kept.network })
    assert.same({ type = "bridge", name = "net" }, cache.config_of(kept, "bridge"))
    assert.is_nil(cache.config_of(kept, "portmap"))
    assert.is_nil(cache.parse '{"kind":"cniCacheV1","containerId":7,"ifName":"eth0"}')
  end)
end)

describe("a line of --record", function()
  local change = {
    type = "change", time = "2026-11-23T12:01:07.114235Z", netns = "host", text = "link add dev x", event = "add",
    object = "link",
  }

  it("is read as what was told", function()
    assert.same(change, file.read(file.line(change)))
  end)

  it("is none when something in it is not what --read looks for", function()
    local wrong = file.line(change):gsub('"host"', "7")
    for _, line in ipairs { "", "{}", "[]", '{"type":"change"}', '{"type":"x","time":"x"}', wrong } do
      assert.is_nil(file.read(line), line)
    end
  end)

  it("goes without documents that are nested too deep for it", function()
    local deep = core.json.decode(('{"a":'):rep(64) .. "1" .. ("}"):rep(64))
    local call = {
      type = "call", time = change.time, command = "ADD", plugin = "bridge", config = deep, config_from = "stdin",
      changes = core.json.array {}, delegates = core.json.array {},
    }
    local again = file.read(file.line(call))
    assert.equal("bridge", again.plugin)
    assert.is_nil(again.config)
  end)
end)
