-- SPDX-License-Identifier: Apache-2.0
-- static: the addresses that the configuration names, or the runtime. Keeps no state: nobody sees to it that an address is
-- given once. Takes the configuration of the reference plugin of that name.

local mncni = require "mncni"

local policy = {}

local texts = { type = "list", of = { type = "string" } }

policy.options = {
  addresses = {
    type = "list", doc = "each with its prefix length, and perhaps a gateway",
    of = { type = "table", fields = { address = { type = "string", required = true }, gateway = { type = "string" } } },
  },
  routes = { type = "list", doc = "routes for the interface, as in [{\"dst\": \"0.0.0.0/0\"}]" },
  dns = {
    type = "table", fields = { nameservers = texts, domain = { type = "string" }, search = texts, options = texts },
    doc = "the result's dns",
  },
}

function policy.lease(request, conf)
  return {
    addresses = mncni.static.addresses(request, conf), routes = mncni.ipam.routes(conf.routes), dns = conf.dns,
  }
end

function policy.check(request, conf, lease)
  mncni.static.check(mncni.static.addresses(request, conf), lease.addresses)
end

-- Raises what an ADD would say of the configuration.
function policy.status(conf)
  mncni.static.addresses({}, conf)
  mncni.ipam.routes(conf.routes)
end

return policy
