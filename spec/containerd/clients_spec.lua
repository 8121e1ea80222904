-- SPDX-License-Identifier: Apache-2.0
-- Other real clients of the plugin: ctr, which execs it itself and runs no loopback, and podman with its CNI backend.

local lab = require "spec.support.containerd"

local function running(name)
  return lab.run("ctr", "task", "list"):find("\n" .. name .. "%s+%d+%s+RUNNING")
end

-- Starts a container that sleeps, in the background: ctr removes the network only of a container it waits for.
local function start(name)
  local process = assert(io.popen(("ctr run --rm --cni --cgroup %s/%s %s %s sleep 1000 </dev/null 2>&1"):format(
    lab.cgroup, name, lab.image, name)))
  local ok, message = pcall(lab.wait_until, "container " .. name, function() return running(name) end)
  if not ok then error(message .. ": " .. process:read "a", 2) end
  return process
end

local function inside(name, ...)
  return lab.try("ctr", "task", "exec", "--exec-id", "spec", name, ...)
end

-- Ends a container and waits for ctr. Returns what ctr said.
local function finish(name, process)
  lab.run("ctr", "task", "kill", "--signal", "KILL", name)
  local output = process:read "a"
  process:close()
  return output
end

describe("ctr run --cni", function()
  local before

  setup(function()
    lab.network(lab.read "deploy/naivebridge.conflist")
    lab.run_pod()
    lab.clean()
    before = lab.footprint()
  end)

  after_each(function() lab.clean() end)

  it("gives containers addresses and they reach each other", function()
    local one, other = start "one", start "other"
    local addresses = lab.addresses "kubenet"
    assert.equal(2, #addresses)
    local shown = inside("other", "ip", "-4", "addr", "show", "dev", "eth0")
    local address = shown:match "inet ([%d.]+)/24"
    assert.is_string(address, shown)
    assert.is_true(address == addresses[1] or address == addresses[2])
    local output, ok = inside("one", "ping", "-c", "1", "-W", "3", address)
    assert.is_true(ok, output)
    assert.equal("", finish("one", one))
    assert.equal("", finish("other", other))
    assert.same({}, lab.leftovers(before))
  end)

  it("says why it cannot start a container when the network name is not one", function()
    local conflist = lab.naivebridge "not a/name"
    lab.shell "rm /etc/cni/net.d/*"
    lab.write("/etc/cni/net.d/10-lab.conflist", lab.encode(conflist))
    local output, ok = lab.try("ctr", "run", "--rm", "--cni", "--cgroup", lab.cgroup .. "/bad", lab.image,
      "bad", "sleep", "1")
    assert.is_false(ok)
    assert.matches("network name", output)
    assert.same({}, lab.leftovers(before))
    lab.network(lab.read "deploy/naivebridge.conflist")
  end)
end)

describe("podman with its CNI backend", function()
  local before
  local environment = { "env", "CONTAINERS_CONF=/run/containers.conf" }
  local options = { "--storage-driver", "vfs", "--root", "/run/podman/root", "--runroot", "/run/podman/run" }
  local limits = { "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000" }

  -- Runs podman with the words of all lists. Returns its output without warnings.
  local function podman(...)
    local words = table.move(environment, 1, #environment, 1, {})
    words[#words + 1] = "podman"
    for _, list in ipairs { options, ... } do table.move(list, 1, #list, #words + 1, words) end
    return lab.run(table.unpack(words))
  end

  setup(function()
    lab.network(lab.read "deploy/naivebridge.conflist")
    lab.write("/run/containers.conf", [[
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
]])
    lab.run_pod()
    lab.clean()
    podman { "load", "--quiet", "--input", "/run/private/image.tar" }
    before = lab.footprint()
  end)

  teardown(function() podman { "rm", "--all", "--force", "--time", "0" } end)

  it("runs a container with an address, a default route and a way out, and leaves nothing of it", function()
    podman({ "run", "--detach", "--name", "one", "--network", "kubenet", "--cgroup-parent", lab.cgroup }, limits,
      { lab.image })
    local address = podman { "inspect", "--format", "{{.NetworkSettings.Networks.kubenet.IPAddress}}", "one" }
    assert.matches("^10%.244%.1%.%d+$", address)
    assert.same({ address }, lab.addresses "kubenet")
    assert.matches("default via 10.244.1.1", podman { "exec", "one", "ip", "route" }, 1, true)
    podman { "exec", "one", "ping", "-c", "1", "-W", "3", "203.0.113.1" }
    lab.run("ping", "-c", "1", "-W", "3", address)
    podman { "rm", "--force", "--time", "0", "one" }
    assert.same({}, lab.leftovers(before))
  end)
end)
