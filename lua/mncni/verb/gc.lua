-- SPDX-License-Identifier: Apache-2.0
-- The GC verb: removes what a network has and the runtime does not list. Source: CNI specification 1.1.0, "GC".

local core = require "mncni.core"
local attachment = require "mncni.attachment"
local collect = require "mncni.collect"
local judge = require "mncni.judge"

local gc = {}

local function key(container, ifname)
  return container .. "\n" .. ifname
end

-- The journals of the network that no attachment of keep has, and the plugins that attachments of the network, these or
-- others, were delegated to: name -> configuration. What cannot be told to be anybody's is a failure.
local function survey(look, keep, ipam, failed)
  local doomed, delegates = {}, {}
  for item in look:journals() do
    for _, ran in ipairs(item.delegates) do
      local name = type(ran.path) == "string" and ran.path:match("[^/]+$")
      local ok, config = pcall(core.json.decode, ran.stdin or "")
      if name and name ~= ipam and ok and type(config) == "table" then
        delegates[name] = config
      end
    end
    if not item.container then
      failed(core.error {
        code = 5, object = item.path, message = ("%s; it was left as it is, and may be removed when no container of "
          .. "the network runs"):format(item.damaged or "it cannot be told whose it is"),
      })
    elseif item.network == look.network and not keep[key(item.container, item.ifname)] then
      item.delegates = nil
      doomed[#doomed + 1] = item
    end
  end
  return doomed, delegates
end

-- The links of the doomed, and those that by their alias are of the network and of nobody in keep.
local function doomed_links(look, keep, doomed)
  local list, seen = {}, {}
  local function add(link)
    if link and not seen[link.ifindex] then
      seen[link.ifindex] = true
      list[#list + 1] = link
    end
  end
  for _, item in ipairs(doomed) do
    add(look:link_of(item))
  end
  for alias, link in pairs(look:links().alias) do
    local network, container, ifname = alias:match("^mncni (%S+) (%S+) (%S+)") -- of a pod:device, with a word more
    if network == look.network and not keep[key(container, ifname)] then
      add(link)
    end
  end
  return list
end

-- Asks a plugin to collect, too.
local function forward(call, valid, name, config)
  local asked = {}
  for field, value in pairs(config) do
    asked[field] = value
  end
  asked.prevResult, asked.runtimeConfig = nil, nil
  asked.cniVersion, asked.name = call.version, call.network
  asked["cni.dev/valid-attachments"] = core.json.array { table.unpack(valid) }
  require("mncni.delegate").run(call, name, "GC", { config = asked })
end

-- run(call) removes every attachment, address and link of call.network that is not in call.valid
-- ({ { containerID, ifname }, ... }), and has IPAM, delegates and the policy do the same. Goes on after a failure and
-- raises the first one at the end.
function gc.run(call)
  local valid, first = call.valid, nil
  local function failed(err)
    first = first or err
    io.stderr:write("mncni: gc: ", tostring(err), "\n")
  end
  local function try(fn, ...)
    local ok, result = pcall(fn, ...)
    if not ok then
      failed(result)
    end
    return ok and result or nil
  end
  local function free(ipam)
    for _, freed in ipairs(try(require("mncni.lease").gc, call, ipam, valid) or {}) do
      collect.log({
        network = call.network, container = freed.container, ifname = freed.ifname, addresses = { freed.address },
      }, "the runtime does not list it")
    end
  end

  local keep = {}
  for _, entry in ipairs(valid) do
    keep[key(entry.containerID, entry.ifname)] = true
  end
  local ipam = attachment.ipam(call)
  ipam = ipam and (ipam.type or ipam.policy) and ipam -- without either, the policy sees to it
  local look <close> = judge.look { state_dir = call.state_dir or "/run/mncni", network = call.network }
  local looked, doomed, others = pcall(survey, look, keep, ipam and ipam.type, failed)
  if not looked then
    failed(doomed)
    doomed, others = {}, {}
  end
  try(function() require("mncni.links").delete(look.host, doomed_links(look, keep, doomed)) end)
  for _, item in ipairs(doomed) do
    try(function()
      local removed, why = collect.remove(item)
      if removed then
        collect.log(item, "the runtime does not list it")
        if item.damaged then
          error(core.error { code = 5, object = collect.describe(item), message = item.damaged .. "; what it told was "
            .. "undone, and the journal removed" }, 0)
        end
      elseif why == collect.BUSY then
        error(core.error { code = 11, object = collect.describe(item), message = why .. "; try again later" }, 0)
      end
    end)
  end
  if ipam then
    free(ipam)
  end
  for name, config in pairs(others) do
    try(forward, call, valid, name, config)
  end
  -- A policy that does not load any more, or never ends, is no reason to keep the rest; one that wants more says so in gc.
  local loaded, policy = pcall(require("mncni.policy").load, call.policy)
  if loaded and not ipam and attachment.is_ipam(policy) then
    free(attachment.ipam(call, policy))
  elseif loaded and policy.gc and policy.add then
    try(function() policy.gc(valid, attachment.checked(call, policy)) end)
  end
  if first then
    error(first, 0)
  end
end

return gc
