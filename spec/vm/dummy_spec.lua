-- SPDX-License-Identifier: Apache-2.0
-- The policy dummy; Debian's reference plugins have none.

local kinds = require "spec.support.kinds"

kinds.specs { type = "dummy", brief = true, conf = function(node) return { ipam = node:ipam() } end,
  more = function(get, call)
    local node
    before_each(function() node = get() end)

    it("gives a pod addresses that answer in the pod, in both families, and lead nowhere", function()
      node:must("ADD", call { conf = { ipam = node:ipam(true) } })
      assert.is_true(node:reaches("web", "10.1.0.10"))
      assert.is_true(node:reaches("web", "fd00:1::10"))
      assert.is_false(node:reaches("web", "10.1.0.254"))
    end)

    it("wants ipam", function()
      local err = node:refused("ADD", 7, call { conf = { ipam = false } })
      assert.matches("dummy interface requires an IPAM configuration", err.msg, 1, true)
    end)
  end,
}
