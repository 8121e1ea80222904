-- SPDX-License-Identifier: Apache-2.0
-- From a cluster without a network to running pods, on a real Kubernetes in a lab (deploy/lab): what deploy/README.md
-- tells people to do, with the image that `make image` made.

local labs = require "spec.support.lab"
local pods_of = require "spec.support.pods"
local spaces = require "spec.support.netns"

local IMAGE = (os.getenv "MNCNI_BUILD" or "build") .. "/image/mncni.tar"
local PROGRAMS = os.getenv "MNCNI_KUBERNETES"
local PODS = 60
local NODES = { "n1", "n2", "n3" }
local CONFIGMAP = { "-n", "kube-system", "configmap", "mncni-policies" }

describe("the journey", function()
  local lab, pods, images

  setup(function()
    images = spaces.must "mktemp -d"
    lab = labs.up { nodes = #NODES }
    lab:import(IMAGE)
    pods = pods_of.new(lab)
    -- kube-controller-manager of the very Kubernetes that runs, as an image of its name in deploy/nodeipam.yaml.
    spaces.must("mkdir -p %s/root/usr/local/bin && cp %s %s/root/usr/local/bin/", images,
      PROGRAMS .. "/kube-controller-manager", images)
    spaces.must([[. deploy/archive.sh
      image_archive localhost/kube-controller-manager:v1.20.2 %s/root %s/kcm.tar '{"Env":["PATH=/usr/local/bin"]}']],
      images, images)
    lab:import(images .. "/kcm.tar")
    for _, name in ipairs(NODES) do
      spaces.must("mkdir -p %s", lab:path(name, "/opt/cni/bin"))
      lab:plugins(name, "/usr/lib/cni/portmap")
    end
  end)

  teardown(function()
    labs.cleanup()
    spaces.must("rm -rf %s", images)
  end)

  local function node_address(name)
    for _, address in ipairs(lab:get("node", name).status.addresses) do
      if address.type == "InternalIP" then return address.address end
    end
  end

  local function pod_cidrs()
    local list = {}
    for _, node in ipairs(lab:get "nodes") do list[node.metadata.name] = node.spec.podCIDR end
    return list
  end

  local function count(map)
    local number, seen = 0, {}
    for _, value in pairs(map) do
      assert.is_nil(seen[value], tostring(value) .. " is there twice")
      number, seen[value] = number + 1, true
    end
    return number
  end

  it("begins with nodes that are not ready and have no ranges", function()
    assert.equal("False", lab:ready "n1")
    assert.equal(0, count(pod_cidrs()))
  end)

  it("has stock nodeipam give them ranges, and the agent make them Ready", function()
    lab:kubectl("apply", "-k", "deploy/overlays/bare-metal")
    lab:kubectl("apply", "-f", "deploy/nodeipam.yaml")
    lab:wait(120, "ranges", function() return count(pod_cidrs()) == #NODES end)
    lab:wait_ready(60)
    for _, condition in ipairs(lab:get("node", "n1").status.conditions) do
      if condition.type == "NetworkUnavailable" then
        assert.same({ "False", "MncniIsUp" }, { condition.status, condition.reason })
      end
    end
  end)

  it("goes on with mncni's nodeipam, which leaves the ranges and gives one to a node that joins", function()
    local before = pod_cidrs()
    lab:kubectl("delete", "-f", "deploy/nodeipam.yaml")
    lab:kubectl("apply", "-f", "deploy/nodeipam-mncni.yaml")
    lab:wait(90, "a leader", function()
      return lab:get("-n", "kube-system", "lease", "mncni-nodeipam").spec.holderIdentity ~= ""
    end)
    lab:node("add", "n4")
    lab:plugins("n4", "/usr/lib/cni/portmap")
    NODES[4] = "n4"
    lab:wait(60, "a range", function() return count(pod_cidrs()) == 4 end)
    lab:wait_ready(60)
    local after = pod_cidrs()
    for name, range in pairs(before) do assert.equal(range, after[name]) end
  end)

  it("runs pods, all of which reach all on other nodes and are seen by their own addresses", function()
    pods:deploy "each"
    pods:deploy("many", PODS)
    local list = pods:wait("role=web", PODS + #NODES)
    local nodes = {}
    for _, pod in ipairs(list) do nodes[pod.spec.nodeName] = true end
    assert.equal(PODS + #NODES, pods_of.count_addresses(list))
    assert.equal(#NODES, #require "mncni.keys"(nodes))
    local asked = pods:ask_all(list)
    print(("    %d pods on %d nodes; %d requests between them, all answered"):format(#list, #NODES, asked))
  end)

  it("has Services, and masquerades what leaves the cluster", function()
    local list = lab:running "app=each"
    pods:ask_service(list)
    for _, pod in ipairs(list) do
      assert.equal(node_address(pod.spec.nodeName), pods:get(pod, lab.outside, "cgi-bin/from"))
    end
  end)

  it("has host ports", function()
    assert.equal(1, pods:ask_host_port())
  end)

  -- One pod more on every node, by a DaemonSet of that name.
  local function next_pods(name)
    pods:deploy(name)
    return pods:wait("app=" .. name, #NODES)
  end

  local function edit(text)
    local patch = require("mncni.core").json.encode { data = { ["naivebridge.lua"] = text } }
    lab:kubectl("patch", "--type=merge", "--patch", patch, table.unpack(CONFIGMAP))
  end

  local function installed(name)
    return (spaces.sh("cat %s", lab:path(name, "/upper/etc/mncni/policies/naivebridge.lua")))
  end

  local edited

  it("lets an edited ConfigMap change what the next pod gets, on every node", function()
    local text = spaces.must "cat policies/naivebridge.lua"
    edited = text:gsub("eth:address%(lease%)", [[eth:address(lease)
  eth:route { dst = "198.51.100.0/24", gateway = lease.addresses[1].gateway }]])
    local began = os.time()
    edit(edited)
    lab:wait(20, "the policy on every node", function()
      for _, name in ipairs(NODES) do
        if not installed(name):find("198.51.100", 1, true) then return false end
      end
      return true
    end)
    print(("    an edit was on all %d nodes after at most %d s"):format(#NODES, os.time() - began + 1))
    for _, pod in ipairs(next_pods "edited") do
      assert.matches("198.51.100.0/24", pods:run(pod, "ip route"), 1, true)
    end
    for _, pod in ipairs(lab:running "app=each") do
      assert.is_nil(pods:run(pod, "ip route"):find("198.51.100", 1, true))
    end
  end)

  it("changes nothing for a broken edit, and says so on every Node", function()
    local before = {}
    for _, name in ipairs(NODES) do before[name] = installed(name) end
    edit((edited:gsub("local lease = ", "local lease == ")))
    lab:wait(30, "Events", function()
      local told, nodes = {}, 0
      for _, event in ipairs(lab:get("events", "--field-selector", "reason=ReloadRefused")) do
        if event.message:find "naivebridge.lua:%d+:" and not told[event.involvedObject.name] then
          told[event.involvedObject.name], nodes = true, nodes + 1
        end
      end
      return nodes == #NODES
    end)
    assert.matches("ReloadRefused", lab:kubectl("describe", "node", "n2"))
    for _, name in ipairs(NODES) do assert.equal(before[name], installed(name)) end
    for _, pod in ipairs(next_pods "broken") do
      assert.matches("198.51.100.0/24", pods:run(pod, "ip route"), 1, true)
    end
  end)
end)
