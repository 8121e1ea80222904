-- SPDX-License-Identifier: Apache-2.0
-- VLANs on a bridge that filters them: those of a pod's port, and the node's own link into one of them. For mncni.pod
-- and mncni.bridge.

local core = require "mncni.core"
local objects = require "mncni.objects"

local bridge_vlan = {}

-- IEEE 802.1Q: 0 is no VLAN, and 4095 is reserved.
local LAST = 4094

-- The flags of the VLAN that a port's untagged frames belong to.
local NATIVE = { "PVID", "Egress Untagged" }

local function refuse(where, message, ...)
  error(core.error { code = 7, object = ("%q"):format(where), message = message:format(...) }, 0)
end

local function number(entry, key, where)
  local value = entry[key]
  if value ~= nil and (math.type(value) ~= "integer" or value < 1 or value > LAST) then
    refuse(where .. "." .. key, "a VLAN is an integer from 1 to %d, and this is %s", LAST, tostring(value))
  end
  return value
end

-- Marks the VLANs of one entry of a trunk.
local function take(set, entry, where)
  local id, first, last = number(entry, "id", where), number(entry, "minID", where), number(entry, "maxID", where)
  if (first == nil) ~= (last == nil) then
    refuse(where, "minID and maxID go together, and %s is missing", first == nil and "minID" or "maxID")
  elseif not id and not first then
    refuse(where, "it names no VLAN: give it id, or minID and maxID")
  elseif first and first > last then
    refuse(where, "minID %d is greater than maxID %d", first, last)
  end
  for vlan = first or id, last or id do
    set[vlan] = true
  end
  set[id or first] = true
end

