-- SPDX-License-Identifier: Apache-2.0
-- What flannel's daemon leaves on a node, and flannel's own CNI plugin left before: for the policy flannel.

local core = require "mncni.core"

local flannel = {}

local REMEDY = "flanneld writes it at its start; restart flanneld on this node"

-- The longest subnet.env that is read, bytes.
local MAX = 65536

local function cidrs(text, family)
  local list = {}
  for word in text:gmatch "[^,%s]+" do
    local cidr, why = core.cidr.parse(word)
    if not cidr then
      return nil, why
    elseif not word:find("/", 1, true) or cidr.family ~= family then
      return nil, ("%s is no %s range"):format(word, family == "inet" and "IPv4" or "IPv6")
    end
    list[#list + 1] = cidr.network
  end
  if #list == 0 then
    return nil, "there is nothing behind the ="
  end
  return list
end

local function one_of(family)
  return function(text)
    local list, why = cidrs(text, family)
    return list and (#list == 1 and list[1] or nil), why or "one range is expected"
  end
end

-- Keys of subnet.env -> where its value goes, and what reads it: text -> value, or nil and why not.
local keys = {
  FLANNEL_NETWORK = { "network4", function(text) return cidrs(text, "inet") end },
  FLANNEL_IPV6_NETWORK = { "network6", function(text) return cidrs(text, "inet6") end },
  FLANNEL_SUBNET = { "subnet4", one_of "inet" },
  FLANNEL_IPV6_SUBNET = { "subnet6", one_of "inet6" },
  FLANNEL_MTU = { "mtu", function(text)
    local mtu = text:find "^%d+$" and math.tointeger(tonumber(text))
    return mtu and mtu >= 576 and mtu <= 65535 and mtu or nil, ("%q is no MTU"):format(text)
  end },
  FLANNEL_IPMASQ = { "ip_masq", function(text)
    local words = { ["true"] = true, ["1"] = true, ["false"] = false, ["0"] = false }
    return words[text:lower()], ("%q is neither true nor false"):format(text)
  end },
}

-- parse(text, path) returns what a subnet.env says: { subnets, networks } (lists of cidr values), mtu, ip_masq (whether
-- flanneld masquerades). Keys that it does not know are left to newer flannels. Raises code 6, with the line and the key.
function flannel.parse(text, path)
  local found, number = {}, 0
  local function fail(line, message, ...)
    error(core.error {
      code = 6, object = line and ("%s:%d"):format(path, line) or path,
      message = ("%s; %s"):format(message:format(...), REMEDY),
    }, 0)
  end
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    local name, value = line:match "^%s*([%w_]+)=(.-)%s*$"
    if name and keys[name] then
      local parsed, why = keys[name][2](value)
      if parsed == nil then
        fail(number, "%s: %s", name, why)
      end
      found[keys[name][1]] = parsed
    elseif not name and line:find "%S" and not line:find "^%s*#" then
      fail(number, "%q is not NAME=VALUE", line:sub(1, 60))
    end
  end
  for name, key in pairs { FLANNEL_MTU = "mtu", FLANNEL_IPMASQ = "ip_masq" } do
    if found[key] == nil then
      fail(nil, "it has no %s", name)
    end
  end
  local subnets, networks = {}, {}
  for _, family in ipairs { "4", "6" } do
    subnets[#subnets + 1] = found["subnet" .. family]
    table.move(found["network" .. family] or {}, 1, #(found["network" .. family] or {}), #networks + 1, networks)
  end
  if #subnets == 0 or #networks == 0 then
    fail(nil, "it has no %s", #subnets == 0 and "FLANNEL_SUBNET" or "FLANNEL_NETWORK")
  end
  return { subnets = subnets, networks = networks, mtu = found.mtu, ip_masq = found.ip_masq }
end

-- The same of a file. Raises code 11 while there is none: the runtime tries again, and flanneld may come.
function flannel.env(path)
  local file <close>, why = io.open(path, "r")
  if not file then
    error(core.error {
      code = 11, object = path, message = ("%s; %s, or look why it does not run (kubectl -n kube-flannel get pods)")
        :format(why:gsub("^.-: ", ""), REMEDY),
    }, 0)
  end
  return flannel.parse(file:read(MAX) or "", path)
end

-- Ends what flannel's own plugin made for the container of call, by what it noted in dataDir: by the plugin that it had
-- delegated to or, if that is gone, by giving back the addresses alone. Nothing to do for pods that we wired.
function flannel.forget(call, data_dir)
  local path = ("%s/%s"):format(data_dir, call.container)
  local file <close> = io.open(path, "r")
  local ok, config = pcall(core.json.decode, file and file:read "a" or "")
  if not file then
    return
  elseif ok and type(config) == "table" and type(config.type) == "string" then
    local delegate = require "mncni.delegate"
    if pcall(delegate.find, call, config.type) then
      delegate.run(call, config.type, "DEL", { config = config })
    elseif type(config.ipam) == "table" then
      require("mncni.lease").release(call, require("mncni.steps").new {}, config.ipam)
    end
  end
  os.remove(path)
end

return flannel
