-- SPDX-License-Identifier: Apache-2.0
-- mncni.reconcile on the kernel: what is wanted is made, kept and removed, and nothing that is not ours is touched.

local core = require "mncni.core"
local merge = require "mncni.merge"
local mncni = require "mncni"
local reconcile = require "mncni.reconcile"
local spaces = require "spec.support.netns"

describe("reconciling a node", function()
  local before, space, host, reconciler, monitor

  before_each(function()
    before = spaces.snapshot()
    space = spaces.new()
    space:must "ip link add up0 type veth peer name up1"
    for _, name in ipairs { "up0", "up1" } do -- without addresses of the kernel's, which come when they come
      space:must("ip link set %s addrgenmode none && ip link set %s up", name, name)
    end
    space:must "for i in $(seq 500); do [ $(ip link | grep -c 'state UP') = 2 ] && exit; sleep 0.01; done; exit 1"
    space:must "ip addr add 192.0.2.10/24 dev up0 && ip addr add 2001:db8::10/64 dev up0 nodad"
    host = mncni.open(space.ns)
    reconciler = reconcile.new { host = host }
    monitor = host:monitor { "link", "addr", "route", "rule", "neigh", "fdb" }
    monitor:leave_out(host:socket("route"):portid())
    reconciler:resync()
  end)

  after_each(function()
    monitor:close()
    host:close()
    spaces.cleanup()
    spaces.assert_nothing_left(before)
  end)

  local clock = 0

  local function want(desired)
    reconciler:want(merge.merge { { "spec", merge.read("spec", desired) } })
  end

  local function events()
    local count = 0
    for event in function() return monitor:next(50) end do
      reconciler:event(event)
      count = count + 1
    end
    return count
  end

  local function apply()
    clock = clock + 1
    return reconciler:apply(clock)
  end

  local function problems()
    local list = {}
    for i, problem in ipairs(reconciler:problems()) do
      list[i] = problem.kind .. " " .. problem.message
    end
    return list
  end

  local function routes()
    return (space:must "ip route show proto 78; ip -6 route show proto 78" :gsub(" pref medium", ""):gsub(" +\n", "\n")
      :gsub(" +$", ""))
  end

  local two = {
    { dst = "10.244.2.0/24", gateway = "192.0.2.2" }, { dst = "fd00:2::/64", gateway = "2001:db8::2" },
  }

  it("makes routes of both families with our protocol, once", function()
    want { routes = two }
    assert.equal(2, apply())
    assert.equal("10.244.2.0/24 via 192.0.2.2 dev up0\nfd00:2::/64 via 2001:db8::2 dev up0 metric 1024", routes())
    assert.equal(0, apply())
    assert.equal(0, events())
    want { routes = two }
    assert.equal(0, apply())
    assert.same({}, problems())
  end)

  it("replaces a route whose gateway changed, so that there is no moment without one", function()
    want { routes = two }
    apply()
    local watch <close> = host:monitor { "route" }
    want { routes = {
      { dst = "10.244.2.0/24", gateway = "192.0.2.3" }, { dst = "fd00:2::/64", gateway = "2001:db8::3" },
    } }
    assert.equal(2, apply())
    for event in function() return watch:next(50) end do
      assert.equal("new", event.event)
    end
    assert.equal("10.244.2.0/24 via 192.0.2.3 dev up0\nfd00:2::/64 via 2001:db8::3 dev up0 metric 1024", routes())
  end)

  it("keeps a route's successor before it removes the old one", function()
    want { routes = { { dst = "10.244.2.0/24", gateway = "192.0.2.2" } } }
    apply()
    local watch <close> = host:monitor { "route" }
    want { routes = { { dst = "10.244.2.0/24", gateway = "192.0.2.2", metric = 50 } } }
    assert.equal(2, apply())
    assert.equal("new", watch:next(1000).event)
    assert.equal("del", watch:next(1000).event)
  end)

  it("removes what is no longer wanted, and nothing else", function()
    space:must "ip route add 10.99.0.0/24 via 192.0.2.2 && ip route add 10.98.0.0/24 via 192.0.2.2 proto 79"
    want { routes = two }
    apply()
    want {}
    assert.equal(2, apply())
    assert.equal("", routes())
    assert.matches("10.99.0.0/24", space:must "ip route")
    assert.matches("10.98.0.0/24", space:must "ip route")
  end)

  it("removes what an earlier one left behind", function()
    space:must "ip route add 10.244.7.0/24 via 192.0.2.7 proto 78 && ip -6 route add fd00:7::/64 dev up0 proto 78"
    space:must "ip link add old0 type bridge && ip link set old0 group 80"
    space:must "ip rule add from 10.9.0.0/16 lookup 77 proto 78"
    reconciler:resync()
    want { routes = two }
    assert.equal(6, apply())
    assert.equal("10.244.2.0/24 via 192.0.2.2 dev up0\nfd00:2::/64 via 2001:db8::2 dev up0 metric 1024", routes())
    assert.is_nil(host.link.get { ifname = "old0" })
    assert.is_nil(space:must("ip rule"):find("10.9.0.0", 1, true))
  end)

  it("repairs a route that somebody removed", function()
    want { routes = two }
    apply()
    space:must "ip route del 10.244.2.0/24 && ip -6 route del fd00:2::/64"
    assert.is_true(events() >= 2)
    assert.equal(2, apply())
    assert.matches("10.244.2.0/24", routes())
  end)

  it("reports a foreign route where ours should be, leaves it, and takes its place when it goes", function()
    space:must "ip route add 10.244.2.0/24 via 192.0.2.9 && ip -6 route add fd00:2::/64 via 2001:db8::9"
    want { routes = { two[1], two[2], { dst = "10.244.3.0/24", gateway = "192.0.2.3" } } }
    assert.equal(1, apply())
    assert.equal("10.244.3.0/24 via 192.0.2.3 dev up0", routes())
    assert.equal(2, #problems())
    assert.matches("stands in the way and is not ours: route add 10.244.2.0/24 via 192.0.2.9", problems()[1])
    assert.is_true(reconciler:problems()[1].conflict)
    space:must "ip route del 10.244.2.0/24 && ip -6 route del fd00:2::/64"
    events()
    assert.equal(2, apply())
    assert.same({}, problems())
  end)

  it("leaves a foreign route that stands before a stale one of ours from the start", function()
    space:must "ip route add 10.244.2.0/24 via 192.0.2.77 proto 78"
    space:must "ip route prepend 10.244.2.0/24 via 192.0.2.99 proto static"
    reconciler:resync()
    want { routes = { two[1] } }
    assert.equal(0, apply())
    assert.equal("10.244.2.0/24 via 192.0.2.99 dev up0 proto static", (space:must "ip route show 10.244.2.0/24"
      :match "^[^\n]*static"))
    assert.matches("stands in the way and is not ours: route add 10.244.2.0/24 via 192.0.2.99", problems()[1])
    space:must "ip route del 10.244.2.0/24 via 192.0.2.99"
    events()
    assert.equal(1, apply())
    assert.equal("10.244.2.0/24 via 192.0.2.2 dev up0", routes())
  end)

  it("removes what is ours and one too many for its place, whenever it came", function()
    local function settle()
      for _ = 1, 5 do
        events()
        apply()
      end
      assert.same({}, problems())
      return routes()
    end
    space:must "ip route add 10.244.2.0/24 via 192.0.2.77 proto 78"
    space:must "ip route append 10.244.2.0/24 via 192.0.2.78 proto 78"
    space:must "ip route append 10.244.2.0/24 via 192.0.2.2 proto 78"
    reconciler:resync()
    want { routes = { two[1] } }
    assert.equal("10.244.2.0/24 via 192.0.2.2 dev up0", settle())
    for _, verb in ipairs { "append", "prepend" } do
      space:must("ip route %s 10.244.2.0/24 via 192.0.2.77 proto 78", verb)
      assert.equal("10.244.2.0/24 via 192.0.2.2 dev up0", settle(), verb)
    end
    space:must "ip route append 10.244.2.0/24 via 192.0.2.77 proto 78"
    space:must "ip route append 10.244.2.0/24 via 192.0.2.78 proto 78"
    events()
    want {}
    assert.equal("", settle())
  end)

  it("leaves a foreign route that has replaced ours", function()
    want { routes = two }
    apply()
    space:must "ip route replace 10.244.2.0/24 via 192.0.2.9"
    events()
    assert.equal(0, apply())
    assert.matches("10.244.2.0/24 via 192.0.2.9 dev up0", space:must "ip route")
    assert.equal(1, #problems())
  end)

  it("is done with what it could not remove once that has gone by itself", function()
    want { routes = two }
    apply()
    local keeper = reconciler.keepers.routes
    local remove = keeper.spec.remove
    finally(function() keeper.spec.remove = remove end)
    -- A deletion that the kernel refuses: one without a privilege that it needs would do as well.
    keeper.spec.remove = function() return { dst = "10.244.2.0/24", family = "inet6" } end
    want { routes = { two[2] } }
    assert.equal(0, apply())
    assert.equal(1, #problems())
    keeper.spec.remove = remove
    space:must "ip route del 10.244.2.0/24"
    events()
    clock = clock + 60000
    apply()
    assert.same({}, problems())
    assert.equal(math.huge, reconciler:due(clock))
  end)

  it("waits longer and longer with what somebody else changes again and again, and says so", function()
    want { routes = two }
    apply()
    local repaired, other = 0, mncni.open(space.ns)
    finally(function() other:close() end)
    local function fight(milliseconds)
      for _ = 1, milliseconds / 10 do
        other.route.absent { dst = "10.244.2.0/24" }
        while true do
          local event = monitor:next(0)
          if not event then
            break
          end
          reconciler:event(event)
        end
        clock = clock + 10
        repaired = repaired + reconciler:apply(clock)
      end
    end
    fight(400)
    assert.equal(5, repaired)
    assert.equal(1, #problems())
    assert.matches("somebody else changes it, or removes it, whenever it was repaired", problems()[1])
    assert.is_true(reconciler:problems()[1].conflict)
    fight(3000)
    assert.is_true(repaired <= 8, repaired .. " repairs")
    assert.is_true(reconciler:due(clock) > clock)
    space:must "ip -6 route del fd00:2::/64" -- others do not wait
    events()
    apply()
    assert.matches("fd00:2::/64", routes(), 1, true)
    for _ = 1, 4 do
      clock = clock + 60000
      apply()
    end
    assert.same({}, problems())
    assert.equal(math.huge, reconciler:due(clock))
    assert.matches("10.244.2.0/24", routes())
    space:must "ip route del 10.244.2.0/24"
    events()
    assert.equal(1, apply())
  end)

  it("puts routes back when their device went down and came up again", function()
    want { routes = two }
    apply()
    space:must "ip link set up0 down"
    events()
    apply()
    assert.equal("", routes())
    assert.is_true(#problems() > 0)
    space:must "ip link set up0 up && ip addr replace 2001:db8::10/64 dev up0 nodad"
    events()
    assert.equal(2, apply())
    assert.same({}, problems())
  end)

  it("keeps the failure of one from the others, and tries it again later and later", function()
    want { routes = { { dst = "10.244.9.0/24", gateway = "203.0.113.1" }, two[1] } }
    assert.equal(1, apply())
    assert.matches("Network is unreachable", problems()[1])
    assert.equal(0, apply())
    local failure = reconciler.keepers.routes.failed[next(reconciler.keepers.routes.failed)]
    assert.equal(1, failure.tries)
    clock = failure.at
    apply()
    assert.equal(2, failure.tries)
    assert.is_true(failure.at > clock + 900)
    space:must "ip addr add 203.0.113.2/24 dev up0"
    space:must "ip link set up0 down && ip link set up0 up"
    events()
    apply()
    assert.same({}, problems())
  end)

  it("reads nothing anew, and tries nothing at once, for links that nothing of ours is on", function()
    space:must "ip route add 10.244.2.0/24 via 192.0.2.9 && ip link add br0 type bridge && ip link set br0 up"
    want { routes = { { dst = "10.244.2.0/24", gateway = "192.0.2.2", dev = "up0" }, two[2] } }
    apply()
    events()
    apply()
    local keeper = reconciler.keepers.routes
    local failure, dumps = keeper.failed[next(keeper.failed)], 0
    local resync = keeper.resync
    function keeper.resync(...)
      dumps = dumps + 1
      return resync(...)
    end
    local tries = failure.tries
    for _ = 1, 3 do
      space:must "ip link add v type veth peer name w && ip link set v master br0 up && ip link set w up"
      space:must "ip addr add 198.51.100.7/32 dev w"
      events()
      apply()
      space:must "ip link del v"
      events()
      apply()
    end
    assert.same({ 0, tries }, { dumps, failure.tries })
    space:must "ip link set up0 down"
    events()
    apply()
    assert.equal(1, dumps)
    assert.is_true(failure.tries > tries)
  end)

  local function vxlan(id)
    return {
      links = { {
        ifname = "vx0", kind = "vxlan", mtu = 1450, address = "02:00:00:00:00:01", up = true,
        vxlan = { id = id or 78, port = 8472, learning = false, ["local"] = "192.0.2.10", link = "up0" },
      } },
      neighbours = { { dev = "vx0", dst = "10.244.2.0", lladdr = "02:00:00:00:00:02" } },
      fdb = { { dev = "vx0", mac = "02:00:00:00:00:02", dst = "192.0.2.2" } },
      routes = { { dst = "10.244.2.0/24", gateway = "10.244.2.0", dev = "vx0", flags = { "onlink" } } },
      addresses = { { dev = "vx0", address = "10.244.1.0/32" } },
      rules = { { priority = 300, src = "10.244.1.0/24", table = 100 } },
      sysctls = { ["net.ipv4.ip_forward"] = 1 },
    }
  end

  it("makes a device and what belongs on it, repairs each, and removes all of it", function()
    want(vxlan())
    assert.equal(7, apply())
    assert.same({}, problems())
    space:must "ip neigh del 10.244.2.0 dev vx0 && bridge fdb del 02:00:00:00:00:02 dev vx0"
    space:must "ip addr del 10.244.1.0/32 dev vx0 && ip rule del priority 300 && ip link set vx0 mtu 1400"
    events()
    apply()
    assert.same({}, problems())
    assert.matches("lladdr 02:00:00:00:00:02 PERMANENT proto 78", space:must "ip neigh show dev vx0")
    assert.matches("02:00:00:00:00:02 dst 192.0.2.2 self permanent", space:must "bridge fdb show dev vx0")
    assert.matches("10.244.1.0/32", space:must "ip addr show dev vx0")
    assert.matches("300:", space:must "ip rule")
    assert.equal(1450, host.link.get({ ifname = "vx0" }).mtu)
    space:must "ip link del vx0"
    events()
    assert.equal(5, apply())
    assert.equal("10.244.2.0/24 via 10.244.2.0 dev vx0 onlink", routes())
    want {}
    apply()
    assert.is_nil(host.link.get { ifname = "vx0" })
    assert.is_nil(space:must("ip rule"):find "300:")
  end)

  it("makes every sort of rule once, and keeps it", function()
    local rules = {
      { family = "inet", priority = 100, fwmark = 1, table = 100 },
      { priority = 101, fwmark = 2, fwmask = 3, table = "100" },
      { src = "10.3.0.0/16", priority = 102, action = "blackhole" }, { src = "10.3.0.0/16", priority = 103 },
      { family = "inet6", priority = 104, ipproto = "tcp", dport = "80", table = "main", iif = "up0" },
      { priority = 105, ipproto = "udp", sport = "80-90", table = 254 }, { priority = 106, ["goto"] = 200 },
      { priority = 107, src = "10.4.0.0/16", flags = { "not" }, table = 7 },
      { priority = 108, table = 7, suppress_prefixlength = 0 }, { priority = 109, uidrange = "1-5", table = 7 },
    }
    want { rules = rules }
    assert.equal(#rules, apply())
    assert.same({}, problems())
    reconciler:resync()
    want { rules = rules }
    assert.equal(0, apply())
    assert.same({}, problems())
    space:must "ip rule del priority 100 && ip rule del priority 102"
    events()
    assert.equal(2, apply())
    want {}
    assert.equal(#rules, apply())
    assert.is_nil(space:must("ip rule; ip -6 rule"):find "proto 78")
  end)

  it("makes a device anew where the kernel cannot change it, with all that is on it", function()
    want(vxlan(78))
    apply()
    want(vxlan(79))
    apply()
    events()
    apply()
    assert.same({}, problems())
    assert.equal(79, host.link.get({ ifname = "vx0" }).vxlan.id)
    assert.matches("PERMANENT", space:must "ip neigh show dev vx0")
    assert.equal("10.244.2.0/24 via 10.244.2.0 dev vx0 onlink", routes())
  end)

  it("leaves a link of that name that is not ours as it is", function()
    space:must "ip link add vx0 type bridge"
    want(vxlan())
    apply()
    assert.equal("bridge", host.link.get({ ifname = "vx0" }).kind)
    assert.matches("stands in the way and is not ours: link add dev vx0 ", problems()[1])
  end)

  it("writes files whole, with their directories, and again when they were changed", function()
    local scratch = spaces.must "mktemp -d"
    local path = scratch .. "/net.d/10-x.conflist"
    want { files = { { path = path, content = "one\n", mode = 384 } } }
    assert.equal(1, apply())
    assert.equal("one", spaces.must("cat %s", path))
    assert.equal("600", spaces.must("stat -c %%a %s", path))
    spaces.must("echo two >%s", path)
    clock = clock + reconcile.POLL
    assert.equal(1, apply())
    assert.equal("one", spaces.must("cat %s", path))
    want {}
    assert.equal(0, apply())
    assert.equal("10-x.conflist", spaces.must("ls -A %s/net.d", scratch))
    spaces.must("rm -r %s", scratch)
  end)

  it("writes files in their policy's order, and none after one that cannot be written", function()
    local scratch = spaces.must "mktemp -d"
    spaces.must(": >%s", scratch .. "/file")
    local list = {
      { path = scratch .. "/z", content = "1" }, { path = scratch .. "/file/y", content = "2" },
      { path = scratch .. "/a", content = "3" },
    }
    want { files = list }
    assert.equal(1, apply())
    assert.equal("file\nz", spaces.must("ls -A %s", scratch))
    assert.matches("Not a directory", problems()[1], 1, true)
    spaces.must("rm %s", scratch .. "/file")
    clock = clock + reconcile.POLL
    apply()
    apply()
    assert.equal("a\nfile\nz", spaces.must("ls -A %s", scratch))
    assert.same({}, problems())
    spaces.must("rm -r %s", scratch)
  end)

  it("removes installed policies that are no longer wanted, and none of an administrator's", function()
    local scratch = spaces.must "mktemp -d"
    local function wanted(...)
      local list, only = {}, {}
      for i, name in ipairs { ... } do
        list[i] = { path = ("%s/%s.lua"):format(scratch, name), content = "return {}\n-- mark\n" }
        only[list[i].path] = true
      end
      list[#list + 1] = { path = scratch, mark = "-- mark\n", only = only }
      want { files = list }
    end
    wanted("a", "b")
    assert.equal(2, apply())
    spaces.must("echo 'return {} -- mark' >%s/mine.lua", scratch)
    wanted "b"
    assert.equal(1, apply())
    assert.equal("b.lua\nmine.lua", spaces.must("ls -A %s", scratch))
    wanted()
    assert.equal(1, apply())
    assert.equal("mine.lua", spaces.must("ls -A %s", scratch))
    assert.equal(0, apply())
    spaces.must("rm -r %s", scratch)
  end)

  it("copies a tree beside what is there, programs after what they load, and heals it", function()
    local scratch = spaces.must "mktemp -d"
    spaces.must([[cd %s && mkdir -p from/lib to && echo 1 >from/lib/a && echo 1 >from/program &&
      chmod 755 from/program && ln -s program from/one && ln -s program from/two &&
      echo theirs >to/two && echo theirs >to/x]], scratch)
    local wanted = { files = {
      { path = scratch .. "/to", tree = scratch .. "/from" }, { path = scratch .. "/to/three", link = "program" },
    } }
    want(wanted)
    local order = {}
    for _, step in ipairs(reconciler:plan(clock)) do
      for _, item in ipairs(step.args) do
        order[#order + 1] = item.path:sub(#scratch + 5)
      end
    end
    assert.same({ "lib/a", "program", "one", "three" }, order)
    assert.equal(2, apply())
    local function there()
      return spaces.must("cd %s/to && stat -c '%%N %%a' * lib/a | tr -d '\\047' && cat two", scratch)
    end
    local whole = "lib 755\none -> program 777\nprogram 755\nthree -> program 777\ntwo 644\nx 644\nlib/a 644\ntheirs"
    assert.equal(whole, there())
    spaces.must("cd %s && rm to/lib/a to/one && echo 2 >from/program", scratch)
    clock = clock + reconcile.POLL
    assert.equal(1, apply())
    assert.equal(whole, there())
    assert.equal("2", spaces.must("cat %s/to/program", scratch))
    clock = clock + reconcile.POLL
    assert.equal(0, apply())
    spaces.must("cd %s && rm -r from to/three && echo theirs >to/three", scratch)
    clock = clock + reconcile.POLL
    apply()
    local said = table.concat(problems(), "\n")
    assert.matches("there is no such directory", said, 1, true)
    assert.matches("something else stands in the way", said, 1, true)
    spaces.must("rm -r %s", scratch)
  end)

  it("makes, repairs and removes a policy's own nftables objects", function()
    local function nft(dst)
      return { nft = { {
        family = "inet", table = "mncni", comment = "spec 1",
        chains = { { name = "mine", type = "filter", hook = "forward", prio = 0, policy = "accept" } },
        sets = { { name = "kept", type = "ipv4_addr", elem = { dst }, owned = true } },
        rules = { { chain = "mine", expr = { { kind = "counter" } } } },
      } } }
    end
    want(nft "192.0.2.1")
    assert.equal(1, apply())
    space:must "nft flush chain inet mncni mine && nft add element inet mncni kept { 192.0.2.9 }"
    clock = clock + reconcile.POLL
    assert.equal(1, apply())
    local text = space:must "nft list table inet mncni"
    assert.matches('comment "spec 1"', text, 1, true)
    assert.matches("elements = { 192.0.2.1 }", text, 1, true)
    want {}
    assert.equal(1, apply())
    assert.is_nil(space:must("nft list table inet mncni"):find "mine")
  end)

  -- What a changed configuration, a reload or a new release is: a state that knows nothing of what was wanted before.
  local function anew()
    reconciler = reconcile.new { host = host }
    reconciler:resync()
  end

  it("removes the nftables objects of a policy that an earlier agent ran, and no others", function()
    local masquerading = mncni.masquerade.desired { sources = { "10.244.1.0/24" }, except = { "10.0.0.0/8" } }
    want { nft = { masquerading, {
      family = "ip", table = "mncni-spec", comment = "spec 1",
      chains = {
        { name = "mine", type = "filter", hook = "forward", prio = 0, policy = "drop" }, { name = "other" },
      },
      sets = { { name = "kept", type = "ipv4_addr", elem = { "192.0.2.1" } } },
      rules = {
        { chain = "mine", expr = { { kind = "immediate", dreg = 0, data = { verdict = "jump", chain = "other" } } } },
      },
    } } }
    assert.equal(2, apply())
    space:must "nft add chain ip mncni-spec theirs && nft add table ip filter && nft 'add chain ip filter FORWARD'"
    space:must [[nft 'add chain ip filter odd { comment "mncni-agent: odd"; }']]
    anew()
    want { nft = { masquerading } }
    assert.equal(1, apply())
    assert.same({}, problems())
    local text = space:must "nft list ruleset"
    for name, there in pairs { mine = false, other = false, kept = false, theirs = true, odd = true, agent = true } do
      assert.equal(there, text:find("%f[%w]" .. name .. " {") ~= nil, name .. "\n" .. text)
    end
    anew()
    want {}
    assert.equal(1, apply())
    text = space:must "nft list ruleset"
    assert.is_nil(text:find("chain agent", 1, true))
    assert.matches("masquerade", text)
    assert.equal(0, apply())
  end)

  it("leaves an nftables chain that stands in the way and is not ours", function()
    space:must "nft add table inet mncni && nft add chain inet mncni theirs && nft add rule inet mncni theirs accept"
    want { nft = { {
      family = "inet", table = "mncni", comment = "spec 1", chains = { { name = "theirs" } }, sets = {}, rules = {},
    } } }
    assert.equal(0, apply())
    assert.matches("stands in the way and is not ours", problems()[1])
    want {}
    apply()
    assert.matches("accept", space:must "nft list chain inet mncni theirs")
  end)

  it("gives the table of masquerading back to the plugin", function()
    want { nft = { mncni.masquerade.desired { sources = { "10.244.1.0/24" }, except = { "10.0.0.0/8" } } } }
    assert.equal(1, apply())
    assert.matches("chain agent", space:must "nft list table inet mncni")
    want {}
    assert.equal(1, apply())
    local text = space:must "nft list table inet mncni"
    assert.is_nil(text:find("chain agent", 1, true))
    assert.matches("masquerade", text)
  end)

  it("says what it would do, in order, and does nothing", function()
    want(vxlan())
    local kinds = {}
    for i, step in ipairs(reconciler:plan(0)) do
      kinds[i] = step.kind
    end
    assert.same({ "sysctls", "links", "addresses", "neighbours", "fdb", "routes", "rules" }, kinds)
    assert.is_nil(host.link.get { ifname = "vx0" })
  end)

  it("makes 5 000 routes, with thousands refused among them", function()
    local list = {}
    for i = 1, 5000 do
      list[i] = {
        dst = ("10.%d.%d.0/24"):format(100 + i // 256, i % 256), gateway = i % 2 == 0 and "192.0.2.2" or "203.0.113.9",
      }
    end
    want { routes = list }
    local started = core.record.clock()
    assert.equal(2500, apply())
    print(("5000 routes, half of them refused: %.0f ms"):format((core.record.clock() - started) / 1000))
    assert.equal(2500, #problems())
    assert.equal(2500, select(2, routes():gsub("\n", "\n")) + 1)
  end)
end)
