-- SPDX-License-Identifier: Apache-2.0
-- The pod that a policy wires. Its calls record steps; the host journals and sends them after the hook returns.
--
-- Fields for a policy to read: container, ifname, network, netns (path), args (CNI_ARGS), annotations, runtime
-- (runtimeConfig), config (the whole network configuration), prev_result, name and namespace (the Kubernetes pod's).
-- pod.inside and pod.host are nets whose changes are recorded: pod.inside.route.add { dst = "10.9.0.0/16", ... }.

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local steps = require "mncni.steps"

local Pod = {}
Pod.__index = Pod

local Eth = {}
Eth.__index = Eth

local Lease = {}
Lease.__index = Lease

-- What pod:... and what it returns have, for mncni.lint.
local pod = { _classes = { pod = Pod, eth = Eth, lease = Lease } }

-- The bytes that stand for 0 to 31 in a name.
local DIGITS = {}
for i = 0, 31 do
  DIGITS[i] = ("abcdefghijklmnopqrstuvwxyz234567"):byte(i + 1)
end

-- The name of the host's end of a pod's link: the same for the same container and interface, 15 bytes long.
-- Two attachments that collide (one in 2^55) are told apart by the alias, and the second ADD is refused.
function pod.host_ifname(container, ifname)
  local hash, d = core.journal.hash(container .. "\n" .. ifname), DIGITS
  return "veth" .. string.char(d[hash & 31], d[hash >> 5 & 31], d[hash >> 10 & 31], d[hash >> 15 & 31],
    d[hash >> 20 & 31], d[hash >> 25 & 31], d[hash >> 30 & 31], d[hash >> 35 & 31], d[hash >> 40 & 31],
    d[hash >> 45 & 31], d[hash >> 50 & 31])
end

-- A MAC address that is the same for the same text: locally administered and unicast (IEEE 802: bits 0x02 and 0x01 of
-- byte 1).
function pod.mac(text)
  local hash = core.journal.hash(text)
  local digits = ("%012x"):format(hash & 0xfcffffffffff | 0x020000000000)
  return digits:gsub("%x%x", "%0:"):sub(1, 17)
end

-- The alias of a pod's link, which names the attachment: proof of ownership for undo and GC.
-- The kernel keeps 255 bytes (IFALIASZ - 1). part is the plugin's name for a link besides the pod's own: pod:node_link.
function pod.alias(network, container, ifname, part)
  part = part and " " .. part or ""
  local alias = ("mncni %s %s %s%s"):format(network, container, ifname, part)
  if #alias > 255 then
    alias = ("mncni %016x %s"):format(core.journal.hash(alias), ifname)
  end
  return alias
end

-- new{ call = the CNI call, conf = checked options, context = steps context }
function pod.new(args)
  local call, context = args.call, args.context
  local cni_args = call.args or {}
  return setmetatable({
    container = call.container,
    ifname = call.ifname,
    network = call.network,
    netns = call.netns,
    args = cni_args,
    annotations = call.annotations or {},
    runtime = call.config.runtimeConfig or {},
    config = call.config,
    prev_result = call.prev_result,
    name = cni_args.K8S_POD_NAME,
    namespace = cni_args.K8S_POD_NAMESPACE,
    inside = context:recorder "pod",
    host = context:recorder "host",
    _call = call,
    _context = context,
  }, Pod)
end

-- Sends what was recorded so far, for a policy that must look at the outcome. Raises what the kernel refuses.
function Pod:commit()
  self._context:commit()
end

-- A line for people: to stderr, which containerd keeps in its log, and, when the call succeeds, to its record.
function Pod:warn(message)
  self._context:warn(message)
end

-- The addresses that ipam (the "ipam" section of the configuration) gives this attachment, as a lease with
-- addresses { { address, gateway } }, routes { { dst, gw } }, dns, gateways and subnets (cidr values).
-- With options.gateway, addresses without a gateway have the first one of their subnet.
-- Answered at once. Raises code 104 when no address is free, code 7 when ipam is unusable.
function Pod:lease(ipam, options)
  arguments.check("pod:lease", options or {}, { "gateway" })
  -- An interface in the way would waste the address: look first.
  if not self.prev_result and self._context.nets.pod.link.get({ ifname = self.ifname }, {}) then
    error(core.error {
      op = "add", object = ("link %q"):format(self.ifname), netns = self.netns, errno = 17, code = 103,
      message = "the container has an interface of this name already; it was left as it is and no address was used",
    }, 0)
  end
  local lease = require("mncni.lease").acquire(self._call, self._context, ipam)
  lease.gateways, lease.subnets = {}, {}
  for i, entry in ipairs(lease.addresses) do
    local address = core.cidr(entry.address)
    lease.subnets[i] = address.network
    if options and options.gateway and not entry.gateway then
      entry.gateway = address.network:nth(1).address
    end
    if entry.gateway then
      lease.gateways[#lease.gateways + 1] = core.cidr(("%s/%d"):format(entry.gateway, address.prefix))
    end
  end
  return setmetatable(lease, Lease)
end

-- True when the lease has an address of the family ("inet" or "inet6").
function Lease:has(family)
  for _, entry in ipairs(self.addresses) do
    if core.cidr(entry.address).family == family then
      return true
    end
  end
  return false
end

-- Sends the same interface to another plugin of CNI_PATH: its result (canonical form). DEL follows by itself.
function Pod:delegate(type, config)
  return require("mncni.delegate").add(self._call, self._context, type, config)
end

-- Has another policy wire the pod, as it would with that configuration (a table as JSON has it): what its add returns.
-- Raises what that raises; keys that it does not know are ignored and recorded, as those of any configuration.
function Pod:wire(name, config)
  local policy = require("mncni.policy").load(name)
  if not policy.add then
    error(core.error { code = 7, object = ("policy %q"):format(name), message = "it has no add hook" }, 0)
  end
  local call = setmetatable({ config = config, policy = name }, { __index = self._call })
  return policy.add(self, require("mncni.attachment").checked(call, policy))
end

-- For a chained policy: the addresses that the plugins before it gave this interface, as cidr values; of one family
-- ("inet", "inet6") or both.
function Pod:addresses(family)
  return require("mncni.chain").addresses(self._call, family)
end

-- For a chained policy: the node's end of the pod's veth, as pod.host.link.get returns it. Raises code 7 if it has none.
function Pod:host_link()
  return require("mncni.chain").host_link(self._context.nets, self.ifname)
end

-- The MAC address that was asked for: runtimeConfig.mac, else args.cni.mac, else MAC of CNI_ARGS, else nil.
-- Source of the order: the conventions of CNI, "dynamic plugin specific fields". Raises code 7 for what is no address of
-- one interface.
function Pod:wanted_mac()
  local args = self.config.args
  for _, source in ipairs {
    { "runtimeConfig.mac", self.runtime.mac }, { "args.cni.mac", args and args.cni and args.cni.mac },
    { "MAC of CNI_ARGS", self.args.MAC },
  } do
    local mac = source[2]
    if mac and mac ~= "" then
      local first = mac:gsub("-", ":"):match("^(%x%x)" .. (":%x%x"):rep(5) .. "$")
      if not first or tonumber(first, 16) & 1 == 1 then
        error(core.error {
          code = 7, object = source[1],
          message = ("%q is no MAC address that an interface can have; 02:00:00:00:00:01 is one"):format(mac),
        }, 0)
      end
      return (mac:gsub("-", ":"))
    end
  end
  return nil
end

-- Router advertisements are never taken from a network that pods share (CVE-2020-10749).
local function port_sysctls(context, where, net, ifname, inside)
  local function set(family, key, value)
    context:record {
      net = net, verb = "set", object = "sysctl", where = where, ifname = ifname,
      args = { key = "net/" .. family .. "/conf/" .. ifname .. "/" .. key, value = value, optional = true },
    }
  end
  set("ipv6", "accept_ra", "0")
  if inside then
    set("ipv6", "accept_dad", inside.dad and "1" or "0")
    set("ipv6", "keep_addr_on_down", "1")
    set("ipv4", "arp_notify", "1")
  end
end

-- A veth pair: one end the pod's interface, created inside its namespace, the other on the host.
-- args: master (a bridge, by object or name), mtu, hairpin, isolated (booleans), host_ifname, address (MAC inside),
-- guard (true: the pod may send only from its MAC address; a lease: and only from its addresses), vlans (of the port, as
-- mncni.bridge.vlans makes them), keep_default_vlan (and the one that the bridge gives to every port), up (false: the
-- interface inside stays down), dad (duplicate address detection).
function Pod:veth(args)
  arguments.check("pod:veth", args, {
    "master", "mtu", "hairpin", "isolated", "host_ifname", "address", "guard", "vlans", "keep_default_vlan", "up",
    "dad",
  })
  local context, where = self._context, steps.where()
  local host_ifname = args.host_ifname or pod.host_ifname(self.container, self.ifname)
  local mac = pod.mac(self.container .. "\n" .. self.ifname) -- given, it need not be asked for
  local alias = pod.alias(self.network, self.container, self.ifname)
  local master, address = args.master, args.address or self:wanted_mac()
  local eth = setmetatable({
    kind = "veth", ifname = self.ifname, host_ifname = host_ifname, host_mac = mac, mtu = args.mtu, _pod = self,
    _dad = args.dad,
  }, Eth)
  master = type(master) == "table" and master.ifname or master

  if args.guard then
    local guard = require "mncni.guard"
    address = address or guard.mac(self.container, self.ifname)
    guard.record(context, { port = host_ifname, bridge = master, mac = address, lease = args.guard })
  end
  context:record {
    net = "host", verb = "add", object = "link", alias = alias, where = where,
    args = {
      ifname = host_ifname, kind = "veth", mtu = args.mtu, address = mac, group = steps.GROUP,
      master = master,
      peer = {
        ifname = self.ifname, mtu = args.mtu, address = address,
        netns = self._call.netns_handle,
      },
    },
    created = function(current)
      local link = current.nets.pod.link.get({ ifname = self.ifname }, { "ifindex", "address", "mtu" })
      eth.mac, eth.mtu = link.address, link.mtu
      current.index.pod[self.ifname] = link.ifindex
    end,
  }
  port_sysctls(context, where, "host", host_ifname)
  port_sysctls(context, where, "pod", self.ifname, { dad = args.dad })
  if args.vlans then
    require("mncni.bridge_vlan").record(context, {
      port = host_ifname, bridge = master, vlans = args.vlans, keep = args.keep_default_vlan,
    })
  end
  local port = master and { hairpin = args.hairpin or false, isolated = args.isolated or false } or nil
  if args.guard then
    require("mncni.guard").teach(context, { port = host_ifname, mac = address })
    port.learning = false
  end
  -- The kernel ignores an alias in the request that creates a link, and the port exists only after it.
  context:record {
    net = "host", verb = "set", object = "link", where = where,
    args = { ifname = host_ifname, ifalias = alias, up = true, bridge_slave = port },
  }
  if args.up ~= false then
    context:record {
      net = "pod", verb = "set", object = "link", where = where, args = { ifname = self.ifname, up = true },
    }
  end
  return eth
end

-- A link on the node, up, that belongs to this attachment and goes with it, though not with the pod's namespace.
-- args: ifname, kind ("ifb", "dummy"), mtu. Returns what pod:result takes.
function Pod:node_link(args)
  arguments.check("pod:node_link", args, { "ifname", "kind", "mtu" })
  local context = self._context
  local alias = pod.alias(self.network, self.container, self.ifname, self._call.type)
  context:record {
    net = "host", verb = "add", object = "link", alias = alias, lasting = true,
    args = { ifname = args.ifname, kind = args.kind, mtu = args.mtu, group = steps.GROUP },
  }
  context:record {
    net = "host", verb = "set", object = "link", args = { ifname = args.ifname, ifalias = alias, up = true },
  }
  return { ifname = args.ifname }
end

local function new_eth(self)
  return setmetatable({ ifname = self.ifname, _pod = self }, Eth)
end

-- The pod's interface as a link of its own, made inside its namespace: kind "macvlan", "ipvlan", "vlan", "dummy", ...
-- args: master (the link that it stands on, by name; the default route's device when empty), inside (true: the master is
-- the pod's, too), mtu (0 or nil: its master's), address (MAC), options (of the kind, with the keys of
-- `ip -json -details link`), lease (its addresses, which it has before it is up and tells its neighbours).
-- Raises code 7 for a master that is not there or an MTU above its.
function Pod:link(args)
  return require("mncni.pod_link").add(self, new_eth(self), args)
end

-- The pod's interface as a TAP device that stays. args: mtu, address (MAC), multi_queue, owner and group (numbers: who may
-- attach to it), master (a bridge of the pod's, by name), lease (as with link).
function Pod:tap(args)
  return require("mncni.pod_link").tap(self, new_eth(self), args)
end

-- A device of the node's, moved into the pod; it comes back when the attachment ends. args: link (as mncni.uplink.device
-- or pod.host.link.get returns it), lease (as with link). What the node had on it (addresses, routes) goes.
function Pod:device(args)
  return require("mncni.pod_link").device(self, new_eth(self), args)
end

-- For a chained policy: puts the pod's interface, with its addresses and routes, into a VRF of the pod's. args: ifname (the
-- VRF's, which is made when missing), table (its routing table; the first that is free unless given). Raises code 7 when
-- it has another table, 103 when the interface or the name is taken.
function Pod:vrf(args)
  return require("mncni.pod_vrf").add(self, args)
end

-- Gives the interface an address ("10.0.0.2/24") or every address of a lease. Without dad = true of the veth no duplicate
-- address detection: IPAM has seen to that, and it would cost a second or two. With noprefixroute = true the subnet gets
-- no route.
function Eth:address(what, options)
  arguments.check("eth:address", options or {}, { "noprefixroute" })
  local list = type(what) == "table" and what.addresses or { { address = what } }
  local context = self._pod._context
  for _, entry in ipairs(list) do
    local address = core.cidr(entry.address)
    if address.family == "inet6" then
      -- Without an address that leads anywhere there is nothing to redirect, so a pod of IPv4 is spared the writes.
      for _, key in ipairs { "accept_redirects", "autoconf", "disable_ipv6" } do
        context:record {
          net = "pod", verb = "set", object = "sysctl",
          args = { key = ("net/ipv6/conf/%s/%s"):format(self.ifname, key), value = "0" },
        }
      end
    end
    local flags = { address.family == "inet6" and not self._dad and "nodad" or nil }
    flags[#flags + 1] = options and options.noprefixroute and "noprefixroute" or nil
    context:record {
      net = "pod", verb = "add", object = "addr",
      args = { dev = self.ifname, address = tostring(address), flags = #flags > 0 and flags or nil },
    }
  end
end

-- Sends what was recorded and waits, 10 s at most, until no address of the interface is tentative. Raises code 103 for one
-- that another host has, 11 when the kernel is not done by then. Needed with dad = true.
function Eth:settle()
  self._pod:commit()
  require("mncni.settle").wait(self._pod._context.nets.pod, self.ifname)
end

local function record_route(eth, verb, route)
  local args = { dev = eth.ifname }
  for key, value in pairs(route) do
    args[key] = value
  end
  eth._pod._context:record { net = "pod", verb = verb, object = "route", args = args }
end

-- Adds one route through the interface: { dst, gateway, metric, mtu, ... } with the keys of `ip route`.
function Eth:route(route)
  record_route(self, "add", route)
end

local function is_default(dst)
  local net = core.cidr.parse(dst)
  return dst == "default" or (net and net.prefix == 0)
end

local scopes = { [0] = "global", [253] = "link", [254] = "host" }

-- Adds the routes of a lease, behind those of the same destination that the pod has: its first network keeps the
-- default route. One without gw goes through the lease's gateway of its family; priority, mtu, advmss, table and
-- scope are honoured; those that differ in their gw alone become one route with several next hops. With default = true,
-- families without a default route get one.
function Eth:routes(lease, options)
  arguments.check("eth:routes", options or {}, { "default" })
  local parallel = require "mncni.parallel"
  local gateway, has_default, list = {}, {}, {}
  for _, entry in ipairs(lease.addresses) do
    local family = core.cidr(entry.address).family
    gateway[family] = gateway[family] or entry.gateway
  end
  for _, route in ipairs(lease.routes or {}) do
    local family = core.cidr(route.dst).family
    has_default[family] = has_default[family] or is_default(route.dst)
    local scope = scopes[route.scope]
    parallel.join(list, self.ifname, {
      dst = route.dst, gateway = route.gw or (scope ~= "link" and scope ~= "host" and gateway[family] or nil),
      metric = route.priority, table = route.table, scope = scope,
      metrics = (route.mtu or route.advmss) and { mtu = route.mtu, advmss = route.advmss } or nil,
    })
  end
  for _, route in ipairs(list) do
    record_route(self, "append", route)
  end
  if not (options and options.default) then
    return
  end
  for _, family in ipairs { "inet", "inet6" } do
    if gateway[family] and not has_default[family] then
      local dst = family == "inet" and "0.0.0.0/0" or "::/0"
      record_route(self, "append", { dst = dst, gateway = gateway[family] })
      lease.routes = lease.routes or {}
      lease.routes[#lease.routes + 1] = { dst = dst, gw = gateway[family] }
    end
  end
end

-- An interface that the pod has anyway, for pod:result: it is reported with the addresses that the kernel shows.
function Pod:interface(ifname)
  return { ifname = ifname, sandbox = self.netns, present = true }
end

-- The CNI result: parts are what the calls above returned (bridge, eth, lease); dns replaces the lease's where it
-- says anything. Interfaces get their addresses and MTU from the kernel once the steps are sent.
function Pod:result(parts) -- luacheck: no self
  return { _parts = parts }
end

local function said(dns)
  return type(dns) == "table" and next(dns) ~= nil and dns or nil
end

-- Turns what a policy's add returned into a canonical result, after the commit.
function Pod:finish(returned)
  if type(returned) ~= "table" then
    error(core.error {
      code = 100, message = ("add must return a result (return pod:result { ... }), not %s"):format(type(returned)),
    }, 0)
  end
  local parts = returned._parts
  if not parts then
    return returned
  end
  local previous = self.prev_result or {}
  local result = { interfaces = {}, ips = {}, routes = {}, dns = previous.dns }
  for _, key in ipairs { "interfaces", "ips", "routes" } do
    for i, entry in ipairs(previous[key] or {}) do
      result[key][i] = entry
    end
  end
  local nets, inside = self._context.nets, nil
  for _, part in ipairs(parts) do
    local kind = getmetatable(part)
    if kind == Eth then
      if part.host_ifname then
        table.insert(result.interfaces, { name = part.host_ifname, mac = part.host_mac, mtu = part.mtu })
      end
      table.insert(result.interfaces, { name = part.ifname, mac = part.mac, mtu = part.mtu, sandbox = self.netns })
      inside = #result.interfaces - 1
    elseif kind ~= Lease and part.ifname then
      local link = part.link or nets[part.sandbox and "pod" or "host"].link.get { ifname = part.ifname }
      table.insert(result.interfaces, {
        name = part.ifname, mac = link and link.address, mtu = link and link.mtu, sandbox = part.sandbox,
      })
      if part.sandbox then
        inside = #result.interfaces - 1
      end
      if part.present then
        part.addresses = {}
        for address in nets.pod.addr.list { dev = part.ifname } do
          table.insert(part.addresses, { address = address.address })
        end
      end
    end
  end
  for _, part in ipairs(parts) do
    if getmetatable(part) == Lease or part.addresses then
      for _, entry in ipairs(part.addresses) do
        table.insert(result.ips, { address = entry.address, gateway = entry.gateway, interface = inside })
      end
      for _, route in ipairs(part.routes or {}) do
        table.insert(result.routes, route)
      end
      result.dns = said(part.dns) or result.dns
    end
  end
  result.dns = said(parts.dns) or result.dns
  return result
end

return pod
