-- SPDX-License-Identifier: Apache-2.0
-- Rules of the recorded net: see mncni.recorded_model.

local model = require "mncni.recorded_model"
local objects = require "mncni.objects"

local rule = {}

local function same_rule(wanted, have)
  return objects.matches("rule", wanted, have)
end

function rule.add(space, args)
  local made = model.copy(args)
  made.family, made.action = objects.family_of(args), args.action or "to_table"
  made.table = args.table and objects.name("table", args.table) or nil
  if made.action == "to_table" and not made.table then
    made.table = "main"
  end
  if not made.priority then
    made.priority = 32766
    for _, have in ipairs(space.rules) do
      if have.family == made.family and have.priority > 0 and have.priority <= made.priority then
        made.priority = have.priority - 1
      end
    end
  end
  for _, have in ipairs(space.rules) do
    if same_rule(made, have) and same_rule(have, made) then
      space:refuse("add", "rule", args, "EEXIST")
    end
  end
  local at = #space.rules + 1
  for i, have in ipairs(space.rules) do
    if have.priority > made.priority then
      at = i
      break
    end
  end
  table.insert(space.rules, at, made)
  space:event("new", "rule", made)
end

function rule.del(space, args)
  local wanted = model.copy(args)
  wanted.family = objects.family_of(args)
  for i, have in ipairs(space.rules) do
    if same_rule(wanted, have) then
      table.remove(space.rules, i)
      space:event("del", "rule", have)
      return
    end
  end
  space:refuse("del", "rule", args, "ENOENT")
end

function rule.dump(space)
  return model.views(space.rules)
end

return rule
