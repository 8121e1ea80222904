-- SPDX-License-Identifier: Apache-2.0
-- host-device with a network card, which the kernel gives back to the first namespace when the pod's ends.

local clock = require "spec.support.clock"
local core = require "mncni.core"
local plugged = require "spec.support.plugged"
local spaces = require "spec.support.netns"

describe("host-device with a network card", function()
  local machine, node, own, name, bus

  before_each(function()
    machine = core.netns.open "/machine-netns"
    node = plugged.new { "host-device" }
    own = node.space
    node.space = {
      ns = machine,
      run = function(_, ...) return machine:run(...) end,
      must = function(_, ...) return machine:run(spaces.must, ...) end,
    }
    name = machine:run(spaces.must, "ls /sys/class/net | grep -v '^lo$' | head -n 1")
    bus = spaces.must("basename $(realpath /sys/class/net/" .. name .. "/device/..)")
  end)
  after_each(function()
    node.space = own
    machine:close()
    node:close()
  end)

  local function call(conf)
    return { type = "host-device", pod = "web", ifname = "net1", conf = conf or { pciBusID = bus } }
  end

  it("finds it by its place on the PCI bus, its directory, and what the runtime's device plugin says", function()
    local device = spaces.must("realpath /sys/class/net/" .. name .. "/device")
    for _, conf in ipairs { { pciBusID = bus }, { kernelpath = device }, { runtimeConfig = { deviceID = bus } } } do
      node:must("ADD", call(conf))
      assert.equal(name, node:link("web", "net1").ifalias)
      assert.is_nil(node:link(nil, name))
      node:must("DEL", call(conf))
      assert.is_truthy(node:link(nil, name))
      assert.is_nil(node:link(nil, name).ifalias)
    end
  end)

  it("gives it its name back when the pod's namespace is gone", function()
    local address = node:link(nil, name).address
    node:must("ADD", call())
    node:pod("web"):close()
    assert.is_true(clock.wait(function() return node:link(nil, "net1") ~= nil end))
    assert.equal(address, node:link(nil, "net1").address)
    local del = call()
    del.pod, del.container, del.netns = nil, "web", "/run/netns/web"
    node:must("DEL", del)
    local link = node:link(nil, name)
    assert.same({ address, nil }, { link.address, link.ifalias })
    assert.is_nil(node:link(nil, "net1"))
  end)
end)
