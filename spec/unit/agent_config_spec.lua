-- SPDX-License-Identifier: Apache-2.0
-- What mncni-agent was asked for.

local config = require "mncni.agent_config"
local runner = require "spec.support.runner"

local function refusal(...)
  local ok, err = pcall(config.read, { ... })
  assert.is_false(ok)
  assert.equal(7, err.code)
  return tostring(err)
end

describe("the command line of mncni-agent", function()
  it("does without a file", function()
    local conf = config.read {
      "--node", "n1", "--nodes=file:/tmp/nodes.json", "--policy", "routes", "--policy=masquerade", "--set",
      "routes.mode=direct", "--once",
    }
    assert.equal("n1", conf.node)
    assert.equal("/tmp/nodes.json", conf.nodes_file)
    assert.same({ { name = "routes", given = {}, sets = { "mode=direct" } }, { name = "masquerade", given = {} } },
      conf.policies)
    assert.is_true(conf.once)
    assert.equal(300000, conf.resync)
  end)

  for _, case in ipairs {
    { "an unknown option", { "--nod", "n1" }, '"--nod" is no option; did you mean "node"?' },
    { "an option without its value", { "--node" }, "--node needs a value" },
    { "a value for a flag", { "--once=1" }, "--once takes no value" },
    { "no policies", { "--node", "n1" }, "no policies to run; give --policy routes" },
    { "another source of nodes", { "--node", "n1", "--policy", "routes", "--nodes", "etcd" },
      'nodes: expected kubernetes or file:PATH, got "etcd"' },
    { "a --set of a policy that does not run",
      { "--node", "n1", "--policy", "routes", "--set", "route.mode=direct" },
      '"route" is not among the policies to run; did you mean "routes"?' },
    { "a --set without a value", { "--node", "n1", "--policy", "routes", "--set", "routes.mode" },
      "expected NAME.OPTION=VALUE" },
    { "a policy that is named twice", { "--node", "n1", "--policy", "routes", "--policy", "routes" },
      "is there twice" },
    { "an address without a port", { "--node", "n1", "--policy", "routes", "--metrics", "localhost" },
      "metrics: expected ADDRESS:PORT" },
  } do
    it("refuses " .. case[1], function()
      assert.matches(case[3], refusal(table.unpack(case[2])), 1, true)
    end)
  end

  it("makes a controller, which has no node, and a Lease named after its first policy", function()
    local conf = config.read { "--controller", "--policy", "nodeipam" }
    assert.is_nil(conf.node)
    assert.is_true(conf.controller)
    assert.same({
      namespace = "kube-system", name = "mncni-nodeipam", lease_duration = 15000, renew_deadline = 10000,
      retry_period = 2000,
    }, conf.leader)
    conf = config.read { "--controller", "--policy", "nodeipam", "--lease", "net/x" }
    assert.same({ "net", "x" }, { conf.leader.namespace, conf.leader.name })
  end)

  for _, case in ipairs {
    { "a controller of a node", { "--controller", "--node", "n1" },
      "a controller belongs to no node; leave out --node" },
    { "a Lease without a controller", { "--node", "n1", "--lease", "a/b" }, "--lease is for --controller" },
    { "a Lease without a namespace", { "--controller", "--lease", "x" }, 'expected NAMESPACE/NAME, got "x"' },
    { "a controller that would write to a file", { "--controller", "--nodes", "file:/n.json" },
      "nodes from a file are for --dry-run alone" },
  } do
    it("refuses " .. case[1], function()
      assert.matches(case[3], refusal("--policy", "nodeipam", table.unpack(case[2])), 1, true)
    end)
  end

  it("wants to know which node this is", function()
    assert.matches("give --node NAME, or set NODE_NAME", refusal("--policy", "routes"), 1, true)
  end)
end)

describe("the configuration file of mncni-agent", function()
  local directory, path

  before_each(function()
    directory = runner.directory()
    path = directory .. "/agent.lua"
  end)

  after_each(function()
    runner.sh("rm -r " .. directory)
  end)

  it("is a Lua table, and the command line comes first", function()
    runner.write(path, [[return {
      node = "n1", nodes = "file:/n.json", resync = 60, metrics = "[::1]:9100",
      policies = { { name = "routes", mode = "vxlan" }, "masquerade" },
    }]])
    local conf = config.read { "--config", path, "--node", "n2" }
    assert.equal("n2", conf.node)
    assert.same({ name = "routes", given = { mode = "vxlan" }, where = path }, conf.policies[1])
    assert.same({ address = "::1", port = 9100 }, conf.metrics)
    assert.equal(60000, conf.resync)
    assert.same({ path }, conf.files)
  end)

  it("gives its options to a policy that the command line chooses", function()
    runner.write(path, [[return { node = "n1", policies = { { name = "routes", mode = "vxlan" }, "masquerade" } }]])
    local conf = config.read { "--config", path, "--policy", "routes" }
    assert.same({ { name = "routes", given = { mode = "vxlan" }, where = path } }, conf.policies)
  end)

  for _, case in ipairs {
    { "a syntax error, with its line", "return {\n  node = \n}", "line 3: unexpected symbol near '}'" },
    { "an unknown key", "return { nodse = 'kubernetes' }", 'option "nodse"' },
    { "a leader that would be replaced before it stops",
      "return { controller = true, policies = { 'nodeipam' }, leader = { lease_duration = 10 } }",
      "lease_duration (10 s) has to be more than renew_deadline (10 s)" },
    { "a wrong type", "return { resync = 'often' }", "expected an integer from 5 to 86400" },
    { "code that reaches out", "os.exit(1)", "attempt to index a nil value (global 'os')" },
    { "no table", "return 5", 'it returns a number and not a table; does it begin with "return {"?' },
    { "a policy without a name", "return { node = 'n', policies = { {} } }",
      "policies[1]: expected the name of a policy" },
  } do
    it("is refused for " .. case[1], function()
      runner.write(path, case[2])
      local text = refusal("--config", path)
      assert.matches(case[3], text, 1, true)
      assert.matches(path, text, 1, true)
    end)
  end

  it("has to be there, and to belong to nobody else", function()
    assert.matches("there is no such file", refusal("--config", path), 1, true)
    runner.write(path, "return {}")
    runner.sh("chmod 666 " .. path)
    assert.matches("chmod", refusal("--config", path), 1, true)
  end)
end)
