-- SPDX-License-Identifier: Apache-2.0
-- What agent policies return, checked and put together: two that claim one object are an error.

local core = require "mncni.core"
local kinds = require "mncni.keeper_kinds"
local suggestion = require("mncni.declaration").suggestion
local sorted_keys = require "mncni.keys"

local merge = {}

local REFUSED = 100

-- Kind of netlink objects -> the object whose keys they have.
local netlink = {
  links = "link", addresses = "addr", routes = "route", neighbours = "neigh", fdb = "fdb", rules = "rule",
}

-- What `desired` may return.
local members = {
  links = true, addresses = true, routes = true, neighbours = true, fdb = true, rules = true, nft = true,
  sysctls = true, files = true, node = true, nodes = true,
}

local file_keys = { path = "string", content = "string", source = "string", mode = "number" }

local function fail(policy, message, ...)
  error(core.error {
    op = "desired", object = ('policy "%s"'):format(policy), code = REFUSED, message = message:format(...),
  }, 0)
end

local schemas

-- Raises for a key that the kernel's object does not have.
local function check_keys(policy, kind, index, object)
  schemas = schemas or core.schema()
  local known = schemas[netlink[kind]]
  for key in pairs(object) do
    if not known[key] then
      fail(policy, '%s[%d]: unknown key "%s"%s', kind, index, tostring(key),
        suggestion(tostring(key), sorted_keys(known)))
    end
  end
end

-- What must be there for an object to have an identity.
local needed = {
  links = { "ifname" }, addresses = { "dev", "address" }, routes = { "dst" }, neighbours = { "dev", "dst", "lladdr" },
  fdb = { "dev", "mac", "dst" }, rules = {}, files = { "path" }, nft = { "family", "table", "comment" },
}

local function check_list(policy, kind, list)
  if type(list) ~= "table" then
    fail(policy, "%s is a %s and not a list", kind, type(list))
  end
  for i, object in ipairs(list) do
    if type(object) ~= "table" then
      fail(policy, "%s[%d] is a %s and not a table", kind, i, type(object))
    end
    if netlink[kind] then
      check_keys(policy, kind, i, object)
    end
    for _, key in ipairs(needed[kind]) do
      if object[key] == nil then
        fail(policy, "%s[%d] has no %s", kind, i, key)
      end
    end
  end
  local count = #list
  for key in pairs(list) do
    if math.type(key) ~= "integer" or key < 1 or key > count then
      fail(policy, "%s is a list, and has the key %s", kind, tostring(key))
    end
  end
end

local function check_file(policy, index, file)
  for key, value in pairs(file) do
    if type(value) ~= file_keys[key] then
      local wanted = file_keys[key]
      fail(policy, "files[%d]: %s", index, wanted and ("%s is a %s and not a %s"):format(key, type(value), wanted)
        or ('unknown key "%s"%s'):format(tostring(key), suggestion(tostring(key), sorted_keys(file_keys))))
    end
  end
  if not file.path:find "^/" then
    fail(policy, "files[%d]: %q is no absolute path", index, file.path)
  elseif (file.content == nil) == (file.source == nil) then
    fail(policy, "files[%d] has to have either content or source", index)
  end
end

-- What identifies an object, and the object as its keeper wants it.
local function identify(kind, object)
  if kind == "files" then
    return object.path, object
  elseif kind == "nft" then
    return ("%s %s %s"):format(object.family, object.table, object.comment), object
  end
  local marked = kinds[kind].mark(object)
  return kinds[kind].key(marked), marked
end

-- An empty result: kind -> key -> object, and in node what is to be told of the node. The owners are kind -> key ->
-- policy.
local function new()
  local merged = { sysctls = {}, node = { conditions = {}, annotations = {} } }
  local owners = { sysctls = {} }
  for kind in pairs(needed) do
    merged[kind], owners[kind] = {}, {}
  end
  return merged, owners
end

local function claim(merged, owners, policy, kind, key, object)
  local owner = owners[kind][key]
  if owner then
    fail(policy, "%s: %s is also wanted by %s", kind, key,
      owner == policy and "another entry of its own" or ('policy "%s"'):format(owner))
  end
  owners[kind][key], merged[kind][key] = policy, object
end

local function add(merged, owners, policy, desired)
  for kind in pairs(needed) do
    local list = desired[kind]
    if list ~= nil then
      check_list(policy, kind, list)
      for i, object in ipairs(list) do
        if kind == "files" then
          check_file(policy, i, object)
        end
        claim(merged, owners, policy, kind, identify(kind, object))
      end
    end
  end
  for key, value in pairs(desired.sysctls or {}) do
    if type(key) ~= "string" then
      fail(policy, 'sysctls is a table from names to values, as in { ["net.ipv4.ip_forward"] = 1 }')
    end
    claim(merged, owners, policy, "sysctls", key, tostring(value))
  end
  local node = desired.node or {}
  for _, condition in ipairs(node.conditions or {}) do
    table.insert(merged.node.conditions, condition)
  end
  for key, value in pairs(node.annotations or {}) do
    merged.node.annotations[key] = value
  end
end

-- merge(list) checks what policies returned, { { name, desired }, ... }, and puts it together: kind -> key -> object as
-- mncni.reconcile takes it, and node = { conditions, annotations }. Raises (code 100), naming the policy and the key,
-- what cannot be right, and two policies that claim one object.
function merge.merge(list)
  local merged, owners = new()
  for _, item in ipairs(list) do
    local policy, desired = item[1], item[2] == nil and {} or item[2]
    if type(desired) ~= "table" then
      fail(policy, "it returned a %s and not a table", type(desired))
    end
    for key in pairs(desired) do
      if not members[key] then
        fail(policy, 'unknown key "%s" in what it returned%s', tostring(key),
          suggestion(tostring(key), sorted_keys(members)))
      end
    end
    add(merged, owners, policy, desired)
  end
  return merged
end

return merge
