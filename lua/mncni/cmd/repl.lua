-- SPDX-License-Identifier: Apache-2.0
-- mncni repl: Lua with mncni in it, for nodes that have no lua5.4. It runs code, a file, or a prompt as lua5.4 does; at a
-- terminal lines are edited, completed and kept.

local core = require "mncni.core"
local pretty = require "mncni.pretty"

local repl = {}

repl.summary = "a Lua prompt with mncni in it"
repl.raw = true

local HELP = [=[
mncni repl [-i] [--dry-run] [-e CODE]... [SCRIPT [ARGUMENT...]]: Lua with mncni in it, as "lua5.4 -l mncni" would be.

  -e CODE    run it
  -i         then go on at a prompt
  --dry-run  changes are told as lines of ip, nft and the like, and not made
  SCRIPT     run a file, "-" for standard input; its arguments are in ... and in arg

Without code and SCRIPT there is a prompt; where standard input is no terminal, it is run as a file. host is this
network namespace, pod "NAME" that of a pod, by its Kubernetes name, NAMESPACE/NAME, or the beginning of a container's
id. At the prompt, values of expressions are printed, Tab completes where the node has libedit or libreadline, help()
tells what there is, and end of file (Ctrl-D) or os.exit() ends it. Lines are kept in $XDG_STATE_HOME/mncni/history or
~/.mncni_history, where that directory belongs to who runs it.

Exit status: that of the code, 1 after an error in it, 2 for a mistake in the words.]=]

-- Tells of an error; at the prompt there is no need to say whose.
local at_prompt = false

local function complain(message)
  io.stderr:write(at_prompt and "" or "mncni: ", message, "\n")
  io.stderr:flush()
end

-- What lua5.4 says of an error: an object's own words, else the message and where it was raised, without our own calls.
local function describe(err)
  local meta = type(err) ~= "string" and debug.getmetatable(err)
  if meta and meta.__tostring then
    return tostring(err)
  elseif type(err) ~= "string" and type(err) ~= "number" then
    err = ("(error object is a %s value)"):format(type(err))
  end
  local stack = debug.traceback(tostring(err), 2):gsub("\n\t%[C%]: in function 'xpcall'.*", "\n\t[C]: in ?")
  return stack
end

-- Runs a chunk and returns what xpcall returns, packed; tells of an error.
local function call(chunk, ...)
  local results = table.pack(xpcall(chunk, describe, ...))
  if not results[1] then
    complain(results[2])
  end
  return results
end

-- Runs what load has returned. Says whether it went well.
local function run(chunk, message, ...)
  if not chunk then
    complain(message)
    return false
  end
  return call(chunk, ...)[1]
end

local line -- mncni.line, once a library is open
local history

local function ask(prompt)
  if line then
    local text = line.read(prompt, require("mncni.repl_complete").words)
    if text and text:find "%S" then
      line.add(text)
      history:add(text)
    end
    return text
  end
  io.write(prompt)
  io.flush()
  return io.read "L"
end

-- Whether a message of the compiler says that the text only ends too early.
local function is_incomplete(message)
  return message:find "<eof>$" ~= nil
end

-- Reads lines until they are an expression or a whole statement, or wrong. Returns what load does; nothing at the end.
local function read_chunk()
  local text = ask(_G._PROMPT and tostring(_G._PROMPT) or "> ")
  if not text then
    return nil
  end
  text = text:gsub("\n$", ""):gsub("^=", "return ")
  local chunk = load("return " .. text, "=stdin", "t")
  if chunk then
    return true, chunk
  end
  while true do
    local message
    chunk, message = load(text, "=stdin", "t")
    if chunk or not is_incomplete(message) then
      return true, chunk, message
    end
    local more = ask(_G._PROMPT2 and tostring(_G._PROMPT2) or ">> ")
    if not more then
      return true, chunk, message
    end
    text = text .. "\n" .. more:gsub("\n$", "")
  end
end

-- Prints values as print does, and plain tables as Lua would write them.
local function show(results)
  local texts = {}
  for i = 2, results.n do
    local value = results[i]
    texts[i - 1] = type(value) == "table" and pretty.text(value) or value
  end
  print(table.unpack(texts, 1, results.n - 1))
end

-- At a terminal, where there is a library for it.
local function open_line()
  local ok, module = pcall(require, "mncni.line")
  if not ok or not module.open() then
    return
  end
  line, history = module, require("mncni.repl_history").open(complain)
  for _, text in ipairs(history.lines) do
    line.add(text)
  end
end

local function prompt()
  at_prompt = true
  while true do
    local read, chunk, message = read_chunk()
    if not read then
      io.write "\n"
      io.flush()
      return
    elseif not chunk then
      complain(message)
    else
      local results = call(chunk)
      if results[1] and results.n > 1 then
        local ok, err = pcall(show, results)
        if not ok then
          complain(("error calling 'print' (%s)"):format(tostring(err)))
        end
      end
    end
    io.stdout:flush()
  end
end

-- The words as { codes, interactive, script = index of it }, or nil and what is wrong.
local function parse(words)
  local given, i = { codes = {} }, 1
  while words[i] and words[i]:find "^%-." do
    local option, value = words[i]:match "^(%-e)(.*)$"
    if words[i] == "--help" or words[i] == "-h" then
      return { help = true }
    elseif words[i] == "-i" then
      given.interactive = true
    elseif words[i] == "--dry-run" then
      given.dry_run = true
    elseif option and (value ~= "" or words[i + 1]) then
      if value == "" then
        i, value = i + 1, words[i + 1]
      end
      table.insert(given.codes, value)
    elseif option then
      return nil, "\"-e\" needs code"
    else
      return nil, ("there is no option %q"):format(words[i])
    end
    i = i + 1
  end
  given.script = words[i] and i
  return given
end

-- run(words) -> { status, stderr }: what the host returns. All output is written here.
function repl.run(words)
  local given, wrong = parse(words)
  if not given then
    return { status = 2, stderr = "mncni repl: " .. wrong .. "; mncni repl --help" }
  elseif given.help then
    print(HELP)
    return { status = 0 }
  end

  local mncni = require "mncni"
  if given.dry_run then
    require("mncni.dry_run").begin(print)
  end
  _G.mncni, _G.help, _G.host = mncni, mncni.help, mncni.open()
  function _G.pod(name)
    return require("mncni.pod_netns").open(name, os.getenv "MNCNI_STATE_DIR" or "/run/mncni")
  end
  local script, arguments = given.script, {}
  for i = 0, #words do
    arguments[i - (script or 0)] = words[i] or "mncni repl"
  end
  _G.arg = arguments

  for _, code in ipairs(given.codes) do
    local chunk, message = load(code, "=(command line)")
    if not run(chunk, message) then
      return { status = 1 }
    end
  end
  local is_terminal = core.file.is_terminal(0)
  if script or #given.codes == 0 and not given.interactive and not is_terminal then
    local path = script and words[script] ~= "-" and words[script] or nil
    local chunk, message = loadfile(path)
    if not run(chunk, message, table.unpack(arguments)) then
      return { status = 1 }
    end
  end
  if given.interactive or is_terminal and not script and #given.codes == 0 then
    print(("mncni %s, %s; help() tells what there is%s"):format(core.version, _VERSION,
      given.dry_run and "; nothing is changed" or ""))
    if is_terminal and core.file.is_terminal(1) then
      open_line()
    end
    prompt()
  end
  return { status = 0 }
end

return repl
