-- SPDX-License-Identifier: Apache-2.0
-- report.lua RAN GCOV: how many of the lines that could run did: of Lua's by the file RAN, which lines.c writes, of C's by
-- what gcov printed. The least covered come first; below the totals of core and lua.

local ran, counts, names = {}, {}, {}

for line in io.lines(arg[1]) do
  local source, number = line:match "^(.*):(%d+)$"
  source = source and source:gsub("^%./", "")
  ran[source or ""] = ran[source or ""] or {}
  ran[source or ""][number or 0] = true
end

-- The lines of a file that have instructions, as the compiler lists them.
local function active(path)
  local lines = {}
  local pipe <close> = assert(io.popen("luac5.4 -l -l -p " .. path))
  for line in pipe:lines() do
    local number, name = line:match "^\t%d+\t%[(%d+)%]\t(%u+)"
    -- What a function's end and a closure's line do is nobody's statement.
    if number and name ~= "VARARGPREP" and name ~= "RETURN0" and name ~= "RETURN" then
      lines[number] = true
    end
  end
  return lines
end

local function note(path, total, done)
  counts[path] = { total, done }
  names[#names + 1] = path
end

local pipe <close> = assert(io.popen "find lua/mncni policies -name '*.lua' | sort")
for path in pipe:lines() do
  local total, done = 0, 0
  for number in pairs(active(path)) do
    total = total + 1
    done = done + ((ran[path] or {})[number] and 1 or 0)
  end
  note(path, total, done)
end

local file
for line in io.lines(arg[2]) do
  file = line:match "^File '(.*)'$" or file
  local percent, total = line:match "^Lines executed:([%d.]+)%% of (%d+)$"
  file = file and file:match "core/[%w_]+%.c$"
  if percent and file and not counts[file] then
    note(file, tonumber(total), math.floor(percent * total / 100 + 0.5))
    file = nil
  end
end

table.sort(names, function(a, b)
  local first, second = counts[a], counts[b]
  return first[2] * second[1] < second[2] * first[1]
end)
local sums = {}
for _, path in ipairs(names) do
  local total, done = counts[path][1], counts[path][2]
  print(("%5.1f %%  %4d of %4d  %s"):format(total > 0 and 100 * done / total or 100, done, total, path))
  local part = path:match "^[^/]+"
  sums[part] = sums[part] or { 0, 0 }
  sums[part][1], sums[part][2] = sums[part][1] + total, sums[part][2] + done
end
local enough = true
for _, part in ipairs { "core", "lua", "policies" } do
  local sum = sums[part] or { 1, 0 }
  print(("%s: %.1f %% of %d lines"):format(part, 100 * sum[2] / sum[1], sum[1]))
  enough = enough and 100 * sum[2] >= 90 * sum[1]
end
os.exit(enough)
