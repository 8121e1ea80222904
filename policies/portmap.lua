-- SPDX-License-Identifier: Apache-2.0
-- portmap: ports of the node that lead to the pod, as the runtime asks for them (runtimeConfig.portMappings). Takes the
-- configuration of the reference plugin of that name; behind it are nftables maps, whatever the backend is called.

local mncni = require "mncni"

local policy = { chained = true }

policy.options = {
  snat = { type = "boolean", default = true, doc = "masquerade what comes from 127.0.0.1 and the pod's own side" },
  masqAll = { type = "boolean", default = false, doc = "masquerade everything, so that the pod sees the node" },
  backend = { type = "string", choices = { "iptables", "nftables" }, doc = "accepted; nftables serve both" },
  markMasqBit = { type = "integer", min = 0, max = 31, doc = "accepted: nothing is marked to be masqueraded" },
  externalSetMarkChain = { type = "string", doc = "accepted likewise; excludes markMasqBit" },
  conditionsV4 = { type = "list", doc = "refused unless empty: a map has no conditions" },
  conditionsV6 = { type = "list", doc = "likewise" },
}

local function check_options(conf)
  local function refuse(key, message)
    error(mncni.error { code = 7, object = key, message = message })
  end
  if conf.markMasqBit and conf.externalSetMarkChain then
    refuse("markMasqBit", "it excludes externalSetMarkChain; remove one, neither has an effect here")
  end
  for _, key in ipairs { "conditionsV4", "conditionsV6" } do
    if conf[key] and #conf[key] > 0 then
      refuse(key, "conditions cannot be kept: a host port is one element of a map; remove them, use hostIP of the "
        .. "mapping to restrict it to an address, or use the reference plugin for this network")
    end
  end
end

function policy.add(pod, conf)
  check_options(conf)
  local mappings = pod.runtime.portMappings
  if mappings then
    mncni.hostport.ensure { pod = pod, mappings = mappings, snat = conf.snat, masq_all = conf.masqAll }
  end
  return pod:result {}
end

function policy.status(conf)
  check_options(conf)
  mncni.hostport.status()
end

-- Without its journal an attachment's ports are found by its name.
function policy.lost(call)
  mncni.hostport.lost(call)
end

function policy.gc(valid, conf)
  mncni.hostport.gc(valid, conf.network)
end

return policy
