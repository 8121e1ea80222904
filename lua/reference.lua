-- SPDX-License-Identifier: Apache-2.0
-- `make reference` writes lua/reference.md with this: from the types (lua/types), from what help() knows, from the codec's
-- own tables, from the options that policies declare, and from the words of subcommands. Nothing is told here. With the
-- argument "help" it prints lua/mncni/help_functions.lua, what help() says of functions, from the types as well.

local core = require "mncni.core"
local command = require "mncni.command"
local help_policy = require "mncni.help_policy"
local net = require "mncni.net"
local sorted_keys = require "mncni.keys"
local testing = require "mncni.testing"
local words = require "mncni.words"

local FILES = { "mncni", "modules", "netns", "core", "policy", "agent", "kube", "http", "httpd", "nft", "testing" }

local out = {}

local function say(line, ...)
  out[#out + 1] = select("#", ...) > 0 and line:format(...) or line
end

-- Reads the types: a list of classes { name, about, parent, fields = { { name, type, about } }, functions = { { call, about,
-- params, returns } } } in the order of the files.
local function read()
  local list, class, doc = {}, nil, { text = {}, params = {}, returns = {} }
  for _, file in ipairs(FILES) do
    local bound = {}
    for line in io.lines(("lua/types/%s.lua"):format(file)) do
      local tag, rest = line:match "^%-%-%-@(%l+) (.*)$"
      local variable = line:match "^local (%w+) = {}$"
      local owner, separator, call = line:match "^function (%w+)([.:])(.-) end$"
      if tag == "class" then
        local name, about = rest:match "^([%w_.]+)%s*(.*)$"
        class = { name = name, about = about:gsub("^: *[%w_.]+ *", ""), fields = {}, functions = {}, text = doc.text }
        list[#list + 1] = class
        doc = { text = {}, params = {}, returns = {} }
      elseif tag == "field" then
        class.fields[#class.fields + 1] = rest
      elseif tag == "param" then
        table.insert(doc.params, rest)
      elseif tag == "return" then
        table.insert(doc.returns, rest)
      elseif line:find "^%-%-%-[^@]" then
        table.insert(doc.text, (line:match "^%-%-%-(.*)$"))
      elseif variable then
        bound[variable] = class
      elseif owner then
        table.insert(bound[owner].functions, {
          call = (separator == ":" and owner .. ":" or owner .. ".") .. call, doc = doc,
        })
        doc = { text = {}, params = {}, returns = {} }
      elseif line == "" then
        doc = { text = {}, params = {}, returns = {} }
      end
    end
  end
  return list
end

-- "name? type words": the type may have blanks within brackets.
local function split(text)
  local name, rest = text:match "^(%S+)%s+(.*)$"
  local depth, i = 0, 1
  while i <= #rest do
    local c = rest:sub(i, i)
    if c:find "[%(%{%[<]" then
      depth = depth + 1
    elseif c:find "[%)%}%]>]" then
      depth = depth - 1
    elseif c == " " and depth == 0 and not rest:sub(1, i - 1):find "[:,|]$" then
      break
    end
    i = i + 1
  end
  return name, rest:sub(1, i - 1), rest:sub(i + 1)
end

local function tell_functions(class)
  for _, entry in ipairs(class.functions) do
    say("- **`%s`** %s", entry.call, table.concat(entry.doc.text, " "))
    for _, param in ipairs(entry.doc.params) do
      local name, kind, about = split(param)
      say("  - `%s`: `%s` %s", name, kind, about)
    end
    for _, returned in ipairs(entry.doc.returns) do
      local _, kind, about = split("_ " .. returned)
      say("  - returns `%s` %s", kind, about)
    end
  end
  say ""
end

local function tell_fields(class)
  for _, field in ipairs(class.fields) do
    local name, kind, about = split(field)
    say("- `%s`: `%s` %s", name, kind, about)
  end
  if #class.fields > 0 then
    say ""
  end
end

local function code(text, language)
  say("```%s", language or "")
  say("%s", text)
  say "```"
  say ""
end

-- Module class -> the topic of help() that tells of it.
local function topic_of(class)
  local name = class.name:match "^mncni%.(%u%w*)Module$"
  local topic = name and name:gsub("(%l)(%u)", "%1_%2"):lower()
  return help_policy.topics[topic] and topic
end

local function tell_classes(list)
  say "## Functions of mncni\n"
  for _, class in ipairs(list) do
    if class.name == "mncni" then
      tell_functions(class)
    end
  end
  for _, class in ipairs(list) do
    local topic = topic_of(class)
    if topic then
      say("### mncni.%s\n", topic)
      say("%s.\n", (help_policy.topics[topic][1]:gsub("^%l", string.upper)))
      code(help_policy.topics[topic][2], "lua")
      tell_functions(class)
    end
  end
  say "## Objects\n"
  for _, class in ipairs(list) do
    if class.name ~= "mncni" and not topic_of(class) then
      say("### %s\n", class.name)
      local about = table.concat(class.text, " ") .. class.about
      if about ~= "" then
        say("%s\n", about)
      end
      tell_fields(class)
      tell_functions(class)
    end
  end
end

-- Every object and table of the codec, with its keys, as help() tells them.
local function tell_families()
  local help = require "mncni.help"
  say "## Keys of netlink objects\n"
  local function tell(path, fields)
    code(help.text(path))
    for _, key in ipairs(sorted_keys(fields)) do
      if fields[key].fields then
        tell(path .. "." .. key, fields[key].fields)
      end
    end
  end
  for _, object in ipairs(sorted_keys(core.schema())) do
    local family = object:gsub("^nft_", "")
    if net.families[object:find "^nft_" and "netfilter" or "route"][family] then
      say("### %s\n", (object:gsub("^nft_", "nft.")))
      tell(object, core.schema()[object])
    end
  end
end

local function shown(option)
  if type(option.default) == "table" or option.default == nil then
    return option.auto and "computed" or option.required and "required" or ""
  end
  return ("`%s`"):format(tostring(option.default))
end

local function tell_policies()
  say "## Options of policies\n"
  local pipe <close> = assert(io.popen "ls policies")
  for file in pipe:lines() do
    local policy = testing.load("policies/" .. file)
    if next(policy.options or {}) then
      say("### %s\n", (file:gsub("%.lua$", "")))
      say "| option | type | default | |"
      say "|---|---|---|---|"
      for _, name in ipairs(sorted_keys(policy.options)) do
        local option = policy.options[name]
        say("| `%s` | %s | %s | %s |", name, option.type, shown(option), (option.doc or ""):gsub("|", "\\|"))
      end
      say ""
    end
  end
end

local function tell_commands()
  say "## Subcommands\n"
  for _, name in ipairs(command.names) do
    local subcommand = require("mncni.cmd." .. name)
    if not subcommand.raw then
      code(words.help(name, subcommand))
    end
  end
end

-- The keys of a table type: "{ ifname: string, mtu?: integer }", or a class of that sort. Nil for any other type.
local function keys_of(kind, classes)
  local keys = {}
  local inner = kind:match "^{(.*)}$"
  local class = classes[kind:match "^mncni%.%w+Arguments$"]
  if inner and not inner:find "^ *%[" then
    local depth = 0
    for c, word in inner:gmatch "([%(%){}<>%[%]]?)([^%(%){}<>%[%]]*)" do
      depth = depth + (c:find "[%({<%[]" and 1 or c:find "[%)}>%]]" and -1 or 0)
      for name in (depth == 0 and word or ""):gmatch "([%w_]+)%??:" do
        keys[#keys + 1] = name
      end
    end
  elseif class then
    for i, field in ipairs(class.fields) do
      keys[i] = field:match "^[%w_]+"
    end
  else
    return nil
  end
  return "{" .. table.concat(keys, ", ") .. "}"
end

-- "ensure{ifname, mtu}", "lease(ipam, {gateway})": a function as one would call it.
local function call_of(entry, classes)
  local owner, name, params = entry.call:match "^(%w+[.:])([%w_]+)%((.*)%)$"
  local list = {}
  for param in params:gmatch "[^, ]+" do
    list[#list + 1] = param
  end
  for _, param in ipairs(entry.doc.params) do
    local given, kind = split(param)
    for i, known in ipairs(list) do
      if known == given:gsub("%?$", "") then
        list[i] = keys_of(kind, classes) or known
      end
    end
  end
  owner = owner:find ":" and owner or ""
  return #list == 1 and list[1]:find "^{" and owner .. name .. list[1]
    or ("%s%s(%s)"):format(owner, name, table.concat(list, ", "))
end

-- What help() tells of besides the functions of a topic's module: methods of what they return.
local OBJECTS = {
  pod = { "Pod", "Eth", "Lease" }, node = { "Node" }, node_ranges = { "NodeRanges" }, routes = { "Warnings" },
  store = { "Store" }, recorded = { "World" }, testing = { "TestNode" },
}

local function print_help()
  local list, classes = read(), {}
  for _, class in ipairs(list) do
    classes[class.name] = class
  end
  local function tell(class)
    for _, entry in ipairs(class.functions) do
      local text = table.concat(entry.doc.text, " ")
      text = (text:match "^(.-[^.]%.) " or text):gsub("%.$", "")
      say "    {"
      say("      %q,", call_of(entry, classes))
      for i = 1, math.max(#text, 1), 100 do
        say("      %q%s", text:sub(i, i + 99), i + 100 <= #text and " .." or ",")
      end
      say "    },"
    end
  end
  say "-- SPDX-License-Identifier: Apache-2.0"
  say "-- Topic of help() -> its functions: how each is called, and the first sentence of its entry in lua/types."
  say "-- Made by `make reference`; to be changed there."
  say "return {"
  for _, class in ipairs(list) do
    local topic = topic_of(class)
    if topic then
      say("  %s = {", topic)
      tell(class)
      for _, object in ipairs(OBJECTS[topic] or {}) do
        tell(classes["mncni." .. object])
      end
      say "  },"
    end
  end
  say "}"
end

if arg[1] == "help" then
  print_help()
  print(table.concat(out, "\n"))
  return
end

say "# Reference\n"
say "What there is, made by `make reference` from the sources that also make `help()`, the errors and the types for"
say "editors (lua/types). What a function raises is an error object ([how they are told](../README.md#errors)); a"
say "trailing `?` marks what may be left out.\n"
tell_classes(read())
tell_policies()
tell_commands()
tell_families()

print((table.concat(out, "\n"):gsub("[ \t]+\n", "\n"):gsub("\n\n\n+", "\n\n"):gsub("%s+$", "")))
