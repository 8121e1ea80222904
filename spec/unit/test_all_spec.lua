-- SPDX-License-Identifier: Apache-2.0
-- The sum under `make test`: what is printed and done by a make of ours, and what spec/support/test-all makes of it.

local runner = require "spec.support.runner"

describe("make test", function()
  local dir

  setup(function() dir = runner.directory() end)
  teardown(function() os.execute("rm -rf " .. dir) end)

  -- Runs test-all over rings, a list of { name, what it prints, its exit status }. Returns its last line, whether it
  -- succeeded, and all that it said.
  local function sum(rings, environment)
    local script, names = { "#!/bin/sh", "case $2 in" }, {}
    for i, ring in ipairs(rings) do
      names[i] = ring[1]
      script[#script + 1] = ("%s) printf '%%b' %s; exit %d ;;"):format(ring[1], runner.quote(ring[2]), ring[3])
    end
    script[#script + 1] = "esac"
    runner.write(dir .. "/make", table.concat(script, "\n") .. "\n")
    os.execute(("chmod +x %s/make"):format(dir))
    local out, err, status = runner.sh(("%s MAKE=%s/make sh spec/support/test-all %s"):format(
      environment or "CI=", dir, table.concat(names, " ")))
    assert.are.equal("", err)
    return out:match "([^\n]*)\n$", status == 0, out
  end

  local function total(...)
    local line, succeeded = sum(...)
    return line, succeeded
  end

  local good = "++\n2 successes / 0 failures / 0 errors / 0 pending : 0.1 seconds\n"

  it("sums up what the rings say", function()
    assert.are.same({ "5 passed, 0 failed", true }, { total {
      { "lint", "fine\n", 0 }, { "check-a", good, 0 }, { "check-b", good, 0 },
    } })
    assert.are.same({ "5 passed, 0 failed", true }, { total { { "check-a", good .. good, 0 }, {
      "check-b", "1 success / 0 failures / 0 errors / 0 pending : 0.1 seconds\n", 0,
    } } })
    assert.are.same({ "3 passed, 6 failed", false }, { total {
      { "check-a", "1 success / 2 failures / 4 errors / 0 pending : 0.1 seconds\n", 1 }, { "check-b", good, 0 },
    } })
  end)

  it("takes a ring that fails, whatever it says, for a failure", function()
    assert.are.same({ "2 passed, 1 failed", false }, { total { { "check-a", good, 2 } } })
    assert.are.same({ "0 passed, 1 failed", false }, { total { { "lint", "", 1 } } })
    assert.are.same({ "2 passed, 1 failed", false }, { total { { "check-a", "", 2 }, { "check-b", good, 0 } } })
  end)

  it("shows at the end once more what has failed, for which a long output need not be searched", function()
    local told = "Failure -> spec/a_spec.lua @ 7\na thing does\nspec/a_spec.lua:9: no\n"
    local _, _, text = sum { { "lint", "x.c:1: bad\n", 1 }, { "check-b", good, 0 }, {
      "check-a", "1 success / 1 failure / 0 errors / 0 pending : 0.1 seconds\n\n" .. told, 1,
    } }
    assert.are.equal(("\n== failed in lint\nx.c:1: bad\n\n== failed in check-a\n%s\n3 passed, 2 failed\n"):format(told),
      text:match "\n== failed in lint.*")
  end)

  it("takes a ring that has run no spec for a failure", function()
    for _, text in ipairs {
      "", "nothing to do\n", "0 successes / 0 failures / 0 errors / 0 pending : 0.0 seconds\n",
      "..\n0 successes / 0 failures / 0 errors / 2 pending : 0.0 seconds\n",
    } do
      assert.are.same({ "2 passed, 1 failed", false }, { total { { "check-a", text, 0 }, { "check-b", good, 0 } } })
    end
    assert.are.same({ "0 passed, 1 failed", false }, { total { { "check-a", "", 0 } } })
    assert.are.same({ "0 passed, 0 failed", false }, { total {} })
  end)

  it("takes a skipped spec for a failure where CI=true, and only there", function()
    local skipped = "+.\n1 success / 0 failures / 0 errors / 1 pending : 0.1 seconds\n"
    assert.are.same({ "1 passed, 0 failed", true }, { total { { "check-a", skipped, 0 } } })
    assert.are.same({ "1 passed, 1 failed", false }, { total({ { "check-a", skipped, 0 } }, "CI=true") })
  end)
end)
