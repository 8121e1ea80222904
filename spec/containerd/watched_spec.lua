-- SPDX-License-Identifier: Apache-2.0
-- The questions of deploy/README.md, "What a node does, watched", beside a real containerd: what ours answers, and what the
-- classical command leaves to its reader. That of netlink messages needs nlmon and is in spec/vm/trace_spec.lua.

local lab = require "spec.support.containerd"
local traced = require "spec.support.traced"
local watched = require "spec.support.watched"

local calls, _, rules = table.unpack(watched.commands())
local serial = 0

-- What a command writes while a pod with a host port comes and goes, and the pod. It is ready when it has written this.
local function watch(command, ready)
  serial = serial + 1
  local running <close> = watched.start(command, "/run")
  if ready then
    running:wait(ready)
  else
    lab.run("sleep", "1")
  end
  local pod = lab.run_pod { name = "web-" .. serial, namespace = "shop",
    ports = { { host_port = 30080 + serial, container_port = 80 } } }
  pod:stop()
  lab.run("sleep", "1")
  return running:stop(), pod, serial
end

local function has(text, ...)
  for _, words in ipairs { ... } do
    assert.truthy(text:find(words, 1, true), ("no %q in:\n%s"):format(words, text))
  end
end

describe("watching a node", function()
  setup(function()
    lab.network(traced.reference_chain())
    lab.run_pod()
    lab.clean()
  end)

  after_each(function() lab.clean() end)

  it("shows which CNI calls were made", function()
    local text, pod, number = watch(calls.ours, "watching:")
    for _, call in ipairs { "ADD reference-bridge", "ADD reference-host-local", "ADD reference-portmap",
      "DEL reference-portmap", "DEL reference-bridge" } do
      has(text, ("%s pod=shop/web-%d container=%s if=eth0"):format(call, number, pod.id))
    end
    has(text, "by containerd(", "config {", "= ok ", " ips " .. pod.ip .. "/24")
  end)

  it("has programs and environments from strace, and neither configurations nor results", function()
    local text, pod, number = watch(calls.classical, "attached")
    has(text, "execve(\"/opt/cni/bin/reference-bridge\"", "\"CNI_COMMAND=ADD\"", "CNI_CONTAINERID=" .. pod.id,
      "K8S_POD_NAME=web-" .. number)
    assert.is_nil(text:find("cniVersion", 1, true))
  end)

  it("shows which rules of nftables were made, and by which call", function()
    local text, _, number = watch(rules.ours, "watching:")
    local of_portmap = text:match(("ADD reference%%-portmap pod=shop/web%%-%d .-= ok"):format(number))
    has(of_portmap, "add rule ip nat CNI-DN-", "tcp dport " .. 30080 + number, "(iptables)")
    has(text, "without route (switched off), therefore not seen: links, addresses, routes")
  end)

  it("has the rules from xtables-monitor, and neither pod nor call", function()
    local text, pod, number = watch(rules.classical)
    has(text, "-A CNI-DN-", "--dport " .. 30080 + number, "--to-destination " .. pod.ip .. ":80")
    assert.is_nil(text:find("web-" .. number, 1, true))
    assert.is_nil(text:find("portmap", 1, true))
  end)
end)
