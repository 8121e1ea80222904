-- SPDX-License-Identifier: Apache-2.0
-- The CNI protocol as a runtime sees it, from outside. What is said of every plugin is said of Debian's reference
-- plugins too, so that these specs are known to drive a plugin rightly.

local core = require "mncni.core"
local cni = require "spec.support.cni"
local spaces = require "spec.support.netns"

local json = core.json

local PLUGIN = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"
local REFERENCE = "/usr/lib/cni"
local VERSIONS = { "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" }

local FILES = "find %s/state %s/ipam -type f ! -name calls.ring ! -name lock ! -name 'last_reserved*' 2>/dev/null"

local function exists(path)
  local file = io.open(path)
  return file and file:close()
end

local function sh(text)
  local outcome = core.exec { argv = { "/bin/sh", "-c", text }, env = { PATH = os.getenv "PATH" } }
  assert(outcome.status == 0, text .. ": " .. outcome.stderr)
  return outcome.stdout
end

local function absolute(path)
  return path:sub(1, 1) == "/" and path or (sh "pwd"):gsub("\n", "/") .. path
end

local function write_file(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

-- A node with one pod's namespace, in directories of its own.
local function new_node()
  local node = { dir = sh("mktemp -d"):gsub("\n", "") }
  sh(("chmod 0755 %s; mkdir -p %s/policies %s/bin %s/state /run/netns"):format(node.dir, node.dir, node.dir, node.dir))
  node.ns = core.netns.create("spec-" .. node.dir:match("[^.]*$"))
  node.netns = "/run/netns/spec-" .. node.dir:match("[^.]*$")
  node.env = { MNCNI_STATE_DIR = node.dir .. "/state", MNCNI_POLICY_PATH = node.dir .. "/policies" }

  -- A configuration of a bridge with host-local addresses, with changes (false takes a key away).
  function node.config(changes)
    local config = {
      cniVersion = "1.0.0", name = "pods", type = "naivebridge", bridge = "cbr0", isGateway = true, ipMasq = false,
      ipam = {
        type = "host-local", dataDir = node.dir .. "/ipam", ranges = { { { subnet = "10.77.0.0/24" } } },
        routes = { { dst = "0.0.0.0/0" } },
      },
    }
    for key, value in pairs(changes or {}) do
      config[key] = value or nil
    end
    return config
  end

  -- Everything that a call could leave behind, as text.
  function node.trace()
    return table.concat({
      spaces.text(), sh "exec nft list ruleset", spaces.text(node.netns),
      sh(FILES:format(node.dir, node.dir) .. " | sort"),
    }, "\n")
  end

  function node.remove()
    node.ns:close()
    core.netns.remove(node.netns)
    sh(("for l in $(ip -o link | cut -d: -f2 | cut -d@ -f1); do [ $l = lo ] || ip link del $l 2>/dev/null || :; done;"
      .. " nft flush ruleset; rm -rf %s"):format(node.dir))
  end

  return node
end

-- Runs verbs of the plugin `name` on the node.
local function runner(node, bin, path)
  return cni.runner {
    bin = bin, container = "spec-1", netns = node.netns, ifname = "eth0", path = path, env = node.env,
  }
end

local plugins = {
  {
    name = "the reference bridge", reference = true,
    versions = { "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0" },
    bin = function() return REFERENCE .. "/bridge" end,
    config = function(node, changes)
      local config = node.config(changes)
      config.type = "bridge"
      return config
    end,
  },
  {
    name = "naivebridge", versions = VERSIONS,
    bin = function(node)
      sh(("ln -sf %s %s/bin/naivebridge"):format(absolute(PLUGIN), node.dir))
      return node.dir .. "/bin/naivebridge"
    end,
    config = function(node, changes) return node.config(changes) end,
  },
}

for _, plugin in ipairs(plugins) do
  local missing = not exists(plugin.reference and REFERENCE .. "/bridge" or PLUGIN)
  local describe_it = missing and function(name)
    pending(name .. ": the plugin is not installed")
  end or describe

  describe_it(plugin.name .. " as a CNI plugin", function()
    local node, run

    before_each(function()
      node = new_node()
      run = runner(node, plugin.bin(node), REFERENCE)
    end)

    after_each(function()
      node.remove()
    end)

    -- Runs a call that must fail, and gives its error document.
    local function refused(args)
      local before = node.trace()
      local outcome = run(args)
      assert.equal(1, outcome.status, outcome.stderr)
      assert.is_table(outcome.json, outcome.stdout)
      assert.equal("integer", math.type(outcome.json.code))
      assert.is_string(outcome.json.msg)
      assert.equal(before, node.trace())
      return outcome.json
    end

    local function add(config, args)
      local call = { command = "ADD", stdin = config }
      for key, value in pairs(args or {}) do
        call[key] = value
      end
      local outcome = run(call)
      assert.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
      assert.is_table(outcome.json, outcome.stdout)
      return outcome.json
    end

    local function config(changes)
      return plugin.config(node, changes)
    end

    it("answers VERSION with nothing but the command, whatever stdin is", function()
      local ways = { { stdin = "" }, { close_stdin = true }, { stdin = "{" }, { stdin = ("x"):rep(1 << 21) } }
      for _, args in ipairs(ways) do
        local outcome = cni.exec { bin = plugin.bin(node), command = "VERSION", stdin = args.stdin,
          close_stdin = args.close_stdin }
        assert.equal(0, outcome.status)
        assert.equal(plugin.versions[#plugin.versions], outcome.json.cniVersion)
        assert.same(plugin.versions, outcome.json.supportedVersions)
      end
    end)

    it("says what it is when a person runs it", function()
      for _, env in ipairs { {}, { CNI_COMMAND = "" } } do
        local outcome = cni.exec { bin = plugin.bin(node), env = env }
        assert.equal(0, outcome.status)
        assert.equal("", outcome.stdout)
        assert.matches("%S", outcome.stderr)
      end
    end)

    it("refuses an unknown command in the words that old runtimes look for", function()
      local document = refused { command = "FOO", stdin = config() }
      assert.equal(4, document.code)
      assert.equal("unknown CNI_COMMAND: FOO", document.msg)
    end)

    it("names all missing variables at once", function()
      local document = refused { command = "ADD", stdin = config(), container = false, netns = false, ifname = "" }
      assert.equal(4, document.code)
      assert.equal("required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing", document.msg)
    end)

    it("refuses a container id or an interface name that is none", function()
      for _, id in ipairs { "a/b", "-a", "../x", "a b" } do
        local document = refused { command = "ADD", stdin = config(), container = id }
        assert.equal(4, document.code, id)
      end
      for _, name in ipairs { "sixteen-letters-", ".", "..", "a/b", "a:b", "a b" } do
        local document = refused { command = "ADD", stdin = config(), ifname = name }
        assert.equal(4, document.code, name)
      end
    end)

    it("refuses a configuration that is none", function()
      assert.equal(6, refused { command = "ADD", stdin = "{" }.code)
      assert.equal(6, refused { command = "ADD", stdin = "" }.code)
      assert.equal(6, refused { command = "ADD", stdin = "[]" }.code)
      local document = refused { command = "ADD", stdin = "{}" }
      assert.equal(7, document.code)
      assert.equal("missing network name", document.msg)
      assert.equal(7, refused { command = "ADD", stdin = config { name = "a/b" } }.code)
    end)

    it("refuses a cniVersion that it does not speak", function()
      local document = refused { command = "ADD", stdin = config { cniVersion = "9.9.9" } }
      assert.equal(1, document.code)
      assert.equal("incompatible CNI versions", document.msg)
      assert.matches('config is "9.9.9", plugin supports ["0.1.0" "0.2.0"', document.details, 1, true)
    end)

    it("refuses CHECK below 0.4.0", function()
      assert.equal(1, refused { command = "CHECK", stdin = config { cniVersion = "0.3.1" } }.code)
    end)

    it("is not disturbed by a variable whose name is no text", function()
      -- A shell would not hand it on.
      write_file(node.dir .. "/odd", ("#!/bin/sh\nexec env 'CNI_\xff=x' '%s'\n"):format(plugin.bin(node)))
      sh(("chmod 0755 %s/odd"):format(node.dir))
      add(config(), { bin = node.dir .. "/odd" })
    end)

    it("refuses CNI_ARGS that are malformed or unknown, and ignores these when told to", function()
      assert.matches("invalid pair", refused { command = "ADD", stdin = config(), args = "FOO" }.msg)
      assert.matches("unknown args", refused { command = "ADD", stdin = config(), args = "FOO=1" }.msg)
      add(config(), { args = "IgnoreUnknown=1;FOO=1;K8S_POD_NAME=web" })
    end)

    it("refuses a namespace that is missing", function()
      local call = { command = "ADD", stdin = config(), netns = "/run/netns/none" }
      if plugin.reference then
        assert.equal(1, run(call).status) -- and leaves its bridge behind
      else
        assert.equal(8, refused(call).code)
      end
    end)

    -- The gateway's bridge, a host end and the container's end, in the shape of version 1.0.0.
    local function check_interfaces(document, sandbox)
      local names = {}
      for i, link in ipairs(document.interfaces) do
        assert.matches("^%x%x:%x%x:%x%x:%x%x:%x%x:%x%x$", link.mac)
        names[i] = link.name
        assert.equal(i == 3 and sandbox or nil, link.sandbox)
      end
      assert.equal(3, #names)
      assert.equal("cbr0", names[1])
      assert.equal("eth0", names[3])
    end

    for _, version in ipairs(plugin.versions) do
      it("answers ADD in the shape of cniVersion " .. version, function()
        local document = add(config { cniVersion = version })
        assert.equal(version, document.cniVersion)
        local dns = document.dns
        assert.is_true(dns == nil or next(dns) == nil)
        document.dns = nil
        if version < "0.3.0" then
          assert.same({
            cniVersion = version,
            ip4 = { ip = "10.77.0.2/24", gateway = "10.77.0.1", routes = { { dst = "0.0.0.0/0" } } },
          }, document)
          return
        end
        check_interfaces(document, node.netns)
        local allowed = { name = true, mac = true, sandbox = true, mtu = version >= "1.1.0" or nil }
        for _, link in ipairs(document.interfaces) do
          for key in pairs(link) do
            assert.is_true(allowed[key], key)
          end
        end
        document.interfaces = nil
        assert.same({
          cniVersion = version,
          ips = {
            {
              version = version < "1.0.0" and "4" or nil, address = "10.77.0.2/24", gateway = "10.77.0.1",
              interface = 2,
            },
          },
          routes = { { dst = "0.0.0.0/0" } },
        }, document)
      end)
    end

    it("takes a configuration without cniVersion for 0.1.0", function()
      local document = add(config { cniVersion = false })
      assert.equal("10.77.0.2/24", document.ip4.ip)
      assert.equal("0.1.0", document.cniVersion)
    end)

    it("answers with two families", function()
      local whole = config()
      whole.ipam.ranges = { { { subnet = "10.77.0.0/24" } }, { { subnet = "fd77::/64" } } }
      whole.ipam.routes = { { dst = "0.0.0.0/0" }, { dst = "::/0" } }
      local document = add(whole)
      assert.same({ "10.77.0.2/24", "fd77::2/64" }, { document.ips[1].address, document.ips[2].address })
      whole.cniVersion = "0.2.0"
      local old = add(whole, { container = "spec-2", ifname = "eth1" })
      assert.equal("10.77.0.3/24", old.ip4.ip)
      assert.equal("fd77::3/64", old.ip6.ip)
    end)

    it("deletes twice, first, without namespace, and prints nothing", function()
      local function del(args)
        args.command, args.stdin = "DEL", args.stdin or config()
        local outcome = run(args)
        assert.equal(0, outcome.status, outcome.stdout)
        assert.equal("", outcome.stdout)
      end
      del {}
      add(config())
      del {}
      del {}
      assert.equal(0, run { command = "ADD", stdin = config(), container = "spec-9" }.status)
      del { netns = false, container = "spec-9" }
      del { netns = "", container = "spec-9" }
      del { netns = "/run/netns/none", container = "spec-9" }
      assert.is_nil(node.trace():find("/ipam/pods/10.", 1, true))
    end)

    it("passes CHECK after ADD, and fails it without prevResult or when the address is gone", function()
      local result = add(config())
      local outcome = run { command = "CHECK", stdin = config { prevResult = result } }
      assert.equal(0, outcome.status, outcome.stdout)
      assert.equal("", outcome.stdout)
      assert.is_true(run { command = "CHECK", stdin = config() }.status ~= 0)
      sh(("nsenter --net=%s ip addr flush dev eth0"):format(node.netns))
      assert.is_true(run { command = "CHECK", stdin = config { prevResult = result } }.status ~= 0)
    end)
  end)
end

local describe_mncni = exists(PLUGIN) and describe or function(name)
  pending(name .. ": " .. PLUGIN .. " is not built")
end

describe_mncni("mncni", function()
  local node, run

  before_each(function()
    node = new_node()
    run = runner(node, absolute(PLUGIN), REFERENCE)
  end)

  after_each(function()
    node.remove()
  end)

  local function policy(text, name)
    write_file(("%s/policies/%s.lua"):format(node.dir, name or "spec"), text)
  end

  local function config(changes)
    local whole = { cniVersion = "1.1.0", name = "pods", type = "mncni", policy = "spec" }
    for key, value in pairs(changes or {}) do
      whole[key] = value or nil
    end
    return whole
  end

  -- Runs a call that must fail with exactly one document and change nothing.
  local function refused(args)
    local before = node.trace()
    args.command = args.command or "ADD"
    args.stdin = args.stdin or config()
    local outcome = run(args)
    assert.is_table(outcome.json, ("status %s, stdout %q, stderr %s"):format(outcome.status, outcome.stdout,
      outcome.stderr))
    assert.equal(1, outcome.status)
    assert.equal("integer", math.type(outcome.json.code))
    assert.is_string(outcome.json.msg)
    assert.equal(before, node.trace())
    return outcome.json, outcome
  end

  local function served(args)
    args.command = args.command or "ADD"
    args.stdin = args.stdin or config()
    local outcome = run(args)
    assert.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
    return outcome.json, outcome
  end

  local ok_policy = [[
    local policy = {}
    function policy.add(pod) return { interfaces = { { name = pod.ifname, sandbox = pod.netns } } } end
    return policy
  ]]

  describe("refuses hostile input:", function()
    before_each(function()
      policy(ok_policy)
    end)

    it("stdin that is truncated, huge, nested, no UTF-8 or has a zero byte", function()
      local text = json.encode(config())
      assert.equal(6, refused { stdin = text:sub(1, -2) }.code)
      assert.equal(6, refused { stdin = text:sub(1, -2) .. ',"x":"' .. ("y"):rep(1 << 20) .. '"}' }.code)
      assert.equal(6, refused { stdin = ("y"):rep(1 << 22) }.code)
      assert.equal(6, refused { stdin = ("["):rep(500000) }.code)
      assert.equal(6, refused { stdin = text:sub(1, -2) .. ',"x":' .. ("["):rep(5000) .. ("]"):rep(5000) .. "}" }.code)
      assert.equal(6, refused { stdin = text:sub(1, -2) .. ',"x":"\xff\xfe"}' }.code)
      assert.equal(6, refused { stdin = text .. "\0" }.code)
      assert.equal(6, refused { stdin = "\0" }.code)
      assert.equal(6, refused { stdin = text:sub(1, -2) .. ',"x":"a\\u0000b"}' }.code)
      assert.equal(6, refused { stdin = text .. text }.code)
      assert.equal(6, refused { close_stdin = true }.code)
    end)

    it("stdin that says null, a list or a number", function()
      assert.equal(7, refused { stdin = "null" }.code)
      assert.equal(6, refused { stdin = "[]" }.code)
      assert.equal(6, refused { stdin = "7" }.code)
    end)

    it("variables with control characters, newlines, no UTF-8, or of enormous length", function()
      assert.equal(4, refused { container = "a\nb" }.code)
      assert.equal(4, refused { container = "\xff\xfe" }.code)
      assert.equal(4, refused { ifname = "eth\xff" }.code)
      assert.equal(4, refused { ifname = "eth\u{a0}0" }.code)
      assert.equal(4, refused { ifname = ("e"):rep(100000) }.code)
      assert.equal(4, refused { command = ("A"):rep(100000) }.code)
      assert.equal(4, refused { command = "ADD\n" }.code)
      assert.equal(4, refused { args = ("x"):rep(100000) }.code)
      assert.equal(4, refused { args = "IP=\xff" }.code)
    end)

    it("names that are too long for a file", function()
      for _, args in ipairs { { container = ("c"):rep(5000) }, { stdin = config { name = ("n"):rep(5000) } } } do
        local before = node.trace()
        args.command, args.stdin = "ADD", args.stdin or config()
        local outcome = run(args)
        assert.is_table(outcome.json, outcome.stdout)
        if outcome.status == 0 then
          args.command = "DEL"
          assert.equal(0, run(args).status)
        end
        assert.equal(before, node.trace())
      end
    end)

    it("values of a wrong JSON type, naming the key", function()
      for path, changes in pairs {
        name = { name = 7 }, cniVersion = { cniVersion = 1 }, type = { type = json.array {} }, policy = { policy = 1 },
        ipam = { ipam = "x" }, dns = { dns = json.array {} }, prevResult = { prevResult = 1 }, args = { args = "x" },
        runtimeConfig = { runtimeConfig = "x" }, capabilities = { capabilities = 1 },
        ["runtimeConfig.portMappings"] = { runtimeConfig = { portMappings = {} } },
      } do
        local document = refused { stdin = config(changes) }
        assert.equal(7, document.code)
        assert.matches(('"%s": must be'):format(path), document.msg, 1, true)
      end
    end)

    it("its own namespace, before anything is changed", function()
      for _, netns in ipairs { "/proc/self/ns/net", "/proc/thread-self/ns/net" } do
        local document = refused { netns = netns }
        assert.equal(8, document.code)
        assert.matches("should not be the same", document.msg)
      end
    end)

    it("what is no network namespace", function()
      for _, netns in ipairs { "/proc/self/ns/mnt", "/etc/passwd", "/", "relative", "/dev/zero", ("/x"):rep(3000) } do
        assert.equal(8, refused { netns = netns }.code, netns)
      end
    end)
  end)

  it("takes its own namespace where the runtime insists", function()
    policy(ok_policy)
    served { netns = "/proc/self/ns/net", env = { CNI_NETNS_OVERRIDE = "1" } }
  end)

  it("needs no CNI_PATH when it delegates nothing", function()
    policy(ok_policy)
    served { path = false }
  end)

  it("ignores keys that nobody knows, and records them", function()
    policy [[
      local policy = { options = { mtu = { type = "integer" } } }
      function policy.add(pod, conf) return { interfaces = { { name = pod.ifname } } } end
      return policy
    ]]
    served { stdin = config { mtu = 1400, bridg = "x", ["x.test/own"] = { a = 1 } } }
    local record = require "mncni.record"
    local entry = record.list(node.dir .. "/state")[1]
    table.sort(entry.ignored)
    assert.same({ "bridg", "x.test/own" }, entry.ignored)
    assert.equal(0, entry.code)
    assert.equal("spec", entry.policy)
    assert.is_true(entry.duration > 0)
  end)

  it("refuses an option of a wrong type or value, naming it", function()
    policy [[
      local policy = {}
      policy.options = { mtu = { type = "integer", min = 576 }, mode = { type = "string", choices = { "l2" } } }
      function policy.add(pod) return { interfaces = { { name = pod.ifname } } } end
      return policy
    ]]
    for _, changes in ipairs { { mtu = "1500" }, { mtu = 100 }, { mtu = 1500.5 }, { mtu = json.array {} } } do
      local document = refused { stdin = config(changes) }
      assert.equal(7, document.code)
      assert.matches("mtu", document.msg)
    end
    local document = refused { stdin = config { mode = "l3" } }
    assert.equal(7, document.code)
    assert.matches("mode", document.msg)
  end)

  it("records a call that fails", function()
    policy "return { add = function() error 'no luck today' end }"
    refused {}
    local entry = require("mncni.record").list(node.dir .. "/state")[1]
    assert.equal(100, entry.code)
    assert.matches("no luck today", entry.message)
  end)

  it("records a call that was stopped, with how long it took", function()
    policy "return { add = function() return (('a'):rep(40) .. 'b'):find(('a*'):rep(30) .. 'c') end }"
    refused { env = { MNCNI_WALL_MS = "1000" }, timeout = 20000 }
    local entry = require("mncni.record").list(node.dir .. "/state")[1]
    assert.equal(101, entry.code)
    assert.equal("ADD", entry.verb)
    assert.equal("spec-1", entry.container)
    assert.is_true(entry.duration >= 1000000 and entry.duration < 15000000)
    policy "return { add = function() local s = 'x' while true do s = s .. s end end }"
    refused {}
    assert.equal(101, require("mncni.record").list(node.dir .. "/state")[1].code)
  end)

  describe("keeps stdout for the document when a policy", function()
    for what, text in pairs {
      ["prints"] = 'print "noise"',
      ["writes to io.stdout"] = 'io.stdout:write "noise"',
      ["calls io.write"] = 'io.write "noise"',
      ["opens /dev/stdout"] = 'local f = io.open("/dev/stdout", "w"); if f then f:write "noise" f:close() end',
      ["runs a program"] = 'os.execute "echo noise"',
    } do
      it(what, function()
        policy(([[
          local policy = {}
          function policy.add(pod)
            %s
            return { interfaces = { { name = pod.ifname } } }
          end
          return policy
        ]]):format(text))
        local document, outcome = served {}
        assert.equal("eth0", document.interfaces[1].name)
        assert.matches("noise", outcome.stderr)
      end)
    end
  end)

  describe("tells a policy's failure:", function()
    local function fails(body, args)
      policy("local policy = {}\nfunction policy.add(pod, conf)\n" .. body .. "\nend\nreturn policy\n")
      return refused(args or {})
    end

    it("an error with its Lua file and line", function()
      local document = fails 'error "no such tenant"'
      assert.equal(100, document.code)
      assert.matches("no such tenant", document.msg)
      assert.matches("policies/spec.lua:3", document.details)
    end)

    it("a mistake with its Lua file and line", function()
      local document = fails "local x\nreturn x.y"
      assert.equal(100, document.code)
      assert.matches("attempt to index", document.msg)
      assert.matches("policies/spec.lua:4", document.details)
    end)

    it("an error object with its own code", function()
      local document = fails 'error(require("mncni").error { code = 120, message = "quota", details = "of blue" })'
      assert.equal(120, document.code)
      assert.equal("quota", document.msg)
      assert.matches("of blue", document.details)
    end)

    it("nil, a table and a value that cannot be printed", function()
      assert.equal(100, fails("error(nil)").code)
      assert.equal(100, fails("error {}").code)
      assert.equal(100, fails("error(setmetatable({}, { __tostring = function() error 'x' end }))").code)
    end)

    it("an unknown key in a call", function()
      for _, call in ipairs {
        'pod:veth { mastr = "cbr0" }', 'require("mncni").bridge.ensure { ifname = "x", adress = {} }',
        'pod:veth {}:routes({}, { defalt = true })', 'pod.host.link.set { ifname = "lo", mtuu = 1500 }',
        'pod:veth {}:route { dst = "10.0.0.0/8", gatewy = "10.0.0.1" }',
      } do
        local document = fails(call .. "\nreturn {}")
        assert.equal(100, document.code, call)
        assert.matches('unknown key "%w+"[;,] .*"%w+"', document.msg)
        assert.matches("policies/spec.lua:3", document.details)
      end
    end)

    it("a loop without end", function()
      local document = fails("while true do end", { env = { MNCNI_WALL_MS = "1500" }, timeout = 20000 })
      assert.equal(101, document.code)
    end)

    it("a loop that catches every error", function()
      local document = fails("while true do pcall(function() while true do end end) end",
        { env = { MNCNI_WALL_MS = "1500" }, timeout = 20000 })
      assert.equal(101, document.code)
    end)

    it("a pattern that does not come to an end", function()
      local document = fails('return (("a"):rep(40) .. "b"):find(("a*"):rep(30) .. "c")',
        { env = { MNCNI_WALL_MS = "1500" }, timeout = 20000 })
      assert.equal(101, document.code)
    end)

    it("memory without bound", function()
      assert.equal(101, fails('local t = {} while true do t[#t + 1] = ("x"):rep(100000) .. #t end').code)
      assert.equal(101, fails('local s = "x" while true do s = s .. s end').code)
    end)

    it("recursion without end", function()
      -- The stack reaches the budget of memory before Lua's own limit.
      assert.equal(101, fails("local function f() return f() + 1 end return f()").code)
    end)

    it("rubbish for a result", function()
      for _, value in ipairs {
        "nil", "7", '"done"', "true", "print", "{ ips = 7 }", "{ interfaces = { 1 } }",
        '{ ips = { { address = "10.0.0.300/24" } } }', '{ ips = { { address = "10.0.0.1" } } }',
        '{ interfaces = { { name = "eth0" } }, ips = { { address = "10.0.0.1/8", interface = 1 } } }',
        '{ interfaces = { { name = "\\xff" } } }', '{ routes = { { dst = "nowhere" } } }',
      } do
        assert.equal(100, fails("return " .. value).code, value)
      end
    end)

    it("a file that does not load", function()
      policy "local policy = {\nreturn policy\n"
      local document = refused {}
      assert.equal(100, document.code)
      assert.matches("spec.lua:2", document.msg .. (document.details or ""))
      policy "return 7"
      assert.equal(100, refused({}).code)
      policy "return { ad = function() end }"
      document = refused {}
      assert.equal(100, document.code)
      assert.matches("add", document.msg .. (document.details or ""))
    end)

    it("a file that is no source text", function()
      policy "\27Lua"
      assert.equal(7, refused({}).code)
    end)

    it("a file that is missing, naming it", function()
      local document = refused { stdin = config { policy = "nowhere" } }
      assert.equal(7, document.code)
      assert.matches("nowhere", document.msg)
    end)

    it("a file that others may write to", function()
      policy(ok_policy)
      sh(("chmod 0666 %s/policies/spec.lua"):format(node.dir))
      assert.equal(7, refused({}).code)
    end)

    it("no policy named", function()
      assert.equal(7, refused({ stdin = config { policy = false } }).code)
    end)
  end)

  it("deletes although the policy is missing, broken, raises, or is not named", function()
    for _, text in ipairs {
      false, "return {", "return 7", "return { add = function() end, del = function() error 'x' end }",
    } do
      policy(ok_policy)
      local container = "del-" .. tostring(#tostring(text))
      served { container = container }
      if text then
        policy(text)
      else
        sh(("rm %s/policies/spec.lua"):format(node.dir))
      end
      local outcome = run { command = "DEL", container = container, stdin = config() }
      assert.is_nil(node.trace():find(container, 1, true))
      if not (text and text:find("del =", 1, true)) then
        assert.equal(0, outcome.status, outcome.stdout)
      end
      assert.equal(0, run({ command = "DEL", container = container, stdin = config { policy = false } }).status)
    end
  end)

  it("gives a policy the pod's annotations and names", function()
    policy [[
      local policy = {}
      function policy.add(pod)
        return { interfaces = { { name = pod.annotations["x.test/Name"] .. pod.name .. pod.namespace } } }
      end
      return policy
    ]]
    local document = served {
      args = "IgnoreUnknown=1;K8S_POD_NAME=-web;K8S_POD_NAMESPACE=-ns;K8S_POD_UID=1",
      stdin = config { runtimeConfig = { ["io.kubernetes.cri.pod-annotations"] = { ["x.test/Name"] = "blue" } } },
    }
    assert.equal("blue-web-ns", document.interfaces[1].name)
  end)

  it("gives a policy port mappings in one spelling", function()
    policy [[
      local policy = {}
      function policy.add(pod)
        return { interfaces = { { name = "p" .. pod.runtime.portMappings[1].hostPort } } }
      end
      return policy
    ]]
    for _, key in ipairs { "HostPort", "hostPort", "hostport" } do
      local document = served {
        container = key, stdin = config { runtimeConfig = { portMappings = { { [key] = 8080, ContainerPort = 80 } } } },
      }
      assert.equal("p8080", document.interfaces[1].name)
    end
  end)

  for _, version in ipairs(VERSIONS) do
    it("gives the result of an earlier plugin of the chain back in cniVersion " .. version, function()
      policy [[
        local policy = {}
        function policy.add(pod) return pod.prev_result end
        return policy
      ]]
      local previous = version < "0.3.0"
        and { cniVersion = version, ip4 = { ip = "10.0.0.2/24", gateway = "10.0.0.1",
          routes = { { dst = "0.0.0.0/0", gw = "10.0.0.1" } } } }
        or { cniVersion = version, interfaces = { { name = "eth0", mac = "0a:00:00:00:00:01", sandbox = "/x" } },
          ips = { { version = version < "1.0.0" and "4" or nil, address = "10.0.0.2/24", gateway = "10.0.0.1",
            interface = 0 } }, routes = { { dst = "0.0.0.0/0", gw = "10.0.0.1" } },
          dns = { nameservers = { "10.0.0.10" } } }
      assert.same(previous, (served { stdin = config { cniVersion = version, prevResult = previous } }))
    end)
  end

  describe("undoes what a policy changed on the node:", function()
    local changes = [[
      pod.host.link.set { ifname = "spec0", mtu = 1300, up = true }
      pod.host.addr.add { dev = "spec0", address = "192.0.2.1/24" }
      pod.host.addr.add { dev = "spec0", address = "2001:db8::1/64", flags = { "nodad" } }
      pod.host.route.add { dst = "198.51.100.0/24", gateway = "192.0.2.2", protocol = "static", metric = 7 }
      pod.host.route.add { dst = "203.0.113.0/24", type = "blackhole", metric = 1024 }
      pod.host.route.add { dst = "2001:db8:1::/48", dev = "spec0" }
      pod.host.rule.add { src = "192.0.2.0/24", table = 100, priority = 500 }
      pod.host.neigh.add { dev = "spec0", dst = "192.0.2.9", lladdr = "0a:00:00:00:00:09", state = { "permanent" } }
      pod.host.sysctl.set("net/ipv4/conf/all/log_martians", "1")
      pod.host.sysctl.set("net/ipv4/conf/spec0/proxy_arp", "1")
      pod:commit()
    ]]

    before_each(function()
      sh "ip link add spec0 type bridge; ip link set spec0 up; sysctl -qw net.ipv4.conf.all.log_martians=0"
    end)

    local function settings()
      return sh "ip -d -o link show spec0 | grep -o 'mtu [0-9]*'; ip rule; ip neigh show dev spec0;"
        .. "sysctl net.ipv4.conf.all.log_martians net.ipv4.conf.spec0.proxy_arp"
    end

    it("when it fails", function()
      policy("return { add = function(pod)\n" .. changes .. "\nerror 'after all' end }")
      local before = settings()
      local document = refused {}
      assert.equal("after all", document.msg)
      assert.equal(before, settings())
    end)

    it("when the container is deleted, without the policy", function()
      policy("return { add = function(pod)\n" .. changes .. "\nreturn { interfaces = { { name = 'eth0' } } } end }")
      local before, trace = settings(), node.trace()
      served {}
      assert.are_not.equal(before, settings())
      assert.is_truthy(node.trace():find("198.51.100.0/24 via 192.0.2.2 dev spec0 proto static metric 7", 1, true))
      sh(("rm %s/policies/spec.lua"):format(node.dir))
      local outcome = run { command = "DEL", stdin = config() }
      assert.equal(0, outcome.status, outcome.stdout)
      assert.equal(before, settings())
      assert.equal(trace, node.trace())
    end)
  end)

  it("refuses an attachment without address below 0.3.0, and leaves nothing", function()
    policy(ok_policy)
    local document = refused { stdin = config { cniVersion = "0.2.0" } }
    assert.equal("cannot convert: no valid IP addresses", document.msg)
  end)

  describe("STATUS and GC", function()
    before_each(function()
      policy(ok_policy)
    end)

    it("need only the command and the configuration", function()
      for _, verb in ipairs { "STATUS", "GC" } do
        local outcome = cni.exec {
          bin = absolute(PLUGIN), command = verb, env = node.env,
          stdin = config { ["cni.dev/valid-attachments"] = json.array {} },
        }
        assert.equal(0, outcome.status, outcome.stdout)
        assert.equal("", outcome.stdout)
      end
    end)

    it("are refused below 1.1.0", function()
      for _, verb in ipairs { "STATUS", "GC" } do
        local document = refused { command = verb, stdin = config { cniVersion = "1.0.0" } }
        assert.equal(1, document.code)
        assert.equal("config version does not allow " .. verb, document.msg)
      end
    end)

    it("say 50 when the policy is missing or does not load", function()
      assert.equal(50, refused({ command = "STATUS", stdin = config { policy = "nowhere" } }).code)
      policy "return {"
      assert.equal(50, refused({ command = "STATUS" }).code)
    end)

    it("collect nothing without a list, and what is not on it", function()
      served { container = "keep" }
      served { container = "drop" }
      assert.equal(7, refused({ command = "GC" }).code)
      served {
        command = "GC",
        stdin = config { ["cni.dev/valid-attachments"] = { { containerID = "keep", ifname = "eth0" } } },
      }
      local left = node.trace()
      assert.is_truthy(left:find("keep", 1, true))
      assert.is_nil(left:find("drop", 1, true))
    end)
  end)
end)

describe_mncni("the reference bridge with mncni's host-local", function()
  it("gets its addresses from it", function()
    local node = new_node()
    sh(("ln -sf %s %s/bin/host-local"):format(absolute(PLUGIN), node.dir))
    local run = runner(node, REFERENCE .. "/bridge", node.dir .. "/bin")
    local config = node.config { type = "bridge" }
    local outcome = run { command = "ADD", stdin = config }
    local again = run { command = "ADD", stdin = config, container = "spec-2", ifname = "eth1" }
    local deleted = run { command = "DEL", stdin = config }
    local left = node.trace()
    node.remove()
    assert.equal(0, outcome.status, outcome.stdout)
    assert.equal("10.77.0.2/24", outcome.json.ips[1].address)
    assert.equal("10.77.0.3/24", again.json.ips[1].address)
    assert.equal(0, deleted.status, deleted.stdout)
    assert.is_nil(left:find("/ipam/pods/10.77.0.2\n", 1, true))
    assert.is_truthy(left:find("/ipam/pods/10.77.0.3\n", 1, true))
  end)
end)
