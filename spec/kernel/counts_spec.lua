-- SPDX-License-Identifier: Apache-2.0
-- What a call of the plugin costs, in what can be counted: it cannot become slow unnoticed. Who makes it cheaper lowers
-- the numbers; who has to raise one says why.

local cni = require "mncni.cni"
local core = require "mncni.core"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"
local strace = require "spec.support.strace"

if os.getenv "RING_PRELOAD" then
  pending "what is counted is the plugin without sanitizers"
  return
end

describe("what a call does", function()
  local before, node

  before_each(function()
    before = spaces.snapshot()
    node = nodes.new { subnets = { "10.244.0.0/16" } }
    node.env.MNCNI_POLICY_PATH = node.scratch .. "/none" -- as on a node without policies of its own
  end)

  after_each(function()
    node:cleanup()
    spaces.assert_nothing_left(before)
  end)

  local function conf_of(masquerade)
    return { ipMasq = masquerade, mtu = 1500, isDefaultGateway = true }
  end

  local function count(verb, pod, masquerade)
    local path = node.scratch .. "/trace"
    node:must(verb, { pod = pod, conf = conf_of(masquerade), prefix = strace.words(path) })
    return strace.count(path)
  end

  -- No more than these: system calls, netlink sends; and always one process and program, without a library to load.
  local function assert_at_most(calls, sends, seen)
    local text = ("%d system calls, %d sends"):format(seen.calls, seen.sends)
    assert.is_true(seen.calls <= calls, text)
    assert.is_true(seen.sends <= sends, text)
    assert.are.same({ 1, 1, 1, 0 }, { seen.processes, seen.threads, seen.programs, seen.libraries })
  end

  it("is one process, with few system calls and netlink messages", function()
    node:add { pod = "first", conf = conf_of(false) } -- makes the bridge
    assert_at_most(162, 7, count("ADD", "web", false))
    assert_at_most(85, 2, count("DEL", "web", false))
  end)

  it("is a little more with masquerading", function()
    node:add { pod = "first", conf = conf_of(true) } -- makes the bridge and the table
    assert_at_most(182, 11, count("ADD", "web", true))
    assert_at_most(85, 2, count("DEL", "web", true))
  end)

  -- The same call in this process: how many instructions Lua runs, and how many bytes it allocates.
  local function weigh(verb, pod)
    local request = { name = "naivebridge", stdin = core.json.encode(node:config(conf_of(false))), env = {
      CNI_COMMAND = verb, CNI_CONTAINERID = pod, CNI_IFNAME = "eth0", CNI_NETNS = node:pod(pod).path,
      CNI_PATH = node.scratch .. "/bin", MNCNI_STATE_DIR = node.state,
    } }
    return node.space:run(function()
      local instructions = 0
      collectgarbage()
      collectgarbage "stop"
      local kept = collectgarbage "count"
      debug.sethook(function() instructions = instructions + 1 end, "", 1)
      local reply = cni.run(request)
      debug.sethook()
      local kib = collectgarbage "count" - kept
      collectgarbage "restart"
      assert.are.equal(0, reply.code, reply.stdout)
      return instructions, kib
    end)
  end

  it("runs few instructions of Lua, and allocates little", function()
    local builtin = core.policy.builtin -- those are part of the plugin
    finally(function() core.policy.builtin = builtin end)
    core.policy.builtin = function(name) return dofile(("policies/%s.lua"):format(name)) end
    weigh("ADD", "first") -- loads what there is of modules
    weigh("DEL", "first")
    for _, most in ipairs { { "ADD", 9100, 72 }, { "DEL", 1150, 24 } } do
      local instructions, kib = weigh(most[1], "web")
      assert.is_true(instructions <= most[2] and kib <= most[3],
        ("%s: %d instructions, %.1f KiB"):format(most[1], instructions, kib))
    end
  end)

  it("is the same with many pods on the node, and with many addresses taken", function()
    node:add { pod = "first", conf = conf_of(false) }
    local add, del = count("ADD", "web", false), count("DEL", "web", false)
    for i = 1, 20 do node:add { pod = "pod" .. i, conf = conf_of(false) } end
    local dir = node.networks .. "/testnet"
    spaces.must("for i in $(seq 2000); do printf 'other\\r\\neth0' >%s/10.244.$((100 + i / 250)).$((i %% 250)); done",
      dir)
    assert.are.same(add, count("ADD", "web", false))
    assert.are.same(del, count("DEL", "web", false))
  end)
end)
