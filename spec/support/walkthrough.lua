-- SPDX-License-Identifier: Apache-2.0
-- Documents whose commands are run: in blocks of sh, lines that begin with "$ " are typed into one shell, and what is below
-- is what they print. "..." stands for anything.

local walkthrough = {}

-- The steps { command, expected, line } of a document.
function walkthrough.read(path)
  local steps, inside, number = {}, false, 0
  for line in io.lines(path) do
    number = number + 1
    if line:find "^```" then
      inside = line == "```sh"
    elseif inside and line:find "^%$ " then
      steps[#steps + 1] = { command = line:sub(3), expected = {}, line = ("%s:%d"):format(path, number) }
    elseif inside and steps[#steps] then
      table.insert(steps[#steps].expected, line)
    end
  end
  return steps
end

-- Types the steps into a shell, in the namespace of space, and returns what each printed. setup is a command line that comes
-- first.
function walkthrough.run(steps, space, setup)
  local script = { setup }
  for i, step in ipairs(steps) do
    script[#script + 1] = step.command
    script[#script + 1] = ("echo; echo @@%d"):format(i)
  end
  local file = os.tmpname()
  do
    local out <close> = assert(io.open(file, "w"))
    out:write(table.concat(script, "\n"), "\n")
  end
  local output = space:sh("unshare --mount --propagation private bash %s", file) .. "\n"
  os.remove(file)
  for i, step in ipairs(steps) do
    local text, rest = output:match("^(.-)\n?@@" .. i .. "\n(.*)$")
    assert(text, ("%s: the shell ended here: %s"):format(step.line, output))
    step.printed, output = text:gsub("%s+$", ""), rest
  end
  return steps
end

-- Whether a step printed what the document says; blanks at the ends of lines do not count.
function walkthrough.agrees(step)
  local pattern = table.concat(step.expected, "\n"):gsub("%p", "%%%0"):gsub("%%%.%%%.%%%.", ".-")
  return step.printed:gsub("[ \t]+\n", "\n"):match("^" .. pattern .. "$") ~= nil
end

-- For specs: runs a document and fails at the first step that prints something else.
function walkthrough.check(path, space, setup)
  local steps = walkthrough.run(walkthrough.read(path), space, setup)
  assert(#steps > 0, path .. ": there is nothing to run in it")
  for _, step in ipairs(steps) do
    if not walkthrough.agrees(step) then
      error(("%s: $ %s\nprinted:\n%s\nand not:\n%s"):format(step.line, step.command, step.printed,
        table.concat(step.expected, "\n")), 0)
    end
  end
  return steps
end

return walkthrough
