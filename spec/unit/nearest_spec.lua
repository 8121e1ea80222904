-- SPDX-License-Identifier: Apache-2.0
local nearest = require("mncni.core").nearest

describe("the nearest known name", function()
  local keys = { "ifname", "ifindex", "mtu", "master", "address", "broadcast", "isGateway", "ipMasq" }

  for wanted, expected in pairs {
    ifnam = "ifname", adress = "address", addresss = "address", mut = "mtu", MTU = "mtu", isgateway = "isGateway",
    ipmasq = "ipMasq", broadcsat = "broadcast", mastr = "master", ifidnex = "ifindex",
    addr = "address", ifn = "ifname",
  } do
    it(("takes %q to mean %q"):format(wanted, expected), function()
      assert.are.equal(expected, nearest(wanted, keys))
    end)
  end

  it("is nil when nothing comes near", function()
    for _, wanted in ipairs { "", "x", "if", "valid_lft", "hello", ("m"):rep(500) } do
      assert.is_nil(nearest(wanted, keys))
    end
    assert.is_nil(nearest("mtu", {}))
    assert.is_nil(nearest("a", { "b" }))
  end)

  it("keeps the first of equally near names", function()
    assert.are.equal("mtua", nearest("mtu", { "mtua", "mtub" }))
    assert.are.equal("mtub", nearest("mtu", { "mtub", "mtua" }))
  end)

  it("prefers the nearer of two", function()
    assert.are.equal("src", nearest("srcc", { "source", "src" }))
  end)

  it("passes over list members that are no strings, even when a metatable makes them up", function()
    local list = setmetatable({ 1, false, {} }, {
      __index = function(_, i) return "name" .. i end,
      __len = function() return 5 end,
    })
    assert.are.equal("name4", nearest("name4", list))
  end)

  it("refuses arguments of a wrong type", function()
    assert.has_error(function() nearest({}, keys) end)
    assert.has_error(function() nearest("mtu", "mtu") end)
  end)
end)
