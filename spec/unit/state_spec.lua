-- SPDX-License-Identifier: Apache-2.0
local runner = require "spec.support.runner"

assert(_VERSION == "Lua 5.4", "run busted with --lua=lua5.4")

local hostile = "spec/fixtures/hostile"

local function call(policy, options)
  options = options or {}
  options.policy = policy
  options.path = options.path or hostile
  options.flags = options.flags or "-w 200 -g 100"
  return runner.call(options)
end

-- What each hostile policy comes to: exit status, error code, and a part of the message.
local outcomes = {
  -- Runs for ever: the hook ends it, whatever the script catches.
  { "loop", 1, 101, "stopped at spec/fixtures/hostile/loop.lua:2: it ran longer than 200 ms" },
  { "loop_while_loading", 1, 101, "loop_while_loading.lua:2: it ran longer than 200 ms" },
  { "loop_in_pcall", 1, 101, "it ran longer than 200 ms" },
  { "loop_in_xpcall_handler", 1, 101, "it ran longer than 200 ms" },
  { "loop_in_coroutine", 1, 101, "it ran longer than 200 ms" },
  { "ends_in_coroutine", 1, 101, "it ran longer than 200 ms" },
  { "many_coroutines", 1, 101, "it ran" },
  { "loop_in_close", 1, 101, "it ran longer than 200 ms" },
  { "close_after_stop", 1, 101, "it ran longer than 200 ms" },
  { "error_in_close", 1, 101, "it ran longer than 200 ms" },
  { "loop_in_tostring", 1, 101, "it ran longer than 200 ms" },
  { "loop_that_reads", 1, 101, "it ran longer than 200 ms" },
  -- Runs for ever where hooks see nothing: the timer's signal ends it.
  { "loop_in_gc", 42, 101, "alarm" },
  { "loop_in_gc_at_the_end", 42 },
  { "backtracking", 42, 101, "alarm" },
  { "empty_string_rep", 42, 101, "alarm" },
  -- Takes all memory.
  { "memory_bomb", 1, 101, "it needs more memory than the 32768 KiB it may use" },
  { "memory_bomb_in_pcall", 1, 101, "it needs more memory than the 32768 KiB it may use" },
  { "memory_bomb_in_coroutine", 1, 101, "it needs more memory than the 32768 KiB it may use" },
  { "string_bomb", 1, 101, "it needs more memory than the 32768 KiB it may use" },
  { "string_doubling", 1, 101, "it needs more memory than the 32768 KiB it may use" },
  -- Goes too deep.
  { "recursion", 1, 101, "it needs more memory than the 32768 KiB it may use" },
  { "recursion_in_c", 1, 100, "C stack overflow" },
  { "nested_coroutines", 1, 100, "C stack overflow" },
  { "nested_coroutine_close", 1, 100, "coroutine.close is nested more than 100 deep" },
  -- Raises something odd.
  { "error_nil", 1, 100, "a nil was raised as an error" },
  { "error_table", 1, 100, "a table was raised as an error" },
  { "error_userdata", 1, 100, "file (0x" },
  { "error_message_table", 1, 11, "the cable is out" },
  { "error_object", 1, 102, "add link \"cbr0\": EEXIST File exists: \"it exists\" at ifname" },
  { "error_in_tostring", 1, 100, "an error was raised that cannot be printed" },
  { "error_binary", 1, 100, "error_binary.lua:2: caf? ???" },
  { "error_long", 1, 100, ("x"):rep(100000) },
  -- Is not a policy.
  { "returns_number", 1, 100, "it returns a number and not a table of hooks" },
  { "returns_nothing", 1, 100, "it returns nothing and not a table of hooks; does it end with \"return policy\"?" },
  { "hook_is_a_string", 1, 100, "its \"desired\" is a string and not a function" },
  { "misspelt_hook", 1, 100, "unknown hook \"desierd\" (line 2); did you mean \"desired\"?" },
  { "misspelt_option", 1, 100, "option \"mtu\": unknown key \"defualt\"; did you mean \"default\"?" },
  { "syntax_error", 1, 100, "spec/fixtures/hostile/syntax_error.lua:4: <name> or '...' expected near '}'" },
  { "raises_while_loading", 1, 100, "raises_while_loading.lua:3: attempt to index a nil value (local 'missing')" },
  { "requires_missing", 1, 100, "no file 'no/such/module.lua' beside the policies" },
  { "sets_global", 1, 100, "sets_global.lua:5: a policy may not assign to the global \"routes\"" },
  { "sets_global_by_g", 1, 100, "sets_global_by_g.lua:2: a policy may not assign to the global \"string\"" },
  { "reads_global", 1, 100, "reads_global.lua:2: there is no global \"ipair\"; did you mean \"ipairs\"?" },
  -- Returns what JSON cannot hold.
  { "returns_function", 1, 100, "it returned what JSON cannot hold" },
  { "returns_cycle", 1, 100, "it returned what JSON cannot hold" },
  { "returns_nan", 1, 100, "it returned what JSON cannot hold" },
  -- Reaches for what it should not have.
  { "os_exit", 1, 100, "os_exit.lua:2: os.exit is not available: raise an error instead" },
  { "loads_bytecode", 1, 100, "attempt to load a binary chunk (mode is 't')" },
}

