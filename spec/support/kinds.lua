-- SPDX-License-Identifier: Apache-2.0
-- What policies that make a pod's interface as a link of its own have in common, as specs.
--
--   kinds.specs { type = "macvlan", conf = function(node) return { master = "up0", ipam = node:ipam() } end }

local assert = require "luassert"
local busted = require "busted"
local core = require "mncni.core"
local plugged = require "spec.support.plugged"

local describe, it, before_each, after_each = busted.describe, busted.it, busted.before_each, busted.after_each

local kinds = {}

kinds.versions = { "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" }

-- specs{ type = the policy's name, conf = function(node) that gives a configuration, kind = the link's (type), brief = true
-- where what follows from steps alone (CHECK, GC, a rollback) is shown of another kind, more = function(node, call) }.
-- more makes further specs: node() is the node, and call(changes) the arguments of a call for the pod "web".
function kinds.specs(args)
  describe(args.type, function()
    local node

    before_each(function() node = plugged.new { args.type } end)
    after_each(function() node:close() end)

    local function call(more)
      local made = { type = args.type, pod = "web" }
      for key, value in pairs(more or {}) do
        made[key] = value
      end
      made.conf = args.conf(node)
      for key, value in pairs((more or {}).conf or {}) do
        made.conf[key] = value or nil
      end
      return made
    end

    it("makes the pod's interface, with every cniVersion", function()
      for _, version in ipairs(kinds.versions) do
        local result = node:must("ADD", call { version = version })
        assert.equal(version, result.cniVersion)
        local link = node:link "web"
        assert.same({ args.kind or args.type, true, "mncni testnet web eth0" }, { link.kind, link.up, link.ifalias })
        if result.interfaces then
          assert.same({ { name = "eth0", mac = link.address, sandbox = node:pod("web").path,
            mtu = version == "1.1.0" and link.mtu or nil } }, result.interfaces)
        end
        local address = result.ip4 and result.ip4.ip or result.ips[1].address
        assert.matches("^10%.1%.0%.%d+/24$", address)
        node:must("DEL", call { version = version })
        assert.is_nil(node:link "web")
        assert.equal("", node:nothing_kept())
      end
    end)

    it("is not in the way of a link of the node that has the name of the pod's", function()
      node.space:must "ip link add eth0 type veth peer name eth0-peer"
      node:must("ADD", call())
      assert.equal(args.kind or args.type, node:link("web").kind)
      assert.equal("veth", node:link(nil, "eth0").kind)
    end)

    it("leaves an interface that the pod has already, and uses no address", function()
      node:pod("web"):must "ip link add eth0 type veth peer name other"
      node:refused("ADD", 103, call())
      assert.equal("veth", node:link("web").kind)
      assert.equal("", node:nothing_kept())
    end)

    it("goes with DEL: never added, without CNI_NETNS, twice, and without a journal", function()
      node:must("DEL", call())
      node:must("ADD", call())
      node:must("DEL", call { netns = "" })
      assert.is_nil(node:link "web")
      node:must("DEL", call())
      node:must("ADD", call())
      node.space:must("rm -r %s", node.scratch .. "/state")
      node:must("DEL", call())
      assert.is_nil(node:link "web")
      assert.equal("", node:nothing_kept())
    end)

    if args.brief then
      args.more(function() return node end, call)
      return
    end

    it("finds with CHECK what has changed", function()
      local result = node:must("ADD", call())
      node:must("CHECK", call { prev = result })
      for _, case in ipairs {
        { "ip link set eth0 down", "ip link set eth0 up", "down" },
        { "ip addr del 10.1.0.10/24 dev eth0", "ip addr add 10.1.0.10/24 dev eth0", "10.1.0.10" },
        { "ip link set eth0 mtu 1300", "ip link set eth0 mtu 1500", "MTU" },
        { "ip link set eth0 alias x", "ip link set eth0 alias 'mncni testnet web eth0'", "alias" },
        { "ip link del eth0", "true", "gone" },
      } do
        node:pod("web"):must(case[1])
        local said = node:run("CHECK", call { prev = result })
        assert.equal(case[1]:find "mtu" and result.interfaces[1].mtu == nil and said.status or 1, said.status)
        if said.status ~= 0 then
          assert.equal(106, said.json.code)
          assert.matches(case[3], said.json.msg, 1, true)
        end
        node:pod("web"):must(case[2])
      end
    end)

    it("leaves another's link of the same name with DEL", function()
      node:must("ADD", call())
      node:pod("web"):must "ip link del eth0 && ip link add eth0 type veth peer name other"
      node:must("DEL", call())
      assert.equal("veth", node:link("web").kind)
      node.space:must("rm -rf %s", node.scratch .. "/state")
      node:must("DEL", call())
      assert.equal("veth", node:link("web").kind)
    end)

    it("gives its address back when the pod's namespace is gone", function()
      node:must("ADD", call())
      node:pod("web"):close()
      node:must("DEL", call { netns = "/run/netns/web" })
      assert.equal("", node:nothing_kept())
    end)

    it("takes everything back when a part is refused", function()
      local conf = call().conf
      conf.ipam.routes = { { dst = "10.9.0.0/16", gw = "192.0.2.1" } } -- not reachable
      local err = node:refused("ADD", 102, call { conf = conf })
      assert.matches("10.9.0.0/16", err.msg, 1, true)
      assert.is_nil(node:link "web")
      assert.equal("", node:nothing_kept())
    end)

    it("goes with GC where the runtime does not list it", function()
      node:must("ADD", call { version = "1.1.0" })
      local valid = { { containerID = "web", ifname = "eth0" } }
      node:must("GC", call { version = "1.1.0", conf = { ["cni.dev/valid-attachments"] = valid } })
      assert.is_truthy(node:link "web")
      node:must("GC", call { version = "1.1.0", conf = { ["cni.dev/valid-attachments"] = core.json.array {} } })
      assert.is_nil(node:link "web")
      assert.equal("", node:nothing_kept())
    end)

    if args.more then
      args.more(function() return node end, call)
    end
  end)
