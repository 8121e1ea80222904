-- SPDX-License-Identifier: Apache-2.0
-- host-local: addresses from ranges given in the configuration, one file per address under dataDir/<network>.
-- Takes the configuration of the reference plugin of that name and shares its directory: a node switches over in
-- place, with its pods running, and back.

local mncni = require "mncni"

local policy = {}

policy.options = {
  ranges = { type = "list", doc = "list of range sets; an interface gets one address of each" },
  subnet = { type = "cidr", doc = "short form of ranges for a single range, with the three keys below" },
  rangeStart = { type = "string", doc = "first address to give; the subnet's first unless set" },
  rangeEnd = { type = "string", doc = "last address to give; the subnet's last (IPv4: before broadcast) unless set" },
  gateway = { type = "string", doc = "never given to a pod; the subnet's first address unless set" },
  routes = { type = "list", doc = "routes for the interface, as in [{\"dst\": \"0.0.0.0/0\"}]" },
  resolvConf = { type = "string", doc = "a resolv.conf to take the result's dns from" },
  dataDir = { type = "string", default = "/var/lib/cni/networks", doc = "where reservations are kept" },
}

-- The range sets, those that the runtime asks for (runtimeConfig.ipRanges) first.
local function range_sets(conf, request)
  return mncni.ipam.range_sets(conf, request and request.ranges, conf.version)
end

function policy.lease(request, conf)
  local routes, dns = mncni.ipam.routes(conf.routes), mncni.ipam.dns(conf.resolvConf)
  return { addresses = mncni.store.lease(request, conf, range_sets(conf, request)), routes = routes, dns = dns }
end

-- Needs no ranges, which may have changed since: the directory tells.
function policy.release(request, conf)
  mncni.store.release(request, conf)
end

function policy.check(request, conf, lease)
  mncni.store.check(request, conf, range_sets(conf, request), lease)
end

-- Raises code 50 when no address is free.
function policy.status(conf, request)
  mncni.store.status(conf, range_sets(conf), request)
end

-- Frees what no attachment of valid holds.
function policy.gc(valid, conf)
  return mncni.store.gc(valid, conf)
end

return policy
