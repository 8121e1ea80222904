-- SPDX-License-Identifier: Apache-2.0
-- mncni trace beside a real containerd that starts and stops 50 pods, 30 of them at once.

local lab = require "spec.support.containerd"
local traced = require "spec.support.traced"

-- Of a pod before all others: the reference portmap fails where several make their common chains at once.
local FIRST = { host_port = 30000, container_port = 80 }

local function naivebridge()
  local conflist = lab.naivebridge("traced", { bridge = "trace1",
    ipam = { type = "host-local", ranges = { { { subnet = "10.244.9.0/24" } } }, routes = { { dst = "0.0.0.0/0" } } } })
  conflist.plugins[2] = { type = "portmap", capabilities = { portMappings = true }, snat = true }
  return conflist
end

-- Runs count pods at once and stops them; returns them.
local function churn(count, first)
  local runs, pods = {}, {}
  for i = 1, count do
    runs[i] = { "RunPodSandbox", lab.sandbox_request { name = "web-" .. (first + i), namespace = "shop",
      ports = { { host_port = 30000 + first + i, container_port = 80 } } } }
  end
  for i, answer in ipairs(lab.cri_batch(runs)) do
    assert(answer.ok, answer.error)
    pods[i] = lab.pod(answer.response.pod_sandbox_id)
    pods[i].name = "web-" .. (first + i)
  end
  local stops = {}
  for i, pod in ipairs(pods) do stops[i] = { "StopPodSandbox", { pod_sandbox_id = pod.id } } end
  for _, answer in ipairs(lab.cri_batch(stops)) do assert(answer.ok, answer.error) end
  return pods
end

