-- SPDX-License-Identifier: Apache-2.0
-- mncni list: the attachments on a node, what is wrong with them, and the node drawn in text.

local core = require "mncni.core"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local node, before

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "web", "db" } }
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

local function run(...)
  return node:mncni("list", ...)
end

local function list(...)
  return node:say("list", ...)
end

local function json(...)
  return core.json.decode(list("-o", "json", ...))
end

local function add(pod, args)
  args = args or {}
  args.pod = pod
  node.env.CNI_ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" .. pod
  local result = node:must("ADD", args)
  node.env.CNI_ARGS = nil
  return result
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  return lines
end

describe("mncni list", function()
  it("lists pod, address, link, policy and age of each attachment, a line each", function()
    add "web"
    add("db", { name = "ptp", conf = { name = "othernet" } })
    local lines = lines_of(list())
    assert.are.equal(3, #lines)
    assert.matches("^POD +CONTAINER +IFNAME +ADDRESS +LINK +MASTER +POLICY +NETWORK +AGE +STATE$", lines[1])
    assert.matches("^default/db +db +eth0 +10%.244%.1%.2/24 +veth%w+ +%- +ptp +othernet +%d+s$", lines[2])
    assert.matches(("^default/web +web +eth0 +10%%.244%%.1%%.2/24 +%s +cbr0 +naivebridge +testnet +%%d+s$"):format(
      nodes.port "web"), lines[3])
    assert.are.equal("othernet", json("--network", "othernet")[1].network)
    for _, name in ipairs { "web", "default/web", "we" } do
      local found = json("--pod", name)
      assert.are.same({ 1, "web" }, { #found, found[1].container })
    end
  end)

  it("tells the plugins of a chain as one attachment", function()
    local result = add "web"
    add("web", { name = "portmap", conf = {
      prevResult = result, ipam = false, runtimeConfig = { portMappings = { { hostPort = 8080, containerPort = 80 } } },
    } })
    local found = json()
    assert.are.equal(1, #found)
    local one = found[1]
    table.sort(one.policies)
    assert.is_true(one.age >= 0)
    one.age = nil
    assert.are.same({
      network = "testnet", container = "web", ifname = "eth0", pod = "default/web", netns = "/run/netns/web",
      policies = { "naivebridge", "portmap" }, addresses = { "10.244.1.2/24" }, state = "alive",
      link = nodes.port "web", master = "cbr0",
    }, one)
    node:must("DEL", { name = "portmap", conf = { prevResult = result, ipam = false } })
  end)

  it("marks what is stale with the reason, until gc takes it", function()
    add "web"
    add "db"
    node:kill "web"
    local lines = lines_of(list())
    assert.matches("^default/web .* stale$", lines[3])
    assert.matches("^  its namespace /run/netns/web is gone, and no link of it is on the host$", lines[4])
    assert.are.same({ "web" }, { json("--stale")[1].container })
    assert.are.equal("alive", json("--pod", "db")[1].state)
    node:gc "--grace=0"
    assert.are.equal(0, #json "--stale")
    assert.are.equal(1, #json())
  end)

  it("marks an ADD that has not come to its end, and what cannot be judged", function()
    add "web"
    add "db"
    local path = node:journal "web"
    spaces.must("sed -i '$d' %s", path)
    node.rewrite(node:journal "db", function(head) head.host.cookie = head.host.cookie + 1 end)
    local states = {}
    for _, one in ipairs(json()) do
      states[one.container] = one.state .. ": " .. one.reason
    end
    assert.are.same({
      web = "unfinished: its ADD has not come to its end, or is at work",
      db = "doubt: it was made from another network namespace than this one, whose links cannot be seen here",
    }, states)
  end)

  it("lives with journals that are damaged", function()
    add "web"
    spaces.must("{ head -c 300 /dev/urandom; echo; } >%s", node:journal "db") -- without an end no line would have begun
    local found = json()
    assert.are.same({ "db", "web" }, { found[1].container, found[2].container })
    assert.are.equal("doubt", found[1].state)
    list()
    list "--tree"
    spaces.must("rm %s", node:journal "db")
  end)

  it("draws the node: bridge, ports, pods, the way out, and routes to peers", function()
    add "web"
    add("db", { name = "ptp", conf = { name = "othernet" } })
    node.space:must "ip link add spare type veth peer name spare1 && ip link set spare master cbr0"
    for _, prefix in ipairs { "10.244.2.0/24", "10.244.3.0/24" } do
      node.space:must("ip route add %s via 192.0.2.11 proto 78", prefix)
    end
    node.space:must "ip route add blackhole 10.244.0.0/16 proto 78 metric 1024"
    local text = list "--tree"
    local patterns = {
      "^node [^\n]+\n",
      "\n├── cbr0  %(bridge%)  up  mtu 1500  10%.244%.1%.1/24\n",
      "\n│   ├── spare  %(veth%)  down  mtu 1500  no pod's\n",
      ("\n│   └── %s  default/web  eth0  10%%.244%%.1%%.2/24  naivebridge  age %%d+s\n"):format(nodes.port "web"),
      "\n├── up0  %(veth%)  up  mtu 1500  192%.0%.2%.10/24  default via 192%.0%.2%.1\n",
      "\n├── veth%w+  default/db  eth0  10%.244%.1%.2/24  ptp  age %d+s\n",
      "\n└── routes of the agent %(protocol mncni%)\n",
      "\n    ├── blackhole\n    │   └── 10%.244%.0%.0/16\n",
      "\n    └── peer 192%.0%.2%.11  dev up0\n        ├── 10%.244%.2%.0/24\n        └── 10%.244%.3%.0/24\n$",
    }
    for _, pattern in ipairs(patterns) do
      assert(text:find(pattern), ("there is no %q in\n%s"):format(pattern, text))
    end
  end)

  it("draws pods that have no link on the node", function()
    node.space:must "ip link set up0 up"
    add("web", { name = "macvlan", conf = { master = "up0" } })
    local text = list "--tree"
    local pod = "    └── default/web  eth0  10%.244%.1%.2/24  macvlan  "
    assert(text:find("\n└── pods without a link on the node\n" .. pod), text)
    node:must("DEL", { name = "macvlan", conf = { master = "up0" } })
  end)

  it("may be used by root alone, and says so", function()
    add "web"
    spaces.must("chmod 755 %s", node.scratch)
    local output, status = spaces.sh("MNCNI_STATE_DIR=%s setpriv --reuid 65534 --clear-groups %s list", node.state,
      node.scratch .. "/bin/mncni")
    assert.are.equal(1, status)
    assert.matches("^mncni list: list %S+: EACCES [^\n]*: only root may read it, [^\n]*; run this as root$", output)
  end)

  it("is in colour at a terminal, and nowhere else", function()
    add "web"
    node:kill "web"
    local command = ("MNCNI_STATE_DIR=%s TERM=xterm %s/bin/mncni list"):format(node.state, node.scratch)
    assert.matches("\27%[31mdefault/web ", node.space:must("script -qec %s /dev/null", command))
    assert.is_nil(node.space:must(command .. " | cat"):find "\27")
  end)

  it("offers its pods and networks to bash", function()
    add "web"
    for kind, name in pairs { pods = "default/web\n", networks = "testnet\n" } do
      assert.are.equal(name, node:exec({ node.scratch .. "/bin/mncni", "completion", kind }).stdout)
    end
  end)

  for _, case in ipairs {
    { {}, 0, "nothing to list; the journals in STATE were looked at" },
    { { "--pod", "ghost" }, 1, 'no attachment of pod "ghost" is on this node; "mncni list" shows all' },
    { { "--tre" }, 2, 'there is no option "--tre", did you mean "--tree"?; mncni list --help' },
    { { "--state-dir" }, 2, '"--state-dir" needs a value; mncni list --help' },
    { { "--tree", "-o", "json" }, 2, "--tree and --output exclude each other; mncni list --help" },
    { { "web" }, 2, '"web" is one argument too many; mncni list --help' },
    { { "--state-dir", "/etc/passwd" }, 1,
      "list /etc/passwd/attachments: ENOTDIR Not a directory: the journals cannot be listed" },
  } do
    it(("answers %q on an empty node in one line"):format(table.concat(case[1], " ")), function()
      local output, errors, status = run(table.unpack(case[1]))
      assert.are.same({ "", "mncni list: " .. case[3]:gsub("STATE", node.state) .. "\n", case[2] },
        { output, errors, status })
    end)
  end
end)
