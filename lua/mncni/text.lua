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

return text
