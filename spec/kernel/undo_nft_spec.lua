-- SPDX-License-Identifier: Apache-2.0
-- What a journal undoes of nftables, and of settings that hang on a set: without a policy, by the entries alone.

local core = require "mncni.core"
local mncni = require "mncni"
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

  -- Undoes one line; returns the error, and whether the journal is still there.
  local function undo(entry)
    return node:run(function()
      local journal <close> = core.journal.open {
        state_dir = directory, network = "n", container = "c", type = "t", ifname = "eth0", create = true,
      }
      journal:append(core.json.encode { undo = entry })
      local ok, err = pcall(journal.undo, journal, "del")
      return not ok and err or nil, io.open(journal:path()) ~= nil
    end)
  end

  local function list_of(set)
    return ruleset.hex(core.encode("dump", "nft_element", { family = "ip", table = "t", name = set }))
  end

  local function setting()
    return node:run(core.sysctl.get, nil, KEY)
  end

  it("takes out all elements of a transaction", function()
    assert.is_nil(undo(ruleset.undo { element "10.0.0.1", element "10.0.0.3" }))
    assert.are.equal("10.0.0.2", elements())
  end)

  it("takes out the others when one is gone, wherever it stood", function()
    for _, gone in ipairs { "10.0.0.1", "10.0.0.2", "10.0.0.3" } do
      node:must("nft delete element ip t s '{ " .. gone .. " }'")
      assert.is_nil(undo(ruleset.undo { element "10.0.0.1", element "10.0.0.2", element "10.0.0.3" }))
      assert.are.equal("", elements())
      node:must "nft add element ip t s '{ 10.0.0.1, 10.0.0.2, 10.0.0.3 }'"
    end
  end)

  it("takes a set that is gone for elements that are gone", function()
    assert.is_nil(undo(ruleset.undo { element("10.0.0.1", "nosuch"), element "10.0.0.1" }))
    assert.are.equal("10.0.0.2 10.0.0.3", elements())
    node:must "nft flush ruleset"
    assert.is_nil(undo(ruleset.undo { element "10.0.0.1", element "10.0.0.2" }))
  end)

  it("tries every entry of a list, keeps the journal after a failure and names the first", function()
    local err, kept = undo(core.json.array {
      { op = "nonsense" }, ruleset.undo { element "10.0.0.1" }, { op = "sysctl" },
    })
    assert.truthy(tostring(err):find("nonsense", 1, true), tostring(err))
    assert.is_true(kept)
    assert.are.equal("10.0.0.2 10.0.0.3", elements())
  end)

  it("puts a setting back only when nobody is in the set that says who needs it", function()
    local entry = { op = "sysctl", key = KEY, value = "0", unless = { message = list_of "s", value = "1" } }
    node:must("echo 1 >/proc/sys/" .. KEY)
    assert.is_nil(undo(entry))
    assert.are.equal("1", setting())
    node:must("nft flush set ip t s")
    assert.is_nil(undo(entry))
    assert.are.equal("0", setting())
    -- It is right afterwards, not only left as it was.
    node:must "nft add element ip t s '{ 10.0.0.1 }'"
    assert.is_nil(undo(entry))
    assert.are.equal("1", setting())
    node:must "nft flush ruleset"
    assert.is_nil(undo(entry))
    assert.are.equal("0", setting())
  end)

  it("refuses entries that it cannot read", function()
    for _, entry in ipairs {
      { op = "sysctl", key = KEY, value = "0", unless = {} },
      { op = "sysctl", key = KEY, value = "0", unless = { message = "zz", value = "1" } },
      { op = "sysctl", key = KEY, value = "0", unless = { message = "00", value = "1" } },
      { op = "netlink", protocol = "netfilter", message = "14000000" },
      { op = "netlink", protocol = "netfilter", message = "" },
      core.json.array { core.json.array { { op = "sysctl" } } },
    } do
      local err, kept = undo(entry)
      assert.are.equal(5, err and err.code, core.json.encode(entry))
      assert.is_true(kept)
    end
  end)

  it("does no harm with a transaction that was cut short", function()
    local whole = ruleset.undo { element "10.0.0.9", element "10.0.0.1" }
    whole.message = whole.message:sub(1, -41) -- without its end nothing happens
    undo(whole)
    assert.truthy(elements():find("10.0.0.2", 1, true))
    local host <close> = mncni.open(node.ns)
    assert.is_not_nil(host.nft.set.get { family = "ip", table = "t", name = "s" })
  end)
end)
