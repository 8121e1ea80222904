-- SPDX-License-Identifier: Apache-2.0
-- What agent policies return, checked and put together: two that claim one object are an error.

local core = require "mncni.core"
local is_nft_table = require("mncni.keeper_nft").is_table
local kinds = require "mncni.keeper_kinds"
local same = require "mncni.same"
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
  sysctls = true, files = true, node = true, warnings = true, notes = true, unready = true,
}

-- What it may return under --controller.
local of_controller = { nodes = true, ranges = true, state = true, warnings = true, notes = true }

local file_keys = {
  path = "string", content = "string", source = "string", tree = "string", link = "string", mode = "number",
  mark = "string", only = "table",
}

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
  fdb = { "dev", "mac", "dst" }, rules = { "priority" }, files = { "path" }, nft = { "family", "table", "comment" },
}

local why_needed = { priority = ": the kernel would choose another one each time" }

local function check_list(policy, kind, list)
  if type(list) ~= "table" then
    fail(policy, "%s is a %s and not a list", kind, type(list))
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
  end
  local origins = 0
  for _, key in ipairs { "content", "source", "tree", "link", "only" } do
    origins = origins + (file[key] and 1 or 0)
  end
  if origins ~= 1 then
    fail(policy, "files[%d] has to have one of content, source, tree, link and only", index)
  elseif file.only and (file.mark or "") == "" then
    fail(policy, "files[%d] has only, which goes with a mark", index)
  end
end

local function check_object(policy, kind, index, object)
  if type(object) ~= "table" then
    fail(policy, "%s[%d] is a %s and not a table", kind, index, type(object))
  elseif netlink[kind] then
    check_keys(policy, kind, index, object)
  end
  for _, key in ipairs(needed[kind]) do
    if object[key] == nil then
      fail(policy, "%s[%d] has no %s%s", kind, index, key, why_needed[key] or "")
    end
  end
  if kind == "files" then
    check_file(policy, index, object)
  elseif kind == "nft" and not is_nft_table(object.table) then
    fail(policy, "nft[%d]: the table %s %s is not the agent's, which keeps mncni and those named mncni-...: choose one",
      index, object.family, tostring(object.table))
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

-- An empty result.
local function new()
  local result = {
    sysctls = {}, node = { conditions = {}, annotations = {} }, warnings = {}, notes = {}, unready = {}, seen = {},
    nodes = {}, ranges = {},
  }
  for kind in pairs(needed) do
    result[kind] = {}
  end
  return result
end

-- The very same table may have been changed since.
local function is_as_before(old, object)
  if not old or old == object or type(object) ~= "table" then
    return false
  end
  for key, value in next, object do
    local other = old[key]
    if other ~= value and not same(other, value) then
      return false
    end
  end
  for key in next, old do
    if object[key] == nil then
      return false
    end
  end
  return true
end

-- Reads one list. What stands in it as it stood in the list before, at its place or one further, needs no second look:
-- of thousands of routes, one changes.
local function read_list(policy, kind, list, result, before)
  local old = before and before.seen[kind] or { list = {}, keys = {}, objects = {} }
  local old_list, at, keys, objects, into = old.list, 1, {}, {}, result[kind]
  for i = 1, #list do
    local object, place = list[i], nil
    if is_as_before(old_list[at], object) then
      place = at
    elseif is_as_before(old_list[at + 1], object) then
      place = at + 1
    end
    local key, marked
    if place then
      key, marked, at = old.keys[place], old.objects[place], place + 1
    else
      check_object(policy, kind, i, object)
      key, marked = identify(kind, object)
    end
    if into[key] then
      fail(policy, "%s: %s is there twice", kind, key)
    end
    keys[i], objects[i], into[key] = key, marked, marked
  end
  result.seen[kind] = { list = list, keys = keys, objects = objects }
end

-- Values, or { value, after = list of names in the same table that have to be set before }.
local function read_sysctls(policy, sysctls, into)
  for key, value in pairs(sysctls) do
    if type(key) ~= "string" then
      fail(policy, 'sysctls is a table from names to values, as in { ["net.ipv4.ip_forward"] = 1 }')
    elseif type(value) ~= "table" then
      into[key] = tostring(value)
    elseif value.value == nil or type(value.after) ~= "table" then
      fail(policy, "sysctls: %s is a table without value or without after, as in { value = 1, after = { NAME } }", key)
    else
      for _, other in ipairs(value.after) do
        if sysctls[other] == nil then
          fail(policy, "sysctls: %s is to be set after %s, which is not among them", key, tostring(other))
        end
      end
      into[key] = { value = tostring(value.value), after = value.after }
    end
  end
