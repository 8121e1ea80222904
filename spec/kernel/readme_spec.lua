-- SPDX-License-Identifier: Apache-2.0
-- The commands of README.md: those on lines of their own, run in the order in which they stand there, on a machine of one's
-- own. Those that another spec runs say which.

local core = require "mncni.core"
local spaces = require "spec.support.netns"

local SANITIZED = os.getenv "RING_PRELOAD" ~= nil

-- command -> { the file that runs it, a text in it by which that is seen }.
local ELSEWHERE = {
  ["make test"] = { ".ci/run", "exec make test" },
  ["make demo"] = { "spec/containerd/demo_spec.lua", "deploy/demo.sh" },
  ["mncni trace"] = { "spec/kernel/trace_spec.lua", "%s trace %s" },
  ["mncni try -w mynet.lua"] = { "spec/kernel/try_spec.lua", "--watch" },
  ["mncni-agent --controller --policy nodeipam --set nodeipam.cluster_cidrs=10.244.0.0/16,fd00:10:244::/48"] = {
    "spec/kubernetes/nodeipam_spec.lua", "--controller",
  },
}

-- Not of a build with sanitizers, which is not portable.
local NOT_SANITIZED = { ["make portable DIR=somewhere"] = true, ["make image"] = true }

-- command -> a pattern of what it prints.
local PRINTS = {
  ["make && make cni-bin DIR=/opt/cni/bin"] = "",
  ["make portable DIR=somewhere"] = "",
  ["mncni new mynet"] = "mynet%.lua",
  ["make image"] = "localhost/mncni:dev",
  ["mkdir -p /etc/mncni/policies"] = "^$",
  ["cp policies/naivebridge.lua /etc/mncni/policies/mynet.lua"] = "^$",
  ["editor /etc/mncni/policies/mynet.lua"] = "^$",
  ["mncni lint mynet.lua"] = "^$",
  ["mncni try mynet.lua"] = "10%.9%.0%.0/16",
  ["mncni repl"] = "",
  ["mncni-agent --node n1 --nodes file:nodes.json --policy routes --dry-run"] = "ip .*route .*10%.244%.2%.0/24",
  ["mncni-agent --node n1 --nodes file:nodes.json --policy routes"] = "10%.244%.2%.0/24 .*dev mncni%-vxlan",
  ["mncni calls"] = "ADD",
  ["mncni calls --last-error"] = "no%-such%-pod",
  ["mncni list"] = "10%.244%.1%.2",
  ["mncni gc --verbose"] = "10%.244%.1%.2",
  ["make install && lua5.4 -l mncni"] = "",
}

-- command -> what comes before it.
local BEFORE = {
  ["mncni lint mynet.lua"] = "cd /etc/mncni/policies",
  ["mncni-agent --node n1 --nodes file:nodes.json --policy routes --dry-run"] = "cd $tree",
  ["mncni calls"] = "call ADD no-such-pod; call ADD web",
  ["mncni gc --verbose"] = "ip netns exec web ip route get 10.9.1.1; ip netns del web; sleep 0.2; ip link del $(port)",
}

-- Commands that end when they are told to: once there is something to see, which is printed.
local LASTING = {
  ["mncni-agent --node n1 --nodes file:nodes.json --policy routes"] = "ip route show proto 78",
}

