-- SPDX-License-Identifier: Apache-2.0
-- `mncni new`: what it writes passes its own specs, and wires real pods as it is.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local node, before

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "web" } }
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

local function new(...)
  return spaces.sh("cd %s/policies && ../bin/mncni new " .. table.concat({ ... }, " "), node.scratch)
end

-- Runs the chain that a conflist says; returns the last result.
local function run(verb, conflist)
  local list = core.json.decode(spaces.must("cat %s/policies/" .. conflist, node.scratch))
  local result
  for i = 1, #list.plugins do
    local conf = list.plugins[verb == "ADD" and i or #list.plugins + 1 - i]
    conf.cniVersion, conf.prevResult, conf.ipam = list.cniVersion, result, conf.ipam or false
    if conf.ipam then
      conf.ipam.dataDir = node.networks
    end
    result = node:must(verb, { pod = "web", name = conf.type, policy = conf.policy, conf = conf })
  end
  return result
end

describe("mncni new", function()
  it("writes policies whose specs pass, of every kind", function()
    local lua = spaces.must "realpath lua"
    local so = spaces.must("realpath %s/lib/lua/5.4", os.getenv "MNCNI_BUILD" or "build")
    for _, kind in ipairs { "interface", "chained", "ipam", "agent" } do
      local out, status = new("my" .. kind, "--kind", kind)
      assert.are.equal(0, status, out)
      assert.matches("./my" .. kind .. "_spec.lua", out, 1, true)
      out, status = spaces.sh(("cd %%s/policies && LUA_PATH='%s/?.lua;%s/?/init.lua;;' LUA_CPATH='%s/?.so;;' "
        .. "busted --lua=lua5.4 my%s_spec.lua && luacheck -q --std lua54+busted my%s*.lua"):format(lua, lua, so, kind,
        kind), node.scratch)
      assert.are.equal(0, status, out)
      assert.matches("2 successes / 0 failures", out, 1, true)
    end
  end)

  for _, kind in ipairs { "interface", "chained", "ipam" } do
    it("writes a configuration that a pod can have, of kind " .. kind, function()
      new("mine", "--kind", kind)
      local result = run("ADD", "mine.conflist")
      assert.are.equal("10.244.1.2/24", result.ips[1].address)
      node.pods.web:must "ping -c 1 -W 5 10.244.1.1"
      assert.matches("cbr0", (node:sh "ip -o link show type bridge"))
      if kind == "chained" then
        assert.matches("mtu 1400", (node.pods.web:must "ip route show default"))
      end
      run("DEL", "mine.conflist")
      assert.are.equal("", (node.pods.web:must "ip -4 addr show dev eth0 2>/dev/null || true"))
    end)
  end

  it("writes nothing over what is there, and says how else", function()
    assert.are.equal(0, select(2, new "mine"))
    spaces.must("rm %s/policies/mine.lua", node.scratch)
    local out, status = new "mine"
    assert.are.equal(1, status)
    assert.are.equal("mncni new: ./mine.conflist is there already; choose another name or --directory", out)
    assert.are.equal(1, select(2, spaces.sh("test -e %s/policies/mine.lua", node.scratch)))
  end)

  it("refuses what cannot be a name, and where it cannot write", function()
    local out, status = new "../mine"
    assert.are.equal(2, status)
    assert.matches('"../mine" cannot be a policy\'s name', out, 1, true)
    out, status = new("mine", "--directory", "/nonexistent")
    assert.are.equal(1, status)
    assert.matches("/nonexistent/mine.conflist: No such file or directory", out, 1, true)
  end)
end)
