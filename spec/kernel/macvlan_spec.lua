-- SPDX-License-Identifier: Apache-2.0
-- The policy macvlan on a real kernel, beside the reference plugin.

local kinds = require "spec.support.kinds"

kinds.specs { type = "macvlan", conf = function(node) return { master = "up0", ipam = node:ipam() } end,
  more = function(get, call)
    local node
    before_each(function() node = get() end)

    kinds.master_specs(get, call)
    kinds.refusals(get, call, {
      { { master = "none" }, 'master "none"' }, { { mode = "brigde" }, "mode" }, { { mtu = -1 }, "mtu" },
      { { mac = "x" }, "address" }, { { bcqueuelen = -1 }, "bcqueuelen" }, { { master = "" }, "no default route" },
    })

    it("lets pods reach each other and the network outside, in both families", function()
      local conf = { ipam = node:ipam(true) }
      node:must("ADD", call { conf = conf })
      node:must("ADD", call { conf = conf, pod = "db" })
      for _, address in ipairs { "10.1.0.11", "10.1.0.254", "fd00:1::11", "fd00:1::fe" } do
        assert.is_true(node:reaches("web", address), address)
      end
      assert.is_true(node:reaches("outside", "10.1.0.10"))
      assert.is_false(node:reaches("web", "10.1.0.1"), "a macvlan does not reach its own master")
    end)

    it("keeps pods of mode private apart", function()
      for _, pod in ipairs { "web", "db" } do
        node:must("ADD", call { pod = pod, conf = { mode = "private" } })
      end
      assert.is_true(node:reaches("web", "10.1.0.254"))
      assert.is_false(node:reaches("web", "10.1.0.11"))
    end)

    it("tells the neighbours where the pod's address is now", function()
      node.outside:must "echo 1 >/proc/sys/net/ipv4/conf/out0/arp_accept"
      node:must("ADD", call())
      assert.matches(node:link("web").address, node.outside:must(
        "for i in $(seq 100); do ip neigh show 10.1.0.10 | grep . && break; sleep 0.1; done"), 1, true)
    end)

    it("stands on the default route's device where no master is named", function()
      node.space:must "ip route add default via 10.1.0.254"
      node:must("ADD", call { conf = { master = false } })
      assert.is_true(node:reaches("web", "10.1.0.254"))
    end)

    it("takes mode, bcqueuelen and a MAC address, the runtime's first", function()
      local conf = { mode = "vepa", bcqueuelen = 5000, mac = "02:00:00:00:00:03" }
      conf.runtimeConfig = { mac = "02:00:00:00:00:01" }
      local result = node:must("ADD", call { conf = conf, args = "MAC=02:00:00:00:00:02" })
      local link = node:link "web"
      assert.same({ "vepa", 5000, "02:00:00:00:00:01" }, { link.macvlan.mode, link.macvlan.bcqueuelen, link.address })
      assert.equal("02:00:00:00:00:01", result.interfaces[1].mac)
      node:must("DEL", call { conf = conf })
      conf.runtimeConfig = nil
      node:must("ADD", call { conf = conf, args = "MAC=02:00:00:00:00:02" })
      assert.equal("02:00:00:00:00:02", node:link("web").address)
      node:must("DEL", call { conf = conf })
      node:must("ADD", call { conf = conf })
      assert.equal("02:00:00:00:00:03", node:link("web").address)
    end)

    it("takes everything back when the kernel refuses its mode", function()
      node:must("ADD", call { pod = "db" })
      node:refused("ADD", 102, call { conf = { mode = "passthru" } })
      assert.is_nil(node:link "web")
      assert.is_truthy(node:link "db")
    end)

    it("finds with CHECK another mode", function()
      local result = node:must("ADD", call())
      node:pod("web"):must "ip link set eth0 type macvlan mode private"
      assert.matches("its mode is private", node:refused("CHECK", 106, call { prev = result }).msg, 1, true)
    end)

    it("leaves the state that the reference plugin leaves, and says the same", function()
      local ipam = node:ipam(true)
      ipam.routes = { { dst = "0.0.0.0/0" }, { dst = "10.9.0.0/16", gw = "10.1.0.253" }, { dst = "::/0" } }
      for _, conf in ipairs { { mode = "bridge" }, { mode = "private", mtu = 1400 }, { mac = "02:00:00:00:00:07" } } do
        conf.ipam = ipam
        node:same_as_reference(call { conf = conf, mac = conf.mac })
      end
    end)
  end,
}
