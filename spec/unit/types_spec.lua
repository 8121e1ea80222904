-- SPDX-License-Identifier: Apache-2.0
-- lua/types against what there is: every function and field has an entry, and every entry a function or field.
local core = require "mncni.core"
local http = require "mncni.http"
local httpd = require "mncni.httpd"
local mncni = require "mncni"
local net = require "mncni.net"

-- Reads the entries: class -> { fields = { name -> true }, functions = { name -> number of parameters } }, and the
-- types that are declared, and those that are used, with the line.
local function read()
  local classes, declared, used = {}, {}, {}
  for _, file in ipairs { "agent", "core", "http", "httpd", "kube", "mncni", "modules", "netns", "nft",
    "policy", "testing" } do
    local class, bound = nil, {}
    for line in io.lines(("lua/types/%s.lua"):format(file)) do
      local tag, name = line:match "^%-%-%-@(%l+) ([%w_.]+)"
      local variable = line:match "^local (%w+) = {}$"
      local owner, separator, verb, params = line:match "^function (%w+)([.:])([%w_]+)%(([^)]*)%) end$"
      if tag == "class" then
        classes[name] = classes[name] or { fields = {}, functions = {}, types = {} }
        class, declared[name] = classes[name], true
      elseif tag == "alias" then
        declared[name] = true
      elseif tag == "field" then
        class.fields[name] = true
        class.types[name] = line:match "^%-%-%-@field [%w_]+ (%S+)$"
      elseif variable then
        bound[variable] = class
      elseif owner then
        assert(not bound[owner].functions[verb], line)
        local _, count = params:gsub("%.%.%.", ""):gsub("[%w_]+", "")
        bound[owner].functions[verb] = count + (separator == ":" and 1 or 0)
      elseif line ~= "" and not line:find "^%-%-" and not line:find "^return %w+$" then
        error(("%s: %s is neither comment nor entry"):format(file, line))
      end
      for type_name in line:gmatch "mncni%.[%w_.]*%w" do
        used[type_name] = line:find "^%-%-%-@" and tag ~= "meta" and line or nil
      end
    end
  end
  return classes, declared, used
end

local classes, declared, used = read()

local function sorted(...)
  local names = {}
  for _, map in ipairs { ... } do
    for name in pairs(map) do
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

