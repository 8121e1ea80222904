-- SPDX-License-Identifier: Apache-2.0
-- What a word at the prompt of `mncni repl` may become: globals and what is below a name, verbs and keys of the families,
-- topics of help. Nothing is called for it.

local core = require "mncni.core"
local net = require "mncni.net"

local complete = {}

local KEYWORDS = {
  "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil", "not",
  "or", "repeat", "return", "then", "true", "until", "while",
}

-- The value that a path such as host.link.add leads to; nil when there is none. Also what it is found in.
local function value_of(path)
  local value, holder = _G, nil
  for name in path:gmatch "[^.:]+" do
    if type(value) ~= "table" and type(value) ~= "userdata" and type(value) ~= "string" then
      return nil
    end
    local ok, found = pcall(function() return value[name] end)
    if not ok or found == nil then
      return nil
    end
    value, holder = found, value
  end
  return value, holder
end

local function is_net(value)
  local meta = debug.getmetatable(value)
  return type(value) == "table" and meta ~= nil and meta.mncni_net == true
end

-- The names below a value; path ends with the value's own name.
local function names_of(value, path)
  local names = {}
  local function add(of)
    for name in pairs(type(of) == "table" and of or {}) do
      if type(name) == "string" and not name:find "^_" then
        names[name] = true
      end
    end
  end
  local meta = debug.getmetatable(value)
  local _, holder = value_of(path)
  local object = path:match "([%w_]+)$"
  if is_net(value) then
    for _, name in ipairs { "nft", "sysctl", "conntrack", "batch", "monitor", "close", "name" } do
      names[name] = true
    end
    add(net.families.route)
  elseif is_net(holder) and net.families.route[object] then
    for _, verb in ipairs(net.families.route[object]) do
      names[verb] = true
    end
  elseif path:find "%.nft%.[%w_]+$" and net.families.netfilter[object] then
    for _, verb in ipairs(net.families.netfilter[object]) do
      names[verb] = true
    end
  else
    add(value)
    add(type(value) == "string" and string or meta and meta.parts)
    add(meta and meta.__index)
    add(meta and meta.methods) -- of a handle of mncni.netns
  end
  return names
end

-- The schema's keys where the cursor is in the table that a verb takes: host.link.add { if
local function keys_of(line)
  local path = line:match "([%a_][%w_.]*)%s*%(?%s*{[^{}]*$"
  local value = path and value_of(path)
  local object = net.object_of(value)
  return object and core.schema()[object]
end

local function topics()
  local names = {}
  for _, topic in ipairs(require("mncni.help_policy").order) do
    names[topic] = true
  end
  for object in pairs(core.schema()) do
    names[object] = true
  end
  return names
end

local function matching(names, front, part)
  local list = {}
  for name in pairs(names) do
    if name:sub(1, #part) == part then
      list[#list + 1] = front .. name
    end
  end
  table.sort(list)
  return list
end

-- complete.words(word, line): what the word may become, sorted; line is what stands before the cursor, the word included.
function complete.words(word, line)
  if line:find "help%s*%(?%s*[\"'][%w_.]*$" then
    return matching(topics(), "", word)
  end
  local path, separator, part = word:match "^(.*)([.:])([%w_]*)$"
  if path then
    local value = value_of(path)
    return value ~= nil and matching(names_of(value, path), path .. separator, part) or {}
  end
  local keys = keys_of(line)
  if keys and not line:find "=%s*[%w_]*$" then
    return matching(keys, "", word)
  end
  local names = {}
  for name in pairs(_G) do
    names[tostring(name)] = true
  end
  for _, keyword in ipairs(KEYWORDS) do
    names[keyword] = true
  end
  return matching(names, "", word)
end

return complete
