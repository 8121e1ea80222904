-- SPDX-License-Identifier: Apache-2.0
-- bandwidth: how much a pod may receive (ingress) and send (egress), by token buckets on the node. Chained behind a
-- plugin that makes a veth pair. A configuration of the bandwidth plugin works as it is.

local mncni = require "mncni"
local shaping = require "mncni.shaping"

local policy = {}

policy.chained = true

local function bits(doc)
  return { type = "integer", min = 0, doc = doc .. "; without any of the four, runtimeConfig.bandwidth says it" }
end

policy.options = {
  ingressRate = bits "bits per second that the pod receives",
  ingressBurst = bits "bits that it receives at once",
  egressRate = bits "bits per second that the pod sends",
  egressBurst = bits "bits that it sends at once",
  shapedSubnets = { type = "list", of = { type = "cidr" }, doc = "limit what is from or to these, and no other" },
  unshapedSubnets = { type = "list", of = { type = "cidr" }, doc = "do not limit what is from or to these" },
}

local function list(subnets)
  return subnets and #subnets > 0 and subnets or nil
end

-- The limits, and lists of subnets that are empty taken for none.
local function read(conf, runtime)
  local shaped, unshaped = list(conf.shapedSubnets), list(conf.unshapedSubnets)
  if shaped and unshaped then
    error(mncni.error { code = 7, object = "shapedSubnets", message = "it and unshapedSubnets exclude each other" }, 0)
  end
  return shaping.limits(conf, runtime), shaped, unshaped
end

function policy.add(pod, conf)
  if (pod.config.cniVersion or "0.1.0"):find "^0%.[12]%." then
    error(mncni.error { code = 1, object = "cniVersion", message = "plugins are chained from 0.3.0 on" }, 0)
  end
  local limits, shaped, unshaped = read(conf, pod.runtime.bandwidth)
  if not limits.ingress and not limits.egress then
    return pod:result {}
  end
  local veth = pod:host_link()
  local function limit(dev, side)
    shaping.limit(pod, {
      dev = dev, mtu = veth.mtu, side = side, limit = limits[side], shaped = shaped, unshaped = unshaped,
    })
  end
  if limits.ingress then
    limit(veth.ifname, "ingress")
  end
  if not limits.egress then
    return pod:result {}
  end
  -- The kernel shapes what leaves a link only, so what the pod sends takes a way through one more.
  local ifb = pod:node_link { ifname = shaping.ifname(pod), kind = "ifb", mtu = veth.mtu }
  limit(ifb.ifname, "egress")
  shaping.redirect(pod, veth.ifname, ifb.ifname)
  return pod:result { ifb }
end

function policy.status(conf)
  shaping.supported(select(2, read(conf)))
end

return policy
