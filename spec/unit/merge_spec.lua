-- SPDX-License-Identifier: Apache-2.0
-- What agent policies return is checked and put together.

local cidr = require("mncni.core").cidr
local merge = require "mncni.merge"

local function merged_of(...)
  local list = {}
  for i, item in ipairs { ... } do
    list[i] = { item[1], merge.read(item[1], item[2]) }
  end
  return merge.merge(list)
end

local function refusal(...)
  local ok, err = pcall(merged_of, ...)
  assert.is_false(ok)
  assert.equal(100, err.code)
  return tostring(err)
end

describe("merging what policies want", function()
  it("marks and keys every object, whatever its spelling", function()
    local merged = merged_of(
      { "a", { routes = {
        { dst = cidr "10.244.2.0/24", gateway = "192.0.2.2" }, { dst = "FD00:2::/64", dev = "eth0" },
      } } },
      { "b", { sysctls = { ["net.ipv4.ip_forward"] = 1 }, node = { annotations = { x = "1" } } } })
    assert.same({
      protocol = "mncni", dst = "10.244.2.0/24", gateway = "192.0.2.2", table = "main", family = "inet",
    }, merged.routes["inet 10.244.2.0/24 main 0 0"])
    assert.equal("eth0", merged.routes["inet6 fd00:2::/64 main 0 1024"].dev)
    assert.same({ ["net.ipv4.ip_forward"] = "1" }, merged.sysctls)
    assert.equal("1", merged.node.annotations.x)
  end)

  it("refuses a sysctl that is to be set after what nobody sets", function()
    assert.matches("sysctls: net.a is to be set after net.b, which is not among them",
      refusal { "a", { sysctls = { ["net.a"] = { value = 1, after = { "net.b" } } } } }, 1, true)
    assert.matches("sysctls: net.a is a table without value or without after",
      refusal { "a", { sysctls = { ["net.a"] = { after = {} } } } }, 1, true)
  end)

  it("refuses nftables objects in tables that are not the agent's", function()
    local function of(name)
      return { "a", { nft = {
        { family = "ip", table = name, comment = "x 1", chains = { { name = "FORWARD" } }, sets = {}, rules = {} },
      } } }
    end
    for _, name in ipairs { "filter", "mncnix", "x-mncni-x" } do
      assert.matches(("nft[1]: the table ip %s is not the agent's"):format(name), refusal(of(name)), 1, true)
    end
    merged_of(of "mncni")
    merged_of(of "mncni-x")
  end)

  it("refuses a rule without a priority", function()
    assert.matches("rules[1] has no priority: the kernel would choose another one each time",
      refusal { "a", { rules = { { src = "10.1.0.0/16", table = 100 } } } }, 1, true)
  end)

  it("names both policies that claim one object", function()
    local text = refusal(
      { "a", { routes = { { dst = "10.0.0.0/8", gateway = "192.0.2.1" } } } },
      { "b", { routes = { { dst = "10.0.0.0/8", gateway = "192.0.2.2" } } } })
    assert.matches('policy "b"', text, 1, true)
    assert.matches('is also wanted by policy "a"', text, 1, true)
  end)

  it("takes over what is as it was, wherever it moved to, and sees every change", function()
    local function list(...)
      local routes = {}
      for i, text in ipairs { ... } do
        local dst, gateway = text:match "^(%S+) (%S+)$"
        routes[i] = { dst = dst, gateway = gateway, flags = { "onlink" } }
      end
      return { routes = routes }
    end
    local a, b, c, d = "10.0.1.0/24 1.1.1.1", "10.0.2.0/24 1.1.1.2", "10.0.3.0/24 1.1.1.3", "10.0.4.0/24 1.1.1.4"
    local other = "10.0.2.0/24 1.1.1.9"
    local before = merge.read("p", list(a, b, c))
    for _, now in ipairs {
      list(a, b, c), list(b, c), list(a, c), list(a, b), list(a, other, c), list(d, a, b, c), list(a, b, d, c),
      list(c, b, a), list(), list(a, b, c, d),
    } do
      assert.same(merge.read("p", now).routes, merge.read("p", now, before).routes)
      before = merge.read("p", now, before)
    end
    local again = merge.read("p", list(a, b, c, d), before)
    assert.equal(before.routes["inet 10.0.2.0/24 main 0 0"], again.routes["inet 10.0.2.0/24 main 0 0"])
  end)

  it("sees that a policy has changed the table that it returned before", function()
    local desired = { routes = { { dst = "10.0.1.0/24", gateway = "1.1.1.1" } } }
    local before = merge.read("p", desired)
    desired.routes[1].gateway = "1.1.1.2"
    assert.equal("1.1.1.2", merge.read("p", desired, before).routes["inet 10.0.1.0/24 main 0 0"].gateway)
  end)

  it("refuses an object that is there twice", function()
    assert.matches("routes: inet 10.0.0.0/8 main 0 0 is there twice", refusal { "a", { routes = {
      { dst = "10.0.0.0/8", gateway = "192.0.2.1" }, { dst = "10.0.0.0/8", gateway = "192.0.2.2" },
    } } }, 1, true)
  end)

  it("lets two routes to one prefix be told apart by their metric", function()
    local merged = merged_of { "a", { routes = {
      { dst = "10.0.0.0/8", gateway = "192.0.2.1" }, { dst = "10.0.0.0/8", gateway = "192.0.2.2", metric = 9 },
    } } }
    assert.is_table(merged.routes["inet 10.0.0.0/8 main 0 0"])
    assert.is_table(merged.routes["inet 10.0.0.0/8 main 0 9"])
  end)

  describe("of a controller", function()
    local function merged(...)
      local list = {}
      for i, item in ipairs { ... } do
        list[i] = { item[1], merge.read(item[1], item[2], nil, true) }
      end
      return merge.merge(list)
    end

    it("takes ranges, Events, figures and a state, and keeps none of the policy's tables", function()
      local state = { last = { x = 1 } }
      local figure = { cidr = "10.244.0.0/16", family = "inet", used = 1, resting = 0, free = 255 }
      local event = { type = "Warning", reason = "Full", message = "m" }
      local answer = merge.read("a", {
        nodes = { n1 = { pod_cidrs = { cidr "10.244.1.0/24", "FD00:1::/64" } }, n2 = { events = { event } } },
        ranges = { figure }, state = state,
      }, nil, true)
      assert.same({
        n1 = { pod_cidrs = { "10.244.1.0/24", "fd00:1::/64" }, events = {} }, n2 = { events = { event } },
      }, answer.nodes)
      assert.same({ figure }, answer.ranges)
      state.last.x = 2
      assert.same({ last = { x = 1 } }, answer.state)
    end)

    it("puts those of several policies together, and names both that give one node a range", function()
      local event = { type = "Warning", reason = "Full", message = "m" }
      local one = { "a", { nodes = { n1 = { pod_cidrs = { "10.244.1.0/24" } } } } }
      local both = merged(one, { "b", { nodes = { n1 = { events = { event } }, n2 = {} }, notes = { "x" } } })
      assert.same({ n1 = { pod_cidrs = { "10.244.1.0/24" }, events = { event } }, n2 = { events = {} } }, both.nodes)
      local ok, err = pcall(merged, one, { "b", { nodes = { n1 = { pod_cidrs = { "10.244.2.0/24" } } } } })
      assert.is_false(ok)
      assert.matches('policy "b": nodes: a range for n1 is also wanted by policy "a"', tostring(err), 1, true)
    end)

    for what, case in pairs {
      ["what is for the agent of a node"] = { { routes = {} }, "routes is for the agent of a node" },
      ["an unknown key"] = { { node = {} }, "node is for the agent of a node" },
      ["a word that is nearly right"] = { { nodse = {} }, 'did you mean "nodes"?' },
      ["an address in place of a range"] = { { nodes = { n = { pod_cidrs = { "10.244.1.1/24" } } } },
        'nodes["n"]: 10.244.1.1/24 is not a range' },
      ["two ranges of one family"] = { { nodes = { n = { pod_cidrs = { "10.0.0.0/24", "10.0.1.0/24" } } } },
        "10.0.0.0/24 and 10.0.1.0/24 are of one family" },
      ["no range"] = { { nodes = { n = { pod_cidrs = {} } } }, "has no range in it" },
      ["a list of nodes"] = { { nodes = { { pod_cidrs = { "10.0.0.0/24" } } } }, "nodes is a table from names" },
      ["an Event without a reason"] = { { nodes = { n = { events = { { type = "Normal", message = "m" } } } } },
        "events[1] has no reason" },
      ["a state that is no data"] = { { state = { f = print } }, "state cannot be kept" },
      ["a state as large as a cluster"] = { { state = ("x"):rep(20000) }, "state has 20002 bytes" },
    } do
      it("refuses " .. what, function()
        local ok, err = pcall(merged, { "a", case[1] })
        assert.is_false(ok)
        assert.matches(case[2], tostring(err), 1, true)
      end)
    end
  end)

  it("refuses what is for a controller", function()
    assert.matches("nodes is for a controller; run it with mncni-agent --controller",
      refusal { "a", { nodes = {} } }, 1, true)
  end)

  for _, case in ipairs {
    { "a policy that returns no table", "all", "it returned a string and not a table" },
    { "a kind that does not exist", { route = {} }, 'unknown key "route" in what it returned; did you mean "routes"?' },
    { "a kind that is no list", { routes = "x" }, "routes is a string and not a list" },
    { "a list with a name in it", { routes = { dst = "10.0.0.0/8" } }, "routes is a list, and has the key dst" },
    { "an element that is no table", { routes = { "10.0.0.0/8" } }, "routes[1] is a string and not a table" },
    { "an unknown key", { routes = { { dst = "10.0.0.0/8", gatway = "x" } } },
      'routes[1]: unknown key "gatway"; did you mean "gateway"?' },
    { "an object without identity", { neighbours = { { dst = "10.0.0.1" } } }, "neighbours[1] has no dev" },
    { "a relative path", { files = { { path = "x", content = "" } } }, 'files[1]: "x" is no absolute path' },
    { "a file without content", { files = { { path = "/x" } } },
      "files[1] has to have one of content, source, tree, link and only" },
    { "a directory to clear without a mark", { files = { { path = "/x", only = {} } } },
      "files[1] has only, which goes with a mark" },
    { "a mode in quotes", { files = { { path = "/x", content = "", mode = "0644" } } },
      "files[1]: mode is a string and not a number" },
  } do
    it("refuses " .. case[1], function()
      assert.matches(case[3], refusal { "p", case[2] }, 1, true)
    end)
  end
end)
