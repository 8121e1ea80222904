-- SPDX-License-Identifier: Apache-2.0
-- The address store and the host-local policy on real files, without root.

local core = require "mncni.core"
local support = require "spec.support.store"

local POLICY = "policies/host-local.lua"

local function ranges(first, last, gateway)
  return { { first = first, last = last, gateway = gateway } }
end

local SMALL = ranges("10.1.2.1", "10.1.2.6", "10.1.2.1") -- a /29: five addresses

local top, dir

before_each(function()
  top = support.directory()
  dir = top .. "/net"
end)

after_each(function()
  support.remove(top)
end)

-- Opens the store of the spec's directory; options as core.store.open.
local function open(options)
  local all = { dir = dir, create = true }
  for key, value in pairs(options or {}) do
    all[key] = value
  end
  return core.store.open(all)
end

local function reserve(store, container, set, index)
  return store:reserve { ranges = set or SMALL, index = index, container = container, ifname = "eth0" }
end

local function raised(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(core.is_error(err), tostring(err))
  return err
end

describe("a reservation", function()
  it("is a file named after the address that holds container and interface", function()
    local store <close> = open()
    assert.equal("10.1.2.2", reserve(store, "cid"))
    assert.equal("cid\r\neth0", support.read(dir .. "/10.1.2.2"))
    assert.equal("10.1.2.2", support.read(dir .. "/last_reserved_ip.0"))
    assert.equal("600\n", (support.run("stat -c %%a %s/10.1.2.2", dir)))
    assert.same({ ".mncni", "10.1.2.2", "last_reserved_ip.0", "lock" }, support.names(dir))
  end)

  it("of IPv6 is named as Go prints the address", function()
    local spelled = {
      ["2001:db8:1::2"] = "2001:db8:1::2",
      ["2001:db8:0:0:1::"] = "2001:db8:0:0:1::",
      ["fd00:0:0:1:0:0:0:9"] = "fd00:0:0:1::9",
      ["fd00:0:1:1:1:1:1:1"] = "fd00:0:1:1:1:1:1:1",
      ["::1:203"] = "::1:203",
      ["::ffff:10.9.9.9"] = "10.9.9.9",
      ["64:ff9b::10.1.2.3"] = "64:ff9b::a01:203",
    }
    local store <close> = open()
    for address, name in pairs(spelled) do
      assert.equal("reserved", store:publish { address = address, container = "c", ifname = "eth0" })
      assert.equal("c\r\neth0", support.read(dir .. "/" .. name), name)
    end
  end)

  it("has the same modes whatever the umask", function()
    local code = ([[
      local store <close> = require "mncni.core".store.open { dir = "%s", create = true }
      store:reserve { ranges = { { first = "10.1.2.2", last = "10.1.2.3" } }, container = "c", ifname = "eth0" }
    ]]):format(dir)
    for _, umask in ipairs { "0000", "0077", "0777" } do
      support.run("umask %s; %s", umask, support.lua(code))
      assert.equal("755\n600\n600\n600\n",
        (support.run("cd %s && stat -c %%a . 10.1.2.2 lock .mncni", dir)))
      os.execute("rm -rf " .. dir)
    end
  end)

  it("goes round robin: an address that was freed is the last to come back", function()
    local store <close> = open()
    assert.equal("10.1.2.2", reserve(store, "a"))
    assert.equal(1, store:release { container = "a", ifname = "eth0" })
    assert.equal("10.1.2.3", reserve(store, "b"))
  end)

  it("skips the gateway, wraps around, and ends when all are taken", function()
    local store <close> = open()
    for i = 2, 6 do
      assert.equal("10.1.2." .. i, reserve(store, "c" .. i))
    end
    assert.is_nil(reserve(store, "c7"))
    store:release { container = "c4", ifname = "eth0" }
    assert.equal("10.1.2.4", reserve(store, "c7"))
    assert.equal("10.1.2.4", support.read(dir .. "/last_reserved_ip.0"))
  end)

  it("starts behind last_reserved_ip, and at the first address when that is of no use", function()
    local store <close> = open()
    local after = {
      ["10.1.2.4"] = "10.1.2.5", ["10.1.2.6"] = "10.1.2.2", ["10.9.9.9"] = "10.1.2.2",
      [""] = "10.1.2.2", ["rubbish"] = "10.1.2.2", ["10.1.2.3\n"] = "10.1.2.4",
    }
    for hint, expected in pairs(after) do
      support.write(dir .. "/last_reserved_ip.0", hint)
      assert.equal(expected, store:plan { ranges = SMALL }, hint)
    end
  end)

  it("goes from one range of a set to the next, and back to the first", function()
    local store <close> = open()
    local pool = {
      { first = "10.0.0.1", last = "10.0.0.2", gateway = "10.0.0.1" },
      { first = "10.0.1.1", last = "10.0.1.2", gateway = "10.0.1.1" },
      { first = "10.0.2.1", last = "10.0.2.2", gateway = "10.0.2.1" },
    }
    for i, expected in ipairs { "10.0.0.2", "10.0.1.2", "10.0.2.2" } do
      assert.equal(expected, reserve(store, "c" .. i, pool))
    end
    store:release { container = "c1", ifname = "eth0" }
    assert.equal("10.0.0.2", reserve(store, "c4", pool))
  end)

  it("counts each set with a hint of its own", function()
    local store <close> = open()
    reserve(store, "a", SMALL, 0)
    reserve(store, "a", ranges("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::1"), 1)
    assert.equal("10.1.2.2", support.read(dir .. "/last_reserved_ip.0"))
    assert.equal("2001:db8::2", support.read(dir .. "/last_reserved_ip.1"))
  end)

  it("crosses the borders of bytes", function()
    local store <close> = open()
    support.write(dir .. "/last_reserved_ip.0", "10.0.0.255")
    assert.equal("10.0.1.0", store:plan { ranges = ranges("10.0.0.1", "10.0.255.254") })
    support.write(dir .. "/last_reserved_ip.0", "2001:db8::ffff:ffff:ffff")
    assert.equal("2001:db8:0:0:1::", store:plan { ranges = ranges("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff") })
  end)

  it("finds the one free address of a range with thousands taken", function()
    local store <close> = open()
    local big = ranges("10.2.0.1", "10.2.15.254", "10.2.0.1")
    for i = 2, 4094 do
      if i ~= 3000 then
        store:publish { address = ("10.2.%d.%d"):format(i // 256, i % 256), container = "c" .. i, ifname = "eth0" }
      end
    end
    assert.same({ 4092, 4093 }, { store:count { ranges = big } })
    assert.equal("10.2.11.184", reserve(store, "last", big))
    assert.is_nil(reserve(store, "more", big))
  end)

  it("of this attachment is told from another's", function()
    local store <close> = open()
    assert.equal("reserved", store:publish { address = "10.1.2.3", container = "a", ifname = "eth0" })
    assert.equal("held", store:publish { address = "10.1.2.3", container = "a", ifname = "eth0" })
    assert.equal("taken", store:publish { address = "10.1.2.3", container = "a", ifname = "eth1" })
    assert.equal("taken", store:publish { address = "10.1.2.3", container = "ab", ifname = "eth0" })
    assert.is_true(store:holds { address = "10.1.2.3", container = "a", ifname = "eth0" })
    assert.is_false(store:holds { address = "10.1.2.3", container = "a", ifname = "eth1" })
    assert.is_false(store:holds { address = "10.1.2.4", container = "a", ifname = "eth0" })
  end)

  it("needs an owner that can be read back", function()
    local store <close> = open()
    local long = ("x"):rep(2000)
    for _, owner in ipairs { { "", "eth0" }, { "c", "" }, { "a\nb", "eth0" }, { "c", "e 0" }, { long, "eth0" } } do
      local err = raised(store.publish, store, { address = "10.1.2.3", container = owner[1], ifname = owner[2] })
      assert.equal(4, err.code)
    end
    assert.same({}, support.names(dir, true))
  end)

  it("does without last_reserved_ip when it cannot be written", function()
    local store <close> = open()
    assert(os.execute(("mkdir %s/last_reserved_ip.0"):format(dir)))
    for i = 2, 6 do
      assert.equal("10.1.2." .. i, reserve(store, "c" .. i))
    end
    assert.equal("10.1.2.9", store:plan { ranges = ranges("10.1.2.2", "10.1.2.9"), lost = "10.1.2.8" })
  end)
end)

describe("a release", function()
  it("frees the attachment's own addresses and leaves all others", function()
    local store <close> = open()
    reserve(store, "a")
    reserve(store, "b")
    local addresses = { "10.1.2.2", "10.1.2.3", "10.1.2.4" }
    assert.equal(1, store:release { container = "a", ifname = "eth0", addresses = addresses })
    assert.same({ "10.1.2.3" }, support.names(dir, true))
  end)

  it("twice, or of what was never there, is fine", function()
    local store <close> = open()
    reserve(store, "a")
    assert.equal(1, store:release { container = "a", ifname = "eth0", addresses = { "10.1.2.2/24" } })
    assert.equal(0, store:release { container = "a", ifname = "eth0", addresses = { "10.1.2.2/24" } })
    assert.equal(0, store:release { container = "a", ifname = "eth0" })
    assert.equal(0, store:release { container = "a", ifname = "eth0", addresses = {} })
    assert.is_nil(open { dir = top .. "/other", create = false })
  end)

  it("finds every address of an attachment when none are named", function()
    local store <close> = open()
    reserve(store, "a")
    reserve(store, "b")
    reserve(store, "a", ranges("2001:db8::2", "2001:db8::9"), 1)
    local found = store:find { container = "a", ifname = "eth0" }
    table.sort(found)
    assert.same({ "10.1.2.2", "2001:db8::2" }, found)
    assert.equal(2, store:release { container = "a", ifname = "eth0" })
    assert.same({ "10.1.2.3" }, support.names(dir, true))
  end)

  it("understands the oldest form, and both ends of line", function()
    local store <close> = open()
    for i, text in ipairs { "old", "old\n", "old\r\n", "old\r\neth0", "old\neth0", "old\r\neth0\n" } do
      support.write(dir .. "/10.1.2.2", text)
      assert.equal(1, store:release { container = "old", ifname = "eth0", addresses = { "10.1.2.2" } }, i)
      support.write(dir .. "/10.1.2.2", text)
      assert.equal(1, store:release { container = "old", ifname = "eth0" }, i)
    end
    for i, text in ipairs { "older", "old\r\neth1", "ol", "", "old\0", "\r\nold" } do
      support.write(dir .. "/10.1.2.2", text)
      assert.equal(0, store:release { container = "old", ifname = "eth0", addresses = { "10.1.2.2" } }, i)
      assert.equal(0, store:release { container = "old", ifname = "eth0" }, i)
    end
  end)

  it("prefers files that name the interface to those that do not", function()
    local store <close> = open()
    support.write(dir .. "/10.1.2.2", "cid")
    support.write(dir .. "/10.1.2.3", "cid\r\neth0")
    assert.equal(1, store:release { container = "cid", ifname = "eth0" })
    assert.same({ "10.1.2.2" }, support.names(dir, true))
  end)

  it("leaves links, directories and other names alone", function()
    local store <close> = open()
    support.write(top .. "/target", "a\r\neth0")
    os.execute(("ln -s %s/target %s/10.1.2.2; mkdir %s/10.1.2.3"):format(top, dir, dir))
    support.write(dir .. "/010.1.2.4", "a\r\neth0")
    support.write(dir .. "/notes", "a\r\neth0")
    assert.equal(0, store:release { container = "a", ifname = "eth0" })
    assert.equal(0, store:release { container = "a", ifname = "eth0", addresses = { "10.1.2.2", "10.1.2.3" } })
    assert.equal("a\r\neth0", support.read(top .. "/target"))
    assert.equal("10.1.2.4", reserve(store, "c"))
  end)
end)

describe("what a crash leaves", function()
  it("empty, or with NUL bytes, is an address that is free", function()
    local store <close> = open()
    for i = 2, 6 do
      support.write(dir .. "/10.1.2." .. i, i % 2 == 0 and "" or "\0\0\0\0")
    end
    local got = {}
    for i = 1, 5 do
      got[i] = assert(reserve(store, "c" .. i))
    end
    table.sort(got)
    assert.same({ "10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6" }, got)
    assert.is_nil(reserve(store, "c6"))
  end)

  it("is no owner's and is not taken for one in the list", function()
    local store <close> = open()
    support.write(dir .. "/10.1.2.2", "")
    support.write(dir .. "/10.1.2.3", "by hand")
    support.write(dir .. "/10.1.2.4", "a\r\neth0")
    local list = store:list()
    table.sort(list, function(a, b) return a.address < b.address end)
    assert.same({
      { address = "10.1.2.2", stale = false }, { address = "10.1.2.3", container = "by hand", stale = false },
      { address = "10.1.2.4", container = "a", ifname = "eth0", stale = false },
    }, list)
  end)

  it("is never a temporary name, and never an empty file, wherever the process is killed", function()
    local code = ([[
      local store = require "mncni.core".store.open { dir = "%s", create = true }
      for i = 1, math.huge do
        local ranges = { { first = "10.1.0.1", last = "10.1.255.254" } }
        store:reserve { ranges = ranges, container = "c" .. i, ifname = "eth0" }
        if i %% 3 > 0 then store:release { container = "c" .. i, ifname = "eth0" } end
      end
    ]]):format(dir)
    local worker = support.lua(code)
    for i = 1, 25 do
      support.run("exec 2>/dev/null; %s & p=$!; sleep 0.0%02d; kill -9 $p; wait $p", worker, i * 3)
      assert.equal("", (support.run("find %s -type f -empty ! -name lock", dir)), "round " .. i)
      for _, name in ipairs(support.names(dir)) do
        local known = name == "lock" or name == ".mncni" or name == "last_reserved_ip.0"
        assert.is_true(known or name:find("^10%.[%d.]+$") ~= nil, name)
      end
    end
    local store <close> = open { deadline = 1000 } -- no lock is left behind either
    assert.truthy(reserve(store, "after"))
  end)
end)

describe("many at once", function()
  it("get as many different addresses", function()
    local code = ([[
      local store = require "mncni.core".store.open { dir = "%s", create = true }
      print(store:reserve { ranges = { { first = "10.1.2.1", last = "10.1.2.54", gateway = "10.1.2.1" } },
        container = "c" .. arg[1], ifname = "eth0" })
    ]]):format(dir)
    local out = support.run("for i in $(seq 50); do %s & done; wait", support.lua(code .. " "):gsub("%- *<", "- $i <"))
    local seen, n = {}, 0
    for address in out:gmatch("[^\n]+") do
      assert.is_nil(seen[address], address)
      seen[address], n = true, n + 1
    end
    assert.equal(50, n, out)
    assert.equal(50, #support.names(dir, true))
  end)
end)

describe("the lock", function()
  it("that another process holds ends in code 11 within the deadline, and names the process", function()
    open():close()
    local pipe = assert(io.popen(("exec flock %s/lock sh -c 'echo $$; exec sleep 30'"):format(dir), "r"))
    local holder = pipe:read("l")
    local store <close> = open { deadline = 200 }
    local start = os.clock()
    local err = raised(store.plan, store, { ranges = SMALL })
    assert.equal(11, err.code)
    assert.equal("EAGAIN", err.name)
    assert.matches("process %d+ %(flock%) has held the address store's lock for more than 200 ms", tostring(err))
    assert.matches("try again", tostring(err))
    assert.matches(dir .. "/lock", tostring(err), 1, true)
    assert.is_true(os.clock() - start < 0.1, "waiting costs no processor time")
    -- Whoever holds it excludes the freeing of addresses, too, and not the look at them.
    support.write(dir .. "/10.1.2.2", "a\r\neth0")
    assert.equal(11, raised(store.release, store, { container = "a", ifname = "eth0" }).code)
    assert.is_true(store:holds { address = "10.1.2.2", container = "a", ifname = "eth0" })
    assert.equal(1, (store:count { ranges = SMALL }))
    os.execute("kill " .. holder)
    pipe:close()
    assert.equal(1, store:release { container = "a", ifname = "eth0" })
  end)

  it("is taken anew when its file was removed while we waited", function()
    open():close()
    local script = ("exec flock %s/lock sh -c 'echo held; sleep 0.2; rm %s/lock; sleep 0.2'"):format(dir, dir)
    local pipe = assert(io.popen(script, "r"))
    assert.equal("held", pipe:read("l"))
    local store <close> = open()
    assert.equal("10.1.2.2", store:plan { ranges = SMALL })
    assert.equal("lock", support.names(dir)[3])
    pipe:close()
  end)
end)

describe("a reboot", function()
  local boot

  before_each(function()
    boot = top .. "/boot_id"
    support.write(boot, "11111111-aaaa-bbbb-cccc-000000000001\n")
  end)

  local function reboot(n)
    support.write(boot, ("11111111-aaaa-bbbb-cccc-%012d\n"):format(n or 2))
  end

  it("makes every reservation void", function()
    do
      local store <close> = open { boot_id = boot }
      for i = 1, 5 do
        reserve(store, "c" .. i)
      end
    end
    reboot()
    do
      local store <close> = open { boot_id = boot, create = false }
      assert.same({ 0, 5 }, { store:count { ranges = SMALL } })
      assert.is_true(store:list()[1].stale)
      assert.equal(5, #support.names(dir, true)) -- looking changes nothing
    end
    local store <close> = open { boot_id = boot }
    assert.same({}, support.names(dir, true))
    assert.truthy(reserve(store, "d"))
  end)

  it("does not come of a clock that steps", function()
    local store <close> = open { boot_id = boot }
    reserve(store, "a")
    os.execute(("touch -d '1999-01-01' %s/lock %s/.mncni"):format(dir, dir))
    store:close()
    local again <close> = open { boot_id = boot }
    assert.same({ "10.1.2.2" }, support.names(dir, true))
    assert.equal("10.1.2.3", reserve(again, "b"))
  end)

  it("keeps what host-local reserved since, and lets it go with the boot after", function()
    do
      local store <close> = open { boot_id = boot }
      reserve(store, "a")
    end
    reboot(2)
    support.write(dir .. "/10.1.2.5", "live\r\neth0") -- back to host-local, and here again
    do
      local store <close> = open { boot_id = boot }
      assert.same({ "10.1.2.5" }, support.names(dir, true))
      assert.equal(0, store:release { container = "a", ifname = "eth0" })
    end
    reboot(3)
    open({ boot_id = boot }):close()
    assert.same({}, support.names(dir, true))
  end)

  it("of which nothing is known changes nothing", function()
    do
      local store <close> = open { boot_id = boot }
      reserve(store, "a")
    end
    local store <close> = open { boot_id = top .. "/none" }
    assert.equal("10.1.2.3", reserve(store, "b"))
    assert.same({ "10.1.2.2", "10.1.2.3" }, support.names(dir, true))
  end)

  it("and a directory of a newer release are not for us to judge", function()
    open({ boot_id = boot }):close()
    support.write(dir .. "/.mncni", "mncni-store 2\nboot something\n")
    support.write(dir .. "/10.1.2.2", "a\r\neth0")
    local store <close> = open { boot_id = boot }
    assert.equal("10.1.2.3", reserve(store, "b"))
    assert.equal("mncni-store 2\nboot something\n", support.read(dir .. "/.mncni"))
  end)

  it("after the adoption of a directory frees what was adopted", function()
    os.execute("mkdir " .. dir)
    support.write(dir .. "/10.1.2.2", "a\r\neth0")
    support.write(dir .. "/10.1.2.3", "old")
    do
      local store <close> = open { boot_id = boot }
      assert.equal("10.1.2.4", reserve(store, "b"))
      assert.same({ "10.1.2.2", "10.1.2.3", "10.1.2.4" }, support.names(dir, true))
    end
    reboot()
    open({ boot_id = boot }):close()
    assert.same({}, support.names(dir, true))
  end)
end)

describe("the directory", function()
  it("must be an absolute path without \"..\"", function()
    for _, path in ipairs { "relative/net", "", "/", top .. "/../net", top .. "/x/..", "/" .. ("x"):rep(1100) } do
      assert.equal(7, raised(open, { dir = path }).code, path)
    end
    open({ dir = top .. "/a..b/..c" }):close()
  end)

  it("is not followed through a symbolic link", function()
    os.execute(("mkdir %s/real; ln -s real %s"):format(top, dir))
    local err = raised(open)
    assert.equal(5, err.code)
    assert.same({}, support.names(top .. "/real"))
  end)

  it("that is a file is an error that names it", function()
    support.write(dir, "")
    assert.matches(dir, tostring(raised(open)), 1, true)
  end)

  it("that everybody may write to is refused", function()
    os.execute(("mkdir -m 0777 %s"):format(dir))
    assert.matches("chmod 0755", tostring(raised(open)))
  end)

  it("removed while in use is an error that says so", function()
    local store <close> = open()
    os.execute("rm -rf " .. dir)
    local err = raised(reserve, store, "a")
    assert.equal(11, err.code)
    assert.matches("removed while in use", tostring(err))
  end)

  it("names a key of its functions that it does not know", function()
    assert.matches("deadline", tostring(raised(core.store.open, { dir = dir, deadlin = 3 })))
    local store <close> = open()
    local misspelt = { address = "10.0.0.1", contaner = "c", ifname = "eth0" }
    assert.matches("container", tostring(raised(store.publish, store, misspelt)))
    assert.matches("ranges", tostring(raised(store.plan, store, { ranges = {} })))
    assert.matches("10.0.0", tostring(raised(store.plan, store, { ranges = ranges("10.0.0", "10.0.0.1") })))
    store:close()
    store:close()
    assert.matches("closed", tostring(raised(store.plan, store, { ranges = SMALL })))
  end)
end)

describe("host-local, the policy", function()
  local policy = dofile(POLICY)
  local conf, undone

  before_each(function()
    undone = {}
    conf = { network = "net", dataDir = top, version = "1.0.0", ranges = { { { subnet = "10.1.2.0/24" } } } }
  end)

  local function request(container, more)
    local made = {
      network = "net", container = container, ifname = "eth0",
      journal = {
        undo = function(_, entry)
          for _, address in ipairs(entry.addresses) do -- told before it is there
            assert.not_equal(container .. "\r\neth0", support.read(entry.dir .. "/" .. address))
          end
          undone[#undone + 1] = entry
        end,
      },
    }
    for key, value in pairs(more or {}) do
      made[key] = value
    end
    return made
  end

  it("gives an address of each set, routes and dns", function()
    support.write(top .. "/resolv.conf", "nameserver 192.0.2.3\n")
    conf.ranges = { { { subnet = "10.1.2.0/24" }, { subnet = "10.2.2.0/24" } }, { { subnet = "2001:db8:1::/64" } } }
    conf.routes = {
      { dst = "0.0.0.0/0" }, { dst = "::/0" }, { dst = "192.168.0.0/16", gw = "1.1.1.1" },
      { dst = "2001:db8:2::0/64", gw = "2001:db8:3::1" },
    }
    conf.resolvConf = top .. "/resolv.conf"
    assert.same({
      addresses = {
        { address = "10.1.2.2/24", gateway = "10.1.2.1" }, { address = "2001:db8:1::2/64", gateway = "2001:db8:1::1" },
      },
      routes = {
        { dst = "0.0.0.0/0" }, { dst = "::/0" }, { dst = "192.168.0.0/16", gw = "1.1.1.1" },
        { dst = "2001:db8:2::/64", gw = "2001:db8:3::1" },
      },
      dns = { nameservers = { "192.0.2.3" } },
    }, policy.lease(request "cid", conf))
    assert.equal("cid\r\neth0", support.read(dir .. "/2001:db8:1::2"))
    assert.same({ "10.1.2.2", "2001:db8:1::2" }, undone[1].addresses)
    assert.same({ "lease", dir, "cid", "eth0" }, { undone[1].op, undone[1].dir, undone[1].container, undone[1].ifname })
    assert.equal(1, #undone)
    policy.release(request "cid", conf)
    assert.same({}, support.names(dir, true))
  end)

  it("keeps networks and interfaces apart", function()
    local other = { network = "other", dataDir = top, ranges = conf.ranges }
    policy.lease(request "cid", conf)
    policy.lease(request("cid", { ifname = "eth1" }), conf)
    policy.lease(request "cid", other)
    policy.release(request "cid", conf)
    assert.same({ "10.1.2.3" }, support.names(dir, true))
    assert.same({ "10.1.2.2" }, support.names(top .. "/other", true))
  end)

  it("gives the addresses that were asked for", function()
    conf.ranges[2] = { { subnet = "2001:db8:1::/64" } }
    local lease = policy.lease(request("a", { wanted = { "10.1.2.88/24", "2001:db8:1::999" } }), conf)
    assert.equal("10.1.2.88/24", lease.addresses[1].address)
    assert.equal("2001:db8:1::999/64", lease.addresses[2].address)
  end)

  it("reserves nothing when an address that was asked for is taken or cannot be given", function()
    conf.ranges = { { { subnet = "2001:db8:1::/64" } }, { { subnet = "10.1.2.0/24" } } }
    policy.lease(request("a", { wanted = { "10.1.2.88" } }), conf)
    local before = support.names(dir, true)
    local taken = raised(policy.lease, request("b", { wanted = { "10.1.2.88" } }), conf)
    assert.equal(104, taken.code)
    assert.matches("requested IP address 10.1.2.88 is not available in range set 10.1.2.1-10.1.2.254",
      taken.message, 1, true)
    local left = raised(policy.lease, request("b", { wanted = { "10.1.2.89", "10.1.2.77" } }), conf)
    assert.matches("^failed to allocate all requested IPs: 10%.1%.2%.", left.message)
    assert.same(before, support.names(dir, true))
  end)

  it("reserves nothing when a later set is exhausted, and says how full it is", function()
    conf.ranges = { { { subnet = "10.1.2.0/24" } }, { { subnet = "10.2.2.0/30" } } }
    policy.lease(request "a", conf)
    local err = raised(policy.lease, request "b", conf)
    assert.equal(104, err.code)
    assert.matches("no IP addresses available in range set: 10.2.2.1-10.2.2.2; 1 of 1 are taken", err.message, 1, true)
    assert.same({ "10.1.2.2", "10.2.2.2" }, support.names(dir, true))
  end)

  it("takes the next address when another process was quicker", function()
    local quick = request "slow"
    local undo = quick.journal.undo
    quick.journal.undo = function(self, entry)
      undo(self, entry)
      if #undone <= 3 then
        support.write(dir .. "/" .. entry.addresses[1], "quick\r\neth0")
      end
    end
    assert.equal("10.1.2.5/24", policy.lease(quick, conf).addresses[1].address)
    assert.same({ "10.1.2.5" }, undone[4].addresses)
  end)

  it("checks that the addresses are still reserved", function()
    local lease = policy.lease(request "a", conf)
    policy.check(request "a", conf, lease)
    policy.check(request "a", conf, { addresses = {} })
    policy.check(request "a", conf, { addresses = { { address = "192.0.2.7/24" } } }) -- of a plugin later in the chain
    assert.equal(106, raised(policy.check, request "b", conf, lease).code)
    policy.release(request "a", conf)
    assert.equal(106, raised(policy.check, request "a", conf, lease).code)
    assert.equal(106, raised(policy.check, request "a", conf, nil).code)
  end)

  it("has status 50 when no address is free, and 0 else, changing nothing", function()
    conf.ranges = { { { subnet = "10.1.2.0/29" } } }
    policy.status(conf)
    assert.same({}, support.names(top))
    for i = 1, 5 do
      policy.status(conf)
      policy.lease(request("c" .. i), conf)
    end
    local before = support.run("stat -c '%%n %%i %%y %%z' %s/* %s/.mncni", dir, dir)
    local err = raised(policy.status, conf)
    assert.equal(50, err.code)
    assert.matches("5 of 5", err.message)
    assert.equal(before, (support.run("stat -c '%%n %%i %%y %%z' %s/* %s/.mncni", dir, dir)))
    conf.ranges = {}
    assert.equal(7, raised(policy.status, conf).code)
  end)

  it("collects what no attachment holds", function()
    for i = 1, 3 do
      policy.lease(request("c" .. i), conf)
    end
    support.write(dir .. "/10.1.2.77", "c1")
    support.write(dir .. "/10.1.2.78", "c9")
    support.write(dir .. "/10.1.2.79", "the printer has this one")
    local freed = policy.gc({ { containerID = "c1", ifname = "eth0" }, { containerID = "c3", ifname = "eth0" } }, conf)
    table.sort(freed, function(a, b) return a.address < b.address end)
    assert.same({ "10.1.2.3", "10.1.2.78" }, { freed[1].address, freed[2].address })
    assert.same({ "10.1.2.2", "10.1.2.4", "10.1.2.77", "10.1.2.79" }, support.names(dir, true))
    policy.gc({}, conf)
    policy.gc({}, conf)
    assert.same({ "10.1.2.79" }, support.names(dir, true))
    assert.same({}, policy.gc({}, { network = "none", dataDir = top }))
  end)

  it("refuses a dataDir or a name that leads elsewhere", function()
    for _, bad in ipairs {
      { dataDir = "relative" }, { dataDir = "/a/../b" }, { network = "../x" }, { network = "a/b" },
    } do
      local wrong = setmetatable(bad, { __index = conf })
      assert.equal(7, raised(policy.lease, request "a", wrong).code)
      assert.equal(7, raised(policy.release, request "a", wrong).code)
    end
  end)
end)

local reference = io.open(support.HOST_LOCAL) and describe or pending

reference("the reference host-local on the same directory", function()
  local policy = dofile(POLICY)
  local conf, config

  before_each(function()
    conf = { network = "net", dataDir = top, version = "1.0.0", ranges = { { { subnet = "10.1.2.0/28" } } } }
    config = ('{"cniVersion": "1.0.0", "name": "net", "type": "x", "ipam": {"type": "host-local", '
      .. '"subnet": "10.1.2.0/28", "dataDir": "%s"}}'):format(top)
  end)

  local function theirs(command, container)
    local text, status = support.host_local { command = command, container = container, config = config }
    assert.equal(0, status, text)
    return text:match('"address": "([%d.]+)/28"')
  end

  local function ours(container)
    local lease = policy.lease({ network = "net", container = container, ifname = "eth0" }, conf)
    return lease.addresses[1].address:match("[%d.]+")
  end

  it("goes on where we stopped, and we where it stopped", function()
    local seen = {}
    for i = 1, 6 do
      local address = i % 2 == 0 and theirs("ADD", "c" .. i) or ours("c" .. i)
      assert.is_nil(seen[address])
      seen[address] = true
    end
    assert.equal("10.1.2.7", support.read(dir .. "/last_reserved_ip.0"))
    assert.equal(support.read(dir .. "/10.1.2.2"), (support.read(dir .. "/10.1.2.3"):gsub("c2", "c1")))
  end)

  it("checks and frees what we reserved", function()
    ours "a"
    ours "b"
    theirs("CHECK", "a")
    theirs("DEL", "a")
    assert.same({ "10.1.2.3" }, support.names(dir, true))
  end)

  it("has its reservations checked, freed and collected by us", function()
    for _, container in ipairs { "a", "b", "c" } do
      theirs("ADD", container)
    end
    policy.check({ container = "a", ifname = "eth0" }, conf, { addresses = { { address = "10.1.2.2/28" } } })
    policy.release({ network = "net", container = "a", ifname = "eth0" }, conf)
    assert.same({ "10.1.2.3", "10.1.2.4" }, support.names(dir, true))
    policy.gc({ { containerID = "c", ifname = "eth0" } }, conf)
    assert.same({ "10.1.2.4" }, support.names(dir, true))
  end)

  it("gives up its directory in place, and takes it back", function()
    local addresses = {}
    for i = 1, 4 do
      addresses[i] = theirs("ADD", "old" .. i)
    end
    assert.equal("10.1.2.6", ours "new")
    for i = 1, 4 do
      assert.equal(("old%d\r\neth0"):format(i), support.read(dir .. "/" .. addresses[i]))
    end
    theirs("DEL", "new")
    for i = 1, 4 do
      theirs("DEL", "old" .. i)
    end
    assert.same({}, support.names(dir, true))
    assert.equal("10.1.2.7", theirs("ADD", "again"))
  end)

  it("waits for our lock as we wait for its", function()
    open():close()
    local pipe = assert(io.popen(("exec flock %s/lock sh -c 'echo held; exec sleep 0.4'"):format(dir), "r"))
    assert.equal("held", pipe:read("l"))
    local start = support.run "date +%%s%%N"
    theirs("DEL", "a")
    assert.is_true(tonumber(start) + 200e6 < tonumber((support.run "date +%%s%%N")))
    pipe:close()
  end)
end)
