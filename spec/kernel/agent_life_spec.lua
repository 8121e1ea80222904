-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent as a service: its port through reloads, one of it in a network namespace, what it tells systemd.

local clock = require "spec.support.clock"
local clusters = require "spec.support.cluster"
local spaces = require "spec.support.netns"

describe("the agent as a service", function()
  local before, cluster, node
  local PORT = "127.0.0.1:9178"

  lazy_setup(function()
    before = spaces.snapshot()
    cluster = clusters.new { nodes = 2, files = "each" }
    node = cluster.n1
    node.space:must "ip link set lo up"
  end)

  lazy_teardown(function()
    cluster:cleanup()
    spaces.assert_nothing_left(before)
  end)

  after_each(function()
    node:stop_agents()
  end)

  local function get(path, port)
    return (node:sh("curl -s --noproxy '*' -w '%%{http_code}' http://%s%s", port or PORT, path))
  end

  it("keeps its port, and its figures, through reloads, and refuses one that others have", function()
    local function configure(port, more)
      local text = 'return { node = "n1", nodes = "file:%s", metrics = "%s", policies = { "routes" }%s }'
      return node:write("agent.lua", text:format(node.nodes_file, port, more or ""))
    end
    local agent = node:start_agent { node = false, nodes = false, config = configure(PORT) }
    node:wait_routes(node:expected "direct")
    assert.is_true(clock.wait(function() return get "/readyz" == "ok\n200" end), agent:stderr())
    agent:signal "HUP"
    agent:wait_stderr "reloaded"
    assert.is_true(clock.wait(function() return get "/readyz" == "ok\n200" end), agent:stderr())
    local said = #agent:stderr()
    configure(PORT, ", resync = 60")
    agent:wait_stderr("reloaded", 3000, said + 1)
    assert.is_true(clock.wait(function() return get "/healthz" == "ok\n200" end), agent:stderr())
    said = #agent:stderr()
    node.space:must "busybox httpd -p 127.0.0.1:9179 -h /run/mncni"
    configure "127.0.0.1:9179"
    agent:wait_stderr("refused.*EADDRINUSE", 3000, said + 1)
    assert.are.equal("ok\n200", get "/healthz")
    node.space:must "kill $(ss -Hltnp 'sport = 9179' | sed 's/.*pid=//; s/,.*//')"
    said = #agent:stderr()
    configure "127.0.0.1:9179"
    agent:wait_stderr("reloaded", 3000, said + 1)
    assert.are.equal("ok\n200", get("/healthz", "127.0.0.1:9179"))
  end)

  it("is the only one in its network namespace, but for one that only looks", function()
    -- Routes that an agent before it has left would say nothing of this one.
    node.space:must "ip route flush proto 78 && ip -6 route flush proto 78"
    local agent = node:start_agent { policy = "routes" }
    node:wait_routes(node:expected "direct")
    for _, more in ipairs { {}, { "--once" } } do
      local outcome = node:run_agent { policy = "routes", set = { "routes.mode=vxlan" }, args = more }
      assert.are.equal(1, outcome.status)
      assert.matches("^mncni%-agent: another mncni%-agent is at work in this network [^\n]+\n$", outcome.stderr)
    end
    assert.are.equal(0, node:run_agent({ policy = "routes", args = { "--dry-run" } }).status)
    local other = cluster.n2:start_agent { policy = "routes" }
    cluster.n2:wait_routes(cluster.n2:expected "direct")
    assert.is_true(other:alive())
    agent:stop "KILL"
    assert.are.equal(0, node:run_agent({ policy = "routes", args = { "--once" } }).status)
    cluster.n2:stop_agents()
  end)

  it("tells systemd that it runs, and how things stand", function()
    node.space:must "ip link del mncni-vxlan 2>/dev/null || :"
    local path, heard = node.scratch .. "/notify", node.scratch .. "/heard"
    node.space:must([[python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
f = open(sys.argv[2], "w")
print(flush=True)
while True:
    f.write(s.recv(4096).decode() + "\n"); f.flush()
' %s %s >%s.ready 2>&1 & echo $! >%s.pid
      until [ -s %s.ready ]; do sleep 0.01; done]], path, heard, heard, heard, heard)
    finally(function() node.space:must("kill $(cat %s.pid)", heard) end)
    local function said(text)
      return clock.wait(function()
        local file <close> = io.open(heard)
        return file and file:read("a"):find(text, 1, true) ~= nil
      end)
    end
    -- A link of somebody else where the tunnel should be: not everything can stand, and the agent runs.
    node.space:must "ip link add mncni-vxlan type bridge"
    local agent = node:start_agent { policy = "routes", set = { "routes.mode=vxlan" }, env = { NOTIFY_SOCKET = path } }
    assert.is_true(said "READY=1\nSTATUS=links mncni-vxlan: ", agent:stderr())
    node.space:must "ip link del mncni-vxlan"
    assert.is_true(said "READY=1\nSTATUS=everything stands\n", agent:stderr())
    assert.is_true(said "WATCHDOG=1")
    assert.are.equal(0, agent:stop())
    assert.is_true(said "STOPPING=1")
  end)

  it("notices a directory of policies that comes later, and one that takes its place", function()
    local directory = node.scratch .. "/later"
    local function note(text)
      node.space:must("mkdir -p %s.new", directory)
      node:write("later.new/told.lua", ('return { desired = function() return { notes = { "%s" } } end }'):format(text))
      node.space:must("rm -rf %s.old; [ ! -e %s ] || mv %s %s.old; mv %s.new %s", directory, directory, directory,
        directory, directory, directory)
    end
    note "first"
    node.space:must("mkdir -p %s/early && mv %s/told.lua %s/early/told.lua", node.scratch, directory, node.scratch)
    node.space:must("rm -r %s", directory)
    local agent = node:start_agent {
      policy = "told", env = { MNCNI_POLICY_PATH = directory .. ":" .. node.scratch .. "/early" },
    }
    agent:wait_stderr "first"
    note "second"
    agent:wait_stderr("second", 8000)
    note "third"
    agent:wait_stderr("third", 8000)
    node.space:must("rm -rf %s %s.old %s/early", directory, directory, node.scratch)
  end)

  it("takes `false` in its configuration for what it is", function()
    node:write("policies/told.lua", [[
      return {
        options = { really = { type = "boolean", default = true } },
        desired = function(_, conf) return { notes = { "really is " .. tostring(conf.really) } } end,
      }]])
    local path = node:write("agent.lua", ('return { node = "n1", nodes = "file:%s", policies = { '
      .. '{ name = "told", really = false } } }'):format(node.nodes_file))
    local agent = node:start_agent { node = false, nodes = false, config = path }
    agent:wait_stderr "really is false"
  end)
end)