describe("a bounded state", function()
  for _, outcome in ipairs(outcomes) do
    local name, status, code, message = table.unpack(outcome)
    -- Only what is to end by time is given little of it: a busy machine makes everything else slow too.
    local timed = status ~= 1 or (message or ""):find("ran longer", 1, true)
    local flags = not timed and "-w 20000" or status == 1 and "-w 200 -g 20000" or nil

    it(("survives the policy %s"):format(name), function()
      local reply = call(name, { flags = flags })

      assert.are.equal(status, reply.status)
      if code then
        assert.are.equal(code, reply.value.code)
        assert.is_truthy(reply.value.msg:find(message, 1, true), reply.value.msg)
      end
    end)
  end

  it("has an outcome for every hostile policy", function()
    local known = { popen = true, escapes = true, prints = true }
    for _, outcome in ipairs(outcomes) do
      known[outcome[1]] = true
    end
    for name in runner.sh("ls " .. hostile):gmatch "(%S+)%.lua" do
      assert.is_true(known[name], name)
    end
  end)

  it("stops by count of instructions", function()
    local reply = call("loop", { flags = "-i 100000" })

    assert.are.equal(101, reply.value.code)
    assert.is_truthy(reply.value.msg:find "it ran more than 100000 instructions$")
  end)

  it("stops at the memory limit it was given", function()
    local reply = call("memory_bomb", { flags = "-m 1000000" })

    assert.are.equal(101, reply.value.code)
    assert.is_truthy(reply.value.msg:find "more memory than the 976 KiB")
  end)

  it("refuses to begin with less memory than Lua needs", function()
    for _, bytes in ipairs { 1, 1000, 10000, 30000 } do
      local reply = call("loop", { flags = "-m " .. bytes })
      assert.are.equal(1, reply.status)
      assert.are.equal(101, reply.value.code)
    end
  end)

  it("never crashes at whatever moment memory ends", function()
    for bytes = 20000, 260000, 2500 do
      local reply = call("escapes", { flags = "-m " .. bytes })
      assert.is_true(reply.status == 0 or reply.status == 1 and reply.value.code == 101,
        ("%d bytes: status %d, %s%s"):format(bytes, reply.status, reply.text, reply.stderr))
    end
  end)

  it("can be used again after memory was short, and counts on", function()
    for _, policy in ipairs {
      "memory_bomb", "memory_bomb_in_coroutine", "string_doubling", "recursion", "error_long",
    } do
      local out = call(policy, { flags = "-m 3000000 -n 20 -k" }).text
      local _, errors = out:gsub("\n", "\n")
      assert.are.equal(20, errors, policy)
      assert.is_nil(out:find("\"code\":[^1]"), policy)
    end
  end)

  it("cannot be used again once it was stopped", function()
    assert.are.equal(3, call("loop", { flags = "-i 100000 -n 2 -k" }).status)
  end)

  it("stops when told to by another thread", function()
    local reply = call("loop_in_pcall", { flags = "-s 50" })

    assert.are.equal(101, reply.value.code)
    assert.is_truthy(reply.value.msg:find "it was told to stop$")
  end)

  it("has a fresh budget after it is renewed", function()
    assert.are.equal(0, call("popen", { flags = "-i 60000 -n 100" }).status)
  end)

  it("takes away what would end the process, crash Lua or get around the limits", function()
    assert.are.same({
      dofile = false, loadfile = false, ["string.dump"] = false, loadlib = false, generational = false,
      incremental = true, ["debug.sethook"] = false, ["debug.getregistry"] = false, ["require debug"] = false,
      cpath = false, searchers = 3,
    }, call("escapes").value)
  end)

  it("is no sandbox: a policy may run programs", function()
    assert.are.equal("from a program\n", call("popen").value)
  end)

  it("keeps stdout for the host", function()
    local reply = call("prints")

    assert.are.equal("print\t1\tnil\nwrite\nstdout\n", reply.stderr)
    assert.are.equal("[]\n", reply.text:gsub("{}", "[]"))
  end)

  it("tells the file, the line and the stack of an error", function()
    local reply = call("error_object").value

    assert.are.equal(17, reply.errno)
    assert.are.equal("EEXIST", reply.name)
    assert.are.equal("it exists", reply.extack)
    assert.are.equal("ifname", reply.attribute)
    assert.are.equal("spec/fixtures/hostile/error_object.lua", reply.file)
    assert.are.equal(6, reply.line)
    assert.is_truthy(reply.details:find("the kernel says: it exists", 1, true))
    assert.is_truthy(reply.details:find("at spec/fixtures/hostile/error_object.lua:6", 1, true))
    assert.is_truthy(reply.traceback:find("stack traceback", 1, true))
  end)
end)

