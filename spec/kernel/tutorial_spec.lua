-- SPDX-License-Identifier: Apache-2.0
-- examples/tutorial.md, typed line by line.

local spaces = require "spec.support.netns"
local walkthrough = require "spec.support.walkthrough"

local BUILD = os.getenv "MNCNI_BUILD" or "build"

describe("the tutorial", function()
  local before, space, scratch

  before_each(function()
    before = spaces.snapshot()
    scratch = spaces.must "mktemp -d"
    space = spaces.new "node"
  end)

  after_each(function()
    spaces.cleanup()
    spaces.must("rm -rf %s", scratch)
    spaces.assert_nothing_left(before)
  end)

  -- A machine of one's own: with mncni installed, and nothing where its addresses and journals are.
  local function setup()
    local lua, so = spaces.must "realpath lua", spaces.must("realpath %s/lib/lua/5.4", BUILD)
    return table.concat({
      "set -m", "mount -t tmpfs tmpfs /run", "mkdir /run/netns /run/mncni", "mkdir -p /var/lib/cni",
      "mount -t tmpfs tmpfs /var/lib/cni", "export HOME=" .. scratch, "unset MNCNI_STATE_DIR TMPDIR",
      ("export PATH=%s:$PATH"):format(spaces.must("realpath %s/bin", BUILD)),
      ("export LUA_PATH='%s/?.lua;%s/?/init.lua;;' LUA_CPATH='%s/?.so;;'"):format(lua, lua, so),
    }, "\n")
  end

  it("does what it says", function()
    local steps = walkthrough.check("examples/tutorial.md", space, setup())
    assert.is_true(#steps > 25)
    assert.are.equal("", (space:must "ip -o link show type bridge; ip -o link show type veth"))
  end)

  it("would be found out if it said something else", function()
    local step = { command = "x", expected = { "1 ... 3" }, line = "x:1", printed = "1 2 3" }
    assert.is_true(walkthrough.agrees(step))
    step.printed = "1 2 4"
    assert.is_false(walkthrough.agrees(step))
  end)
end)
