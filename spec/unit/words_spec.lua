-- SPDX-License-Identifier: Apache-2.0
-- The words of a command line.
local words = require "mncni.words"

local subcommand = {
  summary = "shows", arguments = "POLICY [CONF]",
  options = {
    { "network", short = "n", value = "NAME", doc = "a network" },
    { "pod", value = "NAME", doc = "a pod", many = true },
    { "output", short = "o", value = "json", choices = { { "json" } }, doc = "as JSON" },
    { "dry-run", doc = "only tell" },
  },
}

local function parse(...)
  return words.parse("show", subcommand, { ... })
end

local function mistake(...)
  local given, reply = parse(...)
  assert.is_nil(given)
  assert.equal(2, reply.status)
  return reply.stderr
end

describe("the words of a command line", function()
  it("are options and arguments in any order", function()
    assert.same({ "p", "c", network = "x", ["dry-run"] = true }, (parse("p", "--network", "x", "c", "--dry-run")))
    assert.same({ "p", network = "x", output = "json" }, (parse("--network=x", "-ojson", "p")))
    assert.same({ "p", network = "", output = "json" }, (parse("--network=", "-o", "json", "p")))
  end)

  it("may give an option many times where it is declared so", function()
    assert.same({ "p", pod = { "a", "b" } }, (parse("--pod", "a", "p", "--pod=b")))
    assert.same({ "p", network = "b" }, (parse("--network=a", "--network=b", "p")))
  end)

  it("are all arguments behind --, and - is one", function()
    assert.same({ "--network", "-" }, (parse("--", "--network", "-")))
  end)

  it("need nothing else when they ask for help", function()
    assert.is_true(parse("-h").help)
  end)

  for _, case in ipairs {
    { "an unknown option", { "--netwrk", "x" }, 'there is no option "--netwrk", did you mean "--network"?' },
    { "an unknown letter", { "-x" }, 'there is no option "-x"' },
    { "a value for a flag", { "--dry-run=1" }, '"--dry-run" takes no value' },
    { "no value", { "p", "--network" }, '"--network" needs a value' },
    { "another value than the choices", { "-o", "yaml", "p" }, '"--output" is one of json, not "yaml"' },
    { "an argument missing", {}, "it needs POLICY [CONF]" },
    { "an argument too many", { "a", "b", "c" }, '"c" is one argument too many' },
  } do
    it("with " .. case[1] .. " are told so, and where help is", function()
      assert.equal("mncni show: " .. case[3] .. "; mncni show --help", mistake(table.unpack(case[2])))
    end)
  end

  it("are explained from the same declaration", function()
    assert.equal([[
mncni show [OPTION...] POLICY [CONF]: shows

  -n, --network NAME  a network
      --pod NAME      a pod
  -o, --output json   as JSON
      --dry-run       only tell
      --debug         where an error was raised, with Lua's call stack
  -h, --help          this text]], words.help("show", subcommand))
  end)
end)
