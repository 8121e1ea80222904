-- SPDX-License-Identifier: Apache-2.0
-- A pod's life as a kubelet drives it, on the conflist that deploy/ ships.

local lab = require "spec.support.containerd"

describe("a pod run by containerd on the shipped conflist", function()
  local before

  setup(function()
    lab.network(lab.read "deploy/naivebridge.conflist")
    -- The first pod makes what all pods share (the bridge, the masquerading); from here on nothing may be added.
    lab.run_pod()
    lab.clean()
    before = lab.footprint()
  end)

  after_each(function() lab.clean() end)

  it("gets an address from the podCIDR on eth0, a default route and the MTU of the node's uplink", function()
    local pod = lab.run_pod()
    assert.matches("^10%.244%.1%.%d+$", pod.ip)
    local eth0 = pod:ip_json("addr", "show", "dev", "eth0")[1]
    assert.equal("UP", eth0.operstate)
    assert.equal(1450, eth0.mtu)
    assert.equal("veth", eth0.linkinfo.info_kind)
    assert.equal(pod.ip, eth0.addr_info[1]["local"])
    assert.equal(24, eth0.addr_info[1].prefixlen)
    local default = pod:ip_json("route", "show", "default")[1]
    assert.equal("10.244.1.1", default.gateway)
    assert.equal("eth0", default.dev)
    assert.same({ pod.ip }, lab.addresses "kubenet")
  end)

  it("is reported with its interfaces: eth0 in its own namespace, the bridge and a veth in the node's", function()
    local pod = lab.run_pod()
    local interfaces = pod.result.Interfaces
    assert.equal(pod.netns, interfaces.eth0.Sandbox)
    assert.equal(pod.ip, interfaces.eth0.IPConfigs[1].IP)
    assert.equal(pod:ip_json("link", "show", "dev", "eth0")[1].address, interfaces.eth0.Mac)
    local on_node = {}
    for name, interface in pairs(interfaces) do
      if interface.Sandbox == "" then on_node[#on_node + 1] = name end
    end
    assert.equal(2, #on_node)
    for _, name in ipairs(on_node) do
      local link = lab.decode(lab.run("ip", "-json", "link", "show", "dev", name))[1]
      assert.equal(interfaces[name].Mac, link.address)
    end
    assert.is_table(interfaces.cbr0)
  end)

  it("reaches the other pod, the node and the world outside, and they reach it", function()
    local one, other = lab.run_pod(), lab.run_pod()
    assert.is_not.equal(one.ip, other.ip)
    assert.is_true(one:pings(other.ip))
    assert.is_true(other:pings(one.ip))
    assert.is_true(one:pings "10.244.1.1", "the gateway")
    assert.is_true(one:pings "203.0.113.2", "the node's own address")
    lab.run("ping", "-c", "1", "-W", "3", one.ip)
    assert.is_true(one:pings "203.0.113.1", "a host outside")
  end)

  it("is seen by other pods under its own address, and outside under the node's", function()
    local one, other = lab.run_pod(), lab.run_pod()
    assert.equal(1, lab.count_pings(other.netns, one.ip, function() one:pings(other.ip) end))
    assert.equal(1, lab.count_pings("/run/outside", "203.0.113.2", function() one:pings "203.0.113.1" end))
    assert.equal(0, lab.count_pings("/run/outside", one.ip, function() one:pings "203.0.113.1" end))
  end)

  it("has a loopback that is up", function()
    local pod = lab.run_pod()
    assert.is_true(pod:pings "127.0.0.1")
    assert.equal("127.0.0.1", pod.result.Interfaces.lo.IPConfigs[1].IP)
  end)

  it("leaves no link, address or rule when it is stopped, and may be stopped again", function()
    local pod = lab.run_pod()
    assert.is_not.same({}, lab.leftovers(before))
    pod:stop()
    assert.same({}, lab.leftovers(before))
    pod:stop()
    pod:remove()
    pod:remove()
    assert.same({}, lab.leftovers(before))
  end)

  it("is cleaned up when its namespace went away before it was stopped", function()
    local pod = lab.run_pod()
    lab.run("umount", pod.netns)
    lab.run("rm", pod.netns)
    lab.run("kill", "-KILL", tostring(pod.pid))
    -- While its shim ends containerd may fail to ask it ("ttrpc: closed"); a kubelet would try again.
    lab.wait_until("containerd to have seen the end", function()
      return lab.pod(pod.id).state == "SANDBOX_NOTREADY"
    end)
    pod:stop()
    pod:remove()
    assert.same({}, lab.leftovers(before))
  end)

  it("is still known after containerd was restarted, and cleaned up by the new one", function()
    local pod = lab.run_pod()
    lab.restart()
    local again = lab.pod(pod.id)
    assert.equal("SANDBOX_READY", again.state)
    assert.equal(pod.ip, again.ip)
    assert.is_true(again:pings "10.244.1.1")
    local other = lab.run_pod()
    assert.is_not.equal(pod.ip, other.ip)
    assert.is_true(other:pings(pod.ip))
    pod:stop()
    other:stop()
    assert.same({}, lab.leftovers(before))
  end)
end)
