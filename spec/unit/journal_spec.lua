-- SPDX-License-Identifier: Apache-2.0
local core = require "mncni.core"

describe("a journal", function()
  local dir

  local function open(args)
    local key = { state_dir = dir, network = "net", container = "web", type = "naivebridge", ifname = "eth0" }
    for name, value in pairs(args or {}) do
      key[name] = value
    end
    return core.journal.open(key)
  end

  local function write(path, text)
    local file = assert(io.open(path, "a"))
    file:write(text)
    file:close()
  end

  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
  end)

  after_each(function()
    os.execute("rm -rf " .. dir)
  end)

  it("is made with every directory above it, for its owner alone", function()
    local journal <close>, created = open { create = true }
    assert.is_true(created)
    assert.are.equal(dir .. "/attachments/net/web@naivebridge@eth0", journal:path())
    local modes = io.popen(("stat -c %%a %s %s"):format(dir, journal:path())):read "a"
    assert.are.equal("700\n600\n", modes)
  end)

  it("is nil where there is none", function()
    assert.is_nil(open())
  end)

  it("keeps lines, and is found again", function()
    do
      local journal <close> = open { create = true }
      journal:append '{"format":1}'
      journal:append '{"undo":null}'
    end
    local journal <close>, created = open { create = true }
    assert.is_false(created)
    assert.are.equal('{"format":1}\n{"undo":null}\n', journal:read())
    assert.are.same({ journal:path() }, core.journal.list { state_dir = dir, network = "net" })
  end)

  it("can be looked at while a call holds it", function()
    local journal <close> = open { create = true }
    journal:append '{"format":1}'
    assert.are.equal('{"format":1}\n', core.journal.peek(journal:path()))
    assert.is_nil(core.journal.peek(journal:path() .. "0"))
    write(journal:path(), "\0\0")
    local ok, err = pcall(core.journal.peek, journal:path())
    assert.is_false(ok)
    assert.are.equal(5, err.code)
    assert.truthy(tostring(err):find("zero bytes", 1, true))
    for _, path in ipairs { dir, "/dev/null" } do
      assert.is_false((pcall(core.journal.peek, path)), path)
    end
  end)

  it("is listed with those of its network, and networks are listed too", function()
    open({ create = true }):close()
    open({ create = true, network = "other" }):close()
    local networks = core.journal.list { state_dir = dir }
    table.sort(networks)
    assert.are.same({ dir .. "/attachments/net", dir .. "/attachments/other" }, networks)
    assert.are.same({ dir .. "/attachments/other/web@naivebridge@eth0" },
      core.journal.list { state_dir = dir, network = "other" })
    assert.are.same({}, core.journal.list { state_dir = dir, network = "none" })
    write(dir .. "/attachments/file", "")
    local ok, err = pcall(core.journal.list, { state_dir = dir, network = "file" })
    assert.is_false(ok)
    assert.are.equal(5, err.code)
  end)

  it("belongs to one call at a time: a second one is told to try again", function()
    local journal <close> = open { create = true }
    local ok, err = pcall(open, { wait = 30 })
    assert.is_false(ok)
    assert.are.equal(11, err.code)
    journal:close()
    local second <close> = open { wait = 30 }
    assert.truthy(second)
  end)

  it("tells apart what a shortened name does not", function()
    local long = ("c"):rep(300)
    local first <close> = open { create = true, container = long .. "1" }
    local second <close>, created = open { create = true, container = long .. "2" }
    assert.is_true(created)
    assert.are_not.equal(first:path(), second:path())
  end)

  it("refuses a key of a wrong type or an unknown one, by name", function()
    assert.has_error(function() open { container = 5 } end)
    local ok, err = pcall(open, { contianer = "x" })
    assert.is_false(ok)
    assert.truthy(tostring(err):find("container", 1, true))
  end)

  describe("undone", function()
    local store = "/networks/net"

    local function reserve(address, owner)
      os.execute(("mkdir -p %s%s"):format(dir, store))
      write(("%s%s/%s"):format(dir, store, address), owner)
    end

    local function lease(container, addresses)
      return core.json.encode { undo = { op = "lease", dir = dir .. store, container = container, ifname = "eth0",
        addresses = core.json.array(addresses) } }
    end

    local function exists(path)
      local file = io.open(path)
      return file ~= nil and file:close()
    end

    it("gives back its addresses, nobody else's, and is gone", function()
      reserve("10.0.0.2", "web\r\neth0")
      reserve("10.0.0.3", "db\r\neth0")
      local journal = open { create = true }
      journal:append(lease("web", { "10.0.0.2", "10.0.0.3" }))
      journal:undo "del"
      journal:close()
      assert.is_false(exists(dir .. store .. "/10.0.0.2"))
      assert.truthy(exists(dir .. store .. "/10.0.0.3"))
      assert.is_nil(open())
    end)

    it("passes over a last line that a crash cut short", function()
      reserve("10.0.0.2", "web\r\neth0")
      local journal = open { create = true }
      journal:append(lease("web", { "10.0.0.2" }))
      write(journal:path(), '{"undo":{"op":"le')
      journal:undo "del"
      assert.is_false(exists(dir .. store .. "/10.0.0.2"))
    end)

    it("goes on after an entry that fails, says which, and is kept for another try", function()
      reserve("10.0.0.2", "web\r\neth0")
      local journal <close> = open { create = true }
      journal:append(lease("web", { "10.0.0.2" }))
      journal:append '{"undo":{"op":"levitate"}}'
      local ok, err = pcall(journal.undo, journal, "del")
      assert.is_false(ok)
      assert.truthy(tostring(err):find("levitate", 1, true))
      assert.is_false(exists(dir .. store .. "/10.0.0.2"))
      assert.truthy(exists(journal:path()))
    end)

    it("runs what undoes a program, with its environment and input", function()
      local journal <close> = open { create = true }
      local seen = dir .. "/seen"
      journal:append(core.json.encode { undo = { op = "exec", argv = core.json.array { "/bin/sh", "-c",
        "{ echo $CNI_COMMAND; cat; } > " .. seen }, env = { CNI_COMMAND = "DEL" }, stdin = "conf", timeout = 5000 } })
      journal:undo "del"
      local file <close> = assert(io.open(seen))
      assert.are.equal("DEL\nconf", file:read "a")
    end)

    it("of an earlier boot gives back what is kept on disk, and knows nothing of the kernel", function()
      reserve("10.0.0.2", "web\r\neth0")
      local journal <close> = open { create = true }
      journal:append '{"format":1,"boot":"another"}'
      journal:append(lease("web", { "10.0.0.2" }))
      journal:append '{"undo":{"op":"netlink","protocol":"route","message":"no digits"}}'
      journal:undo "del"
      assert.is_false(exists(dir .. store .. "/10.0.0.2"))
      assert.is_nil(open())
    end)

    it("is an error when a line of it is no object", function()
      for _, line in ipairs { "rubbish", "[1]", "1" } do
        local journal <close> = open { create = true }
        journal:append(line)
        assert.is_false((pcall(journal.undo, journal, "del")))
      end
    end)

    it("is an error when that program fails", function()
      local journal <close> = open { create = true }
      journal:append(core.json.encode { undo = { op = "exec", argv = core.json.array { "/bin/false" }, env = {} } })
      local ok, err = pcall(journal.undo, journal, "del")
      assert.is_false(ok)
      assert.are.equal(105, err.code)
    end)
  end)
end)
