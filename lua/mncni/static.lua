-- SPDX-License-Identifier: Apache-2.0
-- The addresses that the IPAM policy static gives: those of its configuration, or those that the runtime asks for. Pure
-- functions; what is wrong is raised with code 7.

local core = require "mncni.core"

local static = {}

local function refuse(where, message, ...)
  error(core.error { code = 7, object = where, message = message:format(...) }, 0)
end

local function network(text, where)
  local address, why = core.cidr.parse(text)
  if not address or not tostring(address):find("/", 1, true) then
    refuse(where, "an address is expected to be in CIDR notation, as in \"10.10.0.5/24\", and is \"%s\"%s", text,
      why and ": " .. why or "")
  end
  return address
end

-- The gateway of an address as text without a prefix length; nil where none is given.
local function gateway_of(address, text, where)
  if text == nil or text == "" then
    return nil
  end
  local gateway, why = core.cidr.parse(text)
  if not gateway or gateway.family ~= address.family or tostring(gateway):find("/", 1, true) then
    refuse(where, "the gateway of %s is one address of its family, without a prefix length, and not \"%s\"%s", address,
      text, why and ": " .. why or "")
  end
  return gateway.address
end

-- Each IP of CNI_ARGS, with the one of GATEWAY that its network has.
local function add_arguments(args, add)
  for text in (args.IP or ""):gmatch "[^,%s]+" do
    local address, found = network(text, "IP of CNI_ARGS"), nil
    for gateway in (args.GATEWAY or ""):gmatch "[^,%s]+" do
      found = address:contains(gateway) and gateway_of(address, gateway, "GATEWAY of CNI_ARGS") or found
    end
    add(address, found)
  end
end

-- addresses(request, conf) returns { { address, gateway } }: of runtimeConfig.ips, else of args.cni.ips, else of
-- conf.addresses and, behind them, IP and GATEWAY of CNI_ARGS. conf.version is the cniVersion (before 0.3.0 a result has
-- room for one address of a family).
function static.addresses(request, conf)
  local list, count = {}, {}
  local function add(address, gateway)
    list[#list + 1] = { address = tostring(address), gateway = gateway }
    count[address.family] = (count[address.family] or 0) + 1
    if count[address.family] > 1 and (conf.version == "0.1.0" or conf.version == "0.2.0") then
      refuse("addresses", "CNI version %s does not support more than 1 address per family", conf.version)
    end
  end
  for _, asked in ipairs { { "runtimeConfig", request.runtime_ips or {} }, { "args.cni", request.args_ips or {} } } do
    for i, text in ipairs(asked[2]) do
      add(network(text, ("%s.ips[%d]"):format(asked[1], i - 1)))
    end
    if #list > 0 then
      return list
    end
  end
  for i, entry in ipairs(conf.addresses or {}) do
    local where = ("addresses[%d]"):format(i)
    local address = network(entry.address, where .. ".address")
    add(address, gateway_of(address, entry.gateway, where .. ".gateway"))
  end
  add_arguments(request.args or {}, add)
  return list
end

-- check(wanted, have): raises code 106 for the first of the addresses wanted that is not in the other list, or has another
-- gateway there.
function static.check(wanted, have)
  local gateways = {}
  for _, entry in ipairs(have) do
    gateways[tostring(core.cidr(entry.address))] = entry.gateway or "none"
  end
  for _, want in ipairs(wanted) do
    local gateway, message = gateways[want.address], nil
    if not gateway then
      message = "the configuration gives it, and the result does not have it"
    elseif want.gateway and want.gateway ~= gateway then
      message = ("its gateway is %s in the result, and should be %s"):format(gateway, want.gateway)
    end
    if message then
      error(core.error { code = 106, object = ("address %s"):format(want.address), message = message }, 0)
    end
  end
end

return static
