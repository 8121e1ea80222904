-- SPDX-License-Identifier: Apache-2.0
-- The guard of a pod's port without a kernel: which MAC address it takes, and what it says where it cannot work.

local core = require "mncni.core"
local guard = require "mncni.guard"
local steps = require "mncni.steps"

local function nothing()
  return function() end
end

local function record(c, args)
  args.bridge = "cbr0"
  guard.record(c, args)
end

local function context(refusal)
  return steps.new { host = { nft = { rule = { list = nothing }, batch = function()
    error(core.error { errno = refusal, message = "refused" }, 0)
  end } } }
end

describe("the guard of a pod's port", function()
  it("takes the same MAC address for the same attachment, and one that is locally administered", function()
    local mac = guard.mac("web", "eth0")
    assert.are.equal(mac, guard.mac("web", "eth0"))
    assert.are_not.equal(mac, guard.mac("web", "eth1"))
    assert.are.equal(2, tonumber(mac:sub(1, 2), 16) & 3)
  end)

  it("names the options where the kernel has no nftables for bridges", function()
    for _, errno in ipairs { 2, 93, 95, 97 } do -- ENOENT, EPROTONOSUPPORT, EOPNOTSUPP, EAFNOSUPPORT
      local c = context(errno)
      record(c, { port = "veth0", mac = "02:00:00:00:00:01", lease = true })
      local ok, err = pcall(c.commit, c)
      assert.is_false(ok)
      assert.are.equal(7, err.code)
      assert.truthy(tostring(err):find("macspoofchk", 1, true), tostring(err))
      assert.truthy(tostring(err):find("CONFIG_NF_TABLES_BRIDGE", 1, true), tostring(err))
    end
  end)

  it("passes on what else the kernel says", function()
    local c = context(1)
    record(c, { port = "veth0", mac = "02:00:00:00:00:01", lease = true })
    local ok, err = pcall(c.commit, c)
    assert.is_false(ok)
    assert.are.equal("EPERM", err.name)
    assert.falsy(tostring(err):find("macspoofchk", 1, true))
  end)

  it("can be recorded, and looked at afterwards", function()
    local host = require("mncni.recorded").new({}).host
    local c = steps.new { host = host }
    local lease = { addresses = { { address = "10.0.0.2/24" }, { address = "fd00::2/64" } } }
    record(c, { port = "veth0", mac = "02:00:00:00:00:01", lease = lease })
    record(c, { port = "veth1", mac = "02:00:00:00:00:02", lease = true })
    c:commit()
    local needs = { port = "veth0", mac = "02:00:00:00:00:01", addresses = { "10.0.0.2", "fd00::2" } }
    guard.check(host, needs, function(...) error(table.concat({ ... }, " ")) end)
    local count = 0
    for _ in host.nft.element.list { family = "bridge", table = "mncni", name = "macs" } do
      count = count + 1
    end
    assert.are.equal(2, count)
    needs.mac = "02:00:00:00:00:03"
    local differences = {}
    guard.check(host, needs, function(object) differences[#differences + 1] = object end)
    assert.are.equal('nft set "bridge mncni macs"', differences[1])
  end)

  it("is for ports of a bridge", function()
    local ok, err = pcall(guard.record, context(1), { port = "veth0", mac = "02:00:00:00:00:01", lease = true })
    assert.is_false(ok)
    assert.truthy(tostring(err):find("needs a bridge as master", 1, true))
  end)

  it("refuses what is no MAC address", function()
    local ok, err = pcall(record, context(1), { port = "veth0", mac = "02:00", lease = true })
    assert.is_false(ok)
    assert.are.equal(7, err.code)
  end)
end)
