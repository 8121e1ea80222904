-- SPDX-License-Identifier: Apache-2.0
-- The other overlays of deploy/ on a real Kubernetes: VXLAN for nodes on two segments behind a router, and both families.

local labs = require "spec.support.lab"
local pods_of = require "spec.support.pods"
local spaces = require "spec.support.netns"

local IMAGE = (os.getenv "MNCNI_BUILD" or "build") .. "/image/mncni.tar"
local NODES = 3

local cases = {
  { overlay = "aks", layout = "l3", families = "ipv4", cidrs = "10.244.0.0/16", count = 60 },
  { overlay = "dual-stack", layout = "l3", families = "dual", cidrs = "10.244.0.0/16,fd00:10:244::/48", count = 60 },
}

for _, case in ipairs(cases) do
  describe(("the overlay %s on %s nodes in the layout %s"):format(case.overlay, case.families, case.layout), function()
    local lab, pods, list

    setup(function()
      lab = labs.up { nodes = NODES, layout = case.layout, families = case.families }
      lab:import(IMAGE)
      pods = pods_of.new(lab)
    end)

    teardown(labs.cleanup)

    it("makes nodes Ready", function()
      lab:kubectl("apply", "-k", "deploy/overlays/" .. case.overlay)
      local manifest = spaces.must "cat deploy/nodeipam-mncni.yaml"
      lab:apply((manifest:gsub("cluster_cidrs=10%.244%.0%.0/16", "cluster_cidrs=" .. case.cidrs)))
      lab:wait(120, "ranges", function()
        for _, node in ipairs(lab:get "nodes") do
          if #(node.spec.podCIDRs or {}) ~= (case.families == "dual" and 2 or 1) then return false end
        end
        return true
      end)
      lab:wait_ready(90)
    end)

    it("lets every pod reach all pods of other nodes, which see its own address", function()
      pods:deploy("many", case.count)
      pods:deploy "each"
      list = pods:wait("role=web", case.count + NODES)
      assert.equal((case.count + NODES) * (case.families == "dual" and 2 or 1), pods_of.count_addresses(list))
      local asked = pods:ask_all(list)
      print(("    %d pods on %d nodes; %d requests between them, all answered"):format(#list, NODES, asked))
    end)

    it("carries packets between the segments in VXLAN", function()
      local said = lab:must("n1", "ip", "-d", "route", "show", "proto", "78")
      assert.matches("via %S+ dev mncni%-vxlan", said)
      if case.overlay == "aks" then
        assert.is_nil(said:find("unicast [^\n]*dev eth0"), said)
      end
    end)

    it("masquerades what leaves the cluster", function()
      for _, pod in ipairs(lab:running "app=each") do
        local seen = {}
        for _, address in ipairs(lab:get("node", pod.spec.nodeName).status.addresses) do
          seen[address.address] = true
        end
        for _, outside in ipairs(case.families == "dual" and { lab.outside, lab.outside6 } or { lab.outside }) do
          local inet6 = outside:find(":", 1, true)
          local said = pods:run(pod, ("timeout 5 busybox wget -q -O - http://%s/cgi-bin/from"):format(
            inet6 and "[" .. outside .. "]" or outside)):gsub("[%[%]]", "")
          assert.is_true(seen[said], outside .. " was asked by " .. said)
        end
      end
    end)

    it("has Services", function()
      pods:ask_service(lab:running "app=each")
    end)

    -- By mncni's portmap: these nodes have no other.
    it("has host ports", function()
      assert.equal("mncni", (lab:must("n1", "readlink", "/opt/cni/bin/portmap")))
      assert.equal(case.families == "dual" and 2 or 1, pods:ask_host_port())
    end)
  end)
end
