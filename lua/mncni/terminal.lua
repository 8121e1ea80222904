-- SPDX-License-Identifier: Apache-2.0
-- What people read in a terminal: columns, colour where there is one, and text that does nothing to it.

local core = require "mncni.core"
local errors = require "mncni.errors"

local terminal = {}

local COLOURS = { red = 31, green = 32, yellow = 33, bold = 1 }

-- Whether standard output is a terminal whose owner has nothing against colour (NO_COLOR, see no-color.org).
function terminal.colours()
  local refused, kind = os.getenv "NO_COLOR", os.getenv "TERM"
  return core.file.is_terminal(1) and (refused or "") == "" and kind ~= nil and kind ~= "dumb"
end

-- painter() returns a function(colour, text) that colours where that is welcome; colour nil leaves the text as it is.
function terminal.painter()
  local on = terminal.colours()
  return function(colour, text)
    return on and colour and ("\27[%dm%s\27[0m"):format(COLOURS[colour], text) or text
  end
end

local function escape(byte)
  return ("\\x%02x"):format(byte:byte())
end

-- The text in one line, with nothing in it that a terminal would obey.
function terminal.line(text)
  return (errors.printable(tostring(text)):gsub("[\r\n\t]+", " "):gsub("%c", escape):gsub("\xc2[\x80-\x9f]", "?"))
end

-- The same as the lines that it has.
function terminal.lines(text)
  local list = {}
  for line in (text:gsub("\n$", "") .. "\n"):gmatch "([^\n]*)\n" do
    list[#list + 1] = terminal.line(line:gsub("\t", "  "))
  end
  return list
end

-- Rows of texts as lines, in columns as wide as what is in them. paint(i) may give row i a colour; right = set of columns
-- that stand to the right.
function terminal.columns(rows, right, paint)
  local widths, lines, painted = {}, {}, terminal.painter()
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      widths[i] = math.max(widths[i] or 0, utf8.len(cell))
    end
  end
  for n, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local space = (" "):rep(widths[i] - utf8.len(cell))
      cells[i] = right[i] and space .. cell or cell .. space
    end
    lines[n] = painted(paint and paint(n), (table.concat(cells, "  "):gsub(" +$", "")))
  end
  return lines
end

return terminal
