-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"

local json = core.json

describe("a CNI call", function()
  local cni, record, calls, directory, answer

  before_each(function()
    directory = os.tmpname()
    os.remove(directory)
    calls = {}
    answer = '{"cniVersion": "1.1.0", "interfaces": [{"name": "eth0"}]}'
    for _, verb in ipairs { "add", "del", "check", "status", "gc" } do
      package.loaded["mncni.verb." .. verb] = {
        run = function(call)
          calls[#calls + 1] = { verb = verb, call = call, call.valid }
          if type(answer) == "function" then
            return answer(call)
          end
          return verb == "add" and answer or nil
        end,
      }
    end
    cni = require "mncni.cni"
    record = require "mncni.record"
  end)

  after_each(function()
    for _, verb in ipairs { "add", "del", "check", "status", "gc" } do
      package.loaded["mncni.verb." .. verb] = nil
    end
    os.execute(("rm -rf '%s'"):format(directory))
  end)

  local function run(env, stdin, more)
    local request = { env = { MNCNI_STATE_DIR = directory }, stdin = stdin, name = "/opt/cni/bin/mncni" }
    for name, value in pairs(env) do
      request.env[name] = value or nil
    end
    for key, value in pairs(more or {}) do
      request[key] = value
    end
    local reply = cni.run(request)
    return reply, reply.stdout and json.decode(reply.stdout)
  end

  local function environment(command, changes)
    local env = {
      CNI_COMMAND = command, CNI_CONTAINERID = "abc", CNI_NETNS = "/run/netns/x", CNI_IFNAME = "eth0",
      CNI_PATH = "/opt/cni/bin:/usr/lib/cni",
    }
    for name, value in pairs(changes or {}) do
      env[name] = value or nil
    end
    return env
  end

  -- Runs verb with the configuration, a table of changes to a valid one (false removes a key) or text.
  local function call(verb, config, changes, more)
    local text = config
    if type(config) ~= "string" then
      local whole = { cniVersion = "1.1.0", name = "pods", type = "mncni", policy = "p" }
      for key, value in pairs(config or {}) do
        whole[key] = value or nil
      end
      text = json.encode(whole)
    end
    return run(environment(verb, changes), text, more)
  end

  -- The error that a call ends with: its code, message and details.
  local function refused(...)
    local reply, document = call(...)
    assert.equal(1, reply.status)
    assert.same({}, calls)
    assert.equal(document.code, reply.code)
    return document
  end

  local function served(...)
    local reply = call(...)
    assert.equal(0, reply.status, reply.stdout)
    return calls[#calls].call
  end

  describe("VERSION", function()
    it("lists the versions and needs nothing else", function()
      local reply, document = run { CNI_COMMAND = "VERSION" }
      assert.equal(0, reply.status)
      assert.same({
        cniVersion = "1.1.0",
        supportedVersions = { "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" },
      }, document)
    end)

    it("does not read stdin", function()
      local reply = run({ CNI_COMMAND = "VERSION" }, function() error "stdin was read" end)
      assert.equal(0, reply.status)
    end)
  end)

  it("without command says on stderr what this is", function()
    local reply = run {}
    assert.equal(0, reply.status)
    assert.is_nil(reply.stdout)
    assert.matches("CNI protocol versions supported: 0.1.0, ", reply.stderr)
  end)

  describe("is refused with code 4", function()
    local function environmental(verb, changes)
      local document = refused(verb, {}, changes)
      assert.equal(4, document.code)
      return document.msg
    end

    it("for an unknown command, in the words that old runtimes look for", function()
      assert.equal("unknown CNI_COMMAND: FOO", environmental "FOO")
    end)

    it("naming everything that is missing at once", function()
      assert.equal("required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing",
        environmental("ADD", { CNI_CONTAINERID = "", CNI_NETNS = false, CNI_IFNAME = false }))
      assert.equal("required env variables [CNI_NETNS] missing", environmental("CHECK", { CNI_NETNS = "" }))
      assert.equal("required env variables [CNI_CONTAINERID,CNI_IFNAME] missing",
        environmental("DEL", { CNI_CONTAINERID = false, CNI_NETNS = false, CNI_IFNAME = "" }))
    end)

    it("before stdin is looked at", function()
      local reply, document = run(environment("ADD", { CNI_IFNAME = ".." }), function() error "stdin was read" end)
      assert.equal(1, reply.status)
      assert.equal(4, document.code)
    end)

    for _, id in ipairs { "a/b", "-a", ".a", "a b", "a\n", "../../etc", "é", "\xff", "a;b" } do
      it(("for the container id %q"):format(id), function()
        assert.equal("invalid characters in containerID", environmental("ADD", { CNI_CONTAINERID = id }))
      end)
    end

    for name, message in pairs {
      ["sixteen-letters-"] = "too long", ["."] = "is . or ..", [".."] = "is . or ..", ["a/b"] = "contains",
      ["a:b"] = "contains", ["a b"] = "contains", ["a\tb"] = "contains", ["a\u{a0}b"] = "contains",
      ["a\u{2003}"] = "contains", ["a\xffb"] = "not UTF%-8",
    } do
      it(("for the interface name %q"):format(name), function()
        assert.matches(message, environmental("ADD", { CNI_IFNAME = name }))
      end)
    end

    for args, message in pairs {
      ["FOO"] = "ARGS: invalid pair \"FOO\"", ["A=B=C"] = "ARGS: invalid pair", [";"] = "ARGS: invalid pair",
      ["FOO=1"] = "ARGS: unknown args %[\"FOO=1\"%]", ["IgnoreUnknown=0;FOO=1"] = "ARGS: unknown args",
      ["IgnoreUnknown=yes"] = "ARGS: boolean must be", ["IP=10.0.0.300"] = "ARGS: IP must be an address",
      ["IP=1.2.3.4,x"] = "ARGS: IP must", ["GATEWAY=there"] = "ARGS: GATEWAY", ["MAC=1:2:3"] = "ARGS: MAC",
      ["ip=10.0.0.1"] = "unknown args",
    } do
      it("for CNI_ARGS=" .. args, function()
        assert.matches(message, environmental("ADD", { CNI_ARGS = args }))
      end)
    end
  end)

  describe("passes CNI_ARGS on", function()
    it("with the pod's names, and unknown ones where that is allowed", function()
      local given = served("ADD", {}, {
        CNI_ARGS = "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web;IgnoreUnknown=true;FOO=1;IP=10.0.0.5;MAC=0a:00:00:00:00:01",
      })
      assert.same({
        K8S_POD_NAMESPACE = "ns", K8S_POD_NAME = "web", IgnoreUnknown = "true", FOO = "1", IP = "10.0.0.5",
        MAC = "0a:00:00:00:00:01",
      }, given.args)
    end)

    it("taking an address with prefix length, and an empty value for none", function()
      assert.same({ IP = "10.0.0.5/24" }, served("ADD", {}, { CNI_ARGS = "IP=10.0.0.5/24;GATEWAY=" }).args)
    end)

    it("and does not let a malformed one stop a DEL", function()
      assert.same({}, served("DEL", {}, { CNI_ARGS = "FOO" }).args)
      assert.same({ "CNI_ARGS" }, calls[1].call.ignored)
    end)
  end)

  describe("is refused", function()
    local function code(config, more)
      return refused("ADD", config, nil, more).code
    end

    it("with code 6 when stdin is no JSON object", function()
      local texts = { "{", "", "   \n", "[]", "\"x\"", "7", "{}{}", "{\"name\": \"\xff\"}", ("["):rep(100000) }
      for _, text in ipairs(texts) do
        assert.equal(6, code(text), text:sub(1, 20))
      end
    end)

    it("with code 6 when stdin is too big, however it is told", function()
      assert.equal(6, code("{}", { stdin_truncated = true }))
      assert.equal(6, code(("{\"name\":\"%s\"}"):format(("x"):rep(1 << 20))))
    end)

    it("with the place of a mistake in stdin", function()
      assert.matches("line 2, column 1", refused("ADD", "{\"name\": \"x\",\n\xff}").msg)
    end)

    it("with code 7 without network name", function()
      for _, text in ipairs { "{}", "null", '{"name": ""}', '{"name": null}' } do
        local document = refused("ADD", text)
        assert.equal(7, document.code)
        assert.equal("missing network name", document.msg)
      end
    end)

    it("with code 7 for a network name that is none", function()
      for _, name in ipairs { "a/b", "..", "-x", "a b", "\n", "é" } do
        local document = refused("ADD", { name = name })
        assert.equal(7, document.code)
        assert.equal("invalid characters found in network name", document.msg)
        assert.equal(name, document.details)
      end
    end)

    it("with code 1 for a cniVersion that nobody speaks", function()
      local document = refused("ADD", { cniVersion = "9.9.9" })
      assert.equal(1, document.code)
      assert.equal("incompatible CNI versions", document.msg)
      assert.equal('config is "9.9.9", plugin supports ["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]',
        document.details)
    end)

    it("for its name before its version", function()
      assert.equal("missing network name", refused("ADD", { name = false, cniVersion = "9.9.9" }).msg)
    end)

    it("with code 1 when the version does not have the verb", function()
      for verb, versions in pairs {
        CHECK = { "0.1.0", "0.2.0", "0.3.0", "0.3.1" },
        GC = { "0.1.0", "0.3.1", "0.4.0", "1.0.0" },
        STATUS = { "0.1.0", "0.3.1", "0.4.0", "1.0.0" },
      } do
        for _, version in ipairs(versions) do
          local document = refused(verb, { cniVersion = version })
          assert.equal(1, document.code)
          assert.equal("config version does not allow " .. verb, document.msg)
          assert.equal(version, document.cniVersion)
        end
      end
    end)

    it("with code 7 naming a key of the protocol with a value of the wrong type", function()
      for path, config in pairs {
        ["name"] = { name = 7 }, ["cniVersion"] = { cniVersion = 1 }, ["type"] = { type = json.array {} },
        ["policy"] = { policy = true }, ["ipam"] = { ipam = "host-local" }, ["ipam.type"] = { ipam = { type = 1 } },
        ["dns"] = { dns = json.array {} }, ["dns.nameservers"] = { dns = { nameservers = "10.0.0.1" } },
        ["dns.search[1]"] = { dns = { search = { "a", 1 } } }, ["args"] = { args = "x" },
        ["args.cni"] = { args = { cni = 1 } }, ["args.cni.ips"] = { args = { cni = { ips = "10.0.0.1" } } },
        ["prevResult"] = { prevResult = "x" }, ["runtimeConfig"] = { runtimeConfig = json.array { 1 } },
        ["capabilities"] = { capabilities = 1 },
        ["runtimeConfig.mac"] = { runtimeConfig = { mac = 1 } },
        ["runtimeConfig.ips"] = { runtimeConfig = { IPS = 1 } },
        ["runtimeConfig.ipRanges[0]"] = { runtimeConfig = { ipRanges = { { subnet = "10.0.0.0/8" } } } },
        ["runtimeConfig.portMappings[0].hostPort"] = { runtimeConfig = { portMappings = { { HostPort = "80" } } } },
        ["runtimeConfig.io.kubernetes.cri.pod-annotations.a"] = {
          runtimeConfig = { ["io.kubernetes.cri.pod-annotations"] = { a = 1 } },
        },
      } do
        local document = refused("ADD", config)
        assert.equal(7, document.code)
        assert.matches(("%q: must be"):format(path), document.msg, 1, true)
      end
    end)

    it("with code 7 when prevResult is malformed or of a version that nobody speaks", function()
      local document = refused("CHECK", { prevResult = { ips = { { address = "10.0.0.1" } } } })
      assert.equal(7, document.code)
      assert.matches("prevResult: ips[0].address", document.msg, 1, true)
      assert.equal(7, refused("CHECK", { prevResult = { cniVersion = "3.0.0" } }).code)
    end)

    it("with code 7 and the remedy without policy", function()
      local document = refused("ADD", { policy = false })
      assert.equal(7, document.code)
      assert.matches('"policy": "naivebridge"', document.msg, 1, true)
    end)

    it("with code 7 for a policy outside of the directories of policies", function()
      for _, name in ipairs { "../x", "/etc/x", "", "a/b", ".x" } do
        assert.equal(7, refused("ADD", { policy = name }).code)
      end
    end)
  end)

  describe("finds its policy", function()
    local function policy(config, name)
      return served("ADD", config, nil, { name = name }).policy
    end

    it("in the configuration when it is called mncni", function()
      assert.equal("p", policy({}, "mncni"))
      assert.equal("p", policy({}, "/opt/cni/bin/mncni"))
    end)

    it("in the name it was called by", function()
      assert.equal("naivebridge", policy({ type = "naivebridge", policy = false }, "/opt/cni/bin/naivebridge"))
    end)

    it("in that name too when another plugin asks it for an address", function()
      assert.equal("host-local",
        policy({ type = "bridge", policy = false, ipam = { type = "host-local" } }, "/opt/cni/bin/host-local"))
    end)

    it("in the ipam section when another plugin asks mncni for an address", function()
      assert.equal("host-local",
        policy({ type = "bridge", policy = false, ipam = { type = "mncni", policy = "host-local" } }, "mncni"))
    end)

    it("in type when it was run by hand", function()
      assert.equal("naivebridge", policy({ type = "naivebridge", policy = false }, "build/bin/mncni"))
    end)
  end)

  it("hands over what the runtime said", function()
    local given = served("ADD", {
      runtimeConfig = { ["io.kubernetes.cri.pod-annotations"] = { ["Example.com/Tenant"] = "blue", empty = "" } },
      prevResult = { cniVersion = "0.4.0", interfaces = { { name = "eth0" } },
        ips = { { version = "4", address = "10.0.0.2/24", interface = 0 } } },
      mtu = 1400,
    }, { TRACEPARENT = "00-1-2-01", CNI_NETNS_OVERRIDE = "1" })
    assert.equal("ADD", given.command)
    assert.equal("abc", given.container)
    assert.equal("/run/netns/x", given.netns)
    assert.equal("eth0", given.ifname)
    assert.same({ "/opt/cni/bin", "/usr/lib/cni" }, given.path)
    assert.equal("pods", given.network)
    assert.equal("mncni:p", given.type)
    assert.equal("1.1.0", given.version)
    assert.equal(1400, given.config.mtu)
    assert.equal("00-1-2-01", given.trace)
    assert.is_true(given.netns_override)
    assert.same({ ["Example.com/Tenant"] = "blue", empty = "" }, given.annotations)
    assert.same({
      interfaces = { { name = "eth0" } }, ips = { { address = "10.0.0.2/24", interface = 0 } }, routes = {},
    }, given.prev_result)
  end)

  it("reads bytes as they are", function()
    local reply, document = run({ CNI_COMMAND = "\xc3\xa9\xff" })
    assert.equal(1, reply.status)
    assert.equal("unknown CNI_COMMAND: é\\xff", document.msg)
    run(environment "ADD", '{"name":"pods","type":"mncni","policy":"p","label":"é"}')
    assert.equal("é", calls[1].call.config.label)
  end)

  it("brings the runtime's keys into one spelling", function()
    local given = served("ADD", {
      runtimeConfig = {
        PortMappings = { { HostPort = 80, containerport = 8080.0, Protocol = "tcp", HostIP = "" } },
        bandwidth = { IngressRate = 1000000, IngressBurst = 4294967295 },
        ipRanges = { { { Subnet = "10.1.0.0/16", RangeStart = "", RangeEnd = "", Gateway = "" } } },
        dns = { Servers = { "10.0.0.10" }, Searches = { "a.test" }, Options = json.array {} },
        MAC = "0a:00:00:00:00:01",
        ["x.test/own"] = { KeepMe = 1 },
      },
    })
    assert.same({
      portMappings = { { hostPort = 80, containerPort = 8080, protocol = "tcp" } },
      bandwidth = { ingressRate = 1000000, ingressBurst = 4294967295 },
      ipRanges = { { { subnet = "10.1.0.0/16" } } },
      dns = { servers = { "10.0.0.10" }, searches = { "a.test" }, options = {} },
      mac = "0a:00:00:00:00:01",
      ["x.test/own"] = { KeepMe = 1 },
    }, given.config.runtimeConfig)
    assert.equal("integer", math.type(given.config.runtimeConfig.portMappings[1].containerPort))
  end)

  it("takes the right spelling of a key that is there twice, and notes the other", function()
    local given = served("ADD", { runtimeConfig = { portMappings = { { hostPort = 1, HostPort = 2 } } } })
    assert.same({ { hostPort = 1 } }, given.config.runtimeConfig.portMappings)
    assert.same({ "runtimeConfig.portMappings[0].HostPort" }, given.ignored)
  end)

  it("takes null for a key that is not there", function()
    local given = served("ADD",
      '{"name":"n","type":"mncni","policy":"p","ipam":null,"dns":{"domain":null},"mtu":null}')
    assert.is_nil(given.config.ipam)
    assert.is_nil(given.config.mtu)
    assert.same({}, given.config.dns)
    assert.equal("0.1.0", given.version)
  end)

  describe("ADD", function()
    it("prints the document that the attachment answers with", function()
      local reply, document = call "ADD"
      assert.equal(0, reply.status)
      assert.equal("eth0", document.interfaces[1].name)
    end)

    it("gives the error that was raised, with its own code", function()
      answer = function() error(core.error { code = 104, message = "none free", details = "why" }, 0) end
      local reply, document = call "ADD"
      assert.equal(1, reply.status)
      assert.equal(104, document.code)
      assert.equal("none free", document.msg)
      assert.matches("why", document.details)
    end)
  end)

  describe("DEL", function()
    it("prints nothing, with namespace or without", function()
      for _, netns in ipairs { "/run/netns/x", "/nowhere", "", false } do
        local reply = call("DEL", {}, { CNI_NETNS = netns })
        assert.equal(0, reply.status)
        assert.is_nil(reply.stdout)
      end
      assert.is_nil(calls[3].call.netns)
    end)

    it("goes on without policy, and with what else is wrong in the configuration", function()
      local given = served("DEL", { policy = false, ipam = "x", prevResult = { ips = 7 }, runtimeConfig = 1 })
      assert.is_nil(given.policy)
      assert.is_nil(given.prev_result)
      assert.is_nil(given.config.ipam)
      assert.same({ "ipam", "runtimeConfig", "prevResult" }, given.ignored)
      assert.is_nil(served("DEL", { policy = "../x" }).policy)
    end)

    it("needs to know the network", function()
      assert.equal(7, refused("DEL", { name = 7 }).code)
    end)
  end)

  describe("GC and STATUS", function()
    it("need no container", function()
      for _, verb in ipairs { "GC", "STATUS" } do
        local reply = run({ CNI_COMMAND = verb },
          '{"cniVersion":"1.1.0","name":"n","type":"mncni","policy":"p","cni.dev/valid-attachments":[]}')
        assert.equal(0, reply.status)
        assert.is_nil(reply.stdout)
      end
    end)

    it("tell GC what is in use, by the key of the specification or the older one", function()
      local list = { { containerID = "a", ifname = "eth0" } }
      served("GC", { ["cni.dev/valid-attachments"] = list, ["cni.dev/attachments"] = json.array {} })
      assert.same(list, calls[1][1])
      served("GC", { ["cni.dev/attachments"] = list })
      assert.same(list, calls[2][1])
      served("GC", { ["cni.dev/valid-attachments"] = json.null })
      assert.same({}, calls[3][1])
    end)

    it("refuse a GC without list or with one that is malformed", function()
      assert.equal(7, refused("GC", {}).code)
      assert.equal(7, refused("GC", { ["cni.dev/valid-attachments"] = { { containerID = "a" } } }).code)
      assert.equal(7, refused("GC", { ["cni.dev/valid-attachments"] = { { containerID = "a", ifname = 1 } } }).code)
      assert.equal(7, refused("GC", { ["cni.dev/valid-attachments"] = { a = 1 } }).code)
    end)
  end)

  describe("with limits", function()
    it("takes those of its configuration", function()
      served("ADD", { limits = { memoryMiB = 64, instructions = 1000000, wallMs = 1000 } })
      served("ADD", { limits = {} })
    end)

    it("refuses one that is unknown or out of bounds, by name", function()
      for limits, message in pairs {
        ['{"wallMS": 1000}'] = 'option "wallMS" of limits: unknown; did you mean "wallMs"?',
        ['{"memoryMiB": 2048}'] = 'option "memoryMiB" of limits: expected an integer from 4 to 1024, got 2048',
        ['{"wallMs": 600001}'] = 'option "wallMs" of limits: expected an integer from 100 to 600000, got 600001',
        ['{"instructions": "many"}'] = 'option "instructions" of limits: expected an integer from 100000 to '
          .. '1000000000000, got the string "many"',
        ['"none"'] = 'options of limits: expected an object, got the string "none"',
      } do
        local document = refused("ADD", { limits = json.decode(limits) })
        assert.equal(7, document.code)
        assert.equal(message, document.msg)
      end
    end)

    it("is not kept from a DEL by a wrong one", function()
      local given = served("DEL", { limits = { wallMs = "soon" } })
      assert.same({ "limits" }, given.ignored)
    end)
  end)

  it("is recorded, with what was ignored and how it ended", function()
    answer = function(given)
      given.ignored[#given.ignored + 1] = "bridg"
      error(core.error { code = 104, message = "none free" }, 0)
    end
    call("ADD", {}, { TRACEPARENT = "00-aa-bb-01" })
    local entry = record.list(directory)[1]
    assert.is_true(entry.duration >= 0 and entry.duration < 5000000)
    entry.time, entry.duration = nil, nil
    assert.same({
      format = 1, number = 1, verb = "ADD", policy = "p", network = "pods", container = "abc", ifname = "eth0",
      netns = "/run/netns/x", code = 104, message = "none free", ignored = { "bridg" }, trace = "00-aa-bb-01",
    }, entry)
  end)

  it("succeeds when it cannot be recorded", function()
    local reply = call("ADD", {}, { MNCNI_STATE_DIR = "/proc/none" })
    assert.equal(0, reply.status)
  end)
end)
