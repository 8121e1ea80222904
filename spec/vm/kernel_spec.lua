-- SPDX-License-Identifier: Apache-2.0
-- What the machine of this ring is for: kinds of links, and parts of others, that a small kernel lacks.

local net = require "mncni.net"

describe("the emulated machine's kernel", function()
  it("has dummy links", function()
    local host <close> = net.open()
    host.link.add { ifname = "d0", kind = "dummy", up = true }
    assert.equal("dummy", host.link.get { ifname = "d0" }.kind)
    host.link.del { ifname = "d0" }
  end)

  it("has VLANs", function()
    local host <close> = net.open()
    host.link.add { ifname = "d0", kind = "dummy", up = true }
    assert.truthy(os.execute "ip link add link d0 name d0.5 type vlan id 5")
    assert.equal("vlan", host.link.get { ifname = "d0.5" }.kind)
    host.link.del { ifname = "d0" }
    assert.is_nil(host.link.get { ifname = "d0.5" })
  end)

  it("has bridges that filter VLANs", function()
    local host <close> = net.open()
    host.link.add { ifname = "br0", kind = "bridge", bridge = { vlan_filtering = true, vlan_default_pvid = 0 } }
    local link = host.link.get { ifname = "br0" }
    assert.is_true(link.bridge.vlan_filtering)
    assert.equal(0, link.bridge.vlan_default_pvid)
    host.link.del { ifname = "br0" }
  end)
end)
