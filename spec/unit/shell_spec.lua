-- SPDX-License-Identifier: Apache-2.0
-- What is quoted for a shell reaches a program as it was; a real sh is asked.
local shell = require "mncni.shell"

local function run(script)
  local path = os.tmpname()
  do
    local file <close> = assert(io.open(path, "w"))
    file:write(script)
  end
  local pipe = assert(io.popen("LC_ALL=C sh " .. path, "r"))
  local output = pipe:read "a"
  pipe:close()
  os.remove(path)
  return output
end

local all_bytes = {}
for byte = 1, 255 do
  all_bytes[byte] = string.char(byte)
end
all_bytes = table.concat(all_bytes)

local texts = {
  nothing = "", ["a word"] = "eth0", ["spaces and quotes"] = [[it's "so" \ far]],
  commands = "$(touch x) `id` ${HOME}; & | > <", lines = "a\nb\n\n", umlauts = "zürich ✓",
  ["a bell and an escape"] = "a\a\27[31mred\27[0m", ["broken UTF-8"] = "a\xc3(\xff'", ["every byte"] = all_bytes,
  ["a dash"] = "-n", ["a digit behind an escape"] = "\0271",
}

describe("a word for a shell", function()
  for name, text in pairs(texts) do
    it("keeps " .. name, function()
      assert.equal(text .. ".", run(("printf '%%s.' %s"):format(shell.quote(text))))
    end)
  end

  it("shows nothing to a terminal that it would obey", function()
    assert.is_nil(shell.quote(all_bytes):find "[%z\1-\9\11-\31\127]")
  end)
end)

describe("standard input for a command", function()
  for name, text in pairs(texts) do
    it("keeps " .. name, function()
      local ended = (text:find "\n$" or text:find "[\1-\9\11-\31]") and text or text .. "\n"
      local got = run(shell.with_input("cat", text))
      assert.is_true(got == text or got == ended, ("%q"):format(got))
    end)
  end

  it("keeps zero bytes, and lines that look like its own end", function()
    assert.equal("a\0b", run(shell.with_input("cat", "a\0b")))
    assert.equal("a\nEND\nEND_\nb\n", run(shell.with_input("cat", "a\nEND\nEND_\nb\n")))
  end)
end)
