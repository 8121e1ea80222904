-- SPDX-License-Identifier: Apache-2.0
local spaces = require "spec.support.netns"
local core = require "mncni.core"

local bin = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"

describe("loopback", function()
  local scratch, pod

  local function run(command)
    return core.exec {
      argv = { scratch .. "/loopback" }, timeout = 20000,
      env = { CNI_COMMAND = command, CNI_CONTAINERID = "web", CNI_NETNS = pod.path, CNI_IFNAME = "lo",
        MNCNI_STATE_DIR = scratch },
      stdin = '{"cniVersion":"0.3.1","name":"cni-loopback","type":"loopback"}',
    }
  end

  before_each(function()
    scratch = spaces.must "mktemp -d"
    spaces.must("ln -s $(realpath %s) %s/loopback", bin, scratch)
    pod = spaces.new "web"
    pod:must "ip link set lo down"
  end)

  after_each(function()
    spaces.cleanup()
    spaces.must("rm -rf %s", scratch)
  end)

  it("takes lo up and reports its addresses, and down again on DEL, however often", function()
    local out = run "ADD"
    assert.are.equal(0, out.status, out.stdout)
    local result = core.json.decode(out.stdout)
    assert.are.equal("lo", result.interfaces[1].name)
    assert.are.equal(pod.path, result.interfaces[1].sandbox)
    assert.are.equal("127.0.0.1/8", result.ips[1].address)
    assert.truthy(pod:must("ip link show lo"):find("LOOPBACK,UP", 1, true))
    for _ = 1, 2 do
      out = run "DEL"
      assert.are.equal(0, out.status, out.stdout)
      assert.falsy(pod:must("ip link show lo"):find("LOOPBACK,UP", 1, true))
    end
  end)

  it("leaves lo up on DEL where it was up before", function()
    pod:must "ip link set lo up"
    assert.are.equal(0, run("ADD").status)
    assert.are.equal(0, run("DEL").status)
    assert.truthy(pod:must("ip link show lo"):find("LOOPBACK,UP", 1, true))
  end)
end)
