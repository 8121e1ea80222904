-- SPDX-License-Identifier: Apache-2.0
-- The policy vlan, beside the reference plugin.

local kinds = require "spec.support.kinds"

kinds.specs { type = "vlan", conf = function(node) return { master = "up0", vlanId = 5, ipam = node:ipam() } end,
  more = function(get, call)
    local node
    before_each(function() node = get() end)

    kinds.master_specs(get, call)
    kinds.refusals(get, call, {
      { { master = "none" }, 'master "none"' }, { { master = false }, "master" }, { { vlanId = false }, "vlanId" },
      { { vlanId = 4095 }, "vlanId" }, { { vlanId = -1 }, "vlanId" }, { { mtu = -1 }, "mtu" },
    })

    it("speaks to those outside that are in its VLAN, in both families, and to no others", function()
      node.outside:must "ip link add link out0 name out0.5 type vlan id 5 && ip link set out0.5 up"
      node.outside:must "ip addr add 10.5.0.254/24 dev out0.5 && ip addr add fd00:5::fe/64 dev out0.5 nodad"
      local ipam = { type = "host-local", dataDir = node.scratch .. "/networks", ranges = {
        { { subnet = "10.5.0.0/24" } }, { { subnet = "fd00:5::/64" } },
      } }
      node:must("ADD", call { conf = { ipam = ipam } })
      assert.equal(5, node:link("web").vlan.id)
      assert.is_true(node:reaches("web", "10.5.0.254"))
      assert.is_true(node:reaches("web", "fd00:5::fe"))
      node:must("ADD", call { pod = "db", conf = { vlanId = 6, ipam = ipam } })
      assert.is_false(node:reaches("db", "10.5.0.254"))
    end)

    it("is one pod's at a time", function()
      node:must("ADD", call())
      local err = node:refused("ADD", 102, call { pod = "db" })
      assert.matches("VLAN device already exists", err.msg, 1, true)
      assert.is_nil(node:link "db")
      node:must("DEL", call())
      node:must("ADD", call { pod = "db" })
    end)

    it("leaves the state that the reference plugin leaves, and says the same", function()
      for _, conf in ipairs { {}, { mtu = 1400 } } do
        conf.ipam = node:ipam(true)
        node:same_as_reference(call { conf = conf, mac = true })
      end
    end)
  end,
}
