-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"

local exec = core.exec
local SIGTERM, SIGKILL = 15, 9
local lua = os.getenv "RING_LUA" or "lua5.4"

-- A script in a directory of its own, gone when the variable goes out of scope.
local function script(text, mode)
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
  os.execute("chmod " .. (mode or "0755") .. " " .. path)
  return setmetatable({ path = path }, { __close = function() os.remove(path) end })
end

local function contents(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local function sh(text, args)
  local given = { argv = { "/bin/sh", "-c", text }, env = { PATH = os.getenv "PATH" } }
  for key, value in pairs(args or {}) do given[key] = value end
  return exec(given)
end

-- Runs a command with our own standard streams changed by the shell around it.
local function in_shell(redirection, code)
  local file <close> = script(code)
  local command = ("LUA_CPATH=%q %s %s %s"):format(package.cpath, lua, file.path, redirection)
  local pipe <close> = io.popen(command .. "; echo status=$?")
  return pipe:read "a"
end

local function milliseconds(fn)
  local function now()
    local file <close> = io.open "/proc/uptime"
    return file:read "n" * 1000
  end
  local before = now()
  local result = fn()
  return now() - before, result
end

local function alive(pid)
  local file = io.open("/proc/" .. pid .. "/stat")
  if not file then return false end
  local state = file:read("a"):match "%) (%a)"
  file:close()
  return state ~= "Z"
end

local function descriptors()
  local pipe <close> = io.popen "ls /proc/$PPID/fd | wc -l"
  return pipe:read "n"
end

local function failure(...)
  local ok, err = pcall(...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), "not an error object: " .. tostring(err))
  return err
end

