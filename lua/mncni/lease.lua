-- SPDX-License-Identifier: Apache-2.0
-- Leases: asks the IPAM that a configuration names, a policy in this process or else a plugin of CNI_PATH.

local core = require "mncni.core"

local lease = {}

local function unusable(message, ...)
  error(core.error { code = 7, object = "ipam", message = message:format(...) }, 0)
end

-- The name of the policy that `ipam` asks for ("type", or "policy" beside type mncni), or raises code 7.
local function policy_name(ipam)
  if type(ipam) ~= "table" then
    unusable("the configuration has no \"ipam\" section; add one, for example {\"type\": \"host-local\", ...}")
  end
  local name = ipam.type
  if name == "mncni" then
    name = ipam.policy
  end
  if type(name) ~= "string" or name == "" then
    unusable("\"ipam.type\" must name a policy or a plugin, and is %s", name == nil and "missing" or type(name))
  end
  return name
end

-- The IPAM policy that ipam names and its checked options; nil when no policy has that name, so that it is a
-- plugin's. Raises what is wrong with the policy or the options. Keys that it does not know go to call.ignored.
function lease.policy(call, ipam)
  local name = policy_name(ipam)
  local policy = require("mncni.policy").get(name)
  if not policy then
    return nil
  end
  if not policy.lease then
    unusable("\"%s\" is a policy, but gives no addresses: it has no lease hook", name)
  end
  local conf, ignored = require("mncni.options").check(policy.options or {}, ipam, {
    unknown = "collect", also = { "type", "policy" }, what = name,
  })
  for _, key in ipairs(ignored) do
    call.ignored[#call.ignored + 1] = "ipam." .. key
  end
  conf.network, conf.version = call.network, call.version
  return policy, conf
end

-- What an IPAM hook is asked: who wants addresses, and which. journal:undo(entry) must be called before anything
-- durable happens; collect() removes dead attachments of the network, for a range that is exhausted.
function lease.request(call, context)
  local config = call.config
  local runtime = config.runtimeConfig or {}
  local wanted = {}
  local function want(list)
    for _, address in ipairs(type(list) == "table" and list or {}) do
      wanted[#wanted + 1] = address
    end
  end
  local args = type(config.args) == "table" and type(config.args.cni) == "table" and config.args.cni or {}
  if call.args and call.args.IP then
    want { call.args.IP }
  end
  want(args.ips)
  want(runtime.ips)
  return {
    network = call.network, container = call.container, ifname = call.ifname, args = call.args,
    annotations = call.annotations, wanted = wanted, args_ips = args.ips, runtime_ips = runtime.ips,
    ranges = runtime.ipRanges,
    journal = { undo = function(_, entry) context:undo(entry) end },
    collect = function() require("mncni.collect").relieve(call.state_dir, call.network) end,
  }
end

local function check_shape(name, result)
  local function refuse(what)
    error(core.error { code = 100, object = ("ipam %q"):format(name), message = what }, 0)
  end
  if type(result) ~= "table" or type(result.addresses) ~= "table" then
    refuse("lease must return { addresses = { { address = \"10.0.0.2/24\" }, ... } }")
  end
  for i, entry in ipairs(result.addresses) do
    local address, why = core.cidr.parse(tostring(type(entry) == "table" and entry.address))
    if not address or not tostring(address):find("/", 1, true) then
      refuse(("addresses[%d].address must be an address with its prefix length: %s")
        :format(i, why or "it has none"))
    end
    entry.address = tostring(address)
    if entry.gateway then
      local gateway, wrong = core.cidr.parse(tostring(entry.gateway))
      if not gateway or gateway.family ~= address.family then
        refuse(("addresses[%d].gateway: %s"):format(i, wrong or "not of the address's family"))
      end
      entry.gateway = gateway.address
    end
  end
  for i, route in ipairs(result.routes or {}) do
    local dst, why = core.cidr.parse(tostring(type(route) == "table" and route.dst))
    if not dst then
      refuse(("routes[%d].dst: %s"):format(i, why))
    end
  end
  return result
end

-- The addresses of a CNI result, as a lease has them.
local function addresses_of(result)
  local addresses = {}
  for i, ip in ipairs(result.ips or {}) do
    addresses[i] = { address = ip.address, gateway = ip.gateway }
  end
  return addresses
end

-- Takes addresses for the attachment that call makes. Returns { addresses, routes, dns }.
function lease.acquire(call, context, ipam)
  local name = policy_name(ipam)
  local policy, conf = lease.policy(call, ipam)
  call.leased = true -- so that CHECK asks there, too
  if policy then
    return check_shape(name, policy.lease(lease.request(call, context), conf))
  end
  local result = require("mncni.delegate").run(call, name, "ADD", { context = context })
  local addresses = addresses_of(result)
  if #addresses == 0 then
    error(core.error {
      code = 105, object = ("ipam %q"):format(name), message = "the IPAM plugin answered without any address",
    }, 0)
  end
  return check_shape(name, { addresses = addresses, routes = result.routes or {}, dns = result.dns })
end

-- Gives back what the attachment holds where no journal tells: by name of the attachment.
function lease.release(call, context, ipam)
  local policy, conf = lease.policy(call, ipam)
  if not policy then
    require("mncni.delegate").run(call, policy_name(ipam), "DEL")
  elseif policy.release then
    policy.release(lease.request(call, context), conf)
  end
end

-- Raises when the attachment's addresses (those of prev_result) are not reserved for it any more.
function lease.check(call, context, ipam)
  local policy, conf = lease.policy(call, ipam)
  if not policy then
    require("mncni.delegate").run(call, policy_name(ipam), "CHECK")
  elseif policy.check then
    local previous = call.prev_result or {}
    policy.check(lease.request(call, context), conf, { addresses = addresses_of(previous), routes = previous.routes })
  end
end

-- Raises code 50 or 51 when an ADD would not get an address.
function lease.status(call, ipam)
  local policy, conf = lease.policy(call, ipam)
  if not policy then
    require("mncni.delegate").run(call, policy_name(ipam), "STATUS")
  elseif policy.status then
    policy.status(conf, {
      reclaimable = function(dir) return require("mncni.collect").reclaimable(call.state_dir, call.network, dir) end,
    })
  end
end

-- Releases what belongs to no attachment of valid ({ { containerID, ifname }, ... }). Returns the list of what an IPAM
-- policy says it has freed, { address, container, ifname }, or nil.
function lease.gc(call, ipam, valid)
  local policy, conf = lease.policy(call, ipam)
  if not policy then
    require("mncni.delegate").run(call, policy_name(ipam), "GC")
    return nil
  elseif policy.gc then
    return policy.gc(valid, conf)
  end
  return nil
end

return lease
