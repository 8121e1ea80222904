-- SPDX-License-Identifier: Apache-2.0
-- The policy cniconfig: which files it desires, and what the configuration says.

local core = require "mncni.core"
local netconf = require "mncni.netconf"
local node = require "mncni.node"
local options = require "mncni.options"
local policies = require "mncni.testing"

local policy = policies.load "cniconfig"

local CONFLIST = "/etc/cni/net.d/10-mncni.conflist"

-- A world in which all stands and the policies routes and masquerade have had their say; fields are laid over it.
local function world(fields)
  local made = {
    node = node.new { name = "n1", pod_cidrs = { "10.244.1.0/24", "fd00:0:0:1::/64" } }, peers = {}, reach = {},
    underlay = { inet = { dev = "eth0", mtu = 1500 }, inet6 = { dev = "eth0", mtu = 1500 } },
    ready = { ok = true, reasons = {} },
    desired = {
      links = { { ifname = "mncni-vxlan", kind = "vxlan", mtu = 1450 } },
      nft = { { family = "inet", table = "mncni" } },
    },
  }
  for key, value in pairs(fields or {}) do
    made[key] = value
  end
  return made
end

local function files(given, conf)
  return policies.desired(policy, given, conf).files
end

-- The configuration, decoded, and its first plugin; nil when none is desired.
local function config(given, conf)
  local list = files(given or world(), conf)
  local last = list[#list]
  if last and last.path == CONFLIST then
    local decoded = core.json.decode(last.content)
    return decoded, decoded.plugins[1]
  end
end

describe("the policy cniconfig", function()
  it("configures the plugin with the node's ranges", function()
    local list, plugin = config()
    assert.same({ "1.0.0", "kubenet" }, { list.cniVersion, list.name })
    assert.same({ "mncni", "naivebridge", 1450, false }, { plugin.type, plugin.policy, plugin.mtu, plugin.ipMasq })
    assert.same({
      type = "host-local", ranges = { { { subnet = "10.244.1.0/24" } }, { { subnet = "fd00:0:0:1::/64" } } },
      routes = { { dst = "0.0.0.0/0" }, { dst = "::/0" } },
    }, plugin.ipam)
  end)

  it("gives no default route by a family without a range", function()
    local _, plugin = config(world { node = node.new { name = "n1", pod_cidrs = { "fd00:0:0:1::/64" } } })
    assert.same({ { dst = "::/0" } }, plugin.ipam.routes)
  end)

  it("configures what the plugin takes as it stands", function()
    local confs = { {}, { plugin = { hairpinMode = false, bridge = "br9" } }, { ip_masq = true, mtu = 1400 } }
    for _, conf in ipairs(confs) do
      local list, plugin = config(nil, conf)
      plugin.name, plugin.cniVersion = list.name, list.cniVersion
      netconf.decode(core.json.encode(plugin), { ignored = {} })
      local _, ignored = options.check(policies.load "naivebridge".options, plugin, {
        unknown = "collect", also = { "name", "cniVersion", "type", "policy", "ipam", "capabilities" },
      })
      assert.same({}, ignored)
    end
  end)

  it("writes nothing that makes the node Ready before it has a range and its routes stand", function()
    assert.is_nil(config(world { node = node.new { name = "n1" } }))
    assert.is_nil(config(world { ready = { ok = false, reasons = { "route 10.244.3.0/24: ..." } } }))
    assert.same({}, files(world { ready = { ok = false, reasons = {} } }))
  end)

  it("follows the node's range, and is the same text for the same world", function()
    local one, same = files(world()), files(world())
    assert.same(one, same)
    local other = files(world { node = node.new { name = "n1", pod_cidrs = { "10.244.9.0/24" } } })
    assert.equal(one[1].path, other[1].path)
    assert.not_equal(one[1].content, other[1].content)
  end)

  it("gives pods the MTU of the narrowest way to another node", function()
    local function mtu(fields, conf)
      local _, plugin = config(world(fields), conf)
      return plugin.mtu
    end
    assert.equal(1450, mtu())
    assert.equal(1430, mtu { desired = { links = {
      { kind = "vxlan", mtu = 1450 }, { kind = "vxlan", mtu = 1430 }, { kind = "bridge", mtu = 1000 },
    } } })
    assert.equal(1500, mtu { desired = { links = {} } })
    assert.equal(1400, mtu { desired = {}, underlay = { inet = { mtu = 9000 }, inet6 = { mtu = 1400 } } })
    assert.equal(1234, mtu(nil, { mtu = 1234 }))
    local unknown = world { underlay = {} }
    unknown.desired = nil
    assert.is_nil(select(2, config(unknown)).mtu)
    local unsaid = world()
    unsaid.desired = nil
    assert.equal(1430, select(2, config(unsaid)).mtu)
  end)

  it("leaves masquerading to the plugin where no policy of the agent does it, or as it is told", function()
    local function masq(fields, conf)
      return select(2, config(world(fields), conf)).ipMasq
    end
    assert.is_false(masq())
    assert.is_true(masq { desired = { nft = { { family = "inet", table = "other" } } } })
    assert.is_true(masq { desired = {} })
    assert.is_true(masq(nil, { ip_masq = true }))
    assert.is_false(masq({ desired = {} }, { ip_masq = false }))
  end)

  it("has portmap and bandwidth with their capabilities as it is told", function()
    local function chain(conf)
      local names = {}
      for i, plugin in ipairs(config(nil, conf).plugins) do
        names[i] = plugin.type .. (i > 1 and " " .. next(plugin.capabilities) or "")
      end
      return names
    end
    assert.same({ "mncni", "portmap portMappings" }, chain())
    assert.same({ "mncni" }, chain { portmap = false })
    assert.same({ "mncni", "portmap portMappings", "bandwidth bandwidth" }, chain { bandwidth = true })
  end)

  it("speaks the version it is told, and lets runtimes choose where mncni is alone in the list", function()
    for _, version in ipairs { "0.4.0", "1.0.0", "1.1.0" } do
      assert.equal(version, config(nil, { cni_version = version }).cniVersion)
    end
    assert.is_nil(config().cniVersions)
    assert.same({ "0.4.0", "1.0.0", "1.1.0" }, config(nil, { portmap = false }).cniVersions)
    assert.same({ "1.0.0" }, config(nil, { cni_versions = { "1.0.0" } }).cniVersions)
    local ok, err = pcall(config, nil, { cni_version = "1.2.0" })
    assert.is_false(ok)
    assert.matches('expected one of "0.4.0", "1.0.0", "1.1.0"', tostring(err), 1, true)
  end)

  it("uses another policy of the user's, or the plugin by another name", function()
    local _, plugin = config(nil, { policy = "mynet" })
    assert.same({ "mncni", "mynet" }, { plugin.type, plugin.policy })
    _, plugin = config(nil, { type = "naivebridge" })
    assert.equal("naivebridge", plugin.type)
    assert.is_nil(plugin.policy)
  end)

  it("installs the plugin and the user's policies, the configuration last", function()
    local list = files(world { policies = { mynet = "return {}", b = "return { }" } },
      { install = "/opt/mncni/cni", type = "naivebridge" })
    local paths = {}
    for i, file in ipairs(list) do
      paths[i] = file.path
    end
    assert.same({
      "/etc/mncni/policies/b.lua", "/etc/mncni/policies/mynet.lua", "/opt/cni/bin", "/opt/cni/bin/naivebridge",
      "/etc/mncni/policies", CONFLIST,
    }, paths)
    assert.same({ path = paths[2], content = "return {}\n" .. list[5].mark, mode = 420 }, list[2]) -- rw-r--r--
    assert.same({ [paths[1]] = true, [paths[2]] = true }, list[5].only)
    assert.same({ path = paths[3], tree = "/opt/mncni/cni" }, list[3])
    assert.same({ path = paths[4], link = "mncni" }, list[4])
  end)

  it("installs them before the routes stand, for pods of an older configuration", function()
    assert.equal(3, #files(world { ready = { ok = false, reasons = {} }, policies = { mynet = "return {}" } },
      { install = "/opt/mncni/cni" }))
  end)

  it("installs elsewhere where it is told", function()
    local list = files(world { policies = { mynet = "return {}" } },
      { install = "/x", bin_dir = "/host/bin", policy_dir = "/host/policies", path = "/host/net.d/00-x.conflist" })
    assert.same({ "/host/bin", "/host/policies/mynet.lua", "/host/policies", "/host/net.d/00-x.conflist" },
      { list[1].path, list[2].path, list[3].path, list[4].path })
  end)

  it("marks policies in a way that Lua reads over, and removes none while the cluster has said nothing", function()
    local list = files(world { policies = { mynet = "return { add = function() end }" } })
    assert.is_function(load(list[1].content, "=mynet", "t")().add)
    for _, file in ipairs(files(world())) do
      assert.is_nil(file.only)
    end
    local none = files(world { policies = {} })
    assert.same({ "/etc/mncni/policies", {} }, { none[1].path, none[1].only })
  end)
end)