-- vlans(access, trunk): see mncni.bridge. A trunk without an access VLAN leaves untagged frames in VLAN 1.
function bridge_vlan.vlans(access, trunk)
  local native = access and access > 0 and access or trunk and 1 or nil
  if not native then
    return nil
  end
  local tagged = {}
  for i, entry in ipairs(trunk or {}) do
    take(tagged, entry, ("vlanTrunk[%d]"):format(i))
  end
  local list = { { vlan = native, flags = NATIVE } }
  tagged[native] = nil
  for vlan = 1, LAST do
    local last = list[#list]
    if tagged[vlan] and #list > 1 and (last.vlanEnd or last.vlan) == vlan - 1 then
      last.vlanEnd = vlan
    elseif tagged[vlan] then
      list[#list + 1] = { vlan = vlan }
    end
  end
  return list
end

local function holds(vlans, wanted)
  for _, entry in ipairs(vlans) do
    if wanted >= entry.vlan and wanted <= (entry.vlanEnd or entry.vlan) then
      return true
    end
  end
  return false
end

local function explain(err)
  if err.name ~= "EOPNOTSUPP" then
    return nil
  end
  return core.error {
    code = 7, errno = err.errno, object = "vlan and vlanTrunk",
    message = "this kernel's bridges know no VLANs (CONFIG_BRIDGE_VLAN_FILTERING); leave them out, or use another",
    details = tostring(err),
  }
end

-- The steps that put a port of a bridge into vlans, and, unless keep, out of the one that the bridge has put it into.
local function port_steps(host, args)
  local link = host.link.get { ifname = args.bridge }
  -- A bridge that is yet to be made has the kernel's default: VLAN 1.
  local default = link and link.bridge and link.bridge.vlan_default_pvid or 1
  local list = { {
    net = "host", verb = "add", object = "vlan", explain = explain, args = { dev = args.port, vlans = args.vlans },
  } }
  if not args.keep and default > 0 and not holds(args.vlans, default) then
    list[2] = {
      net = "host", verb = "del", object = "vlan", explain = explain,
      args = { dev = args.port, vlans = { { vlan = default } } },
    }
  end
  return list
end

-- record(context, { port, bridge, vlans, keep = boolean }): for pod:veth, once the port is recorded.
function bridge_vlan.record(context, args)
  context:record { net = "host", prepare = function() return port_steps(context.nets.host, args) end }
end

-- The name of the port that a VLAN's gateway has on the bridge.
local function gateway_port(args)
  return require("mncni.pod").host_ifname(args.bridge, tostring(args.vlan))
end

-- Whether the gateway's link is one of ours: its peer is that port.
local function is_ours(host, link, port, args)
  local peer = link.kind == "veth" and host.link.get { ifname = port }
  return peer and peer.master == args.bridge and (link.link == port or link.link == peer.ifindex)
end

-- Whether what follows the port's creation was done, too: whoever made it may have been killed.
local function is_ready(host, port, args)
  local link, entry = host.link.get { ifname = port }, host.vlan.get { dev = port }
  local only = entry and entry.vlans and #entry.vlans == 1 and entry.vlans[1]
  return link.up and only and only.vlan == args.vlan and not only.vlanEnd
    and objects.matches("vlan", { flags = NATIVE }, { flags = only.flags or {} })
end

-- gateway(host, { ifname, bridge, vlan, except = the pod's own port }) returns the steps that make the link into the
-- VLAN, and the link if it is there. Its alias begins with no "mncni ", which is that of pods' links.
function bridge_vlan.gateway(host, args)
  if #args.ifname > 15 then
    refuse("bridge", "%s is no name for the gateway's link: a link's has 15 bytes at most; choose a shorter one",
      args.ifname)
  end
  local link, port = host.link.get { ifname = args.ifname }, gateway_port(args)
  if link and not is_ours(host, link, port, args) then
    error(core.error {
      code = 103, object = ("link %q"):format(args.ifname),
      message = ("it stands where the gateway of VLAN %d has its link, and does not lead into %s; remove it, or give "
        .. "the bridge another name"):format(args.vlan, args.bridge),
    }, 0)
  elseif link and is_ready(host, port, args) then
    return {}, link
  end
  local list, over = {}, host.link.get { ifname = args.bridge }
  if not link then
    list[1] = {
      net = "host", verb = "add", object = "link", exists_ok = true,
      undo = { op = "gateway", ifname = port, bridge = args.bridge, vlan = args.vlan, except = args.except },
      args = {
        ifname = port, kind = "veth", master = args.bridge, mtu = over and over.mtu,
        peer = { ifname = args.ifname, mtu = over and over.mtu },
      },
    }
  end
  local own = { port = port, bridge = args.bridge, vlans = { { vlan = args.vlan, flags = NATIVE } } }
  for _, step in ipairs(port_steps(host, own)) do
    list[#list + 1] = step
  end
  list[#list + 1] = {
    net = "host", verb = "set", object = "link",
    args = { ifname = port, up = true, ifalias = ("mncni: port of %s"):format(args.ifname) },
  }
  return list, link
end

-- check(host, { dev, vlans }, differs): whether a port is still in the VLANs that it was put into.
function bridge_vlan.check(host, args, differs)
  local have = host.vlan.get { dev = args.dev }
  local name = ("vlan dev %s"):format(args.dev)
  for _, want in ipairs(args.vlans) do
    for vlan = want.vlan, want.vlanEnd or want.vlan do
      local found
      for _, entry in ipairs(have and have.vlans or {}) do
        found = found or vlan >= entry.vlan and vlan <= (entry.vlanEnd or entry.vlan) and entry
      end
      if not found then
        differs(name, "it is no longer in VLAN %d", vlan)
      elseif want.flags and not objects.matches("vlan", { flags = want.flags }, { flags = found.flags or {} }) then
        differs(name, "VLAN %d is there, and not as %s", vlan, table.concat(want.flags, " and "))
      end
    end
  end
end

-- check_gateway(host, { bridge, vlan }, differs): the same of the port that a VLAN's gateway has.
function bridge_vlan.check_gateway(host, args, differs)
  bridge_vlan.check(host, { dev = gateway_port(args), vlans = { { vlan = args.vlan, flags = NATIVE } } }, differs)
end

return bridge_vlan
