-- SPDX-License-Identifier: Apache-2.0
-- deploy/'s manifests on a real API server: it accepts them, and their RBAC rules are what the programs need. mncni-agent
-- and kube-controller-manager run here as the manifests start them, with the manifests' service accounts.

local core = require "mncni.core"
local kubes = require "spec.support.kube"
local processes = require "spec.support.process"
local spaces = require "spec.support.netns"

local AGENT = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni-agent"
local PROGRAMS = os.getenv "MNCNI_KUBERNETES"
local NODES = "/api/v1/nodes/"
local CONFIGMAP = "/api/v1/namespaces/kube-system/configmaps/mncni-policies"
local MERGE = "application/merge-patch+json"
local SERVICE_ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount" -- /var/run is /run, and the ring's own

local function wait(seconds, what, condition, log)
  return processes.wait(seconds, condition) or error(("no %s after %d s; the log:\n%s"):format(what, seconds,
    log and spaces.must("cat %s", log) or ""), 2)
end

describe("the manifests", function()
  local kube, scratch

  setup(function()
    scratch = spaces.must "mktemp -d"
    spaces.must "ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up"
    spaces.must "ip addr add 10.224.0.4/16 dev up0"
    kube = kubes.new {}
  end)

  teardown(function()
    kubes.cleanup()
    spaces.must("ip link del up0; ip route flush proto 78; rm -rf %s", scratch)
  end)

  -- Its words are quoted where they stand.
  local function kubectl(command)
    return spaces.sh(("PATH=%s:$PATH KUBECONFIG=%s HOME=%s kubectl %s"):format(PROGRAMS, kube.admin, scratch, command))
  end

  local function must_kubectl(command)
    local said, status = kubectl(command)
    assert.equal(0, status, said)
    return said
  end

  describe("are accepted by the server:", function()
    for _, what in ipairs {
      "-k deploy/base", "-k deploy/overlays/aks", "-k deploy/overlays/bare-metal", "-k deploy/overlays/dual-stack",
      "-f deploy/nodeipam.yaml", "-f deploy/nodeipam-mncni.yaml",
    } do
      it(what, function()
        local said = must_kubectl("apply --dry-run=server " .. what)
        assert.matches("created (server dry run)", said, 1, true)
      end)
    end

    it("and a misspelled key would not be", function()
      spaces.must("sed s/hostNetwork/hostNetwrok/ deploy/nodeipam.yaml >%s/bad.yaml", scratch)
      local said, status = kubectl(("apply --dry-run=server -f %s/bad.yaml"):format(scratch))
      assert.not_equal(0, status)
      assert.matches("hostNetwrok", said, 1, true)
    end)
  end)

  it("differ between overlays in what they say they do", function()
    local function settings(overlay)
      local text = must_kubectl("kustomize deploy/" .. overlay .. " 2>/dev/null")
      return { text:match "ROUTES_MODE: (%S+)", text:match "CLUSTER_CIDRS: ([%x.:/,]+)" }
    end
    assert.same({ "auto" }, settings "base")
    assert.same({ "vxlan", "10.244.0.0/16" }, settings "overlays/aks")
    assert.same({ "direct", "10.244.0.0/16" }, settings "overlays/bare-metal")
    assert.same({ "auto", "10.244.0.0/16,fd00:10:244::/48" }, settings "overlays/dual-stack")
  end)

  -- What a service account of kube-system may do in a namespace, beyond what everybody may: sorted lines.
  local function rights(account, namespace)
    local group = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    local token = kube:token("kube-system/" .. account)
    local everybody = kube:token "default/nobody"
    local function lines(who)
      local set = {}
      local answer = kube:must("POST", group, { spec = { namespace = namespace } }, nil, { token = who })
      for _, rule in ipairs(answer.status.resourceRules) do
        for _, resource in ipairs(rule.resources) do
          for _, verb in ipairs(rule.verbs) do
            local name = rule.resourceNames and " " .. table.concat(rule.resourceNames, " ") or ""
            set[("%s %s%s"):format(verb, resource, name)] = true
          end
        end
      end
      return set
    end
    local all, list = lines(everybody), {}
    for line in pairs(lines(token)) do
      if not all[line] then
        list[#list + 1] = line
      end
    end
    table.sort(list)
    return list
  end

  -- Waits for the rules to be in force: the server follows them with a delay.
  local function settled_rights(account, namespace, expected)
    processes.wait(5, function() return #rights(account, namespace) == #expected end)
    assert.same(expected, rights(account, namespace))
  end

  local function edit(data)
    kube:must("PATCH", CONFIGMAP, { data = data }, MERGE)
  end

  describe("of the agent", function()
    local agent, log, own

    setup(function()
      own = "n000000"
      kube:nodes { count = 3, prefix = "n" }
      must_kubectl "apply -k deploy/overlays/bare-metal"
      spaces.must("mkdir -p %s/policies %s/proc/net", scratch, scratch)
      spaces.must("make -s cni-bin DIR=%s/cni", scratch)
      log = scratch .. "/agent.log"
    end)

    after_each(function()
      if agent then
        agent:stop()
        agent = nil
      end
    end)

    it("give it what it needs, and nothing else", function()
      local everywhere = { "get nodes", "list nodes", "patch nodes/status", "watch nodes" }
      settled_rights("mncni-agent", "kube-public", everywhere)
      settled_rights("mncni-agent", "kube-system", {
        "get nodes", "list configmaps mncni-policies", "list nodes", "patch nodes/status",
        "watch configmaps mncni-policies", "watch nodes",
      })
      settled_rights("mncni-agent", "default", {
        "create events", "get nodes", "list nodes", "patch events", "patch nodes/status", "watch nodes",
      })
    end)

    -- The container's arguments with what its environment puts in them.
    local function arguments()
      local set = kube:must("GET", "/apis/apps/v1/namespaces/kube-system/daemonsets/mncni-agent")
      local container = set.spec.template.spec.containers[1]
      local name = container.envFrom[1].configMapRef.name
      local data = kube:must("GET", "/api/v1/namespaces/kube-system/configmaps/" .. name).data
      local words = {}
      for i, word in ipairs(container.args) do
        words[i] = word:gsub("%$%(([%w_]+)%)", data)
        assert.is_nil(words[i]:find("$(", 1, true))
      end
      return words, container.securityContext
    end

    -- Starts the agent as its container is, but for where files are: with the manifest's one capability, a read-only
    -- /proc/sys and the host's sysctls beside it.
    local function start()
      local words, security = arguments()
      assert.same({ drop = { "ALL" }, add = { "NET_ADMIN" } }, security.capabilities)
      spaces.must("mkdir -p /run/secrets/kubernetes.io; rm -rf %s", SERVICE_ACCOUNT)
      kube:mount("kube-system/mncni-agent", 3600, SERVICE_ACCOUNT)
      local script = [[
        scratch=$1; shift
        mount --bind /proc/sys/net "$scratch/proc/net" && mount --bind /proc/sys /proc/sys &&
        mount -o remount,bind,ro /proc/sys || exit 9
        exec setpriv --bounding-set -all,+net_admin --inh-caps -all,+net_admin --no-new-privs "$@"]]
      local argv = {
        "unshare", "-m", "sh", "-c", script, "sh", scratch, "env", "KUBERNETES_SERVICE_HOST=127.0.0.1",
        "KUBERNETES_SERVICE_PORT=" .. kube.port, "NODE_NAME=" .. own, "MNCNI_PROC_SYS=" .. scratch .. "/proc",
        "MNCNI_POLICY_PATH=" .. scratch .. "/policies", spaces.must("realpath %s", AGENT),
      }
      table.move(words, 1, #words, #argv + 1, argv)
      for _, setting in ipairs {
        "install=" .. scratch .. "/cni", "bin_dir=" .. scratch .. "/bin",
        "policy_dir=" .. scratch .. "/policies", "path=" .. scratch .. "/10-mncni.conflist", "portmap=false",
      } do
        argv[#argv + 1] = "--set=cniconfig." .. setting
      end
      spaces.must(": >%s", log)
      agent = processes.start { argv = argv, log = log }
    end

    local function exists(name)
      local file <close> = io.open(scratch .. "/" .. name)
      return file and file:read "a"
    end

    local function started()
      start()
      return wait(15, "configuration", function() return exists "10-mncni.conflist" end, log)
    end

    -- What the plugin that was installed gives a pod, by the configuration that was written.
    local function next_pod(name)
      local list = core.json.decode(exists "10-mncni.conflist")
      local conf = list.plugins[1]
      conf.cniVersion, conf.name, conf.ipam.dataDir = list.cniVersion, list.name, scratch .. "/networks"
      local pod = spaces.new(name)
      local out = core.exec { argv = { scratch .. "/bin/mncni" }, stdin = core.json.encode(conf), env = {
        CNI_COMMAND = "ADD", CNI_CONTAINERID = name, CNI_NETNS = pod.path, CNI_IFNAME = "eth0",
        CNI_PATH = scratch .. "/bin", MNCNI_POLICY_PATH = scratch .. "/policies", MNCNI_STATE_DIR = scratch .. "/state",
      } }
      assert.equal(0, out.status, out.stdout)
      return pod
    end

    it("are enough for all that it does: sysctls, the condition, the plugin, its configuration", function()
      spaces.must "echo 0 >/proc/sys/net/ipv4/ip_forward"
      started()
      local node = wait(10, "condition", function()
        for _, condition in ipairs(kube:must("GET", NODES .. own).status.conditions) do
          if condition.type == "NetworkUnavailable" and condition.reason == "MncniIsUp" then
            return condition
          end
        end
      end, log)
      assert.equal("False", node.status)
      assert.equal("1", spaces.must "cat /proc/sys/net/ipv4/ip_forward")
      assert.matches("10%.128%.1%.0/24 via", spaces.must "ip route show proto 78")
      assert.matches("inet mncni", spaces.must "nft list tables")
      assert.equal("ok", spaces.must "curl -sf --noproxy '*' http://127.0.0.1:9178/readyz")
      assert.is_nil(spaces.must("cat %s", log):find "HTTP 403")
    end)

    it("bring an edited policy to the next pod, and take it away again", function()
      started()
      local text = spaces.must "cat policies/naivebridge.lua"
      local edited = text:gsub("eth:address%(lease%)", [[eth:address(lease)
  eth:route { dst = "198.51.100.0/24", gateway = lease.addresses[1].gateway }]])
      edit { ["naivebridge.lua"] = edited }
      wait(10, "policy", function() return exists "policies/naivebridge.lua" end, log)
      assert.matches("198.51.100.0/24", next_pod "edited":must "ip route", 1, true)
      -- Applying the manifests again takes nothing from what was edited.
      must_kubectl "apply -k deploy/overlays/bare-metal"
      assert.equal(edited, kube:must("GET", CONFIGMAP).data["naivebridge.lua"])
      edit { ["naivebridge.lua"] = core.json.null }
      wait(10, "removal", function() return not exists "policies/naivebridge.lua" end, log)
      assert.is_nil(next_pod "plain":must "ip route":find("198.51.100", 1, true))
    end)

    it("refuse a broken policy, keep the last good one over a restart, and say so on the Node", function()
      started()
      edit { ["naivebridge.lua"] = "-- the good one\n" .. spaces.must "cat policies/naivebridge.lua" }
      local good = wait(10, "policy", function() return exists "policies/naivebridge.lua" end, log)
      edit { ["naivebridge.lua"] = "local policy = {}\nfunction policy.add(pod\n  return 1\nend\nreturn policy\n" }
      local event = wait(10, "Event", function()
        for _, one in ipairs(kube:must("GET", "/api/v1/namespaces/default/events").items) do
          if one.reason == "ReloadRefused" and one.involvedObject.name == own then
            return one
          end
        end
      end, log)
      assert.same({ "Node", "Warning" }, { event.involvedObject.kind, event.type })
      assert.matches("naivebridge.lua:3:", event.message, 1, true)
      assert.equal(good, exists "policies/naivebridge.lua")
      agent:stop()
      start()
      wait(10, "refusal", function() return spaces.must("cat %s", log):find "reload refused" end, log)
      assert.equal(good, exists "policies/naivebridge.lua")
      edit { ["naivebridge.lua"] = core.json.null }
      wait(10, "removal", function() return not exists "policies/naivebridge.lua" end, log)
    end)

    it("do not make a new node ready before its policies were read", function()
      spaces.must("rm -f %s/10-mncni.conflist", scratch)
      local role = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings/mncni-agent"
      kube:must("DELETE", role)
      start()
      local ready = wait(10, "answer", function()
        local said = spaces.sh "curl -s --noproxy '*' http://127.0.0.1:9178/readyz"
        return said:find "has not been read" and said
      end, log)
      assert.matches("ConfigMap kube-system/mncni-policies has not been read yet", ready, 1, true)
      assert.matches("HTTP 403", spaces.must("cat %s", log), 1, true)
      assert.is_nil(exists "10-mncni.conflist")
      must_kubectl "apply -k deploy/overlays/bare-metal"
      wait(40, "configuration", function() return exists "10-mncni.conflist" end, log)
    end)

    it("do without the ConfigMap, too", function()
      spaces.must("rm -f %s/10-mncni.conflist", scratch)
      kube:must("DELETE", CONFIGMAP)
      started()
      must_kubectl "apply -k deploy/overlays/bare-metal"
    end)
  end)

  -- Nodes of a cluster whose control plane gives no ranges.
  local function bare_nodes()
    kube:must("DELETE", "/api/v1/nodes")
    for i = 1, 3 do
      kube:must("POST", "/api/v1/nodes", { metadata = { name = "w" .. i }, status = { addresses = {
        { type = "InternalIP", address = "10.224.1." .. i },
      } } })
    end
  end

  -- The ranges of all nodes, sorted, once all have one.
  local function ranges(log)
    return wait(60, "range", function()
      local list = {}
      for _, node in ipairs(kube:must("GET", "/api/v1/nodes").items) do
        list[#list + 1] = node.spec.podCIDR
      end
      table.sort(list)
      return #list == 3 and list
    end, log)
  end

  local RANGES = { "10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24" }

  -- The first container of a Deployment.
  local function container_of(name)
    local set = kube:must("GET", "/apis/apps/v1/namespaces/kube-system/deployments/" .. name)
    return set.spec.template.spec.containers[1]
  end

  -- Starts a program of a pod of kube-system, as in a container: with the token of its account and the API's address.
  local function start_in_pod(account, argv, log)
    spaces.must("mkdir -p /run/secrets/kubernetes.io; rm -rf %s", SERVICE_ACCOUNT)
    kube:mount("kube-system/" .. account, 3600, SERVICE_ACCOUNT)
    local words = {
      "env", "KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT=" .. kube.port,
      table.unpack(argv),
    }
    return processes.start { argv = words, log = log }
  end

  describe("of mncni's nodeipam", function()
    local server

    teardown(function()
      if server then
        server:stop()
      end
      must_kubectl "delete -f deploy/nodeipam-mncni.yaml"
    end)

    it("give it what it needs, and nothing else", function()
      must_kubectl "apply -f deploy/nodeipam-mncni.yaml"
      local nodes = { "list nodes", "patch nodes", "watch nodes" }
      settled_rights("mncni-nodeipam", "kube-public", nodes)
      settled_rights("mncni-nodeipam", "kube-system", {
        "create events", "create leases", "get leases mncni-nodeipam", "list configmaps mncni-policies", "list nodes",
        "patch events", "patch nodes", "update leases mncni-nodeipam", "watch configmaps mncni-policies", "watch nodes",
      })
      settled_rights("mncni-nodeipam", "default", {
        "create events", "list nodes", "patch events", "patch nodes", "watch nodes",
      })
    end)

    it("are enough for it to give nodes their ranges, and to follow its policy in the ConfigMap", function()
      bare_nodes()
      edit { ["nodeipam.lua"] = core.json.null }
      local container, log = container_of "mncni-nodeipam", scratch .. "/nodeipam.log"
      assert.same({ drop = { "ALL" } }, container.securityContext.capabilities)
      server = start_in_pod("mncni-nodeipam", {
        "setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs",
        spaces.must("install -m 755 %s /run/mncni-agent && echo /run/mncni-agent", AGENT),
        table.unpack(container.args),
      }, log)
      assert.same(RANGES, ranges(log))
      local said
      edit { ["nodeipam.lua"] = spaces.must "cat policies/nodeipam.lua" }
      wait(20, "reload", function()
        said = spaces.must("cat %s", log)
        return said:find "mncni%-agent: reloaded"
      end, log)
      assert.is_nil(said:match "[^\n]*HTTP 403[^\n]*")
      assert.is_nil(said:match "[^\n]*refused[^\n]*")
      assert.equal("ok", (spaces.must "curl -sf --noproxy '*' http://127.0.0.1:9179/healthz"))
      edit { ["nodeipam.lua"] = core.json.null }
    end)
  end)

  describe("of kube-controller-manager", function()
    local server

    teardown(function()
      if server then
        server:stop()
      end
      must_kubectl "delete -f deploy/nodeipam.yaml"
    end)

    it("give it what nodeipam needs, and nothing else", function()
      must_kubectl "apply -f deploy/nodeipam.yaml"
      local nodes = { "get nodes", "list nodes", "patch nodes", "watch nodes" }
      settled_rights("nodeipam", "kube-public", nodes)
      settled_rights("nodeipam", "kube-system", {
        "create events", "create leases", "get leases nodeipam", "get nodes", "list nodes", "patch events",
        "patch nodes", "update leases nodeipam", "watch nodes",
      })
      settled_rights("nodeipam", "default", {
        "create events", "get nodes", "list nodes", "patch events", "patch nodes", "watch nodes",
      })
    end)

    it("are enough for it to give nodes their ranges", function()
      bare_nodes()
      local command, log = container_of("nodeipam").command, scratch .. "/controller.log"
      server = start_in_pod("nodeipam", { PROGRAMS .. "/" .. command[1], table.unpack(command, 2) }, log)
      assert.same(RANGES, ranges(log))
      local lease = kube:must("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/nodeipam")
      assert.is_string(lease.spec.holderIdentity)
      local said = spaces.must("cat %s", log)
      assert.is_nil(said:match "[^\n]*forbidden[^\n]*")
      assert.equal("ok", spaces.must "curl -sk --noproxy '*' https://127.0.0.1:10279/healthz")
    end)
  end)
end)
