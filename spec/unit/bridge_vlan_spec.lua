-- SPDX-License-Identifier: Apache-2.0
-- VLANs without a kernel: what a configuration says of them, what the netlink messages are, and what the recorded net
-- and a dry run make of the policy bridge.

local core = require "mncni.core"
local mncni = require "mncni"
local policies = require "mncni.testing"
local print_lines = require "mncni.print"

local untagged = { "PVID", "Egress Untagged" }

describe("the VLANs of a configuration", function()
  it("are none where it says nothing", function()
    assert.is_nil(mncni.bridge.vlans())
    assert.is_nil(mncni.bridge.vlans(0))
  end)

  for what, case in pairs {
    ["an access VLAN"] = { 100, nil, { { vlan = 100, flags = untagged } } },
    ["an empty trunk"] = { 0, {}, { { vlan = 1, flags = untagged } } },
    ["a trunk"] = { nil, { { id = 101 }, { minID = 200, maxID = 210 } },
      { { vlan = 1, flags = untagged }, { vlan = 101 }, { vlan = 200, vlanEnd = 210 } } },
    ["entries that overlap, and one entry with all"] = { nil,
      { { id = 7, minID = 2, maxID = 4 }, { minID = 4, maxID = 6 } },
      { { vlan = 1, flags = untagged }, { vlan = 2, vlanEnd = 7 } } },
    ["a trunk with the VLAN of untagged frames in it"] = { 5, { { minID = 4, maxID = 6 } },
      { { vlan = 5, flags = untagged }, { vlan = 4 }, { vlan = 6 } } },
    ["all of them"] = { nil, { { minID = 1, maxID = 4094 } },
      { { vlan = 1, flags = untagged }, { vlan = 2, vlanEnd = 4094 } } },
    ["the first next to the untagged one"] = { 5, { { id = 6 } }, { { vlan = 5, flags = untagged }, { vlan = 6 } } },
  } do
    it("are, of " .. what .. ", what a port needs", function()
      assert.same(case[3], mncni.bridge.vlans(case[1], case[2]))
    end)
  end

  for what, case in pairs {
    ["an id of 0"] = { { { id = 0 } }, "vlanTrunk[1].id" },
    ["an id of 4095"] = { { { id = 1 }, { id = 4095 } }, "vlanTrunk[2].id" },
    ["an id that is no integer"] = { { { id = "5" } }, "vlanTrunk[1].id" },
    ["a minID of -1"] = { { { minID = -1, maxID = 5 } }, "vlanTrunk[1].minID" },
    ["a maxID of 4095"] = { { { minID = 1, maxID = 4095 } }, "vlanTrunk[1].maxID" },
    ["minID without maxID"] = { { { minID = 5 } }, "maxID is missing" },
    ["maxID without minID"] = { { { maxID = 5 } }, "minID is missing" },
    ["minID behind maxID"] = { { { minID = 6, maxID = 5 } }, "minID 6 is greater than maxID 5" },
    ["nothing"] = { { {} }, "names no VLAN" },
  } do
    it("are refused with " .. what, function()
      local ok, err = pcall(mncni.bridge.vlans, nil, case[1])
      assert.is_false(ok)
      assert.equal(7, err.code)
      assert.is_truthy(tostring(err):find(case[2], 1, true), tostring(err))
    end)
  end
end)

