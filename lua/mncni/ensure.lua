-- SPDX-License-Identifier: Apache-2.0
-- The two verbs that a script wants: `ensure` (make it so) and `absent` (gone already is fine), for any object and
-- over any net, real or recorded.

local core = require "mncni.core"
local objects = require "mncni.objects"

local ensure = {}

-- Times that `ensure` looks at, creates or changes one object before it gives up: another process may create, change
-- and delete it meanwhile.
local ROUNDS = 5

local function show(value)
  if type(value) == "table" then
    local parts = {}
    for key, item in pairs(value) do
      parts[#parts + 1] = type(key) == "number" and show(item) or ("%s %s"):format(key, show(item))
    end
    table.sort(parts)
    return "{" .. table.concat(parts, ", ") .. "}"
  elseif type(value) == "string" then
    return ("%q"):format(value)
  end
  return tostring(value)
end

-- Keys that name one object in a message, as the codec does it.
local naming = {
  link = { "ifname", "ifindex", "group" }, addr = { "address", "dev", "ifindex" }, route = { "dst", "type", "dev" },
  rule = { "priority", "src", "dst", "table" }, neigh = { "dst", "dev", "ifindex" },
  fdb = { "mac", "dst", "dev", "ifindex" },
  vlan = { "dev", "ifindex" },
  nsid = { "nsid" }, qdisc = { "kind", "dev", "ifindex", "parent" }, class = { "kind", "dev", "ifindex", "handle" },
  filter = { "kind", "dev", "ifindex", "prio" },
}
local nft_naming = { "family", "table", "chain", "name", "handle" }

-- What the arguments speak of, for messages: link "cbr0", addr "10.0.0.1/24" dev eth0, nft_set "inet mncni masq4".
local function named(object, args)
  if object:find("^nft_") then
    local words = {}
    for _, key in ipairs(nft_naming) do
      words[#words + 1] = args[key] ~= nil and tostring(args[key]) or nil
    end
    return ('%s "%s"'):format(object, table.concat(words, " "))
  end
  local text, first = object, true
  for _, key in ipairs(naming[object] or {}) do
    local value = args[key]
    if value ~= nil and type(value) ~= "table" then
      text = text .. (first and ' "%s"' or " " .. key .. " %s"):format(tostring(value))
      first = false
    end
  end
  return text
end
ensure.named = named

local function differs(net, object, want, key, have, why)
  error(core.error {
    op = "ensure", object = named(object, want), netns = net.name, code = 103, field = key, have = have,
    want = want[key],
    message = ("%s is %s, wanted %s%s"):format(key, show(have), show(want[key]), why),
  }, 0)
end

-- The verbs of an object: net.link, net.nft.set.
local function verbs_of(net, object)
  local plain = object:match("^nft_(.+)$")
  if plain then
    return net.nft[plain]
  end
  return net[object]
end

local function check_needs(object, verb, want)
  if type(want) ~= "table" then
    error(("%s.%s takes one table, not %s"):format(object, verb, type(want)), 4)
  end
  for _, either in ipairs(objects.info[object].needs) do
    local given = false
    for _, key in ipairs(either) do
      given = given or want[key] ~= nil
    end
    if not given then
      error(core.error {
        op = verb, object = object,
        message = ("which one? give its %s"):format(table.concat(either, " or ")),
      }, 0)
    end
  end
end

-- What a list shows and nobody has made: the discipline that every link begins with, the head of filters, and of u32
-- (linux/net/sched/cls_u32.c) the table that holds them.
local made_by_kernel = {
  qdisc = function(have)
    return have.handle == "0:"
  end,
  filter = function(have)
    return have.handle == 0 or have.u32 ~= nil and have.u32.divisor ~= nil
  end,
}

-- find(net, object, want) returns the object that the identity in `want` names, or nil.
function ensure.find(net, object, want)
  local info = objects.info[object]
  local key = info.key(want)
  if info.get then
    return verbs_of(net, object).get(key)
  end
  if object == "fdb" then
    -- A port and its bridge may each have an entry for one MAC.
    for have in net.fdb.list(key) do
      if not want.flags or objects.matches("fdb", { flags = want.flags }, have) then
        return have
      end
    end
    return nil
  elseif made_by_kernel[object] then
    for have in net[object].list(key) do
      if not made_by_kernel[object](have) then
        return have
      end
    end
    return nil
  elseif object ~= "route" then
    local step, state, control, closing <close> = verbs_of(net, object).list(key)
    return step(state, control), closing and nil
  end
  local found
  for have in net.route.list { family = key.family, table = key.table, dst = key.dst } do
    if objects.is_same_route(key, have) then
      if objects.matches("route", want, have) then
        return have
      end
      found = found or have
    end
  end
  return found
end

-- Keys of a wanted link that are about how it is made, and cannot be read back from this namespace.
local not_compared = {
  link = { peer = true, netns = true, ifindex = true, addrgenmode = true },
  nsid = { netns = true, pid = true, fd = true },
  class = { parent = true }, -- the kernel calls the discipline itself "root"
}

local function differences(object, want, have)
  local skip = not_compared[object] or {}
  local diff, count = {}, 0
  for key, value in pairs(want) do
    if not skip[key] and not objects.matches(object, { [key] = value }, have) then
      diff[key] = value
      count = count + 1
    end
  end
  if object == "link" and want.kind == nil and want.peer and have.kind ~= "veth" then
    diff.kind, count = "veth", count + 1
  end
  return diff, count
end

local change = {}

-- Only what differs is sent. Values of a kind need the kind named; a bridge port's values need the link in its bridge.
function change.link(net, want, have, diff)
  local args = { ifname = have.ifname }
  for key, value in pairs(diff) do
    args[key] = value
    if type(value) == "table" and key == have.kind then
      args.kind = have.kind
    end
  end
  if diff.master and diff.bridge_slave then
    args.bridge_slave = nil
  end
  if diff.flags then
    differs(net, "link", want, "flags", have.flags, "; flags are for reading, use up and promisc")
  end
  net.link.set(args)
end

-- A filter is changed by its number, and comes whole.
function change.filter(net, want, have)
  local args = { handle = have.handle }
  for key, value in pairs(want) do
    args[key] = value
  end
  net.filter.set(args)
end

-- The kernel's replace looks at the key only, not at whose the route is: what is not ours is reported and left.
function change.route(net, want, have)
  local ours = want.protocol or "boot"
  if not objects.same("route", "protocol", ours, have.protocol) then
    differs(net, "route", { dst = want.dst, protocol = ours }, "protocol", have.protocol,
      ": a route that is not ours stands there and is left alone")
  end
  net.route.replace(want)
end

-- The elements of args.elem that are, or are not, in the set. One that lies inside another is not there itself.
local function elements_there(net, args, there)
  local list = {}
  for _, item in ipairs(args.elem) do
    local key = type(item) == "table" and (item.val and { val = item.val } or { key = item.key }) or item
    local have = net.nft.element.get { family = args.family, table = args.table, name = args.name, elem = { key } }
    local value = type(item) == "table" and (item.val or item.key) or item
    local same = have ~= nil and (have.elem == value or objects.canonical(have.elem) == objects.canonical(value))
    if same == there then
      list[#list + 1] = item
    end
  end
  return list
end

-- Elements come several at a time, and each is there or not.
local function change_elements(net, args, verb)
  local changed, last_error = false, nil
  for _ = 1, ROUNDS do
    local list = elements_there(net, args, verb == "del")
    if #list == 0 then
      return changed
    end
    local ok, err = pcall(net.nft.element[verb], {
      family = args.family, table = args.table, name = args.name, elem = list,
    })
    if ok then
      return true
    elseif not core.is_error(err) or err.name ~= (verb == "add" and "EEXIST" or "ENOENT") then
      error(err, 0)
    end
    last_error = err
  end
  error(last_error, 0)
end

-- ensure.ensure(net, object, want) creates what is not there and changes, in place, the given fields that differ.
-- Returns the object as the kernel has it and whether anything was changed. Raises an error object with code 103 and
-- the fields `field`, `have` and `want` when the kernel cannot change a field of what is there.
function ensure.ensure(net, object, want)
  check_needs(object, "ensure", want)
  if object == "nft_element" then
    local changed = change_elements(net, want, "add")
    return require("mncni.net").tag(object, {
      family = want.family, table = want.table, name = want.name, elem = want.elem,
    }), changed
  end
  local info = objects.info[object]
  local changed, last_error = false, nil
  for round = 1, ROUNDS do
    local have = ensure.find(net, object, want)
    if not have then
      local ok, err = pcall(verbs_of(net, object).add, want)
      if ok then
        changed = true
      elseif core.is_error(err) and err.name == "EEXIST" and round < ROUNDS then
        last_error = err
      else
        error(err, 0)
      end
    else
      local diff, count = differences(object, want, have)
      if count == 0 then
        return have, changed
      end
      local first = next(diff)
      for key in pairs(diff) do
        if info.fixed and info.fixed[key] and not (object == "route" and key == "protocol") then
          differs(net, object, want, key, have[key], ", and that cannot change in place")
        end
        first = key < first and key or first
      end
      if not info.change or round == ROUNDS then
        differs(net, object, want, first, have[first], ", and the kernel does not change it in place")
      end
      local ok, err = pcall(function()
        if change[object] then
          change[object](net, want, have, diff)
        else
          verbs_of(net, object)[info.change](want)
        end
      end)
      if not ok then
        if not core.is_error(err) or err.field then
          error(err, 0)
        elseif not objects.gone[err.name] then
          err.field, err.have, err.want = first, have[first], want[first]
          err.details = ("%s is %s, wanted %s"):format(first, show(have[first]), show(want[first]))
          error(err, 0)
        end
        last_error = err -- deleted in between: look again
      else
        changed = true
      end
    end
  end
  error(last_error or core.error {
    op = "ensure", object = named(object, want), netns = net.name, code = 11,
    message = "it came and went while it was being made; somebody else is at work on it",
  }, 0)
end

-- ensure.absent(net, object, args) deletes it and returns true, or false when it was not there. Raises any other
-- refusal.
function ensure.absent(net, object, args)
  check_needs(object, "absent", args)
  if object == "nft_element" then
    return change_elements(net, args, "del")
  end
  if object == "qdisc" and not ensure.find(net, object, args) then
    return false -- the kernel would have one word for that and for one that is not like the arguments
  end
  local ok, err = pcall(verbs_of(net, object).del, args)
  if ok then
    return true
  elseif core.is_error(err) and objects.gone[err.name] then
    return false
  end
  error(err, 0)
end

return ensure
