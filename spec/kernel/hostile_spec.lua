-- SPDX-License-Identifier: Apache-2.0
-- Policies that run away, as the policy of a CNI call with small limits: one error document, with the place, and
-- nothing is left. Each file of spec/fixtures/hostile is run twice: as it is, its hook called add, and from within the
-- add of a policy that has made a bridge, a veth, an address and a reservation by then.

local core = require "mncni.core"
local cni = require "spec.support.cni"
local spaces = require "spec.support.netns"

local PLUGIN = (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni"
local HOSTILE = "spec/fixtures/hostile"

local function sh(text)
  local outcome = core.exec { argv = { "/bin/sh", "-c", text }, env = { PATH = os.getenv "PATH" } }
  assert(outcome.status == 0, text .. ": " .. outcome.stderr)
  return outcome.stdout
end

local function read_file(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local function write_file(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

-- What runs, and what it does first, is in the journal and in the kernel before the hostile hook is called.
local WIRED = [[
local mncni = require "mncni"
local policy = {}
function policy.add(pod, conf)
  local lease = pod:lease(conf.ipam)
  local bridge = mncni.bridge.ensure { ifname = "hostile0", address = lease.gateways }
  local eth = pod:veth { master = bridge }
  eth:address(lease)
  eth:routes(lease, { default = true })
  pod:commit()
  %s
  return pod:result { bridge, eth, lease }
end
return policy
]]

-- The code where it is the policy's own choice.
local codes = { error_message_table = 11, error_object = 102 }

-- Ended by the timer, from within one C function or a finalizer: no line of Lua is to be had there.
local by_timer = { loop_in_gc = true, backtracking = true, empty_string_rep = true }

-- Refused before a line of it is called: the file is named.
local no_policy = {
  hook_is_a_string = true, misspelt_hook = true, misspelt_option = true, returns_nothing = true, returns_number = true,
}

-- Come to an end by themselves (the last one only while a state is closed, which the plugin leaves to the kernel).
local harmless = {
  escapes = true, popen = true, prints = true, returns_cycle = true, returns_function = true, returns_nan = true,
  loop_in_gc_at_the_end = true,
}

describe("a hostile policy", function()
  local dir, ns, run

  local function trace()
    return table.concat({
      spaces.text(), spaces.text "/run/netns/hostile",
      sh(("find %s/state %s/ipam -type f ! -name calls.ring ! -name lock ! -name .mncni ! -name 'last_reserved*' "
        .. "2>/dev/null | sort"):format(dir, dir)),
    }, "\n")
  end

  local function config(policy, limits)
    return {
      cniVersion = "1.0.0", name = "pods", type = "mncni", policy = policy, limits = limits,
      ipam = { type = "host-local", dataDir = dir .. "/ipam", ranges = { { { subnet = "10.78.0.0/24" } } } },
    }
  end

  setup(function()
    dir = sh("mktemp -d"):gsub("\n", "")
    sh(("chmod 0755 %s; mkdir -p %s/policies/plain /run/netns"):format(dir, dir))
    ns = core.netns.create "hostile"
    run = cni.runner {
      bin = PLUGIN, container = "hostile-1", netns = "/run/netns/hostile", ifname = "eth0",
      env = { MNCNI_STATE_DIR = dir .. "/state", MNCNI_POLICY_PATH = dir .. "/policies" },
    }
    write_file(dir .. "/policies/good.lua", WIRED:format "")
  end)

  teardown(function()
    ns:close()
    core.netns.remove "/run/netns/hostile"
    sh("ip link del hostile0 2>/dev/null || :; rm -rf " .. dir)
  end)

  after_each(function() -- of one that should have failed
    run { command = "DEL", stdin = config "good" }
  end)

  local function check(name, policy)
    local before = trace()
    -- Less time than the runner gives it: a busy machine may take a minute for some of these instructions.
    local limits = { memoryMiB = 16, instructions = 20000000, wallMs = by_timer[name] and 300 or 20000 }
    local outcome = run { command = "ADD", stdin = config(policy, limits) }
    local document = outcome.json
    assert.is_table(document, outcome.stdout .. outcome.stderr)
    if harmless[name] and outcome.status == 0 then
      assert.equal(0, run({ command = "DEL", stdin = config(policy) }).status)
      sh "ip link del hostile0 2>/dev/null || :" -- a node's bridge stays
    else
      assert.equal(1, outcome.status, outcome.stdout)
      assert.is_true(document.code == codes[name] or document.code == 100 or document.code == 101, outcome.stdout)
      if by_timer[name] then
        assert.matches(('policy "%s"'):format(policy), document.msg, 1, true)
      elseif no_policy[name] and policy == name then
        assert.matches(name .. ".lua", document.msg, 1, true)
      elseif not harmless[name] then
        local place = (no_policy[name] and policy or name) .. "%.lua:%d+"
        assert.matches(place, document.details or "no details")
      end
    end
    assert.equal(before, trace())
  end

  for path in sh("ls " .. HOSTILE .. "/*.lua"):gmatch "%S+" do
    local name = path:match "([^/]+)%.lua$"

    it(("%s ends within its budget and leaves nothing"):format(name), function()
      write_file(("%s/policies/%s.lua"):format(dir, name), (read_file(path):gsub("desired", "add")))
      check(name, name)
    end)

    it(("%s called by one that is half done ends, and all is undone"):format(name), function()
      write_file(("%s/policies/plain/%s.lua"):format(dir, name), read_file(path))
      write_file(dir .. "/policies/wired.lua", WIRED:format(("require('plain.%s').desired()"):format(name)))
      check(name, "wired")
    end)
  end

  it("is stopped by the time that the configuration gives it", function()
    write_file(dir .. "/policies/loop.lua", (read_file(HOSTILE .. "/loop.lua"):gsub("desired", "add")))
    local outcome = run { command = "ADD", stdin = config("loop", { wallMs = 200, instructions = 1000000000000 }) }
    assert.equal(101, outcome.json.code)
    assert.matches("it ran longer than 200 ms$", outcome.json.msg)
    outcome = run { command = "ADD", stdin = config("loop", { instructions = 300000 }) }
    assert.matches("it ran more than 300000 instructions$", outcome.json.msg)
  end)

  it("leaves one document when the runtime stops the call while that is being written", function()
    write_file(dir .. "/policies/loop.lua", (read_file(HOSTILE .. "/loop.lua"):gsub("desired", "add")))
    write_file(dir .. "/stopped", ([[#!/bin/sh
      ASAN_OPTIONS=detect_leaks=0 exec strace -qq -o %s/trace -e trace=write -e inject=write:signal=SIGTERM:when=1 %s
    ]]):format(dir, PLUGIN))
    sh(("chmod +x %s/stopped"):format(dir))
    local outcome = run { command = "ADD", bin = dir .. "/stopped", stdin = config("loop", { instructions = 300000 }) }
    assert.equal(1, outcome.status)
    assert.matches('^write%(%d+, "{', read_file(dir .. "/trace")) -- the signal comes with the document
    assert.equal(101, outcome.json and outcome.json.code, outcome.stdout)
    assert.matches("it ran more than 300000 instructions$", outcome.json.msg)
  end)

  it("cannot lift its limits by a plain call", function()
    write_file(dir .. "/policies/lifts.lua", [[
      return { add = function() require "mncni.state".limit { instructions = 1 << 40 } end }
    ]])
    local outcome = run { command = "ADD", stdin = config "lifts" }
    assert.equal(1, outcome.status)
    assert.matches("the limits are set before a policy is loaded, and stay then", outcome.json.msg)
  end)

  it("does not keep a good one from working afterwards", function()
    local before = trace()
    local outcome = run { command = "ADD", stdin = config "good" }
    assert.equal(0, outcome.status, outcome.stdout)
    assert.matches("^10%.78%.0%.%d+/24$", outcome.json.ips[1].address)
    assert.equal(0, run({ command = "DEL", stdin = config "good" }).status)
    sh "ip link del hostile0" -- a node's bridge stays
    assert.equal(before, trace())
  end)
end)
