-- SPDX-License-Identifier: Apache-2.0
-- What mncni.keeper_polled has to know of nftables. A declaration as mncni.ruleset takes it is replaced in one
-- transaction when anything of it differs.
--
-- The agent's chains and sets carry its mark, which is how their comment begins. What carries it and is not wanted goes,
-- whoever made it: a policy that is no longer listed, an earlier agent. What stands in the place of one of them without
-- it is not ours, and is left. Chains and sets that the plugin makes, too, have `shared` in the declaration, and no mark.

local core = require "mncni.core"
local ruleset = require "mncni.ruleset"

local keeper_nft = { object = "nft", verb = "batch" }

local MARK = "mncni-agent"

local function has_mark(object)
  return object.comment ~= nil and object.comment:sub(1, #MARK) == MARK
end

-- Whether the agent may own things in a table of this name.
function keeper_nft.is_table(name)
  return name == "mncni" or type(name) == "string" and name:find "^mncni%-" ~= nil
end

-- The declaration with the mark on what is the agent's alone. A revision is no part of it: those of all are one thing.
local function marked(declaration)
  local comment = ("%s: %s"):format(MARK, (declaration.comment:gsub(" %d+$", "")))
  local copy = {}
  for key, value in pairs(declaration) do
    copy[key] = value
  end
  for _, kind in ipairs { "chains", "sets" } do
    copy[kind] = {}
    for i, object in ipairs(declaration[kind] or {}) do
      local one = {}
      for key, value in pairs(object) do
        one[key] = value
      end
      one.comment = not object.shared and not has_mark(object) and comment or object.comment
      copy[kind][i] = one
    end
  end
  copy.rules = declaration.rules or {}
  return copy
end

local function each_own(declaration, fn)
  for kind, list in pairs { chain = declaration.chains or {}, set = declaration.sets or {} } do
    for _, object in ipairs(list) do
      if not object.shared then
        fn(kind, object.name)
      end
    end
  end
end

function keeper_nft.look(host, _, declaration)
  each_own(declaration, function(kind, name)
    local have = host.nft[kind].get { family = declaration.family, table = declaration.table, name = name }
    if have and not has_mark(have) then
      error(core.error {
        op = "replace", object = ("nft %s %s %s %s"):format(kind, declaration.family, declaration.table, name),
        message = "one of that name stands in the way and is not ours; remove it, or choose another name",
      }, 0)
    end
  end)
  return ruleset.replace(host, marked(declaration))
end

function keeper_nft.send(host, batch)
  host.nft.batch(batch)
end

-- What there is with our mark that no declaration of wants (key -> declaration) has: a name for each mark -> the
-- transaction that removes it. Tables stay: they are everybody's.
function keeper_nft.strays(host, wants)
  local wanted, strays = {}, {}
  local function id(kind, object, name)
    return ("%s %s %s %s"):format(kind, object.family, object.table, name)
  end
  for _, declaration in pairs(wants) do
    each_own(declaration, function(kind, name) wanted[id(kind, declaration, name)] = true end)
  end
  for _, kind in ipairs { "chain", "set" } do
    for object in host.nft[kind].list {} do
      if keeper_nft.is_table(object.table) and has_mark(object) and not wanted[id(kind, object, object.name)] then
        local key = ('%s %s "%s"'):format(object.family, object.table, object.comment)
        local stray = strays[key] or { rules = {}, objects = {} }
        strays[key] = stray
        local function put(list, what, field)
          list[#list + 1] = { what == "rule" and "flush" or "del", what,
            { family = object.family, table = object.table, [field] = object.name } }
        end
        if kind == "chain" then
          put(stray.rules, "rule", "chain")
        end
        put(stray.objects, kind, "name")
      end
    end
  end
  for key, stray in pairs(strays) do
    strays[key] = table.move(stray.objects, 1, #stray.objects, #stray.rules + 1, stray.rules)
  end
  return strays
end

return keeper_nft
