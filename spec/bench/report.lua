-- SPDX-License-Identifier: Apache-2.0
-- How the benchmark tells its figures: ratios first, then milliseconds, as text or JSON; and as a plot.

local core = require "mncni.core"

local report = {}

local function first_line(command)
  local pipe = assert(io.popen(command))
  local line = pipe:read "l"
  pipe:close()
  return line or ""
end

-- What the figures were measured on.
function report.machine()
  return {
    kernel = first_line "uname -r", processors = math.tointeger(first_line "nproc"),
    model = first_line "sed -n 's/^model name[^:]*: //p' /proc/cpuinfo", state = "tmpfs",
    load = first_line "cut -d' ' -f1-3 /proc/loadavg",
    reference = first_line "dpkg-query -W -f '${Version}' containernetworking-plugins",
  }
end

function report.json(results)
  print(core.json.encode(results, { pretty = true }))
end

local function met(ratio)
  if not ratio.goal then return "" end
  local at_least = ratio.what:find "throughput"
  local good = at_least and ratio.value >= ratio.goal or not at_least and ratio.value <= ratio.goal
  return ("  %s %.2f%s"):format(at_least and "at least" or "at most", ratio.goal, good and "" or "  MISSED")
end

local function timed(rows)
  print(("\n%-24s %-8s %-10s %8s %8s %8s %8s %8s %7s %5s"):format("milliseconds, KiB", "", "", "median", "p90",
    "p99", "cpu", "rss", "per s", "runs"))
  for _, row in ipairs(rows) do
    print(("%-24s %-8s %-10s %8.2f %8.2f %8.2f %8.2f %8d %7s %5d"):format(row.case, row.verb, row.who, row.p50,
      row.p90, row.p99, row.cpu, row.rss, row.per_second and ("%.0f"):format(row.per_second) or "", row.runs))
  end
end

local function counted(rows)
  print(("\n%-12s %-6s %-10s %6s %10s %8s %9s %6s %6s %8s"):format("one call", "", "", "calls", "processes", "threads",
    "programs", "sends", "libs", "rss"))
  for _, row in ipairs(rows) do
    print(("%-12s %-6s %-10s %6d %10d %8d %9d %6d %6d %8s"):format(row.case, row.verb, row.who, row.calls,
      row.processes, row.threads, row.programs, row.sends, row.libraries, row.rss and tostring(row.rss) or ""))
  end
end

function report.text(results)
  local machine = results.machine
  print(("%d processors (%s), kernel %s, load %s, state on %s, containernetworking-plugins %s\n"):format(
    machine.processors, machine.model, machine.kernel, machine.load, machine.state, machine.reference))
  for _, section in ipairs(results.sections) do
    for _, ratio in ipairs(section.ratios) do
      print(("%-64s %8.3f%s"):format(ratio.what, ratio.value, met(ratio)))
    end
  end
  for _, section in ipairs(results.sections) do
    (section.name == "counts" and counted or timed)(section.rows)
  end
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

-- Medians as bars, by case and verb; and what rises with reservations and pods, as lines.
local function bars(results)
  local by_case, order = {}, {}
  for _, section in ipairs(results.sections) do
    if section.name == "single" then
      for _, row in ipairs(section.rows) do
        local key = row.verb ~= "start" and ("%s %s"):format(row.case, row.verb)
        if key and not by_case[key] then
          by_case[key] = {}
          order[#order + 1] = key
        end
        if key then by_case[key][row.who] = row.p50 end
      end
    end
  end
  local lines = {}
  for _, key in ipairs(order) do
    local case = by_case[key]
    lines[#lines + 1] = ("%q %s %s %s"):format(key, case.plugin or "?", case.reference or "?", case.floor or "?")
  end
  return lines
end

local function curve(results, name, pattern)
  local points = {}
  for _, section in ipairs(results.sections) do
    for _, row in ipairs(section.name == name and section.rows or {}) do
      local x = row.verb == "ADD" and row.case:match(pattern)
      if x then
        local point = points[x] or { x = x }
        points[#points + 1] = not points[x] and point or nil
        points[x], point[row.who] = point, row.p50
      end
    end
  end
  local lines = {}
  for _, point in ipairs(points) do
    lines[#lines + 1] = ("%s %s %s %s"):format(point.x, point.plugin or "?", point.reference or "?", point.floor or "?")
  end
  return lines
end

-- Writes PREFIX.png and PREFIX.txt of the sections that were measured.
function report.plot(results, prefix)
  local plots = {}
  local function add(name, lines, title, head, style, columns)
    if #lines == 0 then return end
    write(("%s.%s.dat"):format(prefix, name), table.concat(lines, "\n") .. "\n")
    local file, parts = ("%s.%s.dat"):format(prefix, name), {}
    for i, who in ipairs { "plugin", "reference", "floor" } do
      local measured = false
      for _, line in ipairs(lines) do
        measured = measured or select(i, line:match "(%S+) (%S+) (%S+)$") ~= "?"
      end
      if measured then
        parts[#parts + 1] = ("'%s' using %s %s title '%s'"):format(file, columns:format(i + 1), style, who)
      end
    end
    plots[#plots + 1] = ("set title '%s'\n%s\nplot %s"):format(title, head, table.concat(parts, ", "))
  end
  add("single", bars(results), "one at a time, median, ms",
    "set style data histograms\nset style fill solid\nset logscale y\nset xtics rotate by -20", "", "%d:xtic(1)")
  local axes, style = "unset xtics\nset xtics auto norotate\nset logscale xy", "with linespoints"
  add("reserved", curve(results, "reserved", "^(%d+)"), "ADD by addresses reserved, median, ms", axes, style,
    "($1+1):%d")
  add("standing", curve(results, "standing", "^(%d+)"), "ADD by pods on the node, median, ms", axes, style, "1:%d")
  if #plots == 0 then return end
  local script = "set datafile missing '?'\nset terminal %s\nset output '%s%s'\n%s" .. table.concat(plots, "\n") .. "\n"
  local together = ("set multiplot layout %d,1\n"):format(#plots)
  write(prefix .. ".gp", script:format("pngcairo size 900,1200", prefix, ".png", together)
    .. "unset multiplot\nreset\n" .. script:format("dumb 110 30", prefix, ".txt", ""))
  local said = first_line(("gnuplot '%s.gp' 2>&1"):format(prefix))
  if said ~= "" then io.stderr:write("bench: gnuplot: ", said, "\n") end
end

return report
