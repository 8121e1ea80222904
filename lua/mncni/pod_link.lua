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
  local host <close> = core.netns.current()
  local nsid = context.nets.pod.nsid
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
  context:record { net = "pod", verb = "set", object = "link", args = { ifname = self.ifname, ifalias = alias } }
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

local function seen(self, eth)
  return function(current)
    local link = current.nets.pod.link.get { ifname = self.ifname }
    eth.mac, eth.mtu = link.address, link.mtu
    current.index.pod[self.ifname] = link.ifindex
  end
end

local on_a_link = { macvlan = true, macvtap = true, ipvlan = true, vlan = true }

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
  context:record {
    net = "pod", verb = "add", object = "link", alias = alias, args = made, created = seen(self, eth),
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

return pod_link
