-- SPDX-License-Identifier: Apache-2.0
-- What `mncni new` writes: kind of policy -> { what it is, file name -> text }. NAME stands for the policy's name.

local templates = {}

local CONFLIST = [==[
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "mncni", "policy": "NAME",
      "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.244.1.0/24" }]] }
    }
  ]
}
]==]

templates.interface = { "makes the pod's interface", {
  ["NAME.lua"] = [==[
-- NAME: one bridge per node, one veth per pod. To be changed: mncni repl -e 'help "pod"' tells what there is.
local mncni = require "mncni"

local policy = {}

policy.options = {
  bridge = { type = "string", default = "cbr0", max = 15, doc = "name of the bridge; made when missing" },
  masquerade = { type = "boolean", default = true, doc = "what pods send out has the node's address" },
}

function policy.add(pod, conf)
  local mtu = mncni.route_mtu()
  local lease = pod:lease(conf.ipam, { gateway = true })
  local bridge = mncni.bridge.ensure { ifname = conf.bridge, mtu = mtu, address = lease.gateways }
  local eth = pod:veth { master = bridge, mtu = mtu, hairpin = true }
  eth:address(lease)
  eth:routes(lease, { default = true })
  if conf.masquerade then
    mncni.masquerade.ensure { sources = lease.subnets }
  end
  return pod:result { bridge, eth, lease }
end

return policy
]==],
  ["NAME_spec.lua"] = [==[
-- busted --lua=lua5.4 NAME_spec.lua: no root, and no kernel. mncni repl -e 'help "testing"' tells what there is.
local testing = require "mncni.testing"

describe("NAME", function()
  local node, web

  before_each(function()
    node = testing.node { subnets = { "10.244.1.0/24" } }
    web = node:pod "web"
  end)

  after_each(function() node:close() end)

  it("gives a pod an address, and a way out through the bridge", function()
    local result = node:add("./NAME.lua", web)
    assert.same("10.244.1.2/24", result.ips[1].address)
    assert.same("cbr0", node.host.link.get { ifname = web.host_ifname }.master)
    assert.same("10.244.1.1", web.net.route.list { family = "inet", dst = "default" }().gateway)
  end)

  it("takes another bridge", function()
    node:add("./NAME.lua", web, { bridge = "br1" })
    assert.same("br1", node.host.link.get { ifname = web.host_ifname }.master)
  end)
end)
]==],
  ["NAME.conflist"] = CONFLIST,
} }

templates.chained = { "changes what the plugins before it in a chain have made", {
  ["NAME.lua"] = [==[
-- NAME: works on the interface that the plugins before it have made.
-- To be changed: mncni repl -e 'help "pod"' tells what there is.
local policy = { chained = true }

policy.options = {
  mtu = { type = "integer", required = true, min = 68, max = 65535, doc = "of the routes to everywhere" },
}

function policy.add(pod, conf)
  for route in pod.inside.route.list { dev = pod.ifname, family = "inet", dst = "default" } do
    pod.inside.route.replace {
      dst = "default", gateway = route.gateway, dev = pod.ifname, metrics = { mtu = conf.mtu },
    }
  end
  return pod:result {}
end

return policy
]==],
  ["NAME_spec.lua"] = [==[
-- busted --lua=lua5.4 NAME_spec.lua: no root, and no kernel. mncni repl -e 'help "testing"' tells what there is.
local testing = require "mncni.testing"

describe("NAME", function()
  local node, web

  before_each(function()
    node = testing.node()
    web = node:pod "web"
    node:add("bridge", web, { isDefaultGateway = true })
  end)

  after_each(function() node:close() end)

  it("sets the MTU of the default route", function()
    node:add("./NAME.lua", web, { mtu = 1400 })
    assert.same(1400, web.net.route.list { family = "inet", dst = "default" }().metrics.mtu)
  end)

  it("needs to know which", function()
    assert.has_error(function() node:add("./NAME.lua", web, {}) end)
  end)
end)
]==],
  ["NAME.conflist"] = (CONFLIST:gsub("    {\n.-\n    }\n", function(plugin)
    -- One of a chain may have the type mncni; the others go by a link's name.
    return plugin:gsub('"type": "mncni", "policy": "NAME"', '"type": "naivebridge"'):gsub("\n$", ",\n")
      .. '    { "type": "mncni", "policy": "NAME", "mtu": 1400 }\n'
  end)),
} }

