-- SPDX-License-Identifier: Apache-2.0
-- What a commit of recorded steps writes down, and whom it blames, without a kernel.

local core = require "mncni.core"
local recorded = require "mncni.recorded"
local steps = require "mncni.steps"

describe("a commit", function()
  local world, lines, context

  before_each(function()
    world = recorded.new()
    lines = {}
    context = steps.new {
      host = world.host, journal = { append = function(_, text) lines[#lines + 1] = text end },
    }
  end)

  local function record(step)
    step.net, step.where = "host", step.where or "policies/x.lua:7"
    context:record(step)
  end

  it("journals its steps in order, in one text, before any is sent", function()
    local there
    context.journal.append = function(_, text)
      lines[#lines + 1] = text
      there = world.host.link.get { ifname = "br0" }
    end
    record { verb = "add", object = "link", args = { ifname = "br0", kind = "bridge" } }
    record { verb = "set", object = "link", args = { ifname = "br0", up = true }, where = "policies/x.lua:9" }
    context:commit()
    assert.is_nil(there)
    assert.is_true(world.host.link.get({ ifname = "br0" }).up)
    assert.equal(1, #lines)
    local first, second = lines[1]:match "^([^\n]+)\n([^\n]+)$"
    assert.same({
      step = {
        net = "host", verb = "add", object = "link", where = "policies/x.lua:7",
        args = { ifname = "br0", kind = "bridge" },
      },
      undo = { op = "link", ifname = "br0" },
    }, core.json.decode(first))
    assert.equal("policies/x.lua:9", core.json.decode(second).step.where)
    assert.is_nil(core.json.decode(second).undo)
  end)

  it("writes nothing where there is nothing to do", function()
    context:commit()
    record { prepare = function() return {} end }
    context:commit()
    assert.equal(0, #lines)
  end)

  it("writes bytes that are no text as digits, and the other steps as they are", function()
    record { verb = "add", object = "link", args = { ifname = "br0", kind = "bridge" } }
    record { verb = "require", object = "bridge", args = { ifname = "br0", list = { "\xff\0" }, alias = "über" } }
    context:commit()
    local second = core.json.decode(lines[1]:match "\n(.+)$")
    assert.same({ ifname = "br0", list = { "0xff00" }, alias = "0xc3bc626572" }, second.step.args)
  end)

  it("blames the step whose arguments cannot be written down", function()
    record { verb = "add", object = "link", args = { ifname = "br0", kind = "bridge" } }
    record { verb = "set", object = "link", args = { ifname = "br0", mtu = print }, where = "policies/x.lua:12" }
    local ok, err = pcall(context.commit, context)
    assert.is_false(ok)
    assert.equal("step.args.mtu", err.object)
    assert.equal("policies/x.lua", err.file)
    assert.equal("12", err.line)
    assert.equal(0, #lines)
    assert.is_nil(world.host.link.get { ifname = "br0" })
  end)

  it("blames the step that cannot be prepared", function()
    world.host.link.add { ifname = "br1", kind = "bridge" }
    record { verb = "add", object = "link", args = { ifname = "br0", kind = "bridge" } }
    record { verb = "add", object = "link", args = { ifname = "br1", kind = "bridge" }, where = "policies/x.lua:13" }
    local ok, err = pcall(context.commit, context)
    assert.is_false(ok)
    assert.equal("EEXIST", err.name)
    assert.equal("13", err.line)
    assert.equal(0, #lines)
    assert.is_nil(world.host.link.get { ifname = "br0" })
  end)
end)
