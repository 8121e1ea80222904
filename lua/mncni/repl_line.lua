-- SPDX-License-Identifier: Apache-2.0
-- The line that is typed at the prompt of `mncni repl`, with the keys that people are used to (readline's). One row of the
-- terminal: of a longer line, what is around the cursor. Every character is taken for one column wide.
--
--   local editor = repl_line.new { read = a byte or nil, write = fn(text), columns = fn(), complete = fn(word, line) -> list }
--   editor:add "an earlier line"
--   local text = editor:ask "> "      -- nil at the end of input, false where the line was given up (Ctrl-C)

local repl_line = {}

local CHARACTER = "[\0-\x7f\xc2-\xfd][\x80-\xbf]*"
local WORD = "[^ \t\n\"'(){}%[%]=<>,;+%-*/%%^#~|&]*$" -- what completion looks at

local Line = {}
Line.__index = Line

function repl_line.new(terminal)
  return setmetatable({ terminal = terminal, lines = {}, before = "", after = "" }, Line)
end

-- Makes it a line that the arrow keys bring back.
function Line:add(text)
  if self.lines[#self.lines] ~= text then
    table.insert(self.lines, text)
  end
end

-- Moves what of the text before the cursor, or behind it, the pattern matches to the other side; drops it where so said.
local function leave(self, pattern, drop)
  local part = self.before:match(pattern .. "$")
  if part then
    self.before = self.before:sub(1, -#part - 1)
    self.after = (drop and "" or part) .. self.after
  end
  return part
end

local function pass(self, pattern, drop)
  local part = self.after:match("^" .. pattern)
  if part then
    self.after = self.after:sub(#part + 1)
    self.before = self.before .. (drop and "" or part)
  end
  return part
end

-- Shows another line: one that was added, by its place, or what was typed last.
local function recall(self, place)
  if place < 1 or place > #self.lines + 1 then
    return
  end
  if self.place > #self.lines then
    self.typed = self.before .. self.after
  end
  self.place, self.before, self.after = place, self.lines[place] or self.typed, ""
end

-- The beginning that all words of a list have.
local function common(list)
  local front = list[1]
  for _, word in ipairs(list) do
    while word:sub(1, #front) ~= front do
      front = front:gsub(CHARACTER .. "$", "")
    end
  end
  return front
end

local function list_in_columns(self, list)
  local width = 0
  for _, word in ipairs(list) do
    width = math.max(width, #word + 2)
  end
  local across, text = math.max(1, self.terminal.columns() // width), {}
  for i, word in ipairs(list) do
    text[#text + 1] = word .. (i % across == 0 and "\r\n" or (" "):rep(width - #word))
  end
  self.terminal.write("\r\n" .. table.concat(text) .. (#list % across == 0 and "" or "\r\n"))
end

-- Goes on with the word before the cursor as far as it is clear; lists what it may become where it is not.
local function complete(self)
  local word = self.before:match(WORD)
  local ok, list = pcall(self.terminal.complete, word, self.before)
  if not ok or #list == 0 then
    return
  end
  local front = common(list)
  if front == word and #list > 1 then
    list_in_columns(self, list)
  else
    self.before = self.before:sub(1, -#word - 1) .. front
  end
end

local function kill(part, self)
  self.killed = part ~= "" and part or self.killed
end

local keys = {
  ["\1"] = function(self) leave(self, ".*") end,
  ["\2"] = function(self) leave(self, CHARACTER) end,
  ["\4"] = function(self) pass(self, CHARACTER, true) end,
  ["\5"] = function(self) pass(self, ".*") end,
  ["\6"] = function(self) pass(self, CHARACTER) end,
  ["\b"] = function(self) leave(self, CHARACTER, true) end,
  ["\t"] = complete,
  ["\11"] = function(self) kill(pass(self, ".*", true), self) end,
  ["\12"] = function(self) self.terminal.write "\27[H\27[2J" end,
  ["\14"] = function(self) recall(self, self.place + 1) end,
  ["\16"] = function(self) recall(self, self.place - 1) end,
  ["\21"] = function(self) kill(leave(self, ".*", true), self) end,
  ["\23"] = function(self) kill(leave(self, "%S*%s*", true), self) end,
  ["\25"] = function(self) self.before = self.before .. (self.killed or "") end,
  ["\27b"] = function(self) leave(self, "[%w_]*[^%w_]*") end,
  ["\27f"] = function(self) pass(self, "[^%w_]*[%w_]*") end,
  ["\27d"] = function(self) kill(pass(self, "[^%w_]*[%w_]*", true), self) end,
  ["\27\127"] = function(self) kill(leave(self, "[%w_]*[^%w_]*", true), self) end,
}
for name, same in pairs {
  ["\127"] = "\b", ["\27[3~"] = "\4",
  ["\27[A"] = "\16", ["\27[B"] = "\14", ["\27[C"] = "\6", ["\27[D"] = "\2", ["\27[H"] = "\1", ["\27[F"] = "\5",
  ["\27OA"] = "\16", ["\27OB"] = "\14", ["\27OC"] = "\6", ["\27OD"] = "\2", ["\27OH"] = "\1", ["\27OF"] = "\5",
  ["\27[1~"] = "\1", ["\27[4~"] = "\5", ["\27[7~"] = "\1", ["\27[8~"] = "\5",
  ["\27[1;5C"] = "\27f", ["\27[1;5D"] = "\27b", ["\27[1;3C"] = "\27f", ["\27[1;3D"] = "\27b",
} do
  keys[name] = keys[same]
end

-- A key as the bytes that a terminal sends for it; a character whole. nil at the end of input.
local function read_key(read)
  local key = read()
  if key == "\27" then
    key = key .. (read() or "")
    if key == "\27[" or key == "\27O" then
      repeat
        local byte = read()
        key = key .. (byte or "")
      until not byte or byte:find "[@-~]"
    end
  elseif key and key:byte() >= 0xc2 then
    local more = key:byte() >= 0xf0 and 3 or key:byte() >= 0xe0 and 2 or 1
    for _ = 1, more do
      key = key .. (read() or "")
    end
  end
  return key
end

-- The part of a text that begins behind so many characters and has at most so many.
local function cut(text, from, count)
  local list = {}
  for character in text:gmatch(CHARACTER) do
    list[#list + 1] = character
  end
  return table.concat(list, "", from + 1, math.min(#list, from + count))
end

local function length(text)
  return utf8.len(text, 1, -1, true) or #text
end

local function draw(self, prompt)
  local at, room = length(self.before), math.max(1, self.terminal.columns() - length(prompt) - 1)
  local from = math.max(0, at - room)
  local text = (self.before .. self.after):gsub("%c", " ")
  local column = length(prompt) + at - from
  local to = column > 0 and ("\27[%dC"):format(column) or ""
  self.terminal.write(("\r%s%s\27[K\r%s"):format(prompt, cut(text, from, room), to))
end

function Line:ask(prompt)
  self.before, self.after, self.place, self.typed = "", "", #self.lines + 1, ""
  while true do
    draw(self, prompt)
    local key = read_key(self.terminal.read)
    local text = self.before .. self.after
    if not key or key == "\4" and text == "" then
      return nil
    elseif key == "\r" or key == "\n" then
      pass(self, ".*")
      draw(self, prompt)
      self.terminal.write "\r\n"
      return text
    elseif key == "\3" then
      self.terminal.write "^C\r\n"
      return false
    elseif keys[key] then
      keys[key](self)
    elseif not key:find "^%c" then
      self.before = self.before .. key
    end
  end
end

return repl_line
