-- SPDX-License-Identifier: Apache-2.0
-- mncni.nft: the language of nft, as whoever knows nft expects it.

local core = require "mncni.core"
local lfs = require "lfs"
local nft = require "mncni.nft"
local spaces = require "spec.support.netns"

describe("mncni.nft", function()
  local node, before

  before_each(function()
    before = spaces.snapshot()
    node = spaces.new "node"
  end)

  after_each(function()
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  local function run(commands, args)
    args = args or {}
    args[1], args.netns = commands, node.ns
    return nft.run(args)
  end

  -- The error that a call raises.
  local function raised(...)
    local ok, err = pcall(...)
    assert.is_false(ok)
    assert.is_true(core.is_error(err), tostring(err))
    return err
  end

  it("runs commands, and lists as nft -j does", function()
    assert.are.same({}, run [[
      add table inet x
      add chain inet x c { type filter hook forward priority 0; policy accept; }
      add set inet x s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.7 } }
      add rule inet x c ip saddr @s counter drop comment "no"
    ]])
    local theirs = core.json.decode(node:must "nft -j list ruleset").nftables
    table.remove(theirs, 1) -- what tells of the program
    assert.are.same(theirs, run "list ruleset")
    assert.are.same(theirs, nft.list { netns = node.ns })
    local listed = nft.list { "set inet x s", netns = node.ns }
    assert.are.equal("s", listed[1].set.name)
    assert.are.equal(2, #listed[1].set.elem)
    assert.are.equal(10, listed[1].set.elem[1].prefix.len and #"10.0.0.0/8")
  end)

  it("takes JSON as tables: the document, its list of commands, or one of them", function()
    local commands = { { add = { table = { family = "ip", name = "j" } } } }
    run(commands)
    assert.are.equal("table ip j", node:sh "nft list tables")
    nft.run { { delete = { table = { family = "ip", name = "j" } } }, netns = node.ns }
    assert.are.equal("", node:sh "nft list tables")
    run(commands)
    run { nftables = { { delete = { table = { family = "ip", name = "j" } } } } }
    assert.are.equal("", node:sh "nft list tables")
  end)

  it("takes back what it lists", function()
    run "add table inet x; add chain inet x c; add rule inet x c tcp dport { 22, 80 } accept"
    local text, list = node:sh "nft list ruleset", {}
    for i, object in ipairs(run "list ruleset") do
      list[i] = { add = object }
    end
    run "flush ruleset"
    run(list)
    assert.are.equal(text, node:sh "nft list ruleset")
  end)

  it("does all or nothing", function()
    local err = raised(run, "add table inet x\nadd chain inet nosuch c\n")
    assert.are.equal("ENOENT", err.name)
    assert.are.equal("", node:sh "nft list tables")
  end)

  it("tells what the library says, and where", function()
    local err = raised(run, "add table inet x\nadd chain inet x c { tpye filter; }\n")
    assert.are.same({ "nft", "line 2, column 22", 2, 22 }, { err.op, err.object, err.text_line, err.text_column })
    assert.are.equal("No symbol type information", err.message)
    assert.truthy(err.details:find("tpye", 1, true), err.details)
    assert.truthy(tostring(err):find("nft line 2, column 22: No symbol", 1, true), tostring(err))
    run "add table inet x"
    err = raised(run, "create table inet x")
    assert.are.same({ "EEXIST", "nft line 1, column 19: EEXIST File exists: Could not process rule: File exists" },
      { err.name, tostring(err) })
    assert.truthy(raised(run, { { add = { tabel = {} } } }).message:find("Unknown object", 1, true))
    assert.are.equal("", spaces.must "nft list tables") -- and nowhere else
  end)

  it("changes nothing in a dry run, and finds mistakes all the same", function()
    run("add table inet x", { dry_run = true })
    assert.are.equal("", node:sh "nft list tables")
    raised(run, "add tabel inet x", { dry_run = true })
  end)

  it("tells what was added, with its handle, when asked", function()
    run "add table inet x; add chain inet x c"
    local added = run("add rule inet x c accept", { echo = true })
    assert.are.equal("c", added[1].add.rule.chain)
    local handle = added[1].add.rule.handle
    run(("delete rule inet x c handle %d"):format(handle))
    assert.falsy(node:sh("nft list ruleset"):find("accept", 1, true))
  end)

  it("leaves out elements and counters when asked", function()
    run "add table ip x; add set ip x s { type ipv4_addr; elements = { 10.0.0.1 }; }"
    run "add chain ip x c; add rule ip x c counter packets 5 bytes 9 accept"
    assert.is_nil(nft.list({ "set ip x s", netns = node.ns, terse = true })[1].set.elem)
    assert.are.equal(5, nft.list({ "chain ip x c", netns = node.ns })[2].rule.expr[1].counter.packets)
    local plain = nft.list { "chain ip x c", netns = node.ns, stateless = true }
    assert.are.equal(core.json.null, plain[2].rule.expr[1].counter)
  end)

  it("runs a file, with values of its own", function()
    local path = os.tmpname()
    do
      local file <close> = assert(io.open(path, "w"))
      file:write "add table inet y\nadd chain inet y c\nadd rule inet y c tcp dport $port ip saddr $who accept\n"
    end
    local values = { who = "{ 10.0.0.1, 10.0.0.2 }", port = 80 }
    assert.are.same({}, nft.run { file = path, define = values, netns = node.ns })
    os.remove(path)
    local text = node:sh "nft list chain inet y c"
    assert.truthy(text:find("tcp dport 80 ip saddr { 10.0.0.1, 10.0.0.2 } accept", 1, true), text)
    run("add rule inet y c tcp dport $port drop", { define = { port = 81 } })
    assert.truthy(node:sh("nft list chain inet y c"):find("tcp dport 81 drop", 1, true))
    assert.truthy(raised(nft.run, { file = "/nonexistent", netns = node.ns }).message:find "nonexistent")
  end)

  it("works in the namespace that it is called in, without one given", function()
    node:run(nft.run, "add table inet here")
    assert.are.equal("table inet here", node:sh "nft list tables")
    assert.are.equal("here", node:run(nft.list)[1].table.name)
    assert.are.same({}, nft.list())
  end)

  it("refuses what it does not understand, naming it", function()
    for message, call in pairs {
      ['unknown key "dryrun"; did you mean "dry_run"?'] = { nft.run, { "", dryrun = true } },
      ['unknown key "echo"'] = { nft.list, { echo = true } },
      ["commands are a string, or a table as nft's JSON has them, not a number"] = { nft.run, { 5 } },
      ["not a nil"] = { nft.run }, ["zero byte"] = { nft.run, "add table inet x\0" },
      ["dry_run is true or false, not a number"] = { nft.run, { "", dry_run = 1 } },
      ["netns is a handle of mncni.netns, not a string"] = { nft.run, { "", netns = "/run/netns/node" } },
      ["file is a path, in place of commands"] = { nft.run, { "", file = "x" } },
      ["define has names and values that are text"] = { nft.run, { "", define = { a = {} } } },
      ["define is a table"] = { nft.run, { "", define = 5 } },
      ["what is a string"] = { nft.list, { {} } },
    } do
      local err = raised(table.unpack(call))
      assert.truthy(tostring(err):find(message, 1, true), tostring(err))
    end
    assert.are.equal("", spaces.must "nft list tables")
  end)

  it("keeps nothing open, however it ends", function()
    local function open()
      local count = 0
      for _ in lfs.dir "/proc/self/fd" do
        count = count + 1
      end
      return count
    end
    run "add table inet x"
    local first = open()
    for _ = 1, 50 do
      run "list ruleset"
      pcall(run, "nonsense")
      pcall(nft.run, { "add table inet x", netns = node.ns, define = { a = {} } })
    end
    assert.are.equal(first, open())
  end)

  it("is no part of the plugin, the agent or the library", function()
    for _, program in ipairs { "bin/mncni", "bin/mncni-agent", "lib/libmncni.so", "lib/lua/5.4/mncni/core.so" } do
      local needs = spaces.must("readelf -d %s", os.getenv "MNCNI_BUILD" .. "/" .. program)
      assert.falsy(needs:find("nftables", 1, true), program)
    end
  end)
end)
