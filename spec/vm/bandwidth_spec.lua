-- SPDX-License-Identifier: Apache-2.0
-- The policy bandwidth on a kernel that may lack a part of it: here its parts are modules.

local plugged = require "spec.support.plugged"
local spaces = require "spec.support.netns"

local RULE = "/etc/modprobe.d/no-tbf.conf"

describe("bandwidth", function()
  local node

  before_each(function() node = plugged.new { "bandwidth" } end)
  after_each(function()
    spaces.must("rm -f %s", RULE)
    node:close()
  end)

  it("says in STATUS that the kernel lacks token buckets, and that it has them", function()
    local call = { type = "bandwidth", version = "1.1.0", conf = {} }
    node:must("STATUS", call)
    -- The kernel takes down what has tried it in its own time.
    spaces.must("echo 'install sch_tbf /bin/false' >%s", RULE)
    spaces.must "for i in $(seq 500); do modprobe -r sch_tbf 2>/dev/null && exit; sleep 0.02; done; modprobe -r sch_tbf"
    local err = node:refused("STATUS", 50, call)
    assert.matches("sch_tbf", err.msg, 1, true)
    spaces.must("rm %s", RULE)
    node:must("STATUS", call)
  end)
end)
