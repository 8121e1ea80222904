-- SPDX-License-Identifier: Apache-2.0
-- The text of a policy read without running it: which names it uses, of what, and where. For mncni.lint. The text is one
-- that Lua has compiled, so nothing is checked here.
--
-- read(text) returns { refs, returned }. A ref is what follows a name: { var = variable or nil, global = name or nil,
-- module = name or nil (require "name"), line, steps = { { sep = "." or ":" or "[]" or "()", name, line, string } }, written,
-- called }. A variable is { name, line, value, func, index, assigned }: value is what it was made from, func and index
-- whose parameter it is, assigned that it was given another value. A value is { ref }, { func } or { fields = name ->
-- value }; returned is that of the text.

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
    while]]):gmatch "%a+" do
  KEYWORDS[word] = true
end

local UNARY = { ["-"] = true, ["#"] = true, ["~"] = true, ["not"] = true }
local BINARY = {}
for operator in ("+ - * / // % ^ .. == ~= < > <= >= & | ~ << >> and or"):gmatch "%S+" do
  BINARY[operator] = true
end

local function newlines(text)
  return select(2, text:gsub("\n", ""))
end

-- Where a quoted string that begins at i ends.
local function end_of_string(text, i)
  local quote = text:sub(i, i)
  repeat
    i = text:find("[\\" .. quote .. "]", i + 1)
    local escaped = text:sub(i, i) == "\\"
    i = escaped and i + 1 or i
  until not escaped
  return i
end

local function end_of_number(text, i)
  local _, last = text:find("^[%w.]+", i)
  local hex = text:find("^0[xX]", i)
  while text:find(hex and "^[pP]" or "^[eE]", last) and text:find("^[+-]", last + 1) do
    _, last = text:find("^[%w.]*", last + 2)
  end
  return last
end

