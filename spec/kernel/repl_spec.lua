-- SPDX-License-Identifier: Apache-2.0
-- Runs examples/repl.md: each "> " line at a prompt, and what it prints compared with what the text shows; in this
-- interpreter, which is a stock lua5.4, and in mncni repl.

local core = require "mncni.core"

local BIN = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"

local function transcript(path)
  local steps, inside = {}, false
  for line in io.lines(path) do
    if line:find("^```") then
      inside = line == "```lua"
    elseif inside and line:sub(1, 2) == "> " then
      steps[#steps + 1] = { code = line:sub(3), expected = {} }
    elseif inside then
      table.insert(steps[#steps].expected, line)
    end
  end
  return steps
end

-- Appends to printed what lua5.4 would print after a line: the values, or the error.
local function at_prompt(code, env, printed)
  env.print = function(...)
    local words = table.pack(...)
    for i = 1, words.n do
      words[i] = tostring(words[i])
    end
    table.insert(printed, table.concat(words, "\t"))
  end
  local chunk = load("return " .. code, "=stdin", "t", env) or assert(load(code, "=stdin", "t", env))
  local results = table.pack(pcall(chunk))
  if not results[1] then
    table.insert(printed, tostring(results[2]))
  elseif results.n > 1 then
    env.print(table.unpack(results, 2, results.n))
  end
end

local function matches(expected, printed)
  if expected == "..." then
    return true
  end
  local pattern = expected:gsub("%p", "%%%0"):gsub("%%%.%%%.%%%.", ".*")
  return printed:match("^" .. pattern .. "$") ~= nil
end

describe("examples/repl.md", function()
  it("prints at a prompt what it shows", function()
    local env = setmetatable({ mncni = require "mncni" }, { __index = _G })
    local steps = transcript "examples/repl.md"
    assert.is_true(#steps > 15)
    for _, step in ipairs(steps) do
      local printed = {}
      at_prompt(step.code, env, printed)
      local text, expected = table.concat(printed, "\n"), table.concat(step.expected, "\n")
      assert(matches(expected, text), ("> %s\nshown:\n%s\nprinted:\n%s"):format(step.code, expected, text))
    end
  end)

  it("prints at the prompt of mncni repl what it shows", function()
    local steps, lines = transcript "examples/repl.md", {}
    for _, step in ipairs(steps) do
      table.insert(lines, step.code .. '\nprint "@@@"\n')
    end
    local outcome = core.exec {
      argv = { "unshare", "--net", "/bin/sh", "-c", 'exec "$0" repl -i 2>&1', BIN }, stdin = table.concat(lines),
      env = { PATH = os.getenv "PATH" }, max_output = 1 << 20,
    }
    local i = 0
    for said in outcome.stdout:gsub("^[^\n]*\n", ""):gmatch "(.-)> @@@\n" do
      i = i + 1
      local text, expected = said:gsub("^> ", ""):gsub("\n$", ""), table.concat(steps[i].expected, "\n")
      assert(matches(expected, text), ("> %s\nshown:\n%s\nprinted:\n%s"):format(steps[i].code, expected, text))
    end
    assert.equal(#steps, i)
  end)
end)
