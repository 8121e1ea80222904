-- SPDX-License-Identifier: Apache-2.0
-- What a pod can and cannot do to its neighbours through its port of the bridge: frames that one pod sends by hand,
-- and whether another one receives them.

local core = require "mncni.core"
local frames = require "spec.support.frames"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local FORGED, BROADCAST = "02:00:00:00:00:66", "ff:ff:ff:ff:ff:ff"

describe("a pod's port", function()
  local node, web, db

  local function start(conf)
    node = nodes.new { pods = { "web", "db" }, subnets = { "10.244.1.0/24", "fd00:1::/64" } }
    local _
    _, web = node:add { pod = "web", conf = conf }
    _, db = node:add { pod = "db" }
    web.conf = conf
  end

  after_each(function()
    node:cleanup()
  end)

  -- Whether what web sends gets to db. What the bridge believes of MAC addresses is what forged frames tell it: it
  -- forgets that first, and the mark is a broadcast.
  local function arrives(frame)
    node.space:must("ip link set %s type bridge_slave fdb_flush", web.port)
    return frames.arrives { frame = frame, from = node.pods.web, to = node.pods.db, mark = function(text)
      return frames.ether { to = BROADCAST, from = web.mac, type = 0x0800,
        payload = frames.ipv4(web.address, "10.244.1.255", text) }
    end }
  end

  -- Whose MAC addresses the bridge takes web's port to lead to, but for its own: what a forged frame taught it.
  local function learned()
    local list = {}
    for mac in node:sh("bridge fdb show br cbr0 | grep -F 'dev %s ' | grep -v permanent", web.port):gmatch "[^\n]+" do
      mac = mac:match "^%S+"
      list[#list + 1] = mac == FORGED and "forged" or mac == db.mac and "neighbour" or mac ~= web.mac and mac or nil
    end
    table.sort(list)
    return table.concat(list, " ")
  end

  -- What becomes of a frame that web sends: "arrives" or "dropped", and what the bridge learns from it.
  local function fate(frame)
    local what = arrives(frame) and "arrives" or "dropped"
    local known = learned()
    return known == "" and what or ("%s, the bridge believes it: %s"):format(what, known)
  end

  local function ether(type, payload, more)
    local args = { to = db.mac, from = web.mac, type = type, payload = payload }
    for key, value in pairs(more or {}) do
      args[key] = value
    end
    return frames.ether(args)
  end

  local function link_local(mac)
    local a, rest = mac:match "^(%x+):(.*)$"
    local b, c, d, e, f = rest:match "^(%x+):(%x+):(%x+):(%x+):(%x+)$"
    return ("fe80::%x%s:%sff:fe%s:%s%s"):format(tonumber(a, 16) ~ 2, b, c, d, e, f)
  end

  -- Name, what it takes to stop it ("mac": either option does; or "address"), frame, and whom the bridge believes it to
  -- come from when nothing stops it, where that is not web.
  local forged = {
    { "a frame with another MAC address", "mac", function()
      return ether(0x0800, frames.ipv4(web.address, db.address), { from = FORGED })
    end, "forged" },
    { "a frame with the neighbour's own MAC address", "mac", function()
      return ether(0x0800, frames.ipv4(web.address, db.address), { from = db.mac, to = BROADCAST })
    end, "neighbour" },
    { "an ARP reply with another sender's MAC address", "mac", function()
      return ether(0x0806, frames.arp { from_mac = FORGED, from = web.address, to_mac = db.mac, to = db.address })
    end },
    { "an ARP reply in the gateway's name", "address", function()
      return ether(0x0806, frames.arp { from_mac = web.mac, from = "10.244.1.1", to_mac = db.mac, to = db.address })
    end },
    { "an ARP request in the neighbour's name", "address", function()
      return ether(0x0806, frames.arp { op = 1, from_mac = web.mac, from = db.address, to_mac = "00:00:00:00:00:00",
        to = "10.244.1.1" }, { to = BROADCAST })
    end },
    { "an ARP probe for the neighbour's address", "address", function()
      return ether(0x0806, frames.arp { op = 1, from_mac = web.mac, from = "0.0.0.0", to_mac = "00:00:00:00:00:00",
        to = db.address }, { to = BROADCAST })
    end },
    { "ARP of another kind of hardware", "address", function()
      return ether(0x0806, frames.arp { hardware = 6, from_mac = web.mac, from = web.address, to_mac = db.mac,
        to = db.address })
    end },
    { "an IPv4 packet from the neighbour's address", "address", function()
      return ether(0x0800, frames.ipv4(db.address, db.address))
    end },
    { "an IPv4 packet from outside", "address", function()
      return ether(0x0800, frames.ipv4("192.0.2.1", db.address))
    end },
    { "an IPv4 packet without source", "address", function()
      return ether(0x0800, frames.ipv4("0.0.0.0", "255.255.255.255"), { to = BROADCAST })
    end },
    { "an IPv6 packet from the neighbour's address", "address", function()
      return ether(0x86dd, frames.ipv6(db.address6, db.address6, 17, "12345678"))
    end },
    { "an IPv6 packet from the neighbour's link-local address", "address", function()
      return ether(0x86dd, frames.ipv6(link_local(db.mac), db.address6, 17, "12345678"))
    end },
    { "an IPv6 packet without source", "address", function()
      return ether(0x86dd, frames.ipv6("::", db.address6, 17, "12345678"))
    end },
    { "a neighbour advertisement of the gateway's address", "address", function()
      return ether(0x86dd, frames.neighbour(136, web.address6, db.address6, "fd00:1::1", web.mac))
    end },
    { "the same behind an extension header", "address", function()
      return ether(0x86dd, frames.neighbour(136, web.address6, db.address6, "fd00:1::1", web.mac, true))
    end },
    { "a duplicate address detection of the neighbour's address", "address", function()
      return ether(0x86dd, frames.neighbour(135, "::", "ff02::1:ff00:2", db.address6), { to = "33:33:ff:00:00:02" })
    end },
    { "a router advertisement", "address", function()
      return ether(0x86dd, frames.router_advertisement(link_local(web.mac), "ff02::1"), { to = "33:33:00:00:00:01" })
    end },
    { "a redirect", "address", function()
      return ether(0x86dd, frames.icmp6(link_local(web.mac), db.address6, 137, ("\0"):rep(36)))
    end },
    { "a VLAN tag", "address", function()
      return ether(0x0800, frames.ipv4(web.address, db.address), { vlan = 7 })
    end },
    { "the VLAN tag 0", "address", function()
      return ether(0x0800, frames.ipv4(web.address, db.address), { vlan = 0 })
    end },
    { "IPv4 from elsewhere behind two VLAN tags", "address", function()
      return ether(0x8100, string.pack(">I2I2", 0, 0x0800) .. frames.ipv4("192.0.2.1", db.address), { vlan = 0 })
    end },
    { "another ethertype", "address", function()
      return ether(0x88cc, "hello neighbour, this is no IP")
    end },
    { "IPv4 as LLC and SNAP", "address", function()
      local packet = "\xaa\xaa\3\0\0\0\x08\x00" .. frames.ipv4("192.0.2.1", db.address)
      return ether(#packet, packet)
    end },
  }

  local honest = {
    { "IPv4", function() return ether(0x0800, frames.ipv4(web.address, db.address)) end },
    { "a broadcast", function()
      return ether(0x0800, frames.ipv4(web.address, "10.244.1.255"), { to = BROADCAST })
    end },
    { "a broadcast to whoever hears it", function()
      return ether(0x0800, frames.ipv4(web.address, "255.255.255.255"), { to = BROADCAST })
    end },
    { "a multicast", function()
      return ether(0x0800, frames.ipv4(web.address, "224.0.0.251"), { to = "01:00:5e:00:00:fb" })
    end },
    { "gratuitous ARP", function()
      return ether(0x0806, frames.arp { op = 1, from_mac = web.mac, from = web.address, to_mac = BROADCAST,
        to = web.address }, { to = BROADCAST })
    end },
    { "IPv6", function() return ether(0x86dd, frames.ipv6(web.address6, db.address6, 17, "12345678")) end },
    { "IPv6 from the link-local address", function()
      return ether(0x86dd, frames.ipv6(link_local(web.mac), db.address6, 17, "12345678"))
    end },
    { "a neighbour advertisement of its own", function()
      return ether(0x86dd, frames.neighbour(136, web.address6, db.address6, web.address6, web.mac))
    end },
    { "a duplicate address detection of its own", function()
      return ether(0x86dd, frames.neighbour(135, "::", "ff02::1:ff00:2", web.address6), { to = "33:33:ff:00:00:02" })
    end },
  }

  local function outcome()
    -- What the neighbour says by itself meanwhile must not hide that the bridge believed a frame in its name.
    node.space:must("bridge link set dev %s learning off", db.port)
    node.space:must("ip link set %s type bridge_slave fdb_flush", db.port)
    local result = {}
    for _, case in ipairs(forged) do
      result[case[1]] = fate(case[3]())
    end
    for _, case in ipairs(honest) do
      result[case[1]] = fate(case[2]())
    end
    node.space:must("bridge link set dev %s learning on", db.port)
    return result
  end

  local function expected(stops)
    local result = {}
    for _, case in ipairs(forged) do
      result[case[1]] = stops[case[2]] and "dropped"
        or case[4] and "arrives, the bridge believes it: " .. case[4] or "arrives"
    end
    for _, case in ipairs(honest) do
      result[case[1]] = "arrives"
    end
    return result
  end

  local function assert_reachable()
    for _, target in ipairs { db.address, "10.244.1.1", db.address6, "fd00:1::1", link_local(db.mac) .. "%eth0" } do
      local output = node.pods.web:sh("ping -c 1 -W 2 " .. target)
      assert.truthy(output:find("1 received", 1, true), output)
    end
    local output = node.pods.db:sh("ping -c 1 -W 2 " .. web.address6)
    assert.truthy(output:find("1 received", 1, true), output)
  end

  it("lets everything pass unless told otherwise", function()
    start {}
    assert.are.same(expected {}, outcome())
    assert.are.equal("", node:sh "nft list tables bridge")
  end)

  it("with macspoofchk keeps the pod to its MAC address", function()
    start { macspoofchk = true }
    assert.are.same(expected { mac = true }, outcome())
    assert_reachable()
  end)

  it("with ipspoofchk keeps the pod to its addresses as well", function()
    start { ipspoofchk = true }
    assert.are.same(expected { mac = true, address = true }, outcome())
    assert_reachable()
  end)

  it("keeps to the MAC address that was asked for", function()
    start { ipspoofchk = true, runtimeConfig = { mac = "02:AB:cd:00:00:01" }, capabilities = { mac = true } }
    assert.are.equal("02:ab:cd:00:00:01", web.mac)
    assert.are.same(expected { mac = true, address = true }, outcome())
    assert_reachable()
  end)

  it("protects the node, too", function()
    start { ipspoofchk = true }
    local gateway = node:sh "ip -j link show cbr0 | jq -r .[0].address"
    local function reaches_node(frame)
      local yes = frames.arrives { frame = frame, from = node.pods.web, to = node.space, to_ifname = "cbr0",
        mark = function(text)
          return frames.ether { to = gateway, from = web.mac, type = 0x0800,
            payload = frames.ipv4(web.address, "10.244.1.1", text) }
        end }
      assert.are.equal("", learned())
      return yes
    end
    assert.is_false(reaches_node(ether(0x0800, frames.ipv4(db.address, "10.244.1.1"), { to = gateway })))
    assert.is_false(reaches_node(ether(0x0800, frames.ipv4(web.address, "10.244.1.1"),
      { to = gateway, from = FORGED })))
    assert.is_true(reaches_node(ether(0x0800, frames.ipv4(web.address, "10.244.1.1"), { to = gateway })))
  end)

  -- Frames to the addresses that a bridge keeps to itself (IEEE 802.1Q, table 8-1) never get to prerouting, and teach it
  -- all the same. Calls check with what it has learned after each of them.
  local function send_to_bridge(check)
    for last = 0, 15 do
      local what = arrives(ether(0x0800, frames.ipv4(db.address, db.address), {
        to = ("01:80:c2:00:00:%02x"):format(last), from = FORGED,
      }))
      check(last, what, learned())
    end
  end

  it("teaches the bridge by frames that it keeps to itself, unless told otherwise", function()
    start {}
    local PAUSE = 1 -- the address of MAC control frames, which a bridge drops as they come
    send_to_bridge(function(last, _, known)
      assert.are.equal(last == PAUSE and "" or "forged", known, last)
    end)
  end)

  for option, conf in pairs { macspoofchk = { macspoofchk = true }, ipspoofchk = { ipspoofchk = true } } do
    it("with " .. option .. " teaches the bridge nothing, not even by frames that it keeps to itself", function()
      start(conf)
      send_to_bridge(function(last, arrived, known)
        assert.are.same({ false, "" }, { arrived, known }, last)
      end)
      assert_reachable()
    end)

    it("with " .. option .. " is not taken over by another port", function()
      start(conf)
      local function db_sends(text)
        return frames.ether { to = "02:00:00:00:00:55", from = text and db.mac or web.mac, type = 0x0800,
          payload = frames.ipv4(db.address, "10.244.1.255", text) }
      end
      frames.arrives { frame = db_sends(), from = node.pods.db, to = node.pods.web, mark = db_sends }
      local known = node:sh("bridge fdb show br cbr0 | grep " .. web.mac)
      assert.truthy(known:find(("%s dev %s "):format(web.mac, web.port), 1, true), known)
      assert_reachable()
    end)
  end

  it("with portIsolation reaches the node but no other isolated pod", function()
    node = nodes.new { pods = { "web", "db" } }
    local conf = { portIsolation = true }
    node:add { pod = "web", conf = conf }
    db = select(2, node:add { pod = "db", conf = conf })
    assert.truthy(node.pods.web:sh("ping -c 1 -W 2 10.244.1.1"):find("1 received", 1, true))
    local output = node.pods.web:sh("ping -c 1 -W 1 " .. db.address)
    assert.truthy(output:find(" 0 received", 1, true), output)
    node:sh("bridge link set dev " .. db.port .. " isolated off")
    assert.truthy(node.pods.web:sh("ping -c 1 -W 2 " .. db.address):find("1 received", 1, true))
  end)

  describe("that is guarded", function()
    local before

    -- The lines of all sets of the table.
    local function elements()
      return node:sh "nft list map bridge mncni ports"
        .. node:sh "for s in macs addresses4 addresses6; do nft list set bridge mncni $s; done"
    end

    before_each(function()
      start { ipspoofchk = true }
      before = elements()
      assert.truthy(before:find(web.port, 1, true))
    end)

    local function assert_gone(port)
      assert.falsy(elements():find(port, 1, true), elements())
    end

    it("costs elements only, and the next one leaves the rules alone", function()
      local rules = node:sh "nft -a list chain bridge mncni check_ip6"
      local _, third = node:add { pod = "third", conf = { ipspoofchk = true } }
      assert.are.equal(rules, node:sh "nft -a list chain bridge mncni check_ip6")
      assert.truthy(elements():find(third.port, 1, true))
      node:must("DEL", { pod = "third" })
      assert.are.equal(before, elements())
    end)

    it("is forgotten by DEL", function()
      node:must("DEL", { pod = "web" })
      assert_gone(web.port)
    end)

    it("is forgotten by DEL when the namespace is gone", function()
      node.pods.web:close()
      node:must("DEL", { pod = "web" })
      assert_gone(web.port)
    end)

    it("is forgotten by DEL when somebody took an element away, or all of nftables", function()
      node.space:must(("nft delete element bridge mncni addresses4 '{ \"%s\" . %s . %s }'"):format(
        web.port, web.mac, web.address))
      node:must("DEL", { pod = "web" })
      assert_gone(web.port)
      node:add { pod = "web", conf = web.conf }
      node.space:must "nft flush ruleset"
      node:must("DEL", { pod = "web" })
    end)

    it("is forgotten by GC", function()
      node:must("GC", { pod = "web", conf = {
        ["cni.dev/valid-attachments"] = { { containerID = "db", ifname = "eth0" } } } })
      assert_gone(web.port)
    end)

    it("is forgotten when the ADD fails", function()
      node:policy("broken", [[
        local mncni = require "mncni"
        local policy = { options = {} }
        function policy.add(pod, conf)
          local lease = pod:lease(conf.ipam)
          local bridge = mncni.bridge.ensure { ifname = "cbr0", address = lease.gateways }
          pod:veth { master = bridge, guard = lease }
          pod:commit()
          error "no luck"
        end
        return policy
      ]])
      local out = node:call("ADD", { pod = "third", policy = "broken" })
      assert.are.equal(100, out.json.code, out.stdout)
      assert.are.equal(before, elements())
    end)

    it("is guarded anew by the next ADD after somebody flushed the rules", function()
      node.space:must "nft flush ruleset"
      node:add { pod = "third", conf = { ipspoofchk = true } }
      assert.truthy(node:sh("nft list table bridge mncni"):find("goto check_ip6", 1, true))
    end)

    it("is one of many that come and go at once", function()
      node.space:must "nft flush ruleset"
      for i = 1, 20 do
        spaces.new("many" .. i)
      end
      local file <close> = assert(io.open(node.scratch .. "/conf", "w"))
      file:write(core.json.encode { cniVersion = "1.1.0", name = "testnet", type = "naivebridge", ipspoofchk = true,
        ipam = { type = "host-local", dataDir = node.scratch .. "/networks", subnet = "10.244.1.0/24" } })
      file:flush()
      local function all(command)
        node.space:must([[
          export CNI_COMMAND=%s CNI_IFNAME=eth0 CNI_PATH=%s MNCNI_STATE_DIR=%s/state
          for i in $(seq 20); do
            CNI_CONTAINERID=many$i CNI_NETNS=/run/netns/many$i %s/bin/naivebridge <%s/conf & pids="$pids $!"
          done
          for pid in $pids; do wait $pid || exit 1; done]],
          command, node.scratch, node.scratch, node.scratch, node.scratch)
      end
      local function count(pattern)
        return select(2, node:sh("nft list table bridge mncni"):gsub(pattern, ""))
      end
      all "ADD"
      assert.are.equal(20, count " : jump check_all")
      assert.are.equal(1, count "iifname vmap @ports")
      assert.are.equal(19, count '"mncni: guard 1"')
      all "DEL"
      assert.are.equal(0, count " : jump check_all")
      assert.are.equal(19, count '"mncni: guard 1"')
    end)

    it("is looked at by CHECK", function()
      local args = { pod = "third", conf = { ipspoofchk = true } }
      local result, third = node:add(args)
      local names = { PORT = third.port, MAC = third.mac, IP4 = third.address, IP6 = third.address6 }
      for _, mutation in ipairs {
        { "nft delete element bridge mncni ports '{ \"%PORT\" }'",
          'nft set "bridge mncni ports": the element of port %PORT' },
        { "nft delete element bridge mncni ports '{ \"%PORT\" }'; "
          .. "nft add element bridge mncni ports '{ \"%PORT\" : jump check_mac }'", 'nft set "bridge mncni ports"' },
        { "nft delete element bridge mncni macs '{ \"%PORT\" . %MAC }'", 'nft set "bridge mncni macs"' },
        { "nft delete element bridge mncni addresses4 '{ \"%PORT\" . %MAC . %IP4 }'",
          'nft set "bridge mncni addresses4"' },
        { "nft delete element bridge mncni addresses6 '{ \"%PORT\" . %MAC . %IP6 }'",
          'nft set "bridge mncni addresses6"' },
        { "nft flush chain bridge mncni prerouting", 'nft chain "bridge mncni prerouting": rule 1' },
        { "nft flush chain bridge mncni check_ip6", 'nft chain "bridge mncni check_ip6"' },
        { "nft flush ruleset", "nft chain" },
        { "bridge link set dev %PORT isolated on", "isolated is true" },
        { "bridge link set dev %PORT learning on", "learning is true" },
        { "bridge fdb del %MAC dev %PORT master", 'fdb "%MAC"' },
      } do
        assert.is_nil(node:check(args, result))
        local command, message = mutation[1]:gsub("%%(%u+%d?)", names), mutation[2]:gsub("%%(%u+%d?)", names)
        node.space:must(command)
        local said = node:check(args, result)
        assert.truthy(said and said:find(message, 1, true), said)
        node:must("DEL", { pod = "third" })
        result, third = node:add(args)
        names = { PORT = third.port, MAC = third.mac, IP4 = third.address, IP6 = third.address6 }
      end
    end)
  end)

  it("never takes router advertisements, on either end or on the bridge", function()
    start {}
    local function advertise()
      local from = link_local(web.mac)
      assert.is_true(arrives(ether(0x86dd, frames.router_advertisement(from, "ff02::1"),
        { to = "33:33:00:00:00:01" })))
    end
    local function taken(space)
      return space:sh("ip -6 addr; ip -6 route"):find("2001:db8:bad:", 1, true) ~= nil
    end
    advertise()
    assert.is_false(taken(node.pods.db))
    assert.is_false(taken(node.space))
    -- The same advertisement is one that would be taken.
    node.pods.db:must "echo 1 >/proc/sys/net/ipv6/conf/eth0/accept_ra"
    advertise()
    assert.is_true(taken(node.pods.db))
    node.space:must "echo 2 >/proc/sys/net/ipv6/conf/cbr0/accept_ra"
    advertise()
    assert.is_true(taken(node.space))
  end)

  it("has accept_ra off before it is up, on both ends and on the bridge", function()
    start {}
    local function value(space, key)
      return space:run(core.sysctl.get, nil, key)
    end
    for _, key in ipairs { "accept_ra", "accept_redirects", "autoconf" } do
      assert.are.equal("0", value(node.space, "net/ipv6/conf/cbr0/" .. key))
      assert.are.equal("0", value(node.pods.web, "net/ipv6/conf/eth0/" .. key))
    end
    assert.are.equal("0", value(node.space, "net/ipv4/conf/cbr0/accept_redirects"))
    assert.are.equal("0", value(node.space, "net/ipv6/conf/" .. web.port .. "/accept_ra"))
  end)
end)
