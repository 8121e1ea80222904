-- SPDX-License-Identifier: Apache-2.0
-- The model of nftables behind the recorded net: tables, chains, rules, sets and elements of one namespace, without
-- looking at packets. Refusals are those of net/netfilter/nf_tables_api.c.

local core = require "mncni.core"
local model = require "mncni.recorded_model"
local objects = require "mncni.objects"

local nft = { objects = {} }

-- snapshot(space) and restore(space, snapshot) make a batch atomic.
function nft.snapshot(space)
  return model.copy(space.tables)
end

function nft.restore(space, snapshot)
  space.tables = snapshot
end

local function find(list, name)
  for i, item in ipairs(list) do
    if item.name == name then
      return item, i
    end
  end
end

local function next_handle(space)
  space.last_handle = (space.last_handle or 0) + 1
  return space.last_handle
end

local function find_table(space, family, name)
  for i, item in ipairs(space.tables) do
    if item.family == family and item.name == name then
      return item, i
    end
  end
end

local function table_of(space, verb, object, args)
  return find_table(space, args.family, args.table)
    or space:refuse(verb, object, args, "ENOENT", nil, "table (NFTA_TABLE_NAME)")
end

-- What is shown of an object: its own fields, and where it is.
local function view(item, where)
  local seen = {}
  for key, value in pairs(item) do
    if key ~= "chains" and key ~= "sets" and key ~= "rules" and key ~= "elements" then
      seen[key] = model.copy(value)
    end
  end
  for key, value in pairs(where or {}) do
    seen[key] = value
  end
  return seen
end

local tables = {}

function tables.add(space, args)
  if find_table(space, args.family, args.name) then
    space:refuse("add", "nft_table", args, "EEXIST", nil, "name (NFTA_TABLE_NAME)")
  end
  tables.replace(space, args)
end

function tables.replace(space, args)
  if not find_table(space, args.family, args.name) then
    table.insert(space.tables, {
      family = args.family, name = args.name, comment = args.comment, flags = model.copy(args.flags or {}),
      handle = next_handle(space), chains = {}, sets = {},
    })
    space:event("new", "nft_table", view(args))
  end
end

function tables.del(space, args)
  local _, index = find_table(space, args.family, args.name)
  if not index then
    space:refuse("del", "nft_table", args, "ENOENT", nil, "name (NFTA_TABLE_NAME)")
  end
  table.remove(space.tables, index)
  space:event("del", "nft_table", view(args))
end

function tables.get(space, args)
  local found = find_table(space, args.family, args.name)
  return found and view(found)
end

function tables.dump(space)
  local list = {}
  for i, item in ipairs(space.tables) do
    list[i] = view(item)
  end
  return list
end

