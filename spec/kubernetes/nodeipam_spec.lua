-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent --controller --policy nodeipam on a real API server: replicas that are killed and stopped, dual stack, a
-- server that goes away, refuses, and is full; and beside kube-controller-manager's own controller. MNCNI_KILLS for how
-- often the leader is killed (20).

local core = require "mncni.core"
local kubes = require "spec.support.kube"
local mncni = require "mncni"
local processes = require "spec.support.process"
local spaces = require "spec.support.netns"

local KILLS = tonumber(os.getenv "MNCNI_KILLS") or 20
local NEW_NODES = 10 -- for each time that the leader is killed
local AGENT = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni-agent"
local MANAGER = os.getenv "MNCNI_KUBERNETES" .. "/kube-controller-manager"
local NODES, LEASES = "/api/v1/nodes", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/mncni-nodeipam"
local EVENTS = "/api/v1/namespaces/default/events"
local DUAL = { "10.244.0.0/16", "fd00:10:244::/48" }

local function seconds()
  return core.record.clock() / 1e6
end

local function sleep(time)
  core.exec { argv = { "sleep", tostring(time) } }
end

describe("the controller nodeipam on a Kubernetes cluster", function()
  local kube, scratch, config, count, all

  setup(function()
    scratch, count = spaces.must "mktemp -d", 0
    kube = kubes.new { flags = { ["feature-gates"] = "IPv6DualStack=true" } }
    processes.wait(10, function() return kube:request("GET", "/api/v1/namespaces/kube-system") == 200 end)
  end)

  teardown(function()
    kubes.cleanup()
    spaces.must("rm -rf %s", scratch)
  end)

  before_each(function()
    kube:start()
    kube:request("DELETE", LEASES)
    kube:must("DELETE", NODES)
    kube:must("DELETE", EVENTS)
    all = {}
  end)

  after_each(function()
    for _, one in ipairs(all) do
      one.process:stop "KILL"
    end
  end)

  -- Lua that makes the configuration; what is short for specs is not what a cluster has.
  local function write_config(options, leader)
    count = count + 1
    config = ("%s/config-%d.lua"):format(scratch, count)
    local file <close> = assert(io.open(config, "w"))
    file:write(("return { controller = true, leader = { %s }, policies = { { name = 'nodeipam', %s } } }\n"):format(
      leader or "lease_duration = 2, renew_deadline = 1.2, retry_period = 0.4", options))
  end

  local function quoted(list)
    return ("{ '%s' }"):format(table.concat(list, "', '"))
  end

  -- Starts a replica. user: as whom; ...: more arguments.
  local function start(user, ...)
    count = count + 1
    local name = ("replica%d"):format(count)
    local log = ("%s/%s.log"):format(scratch, name)
    local one = { name = name, log = log, process = processes.start {
      argv = {
        "env", "POD_NAME=" .. name, AGENT, "--config", config, "--kubeconfig",
        user and kube:kubeconfig { user = user, groups = {} } or kube.admin, ...
      },
      log = log,
    } }
    all[#all + 1] = one
    return one
  end

  local function said(one)
    local file <close> = io.open(one.log)
    return file and file:read "a" or ""
  end

  local function wait(limit, what, condition)
    local found = processes.wait(limit, condition)
    if not found then
      local logs = {}
      for i, one in ipairs(all) do
        logs[i] = one.name .. ":\n" .. said(one)
      end
      error(("%s: not so after %d s\n%s"):format(what, limit, table.concat(logs, "\n")), 2)
    end
    return found
  end

  local function lease()
    local status, object = kube:request("GET", LEASES)
    return status == 200 and object or nil
  end

  -- The replica that the Lease names and that runs.
  local function leader()
    local object = lease()
    local name = object and object.spec.holderIdentity:match "^(.-)_"
    for _, one in ipairs(all) do
      if one.name == name and one.process:alive() then return one end
    end
  end

  local function is_leading(limit)
    return wait(limit or 10, "a leader", function()
      local one = leader()
      return one and said(one):find "leading, as" and one
    end)
  end

  local function create(name, fields)
    return kube:must("POST", NODES, { metadata = { name = name, labels = (fields or {}).labels },
      spec = fields and fields.cidrs and { podCIDR = fields.cidrs[1], podCIDRs = fields.cidrs } or nil })
  end

  local function ranges(name)
    return kube:must("GET", NODES .. "/" .. name).spec.podCIDRs
  end

  local function has_range(name, limit)
    return wait(limit or 10, name .. " has a range", function() return ranges(name) end)
  end

  -- Checks every node: ranges of each family, none of which overlaps another's. Returns how many nodes there are, and
  -- how many are without.
  local function check(families, pools)
    local list, held, without = kube:must("GET", NODES).items, {}, 0
    for _, node in ipairs(list) do
      local cidrs = node.spec.podCIDRs
      if not cidrs then
        without = without + 1
      else
        assert.equal(families, #cidrs, node.metadata.name)
        assert.equal(node.spec.podCIDR, cidrs[1])
      end
      for i, text in ipairs(cidrs or {}) do
        assert.is_true(mncni.cidr(pools[i]):contains(text), text)
        assert.is_nil(held[text], ("%s of %s and %s"):format(text, held[text], node.metadata.name))
        held[text] = node.metadata.name
      end
    end
    return #list, without
  end

  local function events_of(name)
    local list = kube:must("GET", EVENTS .. "?fieldSelector=involvedObject.name%3D" .. name).items
    local reasons = {}
    for i, event in ipairs(list) do
      reasons[i] = event.reason
    end
    return reasons, list
  end

  local function metrics(port, what)
    return (spaces.sh("curl -s --noproxy '*' http://127.0.0.1:%s%s", port, what or "/metrics"))
  end

  it("gives 200 nodes one range of each family while the leader is killed again and again", function()
    write_config(("cluster_cidrs = %s, service_cidrs = { '10.244.8.0/22' }"):format(quoted(DUAL)))
    start()
    start()
    local began, longest = seconds(), 0
    for i = 1, KILLS do
      local victim = is_leading(20)
      -- Somewhere between the first and the last of the nodes.
      spaces.must("{ sleep %s; kill -KILL %s; } >/dev/null 2>&1 &", 0.1 + 0.5 * math.random(), victim.process.pid)
      kube:nodes { count = NEW_NODES, first = (i - 1) * NEW_NODES, pods = "", parallel = 2 }
      wait(5, "the leader is dead", function() return not victim.process:alive() end)
      local since = seconds()
      start()
      is_leading(20)
      longest = math.max(longest, seconds() - since)
    end
    local nodes, without
    wait(20, "all nodes have ranges", function()
      nodes, without = check(2, DUAL)
      return without == 0
    end)
    print(("%d nodes, the leader killed %d times in %.0f s; another one led after %.1f s at most"):format(nodes, KILLS,
      seconds() - began, longest))
    assert.equal(KILLS * NEW_NODES, nodes)
    assert.equal(KILLS, lease().spec.leaseTransitions)
    for _, node in ipairs(kube:must("GET", NODES).items) do
      assert.is_false(mncni.cidr("10.244.8.0/22"):overlaps(node.spec.podCIDR))
    end
    -- The one who was stopped last has not begun at the bottom again: ranges came in turn over all leaders.
    local last = 0
    for _, node in ipairs(kube:must("GET", NODES).items) do
      last = math.max(last, tonumber(node.spec.podCIDR:match "^10%.244%.(%d+)%."))
    end
    assert.is_true(last >= nodes + 4 - 1, last)
    local stopped = leader()
    assert.is_true(stopped.process:stop())
    assert.is_true(lease().spec.holderIdentity ~= stopped.name)
    local since = seconds()
    is_leading(5)
    print(("%.1f s after the leader had ended in good order another one led"):format(seconds() - since))
  end)

  it("writes nothing wrong when a leader that was stopped wakes up", function()
    write_config("cluster_cidrs = { '10.244.0.0/16' }")
    start()
    start()
    for i = 1, 5 do
      local sleeper = is_leading(20)
      spaces.must("{ sleep %s; kill -STOP %s; } >/dev/null 2>&1 &", 0.1 + 0.4 * math.random(), sleeper.process.pid)
      kube:nodes { count = NEW_NODES, first = (2 * i - 2) * NEW_NODES, pods = "", parallel = 2 }
      wait(20, "another one leads", function()
        local one = leader()
        return one and one ~= sleeper
      end)
      kube:nodes { count = NEW_NODES, first = (2 * i - 1) * NEW_NODES, pods = "", parallel = 2 }
      spaces.must("kill -CONT %s", sleeper.process.pid)
      wait(10, "it knows", function() return said(sleeper):find "not leading any more" end)
      wait(10, "all nodes have ranges", function() return select(2, check(1, DUAL)) == 0 end)
      assert.is_not.equal(sleeper, leader())
      sleeper.process:stop "KILL"
      start()
    end
    assert.equal(10 * NEW_NODES, (check(1, DUAL)))
  end)

  it("writes what kube-controller-manager writes", function()
    if not io.open(MANAGER) then
      pending("there is no " .. MANAGER .. "; deploy/lab/build kube-controller-manager makes it")
      return
    end
    local function written(how)
      kube:must("DELETE", NODES)
      create("a", { cidrs = { "10.244.0.0/24", "fd00:10:244::/64" } })
      create "b"
      how()
      has_range("b", 30)
      -- Everything, but what differs from one object to the next.
      local node = kube:must("GET", NODES .. "/b")
      for _, key in ipairs { "uid", "resourceVersion", "creationTimestamp" } do
        assert.is_string(node.metadata[key])
        node.metadata[key] = nil
      end
      return node
    end
    local manager
    local theirs = written(function()
      manager = { name = "kube-controller-manager", log = scratch .. "/manager.log" }
      manager.process = processes.start { log = manager.log, argv = {
        MANAGER, "--kubeconfig", kube.admin, "--controllers=nodeipam", "--allocate-node-cidrs",
        "--cluster-cidr=" .. table.concat(DUAL, ","), "--service-cluster-ip-range=10.96.0.0/16",
        "--configure-cloud-routes=false", "--leader-elect=false", "--feature-gates=IPv6DualStack=true", "--port=0",
        "--secure-port=0", "--log-file=" .. manager.log,
      } }
      all[#all + 1] = manager
    end)
    manager.process:stop "KILL"
    write_config(("cluster_cidrs = %s, service_cidrs = { '10.96.0.0/16' }"):format(quoted(DUAL)))
    local ours = written(start)
    assert.same(theirs, ours)
    assert.same({ "10.244.1.0/24", "fd00:10:244:1::/64" }, ours.spec.podCIDRs)
    assert.equal("10.244.1.0/24", ours.spec.podCIDR)
  end)

  it("tells of a node outside of the range and of one range twice, once, and goes on", function()
    create("outside", { cidrs = { "10.9.0.0/24" } })
    create("twin1", { cidrs = { "10.244.3.0/24" } })
    create("twin2", { cidrs = { "10.244.3.0/24" } })
    write_config "cluster_cidrs = { '10.244.0.0/16' }"
    local one = start(nil, "--metrics", "127.0.0.1:9179")
    create "new"
    assert.same({ "10.244.0.0/24" }, has_range "new")
    wait(10, "an Event", function() return #events_of "outside" == 1 and #events_of "twin2" == 1 end)
    assert.same({ { "CIDROutOfRange" }, { "CIDRDuplicate" }, { "CIDRDuplicate" } },
      { events_of "outside", events_of "twin1", (events_of "twin2") })
    for i = 1, 20 do
      create("more" .. i)
    end
    has_range "more20"
    assert.equal(1, #events_of "outside")
    assert.equal(1, select(2, said(one):gsub("outside CIDROutOfRange", "")))
    local text = metrics(9179)
    for _, line in ipairs {
      'mncni_leader{lease="kube-system/mncni-nodeipam"} 1', "mncni_nodes 24", "mncni_node_assignments_total 21",
      'mncni_node_ranges{cidr="10.244.0.0/16",family="inet",state="used"} 22',
      'mncni_node_ranges{cidr="10.244.0.0/16",family="inet",state="free"} 234',
      'mncni_node_range_problems{reason="CIDRDuplicate"} 2', 'mncni_node_range_problems{reason="CIDROutOfRange"} 1',
    } do
      assert.matches(line .. "\n", text, 1, true)
    end
    assert.equal("ok", metrics(9179, "/healthz"))
    assert.equal("ok", metrics(9179, "/readyz"))
  end)

  it("tells a node that there is no range left, once, and gives it one when that has rested", function()
    write_config "cluster_cidrs = { '10.244.0.0/23' }, rest = 8"
    local one = start(nil, "--metrics", "127.0.0.1:9179")
    create "a"
    create "b"
    has_range "a"
    local of_b = has_range "b"
    create "c"
    wait(10, "an Event", function() return #events_of "c" == 1 end)
    local _, list = events_of "c"
    assert.same({
      "CIDRNotAvailable", "Normal",
      "Node c status is now: CIDRNotAvailable: none of the 2 ranges /24 of 10.244.0.0/23 is free", "Node", "c", "v1", 1,
    }, {
      list[1].reason, list[1].type, list[1].message, list[1].involvedObject.kind, list[1].involvedObject.name,
      list[1].involvedObject.apiVersion, list[1].count,
    })
    sleep(6)
    assert.equal(1, #events_of "c")
    kube:must("DELETE", NODES .. "/b")
    local since = seconds()
    assert.same(of_b, has_range("c", 20))
    local took = seconds() - since
    assert.is_true(took >= 7, took)
    -- The next leader knows, too, what rests.
    local function memo()
      return core.json.decode(lease().metadata.annotations["mncni/memo"]).released
    end
    wait(5, "b is noted", function() return #memo() == 1 end)
    local of_b_since = memo()[1].at
    kube:must("DELETE", NODES .. "/c")
    since = seconds()
    wait(5, "c is noted", function() return memo()[1].at > of_b_since end)
    one.process:stop "KILL"
    start()
    create "d"
    assert.same(of_b, has_range("d", 20))
    assert.is_true(seconds() - since >= 5, seconds() - since)
  end)

  it("goes on when the server was away", function()
    write_config "cluster_cidrs = { '10.244.0.0/16' }"
    start()
    local two = start()
    create "a"
    has_range "a"
    kube:kill()
    sleep(5)
    for _, one in ipairs { all[1], two } do
      assert.is_true(one.process:alive())
    end
    kube:start()
    local since = seconds()
    create "b"
    has_range("b", 30)
    print(("%.1f s after the server was back a node had its range"):format(seconds() - since))
    assert.equal(2, (check(1, DUAL)))
  end)

  it("says that it may not write, and does when it may", function()
    kube:grant("ipam", {
      { verbs = { "get", "list", "watch" }, resources = { "nodes" } },
      { verbs = { "create", "patch" }, resources = { "events" } },
      { verbs = { "get", "create", "update" }, resources = { "leases" }, apiGroups = { "coordination.k8s.io" } },
    })
    write_config "cluster_cidrs = { '10.244.0.0/16' }"
    for i = 1, 30 do
      create(("n%02d"):format(i))
    end
    local one = start("ipam", "--metrics", "127.0.0.1:9179")
    wait(10, "it says so", function()
      return said(one):find('ranges n%d%d: PATCH /api/v1/nodes/n%d%d: HTTP 403: .*do the RBAC rules allow it')
    end)
    sleep(4)
    local failures = tonumber(metrics(9179):match 'failures_total{reason="Forbidden"} (%d+)')
    assert.is_true(failures >= 2 and failures < 20, failures) -- eight at once, and then one at a time
    local name = said(one):match "ranges (n%d%d): PATCH"
    assert.same({ "CIDRAssignmentFailed" }, (events_of(name)))
    assert.equal(30, select(2, check(1, DUAL)))
    kube:grant("ipam", { { verbs = { "patch" }, resources = { "nodes" } } })
    local since = seconds()
    wait(40, "all have ranges", function() return select(2, check(1, DUAL)) == 0 end)
    print(("%.1f s after it was allowed all had their ranges"):format(seconds() - since))
    wait(5, "it says so", function() return said(one):find "well again" end)
  end)

  it("takes a changed policy over without giving up the lead, and refuses a broken one", function()
    write_config("cluster_cidrs = { '10.244.0.0/16' }")
    local path = "/api/v1/namespaces/kube-system/configmaps"
    local file = assert(io.open "examples/nodeipam-by-label.lua")
    local example = file:read "a"
    file:close()
    kube:must("POST", path, { metadata = { name = "mncni-policies" }, data = { ["nodeipam.lua"] = [[
      return { desired = function() return {} end, options = { cluster_cidrs = { type = "list" } } }]] } })
    do
      local out <close> = assert(io.open(config, "w"))
      out:write [[return { controller = true, configmap = "kube-system/mncni-policies",
        policies = { { name = "nodeipam", cluster_cidrs = { "10.244.0.0/16" } } } }]]
    end
    local one = start()
    is_leading()
    create "few"
    create("many", { labels = { ["example.com/pods"] = "many" } })
    sleep(1)
    assert.equal(2, select(2, check(1, DUAL))) -- what the ConfigMap has is asked, not what is built in
    local function put(text)
      kube:must("PATCH", path .. "/mncni-policies", { data = { ["nodeipam.lua"] = text } },
        "application/merge-patch+json")
    end
    put "return {"
    wait(10, "it is refused", function() return said(one):find "reload refused" end)
    put(example:gsub("return policy", 'policy.options = { cluster_cidrs = { type = "list" } }\nreturn policy'))
    assert.same({ "10.244.0.0/24" }, has_range "few")
    assert.same({ "10.244.128.0/22" }, has_range "many")
    assert.equal(0, lease().spec.leaseTransitions)
    assert.equal(1, select(2, said(one):gsub("leading, as", "")))
    kube:must("DELETE", path .. "/mncni-policies")
  end)

  it("needs no rights on its machine, and few in the cluster", function()
    kube:token("default/ipam", 600)
    kube:grant("system:serviceaccount:default:ipam", {
      { verbs = { "get", "list", "watch", "patch" }, resources = { "nodes" } },
      { verbs = { "create", "patch" }, resources = { "events" } },
      { verbs = { "get", "create", "update" }, resources = { "leases" }, apiGroups = { "coordination.k8s.io" } },
    })
    local open = spaces.must "mktemp -d"
    spaces.must("cp %s %s/kubeconfig && cp %s %s/agent && chmod -R a+rX %s",
      kube:kubeconfig { token = kube:token("default/ipam", 600), embed = true }, open, AGENT, open, open)
    create "a"
    local said_all = spaces.must("setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all "
      .. "--inh-caps -all --no-new-privs env -i %s/agent --controller --once --kubeconfig %s/kubeconfig "
      .. "--policy nodeipam --set nodeipam.cluster_cidrs=10.244.0.0/16 2>&1", open, open)
    spaces.must("rm -r %s", open)
    assert.same({ "10.244.0.0/24" }, ranges "a")
    assert.not_matches("refused", said_all)
    assert.not_matches("orbidden", said_all)
  end)

  it("runs beside the agent of a node in one network namespace", function()
    write_config "cluster_cidrs = { '10.244.0.0/16' }"
    start()
    is_leading()
    create "a"
    has_range "a"
    local agent = ("env MNCNI_STATE_DIR=%s/state %s --node a --policy condition --once --kubeconfig %s"):format(scratch,
      AGENT, kube.admin)
    spaces.must(agent)
    local conditions = {}
    for _, one in ipairs(kube:must("GET", NODES .. "/a").status.conditions) do
      conditions[one.type] = one.status
    end
    assert.equal("False", conditions.NetworkUnavailable)
  end)

  it("prints what it would do, and does it once", function()
    create "a"
    create("b", { cidrs = { "10.244.0.0/24" } })
    write_config "cluster_cidrs = { '10.244.0.0/16' }"
    local dry = start(nil, "--dry-run")
    wait(10, "it has ended", function() return not dry.process:alive() end)
    assert.equal([[kubectl patch node a --patch '{"spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24"]}}'
# 10.244.0.0/16: 2 used, 0 resting, 254 free
]], said(dry))
    assert.is_nil(ranges "a")
    assert.is_nil(lease())
    local once = start(nil, "--once")
    wait(20, "it has ended", function() return not once.process:alive() end)
    assert.same({ "10.244.1.0/24" }, ranges "a")
    assert.equal("", lease().spec.holderIdentity)
  end)
end)
