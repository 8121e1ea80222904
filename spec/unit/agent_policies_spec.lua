-- SPDX-License-Identifier: Apache-2.0
-- The policies that the cluster gives: what is found wrong with them before anybody gets them.

local agent_policies = require "mncni.agent_policies"

local GOOD = "local policy = {}\nfunction policy.add(pod) return pod:result {} end\nreturn policy\n"
local ROUTES = "return { desired = function() return {} end }"

local function refusal(texts)
  local ok, err = pcall(agent_policies.load, { { name = "mine", given = {} } }, texts)
  assert.is_false(ok)
  return tostring(err), err
end

describe("policies that the cluster gives", function()
  it("are taken where all of them load, those for the plugin, too", function()
    local loaded = agent_policies.load({ { name = "mine", given = {} } }, { mine = ROUTES, naivebridge = GOOD })
    assert.equal(1, #loaded.list)
    assert.equal(GOOD, loaded.texts.naivebridge)
  end)

  it("are refused with the file and line of the one that does not compile", function()
    local text = "local policy = {}\nfunction policy.add(pod\nreturn policy\n"
    local message, err = refusal { mine = ROUTES, naivebridge = text }
    assert.matches('policy "naivebridge"', message, 1, true)
    assert.matches("naivebridge.lua:3:", message, 1, true)
    assert.same({ "naivebridge.lua", 3 }, { err.file, err.line })
  end)

  for _, case in ipairs {
    { "raises while it loads", "error 'no'", "naivebridge.lua:1: no" },
    { "names a global that does not exist", "local x = mncnni\nreturn {}", 'there is no global "mncnni"' },
    { "returns nothing", "local policy = {}", 'does it end with "return policy"?' },
    { "calls what does not exist", "return { add = function(pod) pod:vethh {} end }",
      'naivebridge.lua:1: pod has no "vethh"; did you mean "veth"?' },
    { "reads an option that it does not declare", "return { add = function(_, conf) print(conf.brige) end }",
      'naivebridge.lua:1: conf.brige: the policy declares no option "brige"' },
    { "has a hook that nobody knows", "return { ad = function() end }",
      'unknown hook "ad" (line 1); did you mean "add"?' },
    { "has nothing that could be run", "return { options = {} }", "none of the hooks add, lease, desired" },
    { "declares an option wrongly", "return { options = { mtu = { type = 'int' } } }", "mtu" },
  } do
    it("are refused where one " .. case[1], function()
      assert.matches(case[3], refusal { mine = ROUTES, naivebridge = case[2] }, 1, true)
    end)
  end

  it("cannot make a policy of the agent one of the plugin", function()
    assert.matches("it has no desired(world, conf)", refusal { mine = GOOD }, 1, true)
  end)
end)