end

-- Why a key is none that the policy may return.
local function refuse_key(policy, key, known)
  local other = known == members and of_controller or members
  if other[key] then
    fail(policy, known == members and "%s is for a controller; run it with mncni-agent --controller"
      or "%s is for the agent of a node, and --controller keeps none", key)
  end
  fail(policy, 'unknown key "%s" in what it returned%s', tostring(key), suggestion(tostring(key), sorted_keys(known)))
end

-- read(policy, desired, before, controller) checks what the policy of that name returned: kind -> list. Returns it as
-- keepers take it, kind -> key -> object, node = { conditions, annotations }, and the lines of warnings, notes and unready
-- (what pods need and the policy could not provide). Raises (code 100), naming the policy and the key, what cannot be
-- right. before is what it returned for the same policy the last time. For a controller, nodes, ranges and state are
-- there as mncni.merge_nodes reads them.
function merge.read(policy, desired, before, controller)
  local result = new()
  if desired == nil then
    return result
  elseif type(desired) ~= "table" then
    fail(policy, "it returned a %s and not a table", type(desired))
  end
  local known = controller and of_controller or members
  for key in pairs(desired) do
    if not known[key] then
      refuse_key(policy, key, known)
    end
  end
  if controller then
    require("mncni.merge_nodes").read(desired, result, function(...) fail(policy, ...) end)
  end
  for kind in pairs(needed) do
    local list = desired[kind]
    if list ~= nil then
      check_list(policy, kind, list)
      read_list(policy, kind, list, result, before)
    end
  end
  read_sysctls(policy, desired.sysctls or {}, result.sysctls)
  local node = desired.node or {}
  result.node.conditions, result.node.annotations = node.conditions or {}, node.annotations or {}
  for _, kind in ipairs { "warnings", "notes", "unready" } do
    result[kind] = desired[kind] or {}
    check_list(policy, kind, result[kind])
  end
  return result
end

-- The policy of the list whose result has an object.
local function owner_of(list, kind, key)
  for _, item in ipairs(list) do
    if item[2][kind][key] then
      return item[1]
    end
  end
end

-- The policy of the list that has a range for a node.
local function ranger_of(list, name)
  for _, item in ipairs(list) do
    local entry = item[2].nodes[name]
    if entry and entry.pod_cidrs then
      return item[1]
    end
  end
end

-- Gives every file its place in the order of policies and their lists: the last may tell others to use those before it.
local function number_files(list, merged)
  local files, place = {}, 0
  for _, item in ipairs(list) do
    local seen = item[2].seen.files
    for _, file in ipairs(seen and seen.objects or {}) do
      place = place + 1
      files[file.path] = { place = place }
      for key, value in pairs(file) do
        files[file.path][key] = value
      end
    end
  end
  merged.files = files
  return merged
end

-- merge(list) puts { { policy, result of read }, ... } together. Raises (code 100), naming both, when two claim one
-- object.
function merge.merge(list)
  if #list == 1 then
    return number_files(list, list[1][2])
  end
  local merged = new()
  for _, item in ipairs(list) do
    local policy, result = item[1], item[2]
    for kind, objects in pairs(result) do
      for key, object in pairs((needed[kind] or kind == "sysctls") and objects or {}) do
        if merged[kind][key] then
          fail(policy, '%s: %s is also wanted by policy "%s"', kind, key, owner_of(list, kind, key))
        end
        merged[kind][key] = object
      end
    end
    for _, condition in ipairs(result.node.conditions) do
      table.insert(merged.node.conditions, condition)
    end
    for _, kind in ipairs { "notes", "unready" } do
      table.move(result[kind], 1, #result[kind], #merged[kind] + 1, merged[kind])
    end
    table.move(result.ranges, 1, #result.ranges, #merged.ranges + 1, merged.ranges)
    if next(result.nodes) then
      require("mncni.merge_nodes").add(merged.nodes, result.nodes, function(name)
        fail(policy, 'nodes: a range for %s is also wanted by policy "%s"', name, ranger_of(list, name))
      end)
    end
    for key, value in pairs(result.node.annotations) do
      merged.node.annotations[key] = value
    end
  end
  return number_files(list, merged)
end

return merge
