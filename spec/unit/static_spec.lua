-- SPDX-License-Identifier: Apache-2.0
-- Which addresses the IPAM policy static gives, and who has the last word.

local static = require "mncni.static"

local configured = {
  addresses = { { address = "10.10.0.1/24", gateway = "10.10.0.254" }, { address = "3ffe:ffff:0:01ff::1/64" } },
}

local function refusal(request, conf)
  local ok, err = pcall(static.addresses, request, conf)
  assert.is_false(ok)
  assert.equal(7, err.code)
  return tostring(err)
end

describe("static.addresses", function()
  it("gives those of the configuration, with the host's bits", function()
    assert.same({ { address = "10.10.0.1/24", gateway = "10.10.0.254" }, { address = "3ffe:ffff:0:1ff::1/64" } },
      static.addresses({}, configured))
    assert.same({}, static.addresses({}, {}))
  end)

  it("appends IP of CNI_ARGS, with the GATEWAY that its network has", function()
    local list = static.addresses({ args = { IP = "10.9.0.5/24, 10.8.0.5/16", GATEWAY = "10.9.0.1" } }, configured)
    assert.same({ { address = "10.9.0.5/24", gateway = "10.9.0.1" }, { address = "10.8.0.5/16" } },
      { list[3], list[4] })
    assert.equal("10.10.0.254", list[1].gateway)
  end)

  it("gives those of args.cni.ips in place of both, and those of runtimeConfig.ips in place of all", function()
    local args = { IP = "10.9.0.5/24" }
    assert.same({ { address = "10.7.0.5/24" } },
      static.addresses({ args = args, args_ips = { "10.7.0.5/24" } }, configured))
    assert.same({ { address = "10.6.0.5/24" } }, static.addresses({
      args = args, args_ips = { "10.7.0.5/24" }, runtime_ips = { "10.6.0.5/24" },
    }, configured))
    assert.equal(3, #static.addresses({ args = args, args_ips = {}, runtime_ips = {} }, configured))
  end)

  it("wants prefix lengths, and says of which address", function()
    for where, case in pairs {
      ["addresses[1].address"] = { {}, { addresses = { { address = "10.10.0.1" } } } },
      ["IP of CNI_ARGS"] = { { args = { IP = "10.10.0.1" } }, {} },
      ["args.cni.ips[0]"] = { { args_ips = { "10.10.0.1" } }, {} },
      ["runtimeConfig.ips[1]"] = { { runtime_ips = { "10.10.0.2/24", "10.10.0.1" } }, {} },
    } do
      local message = refusal(case[1], case[2])
      assert.matches("expected to be in CIDR notation", message, 1, true)
      assert.matches(where, message, 1, true)
    end
    assert.matches("10.10.0.300/24", refusal({}, { addresses = { { address = "10.10.0.300/24" } } }), 1, true)
  end)

  it("refuses a gateway that is none", function()
    for _, gateway in ipairs { "10.10.0.254/24", "fd00::1", "the router" } do
      local message = refusal({}, { addresses = { { address = "10.10.0.1/24", gateway = gateway } } })
      assert.matches("addresses[1].gateway", message, 1, true)
    end
    assert.is_nil(static.addresses({}, { addresses = { { address = "10.10.0.1/24", gateway = "" } } })[1].gateway)
  end)

  it("gives one of a family before 0.3.0", function()
    local two = { addresses = { { address = "10.10.0.1/24" }, { address = "10.10.0.2/24" } } }
    for _, version in ipairs { "0.1.0", "0.2.0" } do
      two.version = version
      assert.matches("more than 1 address per family", refusal({}, two), 1, true)
      assert.equal(2, #static.addresses({}, { addresses = configured.addresses, version = version }))
    end
    two.version = "0.3.0"
    assert.equal(2, #static.addresses({}, two))
  end)
end)

describe("static.check", function()
  local wanted = static.addresses({}, configured)

  it("finds every address wanted, and lets others be", function()
    static.check(wanted, {
      { address = "10.1.1.1/24" }, { address = "3ffe:ffff:0:1ff::1/64", gateway = "fe80::1" },
      { address = "10.10.0.1/24", gateway = "10.10.0.254" },
    })
  end)

  it("names one that is missing, or has another gateway", function()
    local function complaint(have)
      local ok, err = pcall(static.check, wanted, have)
      assert.is_false(ok)
      assert.equal(106, err.code)
      return tostring(err)
    end
    assert.matches("10.10.0.1/24", complaint { { address = "3ffe:ffff:0:1ff::1/64" } }, 1, true)
    local both = { { address = "10.10.0.1/24", gateway = "10.10.0.1" }, { address = "3ffe:ffff:0:1ff::1/64" } }
    assert.matches("should be 10.10.0.254", complaint(both), 1, true)
    both[1].gateway = nil
    assert.matches("should be 10.10.0.254", complaint(both), 1, true)
  end)
end)
