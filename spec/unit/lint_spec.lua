-- SPDX-License-Identifier: Apache-2.0
-- What mncni lint finds in a policy, and what it does not.

local core = require "mncni.core"
local lint = require "mncni.lint"
local runner = require "spec.support.runner"

local BIN = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"

-- The findings of a text, a line each.
local function findings(text)
  local lines = {}
  for i, finding in ipairs((lint.text("mine", text, "mine.lua"))) do
    lines[i] = lint.line(finding)
  end
  return table.concat(lines, "\n")
end

-- The same of what stands in the hook add of a policy, in its line 4.
local function in_add(text)
  return findings(([[
local mncni = require "mncni"
local policy = { options = { bridge = { type = "string", default = "cbr0" } } }
function policy.add(pod, conf)
%s
end
return policy
]]):format(text))
end

describe("lint", function()
  for _, case in ipairs {
    { "a method that pod does not have", "pod:vethh {}", 'pod has no "vethh"; did you mean "veth"?' },
    { "one of what a call returns", "local eth = pod:veth {} eth:adress 'x'", '"adress"; did you mean "address"?' },
    { "one of a lease", "local l = pod:lease(conf.ipam) return l:haz 'inet'",
      'a lease has no "haz"; did you mean "has"?' },
    { "a family of the pod's", "pod.inside.rout.add {}", 'pod.inside has no "rout"; did you mean "route"?' },
    { "a verb of it", "pod.host.route.ad {}", 'pod.host.route has no "ad"; did you mean "add"?' },
    { "a verb of a net", "mncni.open().link.ensur {}", 'net.link has no "ensur"; did you mean "ensure"?' },
    { "a part of the module", "mncni.bridg.ensure {}", 'mncni has no "bridg"; did you mean "bridge"?' },
    { "a function of a part", "mncni.bridge.ensurre {}", 'mncni.bridge has no "ensurre"; did you mean "ensure"?' },
    { "the same by another name", "local b = mncni.bridge b.ensurre {}", '"ensurre"; did you mean "ensure"?' },
    { "the same required in place", "require('mncni').bridge.ensurre {}", '"ensurre"; did you mean "ensure"?' },
    { "a module that is not there", "require 'mncni.brigde'", 'there is no module "mncni.brigde"' },
    { "a function of Lua's", "print(string.formatt('x'))", 'string has no "formatt"; did you mean "format"?' },
    { "an option that is not declared", "print(conf.brigde)",
      'the policy declares no option "brigde"; did you mean "bridge"?' },
    { "a global that is not there", "prinnt(1)", 'there is no global "prinnt"; did you mean "print"?' },
    { "an assignment to a global", "mtu = 5", 'a policy may not assign to the global "mtu"; write local mtu' },
  } do
    it("tells " .. case[1], function()
      local said = in_add(case[2])
      assert.matches("^mine.lua:4: %l+: [^\n]*$", said)
      assert.is_truthy(said:find(case[3], 1, true), said)
    end)
  end

  it("knows hooks however they are written", function()
    for _, text in ipairs {
      "local p = {}\np.add = function(pod) pod:nope() end return p",
      "return {\nadd = function(pod) pod:nope() end }",
      "local p = {\nadd = function(pod) pod:nope() end } return p",
      "local function add(pod)\npod:nope() end return { add = add }",
    } do
      assert.matches('^mine.lua:2: error: pod has no "nope"', findings(text))
    end
  end)

  it("is silent where it cannot be sure", function()
    for _, text in ipairs {
      "local eth = pod:veth {} eth = other(eth)\neth:nope()", -- it may be anything by then
      "conf.mine = 5 print(conf.mine)",
      "pod.mine = function() end pod.mine()",
      "for _, pod in ipairs {} do pod:nope() end",
      "local function add(pod) pod:nope() end add {}",
      "local k = 'nope' pod[k](pod)",
      "local s = [==[ mncni.nope() ]==] -- mncni.nope()\n--[[ mncni.nope() ]] print(s, 0x1p-3, 3e+4, 'it\\'s')",
      "goto done ::done:: repeat local x <const> = 1 until x == 1",
    } do
      assert.equal("", (in_add((text:gsub("other%(", "tostring(")))), text)
    end
  end)

  it("warns where a name may be looked for on purpose", function()
    assert.matches('^mine.lua:4: warning: mncni has no "later"', in_add "if mncni.later then return end")
  end)

  for _, case in ipairs {
    { "does not compile", "local p = {}\nfunction p.add(pod\nreturn p",
      "mine.lua:3: error: ')' expected near 'return'" },
    { "raises while it loads", "\nerror 'no'", "mine.lua:2: error: no" },
    { "has a hook that nobody knows", "return {\nad = function() end }",
      'mine.lua:2: error: it has an unknown hook "ad"' },
    { "has a hook of the wrong type", "return { add = 5 }", 'its "add" is a number and not a function' },
    { "declares an option wrongly", 'return { add = print,\noptions = { mtu = { type = "int" } } }',
      'mine.lua:2: error: option "mtu": unknown type "int"; did you mean "integer"?' },
    { "has nothing that could be run", "return {}", "it has none of the hooks add, lease, desired" },
    { "is chained and has nothing to chain", "return { chained = true, desired = print }",
      "it is chained, and has no add" },
  } do
    it("tells that a policy " .. case[1], function()
      local said = findings(case[2])
      assert.is_truthy(said:find(case[3], 1, true), said)
    end)
  end

  it("finds nothing in the policies that are shipped, nor in the examples", function()
    local out, _, status = runner.sh(BIN .. " lint policies/*.lua examples/*.lua")
    assert.same({ "", 0 }, { out, status })
  end)
end)