-- Each plugin of the chain was called once for each pod, first to last when added, last to first when deleted, and what is
-- told of its changes is the pod's.
local function check(told, pods, plugins, link_plugin)
  local by_container, ips, missed, unknown, without_caller = {}, {}, 0, 0, 0
  for _, call in ipairs(told.calls) do
    by_container[call.container] = by_container[call.container] or {}
    table.insert(by_container[call.container], call)
  end
  for _, pod in ipairs(pods) do ips[pod.ip] = pod.id end
  for _, pod in ipairs(pods) do
    local order, looked_late = {}, false
    for _, call in ipairs(by_container[pod.id] or {}) do
      if call.ifname ~= "lo" then
        order[#order + 1] = call.command .. " " .. call.plugin
        looked_late = looked_late or call.seen_by ~= nil or call.caller == nil
        assert.equal(pod.name, call.pod.name)
        assert.equal("shop", call.pod.namespace)
        if call.status or not told.sources.missing.proc then assert.equal(0, call.status) end
        -- One may have ended while it was looked at, and nobody knows whose it was.
        without_caller = without_caller + (call.caller and 0 or 1)
        if call.caller then assert.equal("containerd", call.caller.name) end
      end
      local texts = traced.texts(call)
      for address in texts:gmatch "address %a+ (10%.244%.[%d.]+)/24 dev eth0" do
        assert.equal(pod.id, ips[address], "a change of another pod: " .. address)
      end
      if call.command == "ADD" and call.plugin == link_plugin then
        unknown = unknown + (call.config and call.result and 0 or 1)
        assert.truthy(texts:find(("pod: address add %s/24 dev eth0"):format(pod.ip), 1, true), texts)
        assert.truthy(texts:find("pod: route add default via", 1, true), texts)
        if call.result then
          local port = call.result.interfaces[2].name
          assert.truthy(texts:find("host: link add dev " .. port, 1, true), texts)
        end
      end
    end
    local wanted = {}
    for _, plugin in ipairs(plugins) do wanted[#wanted + 1] = "ADD " .. plugin end
    for i = #plugins, 1, -1 do wanted[#wanted + 1] = "DEL " .. plugins[i] end
    missed = missed + #wanted - #order
    if looked_late then -- what is known by its report alone may be told of behind the next one
      table.sort(wanted)
      table.sort(order)
    end
    if missed == 0 or #order == #wanted then assert.same(wanted, order) end
  end
  assert.is_true(without_caller * 10 <= #told.calls, ("%d of %d calls without their caller"):format(without_caller,
    #told.calls))
  return missed, unknown
end

for name, network in pairs {
  ["the reference bridge and portmap"] = {
    make = traced.reference_chain, link = "reference-bridge", ipam = "reference-host-local",
    plugins = { "reference-bridge", "reference-portmap" },
  },
  ["naivebridge and portmap"] = { make = naivebridge, link = "naivebridge", plugins = { "naivebridge", "portmap" } },
} do
  describe("a trace of " .. name, function()
    setup(function()
      lab.network(network.make())
      lab.run_pod { ports = { FIRST } }
      lab.clean()
    end)

    after_each(function() lab.clean() end)

    for _, where in ipairs {
      { "of 50 pods once, on the machine", false, { 20, 30 } },
      { "of 20 pods, where there are no process events", true, { 5, 15 } },
    } do
      it("shows every call " .. where[1], function()
        local trace = traced.start("--bin-dir /opt/cni/bin", where[2])
        local pods = churn(where[3][1], 0)
        for _, pod in ipairs(churn(where[3][2], where[3][1])) do pods[#pods + 1] = pod end
        lab.run("sleep", "1")
        local told = trace:stop()
        local known = traced.print_figures(name .. ", " .. where[1], told)
        -- A busy machine may not let the trace look in time at a program that a plugin runs: what that changes is nobody's.
        assert.is_true(known > (where[2] and 0.95 or 0.99))
        assert.equal(where[2], told.sources.missing.proc ~= nil)
        local missed, unknown = check(told, pods, network.plugins, network.link)
        if where[2] then
          -- A call may have ended when it is looked at, and is told of as lost.
          for _, lost in ipairs(told.lost) do assert.equal("calls", lost.source) end
          print(("%d calls missed, %d told of as lost, %d without a configuration or result"):format(missed,
            #told.lost, unknown))
          assert.is_true(unknown <= 2)
          assert.is_true(missed <= #told.lost and #told.lost <= 4)
        else
          assert.same({}, told.lost)
          assert.same({ 0, 0 }, { missed, unknown })
        end
        if network.ipam then
          for _, call in ipairs(where[2] and {} or told.calls) do
            if call.plugin == network.link then
              assert.equal(1, #call.delegates)
              assert.equal(network.ipam, call.delegates[1].plugin)
            end
          end
        end
      end)
    end
  end)
end

describe("a trace that does not see all", function()
  setup(function()
    lab.network(traced.reference_chain())
    lab.run_pod { ports = { FIRST } }
    lab.clean()
  end)

  after_each(function() lab.clean() end)

  it("(held up) says which calls had ended when it looked", function()
    local trace = traced.start("--bin-dir /opt/cni/bin --without cache")
    trace:hold(function() churn(1, 0) end)
    lab.run("sleep", "1")
    local lost = {}
    for _, one in ipairs(trace:stop().lost) do
      if one.source == "calls" then lost[one.plugin] = (lost[one.plugin] or 0) + one.count end
    end
    assert.same({ ["reference-bridge"] = 2, ["reference-portmap"] = 2, ["reference-host-local"] = 2 }, lost)
  end)

  local function is_active(told, source)
    for _, name in ipairs(told.sources.active) do
      if name == source then return true end
    end
  end

  for _, source in ipairs { "proc", "fanotify", "pipes", "route", "nft", "reports", "cache" } do
    it(("(without %s) says so first, and is true to it"):format(source), function()
      local trace = traced.start("--bin-dir /opt/cni/bin --without " .. source)
      local pods = churn(3, 0)
      lab.run("sleep", "1")
      local told = trace:stop()
      assert.equal("switched off", told.sources.missing[source].why)
      assert.is_nil(is_active(told, source))
      local order = {}
      for _, call in ipairs(told.calls) do
        if call.container == pods[1].id and call.ifname ~= "lo" then
          order[#order + 1] = call.command .. " " .. call.plugin
          local is_add, texts = call.command == "ADD", traced.texts(call)
          local is_bridge = call.plugin == "reference-bridge"
          if source == "pipes" then
            -- Only the cache has kept what they would have shown, and it keeps it of ADD.
            assert.equal(is_add and "cache" or nil, call.config_from)
            assert.equal(is_add and "cache" or nil, call.result_from)
          elseif source == "cache" then
            assert.are_not.equal("cache", call.config_from or call.result_from)
          end
          if is_add and is_bridge then
            local address = ("pod: address add %s/24 dev eth0"):format(pods[1].ip)
            assert.equal(source ~= "route", texts:find(address, 1, true) ~= nil, texts)
            assert.equal("reference-host-local", call.delegates[1].plugin)
          end
          assert.equal(source ~= "nft", texts:find("rule ip nat", 1, true) ~= nil, texts)
          if source ~= "proc" then assert.equal(0, call.status) end
        end
      end
      assert.same({ "ADD reference-bridge", "ADD reference-portmap", "DEL reference-portmap", "DEL reference-bridge" },
        order)
    end)
  end
end)
