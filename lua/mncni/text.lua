-- SPDX-License-Identifier: Apache-2.0
-- Texts that go where only UTF-8 may: what the kernel says is cut anywhere, and names are any bytes.

local text = {}

-- The text with U+FFFD in place of each byte that is no part of a UTF-8 character.
function text.valid(words)
  local parts, at = {}, 1
  while true do
    local _, wrong = utf8.len(words, at)
    if not wrong then
      break
    end
    parts[#parts + 1] = words:sub(at, wrong - 1)
    at = wrong + 1
  end
  parts[#parts + 1] = words:sub(at)
  return table.concat(parts, "\u{FFFD}")
end

-- The text in at most a number of bytes, in whole characters: one that is longer ends in "...".
function text.cut(words, bytes)
  if #words <= bytes then
    return words
  end
  return words:sub(1, utf8.offset(words, 0, bytes - 2) - 1) .. "..."
end

-- The bytes of a base64 text (RFC 4648, section 4; white space is passed over), or nil.
function text.base64(words)
  words = words:gsub("%s+", "")
  if #words % 4 ~= 0 or not words:find "^[%w+/]*=?=?$" then
    return nil
  end
  local function value(c)
    return c >= 97 and c - 71 or c >= 65 and c - 65 or c >= 48 and c + 4 or c == 43 and 62 or 63
  end
  local padding = #words:match "=*$"
  local bytes = words:gsub("=", "A"):gsub("(.)(.)(.)(.)", function(a, b, c, d)
    local group = value(a:byte()) << 18 | value(b:byte()) << 12 | value(c:byte()) << 6 | value(d:byte())
    return string.char(group >> 16, group >> 8 & 255, group & 255)
  end)
  return bytes:sub(1, #bytes - padding)
end

return text