describe("a call with texts", function()
  local path

  setup(function()
    path = runner.directory()
    runner.write(path .. "/back.lua", [[
      local policy = {}
      function policy.add(t) return { a = t.a, b = #(t.b or ""), c = t.env and t.env["x.y"], d = {} } end
      function policy.del(t) return t.a end
      function policy.check() return setmetatable({}, { __index = function() error "no" end }) end
      return policy
    ]])
  end)

  teardown(function()
    runner.sh("rm -r " .. path)
  end)

  local function back(text, hook)
    return runner.call { policy = "back", path = path, json = text, hook = hook or "add", flags = "-t" }
  end

  it("gives bytes as they are, in a table of the table where a name has a dot", function()
    assert.equal("a 3 \xff\"\\\nb 1 4\nc 1 z\n", back('a=\xff"\\\nb=1234\nenv.x.y=z\n').text)
  end)

  it("takes the first of several under one name, and leaves out what has no bytes", function()
    assert.equal("a 1 1\nb 1 0\nc 1 3\n", back("a=1\na=2\nb\nenv.x.y=3\nenv.x.y=4\n").text)
  end)

  it("has nothing for what is not there", function()
    assert.equal("a 0 -\nb 1 0\nc 0 -\n", back("").text)
  end)

  it("tells what returns no table, and what raises", function()
    assert.equal('del policy "back": it returned a string and not a table', back("a=1", "del").value.msg)
    assert.truthy(back("a=1", "check").value.msg:find("back.lua:4", 1, true))
    assert.equal('gc policy "back": there is no function of that name', back("a=1", "gc").value.msg)
  end)
end)

describe("a call with JSON", function()
  local path

  setup(function()
    path = runner.directory()
    runner.write(path .. "/echo.lua", [[
      local policy = {}
      function policy.desired(...) return ... end
      function policy.status(...) return { n = select("#", ...) } end
      function policy.gc() end
      return policy
    ]])
    runner.write(path .. "/beside.lua", "local beside = {}\nfunction beside.f(x) return x + 1 end\nreturn beside\n")
    runner.write(path .. "/uses.lua", "return { desired = function(x) return require('beside').f(x) end }")
  end)

  teardown(function()
    runner.sh("rm -r " .. path)
  end)

  local function echo(text, hook, flags)
    return runner.call { policy = "echo", path = path, json = text, hook = hook, flags = flags }
  end

  it("gives back what it was given", function()
    for _, text in ipairs {
      "{}", "[]", "null", "1", "1.5", "\"x\"", "9223372036854775807", "{\"a\":[],\"b\":{\"c\":null}}",
    } do
      assert.are.equal(text .. "\n", echo(text).text)
    end
  end)

  it("takes no argument, or a list of them", function()
    assert.are.equal(0, echo("", "status").value.n)
    assert.are.equal(3, echo("[1,{},\"x\"]", "status", "-a").value.n)
    assert.are.equal(1, echo("[1,{},\"x\"]", "status").value.n)
  end)

  it("gives null when nothing is returned", function()
    assert.are.equal("null\n", echo("{}", "gc").text)
  end)

  it("refuses what is not JSON with code 6", function()
    for _, text in ipairs { "{", "{\"a\":1,\"a\":2}", "[1,]", "\"\xff\"", "1 2" } do
      local reply = echo(text)
      assert.are.equal(1, reply.status, text)
      assert.are.equal(6, reply.value.code, text)
    end
  end)

  it("names a function that is not there", function()
    local reply = echo("{}", "add")
    assert.are.equal(100, reply.value.code)
    assert.are.equal("add policy \"echo\": there is no function of that name", reply.value.msg)
  end)

  it("reaches modules beside the policies", function()
    assert.are.equal("42\n", runner.call { policy = "uses", path = path, json = "41" }.text)
    assert.are.equal("42\n", runner.call { module = "beside", hook = "f", path = path, json = "41" }.text)
  end)

  it("reaches built-in modules", function()
    local reply = runner.call { module = "mncni.policy", hook = "names", path = path }
    local found
    for _, policy in ipairs(reply.value) do
      found = found or policy.name == "echo" and policy.source
    end
    assert.are.equal(path .. "/echo.lua", found)
  end)

  it("is found by pkg-config", function()
    local out, err, status = runner.sh(("PKG_CONFIG_PATH=%s/lib/pkgconfig pkg-config --cflags --libs mncni")
      :format(runner.build))
    assert.are.equal(0, status, err)
    assert.is_truthy(out:find("-lmncni", 1, true))
  end)

  it("works from a C program of a page, linked either way", function()
    for _, program in ipairs { "embed-static", "embed-shared" } do
      local command = ("MNCNI_POLICY_PATH=%s %s/spec/%s"):format(path, runner.build, program)
      local out, err, status = runner.sh(command .. " echo desired '{\"a\":1}'")
      assert.are.equal("{\"a\":1}\n", out .. err)
      assert.are.equal(0, status)
      out, err, status = runner.sh(command .. " ecko desired '{}'")
      assert.are.equal("", out)
      assert.is_truthy(err:find("did you mean", 1, true))
      assert.are.equal(1, status)
    end
  end)
end)
