-- SPDX-License-Identifier: Apache-2.0
local runner = require "spec.support.runner"

local sh = runner.sh
local root = sh "id -u":match "%d+" == "0"
local it_as_root = root and it or function(name)
  pending(name .. " (needs root: changes owners)")
end

local GOOD = "return { desired = function() return \"good\" end }\n"
local BAD = "return { desired = function() return \"bad\" end }\n"

describe("trust in a policy file", function()
  local dir

  before_each(function()
    dir = runner.directory()
    sh(("mkdir -p -m 755 %s/a/b; chmod 755 %s"):format(dir, dir))
    runner.write(dir .. "/a/b/p.lua", GOOD)
    sh(("chmod 644 %s/a/b/p.lua"):format(dir))
  end)

  after_each(function()
    sh(("rm -rf %s"):format(dir))
  end)

  local function change(command, ...)
    local out, err, status = sh(("cd %s && { %s; }"):format(dir, command:format(...)))
    assert.are.equal(0, status, out .. err)
  end

  local function load(path)
    return runner.call { policy = "p", path = path or dir .. "/a/b" }
  end

  local function assert_loads(path)
    local reply = load(path)
    assert.are.equal("\"good\"\n", reply.text)
  end

  -- The refusal says why, and where, and with `cure` (a shell command) after it the policy loads.
  local function assert_refused(why, cure, path)
    local reply = load(path)
    assert.are.equal(1, reply.status)
    assert.are.equal(7, reply.value.code, reply.text)
    assert.is_truthy(reply.value.msg:find(why:gsub("DIR", dir), 1, true), reply.value.msg)
    if cure then
      cure = cure:gsub("DIR", dir)
      assert.is_truthy(reply.value.msg:find(cure, 1, true), reply.value.msg)
      change("%s", cure)
      assert_loads(path)
    end
  end

  it("is given when only the user running this can have written it", function()
    assert_loads()
  end)

  it("is given below a sticky directory such as /tmp", function()
    change "chmod 1777 a"
    assert_loads()
  end)

  it("is given when only the owner may read it", function()
    change "chmod 600 a/b/p.lua; chmod 700 a a/b"
    assert_loads()
  end)

  it("is refused when the group may write the file", function()
    change "chmod 664 a/b/p.lua"
    assert_refused("DIR/a/b/p.lua: EPERM", "chmod go-w DIR/a/b/p.lua")
  end)

  it("is refused when everybody may write the file", function()
    change "chmod 646 a/b/p.lua"
    assert_refused("writable by everybody (mode 0646)", "chmod go-w DIR/a/b/p.lua")
  end)

  it("is refused when the group may write the directory", function()
    change "chmod 775 a/b"
    assert_refused("writable by its group (mode 0775)", "chmod go-w DIR/a/b")
  end)

  it("is refused when everybody may write a directory further up", function()
    change "chmod 757 a"
    assert_refused("writable by everybody (mode 0757)", "chmod go-w DIR/a")
  end)

  it("is not given for the sticky bit of a file", function()
    change "chmod 1666 a/b/p.lua"
    assert_refused("writable by everybody (mode 1666)")
  end)

  it_as_root("is refused when somebody else owns the file", function()
    change "chown 1234 a/b/p.lua"
    assert_refused("owned by uid 1234 (mode 0644) and not by root", "chown root DIR/a/b/p.lua")
  end)

  it_as_root("is refused when somebody else owns the directory", function()
    change "chown 1234 a/b"
    assert_refused("DIR/a/b: EPERM", "chown root DIR/a/b")
  end)

  it_as_root("is refused when somebody else owns a directory further up", function()
    change "chown 1234 a"
    assert_refused("DIR/a: EPERM", "chown root DIR/a")
  end)

  it_as_root("is refused when somebody else owns the file, in a sticky directory of all", function()
    change "chmod 1777 a/b; chown 1234 a/b/p.lua"
    assert_refused("owned by uid 1234", "chown root DIR/a/b/p.lua")
  end)

  it_as_root("is given to an ordinary user for what root or the user owns, and not for what another owns", function()
    local function load_as(uid)
      local out = sh(("MNCNI_POLICY_PATH=%s/a/b setpriv --reuid %d --regid %d --clear-groups %s/embed p desired '{}'")
        :format(dir, uid, uid, dir))
      return out
    end
    sh(("cp %s/spec/embed-static %s/embed"):format(runner.build, dir))
    assert.are.equal("\"good\"\n", load_as(1234))
    change "chown -R 1234 a"
    assert.are.equal("\"good\"\n", load_as(1234))
    assert.are.equal("", load_as(1235))
  end)

  it("follows symbolic links when what they lead to may be trusted", function()
    change "mkdir c; mv a/b/p.lua c/real.lua; ln -s ../../c/real.lua a/b/p.lua; ln -s a/b link; ln -s ./link/. again"
    assert_loads()
    assert_loads(dir .. "/link")
    assert_loads(dir .. "/again")
    change("ln -sfn %s/c/real.lua a/b/p.lua", dir)
    assert_loads()
  end)

  it("is refused when a symbolic link leads through a directory that others may write", function()
    change "mkdir c; mv a/b/p.lua c/real.lua; ln -s ../../c/real.lua a/b/p.lua; chmod 777 c"
    assert_refused("DIR/c: EPERM", "chmod go-w DIR/c")
  end)

  it("is refused when a symbolic link leads to a file that others may write", function()
    change "mkdir c; mv a/b/p.lua c/real.lua; ln -s ../../c/real.lua a/b/p.lua; chmod 666 c/real.lua"
    assert_refused("DIR/c/real.lua: EPERM", "chmod go-w DIR/c/real.lua")
  end)

  it("looks at each directory on the way when a path goes up", function()
    change "mkdir -p c/d; chmod 777 c"
    assert_refused("DIR/c: EPERM", "chmod go-w DIR/c", dir .. "/c/d/../../a/b")
  end)

  it_as_root("is refused when somebody else owns the symbolic link", function()
    change "mv a/b/p.lua a/real.lua; ln -s ../real.lua a/b/p.lua; chown -h 1234 a/b/p.lua"
    assert_refused("owned by uid 1234", "chown -h root DIR/a/b/p.lua")
  end)

  it("is refused when symbolic links go round in circles", function()
    change "rm a/b/p.lua; ln -s p.lua a/b/p.lua"
    assert_refused "more than 40 symbolic links"
  end)

  it("is refused when a symbolic link leads to nothing, and what is built in does not step in", function()
    change "rm a/b/p.lua; ln -s nowhere.lua a/b/p.lua"
    assert_refused "a symbolic link leads there, and there is nothing"
  end)

  it("is refused to what is not a regular file", function()
    change "rm a/b/p.lua; mkdir a/b/p.lua"
    assert_refused "not a regular file"
    change "rmdir a/b/p.lua; mkfifo a/b/p.lua"
    assert_refused "not a regular file"
    change "rm a/b/p.lua; ln -s /dev/zero a/b/p.lua"
    assert_refused "not a regular file"
  end)

  it("is refused to compiled Lua", function()
    local file <close> = assert(io.open(dir .. "/a/b/p.lua", "wb"))
    file:write(string.dump(assert(_G.load(GOOD))))
    file:close()
    assert_refused "compiled Lua; only source text is run"
  end)

  it("is refused to a file of more than a megabyte", function()
    change "head -c 1048577 /dev/zero | tr '\\0' ' ' >>a/b/p.lua"
    assert_refused "at most 1048576 are read"
  end)

  it("never gives way to another directory, nor to what is built in", function()
    change "mkdir c; cp a/b/p.lua c/p.lua; chmod 666 a/b/p.lua"
    assert_refused("DIR/a/b/p.lua: EPERM", nil, dir .. "/a/b:" .. dir .. "/c")
    change "chmod 777 c; chmod 644 a/b/p.lua; mv a/b/p.lua a/b/q.lua"
    assert_refused("DIR/c: EPERM", nil, dir .. "/a/b:" .. dir .. "/c")
  end)

  it_as_root("holds while names are being exchanged under it", function()
    change "cp a/b/p.lua a/b/bad.lua; chown 1234 a/b/bad.lua"
    runner.write(dir .. "/a/b/bad.lua", BAD)
    local swap = ("%s/spec/swap %s/a/b/p.lua %s/a/b/bad.lua"):format(runner.build, dir, dir)
    local out, _, status = sh(([[
      sleep 2 | %s &
      for i in $(seq 300); do MNCNI_POLICY_PATH=%s/a/b %s/spec/embed-static p desired '{}' 2>&1; done
      wait
    ]]):format(swap, dir, runner.build))

    assert.are.equal(0, status)
    assert.is_nil(out:find("\"bad\"", 1, true))
    assert.is_truthy(out:find("\"good\"", 1, true), "never saw the good one")
    assert.is_truthy(out:find("owned by uid 1234", 1, true), "never saw the bad one")
  end)

  it_as_root("holds while a directory on the way is exchanged for another's", function()
    change "mkdir c; cp a/b/p.lua c/p.lua"
    runner.write(dir .. "/c/p.lua", BAD)
    change "chown 1234 c"
    local swap = ("%s/spec/swap %s/a/b %s/c"):format(runner.build, dir, dir)
    local out = sh(([[
      sleep 2 | %s &
      for i in $(seq 300); do MNCNI_POLICY_PATH=%s/a/b %s/spec/embed-static p desired '{}' 2>&1; done
      wait
    ]]):format(swap, dir, runner.build))

    assert.is_nil(out:find("\"bad\"", 1, true))
    assert.is_truthy(out:find("\"good\"", 1, true), "never saw the good one")
    assert.is_truthy(out:find("owned by uid 1234", 1, true), "never saw the bad one")
  end)
end)