-- Chains and sets live alike in a table's list; they differ in what is checked and what `replace` may change.
local function members(object, list_name, attribute, hooks)
  local member = {}
  function member.add(space, args)
    local home = table_of(space, "add", object, args)
    if find(home[list_name], args.name) then
      space:refuse("add", object, args, "EEXIST", nil, attribute)
    end
    member.replace(space, args)
  end
  function member.replace(space, args)
    local home = table_of(space, "replace", object, args)
    local have = find(home[list_name], args.name)
    if have then
      hooks.change(space, args, have)
      return
    end
    local made = hooks.make(space, args)
    made.family, made.table, made.handle = args.family, args.table, next_handle(space)
    table.insert(home[list_name], made)
    space:event("new", object, view(made))
  end
  function member.del(space, args)
    local home = table_of(space, "del", object, args)
    local have, index = find(home[list_name], args.name)
    if not have then
      space:refuse("del", object, args, "ENOENT", nil, attribute)
    elseif hooks.used(home, have) then
      space:refuse("del", object, args, "EBUSY", nil, attribute)
    end
    table.remove(home[list_name], index)
    space:event("del", object, view(have))
  end
  function member.get(space, args)
    local home = find_table(space, args.family, args.table)
    local have = home and find(home[list_name], args.name)
    return have and view(have)
  end
  function member.dump(space)
    local list = {}
    for _, home in ipairs(space.tables) do
      for _, item in ipairs(home[list_name]) do
        list[#list + 1] = view(item)
      end
    end
    return list
  end
  return member
end

-- Whether any rule of the table has an expression for which `test` is true.
local function any_expression(home, test)
  for _, chain in ipairs(home.chains) do
    for _, rule in ipairs(chain.rules) do
      for _, expression in ipairs(rule.expr or {}) do
        if test(expression) then
          return true
        end
      end
    end
  end
  return false
end

local chains = members("nft_chain", "chains", "name (NFTA_CHAIN_NAME)", {
  make = function(_, args)
    local made = model.copy(args)
    made.rules = {}
    if made.hook then
      made.flags, made.policy = { "base" }, made.policy or "accept"
    end
    return made
  end,
  change = function(space, args, have)
    for _, key in ipairs { "type", "hook", "prio" } do
      if args[key] ~= nil and args[key] ~= have[key] then
        space:refuse("replace", "nft_chain", args, "EOPNOTSUPP")
      end
    end
    have.policy = args.policy or have.policy
  end,
  used = function(home, have)
    return any_expression(home, function(expression)
      return type(expression.data) == "table" and expression.data.chain == have.name
    end)
  end,
})

local sets = members("nft_set", "sets", "name (NFTA_SET_NAME)", {
  make = function(space, args)
    if not args.type then
      space:refuse("add", "nft_set", args, "EINVAL")
    end
    local made = model.copy(args)
    made.elements, made.flags = {}, made.flags or {}
    return made
  end,
  change = function(space, args, have)
    if args.type and not objects.matches("nft_set", { type = args.type }, have) then
      space:refuse("replace", "nft_set", args, "EEXIST", nil, "name (NFTA_SET_NAME)")
    end
  end,
  used = function(home, have)
    return any_expression(home, function(expression)
      return expression.set == have.name
    end)
  end,
})

-- Rules ---------------------------------------------------------------------------------------------------------------

local function chain_of(space, verb, args)
  local home = table_of(space, verb, "nft_rule", args)
  return find(home.chains, args.chain)
    or space:refuse(verb, "nft_rule", args, "ENOENT", nil, "chain (NFTA_RULE_CHAIN)"), home
end

local function new_rule(space, verb, args, home)
  for _, expression in ipairs(args.expr or {}) do
    if expression.set and not find(home.sets, expression.set) then
      space:refuse(verb, "nft_rule", args, "ENOENT", nil, "expr (NFTA_RULE_EXPRESSIONS)")
    end
  end
  local made = model.copy(args)
  made.handle, made.position = next_handle(space), nil
  space:event("new", "nft_rule", view(made))
  return made
end

local function rule_at(chain, handle)
  for i, rule in ipairs(chain.rules) do
    if rule.handle == handle then
      return i
    end
  end
end

local function put_rule(verb, place)
  return function(space, args)
    local chain, home = chain_of(space, verb, args)
    local at = args.position or args.handle
    local index = at and rule_at(chain, at)
    if at and not index then
      space:refuse(verb, "nft_rule", args, "ENOENT", nil, "handle (NFTA_RULE_HANDLE)")
    end
    place(chain.rules, index, new_rule(space, verb, args, home))
  end
end

local function append_rule(list, index, rule)
  table.insert(list, index and index + 1 or #list + 1, rule)
end

local rules = {
  add = put_rule("add", append_rule),
  append = put_rule("append", append_rule),
  insert = put_rule("insert", function(list, index, rule)
    table.insert(list, index or 1, rule)
  end),
  replace = put_rule("replace", function(list, index, rule)
    list[index or #list + 1] = rule
  end),
}

function rules.del(space, args)
  local chain = chain_of(space, "del", args)
  if args.handle then
    local index = rule_at(chain, args.handle)
    if not index then
      space:refuse("del", "nft_rule", args, "ENOENT", nil, "handle (NFTA_RULE_HANDLE)")
    end
    space:event("del", "nft_rule", view(table.remove(chain.rules, index)))
    return
  end
  chain.rules = {}
end
rules.flush = rules.del

function rules.dump(space)
  local list = {}
  for _, home in ipairs(space.tables) do
    for _, chain in ipairs(home.chains) do
      for _, rule in ipairs(chain.rules) do
        list[#list + 1] = view(rule)
      end
    end
  end
  return list
end

function rules.get(space, args)
  for _, rule in ipairs(rules.dump(space)) do
    if objects.matches("nft_rule", args, rule) then
      return rule
    end
  end
end

-- Elements ------------------------------------------------------------------------------------------------------------

local function set_of(space, verb, args)
  local home = table_of(space, verb, "nft_element", args)
  return find(home.sets, args.name)
    or space:refuse(verb, "nft_element", args, "ENOENT", nil, "name (NFTA_SET_ELEM_LIST_SET)")
end

local function is_interval(set)
  for _, flag in ipairs(set.flags) do
    if flag == "interval" then
      return true
    end
  end
  return false
end

-- The bytes of a key that is given in parts, as the codec joins them.
local function joined(key)
  local message = core.encode("new", "nft_element", {
    family = "inet", table = "t", name = "s", elem = { { key = key } },
  })
  return core.decode(message)[1].value.elem[1].key
end

-- An element as the set keeps it: { elem = text, comment, timeout, data }, with first and last address when it is one.
local function element_of(given)
  local made = type(given) == "table" and model.copy(given) or { val = tostring(given) }
  made.elem, made.val = made.val or made.key, nil
  if type(made.elem) == "table" then
    made.elem = joined(made.elem)
  end
  local from, to = tostring(made.elem):match("^([^-]+)-([^-]+)$")
  local first = core.cidr.parse(from or tostring(made.elem))
  if first then
    made.first = first.network.bytes
    made.last = (to and core.cidr(to) or first:last()).bytes
    made.elem = first:is_host() and not to and first.address or made.elem
  else
    made.first, made.last = made.elem, made.elem
  end
  return made
end

local function overlaps(a, b)
  return a.first <= b.last and b.first <= a.last
end

local function find_element(set, wanted)
  for i, have in ipairs(set.elements) do
    if have.first == wanted.first and have.last == wanted.last then
      return i
    end
  end
end

local elements = {}
local ELEM = "elem (NFTA_SET_ELEM_LIST_ELEMENTS)"

local function put_elements(verb)
  return function(space, args)
    local set = set_of(space, verb, args)
    local kept = { table.unpack(set.elements) }
    for _, given in ipairs(args.elem or {}) do
      local made = element_of(given)
      local same = find_element({ elements = kept }, made)
      for _, have in ipairs(kept) do
        if overlaps(have, made) and (not same or verb == "add") then
          space:refuse(verb, "nft_element", args, "EEXIST", nil, ELEM)
        end
      end
      if not same then
        kept[#kept + 1] = made
      end
    end
    table.sort(kept, function(a, b)
      return a.first < b.first
    end)
    set.elements = kept
    space:event("new", "nft_element", view(args))
  end
end
elements.add = put_elements "add"
elements.replace = put_elements "replace"

function elements.del(space, args)
  local set = set_of(space, "del", args)
  local kept = { table.unpack(set.elements) }
  for _, given in ipairs(args.elem or {}) do
    local index = find_element({ elements = kept }, element_of(given))
    if not index then
      space:refuse("del", "nft_element", args, "ENOENT", nil, ELEM)
    end
    table.remove(kept, index)
  end
  set.elements = args.elem and kept or {}
  space:event("del", "nft_element", view(args))
end

function elements.flush(space, args)
  elements.del(space, { family = args.family, table = args.table, name = args.name })
end

local function view_element(set, have)
  return {
    family = set.family, table = set.table, name = set.name, elem = have.elem, comment = have.comment,
    timeout = have.timeout, data = model.copy(have.data),
  }
end

-- The element that holds the address asked for.
function elements.get(space, args)
  local home = find_table(space, args.family, args.table)
  local set = home and find(home.sets, args.name)
  if not set then
    return nil
  end
  local wanted = element_of(args.elem[1])
  for _, have in ipairs(set.elements) do
    if have.first <= wanted.first and wanted.last <= have.last and (is_interval(set) or have.first == wanted.first) then
      return view_element(set, have)
    end
  end
end

function elements.dump(space)
  local list = {}
  for _, home in ipairs(space.tables) do
    for _, set in ipairs(home.sets) do
      for _, have in ipairs(set.elements) do
        list[#list + 1] = view_element(set, have)
      end
    end
  end
  return list
end

nft.objects = {
  nft_table = tables, nft_chain = chains, nft_set = sets, nft_rule = rules, nft_element = elements,
}

return nft
