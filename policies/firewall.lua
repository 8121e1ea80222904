-- SPDX-License-Identifier: Apache-2.0
-- firewall: a node that forwards nothing by itself forwards what its pods send, and the answers; and pods of one bridge
-- may be kept from those of another one, or from each other. A chained policy; it takes the configuration of the
-- reference plugin of that name.

local mncni = require "mncni"

local policy = { chained = true }

policy.options = {
  backend = {
    type = "string", choices = { "", "iptables", "nftables", "firewalld" }, default = "",
    doc = "iptables and nftables are the same here; firewalld is refused",
  },
  iptablesAdminChainName = {
    type = "string", min = 1, max = 28, default = "CNI-ADMIN",
    doc = "the administrator's chain in the tables ip filter and ip6 filter; its rules are asked first",
  },
  firewalldZone = { type = "string", doc = "of firewalld: without effect here" },
  ingressPolicy = {
    type = "string", choices = { "", "open", "same-bridge", "isolated" }, default = "open",
    doc = "which pods that have such a policy reach the pod: all, those on its own bridge, none",
  },
}

local function refuse_firewalld(conf, code)
  if conf.backend == "firewalld" then
    error(mncni.error {
      code = code, object = "backend",
      message = "firewalld is not spoken to here; leave it out, or use the reference plugin firewall",
    })
  end
end

function policy.add(pod, conf)
  refuse_firewalld(conf, 7)
  mncni.firewall.accept { pod = pod, admin = conf.iptablesAdminChainName }
  if conf.ingressPolicy ~= "" and conf.ingressPolicy ~= "open" then
    mncni.ingress.hold { pod = pod, policy = conf.ingressPolicy }
  end
  return pod:result {}
end

function policy.status(conf)
  refuse_firewalld(conf, 50)
end

return policy
