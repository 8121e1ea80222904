-- SPDX-License-Identifier: Apache-2.0
-- The node's list of the settings that the plugin tuning may make: a regular expression a line, in the file of the
-- reference plugin. Those are Go's (RE2), which POSIX's extended ones are like but for a few, and these are either
-- translated or refused.

local core = require "mncni.core"

local allowlist = {}

allowlist.PATH = "/etc/cni/tuning/allowlist.conf"

local MAX = 1 << 20 -- bytes; nobody writes as many

local digits = { d = "0-9" }
local same = { w = true, W = true, s = true, S = true, b = true, B = true }

local function refuse(pattern, message, ...)
  error(core.error { code = 7, object = ("%s, pattern \"%s\""):format(allowlist.PATH, pattern),
    message = message:format(...) }, 0)
end

-- What a backslash and a character say, in brackets or outside of them.
local function escaped(pattern, char, inside)
  if digits[char] then
    return inside and digits[char] or "[" .. digits[char] .. "]"
  elseif char:find "^%w$" and (inside or not same[char]) then
    refuse(pattern, "\\%s is not understood here; write it with a bracket expression such as [a-z0-9_]", char)
  elseif inside and char ~= "." and char ~= "/" and char ~= "_" then
    refuse(pattern, "\\%s is not understood in a bracket expression; write ] first in it and - last", char)
  end
  return inside and char or "\\" .. char
end

-- translate(pattern) returns a regular expression of Go as one of POSIX. Raises code 7 for what has no counterpart.
function allowlist.translate(pattern)
  local out, i, inside = {}, 1, false
  while i <= #pattern do
    local char = pattern:sub(i, i)
    local start = not inside and pattern:match("^%[%^?%]?", i)
    if char == "\\" then
      i = i + 1
      out[#out + 1] = escaped(pattern, pattern:sub(i, i), inside)
    elseif start then
      inside = true
      out[#out + 1] = start
      i = i + #start - 1
    elseif inside and pattern:find("^%[:%a+:%]", i) then
      local class = pattern:match("^%[:%a+:%]", i)
      out[#out + 1] = class
      i = i + #class - 1
    else
      if not inside and pattern:find("^%(%?", i) then
        refuse(pattern, "(? is not understood here; a group in ( ) does without")
      end
      inside = inside and char ~= "]"
      out[#out + 1] = char
    end
    i = i + 1
  end
  return table.concat(out)
end

-- read(path) returns the patterns of the list as POSIX has them, or nil when there is no such file: everything is allowed.
-- Raises code 7 for what cannot be read or understood.
function allowlist.read(path)
  local ok, text = pcall(core.file.read, path or allowlist.PATH, MAX)
  if not ok and core.is_error(text) and (text.name == "ENOENT" or text.name == "ENOTDIR") then
    return nil
  elseif not ok then
    error(core.error {
      code = 7, object = path or allowlist.PATH,
      message = ("it cannot be read, so that no setting is allowed: %s"):format(tostring(text)),
    }, 0)
  end
  local patterns = {}
  for line in text:gmatch "[^\n]+" do
    local pattern = line:match "^%s*(.-)%s*$"
    if pattern ~= "" then
      patterns[#patterns + 1] = allowlist.translate(pattern)
    end
  end
  return patterns
end

-- Whether one of the patterns is found in the key.
function allowlist.allows(patterns, key)
  for _, pattern in ipairs(patterns) do
    local ok, found = pcall(core.regex.match, pattern, key)
    if not ok then
      refuse(pattern, "%s", core.is_error(found) and found.message or tostring(found))
    elseif found then
      return true
    end
  end
  return false
end

return allowlist
