-- SPDX-License-Identifier: Apache-2.0
-- What a chained policy is told of the attachment, by its previous result.

local chain = require "mncni.chain"

local call = {
  type = "portmap", ifname = "eth0", netns = "/run/netns/a",
  prev_result = {
    interfaces = {
      { name = "cbr0" }, { name = "eth0", sandbox = "/run/netns/a" }, { name = "eth0", sandbox = "/run/netns/b" },
      { name = "eth0" },
    },
    ips = {
      { address = "10.0.0.2/24", interface = 1 }, { address = "10.0.0.3/24", interface = 2 },
      { address = "10.0.0.4/24", interface = 3 }, { address = "fd00::2/64", interface = 1 },
      { address = "10.0.0.5/24" }, { address = "10.0.0.6/24", interface = 9 },
    },
  },
}

local function texts(list)
  for i, value in ipairs(list) do list[i] = tostring(value) end
  return list
end

describe("mncni.chain", function()
  it("finds the addresses of this interface in this namespace, and those of no interface", function()
    assert.same({ "10.0.0.2/24", "fd00::2/64", "10.0.0.5/24" }, texts(chain.addresses(call)))
  end)

  it("finds those of one family", function()
    assert.same({ "fd00::2/64" }, texts(chain.addresses(call, "inet6")))
    assert.same({ "10.0.0.2/24", "10.0.0.5/24" }, texts(chain.addresses(call, "inet")))
  end)

  it("finds none where no plugin came before", function()
    assert.same({}, chain.addresses { ifname = "eth0", netns = "/run/netns/a" })
  end)

  it("refuses a call without the result of a plugin before it", function()
    local ok, err = pcall(chain.check, { policy = "portmap" })
    assert.is_false(ok)
    assert.equal(7, err.code)
    assert.truthy(tostring(err):find("portmap must be called as chained plugin", 1, true))
    chain.check(call)
  end)
end)
