-- SPDX-License-Identifier: Apache-2.0
-- Words of a line of iproute2.

local objects = require "mncni.objects"

local print_words = {}

-- The protocols that any iproute2 knows by name (lib/rt_names.c); others are printed as numbers.
local known_protocols = {
  redirect = true, kernel = true, boot = true, static = true, gated = true, ra = true, mrt = true, zebra = true,
  bird = true, dnrouted = true, xorp = true, ntk = true, dhcp = true, keepalived = true, babel = true,
}

-- Of routes, rules and neighbours; nil stays nil.
function print_words.protocol(value)
  if value == nil then
    return nil
  end
  local name = objects.name("protocol", value)
  return known_protocols[name] and name or objects.number("protocol", value)
end

-- A word as a shell, `ip -batch` and nft take it.
function print_words.quote(word)
  word = tostring(word)
  if word ~= "" and not word:find("[^%w_@%%+=:,./%-]") then
    return word
  elseif not word:find("'") then
    return "'" .. word .. "'"
  end
  return '"' .. word:gsub('["\\$`]', "\\%0") .. '"'
end

local Words = {}
Words.__index = Words

-- new(...) is a line that begins with these words.
function print_words.new(...)
  return setmetatable({ ... }, Words)
end

-- add(word, value): the word and its value, or nothing when the value is nil.
function Words:add(word, value)
  if value ~= nil then
    self[#self + 1] = word
    self[#self + 1] = print_words.quote(value)
  end
end

-- The word and on or off, or nothing when the value is nil.
function Words:switch(word, value)
  if value ~= nil then
    self[#self + 1] = word
    self[#self + 1] = (value == true or value == 1) and "on" or "off"
  end
end

-- Options as { key, default, word }; the word, where it is not the key, may be a function(words, value). Booleans are
-- printed as 0 and 1.
function Words:options(values, list)
  for _, option in ipairs(list) do
    local value, word = values[option[1]], option[3] or option[1]
    if type(value) == "boolean" then
      value = value and 1 or 0
    end
    if type(word) == "function" and value ~= nil then
      word(self, value)
    elseif type(word) == "string" then
      self:add(word, value)
    end
  end
end

-- Those of the flags that the list has.
function Words:flags(list, flags)
  for _, flag in ipairs(flags) do
    if print_words.contains(list or {}, flag) then
      self[#self + 1] = flag
    end
  end
end

-- The line.
function Words:text()
  return table.concat(self, " ")
end

-- The value as a list: of one, when it is none.
function print_words.list_of(value)
  return type(value) == "table" and value or { value }
end

-- Whether a list, or a single word, has the word.
function print_words.contains(list, word)
  for _, item in ipairs(print_words.list_of(list)) do
    if item == word then
      return true
    end
  end
  return false
end

-- How `ip` names a namespace: by name, path or pid.
function print_words.netns(netns)
  if type(netns) == "table" or type(netns) == "userdata" then
    local inner = type(netns) == "table" and rawget(netns, "netns") or netns
    local path = inner.path and inner:path()
    netns = path or tostring(inner)
  end
  return type(netns) == "string" and netns:match("^/run/netns/([^/]+)$") or netns
end

return print_words
