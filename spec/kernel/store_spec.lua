-- SPDX-License-Identifier: Apache-2.0
-- The address store on file systems that fail, that lack something, or that hold very many reservations. Mounts
-- tmpfs, so it wants root and a mount namespace of its own.

local core = require "mncni.core"
local support = require "spec.support.store"

local SET = { { first = "10.1.2.1", last = "10.1.2.254", gateway = "10.1.2.1" } }

local function raised(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  return err
end

local function reserve(store, container)
  return store:reserve { ranges = SET, container = container, ifname = "eth0" }
end

describe("the address store", function()
  local top, dir

  local function mount(options)
    assert(os.execute(("mount -t tmpfs -o %s none %s"):format(options, top)))
  end

  before_each(function()
    top = support.directory()
    dir = top .. "/data/net"
  end)

  after_each(function()
    os.execute(("umount -l %s 2>/dev/null"):format(top))
    support.remove(top)
  end)

  local function open(options)
    return core.store.open { dir = dir, create = not (options and options.create == false) }
  end

  it("on a read-only file system says so for reserving and for freeing, and swallows neither", function()
    mount "size=1m"
    do
      local store <close> = open()
      reserve(store, "a")
    end
    assert(os.execute("mount -o remount,ro " .. top))
    local store <close> = open()
    for _, call in ipairs {
      function() reserve(store, "b") end,
      function() store:release { container = "a", ifname = "eth0" } end,
      function() store:release { container = "a", ifname = "eth0", addresses = { "10.1.2.2" } } end,
    } do
      local err = raised(call)
      assert.equal(5, err.code)
      assert.equal("EROFS", err.name)
      assert.matches(dir, tostring(err), 1, true)
      assert.matches("remount the file system read%-write", tostring(err))
    end
    assert.matches("EROFS", tostring(raised(store.writable, store)))
    assert.equal(0, store:release { container = "b", ifname = "eth0", addresses = { "10.1.2.3" } })
    assert.same({ "10.1.2.2" }, store:find { container = "a", ifname = "eth0" })
    assert(os.execute("mount -o remount,rw " .. top))
    assert.equal(1, store:release { container = "a", ifname = "eth0" })
  end)

  it("on a read-only file system without a directory cannot make one", function()
    mount "size=1m,ro"
    assert.equal(5, raised(open).code)
    assert.is_nil(open { create = false })
  end)

  it("on a full file system reserves nothing, leaves nothing, and still frees", function()
    mount "size=64k"
    local store <close> = open()
    reserve(store, "a")
    os.execute(("cat /dev/zero >%s/fill 2>/dev/null"):format(top))
    local err = raised(reserve, store, "b")
    assert.equal(5, err.code)
    assert.equal("ENOSPC", err.name)
    assert.matches("free space or inodes", tostring(err))
    assert.same({ "10.1.2.2" }, support.names(dir, true))
    assert.equal(1, store:release { container = "a", ifname = "eth0" })
    os.remove(top .. "/fill")
    assert.equal("10.1.2.4", reserve(store, "b")) -- the hint moved, the address was not used up
  end)

  it("without inodes left reserves nothing", function()
    mount "size=1m,nr_inodes=8"
    local store <close> = open()
    reserve(store, "a")
    for i = 1, 8 do
      os.execute(("touch %s/fill%d 2>/dev/null"):format(top, i))
    end
    assert.equal("ENOSPC", raised(reserve, store, "b").name)
    assert.same({ "10.1.2.2" }, support.names(dir, true))
  end)

  it("without unnamed files publishes by a second name, and never writes to one that is live", function()
    local code = ([[
      local store = require "mncni.core".store.open { dir = "%s", create = true }
      local ranges = { { first = "10.1.2.2", last = "10.1.2.9" } }
      print(store:reserve { ranges = ranges, container = arg[1], ifname = "eth0" })
    ]]):format(dir)
    -- The first run finds which openat of the process asks for an unnamed file once the directory is settled.
    support.run(support.lua(code, "a"))
    local trace = support.run("strace -e trace=openat %s 2>&1", support.lua(code, "b"))
    local count, wanted = 0, nil
    for line in trace:gmatch("openat%([^\n]*") do
      count = count + 1
      if line:find "O_TMPFILE" then
        assert.is_nil(wanted)
        wanted = count
      end
    end
    assert.truthy(wanted, trace)
    os.execute(("ln %s/10.1.2.2 %s/.mncni.tmp"):format(dir, dir)) -- as a kill between link and unlink leaves it
    local out = support.run("strace -o /dev/null -e trace=openat -e inject=openat:error=EOPNOTSUPP:when=%d %s 2>&1",
      wanted, support.lua(code, "c"))
    assert.equal("10.1.2.4\n", out)
    assert.equal("a\r\neth0", support.read(dir .. "/10.1.2.2"))
    assert.equal("c\r\neth0", support.read(dir .. "/10.1.2.4"))
    assert.same({ ".mncni", "10.1.2.2", "10.1.2.3", "10.1.2.4", "last_reserved_ip.0", "lock" }, support.names(dir))
  end)

  it("tells a failing disk from an address that is not there", function()
    local store <close> = open()
    reserve(store, "a")
    local code = ([[
      local core = require "mncni.core"
      local store = core.store.open { dir = "%s" }
      local ok, err = pcall(store.release, store, { container = "a", ifname = "eth0", addresses = { "10.1.2.2" } })
      print(ok, ok or err.code, ok or err.name)
    ]]):format(dir)
    local function with(options)
      return (support.run("strace -o /dev/null -e trace=unlinkat,pread64 %s %s 2>&1", options, support.lua(code)))
    end
    local its_file = ("-P %s/10.1.2.2 "):format(dir)
    assert.equal("false\t5\tEIO\n", with "-e inject=unlinkat:error=EIO")
    assert.equal("false\t5\tEIO\n", with(its_file .. "-e inject=pread64:error=EIO"))
    assert.same({ "10.1.2.2" }, support.names(dir, true))
    assert.equal("true\ttrue\ttrue\n", with(its_file .. "-e inject=pread64:error=EINTR:when=1"))
    assert.same({}, support.names(dir, true))
  end)

  it("is as quick with 60 000 reservations as with none", function()
    local wide = { { first = "10.2.0.1", last = "10.2.255.254", gateway = "10.2.0.1" } }
    local store <close> = open()
    local function median()
      local times = {}
      for i = 1, 301 do
        local start = os.clock()
        local address = store:reserve { ranges = wide, container = "probe", ifname = "eth0" }
        assert.equal(1, store:release { container = "probe", ifname = "eth0", addresses = { address } })
        times[i] = os.clock() - start
      end
      table.sort(times)
      return times[151]
    end
    local empty = median()
    for i = 1, 60000 do
      store:publish { address = ("10.2.%d.%d"):format(i // 256, i % 256), container = "c" .. i, ifname = "eth0" }
    end
    store:reserve { ranges = wide, container = "first", ifname = "eth0" } -- finds the gap, once
    local full = median()
    assert.is_true(full < 2 * empty, ("%.1f us with 60 000, %.1f us with none"):format(full * 1e6, empty * 1e6))
  end)
end)
