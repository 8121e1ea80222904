-- SPDX-License-Identifier: Apache-2.0
-- What a journal undoes of nftables, and of settings that hang on a set: without a policy, by the entries alone.

local core = require "mncni.core"
local lfs = require "lfs"
local ruleset = require "mncni.ruleset"
local spaces = require "spec.support.netns"

local KEY = "net/ipv4/conf/lo/route_localnet"

describe("undoing a journal", function()
  local node, directory

  before_each(function()
    node = spaces.new "node"
    directory = spaces.must "mktemp -d"
    node:must "nft add table ip t; nft add set ip t s '{ type ipv4_addr; }'"
    node:must "nft add element ip t s '{ 10.0.0.1, 10.0.0.2, 10.0.0.3 }'"
  end)

  after_each(function()
    spaces.cleanup()
    spaces.must("rm -rf %s", directory)
  end)

  local function element(address, set)
    return { family = "ip", table = "t", name = set or "s", elem = { { key = { address = address } } } }
  end

  local function elements()
    local list = {}
    for address in node:sh("nft list set ip t s"):gmatch "10%.0%.0%.%d+" do
      list[#list + 1] = address
    end
    return table.concat(list, " ")
  end

  -- Undoes a journal of one line; returns the error, if there is one.
  local function undo(entry)
    return node:run(function()
      local journal <close>, created = core.journal.open {
        state_dir = directory, network = "n", container = "c", type = "t", ifname = "eth0", create = true,
      }
      assert.is_true(created)
      journal:append(core.json.encode { undo = entry })
      local ok, err = pcall(journal.undo, journal, "del")
      assert.are.equal(not ok, lfs.attributes(journal:path()) ~= nil) -- a failure keeps it, and nothing else does
      if not ok then
        journal:remove()
        return err
      end
    end)
  end

  local function undone(entry)
    local err = undo(entry)
    assert.is_nil(err, tostring(err))
  end

  local function refused(entry, message)
    local err = undo(entry)
    assert.are.same({ 5, message }, { err and err.code, err and err.message }, core.json.encode(entry))
  end

  local function list_of(set)
    return ruleset.hex(core.encode("dump", "nft_element", { family = "ip", table = "t", name = set }))
  end

  local function setting()
    return node:run(core.sysctl.get, nil, KEY)
  end

  it("takes out all elements of a transaction", function()
    undone(ruleset.undo { element "10.0.0.1", element "10.0.0.3" })
    assert.are.equal("10.0.0.2", elements())
  end)

  it("takes out the others when some are gone, wherever they stood", function()
    for _, gone in ipairs {
      "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1, 10.0.0.3", "10.0.0.1, 10.0.0.2, 10.0.0.3",
    } do
      node:must("nft delete element ip t s '{ " .. gone .. " }'; nft add element ip t s '{ 10.0.0.4 }'")
      undone(ruleset.undo { element "10.0.0.1", element "10.0.0.2", element "10.0.0.3" })
      assert.are.equal("10.0.0.4", elements(), gone)
      node:must "nft add element ip t s '{ 10.0.0.1, 10.0.0.2, 10.0.0.3 }'"
    end
  end)

  it("takes a set that is gone for elements that are gone", function()
    undone(ruleset.undo { element("10.0.0.1", "nosuch"), element "10.0.0.1" })
    assert.are.equal("10.0.0.2 10.0.0.3", elements())
    node:must "nft flush ruleset"
    undone(ruleset.undo { element "10.0.0.1", element "10.0.0.2" })
    assert.are.equal("", node:sh "nft list ruleset")
  end)

  it("tries every entry of a list, keeps the journal after a failure and names the first", function()
    refused(core.json.array { { op = "nonsense" }, ruleset.undo { element "10.0.0.1" }, { op = "sysctl" } },
      "this version of mncni does not know how; a newer one wrote the journal")
    assert.are.equal("10.0.0.2 10.0.0.3", elements())
  end)

  it("puts a setting back only when nobody is in the set that says who needs it", function()
    local entry = { op = "sysctl", key = KEY, value = "0", unless = { message = list_of "s", value = "1" } }
    node:must("echo 1 >/proc/sys/" .. KEY)
    undone(entry)
    assert.are.equal("1", setting())
    node:must("nft flush set ip t s")
    undone(entry)
    assert.are.equal("0", setting())
    -- It is right afterwards, not only left as it was.
    node:must "nft add element ip t s '{ 10.0.0.1 }'"
    undone(entry)
    assert.are.equal("1", setting())
    node:must "nft flush ruleset"
    undone(entry)
    assert.are.equal("0", setting())
  end)

  local function netfilter(message)
    return { op = "netlink", protocol = "netfilter", message = message }
  end

  it("refuses entries that it cannot read, and does nothing of them", function()
    node:must("echo 1 >/proc/sys/" .. KEY)
    local list = list_of "s"
    for _, unless in ipairs { "", "zz", "00", list:sub(1, -3), list:sub(1, 40), list .. "00" } do
      refused({ op = "sysctl", key = KEY, value = "0", unless = { message = unless, value = "1" } },
        'the journal\'s entry has no usable "unless"')
    end
    refused({ op = "sysctl", key = KEY, value = "0", unless = {} }, 'the journal\'s entry has no usable "key"')
    assert.are.equal("1", setting())
    local route = ruleset.hex(core.encode("del", "link", { ifname = "lo" }))
    for _, message in ipairs { "", "zz", "14000000", route:sub(1, -3), route:sub(1, 32), route .. "00" } do
      refused(netfilter(message), 'the journal\'s entry has no usable "message"')
      refused({ op = "netlink", protocol = "route", message = message }, 'the journal\'s entry has no usable "message"')
    end
    refused({ op = "netlink", message = route }, 'the journal\'s entry has no usable "message"')
    refused(core.json.array { core.json.array { { op = "sysctl" } } }, 'the journal\'s entry has no usable "op"')
    assert.are.equal("10.0.0.1 10.0.0.2 10.0.0.3", elements())
  end)

  describe("of elements with a proof of ownership", function()
    local MINE, THEIRS = "0a000001", "0a000002"

    before_each(function()
      node:must "nft add set ip t owners '{ type ipv4_addr . mark; }'; nft add set ip t more '{ type ipv4_addr; }'"
      node:must "nft add element ip t owners '{ 10.0.0.1 . 1, 10.0.0.2 . 2, 10.0.0.3 . 1 }'"
      node:must "nft add element ip t more '{ 10.0.0.1, 10.0.0.2, 10.0.0.3 }'"
    end)

    -- The groups of keys of these addresses that 1 takes for its own.
    local function entry(...)
      local keys = core.json.array {}
      for i, address in ipairs { ... } do
        keys[i] = core.json.array { address .. ruleset.hex(string.pack("=I4", 1)), address, address }
      end
      return { op = "elements", family = 2, table = "t", sets = core.json.array { "owners", "s", "more" }, keys = keys }
    end

    local function all()
      local text = node:sh "nft list table ip t":gsub("%s+", " ")
      local found = {}
      for name, list in text:gmatch "set (%w+) {[^=]-elements = {([^}]*)}" do
        local parts = {}
        for part in list:gsub("0x0+", ""):gmatch "[^,]+" do
          parts[#parts + 1] = part:match "^ ?(.-) ?$"
        end
        table.sort(parts)
        found[name] = table.concat(parts, ", ")
      end
      return found
    end

    it("takes out what is ours", function()
      undone(entry(MINE, "0a000003"))
      assert.are.same({ owners = "10.0.0.2 . 2", s = "10.0.0.2", more = "10.0.0.2" }, all())
    end)

    it("leaves what is somebody else's, and takes the rest", function()
      undone(entry(MINE, THEIRS, "0a000003"))
      assert.are.same({ owners = "10.0.0.2 . 2", s = "10.0.0.2", more = "10.0.0.2" }, all())
      undone(entry(THEIRS))
      assert.are.same({ owners = "10.0.0.2 . 2", s = "10.0.0.2", more = "10.0.0.2" }, all())
    end)

    it("takes the proof where something behind it is gone, and does without a set that has no key", function()
      node:must "nft delete element ip t more '{ 10.0.0.1 }'"
      undone(entry(MINE))
      assert.are.equal("10.0.0.2 . 2, 10.0.0.3 . 1", all().owners)
      local other = entry "0a000003"
      other.keys[1][3] = ""
      undone(other)
      assert.are.same({ "10.0.0.2 . 2", "10.0.0.2, 10.0.0.3" }, { all().owners, all().more })
    end)

    it("takes a table that is gone for elements that are gone", function()
      node:must "nft flush ruleset"
      undone(entry(MINE, THEIRS))
      assert.are.equal("", node:sh "nft list ruleset")
    end)

    it("refuses what it cannot read, and does nothing of it", function()
      local before = all()
      local function broken(change)
        local one = entry(MINE, "0a000003")
        change(one)
        refused(one, 'the journal\'s entry has no usable "keys"')
        assert.are.same(before, all())
      end
      broken(function(one) one.family = nil end)
      broken(function(one) one.table = nil end)
      broken(function(one) one.table = ("t"):rep(300) end)
      broken(function(one) one.sets = core.json.array { "owners" } end)
      broken(function(one) one.sets[2] = 7 end)
      broken(function(one) one.sets[2] = ("s"):rep(300) end)
      broken(function(one) one.keys = core.json.array {} end)
      broken(function(one) one.keys[2] = "0a000003" end)
      broken(function(one) one.keys[2] = core.json.array {} end)
      broken(function(one) one.keys[2][1] = "" end)
      broken(function(one) one.keys[2][2] = "zz" end)
      broken(function(one) one.keys[2][2] = ("00"):rep(65) end)
      broken(function(one) one.keys[2][2] = 5 end)
    end)
  end)

  it("refuses to forget connections that it is not told well", function()
    for key, value in pairs { answerer = "nobody", ports = 53, protocol = "udp" } do
      local entry = { op = "conntrack", protocol = 17, ports = core.json.array { 53 }, answerer = "10.0.0.1" }
      undone(entry)
      entry[key] = value
      refused(entry, 'the journal\'s entry has no usable "answerer"')
    end
    refused({ op = "conntrack", protocol = 17, ports = core.json.array { 65536 }, answerer = "10.0.0.1" },
      'the journal\'s entry has no usable "ports"')
  end)

  -- Without an end the kernel answers each part with success, and does none; with a part that is gone it would
  -- otherwise be done piece by piece. What its entry says was damaged: it was written with its end.
  it("refuses a transaction that is not all there, whatever is left of it, and does nothing of it", function()
    local FRAME = 40 -- digits of a beginning, and of an end
    for _, other in ipairs { "10.0.0.2", "10.0.0.9" } do
      local whole = ruleset.undo { element(other), element "10.0.0.1" }.message
      local parts = whole:sub(FRAME + 1, -FRAME - 1)
      local first, last = whole:sub(1, FRAME), whole:sub(-FRAME)
      for what, message in pairs {
        ["no end"] = first .. parts,
        ["half an end"] = whole:sub(1, -FRAME // 2 - 1),
        ["half a part"] = whole:sub(1, -FRAME - 21),
        ["one part, no end"] = first .. parts:sub(1, #parts // 2),
        ["no beginning"] = parts .. last,
        ["no frame"] = parts,
        ["no parts"] = first .. last,
        ["two beginnings"] = first .. first .. parts .. last,
        ["more after its end"] = whole .. parts,
        ["another transaction after it"] = whole .. whole,
        ["more bytes after it"] = whole .. "0000",
      } do
        refused(netfilter(message), 'the journal\'s entry has no usable "message"')
        assert.are.equal("10.0.0.1 10.0.0.2 10.0.0.3", elements(), what)
      end
    end
  end)

  describe("of rules", function()
    local function rules(comment, args)
      args = args or { family = "ip", table = "t", chain = "c" }
      return { op = "rules", comment = comment, list = ruleset.hex(core.encode("dump", "nft_rule", args)) }
    end

    local function left()
      local list = {}
      for address in node:sh("nft list chain ip t c"):gmatch "ip saddr 10%.0%.0%.(%d+)" do
        list[#list + 1] = address
      end
      return table.concat(list, " ")
    end

    before_each(function()
      node:must "nft add chain ip t c; nft add chain ip t other"
      for i, comment in ipairs { "mine", "other", "mine", "mine too", "" } do
        node:must(("nft add rule ip t c ip saddr 10.0.0.%d accept%s"):format(i,
          comment ~= "" and (" comment '\"%s\"'"):format(comment) or ""))
      end
      node:must "nft add rule ip t other ip saddr 10.0.0.9 accept comment mine"
    end)

    it("takes those of the chain that have the comment, and no others", function()
      undone(rules "mine")
      assert.are.equal("2 4 5", left())
      assert.truthy(node:sh("nft list chain ip t other"):find("10.0.0.9", 1, true))
      undone(rules "mine")
      assert.are.equal("2 4 5", left())
    end)

    it("finds the comment where iptables-restore puts it", function()
      node:must "iptables -A FORWARD -s 10.0.0.1 -m comment --comment mine -j ACCEPT"
      node:must "iptables -A FORWARD -s 10.0.0.2 -m comment --comment 'mine too' -j ACCEPT"
      undone(rules("mine", { family = "ip", table = "filter", chain = "FORWARD" }))
      local text = node:sh "iptables -S FORWARD"
      assert.falsy(text:find("10.0.0.1", 1, true), text)
      assert.truthy(text:find("10.0.0.2", 1, true), text)
    end)

    it("takes a chain or a table that is gone for rules that are gone", function()
      undone(rules("mine", { family = "ip", table = "t", chain = "nosuch" }))
      undone(rules("mine", { family = "ip6", table = "t", chain = "c" }))
      assert.are.equal("1 2 3 4 5", left())
    end)

    it("takes its own while others come and go all the time", function()
      for i = 1, 20 do
        node:must(("nft add rule ip t c ip saddr 10.0.1.%d accept comment r%d"):format(i, i))
      end
      local busy = "for i in $(seq 40); do nft add rule ip t other accept; done"
      node:must(("( %s ) >/dev/null 2>&1 & echo $! >%s/busy"):format(busy, directory))
      for i = 1, 20 do
        undone(rules("r" .. i))
      end
      node:must(("while kill -0 $(cat %s/busy) 2>/dev/null; do sleep 0.05; done"):format(directory))
      assert.falsy(node:sh("nft list chain ip t c"):find("10.0.1.", 1, true))
      assert.are.equal("1 2 3 4 5", left())
    end)

    it("refuses an entry that does not tell which", function()
      local list = rules("mine").list
      refused({ op = "rules", list = list }, 'the journal\'s entry has no usable "comment"')
      refused({ op = "rules", list = list, comment = "" }, 'the journal\'s entry has no usable "comment"')
      for _, other in ipairs { "", "zz", list:sub(1, -3), list_of "s" } do
        refused({ op = "rules", list = other, comment = "mine" }, 'the journal\'s entry has no usable "list"')
      end
      assert.are.equal("1 2 3 4 5", left())
    end)
  end)
end)
