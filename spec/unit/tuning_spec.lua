-- SPDX-License-Identifier: Apache-2.0
-- What the plugin tuning may be asked for, and the node's list of what it may do.

local allowlist = require "mncni.allowlist"
local core = require "mncni.core"
local tuning = require "mncni.tuning"

-- A file with this text, for the list; removed with the spec.
local function with_list(text, fn)
  local path, usual = os.tmpname(), allowlist.PATH
  do
    local file <close> = assert(io.open(path, "w"))
    file:write(text)
  end
  allowlist.PATH = path
  local result = table.pack(pcall(fn))
  allowlist.PATH = usual
  os.remove(path)
  if not result[1] then error(result[2], 0) end
  return table.unpack(result, 2, result.n)
end

local function refusal(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.equal(7, err.code)
  return tostring(err)
end

describe("tuning.mac", function()
  it("writes an address as the kernel does", function()
    assert.equal("0a:58:0a:f4:01:07", tuning.mac "0A-58-0a-F4-01-07")
    assert.equal("0a:58:0a:f4:01:07", tuning.mac "0a:58:0a:f4:01:07")
  end)

  it("refuses what no interface can have, and names the key", function()
    for _, text in ipairs { "", "0a:58", "0a:58:0a:f4:01:0g", "01:00:5e:00:00:01", "00:00:00:00:00:00",
      "0a:58:0a:f4:01:07:08" } do
      assert.matches('"mac"', refusal(tuning.mac, text))
    end
  end)
end)

describe("tuning.sysctls", function()
  local usual
  setup(function() usual, allowlist.PATH = allowlist.PATH, "/nonexistent/allowlist.conf" end)
  teardown(function() allowlist.PATH = usual end)

  it("brings keys into the form that names interfaces with dots, in a stable order", function()
    assert.same({ { "net/core/somaxconn", "4096" }, { "net/ipv4/conf/eth0.100/arp_filter", "1" } },
      tuning.sysctls({ ["net.core.somaxconn"] = "4096", ["net/ipv4/conf/eth0.100/arp_filter"] = "1" }, "eth0"))
    assert.same({ { "net/ipv4/conf/eth0.100/arp_filter", "1" } },
      tuning.sysctls({ ["net.ipv4.conf.eth0/100.arp_filter"] = "1" }, "eth0"))
  end)

  it("puts the pod's interface in place of IFNAME, once", function()
    assert.same({ { "net/ipv4/conf/eth0.7/arp_filter", "1" } },
      tuning.sysctls({ ["net.ipv4.conf.IFNAME.arp_filter"] = "1" }, "eth0.7"))
    assert.same({ { "net/ipv4/conf/%1/IFNAME", "1" } }, tuning.sysctls({ ["net/ipv4/conf/IFNAME/IFNAME"] = "1" }, "%1"))
  end)

  it("refuses what is not below net", function()
    for _, key in ipairs { "kernel.hostname", "vm.swappiness", "/net/core/somaxconn", "net", "network.core.x", "" } do
      assert.matches("below net/", refusal(tuning.sysctls, { [key] = "1" }, "eth0"))
    end
  end)

  it("refuses one setting under two names", function()
    local message = refusal(tuning.sysctls, { ["net.core.somaxconn"] = "1", ["net/core/somaxconn"] = "2" }, "eth0")
    assert.matches('the same setting as "net.core.somaxconn"', message, 1, true)
  end)

  it("keeps to the node's list, where there is one", function()
    with_list("^net\\.core\\.\n\n  ^net.ipv4.conf.IFNAME.[a-z_]*$  \n", function()
      assert.equal(2, #tuning.sysctls({
        ["net.core.somaxconn"] = "1", ["net.ipv4.conf.IFNAME.arp_filter"] = "1",
      }, "eth0"))
      local message = refusal(tuning.sysctls, { ["net.ipv4.ip_forward"] = "1" }, "eth0")
      assert.matches("net.ipv4.ip_forward", message, 1, true)
      assert.matches(allowlist.PATH, message, 1, true)
      assert.same({}, tuning.sysctls({}, "eth0"))
    end)
  end)

  it("allows nothing by an empty list", function()
    with_list("\n", function()
      refusal(tuning.sysctls, { ["net.core.somaxconn"] = "1" }, "eth0")
    end)
  end)

  it("allows nothing by a list that cannot be read", function()
    local here = allowlist.PATH
    allowlist.PATH = "/" -- a directory
    local ok, err = pcall(tuning.sysctls, { ["net.core.somaxconn"] = "1" }, "eth0")
    allowlist.PATH = here
    assert.is_false(ok)
    assert.equal(7, err.code)
  end)
end)

describe("allowlist.translate", function()
  -- Whether a pattern as Go has it is found in a text.
  local function finds(pattern, text)
    return core.regex.match(allowlist.translate(pattern), text)
  end

  it("leaves what both kinds of regular expressions have", function()
    for _, pattern in ipairs { [[^net\.ipv4\.conf\.[a-z0-9_.-]+\.arp_(filter|notify)$]], "a{2,3}b?c*", "[^]a]", "[]a]",
      "[[:alnum:]_]+", [[\w+\.\w+]], "" } do
      assert.equal(pattern, allowlist.translate(pattern))
    end
  end)

  it("translates digits", function()
    assert.is_true(finds([[^net\.ipv4\.conf\.eth\d+\.]], "net.ipv4.conf.eth10.arp"))
    assert.is_false(finds([[^net\.ipv4\.conf\.eth\d+\.]], "net.ipv4.conf.ethd.arp"))
    assert.is_true(finds([[^eth[\d_]+$]], "eth1_2"))
    assert.is_false(finds([[^eth[\d_]+$]], "ethd"))
    assert.is_true(finds([[^a[\.]b$]], "a.b"))
    assert.is_false(finds([[^a[\.]b$]], [[a\b]]))
  end)

  it("refuses what would be understood differently", function()
    for _, pattern in ipairs { "(?:a|b)", "(?i)net", [[\pL]], [[a\1]], [[\x41]], "[\\w]+", "[a\\]]+",
      "[a\\-z]+" } do
      assert.matches("is not understood", refusal(allowlist.translate, pattern), 1, true)
    end
  end)

  it("names the pattern that is none", function()
    assert.matches("net[", refusal(allowlist.allows, { "net[" }, "net"), 1, true)
  end)
end)
