-- SPDX-License-Identifier: Apache-2.0
-- mncni repl for a person at a terminal: lines edited, completed and kept, pods at hand, and a prompt that changes nothing.

local cni = require "spec.support.cni"
local core = require "mncni.core"
local spaces = require "spec.support.netns"
local terminals = require "spec.support.terminal"

local BIN = spaces.must("realpath %s", (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni")

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

describe("mncni repl at a terminal", function()
  local before, scratch, terminal

  local function start(words, env)
    terminal = terminals.start {
      argv = { BIN, "repl", table.unpack(words or {}) }, directory = scratch, env = env or ("HOME=" .. scratch),
    }
    terminal:wait "help%(%) tells what there is"
    terminal:wait "^>"
    return terminal
  end

  before_each(function()
    before = spaces.snapshot()
    scratch = spaces.must "mktemp -d"
  end)

  after_each(function()
    if terminal then
      terminal:close()
    end
    terminal = nil
    spaces.must("rm -rf %s", scratch)
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  it("edits lines, and brings back the last ones", function()
    start():type "6 * 8"
    terminal:keys "BSpace"
    terminal:type "7\n"
    terminal:wait "^42$"
    terminal:keys "Up"
    terminal:keys "Home"
    terminal:type "1000 + "
    terminal:keys "Enter"
    terminal:wait "^1042$"
    terminal:keys "C-d"
    terminal:wait "^ended with 0$"
    assert.equal("6 * 7\n1000 + 6 * 7\n", read(scratch .. "/.mncni_history"))
    assert.equal("600", spaces.must("stat -c %%a %s", scratch .. "/.mncni_history"))
  end)

  it("keeps lines for the next time, even if it ends by os.exit", function()
    start():type "print('kept')\n"
    terminal:wait "^kept$"
    terminal:type "os.exit(3)\n"
    terminal:wait "^ended with 3$"
    terminal:close()
    start()
    terminal:keys("Up", "Up", "Enter")
    terminal:wait "^kept$"
  end)

  it("keeps them below XDG_STATE_HOME where that is set", function()
    start({}, ("HOME=/nonexistent XDG_STATE_HOME=%s/state"):format(scratch)):type "2 + 2\n"
    terminal:wait "^4$"
    assert.equal("2 + 2\n", read(scratch .. "/state/mncni/history"))
  end)

  it("writes no file of root's into another's home", function()
    spaces.must("mkdir %s && chown 1234 %s", scratch .. "/home", scratch .. "/home")
    start({}, ("HOME=%s/home"):format(scratch)):type "2 + 2\n"
    terminal:wait "no history is kept in "
    terminal:wait "^4$"
    assert.equal("", spaces.must("ls -A %s", scratch .. "/home"))
  end)

  for _, case in ipairs {
    { "a global", "mncn", "> mncni" },
    { "a part of the module", "mncni.masq", "> mncni.masquerade" },
    { "a family of a net", "host.nei", "> host.neigh" },
    { "its verb", "host.link.ens", "> host.link.ensure" },
    { "a verb of nftables", "host.nft.set.ens", "> host.nft.set.ensure" },
    { "a key that a verb takes", "host.link.add { ifna", "> host.link.add { ifname" },
    { "a key behind another", "host.route.add { dst = 'default', gat", "> host.route.add { dst = 'default', gateway" },
    { "a function of Lua's", "string.form", "> string.format" },
    { "a topic of help", 'help "masq', '> help "masquerade' },
  } do
    it("completes " .. case[1], function()
      start():type(case[2])
      terminal:keys "Tab"
      terminal:wait("^" .. case[3]:gsub("%p", "%%%0") .. "$")
    end)
  end

  it("lists what a word may become", function()
    start():type "host.link.a"
    terminal:keys("Tab", "Tab")
    terminal:wait "host.link.absent +host.link.add"
  end)

  it("prints tables as Lua has them, and what has words of its own by those", function()
    start():type "{ 1, 'a', x = { true }, y = {}, ['a b'] = mncni.cidr '10.0.0.0/8' }\n"
    terminal:wait '^{ 1, "a", %["a b"%] = 10.0.0.0/8, x = { true }, y = {} }$'
    terminal:type "host.link.get { ifname = 'lo' }\n"
    terminal:wait "^link set dev lo mtu 65536 up$"
    terminal:type "t = {} t.t = t\nt\n"
    terminal:wait "^{ t = { the table above } }$"
  end)
end)

describe("mncni repl", function()
  local before, scratch

  local function repl(words, input)
    local outcome = core.exec {
      argv = { "/bin/sh", "-c", 'exec "$0" repl -i "$@" 2>&1', BIN, table.unpack(words) }, stdin = input,
      env = { PATH = os.getenv "PATH", MNCNI_STATE_DIR = scratch .. "/state" }, timeout = 20000,
    }
    return outcome.stdout
  end

  before_each(function()
    before = spaces.snapshot()
    scratch = spaces.must "mktemp -d"
  end)

  after_each(function()
    spaces.must("rm -rf %s", scratch)
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  local function attach(command, container, name)
    local pod = command == "ADD" and spaces.new(container) or { path = "/run/netns/" .. container }
    return cni.exec {
      bin = BIN, command = command, container = container, netns = pod.path, ifname = "eth0",
      args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=" .. name,
      stdin = { cniVersion = "1.0.0", name = "testnet", type = "mncni", policy = "loopback" },
      env = { MNCNI_STATE_DIR = scratch .. "/state" },
    }
  end

  it("opens a pod by its name, its namespace and name, or its container's id", function()
    assert.equal(0, attach("ADD", "0123456789abcdef", "web").status)
    assert.equal(0, attach("ADD", "0123999999999999", "db").status)
    local said = repl({}, [[
print("#1", pod "web".link.get { ifname = "lo" }.up)
print("#2", pod "shop/db".link.get { ifname = "lo" }.up)
print("#3", pod "01234".link.get { ifname = "lo" }.up)
pod "0123"
pod "nosuch"
pod()
]])
    for i = 1, 3 do
      assert.matches(("#%d\ttrue\n"):format(i), said, 1, true)
    end
    assert.matches('open pod "0123": there is more than one: shop/[^\n]*; shop/[^\n]*; say more of the name\n', said)
    assert.matches('open pod "nosuch": there is none; there are shop/db, container 0123999999; '
      .. "shop/web, container 0123456789", (said:gsub("(container %d%d%d%d%d%d%d%d%d%d)%w%w", "%1")))
    assert.matches('open pod: say which: pod "NAME", "NAMESPACE/NAME" or a container\'s id\n', said)
    attach("DEL", "0123456789abcdef", "web")
    attach("DEL", "0123999999999999", "db")
    assert.matches('open pod "web": no pod of this node has a journal in ', repl({}, 'pod "web"\n'), 1, true)
  end)

  it("tells with --dry-run what would be changed, and changes nothing", function()
    spaces.new "web"
    local said = repl({ "--dry-run" }, [[
host.link.ensure { ifname = "br0", kind = "bridge", up = true }
host.addr.add { dev = "br0", address = "10.1.1.1/24" }
host.route.add { dst = "10.9.0.0/16", gateway = "10.1.1.9" }
host.route.add { dst = "10.9.0.0/16", gateway = "10.77.0.1" }
mncni.bridge.ensure { ifname = "br1", address = { "10.2.2.1/24" } }
host.nft.batch { { "add", "table", { family = "inet", name = "x" } } }
host.sysctl.set("net/ipv4/ip_forward", 1)
mncni.open("web").link.set { ifname = "lo", up = false }
host.link.add { ifname = "x", knd = "dummy" }
]])
    for _, line in ipairs {
      "ip link add dev br0 up type bridge", "ip address add 10.1.1.1/24 dev br0",
      "ip route add 10.9.0.0/16 via 10.1.1.9", "ip link add dev br1 ", "nft 'add table inet x'", "sysctl -w net/ipv4/",
      "ip -n web link set dev lo down", "ENETUNREACH Network is unreachable", 'unknown key "knd"',
    } do
      assert.matches(line, said, 1, true)
    end
    assert.matches("lo up", repl({ "--dry-run" }, 'mncni.open("web").link.get { ifname = "lo" }\n')
      :gsub("mtu %d+ ", ""))
  end)
end)
