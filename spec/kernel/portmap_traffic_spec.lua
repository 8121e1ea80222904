-- SPDX-License-Identifier: Apache-2.0
-- Where a host port leads to: questions from everywhere, over both families, and what answers.

local core = require "mncni.core"
local hostports = require "spec.support.hostports"
local spaces = require "spec.support.netns"

local WEB = {
  { hostPort = 8080, containerPort = 80, protocol = "tcp" }, { hostPort = 8053, containerPort = 53, protocol = "udp" },
}

describe("a host port", function()
  local world, before

  before_each(function()
    before = spaces.snapshot()
    world = hostports.new()
  end)

  after_each(function()
    world:close()
    spaces.assert_nothing_left(before)
  end)

  local function ask(from, to, kind, more)
    local args = { from = from, to = to, kind = kind, port = kind == "udp" and 8053 or 8080 }
    for key, value in pairs(more or {}) do
      args[key] = value
    end
    return world:ask(args)
  end

  -- Everybody who may ask for web's ports, and for which addresses: name -> namespace, address.
  local function everybody()
    local node, web, db = world.node.space, world.node.pods.web, world.node.pods.db
    return {
      ["a neighbour"] = { world.client, "192.0.2.10", "192.0.2.20" },
      ["a neighbour, over IPv6"] = { world.client, "2001:db8::10", "2001:db8::20" },
      ["the node"] = { node, "192.0.2.10", "192.0.2.10" },
      ["the node, over IPv6"] = { node, "2001:db8::10", "2001:db8::10" },
      ["the node at the gateway's address"] = { node, "10.244.1.1", "10.244.1.1" },
      ["the node at 127.0.0.1"] = { node, "127.0.0.1", "10.244.1.1" },
      ["the pod itself"] = { web, "192.0.2.10", "10.244.1.1" },
      ["the pod itself, over IPv6"] = { web, "2001:db8::10", "fd00:1::1" },
      ["another pod"] = { db, "192.0.2.10", "10.244.1.1" },
      ["another pod, over IPv6"] = { db, "2001:db8::10", "fd00:1::1" },
      ["another pod at the gateway's address"] = { db, "10.244.1.1", "10.244.1.1" },
    }
  end

  -- What everybody gets over both protocols: who asks -> { tcp, udp }.
  local function answers()
    local got = {}
    for name, case in pairs(everybody()) do
      local tcp, udp = world:ask {
        from = case[1], { to = case[2], port = 8080 }, { to = case[2], port = 8053, kind = "udp" },
      }
      got[name] = { tcp = tcp, udp = udp }
    end
    return got
  end

  local function expected(answer)
    local want = {}
    for name, case in pairs(everybody()) do
      local text = answer(case)
      want[name] = { tcp = text, udp = text }
    end
    return want
  end

  it("leads to the pod from everywhere, and nowhere once the pod is gone", function()
    world:wire "db"
    world:attach("web", { mappings = WEB })
    world:serve("web", "tcp:80", "udp:53")
    assert.are.same(expected(function(case) return "web " .. case[3] end), answers())
    assert.are.equal("web 10.244.1.1", ask(world.node.space, world:address "web", "tcp", { port = 80 }))
    world:detach("web", { ports_only = true })
    assert.are.same(expected(function() return "refused" end), answers())
    assert.are.same({}, world:elements())
    assert.are.equal("0", world.node.space:run(core.sysctl.get, nil, "net/ipv4/conf/cbr0/route_localnet"))
  end)

  it("leads there where bridged packets are not shown to iptables, too", function()
    world:wire "db"
    world:attach("web", { mappings = WEB })
    for _, key in ipairs { "iptables", "ip6tables" } do
      world.node.space:run(core.sysctl.set, nil, "net/bridge/bridge-nf-call-" .. key, 0)
    end
    world:serve("web", "tcp:80", "udp:53")
    assert.are.same(expected(function(case) return "web " .. case[3] end), answers())
  end)

  it("with masqAll shows the pod the node alone", function()
    world:wire "db"
    world:attach("web", { mappings = WEB, conf = { masqAll = true } })
    world:serve("web", "tcp:80", "udp:53")
    assert.are.same(expected(function(case)
      return case[2]:find(":", 1, true) and "web fd00:1::1" or "web 10.244.1.1"
    end), answers())
    world:detach "web"
    assert.are.same({}, world:elements())
  end)

  it("without snat leaves every source as it is, so that 127.0.0.1 and the pod itself have no way", function()
    world:wire "db"
    world:attach("web", { mappings = WEB, conf = { snat = false } })
    world:serve("web", "tcp:80", "udp:53")
    assert.are.equal("web 192.0.2.20", ask(world.client, "192.0.2.10"))
    assert.are.equal("web " .. world:address "db", ask(world.node.pods.db, "192.0.2.10"))
    assert.are_not.equal("web", ask(world.node.space, "127.0.0.1", "tcp", { seconds = 1 }):sub(1, 3))
    assert.are_not.equal("web", ask(world.node.pods.web, "192.0.2.10", "tcp", { seconds = 1 }):sub(1, 3))
    assert.are.equal("0", world.node.space:run(core.sysctl.get, nil, "net/ipv4/conf/cbr0/route_localnet"))
  end)

  it("leaves ::1 alone, for which the kernel has no way: whoever asks there is refused at once", function()
    world:attach("web", { mappings = WEB })
    world:serve("web", "tcp:80", "udp:53")
    assert.are.equal("refused", ask(world.node.space, "::1"))
    assert.are.equal("refused", ask(world.node.space, "::1", "udp"))
  end)

  it("leaves alone what passes through the node to somebody else's port of that number", function()
    world:attach("web", { mappings = WEB })
    world:wire "db"
    world:serve("db", "tcp:8080", "udp:8053")
    world.client:must "ip route add 10.244.1.0/24 via 192.0.2.10"
    assert.are.equal("db 192.0.2.20", ask(world.client, world:address "db"))
    assert.are.equal("db 192.0.2.20", ask(world.client, world:address "db", "udp"))
  end)

  it("of one address wins over that of all, whichever came first", function()
    local all, one = { WEB[1] }, { { hostPort = 8080, containerPort = 80, protocol = "tcp", hostIP = "192.0.2.11" } }
    for _, order in ipairs { { "web", "db" }, { "db", "web" } } do
      for _, pod in ipairs(order) do
        world:attach(pod, { mappings = pod == "web" and all or one })
        world:serve(pod, "tcp:80")
      end
      assert.are.equal("web 192.0.2.20", ask(world.client, "192.0.2.10"))
      assert.are.equal("db 192.0.2.20", ask(world.client, "192.0.2.11"))
      assert.are.equal("db 192.0.2.10", ask(world.node.space, "192.0.2.11"))
      assert.are.equal("web 10.244.1.1", ask(world.node.space, "127.0.0.1"))
      world:detach "db"
      assert.are.equal("web 192.0.2.20", ask(world.client, "192.0.2.11"))
      world:detach "web"
      for _, server in ipairs(world.servers) do
        spaces.sh("kill -KILL %s", server.pid)
        server.pipe:close()
      end
      world.servers = {}
    end
  end)

  it("of 127.0.0.1 is for the node's own programs alone", function()
    world:attach("web", { mappings = {
      { hostPort = 8080, containerPort = 80, protocol = "tcp", hostIP = "127.0.0.1" },
    } })
    world:serve("web", "tcp:80")
    assert.are.equal("web 10.244.1.1", ask(world.node.space, "127.0.0.1"))
    assert.are.equal("refused", ask(world.node.space, "192.0.2.10"))
    assert.are.equal("refused", ask(world.client, "192.0.2.10"))
  end)

  it("of one family is not there in the other", function()
    for host, answer in pairs {
      ["0.0.0.0"] = { "web 192.0.2.20", "refused" }, ["192.0.2.10"] = { "web 192.0.2.20", "refused" },
      ["::"] = { "refused", "web 2001:db8::20" }, ["2001:db8::10"] = { "refused", "web 2001:db8::20" },
    } do
      world:attach("web", { mappings = { { hostPort = 8080, containerPort = 80, protocol = "tcp", hostIP = host } } })
      world:serve("web", "tcp:80")
      assert.are.same(answer, { ask(world.client, "192.0.2.10"), ask(world.client, "2001:db8::10") }, host)
      world:detach "web"
      spaces.sh("kill -KILL %s", world.servers[1].pid)
      table.remove(world.servers).pipe:close()
    end
  end)

  it("leads UDP to the next pod at once, also for who has asked before", function()
    local function asked(to)
      return ask(world.client, to, "udp", { source = 40000 })
    end
    local function all()
      return { asked "192.0.2.10", asked "2001:db8::10" }
    end
    assert.are.same({ "refused", "refused" }, all())
    world:attach("web", { mappings = WEB })
    world:serve("web", "udp:53")
    world:wire "db"
    world:serve("db", "udp:53")
    assert.are.same({ "web 192.0.2.20", "web 2001:db8::20" }, all())
    world:detach "web"
    assert.are.same({ "refused", "refused" }, all())
    world:portmap("ADD", "db", { mappings = WEB })
    assert.are.same({ "db 192.0.2.20", "db 2001:db8::20" }, all())
    world:detach("db", { ports_only = true })
    world:attach("web", { mappings = WEB })
    world:serve("web", "udp:54")
    assert.are.equal(0, world:portmap("DEL", "web").status)
    assert.are.equal(0, world:portmap("ADD", "web", { mappings = {
      { hostPort = 8053, containerPort = 54, protocol = "udp", hostIP = "192.0.2.10" },
    } }).status)
    assert.are.same({ "web 192.0.2.20", "refused" }, all())
  end)

  it("forgets connections of that port alone, and those of another pod's not at all", function()
    world:attach("web", { mappings = WEB })
    world:serve("web", "udp:53")
    world:wire "db"
    ask(world.client, "192.0.2.10", "udp", { source = 40000 })
    ask(world.client, "192.0.2.10", "udp", { source = 40001, port = 8054 })
    ask(world.client, world:address "web", "udp", { source = 40002, port = 8053, seconds = 1 })
    local function tracked()
      local list = {}
      local line = "udp [^\n]-src=192%.0%.2%.20 dst=%S+ sport=(%d+) dport=(%d+)"
      for source, port in world.node:sh("conntrack -L -p udp 2>/dev/null"):gmatch(line) do
        list[#list + 1] = source .. " " .. port
      end
      table.sort(list)
      return table.concat(list, ", ")
    end
    local all = tracked()
    assert.truthy(all:find("40000 8053", 1, true), all)
    -- A pod that does not get the port leaves who has it, and its connections.
    assert.are.equal(103, world:portmap("ADD", "db", { mappings = WEB }).json.code)
    world:portmap("DEL", "db")
    assert.are.equal(all, tracked())
    world:detach("web", { ports_only = true })
    assert.are.equal((all:gsub("40000 8053,? ?", "")), tracked())
  end)

  it("carries SCTP", function()
    world:attach("web", { mappings = { { hostPort = 8080, containerPort = 36412, protocol = "sctp" } } })
    local heard = world:serve("web", "sctp:36412")
    world.client:must(hostports.PYTHON .. "sctp 192.0.2.10 8080")
    assert.are.equal("sctp 36412 192.0.2.20", heard:read "l")
  end)

  it("stands behind what a service of kube-proxy does with a port", function()
    world:wire "db"
    world:serve("db", "tcp:80")
    world:attach("web", { mappings = WEB })
    world:serve("web", "tcp:80")
    world.node.space:must("iptables -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination %s:80",
      world:address "db")
    assert.are.equal("db 192.0.2.20", ask(world.client, "192.0.2.10"))
    world.node.space:must "iptables -t nat -F PREROUTING"
    assert.are.equal("web 192.0.2.20", ask(world.client, "192.0.2.10"))
  end)
end)
