-- SPDX-License-Identifier: Apache-2.0
-- The STATUS verb: 0 while an ADD would work, 50 or 51 with the reason when it would not.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local node, before

before_each(function()
  before = spaces.snapshot()
  node = nodes.new()
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

local function status(conf, args)
  args = args or {}
  args.conf = conf
  return node:call("STATUS", args)
end

-- STATUS refuses with this code and words; an ADD with the same configuration fails as well.
local function refused(code, words, conf, args)
  local outcome = status(conf, args)
  assert.are.equal(1, outcome.status, "STATUS said that all is well")
  assert.are.equal(code, outcome.json.code, outcome.stdout)
  assert.truthy(outcome.json.msg:find(words, 1, true), outcome.stdout)
  args = args or {}
  assert.are_not.equal(0, node:call("ADD", { pod = "trial", conf = conf, name = args.name, path = args.path }).status)
end

local function well(conf, args)
  local outcome = status(conf, args)
  assert.are.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
  assert.are.equal("", outcome.stdout)
  return outcome
end

describe("STATUS", function()
  it("is 0 before the first ADD and after it, and takes no lock and changes nothing", function()
    well()
    node:must("ADD", { pod = "web" })
    local function state()
      return spaces.must("cd %s && find . ! -name calls.ring -exec stat -c '%%n %%i %%y %%z %%s' {} + | sort",
        node.scratch) .. node.space:must "ls /sys/class/net; nft list ruleset; sysctl -a 2>/dev/null | grep forward"
    end
    local was = state()
    local log = node.scratch .. "/../strace.status"
    well(nil, { prefix = { "strace", "-o", log } })
    local trace = spaces.must("cat %s && rm %s", log, log)
    assert.is_true(was == state())
    -- What is written, and locked without waiting, is the record of the call, at the end.
    local work = trace:match("^(.*)openat%([^\n]*calls%.ring")
    for _, forbidden in ipairs { "flock", "O_CREAT", "O_RDWR", "O_WRONLY", "O_TMPFILE", "unlink", "mkdir" } do
      assert.falsy(work:find(forbidden, 1, true), forbidden)
    end
    for sent in work:gmatch("\nsend[^\n]*") do
      assert.truthy(sent:find("RTM_GET", 1, true), sent)
    end
  end)

  it("warns of a missing br_netfilter, and is 0 all the same", function()
    local without = { "/usr/bin/unshare", "-m", "/bin/sh", "-c",
      'for dir in /proc/sys/net/bridge; do [ ! -d $dir ] || mount -t tmpfs none $dir; done; exec "$@"', "sh" }
    assert.truthy(well(nil, { prefix = without }).stderr:find("bridge-nf-call-iptables is not there", 1, true))
  end)

  it("is 50 without a range or an ipam section, or with a configuration that is wrong", function()
    refused(50, "no IP ranges specified", { ipam = { type = "host-local" } })
    refused(50, "host bits", { ipam = { type = "host-local", subnet = "10.244.1.7/24" } })
    refused(50, "\"ipam\" section", { ipam = false })
    refused(50, "mtu", { mtu = "large" })
  end)

  it("is 50 when the policy does not load, or there is none", function()
    node:policy("naivebridge", "local policy = {\nreturn policy")
    refused(50, "naivebridge.lua")
    refused(50, "nowhere", { type = "mncni", policy = "nowhere" }, { name = "mncni" })
  end)

  it("is 50 when addresses or journals cannot be written, and 51 when journals cannot be read", function()
    spaces.must("mkdir -p %s %s", node.networks, node.state)
    local function on(directory, options, code, words)
      spaces.must("mount -t tmpfs -o %s none %s", options, directory)
      spaces.sh("cat /dev/zero >%s", directory .. "/fill")
      local ok, why = pcall(refused, code, words)
      spaces.must("umount -l %s", directory)
      assert(ok, why)
    end
    on(node.networks, "ro", 50, "EROFS")
    on(node.state, "ro", 50, "EROFS")
    on(node.networks, "size=16k", 50, "ENOSPC")
    on(node.state, "size=16k", 50, "ENOSPC")
    well()
    spaces.must("rm -rf %s", node.state)
    write(node.state, "a file")
    refused(51, "ENOTDIR")
  end)

  it("is 51 when something that is no bridge has the bridge's name", function()
    node.space:must "ip link add cbr0 type veth peer name cbr1"
    refused(51, "it is a veth, not a bridge")
  end)

  it("is 50 when no address is free, unless some are a dead attachment's", function()
    local conf = { ipam = { type = "host-local", subnet = "10.244.1.0/30" } }
    well(conf)
    node:must("ADD", { pod = "web", conf = conf })
    refused(50, "no IP addresses available in range set: 10.244.1.1-10.244.1.2; 1 of 1 are taken", conf)
    node:kill "web"
    well(conf)
    assert.are.same({ "10.244.1.2" }, node:reserved()) -- looking changes nothing
    node:must("ADD", { pod = "db", conf = conf })
    refused(50, "no IP addresses available", conf)
    node:must("DEL", { pod = "db", conf = conf })
    well(conf)
  end)

  it("asks the plugin that gives addresses, and passes its reason on", function()
    local script = "#!/bin/sh\ncat >%s/asked; printf '\\n%%s' $CNI_COMMAND >>%s/asked\n%s\n"
    local function plugin(code)
      write(node.scratch .. "/bin/leaser", script:format(node.scratch, node.scratch, code))
      spaces.must("chmod +x %s", node.scratch .. "/bin/leaser")
    end
    local conf = { ipam = { type = "leaser" } }
    plugin "exit 0"
    well(conf)
    local asked = spaces.must("cat %s", node.scratch .. "/asked")
    assert.are.equal("STATUS", asked:match("[^\n]+$"))
    assert.are.equal("leaser", core.json.decode(asked:match("^[^\n]*}")).ipam.type)
    plugin [[echo '{"code":51,"msg":"the pool is on fire"}'; exit 1]]
    refused(51, "the pool is on fire", conf)
    plugin [[echo '{"code":7,"msg":"no pool"}'; exit 1]]
    refused(50, "no pool", conf)
    os.remove(node.scratch .. "/bin/leaser")
    refused(50, "no plugin in CNI_PATH", conf)
  end)

  it("of an IPAM policy by itself tells about its ranges", function()
    local conf = { ipam = { type = "host-local", subnet = "10.244.1.0/30" } }
    well(conf, { name = "host-local" })
    node:must("ADD", { pod = "web", name = "host-local", conf = conf })
    refused(50, "1 of 1 are taken", conf, { name = "host-local" })
  end)
end)
