-- SPDX-License-Identifier: Apache-2.0
-- Every verb under valgrind's memcheck: no invalid access, nothing undefined decided on, no definite leak.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local ERROR = 99

describe("under valgrind", function()
  local node, log

  setup(function()
    node = nodes.new()
    log = node.scratch .. "/valgrind"
  end)
  teardown(function() node:cleanup() end)

  -- The words before a command that has memcheck look at it; lax-ioctls is for those of namespaces, which it does not
  -- know.
  local function memcheck(...)
    return { "valgrind", "--quiet", "--sim-hints=lax-ioctls", "--error-exitcode=" .. ERROR, "--leak-check=full",
      "--errors-for-leak-kinds=definite", "--show-leak-kinds=definite", "--log-file=" .. log, ... }
  end

  -- What valgrind found; what it says of itself (a system call that it does not know fails with ENOSYS) is left out.
  local function found()
    return (spaces.sh("grep '^==' %s", log))
  end

  -- The outcome must be that exit status, and valgrind must have found nothing.
  local function clean(outcome, status)
    assert.are.equal("", found())
    assert.are.equal(status or 0, outcome.status, outcome.stdout .. outcome.stderr)
    return outcome
  end

  local function call(verb, args, status)
    args.prefix = memcheck()
    return clean(node:call(verb, args), status).json
  end

  -- What a user configures: everything that has code of its own.
  local network = {
    ipMasq = true, ipspoofchk = true, hairpinMode = true, isDefaultGateway = true,
    ipam = { type = "host-local", ranges = {
      { { subnet = "10.244.1.0/24" } }, { { subnet = "fd00:244:1::/64" } },
    } },
  }

  local function with(keys)
    local conf = {}
    for _, list in ipairs { network, keys } do
      for key, value in pairs(list) do conf[key] = value end
    end
    return conf
  end

  it("what is wrong is found", function()
    local faulty = node.scratch .. "/faulty"
    spaces.must("printf %s | gcc -x c -o %s -", "#include <stdlib.h>\nint main(void) "
      .. "{ char *volatile p = malloc(8); char c = p[8]; p = NULL; return c & 0; }\n", faulty)
    assert.are.equal(ERROR, node:exec(memcheck(faulty)).status)
    assert.matches("Invalid read of size 1", found(), 1, true)
    assert.matches("8 bytes in 1 blocks are definitely lost", found(), 1, true)
  end)

  it("naivebridge: STATUS, VERSION, ADD, CHECK, GC and DEL", function()
    call("STATUS", { conf = network })
    assert.is_table(call("VERSION", { conf = network }).supportedVersions)
    local result = call("ADD", { pod = "web", conf = network })
    assert.are.equal(2, #result.ips)
    call("ADD", { pod = "db", conf = network })
    call("CHECK", { pod = "web", conf = with { prevResult = result } })
    call("GC", { conf = with { ["cni.dev/valid-attachments"] = { { containerID = "web", ifname = "eth0" } } } })
    assert.are.same({ "testnet/web@naivebridge@eth0" }, node:journals())
    call("DEL", { pod = "web", conf = with { prevResult = result } })
    call("DEL", { pod = "web", conf = network })
    assert.are.same({}, node:journals())
    assert.are.same({}, node:reserved())
  end)

  it("naivebridge: what fails, and is undone", function()
    call("ADD", { pod = "web", conf = with { mtu = 70000 } }, 1)
    call("ADD", { pod = "web", conf = with { ipam = { type = "host-local", subnet = "10.244.1.0/33" } } }, 1)
    assert.are.same({}, node:journals())
    call("CHECK", { pod = "web", conf = with { prevResult = { cniVersion = "1.1.0", ips = core.json.array {} } } }, 1)
  end)

  it("host-local as a plugin of its own: STATUS, VERSION, ADD, CHECK, GC and DEL", function()
    local conf = with { type = "host-local" }
    call("STATUS", { name = "host-local", conf = conf })
    call("VERSION", { name = "host-local", conf = conf })
    local result = call("ADD", { name = "host-local", pod = "web", conf = conf })
    assert.are.equal(2, #result.ips)
    call("CHECK", { name = "host-local", pod = "web", conf = with { type = "host-local", prevResult = result } })
    call("GC", { name = "host-local", conf = with { type = "host-local",
      ["cni.dev/valid-attachments"] = core.json.array {} } })
    assert.are.same({}, node:reserved())
    call("DEL", { name = "host-local", pod = "web", conf = conf })
  end)

  it("mncni gc: what is alive, what is dead", function()
    node:must("ADD", { pod = "alive", conf = network })
    node:must("ADD", { pod = "dead", conf = network })
    node:kill "dead"
    local outcome = node:exec(memcheck(node.scratch .. "/bin/mncni", "gc", "--grace=0", "--output=json"))
    local report = core.json.decode(clean(outcome).stdout)
    assert.are.equal(1, report.alive)
    assert.are.equal("dead", report.removed[1].container)
    call("DEL", { pod = "alive", conf = network })
    assert.are.same({}, node:reserved())
  end)
end)
