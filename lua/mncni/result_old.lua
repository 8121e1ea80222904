-- SPDX-License-Identifier: Apache-2.0
-- Results of cniVersion 0.1.0 and 0.2.0, which have one address of each family and no interfaces.

local core = require "mncni.core"
local readers = require("mncni.result").readers

local result_old = {}

-- The canonical form of such a document; refuse raises (see mncni.result).
function result_old.read(document, refuse)
  local canonical = { interfaces = {}, ips = {}, routes = {}, dns = readers.dns(document.dns, refuse) }
  for _, key in ipairs { "ip4", "ip6" } do
    local entry = document[key]
    if not readers.absent(entry) then
      readers.object(entry, key, refuse)
      canonical.ips[#canonical.ips + 1] = {
        address = readers.network(entry.ip, key .. ".ip", refuse),
        gateway = readers.host(entry.gateway, key .. ".gateway", refuse),
      }
      for _, route in ipairs(readers.routes(entry.routes, refuse, false, key .. ".")) do
        canonical.routes[#canonical.routes + 1] = { dst = route.dst, gw = route.gw }
      end
    end
  end
  return canonical
end

-- The document of a canonical result in such a version. Raises code 1 for one without an address.
function result_old.convert(canonical, version)
  local document = { cniVersion = version, dns = canonical.dns }
  local configs = {}
  for _, ip in ipairs(canonical.ips or {}) do
    local key = readers.family(ip.address) == "inet" and "ip4" or "ip6"
    if not configs[key] then
      configs[key] = { ip = ip.address, gateway = ip.gateway }
    end
  end
  if not next(configs) then
    error(core.error {
      code = 1, message = "cannot convert: no valid IP addresses",
      details = ("cniVersion %s has no result without an address; 0.3.0 and later have"):format(version),
    }, 0)
  end
  for _, route in ipairs(canonical.routes or {}) do
    local config = configs[readers.family(route.dst) == "inet" and "ip4" or "ip6"]
    if config then
      config.routes = config.routes or core.json.array {}
      config.routes[#config.routes + 1] = { dst = route.dst, gw = route.gw }
    end
  end
  document.ip4, document.ip6 = configs.ip4, configs.ip6
  return document
end

return result_old
