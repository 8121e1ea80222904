-- SPDX-License-Identifier: Apache-2.0
-- The plugin begins where the build of it ended: with its modules loaded. Nothing of the process that loaded them is
-- left, and a plugin without any of it does the same.

local cni = require "spec.support.cni"

local MNCNI = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"

local function sh(command, ...)
  local pipe = assert(io.popen(("{ %s; } 2>&1"):format(command:format(...))))
  local text = pipe:read "a"
  return text, (select(3, pipe:close()))
end

local sanitized = sh("nm %s | grep -c __asan_init", MNCNI):match "^%d+" ~= "0"

describe("the snapshot in the plugin", function()
  local dir

  before_each(function()
    dir = sh "mktemp -d":match "[^\n]+"
    sh("chmod 700 %s", dir)
  end)

  after_each(function() sh("rm -rf %s", dir) end)

  -- STATUS, answered by a policy of this text; what it wrote to standard error.
  local function ask(text, plugin)
    local file <close> = assert(io.open(dir .. "/probe.lua", "w"))
    file:write(("return { add = function() end, status = function() %s end }"):format(text))
    file:close()
    local outcome = cni.exec {
      bin = plugin or MNCNI, command = "STATUS", path = dir,
      env = { MNCNI_POLICY_PATH = dir, MNCNI_STATE_DIR = dir .. "/state" },
      stdin = { cniVersion = "1.1.0", name = "net", type = "mncni", policy = "probe" },
    }
    assert.are.equal(0, outcome.status, outcome.stdout .. outcome.stderr)
    return outcome.stderr
  end

  -- The plugin as it was linked.
  local function bare()
    assert.are.same({ "", 0 }, { sh("size=$(readelf -SW %s | sed -n 's/.*mncni_image  *[A-Z]* *[0-9a-f]* [0-9a-f]* "
      .. "\\([0-9a-f]*\\).*/\\1/p') && head -c $((0x$size)) /dev/zero >%s/zeroes && "
      .. "objcopy --update-section .mncni_image=%s/zeroes %s %s/mncni", MNCNI, dir, dir, MNCNI, dir) })
    return dir .. "/mncni"
  end

  local LOADED = "io.stderr:write(tostring(package.loaded['mncni.guard'] ~= nil))"

  it("has modules loaded that a STATUS does not ask for", function()
    assert.are.equal(tostring(not sanitized), ask(LOADED))
  end)

  if sanitized then return end

  it("may be missing", function()
    local plugin = bare()
    assert.are.equal("false", ask(LOADED, plugin))
    local text = "print(require('mncni').cidr('10.0.0.1/24').network)"
    assert.are.equal(ask(text), ask(text, plugin))
  end)

  it("has no random numbers of the build's in it", function()
    local first, second = ask "print(math.random(0))", ask "print(math.random(0))"
    assert.are_not.equal(first, second)
  end)

  it("collects its garbage, and stays within the memory of its limit", function()
    local text = ask [[
      collectgarbage(); collectgarbage()
      local list = {}
      for round = 1, 20 do
        for i = 1, 2000 do list[i] = ("%d %d"):format(round, i):rep(100) end
        collectgarbage()
      end
      io.stderr:write(#list, " ", require("mncni.guard").mac("a", "b"))]]
    assert.truthy(text:find "^2000 %x%x:", text)
  end)

  it("is not made twice", function()
    local text, status = sh("%s --snapshot %s/image", MNCNI, dir)
    assert.are.equal(1, status)
    assert.truthy(text:find("has one already", 1, true), text)
  end)

  it("is the same each time the same program makes it", function()
    local plugin = bare()
    local function make(name)
      assert.are.same({ "", 0 }, { sh("%s --snapshot %s/%s", plugin, dir, name) })
      return sh("sha256sum <%s/%s", dir, name)
    end
    assert.are.equal(make "one", make "two")
  end)
end)