-- The tokens as { text, line, kind }: kind is "name", "string" (text is what is in the quotes), "number", or the text of a
-- keyword or an operator.
local function tokens(text)
  local list, i, line = {}, 1, 1
  local function add(kind, from, to, inside)
    list[#list + 1] = { kind = kind, text = inside or text:sub(from, to), line = line }
    line = line + newlines(text:sub(from, to))
    i = to + 1
  end
  while i <= #text do
    local long = text:match("^%-%-%[(=*)%[", i)
    local bracket = text:match("^%[(=*)%[", i)
    local first = text:sub(i, i)
    if first:find "%s" then
      local _, last = text:find("^%s+", i)
      line, i = line + newlines(text:sub(i, last)), last + 1
    elseif long then
      local _, last = text:find("]" .. long .. "]", i, true)
      line, i = line + newlines(text:sub(i, last)), last + 1
    elseif text:find("^%-%-", i) then
      i = text:find("\n", i, true) or #text + 1
    elseif bracket then
      local _, last = text:find("]" .. bracket .. "]", i, true)
      add("string", i, last, text:sub(i + #bracket + 2, last - #bracket - 2))
    elseif first == '"' or first == "'" then
      local last = end_of_string(text, i)
      add("string", i, last, text:sub(i + 1, last - 1))
    elseif text:find("^%.?%d", i) then
      add("number", i, end_of_number(text, i))
    elseif first:find "[%a_]" then
      local _, last = text:find("^[%w_]+", i)
      local word = text:sub(i, last)
      add(KEYWORDS[word] and word or "name", i, last)
    else
      local operator = text:match("^%.%.%.", i) or text:match("^%.%.", i) or text:match("^[=~<>]=", i)
        or text:match("^//", i) or text:match("^::", i) or text:match("^<<", i) or text:match("^>>", i) or first
      add(operator, i, i + #operator - 1)
    end
  end
  list[#list + 1] = { kind = "<eof>", text = "", line = line }
  return list
end

local Reader = {}
Reader.__index = Reader

function Reader:is(kind)
  return self.list[self.at].kind == kind
end

-- The token at hand, which is left behind.
function Reader:take()
  self.at = self.at + 1
  return self.list[self.at - 1]
end

-- The same if it is of that kind, else nil.
function Reader:accept(kind)
  return self:is(kind) and self:take() or nil
end

function Reader:open_scope()
  self.scope = setmetatable({}, { __index = self.scope, outer = self.scope })
end

function Reader:close_scope()
  self.scope = getmetatable(self.scope).outer
end

function Reader:declare(name, line, variable)
  variable = variable or {}
  variable.name, variable.line = name, line
  self.scope[name] = variable
  return variable
end

function Reader:block()
  self:open_scope()
  self:statements()
  self:close_scope()
end

-- Parameters and body of a function; is_method: it has a self before them.
function Reader:body(is_method)
  local func, index = { params = {} }, is_method and 1 or 0
  self:open_scope()
  if is_method then
    self:declare("self", 0, { func = func, index = 1 })
  end
  self:take() -- (
  while not self:accept ")" do
    local token = self:take()
    if token.kind == "name" then
      index = index + 1
      self:declare(token.text, token.line, { func = func, index = index })
    end
  end
  local returned = self.returned
  self:statements()
  self.returned = returned
  self:take() -- end
  self:close_scope()
  return { func = func }
end

function Reader:constructor()
  local fields = {}
  self:take() -- {
  while not self:accept "}" do
    local token, after = self.list[self.at], self.list[self.at + 1]
    if token.kind == "name" and after.kind == "=" then
      self.at = self.at + 2
      fields[token.text] = self:expression() or {}
    elseif self:accept "[" then
      self:expression()
      self:take() -- ]
      self:take() -- =
      self:expression()
    else
      self:expression()
    end
    if not self:accept "," then
      self:accept ";"
    end
  end
  return { fields = fields }
end

-- The arguments of a call; the text when it is one string.
function Reader:arguments()
  local said = self:accept "string"
  if said then
    return said.text
  elseif self:is "{" then
    self:constructor()
    return nil
  end
  self:take() -- (
  local only = self:is "string" and self.list[self.at + 1].kind == ")" and self.list[self.at].text or nil
  while not self:accept ")" do
    self:expression()
    self:accept ","
  end
  return only
end

-- A name or an expression in parentheses, and what follows: a ref, or nil where it begins with no name.
function Reader:suffixed()
  local ref
  local token = self:take()
  if token.kind == "name" then
    local variable = self.scope[token.text]
    ref = { var = variable, global = not variable and token.text or nil, line = token.line, steps = {} }
    self.refs[#self.refs + 1] = ref
  else -- (
    local value = self:expression()
    self:take() -- )
    ref = value and value.ref and { base = value.ref, var = value.ref.var, global = value.ref.global,
      module = value.ref.module, line = value.ref.line, steps = { table.unpack(value.ref.steps) } }
    self.refs[#self.refs + 1] = ref
  end
  ref = ref or { steps = {}, line = token.line }
  while true do
    local here = self.list[self.at]
    local step = { sep = here.kind, line = here.line }
    if here.kind == "." or here.kind == ":" then
      self:take()
      step.name, step.line = self.list[self.at].text, self.list[self.at].line
      self:take()
    elseif here.kind == "[" then
      self:take()
      local only = self.list[self.at + 1].kind == "]" and self:is "string" and self.list[self.at].text
      self:expression()
      self:take() -- ]
      step.sep, step.name = only and "." or "[]", only or nil
    elseif here.kind == "(" or here.kind == "{" or here.kind == "string" then
      step.sep, step.string = "()", self:arguments()
      if ref.global == "require" and #ref.steps == 0 and step.string then
        ref.module, ref.global = step.string, nil
        goto continue
      end
    else
      return ref
    end
    ref.steps[#ref.steps + 1] = step
    ::continue::
  end
end

function Reader:operand()
  local plain = true
  while UNARY[self.list[self.at].kind] do
    self:take()
    plain = false
  end
  local value
  if self:is "name" or self:is "(" then
    value = { ref = self:suffixed() }
  elseif self:is "{" then
    value = self:constructor()
  elseif self:accept "function" then
    value = self:body()
  else
    self:take() -- a constant or ...
  end
  return plain and value or nil
end

-- Its value where it is nothing but a name and what follows, a function or a table; else nil.
function Reader:expression()
  local value = self:operand()
  while BINARY[self.list[self.at].kind] do
    self:take()
    self:operand()
    value = nil
  end
  return value
end

function Reader:expressions()
  local values = {}
  repeat
    values[#values + 1] = self:expression() or {}
  until not self:accept ","
  return values
end

-- Keeps that a field of a variable was given a value, and that a variable was.
local function assign(ref, value)
  ref.written = true
  local field = ref.steps[1]
  if ref.var and not field then
    ref.var.assigned = true
  elseif ref.var and #ref.steps == 1 and field.name then
    ref.var.set = ref.var.set or {}
    ref.var.set[field.name] = value or {}
  end
end

function Reader:local_statement()
  if self:accept "function" then
    local token = self:take()
    local variable = self:declare(token.text, token.line)
    variable.value = self:body()
    return
  end
  local names = {}
  repeat
    names[#names + 1] = self:take()
    if self:accept "<" then
      self:take()
      self:take()
    end
  until not self:accept ","
  local values = self:accept "=" and self:expressions() or {}
  for i, token in ipairs(names) do
    self:declare(token.text, token.line, { value = values[i] })
  end
end

function Reader:function_statement()
  local token = self:take()
  local variable = self.scope[token.text]
  local ref = { var = variable, global = not variable and token.text or nil, line = token.line, steps = {} }
  self.refs[#self.refs + 1] = ref
  local is_method = false
  while self:is "." or self:is ":" do
    is_method = self:take().kind == ":"
    local name = self:take()
    ref.steps[#ref.steps + 1] = { sep = ".", name = name.text, line = name.line }
  end
  assign(ref, self:body(is_method))
end

function Reader:for_statement()
  local names = {}
  repeat
    names[#names + 1] = self:take()
  until not self:accept ","
  self:take() -- = or in
  self:expressions()
  self:take() -- do
  self:open_scope()
  for _, token in ipairs(names) do
    self:declare(token.text, token.line)
  end
  self:block()
  self:close_scope()
  self:take() -- end
end

function Reader:if_statement()
  repeat
    self:expression()
    self:take() -- then
    self:block()
  until not self:accept "elseif"
  if self:accept "else" then
    self:block()
  end
  self:take() -- end
end

-- An assignment or a call.
function Reader:plain_statement()
  local targets = {}
  repeat
    targets[#targets + 1] = self:suffixed()
  until not self:accept ","
  if self:accept "=" then
    local values = self:expressions()
    for i, ref in ipairs(targets) do
      assign(ref, values[i])
    end
  end
end

local blocks = {
  ["local"] = Reader.local_statement, ["function"] = Reader.function_statement, ["for"] = Reader.for_statement,
  ["if"] = Reader.if_statement,
}

blocks["do"] = function(self)
  self:block()
  self:take() -- end
end

blocks["while"] = function(self)
  self:expression()
  self:take() -- do
  blocks["do"](self)
end

blocks["repeat"] = function(self) -- whose condition sees what is local inside
  self:open_scope()
  self:statements()
  self:take() -- until
  self:expression()
  self:close_scope()
end

blocks["goto"] = Reader.take
blocks["::"] = function(self)
  self:take()
  self:take()
end
blocks["break"] = function() end
blocks[";"] = blocks["break"]

local ENDS = { ["end"] = true, ["else"] = true, ["elseif"] = true, ["until"] = true, ["<eof>"] = true }

function Reader:statements()
  while not ENDS[self.list[self.at].kind] do
    local kind = self.list[self.at].kind
    if self:accept "return" then
      self.returned = not ENDS[self.list[self.at].kind] and not self:is ";" and self:expressions()[1] or nil
      self:accept ";"
    elseif blocks[kind] then
      self:take()
      blocks[kind](self)
    else
      self:plain_statement()
    end
  end
end

local source = {}

function source.read(text)
  text = text:gsub("^\xEF\xBB\xBF", ""):gsub("^#[^\n]*", "")
  local reader = setmetatable({ list = tokens(text), at = 1, refs = {}, scope = {} }, Reader)
  reader:open_scope()
  reader:statements()
  return { refs = reader.refs, returned = reader.returned }
end

return source
