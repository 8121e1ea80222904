-- SPDX-License-Identifier: Apache-2.0
-- What all subcommands of mncni have in common, and what is told of them elsewhere: their help, the man page, bash.
local command = require "mncni.command"
local words = require "mncni.words"

local BIN = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"

-- Runs a shell command; returns its output, what it wrote to standard error, and its status.
local function sh(script, ...)
  local stderr = os.tmpname()
  local pipe = assert(io.popen(("(%s) 2>%s </dev/null"):format(script:format(...), stderr), "r"))
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  local file <close> = assert(io.open(stderr))
  os.remove(stderr)
  return output, file:read "a", status
end

local man
do
  local file <close> = assert(io.open "deploy/mncni.8")
  man = file:read("a"):gsub("\\%-", "-")
end

-- What the man page says of a subcommand under COMMANDS.
local function section(name)
  local commands = man:match "\n%.SH COMMANDS\n(.-)\n%.SH "
  return (commands .. "\n.TP\n"):match("\n%.TP\n%.B mncni " .. name .. "\n(.-)\n%.TP\n")
end

for _, name in ipairs(command.names) do
  local subcommand = require("mncni.cmd." .. name)

  describe("mncni " .. name, function()
    it("explains itself, and ends with 0", function()
      for _, option in ipairs { "--help", "-h" } do
        local output, errors, status = sh("%s %s %s", BIN, name, option)
        assert.same({ "", 0 }, { errors, status })
        assert.matches("^mncni " .. name .. " ", output)
      end
    end)

    it("tells a mistake in its words in one line, with 2", function()
      local output, errors, status = sh("%s %s --no-such-option", BIN, name)
      assert.same({ "", 2 }, { output, status })
      assert.matches("^mncni " .. name .. ": .*; mncni " .. name .. " %-%-help\n$", errors)
      assert.equal(1, select(2, errors:gsub("\n", "")))
    end)

    it("is told of in the list of subcommands", function()
      assert.truthy(sh("%s help", BIN):find(("\nmncni %-10s %s\n"):format(name, subcommand.summary), 1, true))
    end)

    it("is in the man page, with each of its options", function()
      local text = assert(section(name), "deploy/mncni.8 has no .B mncni " .. name .. " under COMMANDS")
      for _, option in ipairs(subcommand.raw and {} or subcommand.options or {}) do
        assert(text:find("\n%.BR? %-%-" .. option[1]:gsub("%-", "%%-") .. "[^%w-]"),
          ("deploy/mncni.8 does not tell of %s --%s"):format(name, option[1]))
      end
      for option in text:gmatch "\n%.BR? %-%-([%w-]+)" do
        local found = subcommand.raw
        for _, known in ipairs(words.options(subcommand)) do
          found = found or known[1] == option
        end
        assert(found, ("deploy/mncni.8 tells of %s --%s, which there is not"):format(name, option))
      end
    end)

    if not subcommand.raw then
      it("says what its exit status means", function()
        assert.matches("\nExit status: 0", (sh("%s %s --help", BIN, name)))
      end)

      it("knows -o json as the others do, if it has output of its own", function()
        for _, option in ipairs(subcommand.options or {}) do
          if option[1] == "output" then
            assert.same({ "o", "json" }, { option.short, option.choices[1][1] })
          end
        end
      end)
    end
  end)
end

describe("the completion for bash", function()
  -- What bash would offer for words, of which the last is being typed.
  local function offered(...)
    local list = { "\"$1\"" }
    for i, word in ipairs { ... } do
      list[i + 1] = ("'%s'"):format(word)
    end
    local typed = table.concat(list, " "):gsub("'", [['\'']])
    local output, errors, status = sh([[bash -c 'source <("$1" completion) && COMP_WORDS=(%s) COMP_CWORD=%d && _mncni
      printf "%%s " "${COMPREPLY[@]}"' - "$(realpath %s)"]], typed, #list - 1, BIN)
    assert.same({ "", 0 }, { errors, status })
    return (output:gsub(" $", ""))
  end

  it("knows the subcommands", function()
    assert.equal(table.concat(command.names, " ") .. " help version", offered "")
    assert.equal("calls", offered "ca")
  end)

  it("knows their options and their values", function()
    for _, name in ipairs(command.names) do
      local subcommand, flags = require("mncni.cmd." .. name), {}
      if not subcommand.raw then
        for i, option in ipairs(words.options(subcommand)) do
          flags[i] = "--" .. option[1]
        end
        assert.equal(table.concat(flags, " "), offered(name, "-"))
      end
    end
    assert.equal("--last --last-error", offered("calls", "--la"))
    assert.equal("json", offered("calls", "--output", ""))
    assert.equal("json", offered("calls", "-o", "j"))
    assert.equal("json", offered("calls", "--output", "=", "j"))
    assert.equal("policies", offered("completion", "pol"))
  end)

  it("offers files, directories and names where these are wanted", function()
    assert.equal("policies/naivebridge.lua", offered("repl", "policies/naiveb"))
    assert.equal("policies", offered("list", "--state-dir", "polic"))
    assert.truthy(sh("%s completion policies", BIN):find("\nnaivebridge\n", 1, true))
  end)

  it("says which names it knows", function()
    local _, errors, status = sh("%s completion polices", BIN)
    assert.equal(2, status)
    assert.matches("did you mean \"policies\"%?; mncni completion %-%-help\n$", errors)
  end)
end)
