-- SPDX-License-Identifier: Apache-2.0
-- The policy flannel on a real kernel, with a subnet.env that is written here: flannel itself is not packaged.

local spaces = require "spec.support.netns"
local core = require "mncni.core"

local bin = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"

describe("flannel's stand-in", function()
  local node, scratch, pods

  local function env_file(text)
    local file <close> = assert(io.open(scratch .. "/subnet.env", "w"))
    assert(file:write(text))
  end

  local function subnet_env(masq)
    env_file(("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=%s\n")
      :format(masq or "true"))
  end

  -- flannel's own conflist has but name, type and delegate; where things are is this spec's own.
  local function config(delegate)
    return {
      cniVersion = "1.0.0", name = "cbr0", type = "flannel", subnetFile = scratch .. "/subnet.env",
      dataDir = scratch .. "/flannel", ipam = { dataDir = scratch .. "/networks" },
      delegate = delegate or { hairpinMode = true, isDefaultGateway = true },
    }
  end

  local function run(command, pod, conf, path)
    local out = node:run(core.exec, {
      argv = { path and path[1] or scratch .. "/bin/flannel" }, stdin = core.json.encode(conf or config()),
      timeout = 20000,
      env = {
        CNI_COMMAND = command, CNI_CONTAINERID = pod.name, CNI_NETNS = pod.path, CNI_IFNAME = "eth0",
        CNI_PATH = path and path[2] or scratch .. "/bin:/usr/lib/cni", PATH = os.getenv "PATH",
        MNCNI_STATE_DIR = scratch .. "/state", MNCNI_POLICY_PATH = scratch .. "/policies",
      },
    })
    local parsed, document = pcall(core.json.decode, out.stdout)
    out.json = parsed and document or nil
    return out
  end

  local function must(command, pod, conf, path)
    local out = run(command, pod, conf, path)
    assert.equal(0, out.status, out.stdout .. out.stderr)
    return out.json
  end

  local function refused(code, pattern, pod, conf)
    local out = run("ADD", pod, conf)
    assert.equal(code, (out.json or {}).code, out.stdout .. out.stderr)
    assert.matches(pattern, out.json.msg, 1, true)
    assert.equal("", (node:sh "ip -o link show group 78"))
  end

  local function reserved()
    return (spaces.sh("cd %s/networks/cbr0 2>/dev/null && ls -A | grep ^1", scratch))
  end

  before_each(function()
    scratch = spaces.must "mktemp -d"
    spaces.must("mkdir -p %s/bin %s/policies %s/flannel", scratch, scratch, scratch)
    spaces.must("ln -s $(realpath %s) %s/bin/flannel", bin, scratch)
    node = spaces.new "node"
    pods = { a = spaces.new "a", b = spaces.new "b" }
    node:must "ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up"
    node:must "ip addr add 192.0.2.10/24 dev up0 && ip route add default via 192.0.2.1"
    subnet_env()
  end)

  after_each(function()
    spaces.cleanup()
    spaces.must("rm -rf %s", scratch)
  end)

  it("wires a pod with what flanneld wrote, and deletes it with that file gone", function()
    local result = must("ADD", pods.a)
    assert.equal("10.244.1.2/24", result.ips[1].address)
    assert.matches("mtu 1450", pods.a:must "ip link show eth0")
    local routes = pods.a:must "ip route"
    assert.matches("default via 10.244.1.1", routes, 1, true)
    assert.matches("10.244.0.0/16 via 10.244.1.1", routes, 1, true)
    assert.matches("10.244.1.1/24", node:must "ip addr show cni0", 1, true)
    assert.matches("hairpin on", node:must "ip -d link show group 78", 1, true)
    assert.equal("", node:must "nft list tables")
    must("ADD", pods.b)
    pods.a:must "ping -c 1 -W 2 10.244.1.3"
    spaces.must("rm %s/subnet.env", scratch)
    must("DEL", pods.a)
    must("DEL", pods.b)
    assert.equal("", reserved())
    assert.equal("", (node:sh "ip -o link show group 78"))
  end)

  it("has the defaults of flannel's bridge where the conflist says nothing", function()
    must("ADD", pods.a, config {})
    assert.is_nil(pods.a:must "ip route":find "default")
    assert.matches("hairpin off", node:must "ip -d link show group 78", 1, true)
  end)

  it("masquerades where flanneld does not, and not between the network's pods", function()
    subnet_env "false"
    must("ADD", pods.a)
    local set = node:must "nft list set inet mncni nonmasq4"
    assert.matches("10.244.0.0/16", set, 1, true)
    assert.matches("10.244.1.0/24", node:must "nft list set inet mncni masq4", 1, true)
  end)

  it("gives pods both families", function()
    subnet_env()
    spaces.must([[printf 'FLANNEL_IPV6_NETWORK=fd00:10:244::/56\nFLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64\n' >>%s]],
      scratch .. "/subnet.env")
    local result = must("ADD", pods.a)
    assert.equal("fd00:10:244:1::2/64", result.ips[2].address)
    assert.matches("fd00:10:244::/56 via fd00:10:244:1::1", pods.a:must "ip -6 route", 1, true)
  end)

  it("asks to be tried again while flanneld has written nothing, as STATUS says, too", function()
    spaces.must("rm %s/subnet.env", scratch)
    refused(11, "No such file or directory; flanneld writes it at its start; restart flanneld on this node", pods.a)
    local conf = config()
    conf.cniVersion = "1.1.0"
    local out = run("STATUS", pods.a, conf)
    assert.equal(50, out.json.code, out.stdout)
    assert.matches("subnet.env", out.json.msg, 1, true)
    subnet_env()
    must("ADD", pods.a)
    assert.equal("10.244.1.2", reserved())
  end)

  it("says what is wrong with a broken subnet.env or delegate, and leaves nothing", function()
    env_file "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/240\n"
    refused(6, "subnet.env:2: FLANNEL_SUBNET: ", pods.a)
    subnet_env()
    refused(7, "delegate.ipam: flannel sets it", pods.a, config { ipam = { type = "host-local" } })
    refused(7, "delegate.type: this policy wires bridges", pods.a, config { type = "ptp" })
    refused(7, "mtu", pods.a, config { mtu = "large" })
    assert.equal("", reserved())
  end)

  -- What flannel's own plugin does: it has the plugin bridge wire the pod, and notes how.
  local function add_as_flannel(pod)
    local conf = {
      cniVersion = "1.0.0", name = "cbr0", type = "bridge", bridge = "cni0", isGateway = true, isDefaultGateway = true,
      hairpinMode = true, ipMasq = false, mtu = 1450, ipam = {
        type = "host-local", ranges = { { { subnet = "10.244.1.0/24" } } }, routes = { { dst = "10.244.0.0/16" } },
        dataDir = scratch .. "/networks",
      },
    }
    local result = must("ADD", pod, conf, { "/usr/lib/cni/bridge", "/usr/lib/cni" })
    local file <close> = assert(io.open(("%s/flannel/%s"):format(scratch, pod.name), "w"))
    assert(file:write(core.json.encode(conf)))
    return result.ips[1].address
  end

  it("takes a node over in place: pods from before keep running beside new ones, and are deleted like them", function()
    assert.equal("10.244.1.2/24", add_as_flannel(pods.a))
    assert.equal("10.244.1.3/24", must("ADD", pods.b).ips[1].address)
    pods.a:must "ping -c 1 -W 2 10.244.1.3"
    must("DEL", pods.a)
    assert.equal("10.244.1.3", reserved())
    assert.is_nil((pods.a:sh "ip link show eth0"):find "UP")
    assert.equal("", spaces.must("ls -A %s/flannel", scratch))
    must("DEL", pods.a)
    pods.b:must "ping -c 1 -W 2 10.244.1.1"
  end)

  it("frees the address of a pod from before where the plugin that wired it is gone", function()
    add_as_flannel(pods.a)
    must("DEL", pods.a, nil, { scratch .. "/bin/flannel", scratch .. "/bin" })
    assert.equal("", reserved())
    assert.equal("", spaces.must("ls -A %s/flannel", scratch))
  end)
end)
