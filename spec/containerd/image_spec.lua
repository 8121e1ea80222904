-- SPDX-License-Identifier: Apache-2.0
-- The image that `make image` builds: what is in it, and that the agent in it makes a node ready for pods with a root file
-- system that nobody can write to, and one capability.

local lab = require "spec.support.containerd"
local node_list = require "spec.support.node_list"

local BUILD = os.getenv "MNCNI_BUILD" or "build"
local ARCHIVE = BUILD .. "/image/mncni.tar"
local NAME = "localhost/mncni:dev"
local BIN, NET_D = "/opt/cni/bin", "/etc/cni/net.d"

do
  local archive <close> = io.open(ARCHIVE)
  if not archive then
    pending("there is no " .. ARCHIVE .. ": the image is for a build without SAN=1")
    return
  end
end

-- What ctr gives a container unless told otherwise.
local DEFAULT_CAPABILITIES = { "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID",
  "SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE" }

-- Runs the agent on the node's network as a DaemonSet would: capabilities and mounts (paths of the node) are lists.
local function agent(args, words)
  local argv = { "ctr", "-n", "k8s.io", "run", "--rm", "--read-only", "--net-host", "--cgroup", lab.cgroup .. "/agent" }
  local function add(...)
    table.move({ ... }, 1, select("#", ...), #argv + 1, argv)
  end
  for _, name in ipairs(DEFAULT_CAPABILITIES) do
    add("--cap-drop", "CAP_" .. name)
  end
  for _, name in ipairs(args.capabilities or {}) do
    add("--cap-add", "CAP_" .. name)
  end
  for _, path in ipairs(args.mounts or {}) do
    add("--mount", ("type=bind,src=%s,dst=%s,options=rbind"):format(path, path))
  end
  add(NAME, "agent", "/usr/sbin/mncni-agent", table.unpack(words)) -- ctr takes no entrypoint from an image
  return lab.try(table.unpack(argv))
end

local function lines(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = line end
  return list
end

describe("the image", function()
  local root = "/run/image-root"

  setup(function()
    lab.run("ctr", "-n", "k8s.io", "images", "import", ARCHIVE)
    lab.run("mkdir", root)
    lab.run("ctr", "-n", "k8s.io", "images", "mount", NAME, root)
    lab.shell("cp -a /opt/cni/bin /run/saved-bin")
  end)

  teardown(function()
    lab.try("umount", root)
    lab.shell "rm -rf /opt/cni/bin/* && cp -a /run/saved-bin/. /opt/cni/bin/"
    lab.clean()
  end)

  it("is known by its name to containerd, and to podman", function()
    assert.equal(NAME, lab.run("ctr", "-n", "k8s.io", "images", "list", "--quiet", "name==" .. NAME))
    local podman = { "podman", "--storage-driver", "vfs", "--root", "/run/podman-image/root", "--runroot",
      "/run/podman-image/run" }
    local function run(...)
      local words = table.move(podman, 1, #podman, 1, {})
      return lab.run(table.unpack(table.move({ ... }, 1, select("#", ...), #words + 1, words)))
    end
    assert.truthy(run("load", "--quiet", "--input", ARCHIVE):find(NAME, 1, true))
    assert.truthy(run("inspect", "--format", "{{.Config.Entrypoint}}", NAME):find("[/usr/sbin/mncni-agent]", 1, true))
    lab.run("rm", "-rf", "/run/podman-image")
  end)

  it("has the agent with its libraries, the plugins, their licences, and nothing else", function()
    local expected = { "/usr/sbin/mncni-agent" }
    local ldd = lab.run("ldd", BUILD .. "/bin/mncni-agent")
    for line in ldd:gmatch "[^\n]+" do
      expected[#expected + 1] = line:match "=> (/%S+)" or line:match "^%s*(/%S+)"
    end
    for _, path in ipairs(lines(lab.shell("cd " .. BUILD .. "/image/cni && find . ! -type d"))) do
      expected[#expected + 1] = "/opt/mncni/cni/" .. path:sub(3)
    end
    table.sort(expected)
    local found, licences = {}, 0
    for _, path in ipairs(lines(lab.shell("cd " .. root .. " && find . ! -type d"))) do
      path = path:sub(2)
      if path:find "^/usr/share/doc/[^/]+/copyright$" then
        licences = licences + 1
      elseif not path:find "^/usr/share/common%-licenses/" and not path:find "^/var/lib/dpkg/status%.d/" then
        found[#found + 1] = path
      end
    end
    table.sort(found)
    assert.same(expected, found)
    assert.is_true(licences > 25)
    assert.equal("", lab.shell("find " .. root .. " ! -type l \\( -perm /7022 -o ! -user 0 -o ! -group 0 \\)"))
  end)

  it("runs the agent with no capability and nowhere to write", function()
    local said, ok = agent({}, { "--version" })
    assert.is_true(ok, said)
    assert.matches("^%d+%.%d+%.%d+$", said)
  end)

  it("makes a node ready for pods with CAP_NET_ADMIN and the node's two directories", function()
    local nodes = "/run/nodes.json"
    lab.write(nodes, node_list.text {
      { name = "n1", addresses = { "203.0.113.2" }, pod_cidrs = { "10.244.7.0/24" } },
    })
    lab.shell("rm -rf /opt/cni/bin/* " .. NET_D .. "/* && echo theirs >/opt/cni/bin/loopback")
    lab.shell "ip link del cbr0 2>/dev/null || :" -- it may have another range
    -- A container cannot: its /proc/sys is read-only. What is as it should be is not written.
    lab.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    local words = { "--node", "n1", "--nodes", "file:" .. nodes, "--policy", "routes", "--policy", "cniconfig",
      "--set", "cniconfig.install=/opt/mncni/cni", "--set", "cniconfig.portmap=false" }
    local args = { capabilities = { "NET_ADMIN" }, mounts = { BIN, NET_D, nodes } }

    local said, ok = agent(args, { "--dry-run", table.unpack(words) })
    assert.is_true(ok, said)
    assert.truthy(said:find("# write /opt/cni/bin/mncni: ", 1, true), said)
    assert.same({ "loopback" }, lab.list(BIN))

    said, ok = agent(args, { "--once", table.unpack(words) })
    assert.is_true(ok, said)
    assert.equal("", (lab.shell(("cd %s/opt/mncni/cni && for f in $(find . ! -type d ! -name loopback); do "
      .. "cmp $f /opt/cni/bin/$f; done"):format(root))))
    assert.equal("theirs\n", lab.read(BIN .. "/loopback"))
    assert.equal("0 0", lab.shell "find /opt/cni/bin -printf '%U %G\\n' | sort -u")
    assert.matches("10.244.7.0/24", lab.run("ip", "route", "list", "proto", "78"), 1, true)

    lab.shell "rm /opt/cni/bin/loopback && ln -s mncni /opt/cni/bin/loopback"
    local text = lab.read(NET_D .. "/10-mncni.conflist")
    lab.wait_until("containerd to load what the agent wrote", function()
      local info = lab.cri("Status", { verbose = true }).info
      return info.lastCNILoadStatus == "OK" and info.cniconfig:find("10.244.7.0/24", 1, true)
    end)
    local pod = lab.run_pod()
    assert.matches("^10%.244%.7%.%d+$", pod.ip, nil, text)
    pod:stop()
    pod:remove()
    lab.shell "ip route flush proto 78; ip link del cbr0; rm -r /var/lib/cni/networks/kubenet"
  end)
end)
