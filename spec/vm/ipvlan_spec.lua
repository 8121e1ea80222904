-- SPDX-License-Identifier: Apache-2.0
-- The policy ipvlan, beside the reference plugin.

local kinds = require "spec.support.kinds"

kinds.specs { type = "ipvlan", brief = true, conf = function(node) return { master = "up0", ipam = node:ipam() } end,
  more = function(get, call)
    local node
    before_each(function() node = get() end)

    kinds.master_specs(get, call)
    kinds.refusals(get, call, {
      { { master = "none" }, 'master "none"' }, { { mode = "l4" }, "mode" }, { { mtu = -1 }, "mtu" },
      { { master = "" }, "no default route" },
    })

    it("lets pods reach each other and the network outside, in both families", function()
      local conf = { ipam = node:ipam(true) }
      node:must("ADD", call { conf = conf })
      node:must("ADD", call { conf = conf, pod = "db" })
      for _, address in ipairs { "10.1.0.11", "10.1.0.254", "fd00:1::11", "fd00:1::fe" } do
        assert.is_true(node:reaches("web", address), address)
      end
      assert.equal(node:link(nil, "up0").address, node:link("web").address)
    end)

    for _, mode in ipairs { "l2", "l3", "l3s" } do
      it("has mode " .. mode, function()
        local result = node:must("ADD", call { conf = { mode = mode } })
        assert.equal(mode, node:link("web").ipvlan.mode)
        if mode ~= "l2" then -- nobody answers for the pod when its neighbours are asked
          node.outside:must "ip route add 10.1.0.10/32 via 10.1.0.1"
        end
        assert.is_true(node:reaches("web", "10.1.0.254"))
        node:must("CHECK", call { conf = { mode = mode }, prev = result })
      end)
    end

    it("stands on the default route's device where no master is named", function()
      node.space:must "ip route add default via 10.1.0.254"
      node:must("ADD", call { conf = { master = false } })
      assert.is_true(node:reaches("web", "10.1.0.254"))
    end)

    it("takes everything back when the kernel refuses it on a macvlan's master", function()
      node.space:must "ip link add mv0 link up0 type macvlan"
      node:refused("ADD", 102, call())
      assert.is_nil(node:link "web")
      assert.equal("", node:nothing_kept())
    end)

    it("leaves the state that the reference plugin leaves, and says the same", function()
      local ipam = node:ipam(true)
      ipam.routes = { { dst = "10.9.0.0/16", gw = "10.1.0.253" } }
      for _, conf in ipairs { { mode = "l2" }, { mode = "l3", mtu = 1400 }, { mode = "l3s" } } do
        conf.ipam = ipam
        node:same_as_reference(call { conf = conf, mac = true })
      end
    end)
  end,
}
