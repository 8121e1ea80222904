-- SPDX-License-Identifier: Apache-2.0
-- portmap beside Debian's reference plugins: chains of both, and the same chain with the one and the other.

local hostports = require "spec.support.hostports"
local spaces = require "spec.support.netns"

local REFERENCE = hostports.REFERENCE .. "/portmap"

local MAPPINGS = {
  { hostPort = 8080, containerPort = 80, protocol = "tcp" }, { hostPort = 8053, containerPort = 53, protocol = "udp" },
  { hostPort = 8081, containerPort = 81, protocol = "tcp", hostIP = "192.0.2.11" },
  { hostPort = 8082, containerPort = 82, protocol = "tcp", hostIP = "2001:db8::10" },
  { hostPort = 8083, containerPort = 83, protocol = "tcp", hostIP = "0.0.0.0" },
}

describe("portmap in one chain with the reference plugins", function()
  local world, before

  before_each(function()
    before = spaces.snapshot()
    world = hostports.new()
  end)

  after_each(function()
    -- What a plugin of the reference's leaves is not ours, and goes with the node.
    world:close()
    spaces.assert_nothing_left(before)
  end)

  -- Who gets what of all mappings, as lines.
  local function reachable()
    local ports = { { 8080 }, { 8053, "udp" }, { 8081 }, { 8082 }, { 8083 } }
    local found = {}
    local function from(name, space, ...)
      for _, to in ipairs { ... } do
        local questions = { from = space, seconds = 5 }
        for i, port in ipairs(ports) do
          questions[i] = { to = to, port = port[1], kind = port[2] }
        end
        for i, answer in ipairs { world:ask(questions) } do
          found[#found + 1] = ("%s asks %s %d: %s"):format(name, to, ports[i][1], answer)
        end
      end
    end
    from("client", world.client, "192.0.2.10", "192.0.2.11", "2001:db8::10")
    from("node", world.node.space, "192.0.2.10", "192.0.2.11", "127.0.0.1", "2001:db8::10")
    from("pod", world.node.pods.web, "192.0.2.10", "192.0.2.11", "2001:db8::10")
    from("other pod", world.node.pods.db, "192.0.2.10", "192.0.2.11", "2001:db8::10")
    return found
  end

  local function serve()
    world:wire("db", { reference = true })
    world:serve("web", "tcp:80", "udp:53", "tcp:81", "tcp:82", "tcp:83")
  end

  -- A result without what the reference's older library writes although there is nothing in it.
  local function plain(result)
    assert.is_nil(next(result.dns or {}))
    result.dns = nil
    return result
  end

  it("follows the reference's bridge and host-local", function()
    local result = world:attach("web", { reference = true, mappings = MAPPINGS })
    assert.are.same(plain(world.results.web), plain(result))
    serve()
    assert.are.equal("web 192.0.2.20", world:ask { from = world.client, to = "192.0.2.10", port = 8080 })
    assert.are.equal("web 10.244.1.1", world:ask { to = "127.0.0.1", port = 8080 })
    assert.are.equal("web 10.244.1.1", world:ask { from = world.node.pods.web, to = "192.0.2.10", port = 8080 })
    assert.is_nil(world:check "web")
    world:detach("web", { ports_only = true })
    assert.are.same({}, world:elements())
    assert.are.equal("refused", world:ask { from = world.client, to = "192.0.2.10", port = 8080 })
  end)

  it("may be the reference's behind our naivebridge", function()
    local simple = { MAPPINGS[1], MAPPINGS[2] }
    world:wire "web"
    local outcome = world:portmap("ADD", "web", { bin = REFERENCE, mappings = simple })
    assert.are.equal(0, outcome.status, outcome.stdout)
    assert.are.equal(#world.results.web.interfaces, #outcome.json.interfaces)
    world:serve("web", "tcp:80")
    for _, case in ipairs {
      { world.client, "192.0.2.10" }, { world.node.space, "127.0.0.1" }, { world.node.pods.web, "192.0.2.10" },
    } do
      local answer = world:ask { from = case[1], to = case[2], port = 8080 }
      assert.are.equal("web ", answer:sub(1, 4), answer)
    end
    -- Its CHECK is not asked: of a pod with both families it looks for IPv4 rules in ip6tables.
    assert.are.equal(0, world:portmap("DEL", "web", { bin = REFERENCE, mappings = simple }).status)
    world.node:must("DEL", { pod = "web" })
  end)

  it("gives the same result, and reaches the pod from where the reference does", function()
    world:wire("web", { reference = true })
    serve()
    local outcome = world:portmap("ADD", "web", { bin = REFERENCE, mappings = MAPPINGS, conf = { snat = true } })
    assert.are.equal(0, outcome.status, outcome.stdout)
    local theirs = { result = outcome.json, reachable = reachable() }
    assert.are.equal(0, world:portmap("DEL", "web", { bin = REFERENCE, mappings = MAPPINGS }).status)

    outcome = world:portmap("ADD", "web", { mappings = MAPPINGS, conf = { snat = true } })
    assert.are.equal(0, outcome.status, outcome.stdout)
    assert.are.same(plain(theirs.result), plain(outcome.json))
    assert.are.same(theirs.reachable, reachable())
    assert.truthy(table.concat(theirs.reachable, "\n"):find("client asks 192.0.2.11 8081: web", 1, true))
  end)

  it("refuses the mistakes that the reference does", function()
    world:wire "web"
    for _, args in ipairs {
      { mappings = { { hostPort = 0, containerPort = 80, protocol = "tcp" } } },
      { mappings = { { hostPort = 80, containerPort = 0, protocol = "tcp" } } },
      { mappings = { { hostPort = 80, containerPort = 70000, protocol = "tcp" } } },
      { mappings = { { hostPort = 80, containerPort = 80, protocol = "icmp" } } },
      { mappings = { MAPPINGS[1] }, conf = { markMasqBit = 32 } },
      { mappings = { MAPPINGS[1] }, conf = { markMasqBit = 3, externalSetMarkChain = "X" } },
      { mappings = { MAPPINGS[1] }, previous = false },
    } do
      assert.are.equal(7, world:portmap("ADD", "web", args).json.code)
      args.bin = REFERENCE
      assert.are.equal(999, world:portmap("ADD", "web", args).json.code)
    end
  end)
end)
