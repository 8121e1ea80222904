-- SPDX-License-Identifier: Apache-2.0
-- What is read out of flannel's subnet.env, and what is said of one that is wrong.

local flannel = require "mncni.flannel"

local GOOD = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"

local function strings(list)
  local texts = {}
  for i, value in ipairs(list) do
    texts[i] = tostring(value)
  end
  return texts
end

describe("subnet.env", function()
  it("is read as flanneld writes it", function()
    local env = flannel.parse(GOOD, "subnet.env")
    assert.same({ "10.244.1.0/24" }, strings(env.subnets))
    assert.same({ "10.244.0.0/16" }, strings(env.networks))
    assert.same({ 1450, true }, { env.mtu, env.ip_masq })
  end)

  it("may have both families, several networks, and keys of newer flannels", function()
    local env = flannel.parse("# written\n\n" .. GOOD:gsub("/16", "/16,10.96.0.0/12")
      .. "FLANNEL_IPV6_NETWORK=fd00:10:244::/56\nFLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64\nFLANNEL_NEW=x\r\n", "x")
    assert.same({ "10.244.1.0/24", "fd00:10:244:1::/64" }, strings(env.subnets))
    assert.same({ "10.244.0.0/16", "10.96.0.0/12", "fd00:10:244::/56" }, strings(env.networks))
  end)

  it("may have IPv6 alone", function()
    local env = flannel.parse("FLANNEL_IPV6_NETWORK=fd00::/56\nFLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\nFLANNEL_MTU=1430\n"
      .. "FLANNEL_IPMASQ=false\n", "x")
    assert.same({ { "fd00:0:0:1::/64" }, false }, { strings(env.subnets), env.ip_masq })
  end)

  for _, case in ipairs {
    { "a broken MTU", { "MTU=1450", "MTU=big" }, '/run/x.env:3: FLANNEL_MTU: "big" is no MTU; flanneld writes it' },
    { "a broken range", { "10.244.1.1/24", "10.244.1.1/99" }, "/run/x.env:2: FLANNEL_SUBNET: " },
    { "an address without a length", { "10.244.1.1/24", "10.244.1.1" },
      "/run/x.env:2: FLANNEL_SUBNET: 10.244.1.1 is no IPv4 range" },
    { "two ranges of the node", { "10.244.1.1/24", "10.244.1.1/24,10.244.2.1/24" }, "one range is expected" },
    { "another family", { "10.244.0.0/16", "fd00::/16" }, "/run/x.env:1: FLANNEL_NETWORK: fd00::/16 is no IPv4 range" },
    { "an empty value", { "10.244.0.0/16", "" }, "/run/x.env:1: FLANNEL_NETWORK: there is nothing behind the =" },
    { "a word that is no truth", { "=true", "=yep" }, '/run/x.env:4: FLANNEL_IPMASQ: "yep" is neither true nor false' },
    { "something else", { "FLANNEL_MTU=1450", "{ mtu: 1450 }" }, '/run/x.env:3: "{ mtu: 1450 }" is not NAME=VALUE' },
    { "a key missing", { "FLANNEL_MTU=1450\n", "" }, "/run/x.env: it has no FLANNEL_MTU" },
    { "no range", { "FLANNEL_SUBNET=10.244.1.1/24\n", "" }, "/run/x.env: it has no FLANNEL_SUBNET" },
    { "no network", { "FLANNEL_NETWORK=10.244.0.0/16\n", "" }, "/run/x.env: it has no FLANNEL_NETWORK" },
    { "nothing", { GOOD, "" }, "/run/x.env: it has no FLANNEL_" },
  } do
    it("is refused with the place and the remedy for " .. case[1], function()
      local at, to = GOOD:find(case[2][1], 1, true)
      local ok, err = pcall(flannel.parse, GOOD:sub(1, at - 1) .. case[2][2] .. GOOD:sub(to + 1), "/run/x.env")
      assert.is_false(ok)
      assert.equal(6, err.code)
      assert.matches(case[3], tostring(err), 1, true)
      assert.matches("restart flanneld on this node", tostring(err), 1, true)
    end)
  end
end)
