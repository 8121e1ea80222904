-- SPDX-License-Identifier: Apache-2.0
-- What goes on in a cluster for years, in minutes: pods that come and go, nodes that join, are drained and leave, an agent
-- and an API server that are restarted under traffic. MNCNI_ROUNDS: how often all pods come and go (2).

local core = require "mncni.core"
local labs = require "spec.support.lab"
local pods_of = require "spec.support.pods"

local IMAGE = (os.getenv "MNCNI_BUILD" or "build") .. "/image/mncni.tar"
local ROUNDS = tonumber(os.getenv "MNCNI_ROUNDS") or 2
local PODS = 60
local NODES = { "n1", "n2", "n3" }

describe("a cluster", function()
  local lab, pods

  setup(function()
    lab = labs.up { nodes = #NODES }
    lab:import(IMAGE)
    pods = pods_of.new(lab)
    for _, name in ipairs(NODES) do
      lab:plugins(name, "/usr/lib/cni/portmap", "/usr/lib/cni/bridge", "/usr/lib/cni/host-local")
    end
    lab:kubectl("apply", "-k", "deploy/overlays/bare-metal")
    lab:kubectl("apply", "-f", "deploy/nodeipam-mncni.yaml")
    lab:wait(120, "ranges", function()
      for _, node in ipairs(lab:get "nodes") do
        if not node.spec.podCIDR then return false end
      end
      return true
    end)
    lab:wait_ready(90)
  end)

  teardown(labs.cleanup)

  -- What there is for pods on a node: reserved addresses, ports of the bridge, journals.
  local function present(name)
    local said = lab:must(name, "sh", "-c", [[
      find /var/lib/cni/networks -type f | sed 's,.*/,,' | grep -c '^[0-9][0-9]*\.' || :
      ip -o link show master cbr0 2>/dev/null | wc -l
      find /run/mncni/attachments/kubenet -type f | wc -l]])
    local addresses, ports, journals = said:match "(%d+)%s+(%d+)%s+(%d+)"
    return tonumber(addresses), tonumber(ports), tonumber(journals)
  end

  local function running_on()
    local counts = {}
    for _, name in ipairs(NODES) do counts[name] = 0 end
    for _, pod in ipairs(lab:get("pods", "-A")) do
      if not pod.spec.hostNetwork then counts[pod.spec.nodeName] = counts[pod.spec.nodeName] + 1 end
    end
    return counts
  end

  local function equal_to_pods()
    local wanted = running_on()
    for name, count in pairs(wanted) do
      local addresses, ports, journals = present(name)
      if addresses ~= count or ports ~= count or journals ~= count then return false end
    end
    return true
  end

  -- Milliseconds that containerd took to make each sandbox, by its log from a byte of it on, sorted.
  local function sandbox_times(marks)
    local times = {}
    for _, name in ipairs(NODES) do
      local file <close> = assert(io.open(lab:path(name, "/log/containerd.log")))
      file:seek("set", marks[name])
      local begun = {}
      for line in file:lines() do
        local second, fraction = line:match 'time="[^"]*:(%d%d)%.(%d+)Z"'
        local minute = line:match 'time="[^"]*:(%d%d):%d%d%.'
        local pod = line:match 'RunPodSandbox for &PodSandboxMetadata{Name:([^,]+),'
        if second and pod then
          local at = (tonumber(minute) * 60 + tonumber(second) + tonumber("0." .. fraction)) * 1000
          if line:find("returns sandbox id", 1, true) and begun[pod] then
            times[#times + 1] = (at - begun[pod]) % 3600000
          elseif not line:find("returns", 1, true) then
            begun[pod] = at
          end
        end
      end
    end
    table.sort(times)
    return times
  end

  local function marks()
    local at = {}
    for _, name in ipairs(NODES) do
      local file <close> = assert(io.open(lab:path(name, "/log/containerd.log")))
      at[name] = file:seek "end"
    end
    return at
  end

  local function told(what, times)
    local function at(share) return times[math.max(1, math.ceil(#times * share))] end
    print(("    %s: sandboxes in %.0f ms (p50), %.0f ms (p99), of %d"):format(what, at(0.5), at(0.99), #times))
    return at(0.5)
  end

  it("has for its pods what they need and nothing else, however often they come and go", function()
    pods:deploy("many", 0)
    lab:wait(60, "nothing", equal_to_pods)
    local all = {}
    for round = 1, ROUNDS do
      local since = marks()
      lab:kubectl("scale", "deployment/many", "--replicas=" .. PODS)
      pods:wait("app=many", PODS)
      table.move(sandbox_times(since), 1, PODS, #all + 1, all)
      lab:wait(30, ("what %d pods have, in round %d"):format(PODS, round), equal_to_pods)
      lab:kubectl("scale", "deployment/many", "--replicas=0")
      lab:wait(120, "nothing to be left in round " .. round, function()
        return #lab:get("pods", "-l", "app=many") == 0 and equal_to_pods()
      end)
    end
    table.sort(all)
    assert.is_true(#all >= ROUNDS * PODS * 0.9)
    told("naivebridge", all)
    for _, name in ipairs(NODES) do
      local addresses, ports, journals = present(name)
      assert.same({ 0, 0, 0 }, { addresses, ports, journals })
    end
  end)

  it("takes no longer for a sandbox than with the reference plugins", function()
    for i, name in ipairs(NODES) do
      local script = "cd /etc/cni/net.d && printf %s \"$1\" >.new && mv .new 00-ref.conflist"
      lab:must(name, "sh", "-c", script, "sh", core.json.encode {
          cniVersion = "0.4.0", name = "reference", plugins = { {
            type = "bridge", bridge = "cni9", isGateway = true, ipMasq = true, hairpinMode = true,
            ipam = {
              type = "host-local", ranges = { { { subnet = ("10.99.%d.0/24"):format(i) } } },
              routes = { { dst = "0.0.0.0/0" } },
            },
          }, { type = "portmap", capabilities = { portMappings = true } } },
        })
    end
    lab:wait(30, "containerd to read it", function()
      lab:kubectl("delete", "pod", "--ignore-not-found", "--now", "probe")
      lab:kubectl("run", "probe", "--image=" .. lab.image, "--image-pull-policy=Never", "--restart=Never", "--",
        "busybox", "sleep", "1")
      local address = lab:wait(15, "an address", function() return lab:get("pod", "probe").status.podIP end)
      return address:find "^10%.99%."
    end)
    local since = marks()
    lab:kubectl("scale", "deployment/many", "--replicas=" .. PODS)
    pods:wait("app=many", PODS)
    told("the reference plugins", sandbox_times(since))
    lab:kubectl("scale", "deployment/many", "--replicas=0")
    lab:kubectl("delete", "pod", "--now", "probe")
    lab:wait(120, "no pod", function() return #lab:get("pods", "-l", "app=many") == 0 end)
    for _, name in ipairs(NODES) do
      lab:must(name, "rm", "/etc/cni/net.d/00-ref.conflist")
    end
  end)

  it("loses no packet between pods while agents and the API server are restarted, and nodes join and leave", function()
    pods:deploy "each"
    local list = pods:wait("app=each", #NODES)
    table.sort(list, function(a, b) return a.spec.nodeName < b.spec.nodeName end)
    local from, to = list[1], list[2]
    assert.is_true(pods:run(from, "ping -c 1 -W 2 " .. to.status.podIP) ~= "")
    pods:run(from, "ping -i 0.02 -q " .. to.status.podIP .. " >/run/ping.out 2>&1 </dev/null & echo $! >/run/ping.pid")
    lab:kubectl("-n", "kube-system", "rollout", "restart", "daemonset/mncni-agent")
    lab:kubectl("-n", "kube-system", "rollout", "status", "daemonset/mncni-agent", "--timeout=120s")
    lab:must("n1", "sh", "-c", "kill -9 $(pidof mncni-agent)")
    lab:must("control", "sh", "-c", "kill -9 $(cat $MNCNI_LAB_DIR/log/kube-apiserver.log.pid)")
    lab:wait(60, "the API server", function() return lab:get("nodes") end)
    lab:node("add", "n4")
    lab:plugins("n4", "/usr/lib/cni/portmap")
    lab:wait_ready(90)
    local range = lab:wait(30, "a range", function() return lab:get("node", "n4").spec.podCIDR end)
    local fourth = pods:wait("app=each", #NODES + 1)
    assert.equal(12, pods:ask_all(fourth))
    assert.matches("via 10.0.1.14", lab:must("n1", "ip", "route", "show", range), 1, true)
    lab:kubectl("drain", "n4", "--ignore-daemonsets", "--force")
    lab:node("remove", "n4")
    lab:kubectl("delete", "node", "n4", "--ignore-not-found")
    lab:wait(30, "its route to go", function() return lab:must("n1", "ip", "route", "show", range) == "" end)
    lab:must("n1", "sh", "-c", "kill -INT $(cat /run/ping.pid); sleep 1")
    local said = lab:must("n1", "cat", "/run/ping.out")
    local sent, received = said:match "(%d+) packets transmitted, (%d+) received"
    print(("    %s of %s packets"):format(received, sent))
    assert.is_true(tonumber(sent) > 1000, said)
    assert.equal(sent, received)
  end)
end)
