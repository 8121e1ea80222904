-- SPDX-License-Identifier: Apache-2.0
-- The policies that the binary carries, and which of them are plugins.

local policies = require "mncni.testing"
local runner = require "spec.support.runner"

-- Name -> the table of hooks, of every file in policies.
local shipped = {}
for name in runner.sh "ls policies":gmatch "(%S+)%.lua" do
  shipped[name] = policies.load(name)
end

describe("the policies that the binary carries", function()
  it("are those of the plugin and those of the agent alike", function()
    local out = runner.sh(runner.build .. "/bin/mncni --help")
    for name in pairs(shipped) do
      assert.matches("\n  " .. name:gsub("%-", "%%-") .. " +built in\n", out)
    end
  end)

  it("have hooks of a plugin or the agent's one, and not both", function()
    for name, policy in pairs(shipped) do
      assert.is_true((policy.add or policy.lease) ~= nil ~= (policy.desired ~= nil), name)
    end
  end)

  it("are pages that a user can read", function()
    for name in pairs(shipped) do
      local count = 0
      for _ in io.lines(("policies/%s.lua"):format(name)) do
        count = count + 1
      end
      assert.is_true(count <= 85, ("%s has %d lines"):format(name, count))
    end
  end)

  it("desire the same in a bounded state as by themselves", function()
    local directory = runner.directory()
    runner.write(directory .. "/called.lua", [[
      local mncni = require "mncni"
      local options = require "mncni.options"
      local policy = {}
      function policy.desired()
        local found = mncni.policy.load "routes"
        local world = {
          node = mncni.node.new { name = "n1", addresses = { "10.0.0.1" }, pod_cidrs = { "10.244.1.0/24" } },
          peers = { mncni.node.new { name = "n2", addresses = { "10.0.0.2" }, pod_cidrs = { "10.244.2.0/24" } } },
        }
        return found.desired(world, options.check(found.options, { mode = "direct" })).routes
      end
      return policy
    ]])
    local reply = runner.call { policy = "called", path = directory }
    runner.sh("rm -r " .. directory)
    assert.same({
      { type = "blackhole", dst = "10.244.1.0/24", metric = 2048 }, { dst = "10.244.2.0/24", gateway = "10.0.0.2" },
    }, reply.value)
  end)

  it("have a link in a CNI bin directory where they are plugins", function()
    local directory = runner.directory()
    local command = "env -u MAKEFLAGS make -s BUILD=%s cni-bin DIR=%s"
    local _, err, status = runner.sh(command:format(runner.build, directory))
    local links = {}
    for name in runner.sh("ls " .. directory):gmatch "%S+" do
      links[name] = true
    end
    runner.sh("rm -r " .. directory)
    assert.equal(0, status, err)
    assert.is_true(links.mncni)
    for name, policy in pairs(shipped) do
      assert.equal((policy.add or policy.lease) ~= nil, links[name] == true, name)
    end
  end)
end)
