-- SPDX-License-Identifier: Apache-2.0
-- Beside the reference plugins (Debian's containernetworking-plugins): in a chain, as their IPAM, in their place.

local lab = require "spec.support.containerd"

local machine = "/run/private/machine-cni"

-- Has Debian's plugin of that name beside ours; returns what it is called here.
local function borrow(name)
  local called = "reference-" .. name
  lab.run("cp", machine .. "/" .. name, "/opt/cni/bin/" .. called)
  return called
end

describe("beside the reference plugins", function()
  local before

  local function network(conflist)
    lab.network(conflist)
    lab.run_pod()
    lab.clean()
    before = lab.footprint()
  end

  after_each(function() lab.clean() end)

  for _, version in ipairs { "0.3.0", "0.3.1", "0.4.0", "1.0.0" } do
    it("a list of cniVersion " .. version .. " gets a pod its address", function()
      local conflist = lab.naivebridge("versions")
      conflist.cniVersion, conflist.cniVersions = version, nil
      network(conflist)
      local pod = lab.run_pod()
      assert.matches("^10%.244%.1%.", pod.ip)
      assert.is_true(pod:pings "203.0.113.1")
      pod:stop()
      assert.same({}, lab.leftovers(before))
    end)
  end

  -- A host port reaches a pod of naivebridge, by the portmap of that type.
  local function serves_a_host_port(portmap)
    local conflist = lab.naivebridge "ports"
    conflist.plugins[2] = { type = portmap, capabilities = { portMappings = true }, snat = true }
    network(conflist)
    local pod = lab.run_pod { ports = { { host_port = 8080, container_port = 80 } } }
    local root = os.tmpname()
    os.remove(root)
    lab.shell(("mkdir %s && echo 'from the pod' >%s/index.html"):format(root, root))
    lab.shell(("nsenter --net=%s busybox httpd -p 80 -h %s"):format(pod.netns, root))
    local page = lab.wait_until("the page through the host port", function()
      local output, ok = lab.try("nsenter", "--net=/run/outside", "timeout", "3", "busybox", "wget", "-q", "-O", "-",
        "http://203.0.113.2:8080/")
      return ok and output
    end)
    assert.equal("from the pod", page)
    lab.shell(("kill $(nsenter --net=%s ss -Hltnp 'sport = 80' | sed 's/.*pid=\\([0-9]*\\).*/\\1/')"):format(pod.netns))
    lab.run("rm", "-r", root)
  end

  it("naivebridge followed by portmap serves a host port to the world outside", function()
    serves_a_host_port(borrow "portmap")
  end)

  it("so does naivebridge followed by ours", function()
    serves_a_host_port "portmap"
  end)

  it("a kubenet list with only its type changed works", function()
    network { cniVersion = "0.3.1", name = "kubenet", plugins = { {
      type = "naivebridge", bridge = "cbr0", mtu = 1400, addIf = "eth0", isGateway = true, ipMasq = false,
      promiscMode = true, hairpinMode = false,
      ipam = { type = "host-local", subnet = "10.244.1.0/24", routes = { { dst = "0.0.0.0/0" } } },
    } } }
    local one, other = lab.run_pod(), lab.run_pod()
    assert.equal(1400, one:ip_json("link", "show", "dev", "eth0")[1].mtu)
    assert.is_true(one:pings(other.ip))
    one:stop()
    other:stop()
    assert.same({}, lab.leftovers(before))
  end)

  it("the reference bridge takes addresses from our host-local", function()
    network { cniVersion = "1.0.0", name = "borrowed", plugins = { {
      type = borrow "bridge", bridge = "borrowed0", isGateway = true,
      ipam = { type = "host-local", ranges = { { { subnet = "10.244.7.0/24" } } }, routes = { { dst = "0.0.0.0/0" } } },
    } } }
    local one, other = lab.run_pod(), lab.run_pod()
    assert.matches("^10%.244%.7%.", one.ip)
    assert.is_true(one:pings(other.ip))
    one:stop()
    other:stop()
    assert.same({}, lab.addresses "borrowed")
    assert.same({}, lab.leftovers(before))
  end)
end)