describe("exec", function()
  it("runs a program with exactly the arguments, environment and input it is given", function()
    local result = exec {
      argv = { "/bin/sh", "-c", 'env; echo "[$0][$1]"; cat', "zero", "one two" },
      env = { PATH = "/bin:/usr/bin", CNI_COMMAND = "ADD" },
      stdin = "line 1\nline 2",
    }
    assert.are.equal(0, result.status)
    assert.is_nil(result.signal)
    assert.is_false(result.timed_out)
    assert.is_false(result.overflow)
    assert.are.equal("", result.stderr)
    local lines = {}
    for line in result.stdout:gmatch "[^\n]+" do
      if not line:match "^PWD=" and not line:match "^_=" then lines[#lines + 1] = line end
    end
    table.sort(lines)
    assert.are.same({ "CNI_COMMAND=ADD", "PATH=/bin:/usr/bin", "[zero][one two]", "line 1", "line 2" }, lines)
  end)

  it("hands binary data through unchanged, and more than a pipe holds", function()
    local data = {}
    for i = 0, 255 do data[#data + 1] = string.char(i) end
    local input = table.concat(data):rep(3000)
    local result = exec { argv = { "/bin/cat" }, stdin = input }
    assert.are.equal(input, result.stdout)
  end)

  it("lets a program open its input by name", function()
    assert.are.equal("twice\ntwice\n", sh("cat /dev/stdin; cat /proc/self/fd/0", { stdin = "twice\n" }).stdout)
  end)

  it("gives an empty input to a program that gets none", function()
    assert.are.equal("0\n", sh("wc -c").stdout)
  end)

  it("reports the exit code", function()
    assert.are.equal(7, sh("exit 7").status)
  end)

  it("reports the signal that killed the program", function()
    local result = sh "kill -SEGV $$"
    assert.is_nil(result.status)
    assert.are.equal(11, result.signal)
    assert.is_false(result.timed_out)
  end)

  it("looks for a program without a slash in the PATH it is given", function()
    assert.are.equal(0, exec { argv = { "true" }, env = { PATH = "/usr/bin:/bin" } }.status)
    assert.are.equal(2, failure(exec, { argv = { "true" }, env = { PATH = "/nonexistent" } }).errno)
  end)

  it("inherits the environment when none is given, and none when an empty one is given", function()
    assert.truthy(exec({ argv = { "/usr/bin/env" } }).stdout:match "PATH=")
    assert.are.equal("", exec({ argv = { "/usr/bin/env" }, env = {} }).stdout)
  end)

  describe("when the program cannot be started", function()
    it("says that it is missing", function()
      local err = failure(exec, { argv = { "/opt/cni/bin/nonesuch" } })
      assert.are.equal("ENOENT", err.name)
      assert.are.equal("exec /opt/cni/bin/nonesuch: ENOENT No such file or directory: no such program",
        tostring(err))
    end)

    it("says that it is not executable", function()
      local file <close> = script("#!/bin/sh\n", "0644")
      local err = failure(exec, { argv = { file.path } })
      assert.are.equal("EACCES", err.name)
      assert.are.equal("not executable", err.message)
    end)

    it("says that it is a directory", function()
      assert.are.equal("a directory, not a program", failure(exec, { argv = { "/tmp/" } }).message)
    end)

    it("says that its interpreter is missing", function()
      local file <close> = script "#!/nonexistent/interpreter\n"
      local err = failure(exec, { argv = { file.path } })
      assert.are.equal("ENOENT", err.name)
      assert.truthy(err.message:match "interpreter")
    end)

    it("says that it is neither a binary nor a script", function()
      local file <close> = script "just text\n"
      assert.are.equal("ENOEXEC", failure(exec, { argv = { file.path } }).name)
    end)

    it("leaves no descriptor open", function()
      local before = descriptors()
      for _ = 1, 20 do pcall(exec, { argv = { "/nonexistent" }, stdin = "x" }) end
      assert.is_true(descriptors() <= before)
    end)
  end)

  it("waits a moment for a program that is still being written", function()
    local file <close> = script ""
    assert(os.execute("cp /bin/true " .. file.path))
    assert(os.execute(("(exec 3>>%s; sleep 0.2) &"):format(file.path)))
    assert.are.equal(0, exec({ argv = { file.path } }).status)
  end)

  it("gives up on a program that is being written all the time", function()
    local file <close> = script ""
    assert(os.execute("cp /bin/true " .. file.path))
    local writer = assert(io.open(file.path, "a"))
    local err = failure(exec, { argv = { file.path } })
    writer:close()
    assert.are.equal("ETXTBSY", err.name)
  end)

  it("does not mind a program that exits before it reads its input", function()
    local result = sh("exit 3", { stdin = ("x"):rep(1 << 20) })
    assert.are.equal(3, result.status)
  end)

  it("waits for a program that closes its output early", function()
    local took, result = milliseconds(function() return sh "echo first; exec >&- 2>&-; sleep 0.3; exit 5" end)
    assert.are.equal(5, result.status)
    assert.are.equal("first\n", result.stdout)
    assert.is_true(took >= 250)
  end)

  it("does not wait for a grandchild that keeps the output open", function()
    local took, result = milliseconds(function()
      return sh("sleep 20 & echo $!; exit 4", { timeout = 10000 })
    end)
    local pid = result.stdout:match "%d+"
    assert.are.equal(4, result.status)
    assert.is_false(result.timed_out)
    assert.is_true(took < 5000)
    assert.is_true(alive(pid)) -- it was left in peace
    os.execute("kill " .. pid)
  end)

  it("returns although a grandchild writes without end", function()
    local file <close> = script ""
    local took, result = milliseconds(function()
      return sh("yes & echo $! >" .. file.path, { timeout = 10000, max_output = 1 << 28 })
    end)
    os.execute("kill " .. contents(file.path))
    assert.are.equal(0, result.status)
    assert.is_true(took < 5000)
  end)

  describe("at the deadline", function()
    it("ends the program with SIGTERM and says so", function()
      local took, result = milliseconds(function()
        return sh("echo before; exec sleep 20", { timeout = 200 })
      end)
      assert.is_true(result.timed_out)
      assert.is_nil(result.status)
      assert.are.equal(SIGTERM, result.signal)
      assert.are.equal("before\n", result.stdout)
      assert.is_true(took >= 190 and took < 2000)
    end)

    it("lets the program tidy up, and keeps what it says then", function()
      local result = sh("trap 'echo tidied; exit 9' TERM; sleep 20 & wait", { timeout = 200 })
      assert.is_true(result.timed_out)
      assert.are.equal(9, result.status)
      assert.are.equal("tidied\n", result.stdout)
    end)

    it("kills a program that ignores SIGTERM", function()
      local took, result = milliseconds(function()
        return sh("trap '' TERM; while :; do sleep 1; done", { timeout = 100 })
      end)
      assert.is_true(result.timed_out)
      assert.are.equal(SIGKILL, result.signal)
      assert.is_true(took >= 290 and took < 2000)
    end)

    it("ends the grandchildren too", function()
      local result = sh("(trap '' TERM; exec sleep 20) & echo $!; wait", { timeout = 300 })
      local pid = result.stdout:match "%d+"
      assert.is_true(result.timed_out)
      for _ = 1, 50 do
        if not alive(pid) then break end
        os.execute "sleep 0.02"
      end
      assert.is_false(alive(pid))
    end)

    it("gives a grandchild its grace even when the program has gone at once", function()
      local result = sh("(trap 'sleep 0.1; echo tidied; exit' TERM; sleep 20 & wait) & wait", { timeout = 300 })
      assert.are.equal(SIGTERM, result.signal)
      assert.are.equal("tidied\n", result.stdout)
    end)
  end)

  it("ends a program that writes too much, and keeps the beginning", function()
    local took, result = milliseconds(function()
      return sh("yes", { max_output = 1000, timeout = 20000 })
    end)
    assert.is_true(result.overflow)
    assert.is_false(result.timed_out)
    assert.are.equal(("y\n"):rep(500), result.stdout)
    assert.is_true(took < 2000)
  end)

  it("takes exactly as much as is allowed without complaint", function()
    local result = sh("printf 12345", { max_output = 5 })
    assert.are.equal("12345", result.stdout)
    assert.is_false(result.overflow)
    assert.is_true(sh("printf 123456", { max_output = 5 }).overflow)
  end)

  it("captures stderr and also forwards it to ours", function()
    local output = in_shell("2>&1 >/dev/null", [[
      local r = require("mncni.core").exec { argv = { "/bin/sh", "-c", "echo oops >&2" } }
      os.exit(r.stderr == "oops\n")]])
    assert.are.equal("oops\nstatus=0\n", output)
  end)

  it("keeps and forwards a bounded part of stderr", function()
    local output = in_shell("2>&1 >/dev/null", [[
      local r = require("mncni.core").exec { argv = { "/bin/sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x >&2" } }
      os.exit(r.status == 0 and #r.stderr == 65536)]])
    assert.are.equal(("x"):rep(65536) .. "status=0\n", output)
  end)

  it("is not killed by a stderr whose reader is gone", function()
    local file <close> = script ""
    in_shell(file.path .. " 2>&1 >/dev/null | true", [[
      local exec = require("mncni.core").exec
      os.execute "sleep 0.1"
      for _ = 1, 3 do exec { argv = { "/bin/sh", "-c", "echo oops >&2" } } end
      io.open(arg[1], "w"):write "survived"]])
    assert.are.equal("survived", contents(file.path))
  end)

  it("does not hang on a stderr that nobody reads", function()
    local file <close> = script ""
    in_shell(file.path .. " 2>&1 >/dev/null | sleep 2", [[
      local exec = require("mncni.core").exec
      local before = io.open("/proc/uptime"):read "n"
      local r = exec { argv = { "/bin/sh", "-c", "head -c 200000 /dev/zero >&2" } }
      local took = io.open("/proc/uptime"):read "n" - before
      io.open(arg[1], "w"):write(r.status, " ", #r.stderr, " ", tostring(took < 1.5))]])
    assert.are.equal("0 65536 true", contents(file.path))
  end)

  it("works with stdin, stdout and stderr closed", function()
    local file <close> = script ""
    local output = in_shell("<&- >&- 2>&- " .. file.path, [[
      local r = require("mncni.core").exec { argv = { "/bin/sh", "-c", "cat; echo oops >&2" }, stdin = "in" }
      io.open(arg[1], "w"):write(r.stdout, r.stderr)]])
    assert.are.equal("inoops\n", contents(file.path))
    assert.are.equal("status=0\n", output)
  end)

  it("learns the exit code although SIGCHLD is ignored", function()
    local file <close> = script [[
      print(require("mncni.core").exec({ argv = { "/bin/sh", "-c", "exit 6" } }).status)]]
    local command = ("exec env --ignore-signal=CHLD LUA_CPATH=%q %s %s"):format(package.cpath, lua, file.path)
    local pipe <close> = io.popen(command)
    assert.are.equal("6\n", pipe:read "a")
  end)

  it("gives the program default signal handling and no signal blocked", function()
    local file <close> = script [[
      local r = require("mncni.core").exec { argv = { "/bin/grep", "-E", "Sig(Blk|Ign)", "/proc/self/status" } }
      io.write(r.stdout)]]
    local command = ("trap '' PIPE TERM HUP INT; exec env LUA_CPATH=%q %s %s"):format(package.cpath, lua, file.path)
    local pipe <close> = io.popen(command)
    local blocked, ignored = pipe:read("a"):match "^SigBlk:\t(%x+)\nSigIgn:\t(%x+)\n$"
    assert.are.equal(0, tonumber(blocked, 16))
    assert.are.equal(0, tonumber(ignored, 16) & 0x7fffffff) -- libc keeps 32 and 33 for itself
  end)

  it("gives the program no descriptor but the three", function()
    local file <close> = script [[
      io.write(require("mncni.core").exec({ argv = { "/bin/ls", "/proc/self/fd" } }).stdout)]]
    local command = ("exec env LUA_CPATH=%q %s %s 7</dev/null 9</dev/null"):format(
      package.cpath, lua, file.path)
    local pipe <close> = io.popen(command)
    assert.are.equal("0\n1\n2\n3\n", pipe:read "a") -- 3 is what ls opens to list them
  end)

  it("runs the program in a process group of its own", function()
    local result = exec { argv = { "/bin/sh", "-c", "echo $$; cut -d' ' -f5 /proc/$$/stat" } }
    local pid, group = result.stdout:match "(%d+)\n(%d+)"
    assert.are.equal(pid, group)
  end)

  it("waits for its own child only", function()
    local pipe = io.popen "exit 3"
    assert.are.equal(0, sh("true").status)
    local _, how, code = pipe:close()
    assert.are.equal("exit", how)
    assert.are.equal(3, code)
  end)

  it("is cut short by a signal handler of the host", function()
    local took, result = milliseconds(function()
      return exec { argv = { (os.getenv "MNCNI_BUILD" or "build") .. "/spec/away", "kill", "20" } }
    end)
    assert.are.equal(SIGKILL .. "\n", result.stdout)
    assert.is_true(took < 5000)
  end)

  it("leaves no descriptor open and no zombie", function()
    collectgarbage() -- what other specs left to it
    local before = descriptors()
    for _ = 1, 10 do
      sh("echo out; exit 1", { stdin = "x" })
      sh("exec sleep 5", { timeout = 1 })
      sh("yes", { max_output = 1 })
    end
    assert.is_true(descriptors() <= before) -- fewer, when something else is collected meanwhile
    local pipe <close> = io.popen "wc -w </proc/$PPID/task/$PPID/children"
    assert.are.equal(1, pipe:read "n") -- the shell that counts; a zombie would be listed, too
  end)

  describe("refuses", function()
    local function message(args) return tostring(failure(exec, args)) end

    it("an unknown key, naming the nearest", function()
      assert.truthy(message({ argv = { "true" }, timout = 1 }):match '"timout".*"timeout"')
    end)

    it("a missing, empty or wrong argv", function()
      assert.truthy(message({}):match "argv")
      assert.truthy(message({ argv = {} }):match "argv")
      assert.truthy(message({ argv = { "true", {} } }):match "argv")
      assert.truthy(message({ argv = { "true", "a\0b" } }):match "zero byte")
    end)

    it("an environment that no program could read", function()
      assert.truthy(message({ argv = { "true" }, env = { ["A=B"] = "c" } }):match '"A=B"')
      assert.truthy(message({ argv = { "true" }, env = { [""] = "c" } }):match "not a name")
      assert.truthy(message({ argv = { "true" }, env = { "A=B" } }):match "by name")
      assert.truthy(message({ argv = { "true" }, env = { A = "b\0c" } }):match "zero byte")
      assert.truthy(message({ argv = { "true" }, env = { ["A\0"] = "b" } }):match "zero byte")
      assert.truthy(message({ argv = { "true" }, env = { A = true } }):match "env")
    end)

    it("a timeout or a bound that is not a positive integer", function()
      for _, value in ipairs { 0, -1, 1.5, "soon", 1 << 40 } do
        assert.truthy(message({ argv = { "true" }, timeout = value }):match "timeout")
      end
      assert.truthy(message({ argv = { "true" }, max_output = 0 }):match "max_output")
    end)

    it("an input that is not text", function()
      assert.truthy(message({ argv = { "true" }, stdin = {} }):match "stdin")
    end)
  end)
end)
