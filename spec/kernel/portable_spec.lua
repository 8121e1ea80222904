-- SPDX-License-Identifier: Apache-2.0
-- What `make portable` makes, in a root directory that holds nothing else: no library, no loader, no shell.

local core = require "mncni.core"
local polls = require "mncni.keeper_polls"
local clock = require "spec.support.clock"
local spaces = require "spec.support.netns"

local json = core.json

if os.getenv "RING_PRELOAD" then
  pending "the portable directory is for a build without SAN=1"
  return
end

local made = spaces.must "mktemp -d"
spaces.must("chmod 755 %s && make --no-print-directory portable DIR=%s/cni", made, made)

-- Another version.
spaces.must("cd %s && cp -a cni other && echo >>other/mncni", made)

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

describe("the portable directory", function()
  local before, root, pod

  -- As an agent does it (cniconfig's `install`).
  local function install(bin, version)
    local items = polls.files.look(nil, bin, { tree = made .. "/" .. (version or "cni") })
    if items then
      polls.files.send(nil, items)
    end
    return items and #items or 0
  end

  before_each(function()
    before = spaces.snapshot()
    pod = spaces.new()
    root = spaces.must "mktemp -d"
    spaces.must([[cd %s && mkdir -p proc run/netns run/mncni etc/mncni/policies && chmod 755 . &&
      mount -t proc proc proc && mount --rbind /run/netns run/netns]], root)
    spaces.must("mkdir -p %s/opt/cni/bin && touch %s/opt/cni/bin/bridge", root, root)
    install(root .. "/opt/cni/bin")
  end)

  after_each(function()
    spaces.must("umount -R -l %s/run/netns && umount %s/proc && rm -r %s", root, root, root)
    spaces.must "ip link del cbr0 2>/dev/null || :; nft delete table inet mncni 2>/dev/null || :"
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  local function config(changes)
    local conf = {
      cniVersion = "1.0.0", name = "pods", type = "naivebridge", ipMasq = false,
      ipam = { type = "host-local", ranges = { { { subnet = "10.77.0.0/24" } } } },
    }
    for key, value in pairs(changes or {}) do
      conf[key] = value
    end
    return json.encode(conf)
  end

  -- The words that run a plugin of the root with a verb, and nothing in its environment but what a runtime sets.
  local function words(name, verb)
    return { "env", "-i", "CNI_COMMAND=" .. verb, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
      "CNI_NETNS=/run/netns/" .. pod.name, "/usr/sbin/chroot", root, "/opt/cni/bin/" .. name }
  end

  local function run(name, verb, stdin)
    local outcome = core.exec { argv = words(name, verb), stdin = stdin or "", timeout = 20000 }
    assert.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
    return outcome.stdout ~= "" and json.decode(outcome.stdout) or nil
  end

  it("serves every verb of a pod", function()
    assert.equal("1.1.0", run("mncni", "VERSION").cniVersion)
    local result = run("naivebridge", "ADD", config())
    assert.equal("10.77.0.2/24", result.ips[1].address)
    assert.truthy(pod:must("ip -br addr show eth0"):find("10.77.0.2/24", 1, true))
    run("naivebridge", "CHECK", config { prevResult = result })
    run("naivebridge", "STATUS", config { cniVersion = "1.1.0" })
    run("naivebridge", "DEL", config())
    local _, status = pod:sh "ip link show eth0"
    assert.are_not.equal(0, status)
  end)

  it("runs the plugins that its other names are", function()
    run("loopback", "ADD", '{"cniVersion":"1.0.0","name":"lo","type":"loopback"}')
    run("loopback", "DEL", '{"cniVersion":"1.0.0","name":"lo","type":"loopback"}')
    local lease = run("host-local", "ADD", config { type = "host-local" })
    assert.equal("10.77.0.2/24", lease.ips[1].address)
    run("host-local", "DEL", config { type = "host-local" })
  end)

  local slow = [[
    local policy = {}
    function policy.add(pod)
      pod:veth { mtu = 1400 }
      pod:commit()
      while true do end
    end
    return policy]]

  it("runs a policy of the user, and undoes what it had done when it is stopped, even while it is replaced", function()
    write(root .. "/etc/mncni/policies/slow.lua", slow)
    write(root .. "/conf", config { type = "mncni", policy = "slow" })
    local words_of_add = words("mncni", "ADD")
    for i, word in ipairs(words_of_add) do
      words_of_add[i] = spaces.quote(word)
    end
    local pid = spaces.must(("%s <%s/conf >%s/out 2>&1 & echo $!"):format(table.concat(words_of_add, " "), root, root))
    local stands = clock.wait(function() return select(2, pod:sh "ip link show eth0") == 0 end)
    assert(stands, not stands and spaces.must("cat %s/out", root) or nil)
    assert.equal(1, install(root .. "/opt/cni/bin", "other"))
    spaces.must("kill -TERM %s", pid)
    local document = clock.wait(function()
      local file <close> = assert(io.open(root .. "/out"))
      local ok, answer = pcall(json.decode, file:read "a")
      return ok and answer
    end)
    assert.equal(101, document.code)
    assert.truthy(document.msg:find("what it had done was undone", 1, true), document.msg)
    assert.are_not.equal(0, (select(2, pod:sh "ip link show eth0")))
    clock.wait(function() return select(2, spaces.sh("kill -0 %s", pid)) ~= 0 end)
  end)

  it("serves every call while one version replaces another", function()
    local words_of_version = words("naivebridge", "VERSION")
    for i, word in ipairs(words_of_version) do
      words_of_version[i] = spaces.quote(word)
    end
    local runtime = ([[(cd %s; n=0; until [ -e stop ] || [ $n = 5000 ]; do
      n=$((n + 1)); %s >out || echo $n >>failed; echo $n >calls; done; touch ended) >/dev/null 2>&1 &]])
    spaces.must(runtime:format(spaces.quote(root), table.concat(words_of_version, " ")))
    for i = 1, 40 do
      assert.equal(1, install(root .. "/opt/cni/bin", i % 2 == 0 and "cni" or "other"))
    end
    write(root .. "/stop", "")
    local function calls()
      local file <close> = io.open(root .. "/calls")
      return file and file:read "n" or 0
    end
    assert.is_true(calls() > 5)
    assert.equal("", (spaces.sh("cat %s/failed 2>/dev/null", root)))
    assert.is_true((clock.wait(function() return select(2, spaces.sh("test -e %s/ended", root)) == 0 end)))
  end)

  it("is a command line, too", function()
    local outcome = core.exec { argv = { "/usr/sbin/chroot", root, "/opt/cni/bin/mncni", "version" } }
    assert.equal(0, outcome.status, outcome.stderr)
  end)

  it("carries the copyrights of what it carries", function()
    local said = spaces.must("cat %s/cni/mncni.COPYRIGHT", made)
    for _, text in ipairs { "source package glibc", "source package libmnl", "source package cjson",
      "source package lua5.4", "GNU LESSER GENERAL PUBLIC LICENSE", "Apache License" } do
      assert.truthy(said:find(text, 1, true), text)
    end
  end)
end)