templates.ipam = { "gives addresses", {
  ["NAME.lua"] = [==[
-- NAME: the addresses of host-local, unless the pod's annotation names one.
-- To be changed: mncni repl -e 'help "ipam"' tells what there is.
local mncni = require "mncni"

local policy = {}

-- What is not changed here is host-local's: its options and its files.
for hook, value in pairs(mncni.policy.load "host-local") do
  policy[hook] = value
end
local lease = policy.lease

function policy.lease(request, conf)
  local wanted = request.annotations["example.com/address"]
  request.wanted = wanted and { wanted } or request.wanted
  return lease(request, conf)
end

return policy
]==],
  ["NAME_spec.lua"] = [==[
-- busted --lua=lua5.4 NAME_spec.lua: no root, and no kernel. mncni repl -e 'help "testing"' tells what there is.
local testing = require "mncni.testing"

describe("NAME", function()
  local node
  local ipam = { type = "./NAME.lua", subnet = "10.244.1.0/24" }

  before_each(function() node = testing.node() end)
  after_each(function() node:close() end)

  it("gives the address that the annotation names", function()
    local web = node:pod { name = "web", annotations = { ["example.com/address"] = "10.244.1.77" } }
    assert.same("10.244.1.77/24", node:lease(ipam, web).addresses[1].address)
  end)

  it("gives the next one to all others", function()
    assert.same("10.244.1.2/24", node:lease(ipam, node:pod "web").addresses[1].address)
    assert.same("10.244.1.3/24", node:lease(ipam, node:pod "db").addresses[1].address)
  end)
end)
]==],
  ["NAME.conflist"] = (CONFLIST:gsub('"policy": "NAME"', '"policy": "naivebridge"')
    :gsub('"type": "host%-local"', '"type": "mncni", "policy": "NAME"')
    :gsub("] }\n", '] },\n      "capabilities": { "io.kubernetes.cri.pod-annotations": true }\n')),
} }

templates.agent = { "says to the node agent what is to be so on every node", {
  ["NAME.lua"] = [==[
-- NAME: a route to each other node's pods. To be changed: mncni repl -e 'help "agent"' tells what there is.
local mncni = require "mncni"

local policy = {}

policy.options = {
  metric = { type = "integer", min = 0, default = 0, doc = "of the routes" },
}

function policy.desired(world, conf)
  local routes, warnings = {}, mncni.routes.warnings()
  for peer, cidr in mncni.routes.pod_cidrs(world, warnings) do
    local gateway = peer:address(cidr.family)
    if gateway then
      routes[#routes + 1] = { dst = tostring(cidr), gateway = gateway, metric = conf.metric > 0 and conf.metric or nil }
    end
  end
  return { routes = routes, warnings = warnings:lines() }
end

return policy
]==],
  ["NAME_spec.lua"] = [==[
-- busted --lua=lua5.4 NAME_spec.lua: no root, and no kernel. mncni repl -e 'help "testing"' tells what there is.
local testing = require "mncni.testing"

describe("NAME", function()
  it("has a route to each peer's pods, of both families", function()
    local want = testing.desired("./NAME.lua", testing.world { peers = 2 })
    assert.same(4, #want.routes)
    assert.same({ dst = "10.244.3.0/24", gateway = "10.0.0.3" }, want.routes[1])
  end)

  it("leaves out a peer without an address", function()
    local want = testing.desired("./NAME.lua", testing.world { peers = { { addresses = {} } } })
    assert.same({}, want.routes)
  end)
end)
]==],
  ["NAME.agent.lua"] = [==[
-- mncni-agent --node NODE --config NAME.agent.lua --dry-run: what it would do there.
return {
  policies = { { name = "NAME", metric = 100 } },
}
]==],
} }

return templates