describe("finding a policy", function()
  local dir

  setup(function()
    dir = runner.directory()
    sh(("mkdir -m 755 %s/one %s/two"):format(dir, dir))
    runner.write(dir .. "/one/p.lua", "return { desired = function() return 1 end }")
    runner.write(dir .. "/two/p.lua", "return { desired = function() return 2 end }")
    runner.write(dir .. "/two/naive-bridge.v2.lua", "return {}")
    runner.write(dir .. "/two/.hidden.lua", "return {}")
    runner.write(dir .. "/two/marked.lua", "\xEF\xBB\xBF#!/usr/bin/lua\nreturn { desired = function() error('x') end }")
  end)

  teardown(function()
    sh(("rm -r %s"):format(dir))
  end)

  local function call(policy, path)
    return runner.call { policy = policy, path = path }
  end

  -- Runs Lua source in a stock interpreter, with the module mncni.policy as `policy`.
  local function stock(source, path)
    local words = {
      "MNCNI_POLICY_PATH=" .. runner.quote(path),
      "LUA_PATH='lua/?.lua;lua/?/init.lua'",
      "LUA_CPATH=" .. runner.quote(runner.build .. "/lib/lua/5.4/?.so"),
      (os.getenv "RING_LUA" or "lua5.4") .. " -e " .. runner.quote("local policy = require 'mncni.policy'\n" .. source),
    }
    local out, err = sh(table.concat(words, " "))
    return out .. err
  end

  it("takes the first directory that has it", function()
    assert.are.equal("1\n", call("p", dir .. "/one:" .. dir .. "/two").text)
    assert.are.equal("2\n", call("p", dir .. "/two:" .. dir .. "/one").text)
  end)

  it("skips directories that are not there, and empty elements", function()
    assert.are.equal("2\n", call("p", "::/nonexistent/x:" .. dir .. "/three:" .. dir .. "/two:").text)
  end)

  it("tells where it looked and what it may be called", function()
    local reply = call("naive-bridge.v3", dir .. "/one:" .. dir .. "/two").value

    assert.are.equal(7, reply.code)
    assert.is_truthy(reply.msg:find(dir .. "/one/naive-bridge.v3.lua", 1, true))
    assert.is_truthy(reply.msg:find(dir .. "/two/naive-bridge.v3.lua", 1, true))
    assert.is_truthy(reply.msg:find("did you mean \"naive-bridge.v2\"?", 1, true))
  end)

  it("refuses names that could lead elsewhere", function()
    for _, name in ipairs { "../one/p", "/etc/passwd", "", ".p", "-p", "a b", "p\n", "p/../p", ("p"):rep(201), "ü" } do
      local reply = call(name, dir .. "/one")
      assert.are.equal(7, reply.value.code, name)
      assert.is_truthy(reply.value.msg:find("cannot be the name of a policy", 1, true), name)
    end
  end)

  it("leaves out a byte order mark and a first line with #, and keeps the line numbers", function()
    local reply = call("marked", dir .. "/two").value
    assert.are.equal(2, reply.line)
  end)

  it("works in a stock interpreter, from MNCNI_POLICY_PATH", function()
    assert.are.equal("1\n", stock("print(policy.load 'p'.desired())", dir .. "/one"))
    assert.are.equal(dir .. "/one/p.lua\n", stock("print(policy.source 'p')", dir .. "/one"))
    assert.are.equal("nil\n", stock("print(policy.source 'q')", dir .. "/one"))
    assert.are.equal(("marked %s/two/marked.lua\nnaive-bridge.v2 %s/two/naive-bridge.v2.lua\np %s/one/p.lua\n")
      :format(dir, dir, dir), stock("for _, p in ipairs(policy.names()) do print(p.name .. ' ' .. p.source) end",
      dir .. "/one:" .. dir .. "/two"))
  end)

  it("reads a policy anew each time", function()
    assert.are.equal("1\n2\n", stock(([[
      print(policy.load "p".desired())
      os.execute "cp %s/two/p.lua %s/one/changed.lua"
      print(policy.load "changed".desired())
      os.remove "%s/one/changed.lua"
    ]]):format(dir, dir, dir), dir .. "/one"))
  end)

  it("gives a stock interpreter's globals no names of a policy's", function()
    runner.write(dir .. "/one/leaks.lua", "leak = 1\nreturn {}")
    local out = stock("print(pcall(policy.load, 'leaks')); print(leak)", dir .. "/one")
    assert.is_truthy(out:find("leaks.lua:1: a policy may not assign to the global \"leak\"", 1, true), out)
    assert.is_truthy(out:find("\nnil\n", 1, true), out)
    os.remove(dir .. "/one/leaks.lua")
  end)
end)

