-- SPDX-License-Identifier: Apache-2.0
-- pod:vrf: puts the pod's interface into a VRF of the pod's. Several interfaces of a pod may be in one; the VRF goes with
-- the last of them, if it was made here.

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local route = require "mncni.route"
local steps = require "mncni.steps"

local pod_vrf = {}

local function fail(code, object, message, ...)
  error(core.error { code = code, object = object, message = message:format(...) }, 0)
end

-- The lowest table that no VRF has, and that is none of the kernel's own (253 to 255: default, main, local).
local function free_table(net)
  local taken = { [253] = true, [254] = true, [255] = true }
  for link in net.link.list {} do
    if link.vrf then
      taken[link.vrf.table] = true
    end
  end
  local number = 1
  while taken[number] do
    number = number + 1
  end
  return number
end

local function alias_of(ifname)
  return "mncni vrf " .. ifname
end

-- The VRF's table, after steps that make it where it is missing.
local function ensure(context, ifname, wanted)
  local net = context.nets.pod
  local have = net.link.get { ifname = ifname }
  local undo = { op = "vrf", ifname = ifname, alias = alias_of(ifname), netns = context.netns }
  local number = have and have.vrf and have.vrf.table or wanted or free_table(net)
  if have and have.kind ~= "vrf" then
    fail(103, ("link %q"):format(ifname), "the pod has such a link, of kind %s, which is no VRF; choose another name",
      have.kind or "physical")
  elseif have and wanted and wanted ~= number then
    fail(7, ("vrf %q"):format(ifname), "VRF %s already exist with different routing table %d", ifname, number)
  elseif have then
    context:record {
      net = "pod", verb = "require", object = "vrf", args = { ifname = ifname, table = number }, undo = undo,
    }
    return number
  end
  context:record {
    net = "pod", verb = "add", object = "link", undo = undo,
    args = { ifname = ifname, kind = "vrf", vrf = { table = number }, group = steps.GROUP },
  }
  context:record {
    net = "pod", verb = "set", object = "link", args = { ifname = ifname, ifalias = alias_of(ifname), up = true },
  }
  return number
end

-- The routes through an interface that somebody has made, those that lead to a gateway first: the kernel's own follow its
-- addresses.
local function routes_through(net, ifname)
  local routes = {}
  for _, family in ipairs { "inet", "inet6" } do
    for have in net.route.list { family = family, table = "main", dev = ifname } do
      if have.protocol ~= "kernel" and have.protocol ~= "ra" and not have.nexthops then
        table.insert(routes, (have.gateway or have.via) and 1 or #routes + 1, route.settable(have))
      end
    end
  end
  return routes
end

-- See Pod:vrf. The kernel takes an interface down and up again when it enters or leaves a VRF: its routes go, and its IPv6
-- addresses unless it is told to keep them. What is taken out before it enters is put back once it has left.
function pod_vrf.add(self, args)
  arguments.check("pod:vrf", args, { "ifname", "table" })
  local context = self._context
  local net = context.nets.pod
  local link = net.link.get { ifname = self.ifname }
  if not link then
    fail(7, ("link %q"):format(self.ifname), "the pod has no such interface; a plugin before this one has to make it")
  elseif link.master and link.master ~= args.ifname then
    fail(103, ("link %q"):format(self.ifname), "interface %s has already a master set: %s", self.ifname,
      tostring(link.master))
  end
  local number = ensure(context, args.ifname, args.table)
  if link.master == args.ifname then
    return
  end
  context:record { net = "pod", verb = "set", object = "sysctl", args = {
    key = ("net/ipv6/conf/%s/keep_addr_on_down"):format(self.ifname), value = "1", optional = true,
  } }
  local routes = routes_through(net, self.ifname)
  for _, one in ipairs(routes) do
    context:record { net = "pod", verb = "del", object = "route", args = one }
  end
  context:record {
    net = "pod", verb = "set", object = "link", args = { ifname = self.ifname, master = args.ifname },
    undo = {
      op = "netlink", protocol = "route", netns = context.netns,
      message = steps.hex(core.encode("set", "link", { ifindex = link.ifindex, master = 0 })),
    },
  }
  for i = #routes, 1, -1 do
    local moved = {}
    for key, value in pairs(routes[i]) do
      moved[key] = key == "table" and number or value
    end
    context:record { net = "pod", verb = "append", object = "route", args = moved }
  end
end

-- check(net, args, differs): the VRF is there, with its table.
function pod_vrf.check(net, args, differs)
  local link = net.link.get { ifname = args.ifname }
  if not link or not link.vrf then
    differs(("vrf %q"):format(args.ifname), "it is gone")
  elseif link.vrf.table ~= args.table then
    differs(("vrf %q"):format(args.ifname), "its table is %d, and should be %d", link.vrf.table, args.table)
  end
end

return pod_vrf
