-- SPDX-License-Identifier: Apache-2.0
-- The guides' migrations (examples/guides.md): a node with pods changes its plugin in place, and back. flannel's is in
-- spec/kernel/flannel_spec.lua.

local attach = require "spec.support.attach"
local clock = require "spec.support.clock"
local core = require "mncni.core"
local spaces = require "spec.support.netns"

describe("a node with pods", function()
  local before, node

  before_each(function()
    before = spaces.snapshot()
    node = attach.node { plugins = { "bridge", "naivebridge" } }
  end)

  after_each(function()
    node:close()
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  local function theirs(pod, conf)
    return { pod = pod, conf = conf, bin = attach.REFERENCE .. "/bridge", path = attach.REFERENCE }
  end

  local function ours(pod, conf)
    return { pod = pod, conf = conf }
  end

  -- Of the result of an ADD, in any version.
  local function address_of(result)
    return (result.ip4 and result.ip4.ip or result.ips[1].address):match "^[^/]+"
  end

  local function ping(from, address)
    node:pod(from):must("ping -c 1 -W 5 %s", address)
  end

  -- From a configuration with the reference's plugin to one with ours, and back, under pods that stay.
  local function over_and_back(old, new)
    local web = address_of(node:add(theirs("web", old)))
    local db = address_of(node:add(ours("db", new)))
    assert.are.same({ web, db }, node:reserved(old.name))
    ping("web", db)
    ping("db", web)
    ping("web", "10.244.1.1")
    node:must("DEL", ours("web", new))
    node:end_pod "web"
    assert.are.same({ db }, node:reserved(old.name))
    ping("db", "10.244.1.1")

    local cache = address_of(node:add(theirs("cache", old)))
    ping("db", cache)
    if old.ipMasq then
      -- It misses the chain of iptables that it would have made, with everything else done.
      assert.matches("CNI%-%x+", node:run("DEL", theirs("db", old)).json.msg)
    end
    node:must("DEL", theirs("db", old))
    node:end_pod "db"
    assert.are.same({ cache }, node:reserved(old.name))
    ping("cache", "10.244.1.1")
    node:must("DEL", theirs("cache", old))
    node:end_pod "cache"
    assert.are.same({}, node:reserved(old.name))
    assert.is_true(clock.wait(function() return node:sh "ip -o link show type veth" == "" end))
  end

  it("changes from the reference bridge, whose configuration stays as it is", function()
    local conf = {
      cniVersion = "1.0.0", name = "pods", type = "bridge", isGateway = true, isDefaultGateway = true, ipMasq = true,
      ipam = { type = "host-local", ranges = { { { subnet = "10.244.1.0/24" } } } },
    }
    over_and_back(conf, conf)
  end)

  -- The old one is what kubenet has its plugins do.
  it("changes from kubenet, to the conflist of deploy", function()
    local file <close> = assert(io.open "deploy/naivebridge.conflist")
    local list = core.json.decode(file:read "a")
    local new = list.plugins[1]
    new.cniVersion, new.name = list.cniVersion, list.name
    over_and_back({
      cniVersion = "0.1.0", name = "kubenet", type = "bridge", bridge = "cbr0", mtu = 1500, addIf = "eth0",
      isGateway = true, ipMasq = false, hairpinMode = true,
      ipam = { type = "host-local", subnet = "10.244.1.0/24", routes = { { dst = "0.0.0.0/0" } } },
    }, new)
  end)
end)