describe("the form of a policy", function()
  local dir

  setup(function()
    dir = runner.directory()
  end)

  teardown(function()
    sh(("rm -r %s"):format(dir))
  end)

  local function load(source)
    runner.write(dir .. "/p.lua", source)
    local reply = runner.call { policy = "p", path = dir }
    return reply.value and reply.value.msg or reply.text
  end

  it("knows the hooks of the verbs, of address management and of the agent", function()
    assert.are.equal("null\n", load [[
      local f = function() end
      return {
        add = f, del = f, check = f, gc = f, status = f, lease = f, release = f, desired = f, options = {},
        chained = true, lost = f,
      }
    ]])
  end)

  it("has hooks of the right type, and no others", function()
    assert.is_truthy(load "return { add = 1 }":find("its \"add\" is a number and not a function", 1, true))
    assert.is_truthy(load "return { options = 1 }":find("its \"options\" is a number and not a table", 1, true))
    assert.is_truthy(load "return { 1 }":find("unknown hook \"1\"; there are add, chained, check,", 1, true))
    assert.is_truthy(load "return { dell = function() end }":find("did you mean \"del\"?", 1, true))
  end)

  it("names the file", function()
    assert.is_truthy(load "return 1":find(("load policy \"p\" in %s/p.lua: "):format(dir), 1, true))
  end)

  it("has options with a known type and known fields", function()
    assert.are.equal("null\n", load [[
      return {
        desired = function() end,
        options = {
          a = { type = "string", default = "x", choices = { "x", "y" }, doc = "text" },
          b = { type = "integer", min = 1, max = 2, auto = function() return 1 end },
          c = { type = "cidr" }, d = { type = "list" }, e = { type = "table" }, f = { type = "boolean" },
        },
      }
    ]])
    for source, why in pairs {
      ["a = 1"] = "p.lua, declaration of option \"a\": expected a table",
      ["a = {}"] = "no type; there are",
      ["a = { type = \"strin\" }"] = "did you mean \"string\"?",
      ["a = { type = \"string\", mim = 1 }"] = "unknown key \"mim\"; did you mean \"min\"?",
      ["a = { type = \"string\", auto = 1 }"] = "auto is 1, not a function",
      ["a = { type = \"string\", default = 1 }"] = "p.lua, default of option \"a\": expected a string, got 1",
      ["{ type = \"string\" }"] = "the name is not made of letters",
    } do
      local message = load("return { options = { " .. source .. " } }")
      assert.is_truthy(message:find(why, 1, true), message)
    end
  end)

  it("holds for every policy that is built in, which nobody looks at again when it runs", function()
    local names = runner.sh "ls policies"
    for name in names:gmatch "([^\n]+)%.lua" do
      local out, err = runner.sh(("MNCNI_POLICY_PATH=policies %s -e %s"):format(os.getenv "RING_LUA" or "lua5.4",
        runner.quote(("print(require('mncni.policy').load('%s') ~= nil)"):format(name))))
      assert.are.equal("true\n", out, err)
    end
  end)
end)
