-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent and what people give it: once, to look first, wrong, and changed while it runs.

local clock = require "spec.support.clock"
local clusters = require "spec.support.cluster"
local spaces = require "spec.support.netns"

describe("the agent", function()
  local before, cluster, node

  lazy_setup(function()
    before = spaces.snapshot()
    cluster = clusters.new { nodes = 3, segments = 2, files = "each" }
    node = cluster.n1
  end)

  lazy_teardown(function()
    cluster:cleanup()
    spaces.assert_nothing_left(before)
  end)

  after_each(function()
    node:stop_agents()
    cluster:write_nodes()
    node.space:must("rm -f %s/policies/*.lua", node.scratch)
  end)

  local function want(how) return node:expected(how or cluster:by_segment "vxlan") end

  local function undo()
    node.space:must [[ip route flush proto 78; ip -6 route flush proto 78
      for dev in $(ip -o link show group 80 | sed -E 's/^[0-9]+: ([^:@]+).*/\1/'); do ip link del $dev; done]]
  end

  local ROUTES = { policy = "routes" }
  local function with(args)
    local all = { policy = "routes" }
    for key, value in pairs(args) do
      all[key] = value
    end
    return all
  end

  describe("--dry-run", function()
    it("prints what would be done as lines that can be run, and does nothing", function()
      -- It asks nobody, so that what is known of the network is what somebody else has asked for.
      assert.are.equal(0, node:run_agent(with { args = { "--once" } }).status)
      undo()
      local kernel = node:kernel()
      local outcome = node:run_agent(with { args = { "--dry-run" } })
      assert.are.equal(0, outcome.status, outcome.stderr)
      assert.are.equal(kernel, node:kernel())
      for _, dst in ipairs { "10.244.2.0/24", "10.244.3.0/24", "fd00:10:244:2::/64", "fd00:10:244:3::/64" } do
        assert.truthy(outcome.stdout:find(dst, 1, true), outcome.stdout)
      end
      for line in outcome.stdout:gmatch "[^\n]+" do
        assert.truthy(line:find "^ip " or line:find "^bridge " or line:find "^nft " or line:find "^sysctl ", line)
      end
      -- Run by hand, the lines do what the agent does.
      node.space:must("set -e\n" .. outcome.stdout:gsub("sysctl ", "sysctl -q "))
      assert.are.same(want(), (node:routes()))
      local again = node:run_agent(with { args = { "--dry-run" } })
      assert.are.equal("", again.stdout)
      assert.are.equal(0, again.status, again.stderr)
    end)

    it("prints what would be removed and changed", function()
      undo()
      assert.are.equal(0, node:run_agent(with { args = { "--once" } }).status)
      cluster:write_nodes({ node.record, cluster.n2.record }, { "n1" })
      local outcome = node:run_agent(with { args = { "--dry-run" } })
      assert.truthy(outcome.stdout:find("ip route del 10.244.3.0/24", 1, true), outcome.stdout)
      assert.falsy(outcome.stdout:find("10.244.2.0/24", 1, true), outcome.stdout)
    end)
  end)

  describe("--once", function()
    it("makes it so and ends, and again finds nothing to do", function()
      undo()
      local outcome = node:run_agent(with { args = { "--once" } })
      assert.are.equal(0, outcome.status, outcome.stderr)
      assert.are.same(want(), (node:routes()))
      local kernel = node:kernel()
      local monitor <close> = node.net:monitor { "route", "link", "neigh", "fdb" }
      assert.are.equal(0, node:run_agent(with { args = { "--once" } }).status)
      assert.are.equal(kernel, node:kernel())
      for _ = 1, 100 do
        local event = monitor:next(0)
        if not event then
          break
        end
        assert.are_not.equal("mncni", event.value and event.value.protocol, tostring(event))
      end
    end)

    it("fails where something stands in the way, and does the rest", function()
      undo()
      node.space:must "ip route add 10.244.3.0/24 via 10.0.1.1"
      local outcome = node:run_agent(with { args = { "--once" } })
      node.space:must "ip route del 10.244.3.0/24 via 10.0.1.1"
      assert.are_not.equal(0, outcome.status)
      assert.are_not.equal(124, outcome.status)
      assert.truthy(outcome.stderr:find("10.244.3.0/24", 1, true), outcome.stderr)
      local rest = want()
      rest["10.244.3.0/24"] = nil
      assert.are.same(rest, (node:routes()))
    end)
  end)

  describe("refuses to start,", function()
    -- Each with what its one line has.
    local function broken_policy(name, text)
      return function() node:policy(name, text) end
    end
    local cases = {
      { "without a node's name", with { node = false }, { "node", "%-%-node" } },
      { "with an option that is none", with { args = { "--polcy", "routes" } }, { "%-%-polcy", "%-?%-?policy" } },
      { "with a source of nodes that is none", with { nodes = "consul" }, { "consul", "file:PATH" } },
      { "with a policy that is none", { policy = "rotues" }, { "rotues", "routes" } },
      { "without a policy", {}, { "policy" } },
      { "with a misspelt option of a policy", with { set = { "routes.mod=direct" } }, { "mod", "mode" } },
      { "with a value that is no choice", with { set = { "routes.mode=dirct" } }, { "mode", "dirct", "direct" } },
      { "with an option of a policy that does not run", with { set = { "masquerade.x=1" } }, { "masquerade" } },
      { "with a file of nodes that is not there", with { nodes = "file:/run/tmp/none.json" },
        { "/run/tmp/none%.json" } },
      { "with a directory for a file of nodes", with { nodes = "file:/run/tmp" }, { "/run/tmp: EISDIR.*name a file" } },
      { "with a pipe for a file of nodes", with { nodes = "file:/run/tmp/fifo" },
        { "/run/tmp/fifo: .*name a regular file" },
        function() node.space:must "[ -p /run/tmp/fifo ] || mkfifo /run/tmp/fifo" end },
      { "with a file of nodes that is no JSON", ROUTES, { "nodes%.json", "line 2" },
        function() cluster:write_nodes("{ \"kind\": \"List\",\n  items: [] }", { "n1" }) end },
      { "with a file of nodes that is no list", ROUTES, { "nodes%.json", "items" },
        function() cluster:write_nodes("{}", { "n1" }) end },
      { "with a configuration that is not there", { config = "/run/tmp/none.lua" }, { "/run/tmp/none%.lua" } },
      { "with a configuration that is no Lua", { conf = "return {\n  policies = { \"routes\"\n  nodes = 3 }" },
        { "agent%.lua", "line 3" } },
      { "with a misspelt key of the configuration", { conf = "return { policis = { \"routes\" } }" },
        { "agent%.lua", "policis", "policies" } },
      { "with a wrong value in the configuration",
        { conf = "return { resync = \"often\", policies = { \"routes\" } }" },
        { "agent%.lua", "resync" } },
      { "with a wrong option of a policy in the configuration",
        { conf = "return { policies = { { name = \"routes\", mode = 3 } } }" }, { "agent%.lua", "mode" } },
      { "with a configuration that others may write", { conf = "return { policies = { \"routes\" } }", mode = "666" },
        { "agent%.lua", "writ" } },
      { "with a policy that does not compile", { policy = "mine" }, { "mine%.lua:2" },
        broken_policy("mine", "local policy = {}\nfunction policy.desired( return {} end\nreturn policy\n") },
      { "with a policy that fails", { policy = "mine" }, { "mine%.lua:1", "no luck" },
        broken_policy("mine", "return { desired = function() error 'no luck' end }\n") },
      { "with a policy that is none of an agent's", { policy = "loopback" }, { "loopback", "desired" } },
      { "with two policies that want one object each its own way", { policy = { "routes", "mine" } },
        { "routes", "mine", "10%.244%.3%.0/24" },
        broken_policy("mine", "return { desired = function() return { routes = { "
          .. "{ dst = '10.244.3.0/24', gateway = '10.0.1.1' } } } end }\n") },
    }
    for _, case in ipairs(cases) do
      it(case[1] .. ", in one line that says so", function()
        undo()
        if case[4] then
          case[4]()
        end
        local args = {}
        for key, value in pairs(case[2]) do
          args[key] = value
        end
        if args.conf then
          args.config = node:write("agent.lua", args.conf)
          node.space:must("chmod %s %s", args.mode or "644", args.config)
        end
        local kernel = node:kernel()
        local outcome = node:run_agent(args)
        assert.are.equal(kernel, node:kernel())
        assert.is_true(outcome.status ~= 0 and outcome.status ~= 124, outcome.stderr)
        local text = outcome.stderr:gsub("\n$", "")
        assert.is_true(text ~= "" and not text:find "\n", outcome.stderr)
        for _, pattern in ipairs(case[3]) do
          assert.truthy(text:find(pattern), text .. "\nhas no " .. pattern)
        end
      end)
    end
  end)

  it("waits, and touches nothing, while the list does not have its node", function()
    undo()
    cluster:write_nodes({ cluster.n2.record }, { "n1" })
    local kernel = node:kernel()
    local agent = node:start_agent(ROUTES)
    agent:wait_stderr "n1"
    assert.are.equal(kernel, node:kernel())
    assert.is_true(agent:alive())
    cluster:write_nodes()
    node:wait_routes(want())
  end)

  it("follows its file of nodes into a directory that takes the place of the one before", function()
    local node_list = require "spec.support.node_list"
    local both, all = { node.record, cluster.n2.record }, cluster:records()
    undo()
    node.space:must("mkdir %s", node.scratch .. "/lists")
    local path = node:write("lists/nodes.json", node_list.text(all))
    local agent = node:start_agent(with { nodes = "file:" .. path })
    node:wait_routes(want())
    -- Twice: another that is made later, and one that is there at once.
    node.space:must("cd %s && mv lists lists.old", node.scratch)
    agent:wait_stderr "nodes list: .*lists/nodes%.json: ENOENT"
    node.space:must("mkdir %s", node.scratch .. "/lists")
    node:write("lists/nodes.json", node_list.text(both))
    node:wait_routes(node:expected(cluster:by_segment "vxlan", both))
    node.space:must("cd %s && mv lists lists.new && mv lists.old lists", node.scratch)
    node:wait_routes(want())
    node:write("lists.new/nodes.json", "no list any more")
    node:write("lists/nodes.json", node_list.text(both))
    node:wait_routes(node:expected(cluster:by_segment "vxlan", both))
    node.space:must("cd %s && rm -r lists && mkdir lists", node.scratch)
    node:write("lists/nodes.json", node_list.text(all))
    node:wait_routes(want())
    assert.is_nil(agent:stderr():find("expected", 1, true), agent:stderr())
  end)

  it("has figures of nodes that come from a file", function()
    undo()
    local agent = node:start_agent(with { args = { "--metrics", "127.0.0.1:9178" } })
    node:wait_routes(want())
    local text = node.space:must "curl -s --noproxy '*' -w '%{http_code}' http://127.0.0.1:9178/metrics"
    assert.truthy(text:find("\nmncni_nodes 3\n", 1, true), text)
    assert.truthy(text:find "\n200$", text)
    assert.falsy(text:find("mncni_watch", 1, true), text)
    assert.is_true(agent:alive())
  end)

  describe("reads anew", function()
    local function config(mode)
      return ('return { node = "n1", nodes = "file:%s", policies = { { name = "routes", mode = %q } } }\n'):format(
        node.nodes_file, mode)
    end

    local MINE = [[
      local policy = {}
      policy.options = { table = { type = "integer", default = TABLE } }
      function policy.desired(world, conf)
        local routes = {}
        for _, peer in ipairs(world.peers) do
          if peer.labels.zone == "far" then
            routes[#routes + 1] = { dst = peer:address "inet" .. "/32", gateway = "10.0.1.1", table = conf.table }
          end
        end
        return { routes = routes }
      end
      return policy]]

    local function mine(number)
      node:write("policies/mine.lua", (MINE:gsub("TABLE", tostring(number))))
    end

    local function in_table(number)
      return (node:sh("ip route show table %s 2>/dev/null", tostring(number)))
    end

    it("its configuration when that changes or at SIGHUP, and goes on as before when it is wrong", function()
      undo()
      local path = node:write("agent.lua", config "auto")
      local agent = node:start_agent {
        node = false, nodes = false, config = path, args = { "--metrics", "127.0.0.1:9178" },
      }
      node:wait_routes(want())
      node:write("agent.lua", config "vxlan")
      clock.figure("configuration changed, to the last route", node:wait_routes(want "vxlan"))
      local said = #agent:stderr()
      node:write("agent.lua", config "sideways")
      agent:wait_stderr("agent%.lua.*sideways", 3000, said + 1)
      said = #agent:stderr()
      node:write("agent.lua", "return {\n nodes =\n}")
      agent:wait_stderr("agent%.lua.*line 3", 3000, said + 1)
      said = #agent:stderr()
      agent:signal "HUP"
      agent:wait_stderr("agent%.lua.*line 3", 3000, said + 1)
      assert.are.same(want "vxlan", (node:routes()))
      -- And it still works, on its port, too, which one state left to the next.
      assert.are.equal("ok", node:sh "curl -sf --noproxy '*' http://127.0.0.1:9178/readyz")
      node.net.route.del { dst = "10.244.2.0/24" }
      node:wait_routes(want "vxlan")
      node:write("agent.lua", config "auto")
      agent:signal "HUP"
      node:wait_routes(want())
      assert.is_true(agent:alive())
    end)

    it("a policy from examples/ that a configuration names from now on", function()
      local function config_with(more)
        node:write("agent.lua", ('return { node = "n1", nodes = "file:%s", policies = { "routes"%s } }\n'):format(
          node.nodes_file, more))
      end
      local function rule()
        return (node.space:must "ip rule show"):find("1000:%s+from all to 198.51.100.0/24 lookup 100") ~= nil
      end
      undo()
      config_with ""
      local agent = node:start_agent { node = false, nodes = false, config = node.scratch .. "/agent.lua" }
      node:wait_routes(want())
      node.record.labels = { ["example.com/storage"] = "fast" }
      cluster:write_nodes()
      node.space:must("cp examples/storage.lua %s", node.scratch .. "/policies/storage.lua")
      config_with ', "storage"'
      assert.is_true(clock.wait(rule), agent:stderr())
      node.record.labels["example.com/storage"] = "slow"
      cluster:write_nodes()
      assert.is_true(clock.wait(function() return not rule() end), agent:stderr())
      node.record.labels = nil
      assert.are.same(want(), (node:routes()))
    end)

    it("a policy of one's own when that changes, and keeps the last good one", function()
      undo()
      cluster.n2.record.labels = { zone = "far" }
      cluster:write_nodes()
      mine(101)
      local agent = node:start_agent { policy = { "routes", "mine" } }
      assert.is_true(clock.wait(function() return in_table(101):find("10.0.2.12", 1, true) end) ~= nil,
        agent:stderr())
      local began = clock.now()
      mine(102)
      assert.truthy(clock.wait(function() return in_table(102):find("10.0.2.12", 1, true) and in_table(101) == "" end))
      clock.figure("policy changed, to the kernel", clock.now() - began)
      for _, case in ipairs {
        { "local x = \nreturn {}", "mine%.lua:2" },
        { "return { desired = function()\n error 'no luck' end }", "mine%.lua:2.*no luck" },
        { "return { desired = function()\n while true do end end }", "mine" },
        { "return { desired = function()\n return { routs = {} } end }", "routs.*routes" },
      } do
        local said = #agent:stderr()
        node:write("policies/mine.lua", case[1])
        agent:wait_stderr(case[2], 70000, said + 1) -- the loop has some seconds of the processor's time
        assert.is_true(agent:alive())
        assert.truthy(in_table(102):find("10.0.2.12", 1, true), agent:stderr())
      end
      -- Nodes are followed meanwhile, by the last good policy.
      cluster.n2.record.labels = nil
      cluster:write_nodes()
      assert.is_true(clock.wait(function() return in_table(102) == "" end), agent:stderr())
      cluster.n2.record.labels = { zone = "far" }
      mine(103)
      cluster:write_nodes()
      assert.truthy(clock.wait(function() return in_table(103):find("10.0.2.12", 1, true) end), agent:stderr())
      node:stop_agents()
      node.space:must "ip route flush table 103"
      cluster.n2.record.labels = nil
    end)
  end)
end)
