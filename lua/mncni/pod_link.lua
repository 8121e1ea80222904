-- SPDX-License-Identifier: Apache-2.0
-- pod:link and pod:device: interfaces of a pod that are no veth. One is made inside the pod's namespace from the start, on
-- a link of the node where it stands on one, so that no name of the node is in its way and nothing has to be moved; a
-- device of the node is moved, and comes back.

local core = require "mncni.core"
local arguments = require "mncni.arguments"
local steps = require "mncni.steps"

local pod_link = {}

-- The number by which the pod's namespace knows the node's. The kernel gives it one whenever it has to tell of a link
-- that stands on one of the node's; it ends with the pod's namespace.
local function host_nsid(context)
  local host, nsid = context.nets.host, context.nets.pod.nsid
  local known = nsid.get { netns = host }
  if not known or known.nsid < 0 then
    local ok, err = pcall(nsid.add, { netns = host, nsid = -1 })
    if not ok and not (core.is_error(err) and err.name == "EEXIST") then
      error(err, 0)
    end
    known = nsid.get { netns = host }
  end
  return known.nsid
end

-- The pod's interface: its alias, what announces it, its addresses, and then up, so that what is announced has them
-- (arp_notify and ndisc_notify tell the neighbours when a link comes up).
local function finish(self, eth, alias, lease, after)
  local context = self._context
  if alias then
    context:record { net = "pod", verb = "set", object = "link", args = { ifname = self.ifname, ifalias = alias } }
  end
  for _, key in ipairs { "ipv4/conf/%s/arp_notify", "ipv6/conf/%s/ndisc_notify" } do
    context:record {
      net = "pod", verb = "set", object = "sysctl",
      args = { key = "net/" .. key:format(self.ifname), value = "1", optional = true },
    }
  end
  if lease then
    eth:address(lease)
  end
  local up = { ifname = self.ifname, up = true }
  for key, value in pairs(after or {}) do
    up[key] = value
  end
  context:record { net = "pod", verb = "set", object = "link", args = up }
  return eth
end

-- What to do when the interface is there: it gets its name, if it has another one, and is looked at.
local function seen(self, eth, as)
  return function(current)
    local link = current.nets.pod.link.get { ifname = as or self.ifname }
    if as then
      current.nets.pod.link.set { ifindex = link.ifindex, ifname = self.ifname }
    end
    eth.mac, eth.mtu = link.address, link.mtu
    current.index.pod[self.ifname] = link.ifindex
  end
end

local on_a_link = { macvlan = true, macvtap = true, ipvlan = true, vlan = true }

-- The name under which a link on one of the node's is made: up to Linux 6.14 such a link is the node's for a moment,
-- where the pod's name for it may be another's.
local function temporary(self)
  return (require("mncni.pod").host_ifname(self.container, self.ifname):gsub("^veth", "mncn"))
end

-- See Pod:link. eth is an empty interface of this pod.
function pod_link.add(self, eth, args)
  arguments.check("pod:link", args, { "kind", "master", "inside", "mtu", "address", "options", "lease" })
  local context, alias = self._context, require("mncni.pod").alias(self.network, self.container, self.ifname)
  local mtu = args.mtu ~= 0 and args.mtu or nil
  local made = {
    ifname = self.ifname, kind = args.kind, mtu = mtu, address = args.address, group = steps.GROUP,
    [args.kind] = args.options,
  }
  if on_a_link[args.kind] then
    local master = require("mncni.uplink").find(context.nets[args.inside and "pod" or "host"], args.master)
    if mtu and mtu > master.mtu then
      error(core.error {
        code = 7, object = "mtu", message = ("invalid MTU %d, must be [0, master MTU(%d)]: no more than %s has"):format(
          mtu, master.mtu, master.ifname),
      }, 0)
    end
    made.mtu = mtu or master.mtu
    made.link = args.inside and master.ifname or master.ifindex
    made.link_netnsid = not args.inside and host_nsid(context) or nil
  end
  local as = made.link_netnsid and temporary(self) or nil
  context:record {
    net = "pod", verb = "add", object = "link", alias = alias, as = as, args = made, created = seen(self, eth, as),
  }
  return finish(self, eth, alias, args.lease)
end

-- See Pod:tap.
function pod_link.tap(self, eth, args)
  arguments.check("pod:tap", args, { "mtu", "address", "multi_queue", "owner", "group", "master", "lease" })
  local alias = require("mncni.pod").alias(self.network, self.container, self.ifname)
  self._context:record {
    net = "pod", verb = "add", object = "tun", alias = alias, created = seen(self, eth),
    args = {
      ifname = self.ifname, mode = "tap", multi_queue = args.multi_queue, owner = args.owner, group = args.group,
      link = { group = steps.GROUP, ifalias = alias, mtu = args.mtu ~= 0 and args.mtu or nil, address = args.address },
    },
  }
  return finish(self, eth, alias, args.lease, { master = args.master })
end

-- See Pod:device. In the pod the device's alias is the name that it had, as with the reference plugin, so that whoever
-- finds it knows what it was.
function pod_link.device(self, eth, args)
  arguments.check("pod:device", args, { "link", "lease" })
  local device, call = args.link, self._call
  local created = seen(self, eth)
  self._context:record {
    net = "host", verb = "move", object = "link",
    args = {
      ifname = device.ifname, to = self.ifname, address = device.address, ifalias = device.ifalias or "",
      up = device.up,
    },
    send = function(context)
      context.nets.host:batch {
        { "set", "link", { ifindex = device.ifindex, up = false, ifalias = device.ifname } },
        { "set", "link", { ifindex = device.ifindex, ifname = self.ifname, netns = call.netns_handle } },
      }
      created(context)
    end,
  }
  return finish(self, eth, nil, args.lease)
end

return pod_link
