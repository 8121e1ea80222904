-- SPDX-License-Identifier: Apache-2.0
-- The policy host-device on a real kernel, beside the reference plugin. The device is one end of a veth, which a kernel
-- takes away with the namespace that it is in; physical ones come back.

local core = require "mncni.core"
local kinds = require "spec.support.kinds"
local mncni = require "mncni"
local plugged = require "spec.support.plugged"

describe("host-device", function()
  local node

  before_each(function()
    node = plugged.new { "host-device" }
    node.space:must "ip link add dev0 type veth peer name far0 netns outside"
    node.space:must "ip link set dev0 up address 02:00:00:00:00:42 alias 'spare port'"
    node.space:must "ip addr add 10.9.0.1/24 dev dev0"
    node.outside:must "ip link set far0 up && ip addr add 10.2.0.254/24 dev far0"
    node.outside:must "ip addr add fd00:2::fe/64 dev far0 nodad"
  end)
  after_each(function() node:close() end)

  local function call(more)
    local args = { type = "host-device", pod = "web", conf = {
      device = "dev0", ipam = { type = "host-local", dataDir = node.scratch .. "/networks", ranges = {
        { { subnet = "10.2.0.0/24" } }, { { subnet = "fd00:2::/64" } },
      } },
    } }
    for key, value in pairs(more or {}) do
      if key ~= "conf" then
        args[key] = value
      end
    end
    for key, value in pairs((more or {}).conf or {}) do
      args.conf[key] = value or nil
    end
    return args
  end

  local function is_back()
    local link = node:link(nil, "dev0")
    assert.is_truthy(link, "the node has no dev0")
    assert.same({ "veth", "spare port", true, "02:00:00:00:00:42" }, { link.kind, link.ifalias, link.up, link.address })
    assert.is_nil(node:link(nil, "eth0"))
  end

  it("moves the device into the pod and back, with every cniVersion", function()
    for _, version in ipairs(kinds.versions) do
      local result = node:must("ADD", call { version = version })
      assert.equal(version, result.cniVersion)
      assert.is_nil(node:link(nil, "dev0"))
      local link = node:link "web"
      assert.same({ "02:00:00:00:00:42", true, "dev0" }, { link.address, link.up, link.ifalias })
      if result.interfaces then
        assert.same({ { name = "eth0", mac = link.address, sandbox = node:pod("web").path,
          mtu = version == "1.1.0" and 1500 or nil } }, result.interfaces)
      end
      node:must("DEL", call { version = version })
      assert.is_nil(node:link "web")
      is_back()
    end
    assert.equal("", node:nothing_kept())
  end)

  it("lets the pod reach what the device is plugged into, in both families", function()
    node:must("ADD", call())
    assert.is_true(node:reaches("web", "10.2.0.254"))
    assert.is_true(node:reaches("web", "fd00:2::fe"))
  end)

  it("finds the device by its MAC address, or where sysfs has it", function()
    node:must("ADD", call { conf = { device = false, hwaddr = "02:00:00:00:00:42" } })
    assert.equal("dev0", node:link("web").ifalias)
    node:must("DEL", call())
    is_back()
  end)

  it("refuses what names no device, before an address is used", function()
    for _, case in ipairs {
      { {}, 'specify either "device"' }, { { device = "none" }, 'device "none"' },
      { { hwaddr = "02:00:00:00:00:99" }, "hwaddr" }, { { kernelpath = "/tmp/x" }, "must be absolute and begin with" },
      { { kernelpath = "/sys/devices/../x" }, "kernelpath" }, { { kernelpath = "/sys/devices/none" }, "kernelpath" },
      { { pciBusID = "0000:00:99.0" }, "pciBusID" }, { { pciBusID = "../.." }, "pciBusID" },
      { { runtimeConfig = { deviceID = "0000:00:99.0" } }, "deviceID" },
    } do
      case[1].device = case[1].device or false
      local err = node:refused("ADD", 7, call { conf = case[1] })
      assert.matches(case[2], err.msg, 1, true)
      assert.equal("", node:nothing_kept())
    end
    is_back()
  end)

  it("gives the device back when a later part fails", function()
    local conf = call().conf
    conf.ipam.routes = { { dst = "10.9.0.0/16", gw = "192.0.2.1" } }
    node:refused("ADD", 102, call { conf = conf })
    assert.is_nil(node:link "web")
    is_back()
    assert.equal("", node:nothing_kept())
  end)

  it("leaves an interface that the pod has already, and the device where it is", function()
    node:pod("web"):must "ip link add eth0 type veth peer name other"
    node:refused("ADD", 103, call())
    is_back()
  end)

  it("gives the device back without CNI_NETNS, twice, and with another configuration", function()
    node:must("ADD", call())
    node:must("DEL", call { netns = "", conf = { device = "up0" } })
    is_back()
    node:must("DEL", call())
    is_back()
    assert.is_truthy(node:link(nil, "up0"))
  end)

  it("gives it back whatever the pod has made of its name and its MAC address", function()
    node:must("ADD", call())
    node:pod("web"):must "ip link set eth0 down && ip link set eth0 name lan address 02:00:00:00:00:77"
    node:must("DEL", call())
    assert.equal("spare port", node:link(nil, "dev0").ifalias)
    assert.is_nil(node:link("web", "lan"))
  end)

  it("is not confused by a link of the node with the name of the pod's", function()
    node.space:must "ip link add eth0 type veth peer name eth0-peer"
    node:must("ADD", call())
    node:must("DEL", call())
    assert.same({ "spare port", "veth" }, { node:link(nil, "dev0").ifalias, node:link(nil, "eth0").kind })
    assert.is_nil(node:link(nil, "eth0").ifalias)
  end)

  it("says so when its name is another's by now, and ends with the next DEL", function()
    node:must("ADD", call())
    node.space:must "ip link add dev0 type veth peer name other"
    local err = node:refused("DEL", 103, call())
    local found = err.msg:match "is (mncn%d+) now"
    assert.equal("02:00:00:00:00:42", node:link(nil, found).address)
    node.space:must "ip link del dev0"
    node:must("DEL", call())
    is_back()
    assert.equal("", node:nothing_kept())
  end)

  it("has its name restored when it came back by itself with the end of the pod's namespace", function()
    node:must("ADD", call())
    node:pod("web"):must "ip link set eth0 netns node" -- what the kernel does with a physical device
    node:pod("web"):close()
    node:must("DEL", call { netns = "/run/netns/web" })
    is_back()
    assert.equal("", node:nothing_kept())
  end)

  it("ends when the device has died with the pod's namespace, as a virtual one does", function()
    node:must("ADD", call())
    node:pod("web"):close()
    node:must("DEL", call { netns = "/run/netns/web" })
    assert.is_nil(node:link(nil, "dev0"))
    assert.equal("", node:nothing_kept())
  end)

  it("comes back with GC where the runtime does not list it", function()
    node:must("ADD", call { version = "1.1.0" })
    node:must("GC", call { version = "1.1.0", conf = { ["cni.dev/valid-attachments"] = core.json.array {} } })
    is_back()
    assert.equal("", node:nothing_kept())
  end)

  it("finds with CHECK what has changed", function()
    local result = node:must("ADD", call())
    node:must("CHECK", call { prev = result })
    for _, case in ipairs {
      { "ip link set eth0 alias x", "ip link set eth0 alias dev0", "alias" },
      { "ip link set eth0 address 02:00:00:00:00:43", "ip link set eth0 address 02:00:00:00:00:42", "MAC" },
      { "ip link set eth0 down", "true", "down" },
    } do
      node:pod("web"):must(case[1])
      assert.matches(case[3], node:refused("CHECK", 106, call { prev = result }).msg, 1, true)
      node:pod("web"):must(case[2])
    end
  end)

  it("works without ipam, and leaves what the reference plugin leaves", function()
    for _, conf in ipairs { { ipam = false }, {} } do
      node:same_as_reference(call { conf = conf, mac = true })
      -- The reference plugin leaves it down, and without the alias.
      node.space:must "ip link set dev0 up alias 'spare port'"
    end
  end)

  it("gives back to the reference plugin's hands what that knows it by", function()
    node:must("ADD", call { conf = { ipam = false } })
    node:must("DEL", call { conf = { ipam = false }, reference = true })
    local host <close> = mncni.open(node.space.ns)
    assert.is_truthy(host.link.get { ifname = "dev0" })
    node:must("DEL", call { conf = { ipam = false } })
  end)
end)
