-- SPDX-License-Identifier: Apache-2.0
-- core.file.read: files of others, which may be anything.
local core = require "mncni.core"
local runner = require "spec.support.runner"

describe("a file is read", function()
  local directory

  setup(function() directory = runner.directory() end)
  teardown(function() runner.sh("rm -rf " .. directory) end)

  local function write(name, text)
    runner.write(directory .. "/" .. name, text)
    return directory .. "/" .. name
  end

  local function refusal(path, max)
    local ok, err = pcall(core.file.read, path, max or 100)
    assert.is_false(ok)
    assert.same({ 7, path }, { err.code, err.object })
    return err.name, err.message
  end

  it("whole, up to the most bytes that are wanted", function()
    assert.equal("", core.file.read(write("empty", ""), 0))
    for _, size in ipairs { 1, 99, 100, 300000 } do
      local text = ("a\0b"):rep(size):sub(1, size)
      assert.equal(text, core.file.read(write("whole", text), size))
      local name, message = refusal(directory .. "/whole", size - 1)
      assert.same({ "EFBIG", ("at most %d bytes are read; is it the right file?"):format(size - 1) }, { name, message })
    end
  end)

  it("through a link, and when its size is not known before", function()
    runner.sh(("ln -s whole %s/link"):format(directory))
    assert.equal("x", core.file.read((write("whole", "x"):gsub("whole$", "link")), 1))
    assert.matches("^Name:", core.file.read("/proc/self/status", 100000))
    assert.equal("EFBIG", (refusal("/proc/self/status", 20)))
  end)

  it("never, when it is no regular file, and without waiting", function()
    runner.sh(("mkfifo %s/fifo; python3 -c 'import socket; socket.socket(1).bind(\"%s/socket\")'"):format(directory,
      directory))
    local began = os.time()
    for _, name in ipairs { directory .. "/fifo", directory .. "/socket", "/dev/zero" } do
      local errno, message = refusal(name)
      assert.same({ "EINVAL", "it is a pipe, a socket or a device; name a regular file" }, { errno, message })
    end
    assert.same({ "EISDIR", "name a file in it" }, { refusal(directory) })
    assert.same({ "ENOENT", "is the path right?" }, { refusal(directory .. "/none") })
    assert.same({ "ENOTDIR", "is the path right?" }, { refusal(write("plain", "") .. "/none") })
    assert.is_true(os.time() - began <= 2)
  end)
end)