-- The names that a table has, but for what begins with "_" and what the host alone uses.
local function public(value, of_the_host)
  local names = {}
  for _, name in ipairs(sorted(value)) do
    if not name:find "^_" and not (" " .. (of_the_host or "") .. " "):find(" " .. name .. " ", 1, true) then
      names[#names + 1] = name
    end
  end
  return names
end

-- Every function takes as many parameters as its entry has; C functions do not tell.
local function check_parameters(class, value)
  for name, count in pairs(classes[class].functions) do
    local info = debug.getinfo(value[name], "Su")
    if info.what ~= "C" and info.nparams > 0 then
      assert.equal(info.nparams, count, class .. ", " .. name)
    end
  end
end

local function check(class, value, of_the_host)
  assert.same(public(value, of_the_host), sorted(classes[class].fields, classes[class].functions))
  check_parameters(class, value)
end

-- The local variable of that name that a function uses; number instead of name for a C function.
local function upvalue(fn, wanted)
  for i = 1, math.huge do
    local name, value = debug.getupvalue(fn, i)
    if name == wanted or i == wanted then
      return value
    end
    assert(name, wanted)
  end
end

local function index_of(value)
  return getmetatable(value).__index
end

-- A pod whose steps go nowhere, made of a call that has everything.
local function new_pod()
  return mncni.pod.new {
    conf = {},
    context = { nets = {}, recorder = function() return {} end, record = function() end },
    call = {
      container = "c", ifname = "eth0", network = "n", netns = "/n", prev_result = {}, config = {}, annotations = {},
      args = { K8S_POD_NAME = "web", K8S_POD_NAMESPACE = "default" },
    },
  }
end

describe("the types for editors", function()
  it("use no type that they do not declare", function()
    for name, line in pairs(used) do
      assert.is_true(declared[name], ("%s in %s"):format(name, line))
    end
  end)

  it("have what require \"mncni\" gives", function()
    local names = sorted(mncni, upvalue(index_of(mncni), "parts"))
    local seen = {}
    for _, name in ipairs(names) do
      seen[name] = true
    end
    assert.same(sorted(seen), sorted(classes["mncni"].fields, classes["mncni"].functions))
  end)

  -- Class -> the module it stands for, and what of that is for the host alone.
  local modules = {
    ["mncni.BridgeModule"] = { mncni.bridge },
    ["mncni.NodeModule"] = { mncni.node },
    ["mncni.NodeRangesModule"] = { mncni.node_ranges },
    ["mncni.RoutesModule"] = { mncni.routes },
    ["mncni.ConflistModule"] = { mncni.conflist },
    ["mncni.FlannelModule"] = { mncni.flannel },
    ["mncni.MasqueradeModule"] = { mncni.masquerade, "check" },
    ["mncni.LocalnetModule"] = { mncni.localnet, "check" },
    ["mncni.HostportModule"] = { mncni.hostport, "check" },
    ["mncni.ForwardingModule"] = { mncni.forwarding, "steps check" },
    ["mncni.FirewallModule"] = { mncni.firewall, "check" },
    ["mncni.IngressModule"] = { mncni.ingress, "check" },
    ["mncni.UplinkModule"] = { mncni.uplink },
    ["mncni.IpamModule"] = { mncni.ipam },
    ["mncni.StaticModule"] = { mncni.static },
    ["mncni.TuningModule"] = { mncni.tuning },
    ["mncni.SourceRoutingModule"] = { mncni.source_routing },
    ["mncni.StoreModule"] = { mncni.store },
    ["mncni.CollectModule"] = { mncni.collect, "remove log" },
    ["mncni.PodModule"] = { mncni.pod, "new" },
    ["mncni.RecordedModule"] = { mncni.recorded },
    ["mncni.TestingModule"] = { mncni.testing },
    ["mncni.core.netns"] = { core.netns },
    ["mncni.core.json"] = { core.json },
    ["mncni.core.cidr"] = { core.cidr },
    ["mncni.core.sysctl"] = { core.sysctl },
    ["mncni.core.conntrack"] = { core.conntrack },
    ["mncni.core.boot"] = { core.boot },
    ["mncni.core.directory"] = { core.directory },
  }
  for class, module in pairs(modules) do
    it("have what there is of " .. class, function()
      check(class, module[1], module[2])
    end)
  end

  it("have a class for every part that is looked at here", function()
    local parts = upvalue(index_of(mncni), "parts")
    local of_policies = "mncni.PolicyModule"
    for name, class in pairs(classes["mncni"].types) do
      assert.is_true(parts[name] ~= nil, name)
      assert.is_true(modules[class] ~= nil or class == of_policies, ("%s is %s"):format(name, class))
    end
    for name in pairs(parts) do
      local is_function = type(mncni[name]) == "function" or (getmetatable(mncni[name]) or {}).__call ~= nil
      assert.is_true(is_function or classes["mncni"].types[name] ~= nil, name)
    end
  end)

  it("have what there is of policies, wherever a function lives", function()
    local policies = {}
    for _, module in ipairs { mncni.policy, (require "mncni.policy_list") } do
      for _, name in ipairs(public(module, "missing")) do
        policies[name] = module[name]
      end
    end
    check("mncni.PolicyModule", policies)
  end)

  it("have the hooks of policies", function()
    local hooks = upvalue(upvalue(require("mncni.policy_file").load, "check_hooks"), "hooks")
    local entries = {}
    for _, class in ipairs { "mncni.Policy", "mncni.IpamPolicy" } do
      for name in pairs(classes[class].fields) do
        entries[name] = true
      end
    end
    assert.same(sorted(hooks), sorted(entries))
  end)

  it("have what an option's declaration may have", function()
    local check_one = upvalue(require("mncni.declaration").check, "check_one")
    local keys = sorted(upvalue(check_one, "common"), upvalue(check_one, "special"))
    assert.same(keys, sorted(classes["mncni.Option"].fields))
  end)

  it("have the fields and methods of a pod, its interface and its lease", function()
    local pod = new_pod()
    assert.same(public(pod), sorted(classes["mncni.Pod"].fields))
    assert.same(public(index_of(pod), "finish"), sorted(classes["mncni.Pod"].functions))
    check_parameters("mncni.Pod", index_of(pod))

    local eth = index_of(pod:veth {})
    assert.same(public(eth), sorted(classes["mncni.Eth"].functions))
    check_parameters("mncni.Eth", eth)

    local lease = upvalue(index_of(pod).lease, "Lease")
    assert.same(public(lease), sorted(classes["mncni.Lease"].functions))
    check_parameters("mncni.Lease", lease)
  end)

  it("have the fields and methods of a node, a tunnel and warnings", function()
    local one = mncni.node.new {
      name = "n1", uid = "u", provider_id = "p", addresses = { "10.0.0.2" }, pod_cidrs = { "10.244.1.0/24" },
    }
    assert.same(public(one), sorted(classes["mncni.Node"].fields))
    check_parameters("mncni.Node", index_of(one))
    local tunnel = mncni.routes.tunnels({ node = one, peers = {}, underlay = { inet = { mtu = 1500 } } }, "x")[1]
    assert.same(sorted(tunnel), sorted(classes["mncni.Tunnel"].fields))
    local ranges = index_of(mncni.node_ranges.new({ nodes = {} }, {}))
    assert.same(public(ranges), sorted(classes["mncni.NodeRanges"].functions))
    check_parameters("mncni.NodeRanges", ranges)
    local warnings = index_of(mncni.routes.warnings())
    assert.same(public(warnings), sorted(classes["mncni.Warnings"].functions))
    check_parameters("mncni.Warnings", warnings)
  end)

  it("have the arguments that pod:veth takes", function()
    local _, err = pcall(function() new_pod():veth { zzzzzzzz = true } end)
    local names = {}
    for name in tostring(err):match("there are (.*)$"):gmatch "[%w_]+" do
      names[name] = true
    end
    assert.same(sorted(names), sorted(classes["mncni.VethArguments"].fields))
  end)

  it("have what an IPAM hook is asked", function()
    local request = require("mncni.lease").request({
      network = "n", container = "c", ifname = "eth0", args = {}, annotations = {},
      config = { runtimeConfig = { ipRanges = {}, ips = {} }, args = { cni = { ips = {} } } },
    }, {}, {})
    assert.same(sorted(request), sorted(classes["mncni.IpamRequest"].fields))
  end)

  it("have the methods of the address store and of pickers, and what a recorded world has", function()
    check("mncni.Store", debug.getregistry()["mncni.store"].__index)
    check("mncni.Picker", debug.getregistry()["mncni.picker"].__index)
    local world, functions = mncni.recorded.new(), {}
    for name, value in pairs(world) do
      functions[name] = type(value) == "function" or nil
    end
    assert.same(sorted(functions), sorted(classes["mncni.World"].functions))
    for name in pairs(classes["mncni.World"].fields) do
      assert.is_not_nil(world[name])
    end
  end)

  it("have the methods and fields of a scratch node and its pods", function()
    local node <close> = mncni.testing.node()
    assert.same(public(index_of(node)), sorted(classes["mncni.TestNode"].functions))
    check_parameters("mncni.TestNode", index_of(node))
    assert.same(public(node), sorted(classes["mncni.TestNode"].fields))
    for class, f in pairs { TestNodeArguments = mncni.testing.node, TestPodArguments = index_of(node).pod } do
      local known = upvalue(f, class == "TestNodeArguments" and "node_keys" or "pod_keys")
      assert.same(sorted(known), sorted(classes["mncni." .. class].fields))
    end
    local pod = node:pod { name = "web", namespace = "shop" }
    node:add({ add = function(given) return given:result {} end }, pod, { ipam = false })
    assert.same(public(pod), sorted(classes["mncni.TestPod"].fields))
  end)

  it("have what there is of nft's language", function()
    local nft = require "mncni.nft"
    check("mncni.nft", nft)
    local _, err = pcall(nft.run, { "", [("z"):rep(40)] = 1 })
    local names = {}
    for name in tostring(err):match "known ones are (.*)$":gmatch "[%w_]+" do
      names[name] = true
    end
    assert.same(sorted(names), sorted(classes["mncni.NftArguments"].fields))
  end)

  it("have what there is of HTTP", function()
    check("mncni.http", http)
    check("mncni.httpd", httpd)
    check("mncni.http.Protobuf", debug.getregistry()["mncni.http.protobuf"].__index)
    check("mncni.Httpd", debug.getregistry()["mncni.httpd"].__index)
    check("mncni.Http", debug.getregistry()["mncni.http"].__index)
    local multi <close> = http.multi()
    local request <close> = multi:request { url = "http://127.0.0.1:1" }
    for _, name in ipairs(sorted(classes["mncni.HttpRequest"].fields)) do
      assert.is_true(pcall(function() return request[name] end), name)
    end
    local methods = upvalue(debug.getregistry()["mncni.http.request"].__index, 1)
    assert.same(sorted(methods), sorted(classes["mncni.HttpRequest"].functions))
    local _, err = pcall(multi.request, multi, { [("z"):rep(40)] = 1 })
    local names = {}
    for name in tostring(err):match "known ones are (.*)$":gmatch "[%w_]+" do
      names[name] = true
    end
    assert.same(sorted(names), sorted(classes["mncni.HttpArguments"].fields))
  end)

  it("have the client of Kubernetes, its watches and their handlers", function()
    local kube, kube_watch = require "mncni.kube", require "mncni.kube_watch"
    check("mncni.KubeModule", kube)
    local client = upvalue(kube.client, "Client")
    assert.same(public(client, "open refusal retry_after report"), sorted(classes["mncni.KubeClient"].functions))
    check_parameters("mncni.KubeClient", client)
    for class, list in pairs { KubeWatchArguments = "known", KubeHandler = "handlers" } do
      local names = {}
      for _, name in ipairs(upvalue(kube_watch.new, list)) do
        names[name] = true
      end
      assert.same(sorted(names), sorted(classes["mncni." .. class].fields))
    end
  end)

  it("have the methods of addresses, namespaces, nets and monitors", function()
    local cidr = mncni.cidr "10.0.0.0/8"
    assert.same(public(upvalue(index_of(cidr), 1)), sorted(classes["mncni.Cidr"].functions))
    for name in pairs(classes["mncni.Cidr"].fields) do
      assert.is_not_nil(cidr[name])
    end

    local here <close> = mncni.netns.current()
    assert.same(public(getmetatable(here).methods), sorted(classes["mncni.Netns"].functions))

    local index = index_of(mncni.open())
    assert.same(public(upvalue(index, "Net"), "here socket"), sorted(classes["mncni.Net"].functions))
    local others = { nft = true, sysctl = true, conntrack = true }
    assert.same(sorted(upvalue(index, "rtnetlink"), upvalue(index, "fields"), others),
      sorted(classes["mncni.Net"].fields))

    local monitor = upvalue(require("mncni.monitor").open, "Monitor")
    assert.same(public(monitor), sorted(classes["mncni.Monitor"].functions))
  end)

  it("have the verbs of families", function()
    for class, family in pairs { ["mncni.LinkVerbs"] = "link", ["mncni.AddrVerbs"] = "addr",
      ["mncni.RouteVerbs"] = "route" } do
      local verbs = {}
      for _, verb in ipairs(net.families.route[family]) do
        verbs[verb] = true
      end
      assert.same(sorted(verbs), sorted(classes[class].fields))
    end
    local all = {}
    for _, families in pairs(net.families) do
      for _, list in pairs(families) do
        for _, verb in ipairs(list) do
          all[verb] = true
        end
      end
    end
    assert.same(sorted(all), sorted(classes["mncni.Verbs"].fields))
    local host <close> = mncni.open()
    assert.same(sorted(host.nft), sorted(classes["mncni.Nft"].fields))
    assert.same(sorted(host.sysctl), sorted(classes["mncni.Sysctl"].fields))
    assert.same(sorted(host.conntrack), sorted(classes["mncni.Conntrack"].fields))
  end)

  it("name keys of netlink objects that the encoder knows", function()
    for class, object in pairs { ["mncni.Link"] = "link", ["mncni.Addr"] = "addr", ["mncni.Route"] = "route" } do
      for name in pairs(classes[class].fields) do
        assert.is_truthy(core.schema()[object][name], ("%s of %s"):format(name, class))
      end
    end
  end)
end)
