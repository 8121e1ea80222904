-- SPDX-License-Identifier: Apache-2.0
-- containerd ended by SIGKILL in the middle of a burst of pods. What it still knows is stopped and removed, as a kubelet
-- does after the restart; of what it has forgotten, nobody ever sends a DEL: a garbage collection has to find it. Debian's
-- containerd forgets few; releases from 1.7.23 on send no DEL for a sandbox whose ADD they had not come to record, which
-- every other pair of kills imitates.

local lab = require "spec.support.containerd"

local KILLS, BURST = math.tointeger(os.getenv "MNCNI_KILLS" or "") or 20, 50
local LIVING = 3 -- pods that go on running
local STATE = "/run/mncni/attachments/burst"

describe("containerd killed in the middle of a burst of " .. BURST .. " pods", function()
  local before, conflist

  setup(function()
    conflist = lab.naivebridge("burst", { bridge = "burst0", ipam = { type = "host-local",
      ranges = { { { subnet = "10.244.6.0/24" } } }, routes = { { dst = "0.0.0.0/0" } } } })
    lab.network(conflist)
    lab.run_pod()
    lab.clean()
    before = lab.footprint()
  end)

  after_each(function() lab.clean() end)

  local function journals()
    return math.tointeger(tonumber((lab.try("sh", "-c", "find " .. STATE .. " -type f | wc -l"))))
  end

  -- The links of pods on the node.
  local function links()
    return select(2, lab.run("ip", "-oneline", "link", "show", "group", "78"):gsub("veth", ""))
  end

  -- Starts the burst, and kills containerd as soon as this many pods have an address, and a few of them their result,
  -- which containerd has put down. Returns how many it answered, and how many attachments are there once the plugins that
  -- it had started have ended: whom they could tell nothing they have undone.
  local function interrupted(at)
    assert(os.execute(([[(
      until [ "$(find /var/lib/cni/networks/burst -name '10.*' | wc -l)" -ge %d ] &&
        [ "$(find /var/lib/cni/results -name 'burst-*' | wc -l)" -gt %d ]; do sleep 0.01; done
      kill -KILL "$(cat /run/private/containerd.pid)") &]]):format(at, LIVING)))
    local calls, answered = {}, 0
    for i = 1, BURST do calls[i] = { "RunPodSandbox", lab.sandbox_request {} } end
    for _, answer in ipairs(lab.cri_batch(calls)) do answered = answered + (answer.ok and 1 or 0) end
    lab.wait_until("the end of the plugins", function() return not select(2, lab.try("pgrep", "-x", "naivebridge")) end)
    return answered, journals()
  end

  -- Stops and removes what containerd knows after its restart, but for a few that run. Returns those, and how many
  -- it knew.
  local function tidy()
    local living, items = {}, lab.cri("ListPodSandbox").items
    for _, item in ipairs(items) do
      if item.state == "SANDBOX_READY" and #living < LIVING then
        living[#living + 1] = lab.pod(item.id)
      else
        lab.wait_until("the end of sandbox " .. item.id, function()
          return lab.cri_try("StopPodSandbox", { pod_sandbox_id = item.id }).ok
            and lab.cri_try("RemovePodSandbox", { pod_sandbox_id = item.id }).ok
        end)
      end
    end
    return living, #items
  end

  -- Runs a function while DELs of the network do not reach its plugin.
  local function without_del(run)
    lab.run("rm", "/opt/cni/bin/naivebridge")
    lab.write("/opt/cni/bin/naivebridge", "#!/bin/sh\ncat >/dev/null\n")
    lab.run("chmod", "755", "/opt/cni/bin/naivebridge")
    local results = table.pack(pcall(run))
    lab.run("ln", "-sfn", "mncni", "/opt/cni/bin/naivebridge")
    return table.unpack(results[1] and results or error(results[2], 0), 2, results.n)
  end

  -- Removes what containerd itself has forgotten, as an administrator does: shims, with the container that each has made
  -- and never starts (which holds its namespace), namespaces, and results in libcni's cache.
  local function forget(living)
    local kept = {}
    for _, pod in ipairs(living) do kept[pod.netns:match "[^/]*$"], kept[pod.id] = true, true end
    for line in lab.try("pgrep", "-a", "-x", "containerd-shim"):gmatch "[^\n]+" do
      local shim, id = line:match "^(%d+) .* %-id (%x+)"
      if not kept[id] then lab.try("sh", "-c", ("kill -KILL $(pgrep -P %s) %s"):format(shim, shim)) end
    end
    for _, name in ipairs(lab.list "/run/netns") do
      if not kept[name] then lab.run("ip", "netns", "delete", name) end
    end
    for _, name in ipairs(lab.list "/var/lib/cni/results") do
      local known = false
      for _, pod in ipairs(living) do known = known or name:find(pod.id, 1, true) end
      if not known then lab.run("rm", "/var/lib/cni/results/" .. name) end
    end
  end

  -- The GC verb of a plugin of a network, as a runtime sends it.
  local function gc(plugin, network, living)
    local valid = setmetatable({}, { __jsontype = "array" })
    local ifname = network == "burst" and "eth0" or "lo"
    for i, pod in ipairs(living) do valid[i] = { containerID = pod.id, ifname = ifname } end
    local conf = { cniVersion = "1.1.0", name = network, ["cni.dev/valid-attachments"] = valid }
    for key, value in pairs(plugin) do conf[key] = value end
    local file = os.tmpname()
    lab.write(file, lab.encode(conf))
    lab.shell(("CNI_COMMAND=GC CNI_PATH=/opt/cni/bin /opt/cni/bin/%s <%s"):format(plugin.type, file))
    os.remove(file)
  end

  local cures = {
    { "GC with the living ones listed, then the namespaces removed", function(living)
      gc(conflist.plugins[1], "burst", living)
      gc({ type = "loopback" }, "cni-loopback", living)
      forget(living)
    end },
    { "the namespaces removed, then mncni gc --grace 0", function(living)
      forget(living)
      lab.wait_until("the kernel to take down the links", function() return links() == #living end)
      lab.run("/opt/cni/bin/mncni", "gc", "--grace", "0")
    end },
  }

  for kill = 1, KILLS do
    local cure, silent = cures[kill % #cures + 1], kill % 4 >= 2

    it(("(%d of %d%s): %s; no leaks"):format(kill, KILLS, silent and ", no DEL" or "", cure[1]), function()
      local at = 1 + (kill * 7) % (BURST - 5)
      local answered, left = interrupted(at)
      assert.is_true(answered < BURST)
      assert.is_true(left > LIVING)
      local function restart()
        lab.restart()
        return tidy()
      end
      local living, known
      if silent then living, known = without_del(restart) else living, known = restart() end
      -- What there is for the cure to find: all that the kill has left, when nobody has sent a DEL.
      local forgotten = journals() - #living
      if silent then assert.equal(left - #living, forgotten) end
      cure[2](living)
      for _, pod in ipairs(living) do assert.is_true(pod:pings "10.244.6.1") end
      assert.same({ #living, #living, #living }, { journals(), #lab.addresses "burst", links() })
      lab.clean()
      assert.same({}, lab.leftovers(before))
      print(("kill %d, at %d addresses: %d pods answered, %d attachments left, %d pods known after the restart; "
        .. "%d attachments forgotten"):format(kill, at, answered, left, known, forgotten))
    end)
  end
end)
