-- SPDX-License-Identifier: Apache-2.0
-- Regular expressions of POSIX, which the core has for files that others write.

local core = require "mncni.core"

local match = core.regex.match

describe("core.regex.match", function()
  it("finds an extended regular expression anywhere in a text", function()
    assert.is_true(match("a(b|c)+d", "xacbd"))
    assert.is_false(match("^a(b|c)+d", "xacbd"))
    assert.is_true(match([[^net\.ipv4\.tcp_[a-z_]+$]], "net.ipv4.tcp_rmem"))
    assert.is_false(match([[^net\.ipv4\.tcp_[a-z_]+$]], "net_ipv4.tcp_rmem"))
    assert.is_true(match("", ""))
  end)

  it("says what is wrong with a pattern", function()
    local ok, err = pcall(match, "net[", "net")
    assert.is_false(ok)
    assert.is_true(core.is_error(err))
    assert.equal("EINVAL", err.name)
    assert.matches('pattern "net%["', tostring(err))
    assert.is_false((pcall(match, "(a", "a")))
  end)

  it("refuses a pattern that is longer than anybody would write", function()
    assert.is_true(match(("a"):rep(1024), ("a"):rep(1024)))
    local ok, err = pcall(match, ("a"):rep(1025), "a")
    assert.is_false(ok)
    assert.matches("more than 1024 bytes", tostring(err))
  end)

  it("takes two strings, and nothing else", function()
    assert.is_false((pcall(match, "a")))
    assert.is_false((pcall(match, {}, "a")))
  end)
end)
