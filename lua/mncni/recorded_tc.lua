-- SPDX-License-Identifier: Apache-2.0
-- Queueing disciplines, classes and filters of the recorded net: see mncni.recorded_model. What the kernel makes by
-- itself (the discipline that every link begins with, numbers that were not given) is not modelled.

local model = require "mncni.recorded_model"

-- The three differ in what names one, and in what the kernel fills in (net/sched/sch_api.c, cls_api.c).
local function entries(object, list_name, same, fill)
  local entry = {}
  local function find(space, link, args)
    for i, have in ipairs(space[list_name]) do
      if have.link == link and same(args, have) then
        return have, i
      end
    end
  end
  local function filled(args)
    local made = model.copy(args)
    fill(made)
    return made
  end
  local function put(space, verb, args)
    local link = model.link_of(space, verb, object, args)
    local made = filled(args)
    local have, at = find(space, link, made)
    if have and verb == "add" then
      space:refuse(verb, object, args, "EEXIST")
    elseif not have and verb == "set" then
      space:refuse(verb, object, args, "ENOENT")
    end
    made.dev, made.ifindex, made.link = nil, nil, link
    made.handle = made.handle or have and have.handle
    space[list_name][at or #space[list_name] + 1] = made
    space:event("new", object, model.view_entry(made))
  end
  for _, verb in ipairs { "add", "replace", "set" } do
    entry[verb] = function(space, args)
      put(space, verb, args)
    end
  end
  function entry.del(space, args)
    local have, at = find(space, model.link_of(space, "del", object, args), filled(args))
    if not have then
      space:refuse("del", object, args, "ENOENT")
    end
    table.remove(space[list_name], at)
    space:event("del", object, model.view_entry(have))
  end
  function entry.dump(space)
    return model.views(space[list_name])
  end
  return entry
end

local qdisc_kinds = { "tbf", "htb", "fq_codel", "pfifo", "bfifo", "netem" }

local function fill_qdisc(args)
  for _, kind in ipairs(qdisc_kinds) do
    args.kind = args.kind or args[kind] and kind or nil
  end
  if args.kind == "ingress" or args.kind == "clsact" then
    args.parent, args.handle = "ingress", "ffff:"
  end
  args.parent = args.parent or "root"
end

local qdisc = entries("qdisc", "qdiscs", function(args, have)
  return args.parent == have.parent
end, fill_qdisc)

local class = entries("class", "classes", function(args, have)
  return args.handle == have.handle
end, function(args)
  args.kind = args.kind or args.htb and "htb" or nil
end)

local filter = entries("filter", "filters", function(args, have)
  return args.parent == have.parent and args.prio == have.prio and (args.handle or 0) == (have.handle or 0)
end, function(args)
  args.kind = args.kind or args.u32 and "u32" or args.matchall and "matchall" or nil
  args.protocol = args.protocol or "all"
end)

return { qdisc = qdisc, class = class, filter = filter }
