-- SPDX-License-Identifier: Apache-2.0
-- mncni-agent against a real API server. MNCNI_NODES=5000 for the size that figures are told of (500 when not given),
-- MNCNI_OUTAGE seconds for how long the server is away (10), MNCNI_HEARTBEATS a second of all nodes together (100; 0: none).

local core = require "mncni.core"
local kubes = require "spec.support.kube"
local mncni = require "mncni"
local processes = require "spec.support.process"
local spaces = require "spec.support.netns"

local COUNT = tonumber(os.getenv "MNCNI_NODES") or 500
local OUTAGE = tonumber(os.getenv "MNCNI_OUTAGE") or 10
local HEARTBEATS = tonumber(os.getenv "MNCNI_HEARTBEATS") or 100
local AGENT = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni-agent"
local NODES = "/api/v1/nodes/"
local OWN = "aks-nodepool1-vmss000000"
local FIELD_MANAGED = "application/merge-patch+json"

local function name_of(index)
  return ("aks-nodepool1-vmss%06d"):format(index)
end

local function seconds()
  return core.record.clock() / 1e6
end

describe("the agent on a Kubernetes cluster", function()
  local kube, host, scratch, agent

  setup(function()
    scratch = spaces.must "mktemp -d"
    spaces.must "ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up"
    spaces.must "ip addr add 10.224.0.4/16 dev up0"
    kube = kubes.new {}
    local report = kube:nodes { count = COUNT }
    print(("%d nodes of %d bytes"):format(report.created, report.bytes))
    kube:grant("agent", {
      { verbs = { "get", "list", "watch", "patch" }, resources = { "nodes", "nodes/status", "configmaps" } },
      { verbs = { "create", "patch" }, resources = { "events" } },
    })
    host = mncni.open()
  end)

  teardown(function()
    kubes.cleanup()
    if host then
      host:close()
    end
    spaces.must "ip link del up0; ip route flush proto 78"
    spaces.must("rm -rf %s", scratch)
  end)

  after_each(function()
    if agent then
      agent:stop()
      agent = nil
    end
  end)

  local function log()
    return spaces.must("cat %s/agent.log", scratch)
  end

  local function start(...)
    spaces.must(": >%s/agent.log", scratch)
    local argv = {
      "env", "MNCNI_STATE_DIR=" .. scratch .. "/state", "MNCNI_POLICY_PATH=" .. scratch .. "/policies", AGENT,
      "--node", OWN, "--policy", "routes", "--set", "routes.mode=direct", ...
    }
    agent = processes.start { argv = argv, log = scratch .. "/agent.log" }
    return seconds()
  end

  local function count_routes()
    local count = 0
    for route in host.route.list { protocol = "mncni", family = "inet", table = "main" } do
      count = count + (route.type == "unicast" and 1 or 0)
    end
    return count
  end

  -- Waits until something is so, which it asks every `pause` seconds, and returns how many seconds it took; fails with
  -- the agent's log.
  local function wait(limit, condition, since, pause)
    since = since or seconds()
    while not condition() do
      if seconds() - since > limit then
        error(("not so after %d s; the agent says:\n%s"):format(limit, log()), 2)
      end
      core.exec { argv = { "sleep", pause or "0.01" } }
    end
    return seconds() - since
  end

  local function all_routes(limit, since)
    local count
    local ok, result = pcall(wait, limit, function()
      count = count_routes()
      return count == COUNT - 1
    end, since, "0.1") -- to count them takes a processor from those who are measured
    if not ok then
      local life = agent:alive() and "runs" or "has ended"
      error(("%d of %d routes, agent %s: %s"):format(count, COUNT - 1, life, result), 2)
    end
    return result
  end

  local function kubeconfig(user)
    return kube:kubeconfig(user or { user = "agent", groups = {} })
  end

  local function gateway(index)
    local range = spaces.must("ip route show proto 78 10.128.%s.0/24", index)
    return range:match "via (%S+)"
  end

  local function readdress(index, address)
    kube:must("PATCH", NODES .. name_of(index) .. "/status", {
      status = { addresses = {
        { type = "InternalIP", address = address }, { type = "Hostname", address = name_of(index) },
      } },
    }, FIELD_MANAGED)
  end

  -- What is to be stopped, and then tells its rate.
  local function heartbeats(most)
    if HEARTBEATS == 0 then
      return { stop = function() return { rate = 0 } end }
    end
    return kube:heartbeats { rate = HEARTBEATS, count = COUNT, seconds = most }
  end

  it("has all routes in little more than the time that reading the list takes, under heartbeats", function()
    spaces.must "ip route flush proto 78"
    local config, identity = kubeconfig(), kube:identity("agent", {})
    local reads, takes = {}, {}
    local beating = heartbeats(300)
    for i = 1, 3 do
      local began = seconds()
      spaces.must("curl -sf --noproxy '*' --cacert %s --cert %s --key %s -A mncni-agent -o /dev/null %s", kube.ca,
        identity.cert, identity.key, kube.url .. "/api/v1/nodes")
      reads[i] = seconds() - began
      takes[i] = all_routes(60, start("--kubeconfig", config))
      local resident, used = agent:usage()
      print(("%d nodes: curl reads the list in %.2f s, all routes after %.2f s; RSS %d MiB, %.2f s of CPU"):format(
        COUNT, reads[i], takes[i], resident, used))
      agent:stop()
      agent = nil
      spaces.must "ip route flush proto 78"
    end
    beating:stop()
    table.sort(takes)
    table.sort(reads)
    assert.is_true(takes[2] < 3 * reads[2] + 2)
  end)

  it("brings one changed node to the kernel at once, while the others' heartbeats cost little", function()
    all_routes(60, start("--kubeconfig", kubeconfig(), "--metrics", "127.0.0.1:9178"))
    local beating = heartbeats(60)
    core.exec { argv = { "sleep", "3" } }
    local _, before = agent:usage()
    local began = seconds()
    core.exec { argv = { "sleep", "5" } }
    local resident, after = agent:usage()
    local share = (after - before) / (seconds() - began) * 100
    local times = {}
    -- How often the agent has brought something to the kernel, and the seconds that this took from its event on.
    local function applied()
      local text = spaces.sh "curl -s --noproxy '*' http://127.0.0.1:9178/metrics"
      return tonumber(text:match "mncni_event_to_kernel_seconds_count (%d+)"),
        tonumber(text:match "mncni_event_to_kernel_seconds_sum ([%d.]+)")
    end
    local count, sum = applied()
    for i = 1, 9 do
      local monitor <close> = host:monitor { "route" }
      local since = seconds()
      readdress(7, ("10.224.200.%d"):format(i))
      local answered = seconds()
      local event = monitor:next(20000)
      times[i] = { seconds() - since, seconds() - answered }
      assert.equal(("10.224.200.%d"):format(i), event and event.value.gateway)
    end
    local answers = {}
    for i, time in ipairs(times) do
      answers[i] = time[2]
    end
    table.sort(answers)
    local report = beating:stop()
    print(("%d nodes, %.0f heartbeats a second: %.1f %% of a core, RSS %d MiB; a changed node is in the kernel %.0f ms "
      .. "after the server has answered who changed it (median of %d, %.0f to %.0f)"):format(COUNT, report.rate,
      share, resident, answers[5] * 1000, #answers, answers[1] * 1000, answers[#answers] * 1000))
    local count_then, sum_then = applied()
    print(("from event to kernel, by the agent: %.0f ms (mean of %d)"):format(
      (sum_then - sum) / (count_then - count) * 1000, count_then - count))
    assert.is_true(answers[5] < 2)
    readdress(7, "10.224.0.11")
    wait(10, function() return gateway(7) == "10.224.0.11" end)
  end)

  it("removes the routes of a node that is deleted, and makes those of one that is created", function()
    all_routes(60, start("--kubeconfig", kubeconfig()))
    local node = kube:must("GET", NODES .. name_of(9))
    kube:must("DELETE", NODES .. name_of(9))
    wait(5, function() return gateway(9) == nil end)
    node.metadata = { name = node.metadata.name, labels = node.metadata.labels }
    kube:must("POST", "/api/v1/nodes", node)
    wait(5, function() return gateway(9) ~= nil end)
  end)

  it("keeps every route while the server is away, and has what changed meanwhile soon after its return", function()
    all_routes(60, start("--kubeconfig", kubeconfig()))
    kube:kill()
    core.exec { argv = { "sleep", tostring(OUTAGE) } }
    assert.equal(COUNT - 1, count_routes())
    assert.is_true(agent:alive())
    kube:start()
    local since = seconds()
    readdress(3, "10.224.201.3")
    local took = wait(30, function() return gateway(3) == "10.224.201.3" end, since)
    print(("%.1f s after the server was back a changed node was in the kernel"):format(took))
    readdress(3, "10.224.0.7")
    wait(10, function() return gateway(3) == "10.224.0.7" end)
    for _ = 1, 3 do -- it flaps
      kube:kill()
      kube:start()
    end
    assert.equal(COUNT - 1, count_routes())
    kube:must("DELETE", NODES .. name_of(4))
    wait(30, function() return gateway(4) == nil end)
    assert.equal(COUNT - 2, count_routes())
    local again = kube:node { first = 4 }
    kube:must("POST", "/api/v1/nodes", again)
    wait(10, function() return gateway(4) ~= nil end)
  end)

  it("removes what was deleted while it was away itself, and nothing else", function()
    all_routes(60, start("--kubeconfig", kubeconfig()))
    agent:stop "KILL"
    kube:must("DELETE", NODES .. name_of(5))
    spaces.must "ip route add 10.77.0.0/16 via 10.224.0.99"
    local since = start("--kubeconfig", kubeconfig())
    wait(30, function() return gateway(5) == nil and count_routes() == COUNT - 2 end, since)
    assert.matches("10.77.0.0/16 via 10.224.0.99", spaces.must "ip route show 10.77.0.0/16")
    spaces.must "ip route del 10.77.0.0/16"
    kube:must("POST", "/api/v1/nodes", kube:node { first = 5 })
    wait(10, function() return gateway(5) ~= nil end)
  end)

  it("goes on with a new token, and with a new authority of the server", function()
    kube:token("default/agent", 600)
    kube:grant("system:serviceaccount:default:agent", {
      { verbs = { "get", "list", "watch", "patch" }, resources = { "nodes", "nodes/status" } },
      { verbs = { "create", "patch" }, resources = { "events" } },
    })
    local mount = kube:mount("default/agent", 600)
    local config = kube:kubeconfig { token_file = mount .. "/token" }
    all_routes(60, start("--kubeconfig", config))
    kube:mount("default/agent", 600, mount)
    kube:rotate_ca()
    readdress(3, "10.224.202.3")
    local took = wait(30, function() return gateway(3) == "10.224.202.3" end)
    print(("%.1f s after the authority was replaced a changed node was in the kernel"):format(took))
    assert.equal(COUNT - 1, count_routes())
    readdress(3, "10.224.0.7")
    wait(10, function() return gateway(3) == "10.224.0.7" end)
  end)

  it("says that the network is available, once, and leaves the other conditions", function()
    local before = kube:must("GET", NODES .. OWN)
    all_routes(60, start("--kubeconfig", kubeconfig(), "--policy", "condition"))
    local function condition()
      for _, one in ipairs(kube:must("GET", NODES .. OWN).status.conditions) do
        if one.type == "NetworkUnavailable" then return one end
      end
    end
    wait(10, condition)
    assert.equal("False", condition().status)
    assert.equal("MncniIsUp", condition().reason)
    assert.equal(#before.status.conditions + 1, #kube:must("GET", NODES .. OWN).status.conditions)
    local version = kube:must("GET", NODES .. OWN).metadata.resourceVersion
    core.exec { argv = { "sleep", "2" } }
    assert.equal(version, kube:must("GET", NODES .. OWN).metadata.resourceVersion)
  end)

  it("tells the cluster with --once too, before it ends", function()
    local name = name_of(2)
    spaces.must "ip addr add 10.224.0.6/32 dev up0"
    finally(function() spaces.must "ip addr del 10.224.0.6/32 dev up0" end)
    start("--kubeconfig", kubeconfig(), "--policy", "condition", "--node", name, "--once")
    wait(60, function() return not agent:alive() end)
    local found
    for _, one in ipairs(kube:must("GET", NODES .. name).status.conditions) do
      found = one.type == "NetworkUnavailable" and one.status or found
    end
    assert.equal("False", found, log())
    agent = nil
  end)

  it("takes policies from a ConfigMap, refuses a broken one with an Event, and keeps the last good one", function()
    local path = "/api/v1/namespaces/default/configmaps"
    kube:grant("blind", {
      { verbs = { "get", "list", "watch", "patch" }, resources = { "nodes", "nodes/status" } },
      { verbs = { "create", "patch" }, resources = { "events" } },
    })
    local function route(dst)
      return ('return { desired = function() return { routes = { { dst = %q, dev = "up0" } } } end }'):format(dst)
    end
    kube:must("POST", path, {
      metadata = { name = "mncni-policies" },
      data = { ["extra.lua"] = route "10.99.1.0/24" },
    })
    local config = scratch .. "/agent.lua"
    do
      local file <close> = assert(io.open(config, "w"))
      file:write(([[return { configmap = "default/mncni-policies", policies = { "routes", "extra" },
        kubernetes = { kubeconfig = %q } }]]):format(kubeconfig()))
    end
    start("--config", config, "--policy", "extra")
    local function has(dst) return spaces.must("ip route show " .. dst) ~= "" end
    wait(30, function() return has "10.99.1.0/24" end)
    local function put(text)
      kube:must("PATCH", path .. "/mncni-policies", { data = { ["extra.lua"] = text } }, FIELD_MANAGED)
    end
    put(route "10.99.2.0/24")
    wait(10, function() return has "10.99.2.0/24" and not has "10.99.1.0/24" end)
    put "return { desired = function() return { route = {} } end }"
    wait(10, function() return log():find('did you mean "routes"', 1, true) end)
    put "return {"
    wait(10, function() return log():find("extra.lua:1:", 1, true) end)
    put "return { desired = function() while true do end end }"
    wait(60, function() return log():find("instructions", 1, true) end)
    assert.is_true(has "10.99.2.0/24")
    assert.is_true(agent:alive())
    wait(10, function()
      for _, event in ipairs(kube:must("GET", "/api/v1/namespaces/default/events").items) do
        if event.reason == "ReloadRefused" and event.involvedObject.name == OWN then return true end
      end
    end)
    -- Another agent knows nothing of the ConfigMap until it has read it: what it wants stays until then.
    put(route "10.99.3.0/24")
    wait(10, function() return has "10.99.3.0/24" end)
    agent:stop "KILL"
    start("--kubeconfig", kubeconfig { user = "blind", groups = {} }, "--config", config, "--policy", "extra")
    wait(10, function() return log():find("mncni%-policies.*forbidden") or log():find("forbidden.*configmaps") end)
    core.exec { argv = { "sleep", "2" } }
    assert.is_true(has "10.99.3.0/24")
    put(route "10.99.4.0/24")
    kube:grant("blind", { { verbs = { "get", "list", "watch" }, resources = { "configmaps" } } })
    wait(60, function() return has "10.99.4.0/24" and not has "10.99.3.0/24" end)
    put 'return { desired = function() return {} end }'
    wait(10, function() return not has "10.99.4.0/24" end)
    kube:must("DELETE", path .. "/mncni-policies")
  end)

  it("tells of its health and of figures", function()
    all_routes(60, start("--kubeconfig", kubeconfig(), "--metrics", "127.0.0.1:9178"))
    local function get(what)
      return (spaces.sh("curl -s --noproxy '*' -w '%%{http_code}' http://127.0.0.1:9178%s", what))
    end
    wait(10, function() return get "/readyz" == "ok\n200" end)
    assert.equal("ok\n200", get "/healthz")
    local text = get "/metrics"
    assert.matches(("mncni_nodes %d\n"):format(COUNT), text)
    assert.matches('mncni_objects_present{kind="routes"} ' .. COUNT, text)
    assert.matches("mncni_watch_lists_total 1\n", text)
    assert.matches("404$", get "/other")
  end)

  it("is refused with one line when the kubeconfig is wrong", function()
    local path = scratch .. "/kubeconfig"
    for text, expected in pairs {
      ["clusters: ["] = "kubeconfig:1: ",
      ["apiVersion: v1\nkind: Config\ncurrent-context: none\n"] = "none",
    } do
      do
        local file <close> = assert(io.open(path, "w"))
        file:write(text)
      end
      start("--kubeconfig", path)
      wait(10, function() return log() ~= "" and not agent:alive() end)
      assert.matches(path, log(), 1, true)
      assert.matches(expected, log(), 1, true)
      assert.equal(1, select(2, log():gsub("[^\n]+", "")))
    end
    agent = nil
  end)
end)
