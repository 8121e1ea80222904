-- SPDX-License-Identifier: Apache-2.0
-- Queueing disciplines, classes and filters as the lines of `tc` that would make them.

local print_words = require "mncni.print_words"

-- Bytes per second, as tc writes them.
local function rate(out, value, word)
  if value ~= 0 then
    out:add(word, value .. "bps")
  end
end

-- Nanoseconds, as tc takes them.
local function microseconds(value)
  return ("%.15gus"):format(value / 1000)
end

local function nanoseconds(out, value, word)
  if value ~= 0 then
    out:add(word, microseconds(value))
  end
end

local function share(out, value, word)
  if value ~= 0 then
    out:add(word, ("%.10g%%"):format(value * 100))
  end
end

local function number(out, value, word)
  if value ~= 0 then
    out:add(word, value)
  end
end

local function switch(out, value, word)
  out[#out + 1] = value and word or "no" .. word
end

-- Values in the order in which tc takes them: { key, how, word (the key, unless given) }.
local function say(out, values, list)
  for _, option in ipairs(list) do
    local value = values[option[1]]
    if value ~= nil then
      option[2](out, value, option[3] or option[1])
    end
  end
end

local function hexadecimal(out, value, word)
  out:add(word, ("%x"):format(value))
end

local kinds = {
  qdisc = {
    tbf = {
      { "rate", rate }, { "burst", number }, { "limit", number }, { "peakrate", rate }, { "minburst", number },
    },
    htb = { { "default", hexadecimal }, { "r2q", number }, { "direct_qlen", number } },
    fq_codel = {
      { "limit", number }, { "flows", number }, { "quantum", number },
      { "target", function(out, value) out:add("target", value .. "us") end },
      { "interval", function(out, value) out:add("interval", value .. "us") end }, { "memory_limit", number },
      { "ecn", switch }, { "drop_batch", number },
    },
    pfifo = { { "limit", number } },
    bfifo = { { "limit", number } },
    netem = {
      { "limit", number }, { "delay", nanoseconds }, { "jitter", function(out, value)
        out[#out + 1] = value ~= 0 and microseconds(value) or nil
      end }, { "loss", share }, { "duplicate", share }, { "corrupt", share }, { "reorder", share }, { "gap", number },
      { "rate", rate },
    },
  },
  class = {
    htb = {
      { "prio", number }, { "rate", rate }, { "ceil", rate }, { "burst", number }, { "cburst", number },
      { "quantum", number },
    },
  },
}

local function start(object, verb, args)
  local out = print_words.new(object, verb, "dev", print_words.quote(args.dev or args.ifindex or "?"))
  if args.kind == "ingress" or args.kind == "clsact" then
    return out
  elseif args.parent == "root" or object == "qdisc" and not args.parent then
    out[#out + 1] = "root"
  else
    out:add("parent", args.parent)
  end
  return out
end

local function kind_of(object, args)
  if args.kind then
    return args.kind
  end
  for kind in pairs(kinds[object] or {}) do
    if args[kind] then
      return kind
    end
  end
end

local function line(object, verb, handle)
  return function(args)
    local kind = kind_of(object, args)
    local out = start(object, verb, args)
    if kind ~= "ingress" and kind ~= "clsact" then
      out:add(handle, args.handle)
    end
    out[#out + 1] = kind
    say(out, args[kind] or {}, kinds[object][kind] or {})
    return { out:text() }
  end
end

local function actions(out, list)
  for _, action in ipairs(list or {}) do
    out:add("action", action.kind)
    if action.kind == "mirred" then
      out[#out + 1] = action.eaction
      out:add("dev", action.to_dev)
    elseif action.kind == "police" then
      say(out, action, { { "rate", rate }, { "burst", number }, { "mtu", number } })
      out:add("conform-exceed", action.action)
    end
    if action.kind ~= "police" then
      out[#out + 1] = action.action
    end
  end
end

local function filter(verb)
  return function(args)
    local kind = args.kind or args.u32 and "u32" or args.matchall and "matchall"
    local out = start("filter", verb, args)
    out:add("protocol", args.protocol or "all")
    out:add("prio", args.prio)
    local handle = math.type(args.handle) == "integer" and args.handle ~= 0 and args.handle or nil
    if handle and kind == "u32" then
      handle = ("%x:%x:%x"):format(handle >> 20, handle >> 12 & 0xff, handle & 0xfff)
    end
    out:add("handle", handle)
    out[#out + 1] = kind
    local values = args[kind] or {}
    for _, match in ipairs(values.sel and values.sel.keys or {}) do
      out[#out + 1] = ("match u32 0x%x 0x%x at %d"):format(match.val or 0, match.mask or 0, match.off or 0)
    end
    out:add("flowid", values.flowid)
    actions(out, values.actions)
    return { out:text() }
  end
end

local function verbs(object, handle)
  local made = {}
  for verb, word in pairs { add = "add", replace = "replace", set = "change", del = "del" } do
    made[verb] = object == "filter" and filter(word) or line(object, word, handle)
  end
  return made
end

local print_tc = { qdisc = verbs("qdisc", "handle"), class = verbs("class", "classid"), filter = verbs "filter" }

-- All filters of a parent.
print_tc.filter.flush = function(args)
  return { start("filter", "del", args):text() }
end

return print_tc
