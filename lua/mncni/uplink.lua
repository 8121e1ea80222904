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

return uplink