describe("mncni lint", function()
  local dir

  before_each(function()
    dir = runner.directory()
    runner.write(dir .. "/good.lua", "return { add = function(pod) return pod:result {} end }\n")
    runner.write(dir .. "/bad.lua", "return { add = function(pod)\n  return pod:resullt {}\nend }\n")
    runner.sh(("chmod 755 %s; chmod 644 %s/*.lua"):format(dir, dir))
  end)

  after_each(function()
    runner.sh(("rm -rf %s"):format(dir))
  end)

  local function run(words)
    local out, err, status = runner.sh(("cd %s && %s lint %s"):format(dir, "$BIN", words):gsub("$BIN",
      runner.sh("realpath " .. BIN):gsub("\n", "")))
    return out:gsub(dir:gsub("%p", "%%%0"), "DIR"), err, status
  end

  it("tells file and line as compilers do, and by its status", function()
    assert.same({ './bad.lua:2: error: pod has no "resullt"; did you mean "result"?\n', "", 1 },
      { run "good.lua bad.lua naivebridge" })
    assert.same({ "", "", 0 }, { run "./good.lua naivebridge" })
  end)

  it("tells all of it as JSON", function()
    local out, _, status = run "-o json good.lua bad.lua"
    local report = core.json.decode(out)
    assert.equal(1, status)
    assert.same({ "good", "bad" }, { report[1].policy, report[2].policy })
    assert.same({ { file = "./bad.lua", line = 2, severity = "error",
      message = 'pod has no "resullt"; did you mean "result"?' } }, report[2].findings)
    assert.same({ "add" }, report[1].hooks)
  end)

  it("says what is to be done with a file that somebody else could have written", function()
    runner.sh(("chmod g+w %s/good.lua"):format(dir))
    local out, _, status = run "good.lua"
    assert.matches("writable by its group (mode 0664): chmod go-w ", out, 1, true)
    assert.equal(1, status)
  end)

  it("ends with a policy that does not", function()
    runner.write(dir .. "/loop.lua", "\nwhile true do end\n")
    runner.write(dir .. "/fat.lua", "local x = ('x'):rep(1 << 30)\n")
    local out, _, status = run "loop.lua fat.lua good.lua"
    assert.equal(1, status)
    assert.matches("^%./loop.lua:2: error: while it was loading, it ran more than", out)
    assert.matches("\n%./fat.lua: error: it needs more memory than a policy has, 32 MiB, while it is loading\n$", out)
  end)

  it("answers a mistake in its words in one line", function()
    for words, said in pairs {
      [""] = "mncni lint: it needs POLICY...; mncni lint --help\n",
      ["nosuch.lua"] = 'mncni lint: "nosuch.lua": there is no such file; mncni lint --help\n',
      ["--nosuch x"] = 'mncni lint: there is no option "--nosuch"; mncni lint --help\n',
    } do
      assert.same({ "", said, 2 }, { run(words) })
    end
    local out, _, status = run "nosuch"
    assert.matches("^nosuch: error: there is none of that name in ", out)
    assert.equal(1, status)
  end)
end)
