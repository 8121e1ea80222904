-- SPDX-License-Identifier: Apache-2.0
-- How much longer an ADD takes while a trace watches: medians of calls in turns, without a trace and with one. The figures
-- in deploy/README.md are from here, with MNCNI_ROUNDS=8 (2).

local core = require "mncni.core"
local clock = require("mncni.record").clock
local lab = require "spec.support.containerd"
local traced = require "spec.support.traced"

local ROUNDS, PODS = tonumber(os.getenv "MNCNI_ROUNDS") or 2, 8
local modes = {
  { "without a trace" },
  { "with one", false },
  { "with one, without process events", true },
}

-- One of the plugins with a network of its own.
local function contestant(program, number)
  local ipam = { type = "host-local", ranges = { { { subnet = ("10.%d.0.0/16"):format(100 + number) } } } }
  if program:find "^reference" then
    ipam.type = "reference-host-local"
  end
  return { program = program, conf = lab.encode {
    cniVersion = "1.0.0", name = "overhead" .. number, type = program, bridge = "overhead" .. number,
    isGateway = true, ipMasq = false, ipam = ipam,
  } }
end

-- Runs a call; returns its milliseconds.
local function call(who, verb, pod)
  local started = clock()
  local outcome = core.exec {
    argv = { "/opt/cni/bin/" .. who.program }, stdin = who.conf, timeout = 60000,
    env = {
      CNI_COMMAND = verb, CNI_CONTAINERID = pod, CNI_IFNAME = "eth0", CNI_NETNS = "/run/netns/" .. pod,
      CNI_PATH = "/opt/cni/bin", PATH = os.getenv "PATH",
    },
  }
  assert.equal(0, outcome.status, outcome.stdout)
  return (clock() - started) / 1000
end

local function median(list)
  table.sort(list)
  return list[#list // 2 + 1]
end

describe("a trace", function()
  local pods = {}

  setup(function()
    traced.reference_chain() -- for its plugins
    for i = 1, PODS do
      pods[i] = "overhead-" .. i
      lab.run("ip", "netns", "add", pods[i])
    end
  end)

  teardown(function()
    for _, pod in ipairs(pods) do lab.run("ip", "netns", "del", pod) end
    lab.clean()
  end)

  it("sees every call while it is measured what it costs them", function()
    local contestants, times = { contestant("naivebridge", 1), contestant("reference-bridge", 2) }, {}
    for round = 0, ROUNDS do
      for _, mode in ipairs(modes) do
        local trace = mode[2] ~= nil and traced.start("--bin-dir /opt/cni/bin", mode[2])
        for _, who in ipairs(contestants) do
          local list = times[who.program .. " " .. mode[1]] or {}
          for _, pod in ipairs(pods) do
            local ms = call(who, "ADD", pod)
            if round > 0 then list[#list + 1] = ms end -- the first makes the bridges
          end
          for _, pod in ipairs(pods) do call(who, "DEL", pod) end
          times[who.program .. " " .. mode[1]] = list
        end
        if trace then
          assert.equal(2 * PODS * #contestants, #trace:stop().calls)
        end
      end
    end
    for _, who in ipairs(contestants) do
      local said = {}
      for i, mode in ipairs(modes) do
        local ms = median(times[who.program .. " " .. mode[1]])
        said[i] = ("%.2f ms %s"):format(ms, mode[1])
      end
      print(("\nADD %s, medians of %d: %s"):format(who.program, ROUNDS * PODS, table.concat(said, ", ")))
    end
  end)
end)
