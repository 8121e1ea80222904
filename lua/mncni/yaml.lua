-- SPDX-License-Identifier: Apache-2.0
-- The part of YAML that configuration files of Kubernetes are written in: block maps and lists, plain and quoted values
-- on one line, flow lists and maps on one line, | literals, comments. Everything else (anchors, aliases, tags, merge
-- keys, folded text, values over several lines, tabs as indentation, a second document) is refused with its line,
-- never misread. Plain words are YAML 1.2's: yes and no are strings.

local core = require "mncni.core"
local json = core.json

local yaml = {}

local MAX_DEPTH = 64

local Reader = {}
Reader.__index = Reader

function Reader:fail(message, ...)
  error(core.error {
    code = 7, line = self.at, message = ("%s:%d: %s"):format(self.name, self.at, message:format(...)),
  }, 0)
end

-- What must not begin a value.
local refused = {
  ["&"] = "anchors are not read here; write the value out", ["*"] = "aliases are not read here; write the value out",
  ["!"] = "tags are not read here", [">"] = "folded text is not read here; write it on one line, or with |",
  ["%"] = "a value cannot begin with %%; put it in quotes", ["@"] = "a value cannot begin with @; put it in quotes",
  ["`"] = "a value cannot begin with `; put it in quotes",
}

local words = {
  ["null"] = json.null, ["Null"] = json.null, ["NULL"] = json.null, ["~"] = json.null,
  ["true"] = true, ["True"] = true, ["TRUE"] = true, ["false"] = false, ["False"] = false, ["FALSE"] = false,
}

local function plain(text)
  local word = words[text]
  if word ~= nil then
    return word
  elseif text:find "^[-+]?%d+$" then
    return math.tointeger(tonumber(text)) or tonumber(text)
  elseif text:find "^[-+]?%d*%.?%d+[eE]?[-+]?%d*$" or text:find "^[-+]?%d+%.$" then
    return tonumber(text) or text
  end
  return text
end

local escapes = {
  ["0"] = "\0", a = "\a", b = "\b", t = "\t", n = "\n", v = "\v", f = "\f", r = "\r", e = "\27", [" "] = " ",
  ['"'] = '"', ["/"] = "/", ["\\"] = "\\",
}
local digits = { x = 2, u = 4, U = 8 }

