-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local mncni = require "mncni"
local net = require "mncni.net"
local recorded = require "mncni.recorded"

local help = mncni.help

describe("help", function()
  it("lists the topics", function()
    local text = help.text()
    for _, topic in ipairs { "link", "route", "nft", "sysctl", "netns", "cidr", "try" } do
      assert.matches("\n  " .. topic .. " ", text)
    end
  end)

  it("tells verbs and keys of a family, with type, range, values and attribute", function()
    local text = help.text "link"
    assert.matches("verbs: add replace set del get list ensure absent", text)
    assert.matches("\n  mtu +integer +IFLA_MTU\n", text)
    assert.matches("\n  ifname +string up to 15 +IFLA_IFNAME\n", text)
    assert.matches('\n  bridge +table, see "link.bridge" +IFLA_INFO_DATA\n', text)
    assert.matches("\n  forward_delay +integer 0..3000 +IFLA_BR_FORWARD_DELAY\n", help.text "link.bridge")
    assert.matches("mncni", help.text "route")
  end)

  it("takes a verb of a net", function()
    local host = recorded.new().host
    assert.equal(help.text "addr", help.text(host.addr.add))
    assert.equal(help.text "route", help.text(host.route.ensure))
    assert.equal(help.text "nft.set", help.text(host.nft.set.add))
  end)

  it("knows every object and table that the encoder knows, and fits a terminal", function()
    local topics = { "nft", "sysctl", "conntrack", "monitor", "batch", "netns", "cidr", "json", "try" }
    local function gather(path, fields)
      topics[#topics + 1] = path
      for key, row in pairs(fields) do
        if row.fields then
          gather(path .. "." .. key, row.fields)
        end
      end
    end
    for object, fields in pairs(core.schema()) do
      gather(object, fields)
      local protocol = object:find "^nft_" and "netfilter" or "route"
      assert.is_truthy(net.families[protocol][object:gsub("^nft_", "")] or object == "nft_gen", object)
    end
    for _, topic in ipairs(topics) do
      for line in help.text(topic):gmatch "[^\n]+" do
        assert.is_true(#line <= 80, topic .. ": " .. line)
      end
      assert.not_matches("There is no help", help.text(topic))
    end
  end)

  it("tells every function of what a policy uses", function()
    local function tells(topic, names)
      local text = help.text(topic)
      topic = topic or "the topics"
      for line in text:gmatch "[^\n]+" do
        assert.is_true(#line <= 80, topic .. ": " .. line)
      end
      for _, name in ipairs(names) do
        assert.is_truthy(text:find("%f[%w_]" .. name .. "%f[^%w_]"), ("%s of %s"):format(name, topic))
      end
    end
    for topic, hidden in pairs {
      bridge = "", masquerade = "check", localnet = "check", hostport = "check", forwarding = "steps check",
      uplink = "", firewall = "check", ingress = "check", ipam = "", static = "", tuning = "", source_routing = "",
      store = "", collect = "remove log", recorded = "", testing = "", node = "", node_ranges = "", routes = "",
      conflist = "", flannel = "", cidr = "", json = "", netns = "", policy = "",
    } do
      local names = { table.unpack(topic == "policy" and { "names", "source" } or {}) }
      for name in pairs(mncni[topic]) do
        names[#names + 1] = not (" " .. hidden .. " "):find(" " .. name .. " ", 1, true) and name or nil
      end
      tells(topic, names)
    end
    for name in pairs(core.netns) do
      tells("netns", { name })
    end
    tells("error", { "error", "is_error", "code" })
    tells("pod", {
      "lease", "veth", "link", "tap", "device", "vrf", "interface", "delegate", "result", "commit", "warn",
      "wanted_mac", "address", "routes",
    })
    tells(nil, { "pod", "policy", "options", "route_mtu", "open" })
  end)

  it("names the nearest topic", function()
    assert.matches('did you mean "bridge"%?', help.text "bridg")
    assert.matches('did you mean "route"%?', help.text "rotue")
    assert.matches("topics are: link", help.text "frobnicate")
    assert.matches("given a number", help.text(1))
  end)
end)
