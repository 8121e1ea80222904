-- SPDX-License-Identifier: Apache-2.0
-- What a user's policy gets to know of a pod, and what containerd says when a policy fails.

local lab = require "spec.support.containerd"

local policies = "/etc/mncni/policies"
local seen = "/run/seen"

-- A plugin that keeps what it was sent and passes on what came before it: what containerd really says.
local witness = [[#!/bin/sh
cat >"/run/seen/$CNI_COMMAND-$CNI_CONTAINERID.json"
jq .prevResult "/run/seen/$CNI_COMMAND-$CNI_CONTAINERID.json"
]]

-- A policy as a user would write one: the pod's annotation decides its MTU, its host ports are noted.
local annotated = [[
local mncni = require "mncni"
local policy = { options = { bridge = { type = "string", default = "noted0" } } }

function policy.add(pod, conf)
  local mtu = math.tointeger(tonumber(pod.annotations["example.org/mtu"])) or 1400
  local lease = pod:lease(conf.ipam)
  local bridge = mncni.bridge.ensure { ifname = conf.bridge, mtu = 1450, address = lease.gateways }
  local eth = pod:veth { master = bridge, mtu = mtu }
  eth:address(lease)
  eth:routes(lease)
  local note = assert(io.open("/run/seen/" .. pod.container, "w"))
  note:write(pod.namespace, "/", pod.name, "\n")
  for _, port in ipairs(pod.runtime.portMappings or {}) do
    note:write(port.hostPort, " ", port.containerPort, " ", port.protocol, " ", port.hostIP or "", "\n")
  end
  note:close()
  return pod:result { bridge, eth, lease }
end

return policy
]]

local ipam = { type = "host-local", ranges = { { { subnet = "10.244.5.0/24" } } }, routes = { { dst = "0.0.0.0/0" } } }
local annotations = "io.kubernetes.cri.pod-annotations"

local function network(name, policy)
  return { cniVersion = "1.0.0", name = name, plugins = {
    { type = "mncni", policy = policy, ipam = ipam, capabilities = { portMappings = true, [annotations] = true } },
    { type = "witness", capabilities = { portMappings = true, dns = true, [annotations] = true } },
  } }
end

local function write_policy(name, text)
  lab.write(policies .. "/" .. name .. ".lua", text)
end

setup(function()
  lab.shell("umask 022; mkdir -p " .. policies .. " " .. seen)
  lab.write("/opt/cni/bin/witness", witness)
  lab.run("chmod", "755", "/opt/cni/bin/witness")
end)

after_each(function() lab.clean() end)

describe("a user's policy", function()
  local before

  setup(function()
    write_policy("annotated", annotated)
    lab.network(network("noted", "annotated"))
    lab.run_pod()
    lab.clean()
    before = lab.footprint()
  end)

  it("reads the pod's annotations", function()
    local small = lab.run_pod { annotations = { ["example.org/mtu"] = "1280", other = "x" } }
    local plain = lab.run_pod {}
    assert.equal(1280, small:ip_json("link", "show", "dev", "eth0")[1].mtu)
    assert.equal(1400, plain:ip_json("link", "show", "dev", "eth0")[1].mtu)
  end)

  it("reads host ports by their documented names, whatever case the runtime writes them in", function()
    local pod = lab.run_pod { name = "web", namespace = "shop", ports = {
      { host_port = 8080, container_port = 80 },
      { host_port = 5353, container_port = 53, protocol = "UDP", host_ip = "203.0.113.2" },
    } }
    assert.equal("shop/web\n8080 80 tcp \n5353 53 udp 203.0.113.2\n", lab.read(seen .. "/" .. pod.id))

    -- The plugin behind it saw the words of containerd itself: upper case.
    local sent = lab.decode(lab.read(seen .. "/ADD-" .. pod.id .. ".json")).runtimeConfig
    assert.same({ HostPort = 8080, ContainerPort = 80, Protocol = "tcp", HostIP = "" }, sent.portMappings[1])
  end)

  it("counts from the next pod on after it was edited, and pods of before are deleted as they were made", function()
    local old = lab.run_pod()
    write_policy("annotated", (annotated:gsub("or 1400", "or 1300")))
    local new = lab.run_pod()
    assert.equal(1400, old:ip_json("link", "show", "dev", "eth0")[1].mtu)
    assert.equal(1300, new:ip_json("link", "show", "dev", "eth0")[1].mtu)
    write_policy("annotated", "this is not Lua")
    old:stop()
    os.remove(policies .. "/annotated.lua")
    new:stop()
    assert.same({}, lab.leftovers(before))
    write_policy("annotated", annotated)
  end)
end)

describe("containerd's error for a pod", function()
  local before

  -- Runs a pod that must fail. Returns containerd's message, after a look that nothing is left.
  local function refused(policy)
    lab.network(network("failing", policy))
    local answer = lab.cri_try("RunPodSandbox", lab.sandbox_request {})
    assert.is_false(answer.ok)
    assert.same({}, lab.leftovers(before))
    return answer.error
  end

  setup(function()
    write_policy("annotated", annotated)
    lab.network(network("noted", "annotated"))
    lab.run_pod()
    lab.clean()
    before = lab.footprint()
  end)

  it("names the file and the line when the policy raises, and what was done by then is undone", function()
    write_policy("raising", (annotated:gsub("  return pod:result", "  pod:commit()\n  error \"out of luck\"\n%0")))
    local message = refused "raising"
    assert.matches("out of luck", message)
    assert.matches("raising.lua:%d+", message)
  end)

  it("names the file and the line when the policy is no Lua", function()
    write_policy("broken", "local policy = {\nreturn policy\n")
    local message = refused "broken"
    assert.matches("broken.lua:%d+", message)
  end)

  it("names the policy and where it was looked for when there is none", function()
    local message = refused "absent"
    assert.matches("absent", message)
    assert.matches(policies, message, 1, true)
  end)

  it("names the object and the kernel's error when the kernel refuses a change", function()
    write_policy("refused", (annotated:gsub("mtu = mtu }", "mtu = 70000 }")))
    local message = refused "refused"
    assert.matches("add link", message)
    assert.matches("EINVAL", message)
    assert.matches("refused.lua:%d+", message)
  end)
end)