end

-- Those of links that stand on a master, whose configuration is args.conf(node) without its "ipam".
function kinds.master_specs(node, call)
  it("has a STATUS that says whether the master is there", function()
    node():must("STATUS", call { version = "1.1.0" })
    local err = node():refused("STATUS", 50, call { version = "1.1.0", conf = { master = "x0" } })
    assert.matches('master "x0"', err.msg, 1, true)
  end)

  it("stands on a link of the pod with linkInContainer", function()
    node():pod("web"):must "ip link add m0 type veth peer name m1 && ip link set m0 up && ip link set m1 up"
    local conf = { master = "m0", linkInContainer = true }
    local result = node():must("ADD", call { conf = conf })
    assert.equal("m0", node():link("web").link)
    node():must("CHECK", call { conf = conf, prev = result })
    node():must("DEL", call { conf = conf })
    assert.is_nil(node():link "web")
    assert.is_truthy(node():link("web", "m0"))
  end)

  it("has layer 2 alone without ipam, and CHECK passes", function()
    local result = node():must("ADD", call { conf = { ipam = false } })
    assert.is_nil(result.ips)
    assert.is_true(node():link("web").up)
    node():must("CHECK", call { conf = { ipam = false }, prev = result })
    node():must("DEL", call { conf = { ipam = false } })
    assert.is_nil(node():link "web")
  end)

  it("has its master's MTU, or a smaller one", function()
    node().space:must "ip link set up0 mtu 1450"
    node():must("ADD", call())
    assert.equal(1450, node():link("web").mtu)
    node():must("DEL", call())
    local result = node():must("ADD", call { version = "1.1.0", conf = { mtu = 1400 } })
    assert.same({ 1400, 1400 }, { node():link("web").mtu, result.interfaces[1].mtu })
    node():must("DEL", call())
    local err = node():refused("ADD", 7, call { conf = { mtu = 1451 } })
    assert.matches("invalid MTU 1451, must be [0, master MTU(1450)]", err.msg, 1, true)
    assert.equal("", node():nothing_kept())
  end)
end

-- bad values { { changes, words of the message }, ... } are refused and leave nothing.
function kinds.refusals(node, call, cases)
  it("refuses bad values and leaves nothing", function()
    for _, case in ipairs(cases) do
      local out = node():run("ADD", call { conf = case[1] })
      assert.is_not_equal(0, out.status, case[2])
      assert.matches(case[2], out.json.msg, 1, true)
      assert.is_nil(node():link "web")
      assert.equal("", node():nothing_kept())
    end
  end)
end

return kinds
