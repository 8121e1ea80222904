-- SPDX-License-Identifier: Apache-2.0
-- The policy tap; Debian's reference plugins have none.

local kinds = require "spec.support.kinds"

kinds.specs { type = "tap", kind = "tun", conf = function(node) return { ipam = node:ipam() } end,
  more = function(get, call)
    local node
    before_each(function() node = get() end)

    kinds.refusals(get, call, {
      { { mtu = 1 }, "mtu" }, { { mac = "x" }, "address" }, { { owner = -1 }, "owner" },
      { { bridge = "none" }, "none" },
      { { selinuxContext = "system_u:system_r:container_t:s0" }, "selinuxContext" },
    })

    it("gives frames to whoever attaches to it", function()
      node:must("ADD", call())
      local frames = node:pod("web"):must([[
        timeout 20 python3 - <<'EOT'
import fcntl, os, struct, subprocess
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, 0x400454ca, struct.pack("16sH22x", b"eth0", 0x1002))
ping = subprocess.Popen(["ping", "-c", "3", "-W", "1", "10.1.0.99"], stdout=subprocess.DEVNULL)
while True:
    frame = os.read(tap, 2000)
    if frame[12:14] == b"\x08\x06" and frame[38:42] == bytes([10, 1, 0, 99]):
        print("asked for 10.1.0.99 by", ".".join(str(b) for b in frame[28:32]))
        break
ping.wait()
EOT
      ]])
      assert.equal("asked for 10.1.0.99 by 10.1.0.10", frames)
    end)

    it("takes MTU, MAC address, queues, owner and group", function()
      local conf = { mtu = 1400, mac = "02:00:00:00:00:03", multiQueue = true, owner = 1000, group = 1001 }
      local result = node:must("ADD", call { conf = conf, version = "1.1.0" })
      local link = node:link "web"
      assert.same({ 1400, "02:00:00:00:00:03", "tap", true, true, 1000, 1001 }, {
        link.mtu, link.address, link.tun.type, link.tun.persist, link.tun.multi_queue, link.tun.user, link.tun.group,
      })
      assert.same({ 1400, "02:00:00:00:00:03" }, { result.interfaces[1].mtu, result.interfaces[1].mac })
      node:must("CHECK", call { conf = conf, prev = result })
      node:must("DEL", call { conf = conf })
      conf.runtimeConfig = { mac = "02:00:00:00:00:01" }
      node:must("ADD", call { conf = conf })
      assert.equal("02:00:00:00:00:01", node:link("web").address)
    end)

    it("is a port of a bridge in the pod", function()
      node:pod("web"):must "ip link add br0 type bridge && ip link set br0 up"
      local result = node:must("ADD", call { conf = { bridge = "br0" } })
      assert.equal("br0", node:link("web").master)
      node:must("CHECK", call { conf = { bridge = "br0" }, prev = result })
    end)

    it("works without ipam", function()
      node:must("ADD", call { conf = { ipam = false } })
      assert.is_true(node:link("web").up)
    end)
  end,
}
