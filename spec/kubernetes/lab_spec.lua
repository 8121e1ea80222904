-- SPDX-License-Identifier: Apache-2.0
-- The lab itself: nodes that are as a cloud's without a CNI, a CNI put on them by hand, and nothing left at the end.

local labs = require "spec.support.lab"
local processes = require "spec.support.process"
local spaces = require "spec.support.netns"

local WEB = [[
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: IMAGE
        imagePullPolicy: Never
]]

-- The reference plugins, as somebody would try them out: a bridge with addresses of the node's own.
local function reference(number)
  return {
    cniVersion = "0.4.0", name = "reference",
    plugins = { {
      type = "bridge", bridge = "cni0", isGateway = true, ipMasq = true,
      ipam = {
        type = "host-local", ranges = { { { subnet = ("10.244.%d.0/24"):format(number) } } },
        routes = { { dst = "0.0.0.0/0" } },
      },
    } },
  }
end

describe("a lab", function()
  local before, lab

  setup(function()
    before = labs.footprint()
    lab = labs.up { nodes = 2 }
  end)

  teardown(function() labs.cleanup() end)

  it("has nodes that are not ready for want of a CNI, and that nobody gave a range", function()
    local nodes = lab:get "nodes"
    assert.are.equal(2, #nodes)
    for i, node in ipairs(nodes) do
      assert.are.equal("n" .. i, node.metadata.name)
      assert.is_nil(node.spec.podCIDR)
      local ready, message = lab:ready(node.metadata.name)
      assert.are.equal("False", ready)
      assert.matches("cni plugin not initialized", message)
    end
  end)

  it("has nodes that reach each other and the outside, which knows no way to pods", function()
    lab:must("n1", "ping", "-c", "1", "-w", "3", "10.0.1.12")
    assert.are.equal("10.0.1.11", lab:must("n1", "curl", "-s", "http://203.0.113.2/cgi-bin/from"))
    local text, status = lab:exec("outside", "ip", "route", "get", "10.244.1.2")
    assert.are_not.equal(0, status, text)
  end)

  it("runs pods on both nodes once these have the reference plugins", function()
    for number, name in ipairs { "n1", "n2" } do
      lab:plugins(name, "/usr/lib/cni/bridge", "/usr/lib/cni/host-local", "/usr/lib/cni/loopback")
      lab:network(name, reference(number))
    end
    lab:wait_ready()
    lab:apply((WEB:gsub("IMAGE", lab.image)))
    local pods = lab:wait(120, "a pod on each node", function()
      local pods = lab:running "app=web"
      return #pods == 2 and pods
    end)
    table.sort(pods, function(a, b) return a.spec.nodeName < b.spec.nodeName end)
    for i, pod in ipairs(pods) do
      assert.are.equal("n" .. i, pod.spec.nodeName)
      assert.matches("^10%.244%." .. i .. "%.", pod.status.podIP)
      local from = lab:pod_exec(pod.metadata.name, "wget", "-q", "-O", "-", "http://203.0.113.2/cgi-bin/from")
      assert.are.equal("10.0.1.1" .. i, from)
    end
  end)

  it("takes a node in, starts one anew with its pods, and lets one go", function()
    lab:node("add", "n3")
    assert.matches("localhost/mncni/busybox:1", lab:must("n3", "ctr", "-n", "k8s.io", "images", "ls", "-q"))
    lab:node("remove", "n3")
    assert.are.equal(2, #lab:get "nodes")
    local name = lab:get("pods", "--field-selector=spec.nodeName=n1")[1].metadata.name
    lab:node("reboot", "n1")
    lab:wait(120, "the pod to be started anew", function()
      local status = lab:get("pod", name).status.containerStatuses[1]
      return status.restartCount == 1 and status.ready
    end)
  end)

  it("leaves nothing when it goes", function()
    lab:down()
    assert.are.equal("", labs.changes(before))
  end)
end)

describe("a lab-up that fails", function()
  after_each(function() labs.cleanup() end)

  it("shows the end of the log of the program that failed, and names the file", function()
    local ok, message = pcall(labs.up, { nodes = 1, env = { POD_CIDRS = "nonsense" } })
    assert.is_false(ok)
    assert.matches("node n1 has ended: [^\n]*kube%-proxy has ended\n", message)
    assert.matches("The end of /run/lab%d+/nodes/n1/log/kube%-proxy%.log:\n", message)
    assert.matches("nonsense", message:match "The end of.*")
  end)
end)

describe("a lab-up that is killed", function()
  after_each(function() labs.cleanup() end)

  -- Starts lab-up by itself, kills it and nothing else when a file of the lab's is there, and returns the lab.
  local function killed_at(file)
    local lab = labs.new()
    local log = os.tmpname()
    local up = processes.start {
      argv = { "env", "NODES=1", "MNCNI_LAB_DIR=" .. lab.directory, "sh", "deploy/lab/up" },
      log = log,
    }
    lab:wait(200, file, function() return spaces.sh("ls %s", lab:path(file)) == lab:path(file) end)
    assert.is_true(up:alive(), up:tail())
    up:stop "KILL"
    os.remove(log)
    return lab
  end

  for _, file in ipairs { "id", "netns/router", "log/kube-apiserver.log", "nodes/n1/init" } do
    it("leaves nothing after lab-down, at " .. file, function()
      local before = labs.footprint()
      killed_at(file):down()
      assert.are.equal("", labs.changes(before))
    end)
  end

  it("is no hindrance to the next lab-up", function()
    local before = labs.footprint()
    local lab = killed_at "log/etcd.log"
    spaces.must("MNCNI_LAB_DIR=%s NODES=0 deploy/lab/up", lab.directory)
    assert.are.equal(0, #lab:get "nodes")
    lab:down()
    assert.are.equal("", labs.changes(before))
  end)
end)
