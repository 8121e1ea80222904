-- SPDX-License-Identifier: Apache-2.0
-- The plugin in huge pages: by `mncni warm`, by the agent that installs it, and where it cannot be.

local polls = require "mncni.keeper_polls"
local spaces = require "spec.support.netns"

if os.getenv "RING_PRELOAD" then
  pending "a program with sanitizers in it is not laid out for huge pages"
  return
end

local BIN = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"

-- What a process finds mapped of its own code in huge pages, in kB.
local LOOK = [[
local file, kilobytes = io.open "/proc/self/smaps", 0
for line in file:lines() do kilobytes = kilobytes + (line:match "^%a+PmdMapped: *(%d+)" or 0) end
print(kilobytes)]]

local before, directory, plugin

before_each(function()
  before = spaces.snapshot()
  directory = spaces.must "mktemp -d"
  plugin = directory .. "/mncni"
  spaces.must("cp %s %s", BIN, plugin)
end)

after_each(function()
  spaces.must("rm -rf %s", directory)
  spaces.cleanup()
  spaces.assert_nothing_left(before)
end)

local function in_huge_pages()
  return tonumber(spaces.must("%s repl -e %s", plugin, LOOK))
end

local function version_of_linux()
  local major, minor = spaces.must("uname -r"):match "^(%d+)%.(%d+)"
  return major * 1000 + minor
end

-- Whether this kernel can, on the file system of the directory; the ring's is a tmpfs.
local function can()
  local least = { tmpfs = 6001, xfs = 5018, ["ext2/ext3"] = 6016 }
  return version_of_linux() >= (least[spaces.must("stat -f -c %s %s", "%T", directory)] or math.huge)
end

describe("the plugin in huge pages", function()
  it("is there when it was told to be, and a call has its code in them", function()
    if not can() then
      return pending "this kernel cannot on that file system"
    end
    assert.equal(0, in_huge_pages())
    -- The program itself reads its own file, which it leaves for that.
    local size = tonumber(spaces.must("%s warm %s", plugin, plugin):match "^.*/mncni: (%d+) kB in huge pages$")
    assert.is_true(size >= 2048)
    assert.equal(2048, in_huge_pages())
    -- Again, while it is there already; and by another program.
    assert.equal(("%s: %d kB in huge pages"):format(plugin, size), spaces.must("%s warm %s", plugin, plugin))
    spaces.must("cp %s %s/other", BIN, directory)
    assert.equal(("%s/other: %d kB in huge pages\n%s: %d kB in huge pages"):format(directory, size, plugin, size),
      spaces.must("%s warm %s %s", plugin, directory .. "/other", plugin))
  end)

  it("is there once the agent has installed it, and when it looks again after the file was replaced", function()
    if not can() then
      return pending "this kernel cannot on that file system"
    end
    spaces.must("mkdir %s/tree && mv %s %s/tree/mncni", directory, plugin, directory)
    local file = { tree = directory .. "/tree" }
    polls.files.send(nil, polls.files.look(nil, directory, file))
    assert.is_nil(polls.files.look(nil, directory, file))
    assert.equal(2048, in_huge_pages())
    spaces.must("cp -p %s %s/new && mv %s/new %s", plugin, directory, directory, plugin)
    assert.equal(0, in_huge_pages())
    assert.is_nil(polls.files.look(nil, directory, file))
    assert.equal(2048, in_huge_pages())
  end)

  it("is asked for in vain of what is no program", function()
    local text, status = spaces.sh("%s warm %s/none %s /etc/hostname", BIN, directory, directory)
    assert.same({
      ("mncni warm: read %s/none: ENOENT No such file or directory\n"):format(directory)
        .. ("mncni warm: read %s: EINVAL Invalid argument: name a regular file\n"):format(directory)
        .. "mncni warm: /etc/hostname: it is smaller than one, a process runs it, or the kernel cannot",
      1,
    }, { text, status })
    assert.same({ "mncni warm: it needs FILE...; mncni warm --help", 2 }, { spaces.sh("%s warm", BIN) })
  end)
end)
