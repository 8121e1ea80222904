-- SPDX-License-Identifier: Apache-2.0
-- What a policy may ask for, before anything is sent.
local mncni = require "mncni"
local recorded = require "mncni.recorded"
local steps = require "mncni.steps"

describe("a net whose changes are recorded", function()
  local world, context

  before_each(function()
    world = recorded.new()
    context = steps.new { host = world.host, pod = world.pod }
  end)

  it("sends nothing by itself, and answers at once what is looked up", function()
    local inside = context:recorder "pod"
    inside.link.set { ifname = "lo", up = true }
    assert.same({}, world.lines())
    assert.is_false(inside.link.get({ ifname = "lo" }).up)
    assert.equal("link", context.list[1].object)
  end)

  it("refuses verbs that would change something without a way back", function()
    local host = context:recorder "host"
    for _, verb in ipairs { "ensure", "absent", "ad" } do
      local ok, err = pcall(function() host.link[verb] { ifname = "br0", kind = "bridge" } end)
      assert.is_false(ok)
      assert.matches('a pod\'s host records add, .* there is no "' .. verb .. '"', err)
    end
    assert.same({}, world.lines())
  end)
end)

describe("a shared verb", function()
  for name, verb in pairs {
    ["bridge.ensure"] = mncni.bridge.ensure, ["masquerade.ensure"] = mncni.masquerade.ensure,
    ["localnet.ensure"] = mncni.localnet.ensure,
    ["firewall.accept"] = mncni.firewall.accept, ["ingress.hold"] = mncni.ingress.hold,
  } do
    it("names a key that it does not know: " .. name, function()
      local _, err = pcall(verb, { zzzzzzzz = true })
      assert.matches(name .. ': unknown key "zzzzzzzz"; there are ', tostring(err), 1, true)
    end)
  end
end)
