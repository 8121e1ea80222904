-- SPDX-License-Identifier: Apache-2.0
-- mncni repl: Lua for nodes that have none.

local core = require "mncni.core"
local spaces = require "spec.support.netns"

local BIN = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"

-- What it prints on both streams, in their order, and its exit status. input is its standard input.
local function repl(words, input)
  local argv = { "/bin/sh", "-c", 'exec "$0" "$@" 2>&1', BIN, "repl", table.unpack(words) }
  local outcome = core.exec { argv = argv, stdin = input or "", timeout = 20000, env = { PATH = os.getenv "PATH" } }
  return outcome.stdout, outcome.status
end

local function script(text)
  local path = os.tmpname()
  do
    local file <close> = assert(io.open(path, "w"))
    file:write(text)
  end
  return path
end

-- The same at a terminal.
local function at_terminal(input)
  local typed = script(input)
  local said = spaces.must("script -qec %s /dev/null <%s", BIN .. " repl", typed):gsub("\r", "")
  os.remove(typed)
  return said
end

describe("mncni repl", function()
  it("runs code, with mncni and help in it", function()
    assert.same({ "10.0.0.0/8\n", 0 }, { repl { "-e", 'print(mncni.cidr "10.0.0.0/8")' } })
    assert.same({ "1\n2\n", 0 }, { repl { "-e", "a = 1 print(a)", "-e", "print(a + 1)" } })
    assert.truthy(repl({ "-e", 'help "link"' }):find("ifname", 1, true))
    local _, status = repl { "-e", "os.exit(7)" }
    assert.equal(7, status)
  end)

  it("has Lua's libraries whole, and its own standard output", function()
    assert.equal("function function function\n",
      (repl { "-e", 'print(("%s %s %s"):format(type(dofile), type(string.dump), type(debug.sethook)))' }))
    local outcome = core.exec { argv = { BIN, "repl", "-e", 'print "out" io.stderr:write "err"' } }
    assert.same({ "out\n", "err" }, { outcome.stdout, outcome.stderr })
  end)

  it("runs a file with its arguments, and standard input", function()
    local path = script [[
      print(arg[0], ...)
      local x <close> = setmetatable({}, { __close = function() print "bye" end })]]
    assert.same({ path .. "\ta\tb\nbye\n", 0 }, { repl { path, "a", "b" } })
    os.remove(path)
    assert.same({ "piped\n", 0 }, { repl({}, 'for _ = 1, 1 do\n  print "piped"\nend\n') })
    assert.same({ "x\n", 0 }, { repl({ "-", "x" }, "print(...)") })
  end)

  it("closes what is left when it ends", function()
    assert.equal("gc\n", (repl { "-e", 'x = setmetatable({}, { __gc = function() print "gc" end })' }))
  end)

  it("tells of errors as lua5.4 does", function()
    for _, code in ipairs {
      'error "x"', "error {}", "x = = 1", "nosuch.field = 1", "error()",
      'error(setmetatable({}, { __tostring = function() return "words" end }))',
    } do
      local said, status = repl { "-e", code }
      assert.equal(1, status)
      assert.equal(spaces.sh("lua5.4 -e %s", code):gsub("^lua5.4: ", "mncni: ") .. "\n", said)
    end
    assert.same({ "mncni: cannot open nosuch.lua: No such file or directory\n", 1 }, { repl { "nosuch.lua" } })
    assert.same({ 'mncni repl: there is no option "--nosuch"; mncni repl --help\n', 2 }, { repl { "--nosuch" } })
  end)

  it("answers at a prompt as lua5.4 does", function()
    local lines = [[
1 + 1
nil, "a", 3.0
x = 5
for i = 1, 2 do
  print(i)
end
= x
local y <close> = setmetatable({}, { __close = function() print "closed" end })
nosuch()
x = = 2
error {}
"unfinished
string"
function f()
  return 1
end
f(), f
]]
    local function plain(said)
      return said:gsub("^[^\n]*\n", ""):gsub("0x%x+", "0x"):gsub(" *\n*$", "")
    end
    local said = plain((repl({ "-i" }, lines)))
    assert.equal([[> 2
> nil	a	3.0
> > >> >> 1
2
> 5
> closed
> stdin:1: attempt to call a nil value (global 'nosuch')
stack traceback:
	stdin:1: in main chunk
	[C]: in ?
> stdin:1: unexpected symbol near '='
> (error object is a table value)
stack traceback:
	[C]: in function 'error'
	stdin:1: in main chunk
	[C]: in ?
> >> stdin:1: unfinished string near '"unfinished'
> >> >> > 1	function: 0x
>]], said)
  end)

  it("knows a terminal, and ends with its input", function()
    local said = at_terminal "6 * 7\nos.exit(true)\n"
    assert.truthy(said:find("help() tells what there is", 1, true))
    assert.truthy(said:find("42", 1, true))
  end)

  it("lets a person take time", function()
    -- More instructions than a policy has, and more seconds than a call of one takes.
    assert.same({ "done\n", 0 }, { repl { "-e", 'for _ = 1, 3e8 do end print "done"' } })
  end)
end)
