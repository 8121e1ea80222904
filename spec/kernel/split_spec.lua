-- SPDX-License-Identifier: Apache-2.0
-- A ring of several files, as spec/support/split runs it, from within the ring that this file is in.

local runner = require "spec.support.runner"

local RING = "env -u MNCNI_RING -u MNCNI_RING_SPLIT RING_JOBS=2 spec/support/ring kernel"

describe("a ring of several files", function()
  local dir

  before_each(function() dir = runner.directory() end)
  after_each(function() os.execute("rm -rf " .. dir) end)

  -- A spec file that does something in the shell, and succeeds where that does; head is a line above.
  local function file(name, command, head)
    runner.write(("%s/%s_spec.lua"):format(dir, name), ("%s\nit(%q, function() assert.truthy(os.execute(%q)) end)\n")
      :format(head or "", name, ("cd %s && %s"):format(dir, command)))
  end

  -- What the ring says, and its exit status.
  local function run(words)
    local out, err, status = runner.sh(("%s %s %s"):format(RING, dir, words or ""))
    assert.equal("", err)
    return out, status
  end

  local function wait_for(name)
    return ("for i in $(seq 600); do [ ! -e %s ] || exit 0; sleep 0.1; done; exit 1"):format(name)
  end

  it("runs them side by side, and alone what is to have no neighbour", function()
    file("a", "touch a && (" .. wait_for "b" .. ")")
    file("b", "touch b && (" .. wait_for "a" .. ")")
    file("c", "touch c && sleep 0.1 && rm c")
    file("d", "touch d && sleep 0.1 && rm d")
    file("alone", "[ -e a ] && [ -e b ] && [ ! -e c ] && [ ! -e d ]", "-- Runs alone: it looks at what is left.")
    local out, status = run()
    assert.equal(0, status, out)
    assert.matches("kernel: 5 files, 2 at once, in %d+ s: 5 successes, 0 failures, 0 errors, 0 pending\n$", out)
    assert.matches(("\n-- %s/a_spec.lua\n+\n1 success / 0 failures"):format(dir), out, 1, true)
  end)

  it("runs all although one fails, and says which", function()
    file("a", "false")
    file("b", "touch b")
    runner.write(dir .. "/c_spec.lua", "os.exit(0)\n") -- ends before it says anything
    local out, status = run "--filter=[ab]"
    assert.equal(1, status, out)
    assert.matches(": 3 files, 2 at once, in %d+ s: 1 successes, 1 failures, 0 errors, 0 pending\n", out)
    assert.matches(("failed: %s/a_spec.lua %s/c_spec.lua \n"):format(dir, dir), out, 1, true)
    assert.truthy(os.execute(("[ -e %s/b ]"):format(dir)))
  end)

  it("leaves no process when it is killed", function()
    file("a", "touch a && sleep 987")
    file("b", "touch b && sleep 987")
    runner.sh(([[
      %s %s >/dev/null 2>&1 &
      while [ ! -e %s/a ] || [ ! -e %s/b ]; do sleep 0.1; done
      kill -9 $!
      while pgrep -f 'sleep 98[7]' >/dev/null; do sleep 0.1; done]]):format(RING, dir, dir, dir))
  end)
end)
