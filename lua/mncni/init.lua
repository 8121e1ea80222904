-- SPDX-License-Identifier: Apache-2.0
-- What a policy requires as "mncni". Parts are loaded when first used, so that a pod pays only for what it needs.

local core = require "mncni.core"

local mncni = {
  error = core.error,
  is_error = core.is_error,
}

-- Name in this module -> the module it is found in, whole or as a field.
local parts = {
  bridge = { "mncni.bridge" },
  cidr = { "mncni.core", "cidr" },
  collect = { "mncni.collect" },
  conflist = { "mncni.conflist" },
  flannel = { "mncni.flannel" },
  firewall = { "mncni.firewall" },
  forwarding = { "mncni.forwarding" },
  help = { "mncni.help" },
  hostport = { "mncni.hostport" },
  ingress = { "mncni.ingress" },
  ipam = { "mncni.ipam" },
  json = { "mncni.core", "json" },
  localnet = { "mncni.localnet" },
  masquerade = { "mncni.masquerade" },
  netns = { "mncni.netns" },
  node = { "mncni.node" },
  node_ranges = { "mncni.node_ranges" },
  open = { "mncni.net", "open" },
  pod = { "mncni.pod" },
  recorded = { "mncni.recorded" },
  routes = { "mncni.routes" },
  route_mtu = { "mncni.route", "mtu" },
  source_routing = { "mncni.source_routing" },
  static = { "mncni.static" },
  store = { "mncni.store" },
  testing = { "mncni.testing" },
  tuning = { "mncni.tuning" },
  try = { "mncni.net", "try" },
  policy = { "mncni.policy" },
  uplink = { "mncni.uplink" },
}

setmetatable(mncni, {
  parts = parts, -- for mncni.lint
  __index = function(self, name)
    local part = parts[name]
    if not part then
      return nil
    end
    local value = require(part[1])
    if part[2] then
      value = value[part[2]]
    end
    self[name] = value
    return value
  end,
})

return mncni
