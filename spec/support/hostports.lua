-- SPDX-License-Identifier: Apache-2.0
-- A node with host ports, for specs: a neighbour outside of it, pods that serve, and questions from everywhere.
--
--   local world = hostports.new()
--   local result = world:attach("web", { mappings = { { hostPort = 8080, containerPort = 80, protocol = "tcp" } } })
--   world:serve("web", "tcp:80")
--   world:ask { from = world.client, to = "192.0.2.10", port = 8080 }   -- "web 192.0.2.20"
--   world:close()

local core = require "mncni.core"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local hostports = { REFERENCE = "/usr/lib/cni" }

-- Debian's, without what it would look for elsewhere.
local PYTHON = "/usr/bin/python3 -IS spec/support/ports.py "
hostports.PYTHON = PYTHON

local World = {}
World.__index = World

-- The node has 192.0.2.10, 192.0.2.11 and 2001:db8::10, the neighbour 192.0.2.20 and 2001:db8::20. args: subnets (as
-- nodes.new takes them).
function hostports.new(args)
  local space, client = spaces.new "node", spaces.new "client"
  space:must("ip link add up0 type veth peer name cl0 netns %s && ip link set up0 up", client.name)
  space:must "ip addr add 192.0.2.10/24 dev up0; ip addr add 192.0.2.11/24 dev up0; ip route add default via 192.0.2.20"
  space:must "ip addr add 2001:db8::10/64 dev up0 nodad; ip route add default via 2001:db8::20"
  client:must "ip link set cl0 up; ip addr add 192.0.2.20/24 dev cl0; ip addr add 2001:db8::20/64 dev cl0 nodad"
  local node = nodes.new {
    space = space, pods = { "web", "db" }, subnets = args and args.subnets or { "10.244.1.0/24", "fd00:1::/64" },
  }
  return setmetatable({ node = node, client = client, results = {}, servers = {} }, World)
end

function World:close()
  for _, server in ipairs(self.servers) do
    spaces.sh("kill -KILL %s", server.pid) -- which is nobody else's before it is waited for
    server.pipe:close()
  end
  self.node:cleanup()
end

-- The configuration of a call of portmap for a pod. args: version, previous (the result before it, that of wire() unless
-- given), mappings, conf (more keys).
function World:config(pod, args)
  local conf = {
    cniVersion = args.version or "1.0.0", type = "portmap", ipam = false,
    prevResult = args.previous == nil and self.results[pod] or args.previous or nil,
    runtimeConfig = args.mappings and { portMappings = core.json.array(args.mappings) } or nil,
  }
  for key, value in pairs(args.conf or {}) do
    conf[key] = value
  end
  return conf
end

-- One call of portmap; what node:call returns. args: as config takes them, and bin (another program of that name).
function World:portmap(command, pod, args)
  args = args or {}
  if args.bin then
    return self:run(args.bin, command, pod, self:config(pod, args))
  end
  return self.node:call(command, { pod = pod, name = "portmap", conf = self:config(pod, args) })
end

-- A program of the reference's.
function World:run(bin, command, pod, conf)
  local outcome = self.node:exec({ bin }, {
    CNI_COMMAND = command, CNI_CONTAINERID = pod, CNI_IFNAME = "eth0", CNI_NETNS = self.node:pod(pod).path,
    CNI_PATH = self.node.scratch .. "/bin", PATH = os.getenv "PATH", MNCNI_STATE_DIR = self.node.state,
  }, core.json.encode(self.node:config(conf)))
  local ok, document = pcall(core.json.decode, outcome.stdout)
  outcome.json = ok and document or nil
  return outcome
end

-- Has naivebridge wire the pod, or, with args.reference, the reference's bridge and host-local. Returns the result.
function World:wire(pod, args)
  args = args or {}
  local version = args.version or "1.0.0"
  if not args.reference then
    self.results[pod] = self.node:must("ADD", { pod = pod, conf = { cniVersion = version } })
  else
    spaces.must("ln -sf %s/host-local %s/bin/host-local", hostports.REFERENCE, self.node.scratch)
    local outcome = self:run(hostports.REFERENCE .. "/bridge", "ADD", pod, {
      cniVersion = version, type = "bridge", bridge = "cni0", isGateway = true, isDefaultGateway = true,
      hairpinMode = true,
    })
    assert(outcome.status == 0, outcome.stdout .. outcome.stderr)
    self.results[pod] = outcome.json
  end
  return self.results[pod]
end

-- Wires the pod and gives it ports. Returns the result.
function World:attach(pod, args)
  self:wire(pod, args)
  local outcome = self:portmap("ADD", pod, args)
  assert(outcome.status == 0, outcome.stdout .. outcome.stderr)
  return outcome.json
end

-- DEL of the ports, and of the pod's link unless args.ports_only; both must succeed.
function World:detach(pod, args)
  args = args or {}
  local outcome = self:portmap("DEL", pod, args)
  assert(outcome.status == 0, outcome.stdout .. outcome.stderr)
  if not args.ports_only then
    self.node:must("DEL", { pod = pod })
    self.results[pod] = nil
  end
end

-- The message of a CHECK, nil when it passes.
function World:check(pod, args)
  local outcome = self:portmap("CHECK", pod, args)
  return outcome.status ~= 0 and (outcome.json and outcome.json.msg or outcome.stdout .. outcome.stderr) or nil
end

-- The pod's first address of each family.
function World:address(pod, family)
  for _, ip in ipairs(self.results[pod].ips) do
    local address = core.cidr(ip.address)
    if address.family == (family or "inet") then
      return address.address
    end
  end
end

-- Starts a server in a pod, which answers with the pod's name; ports are "tcp:80" and the like. Returns what it prints.
function World:serve(pod, ...)
  local pipe = self.node:pod(pod):run(io.popen,
    ("echo $$; exec %sserve %s %s 2>&1"):format(PYTHON, pod, table.concat({ ... }, " ")))
  local server = { pid = pipe:read "l", pipe = pipe }
  self.servers[#self.servers + 1] = server
  local ready = pipe:read "l"
  assert(ready == "ready", ready)
  return pipe
end

-- Asks ports: { from = a namespace (the node), source = port, seconds = to wait for each, and in a list { to = address,
-- port =, kind = "tcp" } }, or that of one question beside from. Returns the answers, "pod address" each, or why there
-- is none: "refused", "timeout", ...
function World:ask(args)
  local words = { args.source or 0, args.seconds or 10 }
  for _, question in ipairs(args.to and { args } or args) do
    table.move({ question.kind or "tcp", question.to, question.port }, 1, 3, #words + 1, words)
  end
  local text = (args.from or self.node.space):sh(PYTHON .. "ask " .. table.concat(words, " "))
  local answers = {}
  for line in text:gmatch "[^\n]+" do
    answers[#answers + 1] = line
  end
  return table.unpack(answers)
end

-- What of nftables host ports have, as text without what is the same for all pods.
function World:elements()
  local list = {}
  for _, family in ipairs { "4", "6" } do
    for kind, names in pairs {
      set = { "hostport_owners", "hostport_snat", "hostport_masq" }, map = { "hostports", "hostip_ports" },
    } do
      for _, name in ipairs(names) do
        local text = self.node:sh(("nft list %s inet mncni %s%s"):format(kind, name, family))
        for element in (text:match "elements = {(.*)}" or ""):gmatch "[^,{}]+" do
          element = element:gsub("%s+", " "):match "^ ?(.-) ?$"
          list[#list + 1] = element ~= "" and ("%s%s %s"):format(name, family, element) or nil
        end
      end
    end
  end
  table.sort(list)
  return list
end

return hostports