-- The lines of the README that are commands, without what is said beside them.
local function commands()
  local list, fenced = {}, false
  for line in io.lines "README.md" do
    if line:find "^```" then
      fenced = not fenced
    elseif not fenced and line:find "^    %S" then
      list[#list + 1] = line:gsub("%s%s+#%s.*$", ""):match "^%s*(.-)%s*$"
    end
  end
  return list
end

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

-- The first block in a language behind a text.
local function block(language, behind)
  local text = read "README.md"
  return assert(text:match("\n```" .. language .. "\n(.-)\n```", assert(text:find(behind, 1, true))))
end

local function node_list(count)
  local items = {}
  for i = 1, count do
    items[i] = {
      metadata = { name = "n" .. i, uid = "uid-" .. i },
      spec = { podCIDR = ("10.244.%d.0/24"):format(i), podCIDRs = { ("10.244.%d.0/24"):format(i) } },
      status = { addresses = { { type = "InternalIP", address = "10.0.1.1" .. i } } },
    }
  end
  return { kind = "NodeList", apiVersion = "v1", items = items }
end

local function network()
  local list = core.json.decode(block("json", "and in the network configuration"))
  local conf = list.plugins[1]
  conf.cniVersion, conf.name = list.cniVersion, list.name
  return conf
end

describe("README.md", function()
  local before, space, scratch

  before_each(function()
    before = spaces.snapshot()
    scratch = spaces.must "mktemp -d"
    space = spaces.new "node"
    space:must [[ip link add eth0 type veth peer name up0 && ip link set eth0 up && ip link set up0 up &&
      ip addr add 10.0.1.11/24 dev eth0 && ip route add default via 10.0.1.1]]
  end)

  after_each(function()
    spaces.cleanup()
    spaces.must("rm -rf %s", scratch)
    spaces.assert_nothing_left(before)
  end)

  -- A machine of one's own with nothing installed, a copy of the tree, a pod's namespace, a runtime's call, and an editor
  -- that adds the line which the README proposes.
  local function setup()
    write(scratch .. "/nodes.json", core.json.encode(node_list(2)))
    write(scratch .. "/pods.json", core.json.encode(network()))
    return ([[
      from=$PWD
      mount -t tmpfs tmpfs /mnt && cp %s/*.json /mnt || exit
      for at in /run /var/lib/cni /etc/mncni /opt/cni /usr/local; do
        mkdir -p $at && mount -t tmpfs -o mode=755 tmpfs $at
      done
      mkdir -p /run/netns /run/o/upper /run/o/work /run/tree
      tree=/run/tree
      mount -t overlay -o lowerdir=$from,upperdir=/run/o/upper,workdir=/run/o/work overlay $tree
      cd $tree
      cp /mnt/nodes.json .
      unset MNCNI_STATE_DIR TMPDIR LUA_PATH LUA_CPATH
      export HOME=/run PATH=/opt/cni/bin:$tree/%s/bin:$PATH
      ip netns add web
      call() {
        CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=/run/netns/$2 CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin \
          /opt/cni/bin/mncni </mnt/pods.json
      }
      port() { ip -o link show group 78 | sed 's/^[0-9]*: \([^@:]*\).*/\1/'; }
      editor() { sed -i '/eth:routes(lease/a\  %s' "$1"; }
    ]]):format(scratch, os.getenv "MNCNI_BUILD" or "build", block("lua", "A route of your own is one line more"))
  end

  local function script_of(list)
    local script = { setup() }
    for i, command in ipairs(list) do
      script[#script + 1] = BEFORE[command] or ""
      script[#script + 1] = ("echo; echo '@@%d'"):format(i)
      if LASTING[command] then
        script[#script + 1] = ([[%s & job=$!
          for _ in $(seq 100); do [ -z "$(%s)" ] || break; sleep 0.1; done
          %s; kill $job; wait $job; echo "@@ $?"]]):format(command, LASTING[command], LASTING[command])
      else
        script[#script + 1] = ("{ %s; } </dev/null; echo \"@@ $?\""):format(command)
      end
    end
    return table.concat(script, "\n") .. "\n"
  end

  it("says commands that do what it says", function()
    local list = {}
    for _, command in ipairs(commands()) do
      if not ELSEWHERE[command] and not (SANITIZED and NOT_SANITIZED[command]) then
        list[#list + 1] = command
      end
    end
    write(scratch .. "/script", script_of(list))
    local output = space:sh("unshare --mount --propagation private bash %s", scratch .. "/script")
    for i, command in ipairs(list) do
      local printed, status = output:match("\n@@" .. i .. "\n(.-)\n?@@ (%d+)")
      assert.are.equal("0", status, ("%s: %s"):format(command, printed or output))
      assert.matches(assert(PRINTS[command], command), printed, 1, false)
    end
  end)

  it("has no command that no spec runs", function()
    local seen = {}
    for _, command in ipairs(commands()) do
      assert.is_truthy(PRINTS[command] or ELSEWHERE[command], "no spec runs: " .. command)
      seen[command] = true
    end
    for _, known in ipairs { PRINTS, ELSEWHERE, BEFORE, LASTING, NOT_SANITIZED } do
      for command in pairs(known) do
        assert.is_true(seen[command], "it is in the README no more: " .. command)
      end
    end
    for command, where in pairs(ELSEWHERE) do
      assert.is_truthy(read(where[1]):find(where[2], 1, true), command)
    end
  end)

  it("names targets of the Makefile", function()
    local makefile = (read "Makefile" .. read "spec/fuzz/rules.mk"):gsub("\\\n", " ")
    for target in read "README.md":gsub("\n", " "):gmatch "make ([%l][%l%-]+)" do
      assert.is_truthy(("\n" .. makefile):find("\n[%w%- ]*%f[%w]" .. target:gsub("%-", "%%-") .. "%f[^%w%-][%w%- ]*:"),
        "make " .. target)
    end
  end)
end)
