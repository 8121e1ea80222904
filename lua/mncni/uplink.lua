-- SPDX-License-Identifier: Apache-2.0
-- The link that pods' own links stand on: macvlan's, ipvlan's and VLANs' master.

local core = require "mncni.core"

local uplink = {}

-- find(net, name) returns the link of that name in a net, as link.get does; of "" (or nil) the device of the default
-- route. Raises code 7 when there is none.
function uplink.find(net, name)
  local link
  if name == nil or name == "" then
    link = require("mncni.route").default_link(net)
    if not link then
      error(core.error {
        code = 7, object = "master", message = "it is not given, and no default route has a device that it could be",
      }, 0)
    end
    return link
  end
  link = net.link.get { ifname = name }
  if not link then
    error(core.error {
      code = 7, object = ("master %q"):format(name), errno = 19,
      message = "there is no such link; make it first, or name another one",
    }, 0)
  end
  return link
end

-- status{ master = name, inside = true where it is the pod's } raises code 50 when there is no such link on the node.
-- For the hook status; changes nothing.
function uplink.status(args)
  require("mncni.arguments").check("uplink.status", args, { "master", "inside" })
  if args.inside then
    return
  end
  local host <close> = require("mncni.net").open()
  local ok, err = pcall(uplink.find, host, args.master)
  if not ok then
    err.code = core.is_error(err) and 50 or nil
    error(err, 0)
  end
end

-- vlan{ master = name, id = 802.1Q number, ifname = its own name (master.id) } makes sure that the node has this VLAN of the
-- link, up, for pods to stand on: pod:link { master = vlan.ifname } after pod:commit(). It belongs to the node and stays.
-- Raises code 7 for a master that is not there, 103 when something else has the name.
function uplink.vlan(args)
  require("mncni.arguments").check("uplink.vlan", args, { "master", "id", "ifname" })
  local ifname = args.ifname or ("%s.%d"):format(args.master, args.id)
  require("mncni.steps").apply { shared = true, prepare = function(context)
    local host = context.nets.host
    local master, have = uplink.find(host, args.master), host.link.get { ifname = ifname }
    if have and (have.kind ~= "vlan" or have.vlan.id ~= args.id or have.link ~= master.ifname) then
      error(core.error {
        code = 103, errno = 17, object = ("link %q"):format(ifname),
        message = ("it is not VLAN %d of %s; choose another name, or remove it"):format(args.id, master.ifname),
      }, 0)
    elseif have then
      local up = { net = "host", verb = "set", object = "link", args = { ifname = ifname, up = true } }
      return have.up and {} or { up }
    end
    return { { net = "host", verb = "add", object = "link", exists_ok = true, args = {
      ifname = ifname, kind = "vlan", link = master.ifname, vlan = { id = args.id }, up = true,
    } } }
  end }
  return { kind = "vlan", ifname = ifname }
end

-- Where a device of a bus shows its network interfaces: its own directory, and, for virtio, one below it.
local function shows(path, ifname)
  for _, name in ipairs(core.directory.list(path) or {}) do
    if name == "net" or name:find "^virtio%d" then
      for _, shown in ipairs(core.directory.list(path .. (name == "net" and "/net" or "/" .. name .. "/net")) or {}) do
        if shown == ifname then
          return true
        end
      end
    end
  end
  return false
end

-- device(net, { device = name, hwaddr = MAC address, kernelpath = below /sys/devices, pciBusID, deviceID = on the PCI or
-- the auxiliary bus }) returns the link of a net that the first of these keys names. Raises code 7 when none is given, or
-- the device is not there.
function uplink.device(net, args)
  local function fail(object, message)
    error(core.error { code = 7, object = object, message = message }, 0)
  end
  local name, wanted
  for _, key in ipairs { "device", "hwaddr", "kernelpath", "deviceID", "pciBusID" } do
    if args[key] and args[key] ~= "" then
      name, wanted = key, args[key]
      break
    end
  end
  if not name then
    fail("device", "specify either \"device\", \"hwaddr\", \"kernelpath\" or \"pciBusID\"")
  elseif name == "kernelpath" and (not wanted:find "^/sys/devices/" or wanted:find("..", 1, true)) then
    fail(("kernelpath %q"):format(wanted), "it must be absolute and begin with /sys/devices/")
  elseif (name == "pciBusID" or name == "deviceID") and wanted:find "/" then
    fail(("%s %q"):format(name, wanted), "it must be the name of a device on a bus, like 0000:00:03.0")
  end
  for link in net.link.list {} do
    if name == "device" and link.ifname == wanted
      or name == "hwaddr" and link.address == wanted:lower() and link.ifname ~= "lo"
      or name == "kernelpath" and shows(wanted, link.ifname)
      or (name == "pciBusID" or name == "deviceID") and shows("/sys/bus/pci/devices/" .. wanted, link.ifname)
      or name == "deviceID" and shows("/sys/bus/auxiliary/devices/" .. wanted, link.ifname) then
      return link
    end
  end
  fail(("%s %q"):format(name, wanted), "the node has no such device; another pod may have it")
end

return uplink