describe("the object vlan", function()
  local args = { ifindex = 5, vlans = { { vlan = 100, flags = untagged }, { vlan = 200, vlanEnd = 210 } } }

  -- linux/if_bridge.h: flags and VLAN of each struct bridge_vlan_info; 8 and 16 are the ends of a range.
  it("is one attribute for each VLAN, and two for a range", function()
    local bytes = core.encode("add", "vlan", args)
    local length, message = string.unpack("=I4I2", bytes)
    assert.same({ #bytes, 19 }, { length, message }) -- RTM_SETLINK
    local attributes = ""
    for _, pair in ipairs { { 6, 100 }, { 8, 200 }, { 16, 210 } } do
      attributes = attributes .. string.pack("=I2I2I2I2", 8, 2, pair[1], pair[2])
    end
    assert.equal(attributes, bytes:sub(-#attributes))
    assert.equal(17, (string.unpack("=I2", core.encode("del", "vlan", args), 5))) -- RTM_DELLINK
  end)

  it("is what it was after a message of the kernel's", function()
    assert.same(args, core.decode(core.encode("new", "vlan", args))[1].value)
  end)

  it("is told from the link of the same message type by its family", function()
    assert.equal("vlan", core.decode(core.encode("new", "vlan", args))[1].object)
    assert.equal("link", core.decode(core.encode("new", "link", { ifindex = 5 }))[1].object)
    assert.equal("del", core.decode(core.encode("del", "vlan", args))[1].event)
  end)

  for what, case in pairs {
    ["no VLAN at all"] = { { ifindex = 5 }, "vlans" },
    ["an element without its VLAN"] = { { ifindex = 5, vlans = { { flags = { "PVID" } } } }, "needs its vlan" },
    ["VLAN 4095"] = { { ifindex = 5, vlans = { { vlan = 4095 } } }, "from 1 to 4094" },
    ["a range that ends before it begins"] = { { ifindex = 5, vlans = { { vlan = 9, vlanEnd = 4 } } }, "less than" },
    ["a flag that there is not"] = { { ifindex = 5, vlans = { { vlan = 9, flags = { "pvid" } } } }, "PVID" },
    ["an unknown key"] = { { ifindex = 5, vlans = { { vlan = 9, vlan_end = 10 } } }, "vlanEnd" },
  } do
    it("is refused with " .. what, function()
      local ok, err = pcall(core.encode, "add", "vlan", case[1])
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find(case[2], 1, true), tostring(err))
    end)
  end

  it("survives what is no whole attribute", function()
    local bytes = core.encode("new", "vlan", { ifindex = 5, raw = { IFLA_AF_SPEC = { [2] = "\1\2\3" } } })
    local value = core.decode(bytes)[1].value
    assert.is_nil(value.vlans)
    assert.same({ IFLA_AF_SPEC = { [2] = "\1\2\3" } }, value.raw)
    -- The end of a range that has not begun stands for itself.
    value = core.decode(core.encode("new", "vlan", {
      ifindex = 5, raw = { IFLA_AF_SPEC = { [2] = string.pack("=I2I2", 16, 7) } },
    }))[1].value
    assert.same({ { vlan = 7 } }, value.vlans)
  end)

  it("prints as lines of bridge", function()
    local entry = { dev = "v0", flags = { "self" }, vlans = args.vlans }
    assert.equal("bridge vlan add dev v0 vid 100 pvid untagged self\nbridge vlan add dev v0 vid 200-210 self",
      print_lines.describe("vlan", entry))
    assert.same({ "bridge -n pod vlan del dev v0 vid 100 self", "bridge -n pod vlan del dev v0 vid 200-210 self" },
      print_lines.commands("del", "vlan", entry, "pod"))
  end)
end)

describe("a recorded bridge", function()
  local world

  before_each(function()
    world = mncni.recorded.new()
    world.host.link.add { ifname = "br0", kind = "bridge" }
    world.host.link.add { ifname = "v0", kind = "veth", master = "br0", peer = { ifname = "v1" } }
  end)

  it("keeps its ports' VLANs, as long as they are ports", function()
    world.host.vlan.add { dev = "v0", vlans = { { vlan = 5, flags = untagged }, { vlan = 7, vlanEnd = 9 } } }
    world.host.vlan.del { dev = "v0", vlans = { { vlan = 8 } } }
    assert.same({ { vlan = 5, flags = untagged }, { vlan = 7 }, { vlan = 9 } },
      world.host.vlan.get({ dev = "v0" }).vlans)
    world.host.link.set { ifname = "v0", master = 0 }
    assert.is_nil(world.host.vlan.get { dev = "v0" })
  end)

  it("refuses VLANs of what is neither bridge nor port", function()
    local ok, err = pcall(world.host.vlan.add, { dev = "v1", vlans = { { vlan = 5 } } })
    assert.is_false(ok)
    assert.equal("EOPNOTSUPP", err.name)
  end)
end)

describe("the policy bridge", function()
  it("has the defaults of the reference's", function()
    local conf = require("mncni.options").check(policies.load("bridge").options, {})
    assert.same({
      bridge = "cni0", isGateway = false, isDefaultGateway = false, forceAddress = false, ipMasq = false, mtu = 0,
      hairpinMode = false, promiscMode = false, vlan = 0, preserveDefaultVlan = false, macspoofchk = false,
      enabledad = false, disableContainerInterface = false, portIsolation = false,
    }, conf)
  end)
end)
