-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"
local runner = require "spec.support.runner"
local spaces = require "spec.support.netns"

local netns = core.netns

local function failure(...)
  local ok, err = pcall(...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), "not an error object: " .. tostring(err))
  return err
end

describe("a network namespace", function()
  local before, here

  before_each(function()
    before = spaces.snapshot()
    here = spaces.must "readlink /proc/$PPID/ns/net"
  end)

  after_each(function()
    assert.are.equal(here, spaces.must "readlink /proc/$PPID/ns/net") -- we are where we were
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  describe("is opened", function()
    it("by path, name, process and descriptor, and is the same each time", function()
      local space = spaces.new "web"
      local pid = spaces.must("nsenter --net=%s sleep 5 >/dev/null 2>&1 & echo $!", space.path)
      for _ = 1, 100 do
        if spaces.sh("readlink /proc/%s/ns/net", pid) ~= here then break end
        spaces.sh "sleep 0.01"
      end
      for _, what in ipairs { "web", "/run/netns/web", math.tointeger(pid), { path = "/run/netns/web" },
                              { name = "web" }, { pid = math.tointeger(pid) }, { fd = space.ns:fd() } } do
        local ns <close> = netns.open(what)
        assert.are.equal(space.ns, ns)
        assert.are.equal(space.ns:id(), ns:id())
      end
      spaces.must("kill %s", pid)
    end)

    it("by a path relative to the working directory", function()
      local ns <close> = netns.open { path = "/proc/self/../self/ns/net" }
      local current <close> = netns.current()
      assert.are.equal(current, ns)
    end)

    it("with a descriptor of its own when it is given one", function()
      local space = spaces.new()
      local ns <close> = netns.open { fd = space.ns:fd() }
      assert.are_not.equal(space.ns:fd(), ns:fd())
    end)

    it("with a descriptor that no program inherits", function()
      local space = spaces.new()
      local listing = core.exec { argv = { "/bin/ls", "/proc/self/fd" } }.stdout
      assert.is_nil(("\n" .. listing):find("\n" .. space.ns:fd() .. "\n", 1, true))
    end)
  end)

  describe("cannot be opened", function()
    local function message(what)
      local err = failure(netns.open, what)
      assert.are.equal(8, err.code)
      return err.message, err.name
    end

    it("where nothing is", function()
      local text, name = message "/run/elsewhere/web"
      assert.are.equal("ENOENT", name)
      assert.truthy(text:find("nothing is there", 1, true))
      assert.truthy(message("/etc/passwd/web"):find("nothing is there", 1, true))
    end)

    it("by a name that is not there, and says what shows the names", function()
      assert.truthy(message("nonesuch"):find("ip netns list", 1, true))
    end)

    it("when its process has ended", function()
      assert.truthy(message(spaces.must "sh -c 'echo $$'" + 0):find("it has ended", 1, true))
    end)

    it("where something else is, and says what", function()
      for path, kind in pairs {
        ["/etc/passwd"] = "a plain file", ["/tmp"] = "a directory", ["/dev/null"] = "a device",
        ["/proc/self/ns/mnt"] = "a mount namespace", ["/proc/self/ns/pid"] = "a pid namespace",
        ["/proc/self/ns/user"] = "a user namespace", ["/proc/self/ns/uts"] = "a UTS namespace",
        ["/proc/self/ns/ipc"] = "an IPC namespace", ["/proc/self/ns/cgroup"] = "a cgroup namespace",
        ["/proc/self/ns/time"] = "a time namespace",
      } do
        local text, name = message(path)
        assert.are.equal("EINVAL", name)
        assert.truthy(text:find(kind .. ", not a network namespace", 1, true), path .. ": " .. text)
      end
    end)

    it("where the file of a namespace that is gone was left", function()
      spaces.must "touch /run/netns/stale"
      assert.truthy(message("stale"):find("nothing is mounted on it", 1, true))
      netns.remove "stale"
    end)

    it("where a pipe is, without waiting for its writer", function()
      spaces.must "mkfifo /run/tmp/pipe"
      assert.truthy(message("/run/tmp/pipe"):find("a pipe", 1, true))
      spaces.must "rm /run/tmp/pipe"
    end)

    it("by what is no name, process or descriptor", function()
      for _, what in ipairs { "", ".", "..", 0, -1, 1 << 40 } do message(what) end
      assert.truthy(message(("x"):rep(5000)):find("too long", 1, true))
      message(("x"):rep(300))
      message { fd = 1000 }
      message { fd = 0 }
    end)

    it("by an argument that says nothing, too much, or something unknown", function()
      assert.truthy(failure(netns.open, {}).message:find("exactly one", 1, true))
      assert.truthy(failure(netns.open, { name = "a", pid = 1 }).message:find("exactly one", 1, true))
      assert.truthy(failure(netns.open, { naem = "a" }).message:find('"name"', 1, true))
      assert.truthy(failure(netns.open, { name = "a/b" }).message:find("not a name", 1, true))
      assert.has_error(function() netns.open(nil) end)
      assert.has_error(function() netns.open(1.5) end)
      assert.has_error(function() netns.open { fd = "x" } end)
    end)
  end)

  describe("is created", function()
    it("with a name, as ip netns add does", function()
      local ns <close> = netns.create "web"
      assert.are.equal("/run/netns/web", ns:path())
      assert.truthy(("\n" .. spaces.must "ip netns list" .. "\n"):find("\nweb\n", 1, true))
      assert.truthy(spaces.must("ip -n web -br link show lo"):find("DOWN", 1, true))
      spaces.must "ip netns del web"
    end)

    it("without a name, and is gone with its handle", function()
      local ns <close> = netns.create()
      assert.is_nil(ns:path())
      assert.are_not.equal(netns.current(), ns)
      assert.are.equal("", spaces.must "ip netns list")
      assert.are.equal(1, select(2, ns:run(spaces.must, "ip -o link"):gsub("[^\n]+", "")))
    end)

    it("not twice under one name, and the first stays", function()
      local first <close> = netns.create "web"
      local err = failure(netns.create, "web")
      assert.are.equal("EEXIST", err.name)
      assert.are.equal(8, err.code)
      local again <close> = netns.open "web"
      assert.are.equal(first, again)
      netns.remove "web"
    end)

    it("not under what cannot be a name", function()
      for _, name in ipairs { "", ".", "..", "a/b", "/run/netns/x", ("x"):rep(300) } do failure(netns.create, name) end
    end)

    it("so that names are seen in every mount namespace, as iproute2 has it", function()
      spaces.new "web"
      assert.are.equal("shared", spaces.must "findmnt -n -o PROPAGATION /run/netns | tail -n 1")
    end)

    it("beside iproute2, many at once", function()
      spaces.must [[for i in 1 2 3 4 5 6 7 8; do ip netns add other$i & done; wait]]
      local made = {}
      for i = 1, 8 do made[i] = netns.create("own" .. i) end
      assert.are.equal(16, #netns.list())
      for i = 1, 8 do
        netns.remove("own" .. i)
        netns.remove("other" .. i)
        made[i]:close()
      end
    end)
  end)

  describe("is pinned", function()
    it("under a name or at a path, and removed again", function()
      local ns = netns.create()
      local id = ns:id()
      netns.pin(ns, "kept")
      netns.pin(ns, "/run/tmp/kept")
      ns:close()
      for _, where in ipairs { "kept", "/run/tmp/kept" } do
        local again <close> = netns.open(where)
        assert.are.equal(id, again:id())
      end
      netns.remove "kept"
      netns.remove "/run/tmp/kept"
      assert.are.equal("", spaces.must "ls /run/tmp")
    end)

    it("not over something that is there", function()
      local ns <close> = netns.create()
      spaces.must "echo precious >/run/tmp/file"
      assert.are.equal("EEXIST", failure(netns.pin, ns, "/run/tmp/file").name)
      assert.are.equal("precious", spaces.must "cat /run/tmp/file; rm /run/tmp/file")
    end)

    it("and nothing is left when the directory is missing", function()
      local ns <close> = netns.create()
      assert.are.equal("ENOENT", failure(netns.pin, ns, "/run/tmp/missing/web").name)
    end)
  end)

  describe("is removed", function()
    it("while a handle is open, which keeps it alive", function()
      local ns <close> = netns.create "web"
      netns.remove "web"
      assert.truthy(ns:run(spaces.must, "ip -o link"):find("lo:", 1, true))
      assert.are.equal("ENOENT", failure(netns.open, "web").name)
    end)

    it("not twice", function()
      spaces.new "web"
      netns.remove "/run/netns/web"
      local err = failure(netns.remove, "web")
      assert.are.equal("ENOENT", err.name)
      assert.are.equal("remove", err.op)
    end)

    it("only if it is one", function()
      spaces.must "touch /run/tmp/file; mkdir /run/netns/directory"
      for _, path in ipairs { "/run/tmp/file", "/run/tmp", "/dev/null", "/proc/self/ns/mnt", "directory", ".." } do
        assert.are.equal(8, failure(netns.remove, path).code)
      end
      spaces.must "rm /run/tmp/file; rmdir /run/netns/directory"
    end)

    it("not where no name holds it", function()
      assert.truthy(failure(netns.remove, "/proc/self/ns/net").message:find("not pinned", 1, true))
    end)
  end)

  it("is listed by name, sorted, and only if it is one", function()
    assert.are.same({}, netns.list())
    for _, name in ipairs { "b", "a", "c" } do spaces.new(name) end
    spaces.must "touch /run/netns/stale"
    assert.are.same({ "a", "b", "c" }, netns.list())
    spaces.must "rm /run/netns/stale"
  end)

  it("has no names on a machine that never had any", function()
    spaces.must "umount /run/netns; mv /run/netns /run/netns.away"
    local names = netns.list()
    spaces.must "mv /run/netns.away /run/netns"
    assert.are.same({}, names)
  end)

  describe("runs a function", function()
    it("inside, and hands its arguments and results through", function()
      local space = spaces.new()
      local results = table.pack(space.ns:run(function(...)
        return netns.current():id(), select("#", ...), ...
      end, 1, nil, "x", nil))
      assert.are.same({ n = 6, space.ns:id(), 4, 1, nil, "x", nil }, results)
    end)

    it("and raises what it raises, unchanged, after the way back", function()
      local space = spaces.new()
      local thing = setmetatable({}, {})
      local ok, err = pcall(space.ns.run, space.ns, function() error(thing) end)
      assert.is_false(ok)
      assert.are.equal(thing, err)
    end)

    it("inside another, and each comes home", function()
      local outer, inner = spaces.new(), spaces.new()
      outer.ns:run(function()
        inner.ns:run(function() assert.are.equal(inner.ns, netns.current()) end)
        pcall(inner.ns.run, inner.ns, error, "x")
        assert.are.equal(outer.ns, netns.current())
      end)
    end)

    it("and comes home although it closes the handle and removes the namespace", function()
      local space = spaces.new()
      space.ns:run(function() space:close() end)
    end)

    it("that cannot yield out of it", function()
      local space = spaces.new()
      local ok, message = coroutine.resume(coroutine.create(function()
        space.ns:run(function() coroutine.yield() end)
      end))
      assert.is_false(ok)
      assert.truthy(message:find("yield", 1, true))
    end)

    it("in a call of the library, and comes home to where the caller is by then", function()
      local directory = runner.directory()
      runner.write(directory .. "/away.lua", [[
        local core = require "mncni.core"
        return { desired = function()
          for _ = 1, 3 do
            local other <close> = core.netns.create()
            other:run(function()
              local further <close> = core.netns.create()
              further:run(function() assert(core.netns.current() == further) end)
              assert(core.netns.current() == other)
            end)
          end
          local here <close> = core.netns.current()
          return { here:id() }
        end }]])
      local told = runner.call { flags = "-u -n 4", policy = "away", path = directory }
      spaces.must("rm -rf %s", directory)
      local seen = {}
      for id, number in told.text:gmatch '%["%d+:(%d+)"%] in (%d+)\n' do
        assert.are.equal(number, id)
        assert.is_nil(seen[id])
        seen[id], seen[#seen + 1] = true, id
      end
      assert.are.equal(4, #seen, told.text .. told.stderr)
    end)

    it("that fails for lack of memory, and comes home", function()
      local space = spaces.new()
      assert.has_error(function() space.ns:run(function() return ("x"):rep(1 << 60) end) end)
    end)

    it("and the process aborts when there is no way back", function()
      local space = spaces.new()
      local code = [[
        local ns = require("mncni.core").netns.open(arg[1])
        ns:run(function() io.write "inside\n" io.flush() end)
        print "still alive"]]
      local file <close> = assert(io.open("/run/tmp/abort.lua", "w"))
      file:write(code)
      file:flush()
      local lua = os.getenv("RING_LUA"):gsub("LD_PRELOAD=", "ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=")
      local output, status = spaces.sh(
        "LUA_CPATH=%s strace -qq -o /dev/null -e trace=setns -e inject=setns:error=EPERM:when=2+ " .. lua
          .. " /run/tmp/abort.lua %s; rm /run/tmp/abort.lua", package.cpath, space.path)
      assert.truthy(output:find("inside", 1, true))
      assert.truthy(output:find("aborting", 1, true), output)
      assert.is_nil(output:find("still alive", 1, true))
      assert.are.equal(0, status)
    end)
  end)

  it("is left by a signal handler that starts another program", function()
    local space = spaces.new()
    assert.are.equal(here, spaces.must((os.getenv "MNCNI_BUILD" or "build") .. "/spec/away home %s", space.path))
  end)

  describe("has a handle that", function()
    it("prints what it was opened by", function()
      local space = spaces.new "web"
      assert.are.equal("netns /run/netns/web", tostring(space.ns))
      local ns <close> = netns.create()
      assert.are.equal("netns " .. ns:id(), tostring(ns))
      ns:close()
      assert.are.equal("netns (closed)", tostring(ns))
    end)

    it("closes once and stays closed", function()
      local ns = netns.create()
      ns:close()
      ns:close()
      for _, method in ipairs { "fd", "id" } do
        local err = failure(ns[method], ns)
        assert.are.equal(8, err.code)
        assert.truthy(err.message:find("closed", 1, true))
      end
      failure(ns.run, ns, print)
      failure(netns.pin, ns, "web")
      assert.are_not.equal(netns.current(), ns)
    end)

    it("is closed at the end of its block, even by an error", function()
      local kept
      pcall(function()
        local ns <close> = netns.create()
        kept = ns
        error "x"
      end)
      failure(kept.fd, kept)
    end)

    it("is closed by the garbage collector", function()
      for _ = 1, 50 do netns.create() end
      for _ = 1, 50 do pcall(netns.open, "nonesuch") end
    end)

    it("is refused where a handle is wanted and something else is given", function()
      assert.has_error(function() netns.pin("web", "x") end)
      assert.has_error(function() netns.current().run(io.stdout, print) end)
      assert.has_error(function() netns.current():run "print" end)
    end)
  end)

  describe("in a survey", function()
    local function opens(id, path)
      local handle <close> = netns.open { path = path }
      return handle:id() == id
    end

    it("is there while a process or a mount has it, in any mount namespace, and each path opens its own", function()
      local space = spaces.new "a name"
      local id = space.ns:id()
      for found, path in pairs(netns.survey()) do
        assert.is_true(path == false or opens(found, path), path)
      end
      assert.truthy(netns.survey()[id])

      local directory = spaces.must "mktemp -d"
      local pipe = assert(io.popen(("exec unshare -m sh -c 'touch %s/x && mount --bind \"%s\" %s/x && echo $$ && "
        .. "exec sleep 60'"):format(directory, space.path, directory)))
      local pid = pipe:read "l"
      spaces.must("ip netns del %s", space.name)
      assert.are.equal(("/proc/%s/task/%s/root%s/x"):format(pid, pid, directory), netns.survey()[id])
      assert.is_true(opens(id, netns.survey()[id]))
      os.execute("kill " .. pid)
      pipe:close()
      assert.is_nil(netns.survey()[id]) -- our descriptor is not looked for
      spaces.must("rm -r %s", directory)
    end)

    it("is seen by the mounts of another process when the first that has them ends meanwhile", function()
      local space = spaces.new()
      local code = ('print(require "mncni.core".netns.survey()["%s"])'):format(space.ns:id())
      local directory = spaces.must "mktemp -d"
      local pipe = assert(io.popen(("exec unshare -m sh -c 'touch %s/x && mount --bind %s %s/x && sleep 60 & "
        .. "sleep 0.1; echo $$ $!; wait'"):format(directory, space.path, directory)))
      local first, second = pipe:read("l"):match "^(%d+) (%d+)$"
      assert.is_true(tonumber(first) < tonumber(second))
      spaces.must("ip netns del %s", space.name)
      local found = spaces.must("ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o /dev/null -P %s "
        .. "-e inject=openat:error=ENOENT " .. os.getenv "RING_LUA" .. " -e %s",
        ("/proc/%s/task/%s/mountinfo"):format(first, first), code)
      os.execute(("kill %s %s"):format(first, second))
      pipe:close()
      spaces.must("rm -r %s", directory)
      assert.truthy(found:find(("/proc/%%d+/task/%%d+/root%s/x"):format(directory)), found)
    end)

    it("is there without a path when nothing but a covered mount holds it", function()
      local space = spaces.new()
      local id, directory = space.ns:id(), spaces.must "mktemp -d"
      spaces.must("touch %s/x && mount --bind %s %s/x", directory, space.path, directory)
      spaces.must("ip netns del %s", space.name)
      assert.are.equal(directory .. "/x", netns.survey()[id]:match "/root(/.*)$")
      spaces.must("mount -t tmpfs tmpfs %s", directory)
      assert.is_false(netns.survey()[id])

      local pipe = assert(io.popen(("exec nsenter --net=/proc/%s/fd/%d sh -c 'echo $$; exec sleep 60'"):format(
        spaces.must "echo $PPID", space.ns:fd())))
      local pid = pipe:read "l"
      assert.are.equal(("/proc/%s/task/%s/ns/net"):format(pid, pid), netns.survey()[id])
      os.execute("kill " .. pid)
      pipe:close()
      spaces.must("umount %s && umount %s/x && rm -r %s", directory, directory, directory)
      assert.is_nil(netns.survey()[id])
    end)

    it("is not left out for want of permission: there is no survey then", function()
      local out = spaces.sh("setpriv --reuid 65534 --clear-groups " .. os.getenv "RING_LUA"
        .. [[ -e 'print(pcall(require "mncni.core".netns.survey))']])
      assert.truthy(out:find("false", 1, true) and out:find("EACCES", 1, true), out)
    end)

    it("sees what the process namespace that it names has", function()
      local stat = spaces.must "stat -L -c %d:%i /proc/self/ns/pid"
      assert.are.equal(stat, netns.view())
    end)
  end)
end)
