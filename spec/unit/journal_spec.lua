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

  local function read(path)
    local file <close> = assert(io.open(path))
    return file:read "a"
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

  it("is as it was where a line cannot be written, or only a part of it", function()
    write(dir .. ".lua", ([[
      local core = require "mncni.core"
      local journal <close> = core.journal.open {
        state_dir = %q, network = "net", container = "web", type = "naivebridge", ifname = "eth0", create = true,
      }
      for _, length in ipairs { 300, 300, 212, 1 } do -- the second is cut short by the limit, the last begins at it
        local ok, err = pcall(journal.append, journal, ("x"):rep(length - 1))
        local file <close> = io.open(journal:path())
        print(ok or err.name, #file:read "a")
      end]]):format(dir))
    local pipe <close> = io.popen(("trap '' XFSZ; ulimit -f 1; exec %s %s.lua 2>&1")
      :format(os.getenv "RING_LUA" or "lua5.4", dir))
    local said = pipe:read "a"
    os.remove(dir .. ".lua")
    assert.are.equal("true\t300\nENOSPC\t300\ntrue\t512\nEFBIG\t512\n", said)
  end)

  it("tells its first line and its last that is whole, and which is no JSON object", function()
    local journal <close> = open { create = true }
    assert.same({}, { journal:ends() })
    write(journal:path(), '{"format":1}')
    assert.same({}, { journal:ends() }) -- torn: it was never followed by its change
    write(journal:path(), "\n")
    assert.same({ '{"format":1}', '{"format":1}' }, { journal:ends() })
    write(journal:path(), '{"undo":[]}\n {"result":"\\"undo\\""}\n{"st')
    assert.same({ '{"format":1}', ' {"result":"\\"undo\\""}' }, { journal:ends() })
    for _, line in ipairs { "", "[1]", '{"a":}', '{"undo":1,"undo":2}', "[\"undo\"]" } do
      local damaged <close> = open { create = true, container = "db" }
      write(damaged:path(), '{"format":1}\n' .. line .. "\n{}\n")
      local ok, err = pcall(damaged.ends, damaged)
      assert.same({ false, 5, "line 2 of the journal is no JSON object" }, { ok, err.code, err.message }, line)
      damaged:remove()
    end
  end)

  it("can be looked at while a call holds it", function()
    local journal <close> = open { create = true }
    journal:append '{"format":1}'
    assert.are.equal('{"format":1}\n', core.journal.peek(journal:path()))
    assert.is_nil(core.journal.peek(journal:path() .. "0"))
  end)

  it("is refused, by whoever looks at it, when it cannot be one", function()
    local journal <close> = open { create = true }
    local path = journal:path()
    local function refused(name, message, look, ...)
      local ok, err = pcall(look, ...)
      assert.are.same({ false, 5, name, message }, { ok, err.code, err.name, err.message })
    end
    write(path, "{}\n\0\0")
    refused("EINVAL", "it has zero bytes in it, as no journal has", core.journal.peek, path)
    refused("EINVAL", "it has zero bytes in it, as no journal has", journal.read, journal)
    os.execute(("truncate -s %d %s"):format((1 << 20) + 1, path))
    refused("EFBIG", "the journal is larger than any that mncni writes", core.journal.peek, path)
    refused("EFBIG", "the journal is larger than any that mncni writes", journal.read, journal)
    os.execute(("ln -s %s %s/link"):format(path, dir))
    refused("ELOOP", "the journal cannot be opened", core.journal.peek, dir .. "/link")
    refused("ELOOP", "the journal cannot be opened", core.journal.open, { path = dir .. "/link" })
    refused("EISDIR", "the journal cannot be opened", core.journal.open, { path = dir })
    os.execute(("mkfifo %s/pipe"):format(dir))
    for _, other in ipairs { dir, "/dev/null", dir .. "/pipe" } do
      refused("EINVAL", "it is no regular file, so no journal", core.journal.peek, other)
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

    -- Undoes a journal of this text. Returns { code, name, message } of the error, nil if there was none; asserts that
    -- the journal is kept after an error, as it was, and gone else.
    local function undo(text, mode)
      local journal <close> = open { create = true }
      write(journal:path(), text)
      local ok, err = pcall(journal.undo, journal, mode or "del")
      if ok then
        assert.is_nil(open())
        return nil
      end
      assert.are.equal(text, read(journal:path()))
      journal:remove()
      return { err.code, err.name, err.message }
    end

    -- A journal that lists two addresses, with a text between them and another one at its end: undone, it gives both of
    -- them back. Returns what undo does, and the addresses that are left.
    local function undo_around(between, last)
      reserve("10.0.0.2", "web\r\neth0")
      reserve("10.0.0.3", "web\r\neth0")
      local outcome = undo('{"format":1}\n' .. lease("web", { "10.0.0.2" }) .. "\n" .. between
        .. lease("web", { "10.0.0.3" }) .. "\n" .. (last or ""))
      local left = {}
      for _, address in ipairs { "10.0.0.2", "10.0.0.3" } do
        left[#left + 1] = os.remove(dir .. store .. "/" .. address) and address or nil
      end
      return outcome, left
    end

    it("is gone when it lists nothing", function()
      for _, text in ipairs { "", "{}", "{}\n", "{}\n{}\n", '{"format":1}\n', '{"format":99}\n', '{"undo":null}\n',
        '{"undo":[]}\n', '{"step":{"undo":{"op":"levitate"}}}\n', '{"result":{}}\n', '{"undo":{"op":"le', "rubbish" } do
        assert.is_nil(undo(text), text)
      end
    end)

    it("passes over a last line that a crash cut short", function()
      for _, last in ipairs { "{", '{"undo":{"op":"levitate"}}', '{"undo":{"op":"le', "rubbish", "\xff" } do
        assert.are.same({ nil, {} }, { undo_around("", last) }, last)
      end
    end)

    it("goes on after an entry that fails, says which, and is kept for another try", function()
      local newer = "this version of mncni does not know how; a newer one wrote the journal"
      for way_back, message in pairs {
        ['{"op":"levitate"}'] = newer,
        ['[{"op":"levitate"},{"op":"lease"}]'] = newer,
        ['{}'] = 'the journal\'s entry has no usable "op"',
        ['[1]'] = 'the journal\'s entry has no usable "op"',
        ['[[{"op":"levitate"}]]'] = 'the journal\'s entry has no usable "op"',
        ['"lease"'] = 'the journal\'s entry has no usable "op"',
        ['5'] = 'the journal\'s entry has no usable "op"',
        ['false'] = 'the journal\'s entry has no usable "op"',
        ['{"op":5}'] = 'the journal\'s entry has no usable "op"',
        ['{"op":"lease"}'] = 'the journal\'s entry has no usable "dir"',
        ['{"op":"lease","dir":"/x","container":"web"}'] = 'the journal\'s entry has no usable "dir"',
        ['{"op":"exec"}'] = 'the journal\'s entry has no usable "argv"',
        ['{"op":"exec","argv":[]}'] = 'the journal\'s entry has no usable "argv"',
        ['{"op":"exec","argv":["/bin/true",5]}'] = 'the journal\'s entry has no usable "argv"',
        ['{"op":"exec","argv":["/bin/true"],"env":{"A":1}}'] = 'the journal\'s entry has no usable "env"',
        ['{"op":"link"}'] = 'the journal\'s entry has no usable "ifname"',
        ['{"op":"link","ifname":"a-name-that-no-link-can-have"}'] = 'the journal\'s entry has no usable "ifname"',
        ['{"op":"link","ifname":"x","netns":{}}'] = 'the journal\'s entry has no usable "netns"',
        ['{"op":"netlink","protocol":"route"}'] = 'the journal\'s entry has no usable "message"',
        ['{"op":"netlink","message":"00"}'] = 'the journal\'s entry has no usable "message"',
        ['{"op":"netlink","protocol":"route","message":"no digits"}'] = 'the journal\'s entry has no usable "message"',
        ['{"op":"sysctl"}'] = 'the journal\'s entry has no usable "key"',
      } do
        assert.are.same({ { 5, "EINVAL", message }, {} }, { undo_around(('{"undo":%s}\n'):format(way_back)) }, way_back)
      end
    end)

    it("goes on after a line that is none, says which, and is kept", function()
      for _, line in ipairs { "rubbish", "[1]", "1", "null", '"undo"', "", "{", "{}{}", "{} {}", '{"undo":{"op":"le',
        '{"undo":1,"undo":2}', '{"a":"\xff"}', ("["):rep(2000) } do
        assert.are.same({ { 5, "EINVAL", "line 3 of the journal is no JSON object" }, {} },
          { undo_around(line .. "\n") }, line)
      end
    end)

    it("is undone from its end, and tells of the failure that came first", function()
      assert.are.same({ 5, "EINVAL", "line 3 of the journal is no JSON object" },
        undo 'rubbish\n{"undo":{"op":"levitate"}}\n[]\n')
      assert.are.same({ 5, "EINVAL", 'the journal\'s entry has no usable "key"' },
        undo 'rubbish\n{"undo":{"op":"levitate"}}\n{"undo":[{"op":"sysctl"},{"op":"levitate"}]}\n')
    end)

    it("that cannot be one is kept, and nothing of it is done", function()
      for between, outcome in pairs {
        ["\0"] = { 5, "EINVAL", "it has zero bytes in it, as no journal has" },
        [("{}\n"):rep(400000)] = { 5, "EFBIG", "the journal is larger than any that mncni writes" },
      } do
        assert.are.same({ outcome, { "10.0.0.2", "10.0.0.3" } }, { undo_around(between) })
      end
    end)

    it("gives back all addresses of the attachment, nobody else's, when its list of them is damaged", function()
      for _, addresses in ipairs {
        '[5]', '["10.0.0.2",5]', '["10.0.0.2","rubbish"]', '["../net/10.0.0.4"]', '{}', '"10.0.0.2"', 'null',
      } do
        reserve("10.0.0.2", "web\r\neth0")
        reserve("10.0.0.3", "web\r\neth0")
        reserve("10.0.0.4", "db\r\neth0")
        assert.is_nil(undo(('{"undo":{"op":"lease","dir":"%s","container":"web","ifname":"eth0","addresses":%s}}\n')
          :format(dir .. store, addresses)))
        assert.are.same({ false, false, true }, {
          exists(dir .. store .. "/10.0.0.2"), exists(dir .. store .. "/10.0.0.3"),
          os.remove(dir .. store .. "/10.0.0.4"),
        }, addresses)
      end
    end)

    it("runs what undoes a program, with its environment and input", function()
      local journal <close> = open { create = true }
      local seen = dir .. "/seen"
      journal:append(core.json.encode { undo = { op = "exec", argv = core.json.array { "/bin/sh", "-c",
        "{ echo $CNI_COMMAND; cat; } > " .. seen }, env = { CNI_COMMAND = "DEL" }, stdin = "conf", timeout = 5000 } })
      journal:undo "del"
      assert.are.equal("DEL\nconf", read(seen))
      assert.is_nil(open())
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
      assert.are.same({ 5, "EINVAL", "line 3 of the journal is no JSON object" }, undo(
        '{"format":1,"boot":"another"}\n{"undo":{"op":"link"}}\nrubbish\n'))
    end)

    it("is an error when that program fails", function()
      local journal <close> = open { create = true }
      journal:append(core.json.encode { undo = { op = "exec", argv = core.json.array { "/bin/false" }, env = {} } })
      local ok, err = pcall(journal.undo, journal, "del")
      assert.are.same({ false, 105, "/bin/false" }, { ok, err.code, err.object })
      assert.truthy(exists(journal:path()))
    end)
  end)

  describe("steps", function()
    local steps = core.journal.steps

    it("gives a line for each step, with the way back where there is one", function()
      assert.are.equal("", steps({}, {}))
      assert.are.equal('{"step":{"args":{"up":true},"net":"pod","object":"link","verb":"set"}}\n'
        .. '{"step":{"args":["told"],"net":"host","object":"nft","shared":true,"verb":"add","where":"p.lua:3"},'
        .. '"undo":{"op":"x"}}',
        steps({
          { net = "pod", verb = "set", object = "link", args = { up = true }, created = print },
          {
            net = "host", verb = "add", object = "nft", args = print, told = { "told" }, shared = true,
            where = "p.lua:3",
          },
        }, { false, { op = "x" } }))
    end)

    it("refuses what JSON cannot hold, naming it", function()
      for object, list in pairs {
        ["step.args.a.b"] = { { net = "pod", args = { a = { b = print } } } }, ["step.verb"] = { { verb = "\xff" } },
      } do
        local ok, err = pcall(steps, list, {})
        assert.is_false(ok)
        assert.are.equal(object, err.object)
      end
      local ok, err = pcall(steps, { {} }, { { message = 1 / 0 } })
      assert.are.same({ false, "undo.message" }, { ok, err.object })
      assert.is_false(pcall(steps, { 1 }, {}))
      assert.is_false(pcall(steps))
    end)
  end)
end)