-- The quoted text that begins at a place of a line; returns it and the place behind it.
function Reader:quoted(text, from)
  local parts, at = {}, from + 1
  if text:sub(from, from) == "'" then
    while true do
      local stop = text:find("'", at, true) or self:fail "the quotes do not end on this line"
      parts[#parts + 1] = text:sub(at, stop - 1)
      if text:sub(stop + 1, stop + 1) ~= "'" then
        return table.concat(parts), stop + 1
      end
      parts[#parts + 1], at = "'", stop + 2
    end
  end
  while true do
    local stop = text:find('["\\]', at) or self:fail "the quotes do not end on this line"
    parts[#parts + 1] = text:sub(at, stop - 1)
    if text:sub(stop, stop) == '"' then
      return table.concat(parts), stop + 1
    end
    local escape = text:sub(stop + 1, stop + 1)
    if digits[escape] then
      local hex = text:sub(stop + 2, stop + 1 + digits[escape])
      local code = #hex == digits[escape] and hex:find "^%x+$" and tonumber(hex, 16)
      if not code or code > 0x10FFFF or code >= 0xD800 and code < 0xE000 then
        self:fail("\"\\%s%s\" is no character", escape, hex)
      end
      parts[#parts + 1], at = utf8.char(code), stop + 2 + #hex
    else
      parts[#parts + 1] = escapes[escape] or self:fail("\"\\%s\" is no escape sequence", escape)
      at = stop + 2
    end
  end
end

local function skip(text, at)
  return text:find("[^ \t]", at) or #text + 1
end

-- Refuses what stands behind a value, unless it is a comment.
function Reader:ending(text, at)
  local rest = skip(text, at)
  if rest <= #text and not (rest > at and text:sub(rest, rest) == "#") then
    self:fail("\"%s\" behind the value is not understood", text:sub(rest, rest + 30))
  end
end

-- One value inside of [ ] or { }; returns it and the place behind it.
function Reader:flow(text, at, depth)
  at = skip(text, at)
  local first = text:sub(at, at)
  if first == '"' or first == "'" then
    return self:quoted(text, at)
  elseif first == "[" or first == "{" then
    return self:collection(text, at, depth + 1)
  elseif refused[first] then
    self:fail(refused[first])
  end
  local stop = at
  while stop <= #text and not text:find("^[%[%]{},]", stop) and not text:find("^:[ ,%]}]", stop)
    and not text:find("^ #", stop) do
    stop = stop + 1
  end
  local word = text:sub(at, stop - 1):gsub("[ \t]+$", "")
  return word == "" and json.null or plain(word), stop, word ~= ""
end

-- A list or map on one line, from its bracket on; returns it and the place behind it.
function Reader:collection(text, at, depth)
  if depth > MAX_DEPTH then
    self:fail("nested deeper than %d levels", MAX_DEPTH)
  end
  local is_list = text:sub(at, at) == "["
  local close = is_list and "]" or "}"
  local all, count = is_list and json.array {} or {}, 0
  at = skip(text, at + 1)
  while text:sub(at, at) ~= close do
    local value, there
    value, at, there = self:flow(text, at, depth)
    at = skip(text, at)
    if is_list then
      if there == false then
        self:fail "an element is missing in the list"
      end
      count = count + 1
      all[count] = value
    else
      if type(value) ~= "string" or text:sub(at, at) ~= ":" then
        self:fail "expected KEY: VALUE between the braces, on this line"
      end
      local key = value
      self:unused(all, key)
      all[key], at = self:flow(text, at + 1, depth)
      at = skip(text, at)
    end
    local separator = text:sub(at, at)
    if separator == "," then
      at = skip(text, at + 1)
    elseif separator ~= close then
      self:fail("expected , or %s on this line", close)
    end
  end
  return all, at + 1
end

-- A value that stands on one line.
function Reader:inline(text, depth)
  local first = text:sub(1, 1)
  if first == '"' or first == "'" then
    local value, at = self:quoted(text, 1)
    self:ending(text, at)
    return value
  elseif first == "[" or first == "{" then
    local value, at = self:collection(text, 1, depth + 1)
    self:ending(text, at)
    return value
  elseif refused[first] then
    self:fail(refused[first])
  end
  text = text:gsub("[ \t]#.*$", ""):gsub("[ \t]+$", "")
  if text:find(": ", 1, true) or text:sub(-1) == ":" then
    self:fail "a value with a colon in it needs quotes"
  end
  return plain(text)
end

-- The text of a | literal whose key stands at an indentation.
function Reader:literal(header, outer)
  local indicators = header:match "^|([-+%d]*)%s*$" or header:match "^|([-+%d]*)%s+#.*$"
  local chomp, width = "", nil
  if indicators then
    chomp, width = indicators:match "[-+]" or "", math.tointeger(tonumber(indicators:match "%d"))
  end
  if not indicators or #indicators > #chomp + (width and 1 or 0) or width == 0 then
    self:fail("\"%s\" is no head of a literal", header)
  end
  local lines, indent = {}, width and outer + width
  local at = self.at + 1
  while at <= #self.lines do
    local line = self.lines[at]
    local blanks = #line:match "^ *"
    if line:find "%S" then
      indent = indent or blanks
      if blanks <= outer or blanks < indent then
        break
      end
    end
    lines[#lines + 1] = indent and line:sub(indent + 1) or ""
    at = at + 1
  end
  self.at = at
  local text = table.concat(lines, "\n") .. (#lines > 0 and "\n" or "")
  if chomp == "+" then
    return text
  end
  text = text:gsub("\n+$", "")
  return chomp == "-" and text or text .. (text ~= "" and "\n" or "")
end

-- Goes to the next line that says something; returns its indentation and its text, or nil at the end.
function Reader:peek()
  while self.at <= #self.lines do
    local line = self.lines[self.at]
    local blanks, text = line:match "^( *)(.*)$"
    if text:find "^\t" and text:find "[^%s]" and not text:find "^%s*#" then
      self:fail "a tab cannot indent; use blanks"
    elseif text ~= "" and not text:find "^#" and not text:find "^%s*$" then
      if text == "..." and #blanks == 0 or text:find "^%-%-%-" and #blanks == 0 then
        self:fail "a second document is not read here; one file, one document"
      end
      return #blanks, text
    end
    self.at = self.at + 1
  end
  return nil
end

-- Takes "key: rest" apart; nil when the line is no such.
function Reader:entry(text)
  local first = text:sub(1, 1)
  if first == '"' or first == "'" then
    local key, at = self:quoted(text, 1)
    local rest = text:match("^%s*:%s+(.*)$", at) or text:match("^%s*:$", at) and ""
    return rest and key, rest
  elseif first == "[" or first == "{" then
    return nil
  elseif text == "?" or text:find "^%? " then
    self:fail "keys of their own line (?) are not read here"
  end
  local key, rest = text:match "^(.-)%s*:%s+(.*)$"
  local bare = text:match "^(.-)%s*:$"
  if bare and (not key or #bare < #key) then
    key, rest = bare, ""
  end
  if key and key:find "%s#" then
    return nil
  end
  return key, rest
end

function Reader:unused(map, key)
  if key == "<<" then
    self:fail "merge keys (<<) are not read here"
  elseif map[key] ~= nil then
    self:fail("the key \"%s\" stands here for the second time", key)
  end
end

-- What follows "key:" or "- " on its line or, where nothing does, on the lines below it.
function Reader:value(rest, indent, depth, list_too)
  local first = rest:sub(1, 1)
  if first == "#" then
    rest, first = "", ""
  end
  if first == "|" then
    return self:literal(rest, indent)
  elseif rest ~= "" then
    local value = self:inline(rest, depth)
    self.at = self.at + 1
    local below = self:peek()
    if below and below > indent then
      self:fail "this is indented deeper than its place allows; values over several lines are not read here"
    end
    return value
  end
  self.at = self.at + 1
  local below, text = self:peek()
  if below and (below > indent or list_too and below == indent and text:find "^%-%f[\0 ]") then
    return self:block(below, depth + 1)
  end
  return json.null
end

function Reader:map(indent, depth)
  local map = {}
  while true do
    local at, text = self:peek()
    if not at or at < indent then
      return map
    end
    local key, rest = self:entry(text)
    if at > indent then
      self:fail "this is indented deeper than what is above it"
    elseif not key or text:find "^%-%f[\0 ]" then
      self:fail "expected KEY: VALUE"
    elseif refused[key:sub(1, 1)] and not text:find "^[\"']" then
      self:fail(refused[key:sub(1, 1)])
    end
    self:unused(map, key)
    map[key] = self:value(rest, indent, depth, true)
  end
end

function Reader:list(indent, depth)
  local list = json.array {}
  while true do
    local at, text = self:peek()
    if not at or at < indent or at == indent and not text:find "^%-%f[\0 ]" then
      return list
    elseif at > indent then
      self:fail "this is indented deeper than what is above it"
    end
    local rest = text:gsub("^%-%s*", "")
    if rest:find "^%-%f[\0 ]" or rest:find "^[^#|]" and self:entry(rest) then
      -- A map or list that begins on the line of its dash: as if it stood on a line of its own.
      local inner = at + #text - #rest
      self.lines[self.at] = (" "):rep(inner) .. rest
      list[#list + 1] = self:block(inner, depth + 1)
    else
      list[#list + 1] = self:value(rest, indent, depth, false)
    end
  end
end

function Reader:block(indent, depth)
  if depth > MAX_DEPTH then
    self:fail("nested deeper than %d levels", MAX_DEPTH)
  end
  local _, text = self:peek()
  if text:find "^%-%f[\0 ]" then
    return self:list(indent, depth)
  elseif self:entry(text) then
    return self:map(indent, depth)
  end
  local value = self:inline(text, depth)
  self.at = self.at + 1
  return value
end

-- Reads a text, which may be JSON as well. Lists come as marked arrays, null as json.null, as json.decode has them.
-- Raises, with code 7, `name`:line and what is wrong.
function yaml.decode(text, name)
  name = name or "YAML"
  text = text:gsub("^\xEF\xBB\xBF", "")
  if text:find "^%s*{" then
    local ok, value = pcall(json.decode, text)
    if ok then
      return value
    elseif text:find "^%s*{%s*\"" then
      error(core.error { code = 7, line = value.line, message = ("%s:%d: %s"):format(name, value.line or 1,
        tostring(value)) }, 0)
    end
  end
  local reader = setmetatable({ name = name, lines = {}, at = 1 }, Reader)
  for line in (text:find "\n$" and text or text .. "\n"):gmatch "([^\n]*)\n" do
    reader.lines[#reader.lines + 1] = (line:gsub("\r$", ""))
  end
  local valid, bad = utf8.len(text)
  if not valid or text:find("\0", 1, true) then
    bad = bad or text:find("\0", 1, true)
    local _, before = text:sub(1, bad - 1):gsub("\n", "")
    reader.at = before + 1
    reader:fail("a byte 0x%02x, which is no text", text:byte(bad))
  end
  -- The mark of the document's beginning, with comments before it.
  for at, line in ipairs(reader.lines) do
    if line:find "^%-%-%-%s*$" or line:find "^%-%-%-%s+#" then
      reader.lines[at] = ""
      break
    elseif line:find "^%%" then
      reader.at = at
      reader:fail "directives are not read here"
    elseif line:find "%S" and not line:find "^%s*#" then
      break
    end
  end
  local indent = reader:peek()
  if not indent then
    return json.null
  end
  local value = reader:block(indent, 1)
  local left = reader:peek()
  if left then
    reader:fail "this is not indented as what is above it"
  end
  return value
end

return yaml
