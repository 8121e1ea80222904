-- SPDX-License-Identifier: Apache-2.0
-- What a shell (POSIX sh) is given so that it hands on exactly these bytes, and prints as text that a terminal shows.

local shell = {}

-- Bytes that are no text of their own: control characters, but for the newline, and what is not ASCII where the whole is
-- not UTF-8.
local function strange_in(text)
  return utf8.len(text) and "[%z\1-\9\11-\31\127]" or "[%z\1-\9\11-\31\127-\255]"
end

local function octal(byte)
  return ("\\%03o"):format(byte:byte())
end

-- A word.
function shell.quote(text)
  if text ~= "" and not text:find "[^%w_@%%+=:,./-]" then
    return text
  end
  local strange, parts, at = strange_in(text), {}, 1
  while at <= #text do
    local from, to = text:find(strange .. "+", at)
    if from ~= at then
      local plain = text:sub(at, (from or 0) - 1)
      parts[#parts + 1] = "'" .. plain:gsub("'", [['\'']]) .. "'"
    end
    if from then
      parts[#parts + 1] = ("\"$(printf '%s')\""):format(text:sub(from, to):gsub(".", octal))
    end
    at = (to or #text) + 1
  end
  return #parts > 0 and table.concat(parts) or "''"
end

-- A command that reads the text from its standard input: by a here-document, which adds a newline at the end if there is
-- none, or, where the text has bytes that one does not carry, from printf.
function shell.with_input(command, text)
  local strange = strange_in(text)
  if text:find(strange) then
    return ("printf '%%b' '%s' |\n%s"):format(text:gsub("\\", "\\\\"):gsub(strange, function(byte)
      return ("\\0%03o"):format(byte:byte())
    end):gsub("'", [['\'']]), command)
  end
  local stop = "END"
  while ("\n" .. text .. "\n"):find("\n" .. stop .. "\n", 1, true) do
    stop = stop .. "_"
  end
  return ("%s <<'%s'\n%s%s%s"):format(command, stop, text, text:find "\n$" and "" or "\n", stop)
end

return shell
