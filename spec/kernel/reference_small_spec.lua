-- SPDX-License-Identifier: Apache-2.0
-- ptp, static, tuning, sbr and loopback beside Debian's plugins of these names: the same input, and then results and
-- kernel the same but for names, MAC addresses and what each spec says.

local mncni = require "mncni"
local nodes = require "spec.support.node"
local spaces = require "spec.support.netns"

local REFERENCE = "/usr/lib/cni/"
local versions = { "0.3.1", "0.4.0", "1.0.0" } -- the reference prints 0.1.0 and 0.2.0 by other rules where there is no IP

local node, before

before_each(function()
  before = spaces.snapshot()
  node = nodes.new { pods = { "ours", "theirs" } }
  for _, name in ipairs { "ptp", "static", "tuning", "sbr", "loopback", "host-local" } do
    spaces.must("ln -s %s %s", REFERENCE .. name, node.scratch .. "/bin/reference-" .. name)
  end
end)

after_each(function()
  node:cleanup()
  spaces.assert_nothing_left(before)
end)

-- The name that a plugin is called by on either side: "ours" or "theirs".
local function called(side, name)
  return side == "ours" and name or "reference-" .. name
end

local function call(side, verb, name, args)
  local conf = { name = "net-" .. side, ipam = false }
  for key, value in pairs(args.conf or {}) do conf[key] = value end
  conf.type = called(side, name)
  return node:call(verb, { name = conf.type, pod = side, ifname = args.ifname, conf = conf })
end

local function must(side, verb, name, args)
  local outcome = call(side, verb, name, args)
  assert.are.equal(0, outcome.status, side .. ": " .. outcome.stdout .. outcome.stderr)
  return outcome.json
end

-- A text with what differs between two pods, and from one ADD to the next, in general words.
local function general(text, side)
  local number = 0
  return (text:gsub("/run/netns/" .. side, "NETNS"):gsub("veth%w+", "PORT"):gsub("%x%x:%x%x:%x%x:%x%x:%x%x:%x%x", "MAC")
    :gsub("%x%x%-%x%x%-%x%x%-%x%x%-%x%x%-%x%x", "MAC"):gsub("@if%d+", "@if"):gsub("\n%s+", "\n")
    :gsub("fe80::%x+:%x+:%x+:%x+", function() number = number + 1 return "LINKLOCAL" end))
end

-- A result as sorted lines; the reference says dns even where there is nothing to say, and we do not.
local function told(result, side)
  local lines = {}
  local function flatten(value, path)
    if type(value) ~= "table" then
      lines[#lines + 1] = general(("%s = %s"):format(path, tostring(value)), side)
      return
    end
    for key, item in pairs(value) do
      flatten(item, path .. "." .. tostring(key))
    end
  end
  flatten(result, "")
  table.sort(lines)
  return lines
end

-- Routes and rules of a namespace as sorted lines, without the kernel's own of its local table and of link-local addresses.
local function ways(space, side)
  local list = {}
  local text = space:must "ip route show table all; ip -6 route show table all; ip rule; ip -6 rule"
  for line in general(text, side):gmatch "[^\n]+" do
    if not line:find "table local" and not line:find "fe80" then
      list[#list + 1] = line
    end
  end
  table.sort(list)
  return list
end

-- The addresses of a link as sorted words, without the flags that say how it came to them.
local function addresses(space, ifname)
  local list = {}
  local net <close> = mncni.open(space.ns)
  for address in net.addr.list { dev = ifname } do
    if address.scope ~= "link" then
      list[#list + 1] = ("%s %s"):format(address.address, address.scope)
    end
  end
  table.sort(list)
  return list
end

local function ipam(side)
  return {
    type = called(side, "host-local"), dataDir = node.networks .. "/" .. side,
    ranges = { { { subnet = "10.1.2.0/24" } }, { { subnet = "fd00:1::/64" } } },
    routes = { { dst = "0.0.0.0/0" }, { dst = "::/0" }, { dst = "10.9.0.0/16", gw = "10.1.2.1" } },
  }
end

-- Does the same on either side, one after the other, and compares what fn returned for each.
local function alike(fn)
  local theirs, ours = fn "theirs", fn "ours"
  assert.are.same(theirs, ours)
end

describe("beside the reference,", function()
  it("ptp has the same result, addresses and routes, in the pod and on the node", function()
    for _, version in ipairs(versions) do
      alike(function(side)
        local args = { conf = { cniVersion = version, mtu = 1400, ipam = ipam(side), dns = { search = { "x.test" } } } }
        local result = must(side, "ADD", "ptp", args)
        local pod <close> = mncni.open(node:pod(side).ns)
        local seen = {
          told(result, side), ways(node:pod(side), side), addresses(node:pod(side), "eth0"), ways(node.space, side),
          addresses(node.space, result.interfaces[1].name), pod.link.get({ ifname = "eth0" }).mtu,
          node:sh "cat /proc/sys/net/ipv4/ip_forward",
        }
        args.conf.prevResult = result
        if version ~= "0.3.1" then must(side, "CHECK", "ptp", args) end
        must(side, "DEL", "ptp", args)
        seen[#seen + 1] = ways(node.space, side)
        spaces.must("rm -r %s", node.networks .. "/" .. side)
        return seen
      end)
    end
  end)

  it("static has the same result, whoever names the addresses", function()
    local configured = {
      addresses = { { address = "10.1.0.5/24", gateway = "10.1.0.1" }, { address = "fd00::5/64" } },
      routes = { { dst = "0.0.0.0/0" }, { dst = "10.0.0.0/8", gw = "10.1.0.7" } },
      dns = { nameservers = { "10.0.0.53" }, domain = "x.test", search = { "x.test" } },
    }
    for _, version in ipairs { "0.1.0", "0.2.0", table.unpack(versions) } do
      for _, case in ipairs {
        {}, { args = { cni = { ips = { "10.8.0.5/24" } } }, env = "IP=10.9.0.5/24;GATEWAY=10.9.0.1" },
        { runtimeConfig = { ips = { "10.7.0.5/24" } }, args = { cni = { ips = { "10.8.0.5/24" } } } },
        version > "0.3" and { env = "IP=10.1.0.6/24,10.9.0.5/24;GATEWAY=10.1.0.1,10.9.0.1" } or {},
      } do
        alike(function(side)
          local args = { conf = {
            cniVersion = version, runtimeConfig = case.runtimeConfig, args = case.args, ipam = { type = "static" },
          } }
          for key, value in pairs(configured) do args.conf.ipam[key] = value end
          node.env.CNI_ARGS = case.env
          local result = must(side, "ADD", "static", args)
          must(side, "DEL", "static", args)
          node.env.CNI_ARGS = nil
          return told(result, side)
        end)
      end
    end
  end)

  -- ADD or DEL of the interface that chained plugins work on: either side's is made by our ptp.
  local function base(side, verb, version)
    local conf = { type = "ptp", name = "net-" .. side, cniVersion = version, ipam = ipam(side) }
    conf.ipam.type = "host-local"
    local result = node:must(verb, { name = "ptp", pod = side, conf = conf })
    if verb == "DEL" then
      spaces.must("rm -r %s", node.networks .. "/" .. side)
    end
    return result
  end

  it("tuning sets the same, says the same, and puts the link back", function()
    for _, version in ipairs(versions) do
      for _, more in ipairs {
        { mac = "0a:58:0a:01:02:03", mtu = 1400, promisc = true, allmulti = true,
          sysctl = { ["net.ipv4.conf.IFNAME.arp_filter"] = "1", ["net.core.somaxconn"] = "77" } },
        { mac = "0a:58:0a:01:02:03", env = "MAC=0a:58:0a:01:02:05" },
        { mac = "0a:58:0a:01:02:03", runtimeConfig = { mac = "0a:58:0a:01:02:04" }, env = "MAC=0a:58:0a:01:02:05" },
        { mac = "0a:58:0a:01:02:03", mtu = 1400, promisc = true, runtimeConfig = { mac = "0a:58:0a:01:02:04" },
          sysctl = { ["net.core.somaxconn"] = "77" }, args = { cni = {
            mac = "0a:58:0a:01:02:06", mtu = 1300, promisc = false, allmulti = true,
            sysctl = { ["net.core.somaxconn"] = "78" },
          } } },
      } do
        alike(function(side)
          local conf, seen = { cniVersion = version, prevResult = base(side, "ADD", version) }, {}
          for key, value in pairs(more) do conf[key] = value end
          conf.env, node.env.CNI_ARGS = nil, more.env
          local pod <close> = mncni.open(node:pod(side).ns)
          local was = pod.link.get { ifname = "eth0" }
          local function look()
            local link = pod.link.get { ifname = "eth0" }
            seen[#seen + 1] = {
              link.address == was.address or link.address, link.mtu, link.promisc, link.allmulti, link.txqlen,
            }
          end
          local result = must(side, "ADD", "tuning", { conf = conf })
          look()
          seen[#seen + 1] = node:pod(side):must [[
            cat /proc/sys/net/ipv4/conf/eth0/arp_filter /proc/sys/net/core/somaxconn]]
          seen[#seen + 1] = result.interfaces[2].mac
          seen[#seen + 1] = told(result, side)
          must(side, "DEL", "tuning", { conf = conf })
          look()
          node.env.CNI_ARGS = nil
          node:pod(side):must "echo 4096 >/proc/sys/net/core/somaxconn" -- the reference leaves it
          base(side, "DEL", version)
          return seen
        end)
      end
    end
  end)

  it("sbr makes the same rules and tables of each family, and takes the rules back", function()
    for _, version in ipairs(versions) do
      alike(function(side)
        local args = { conf = { cniVersion = version, prevResult = base(side, "ADD", version) } }
        local result = must(side, "ADD", "sbr", args)
        local seen, all = { told(result, side), {}, {} }, ways(node:pod(side), side)
        -- The reference also copies what is of IPv6 into the table of the IPv4 address, where no rule leads.
        for _, line in ipairs(all) do
          if not line:find "^fd00.* table 100" then
            table.insert(seen[2], line)
          end
        end
        must(side, "DEL", "sbr", args)
        for line in node:pod(side):must "ip rule; ip -6 rule":gmatch "[^\n]+" do
          table.insert(seen[3], line)
        end
        base(side, "DEL", version)
        return seen
      end)
    end
  end)

  it("loopback has the same result and takes lo up and down", function()
    for _, version in ipairs(versions) do
      alike(function(side)
        local pod = node:pod(side)
        local args = { ifname = "lo", conf = { cniVersion = version } }
        pod:must "ip link set lo down"
        local result = must(side, "ADD", "loopback", args)
        local seen = { {}, addresses(pod, "lo"), general(pod:must "ip link show lo", side) }
        for _, line in ipairs(told(result, side)) do
          if not line:find "^%.ips%.%d%.version" then -- which the reference forgets where the contract wants it
            table.insert(seen[1], line)
          end
        end
        args.conf.prevResult = result
        if version ~= "0.3.1" then must(side, "CHECK", "loopback", args) end
        must(side, "DEL", "loopback", args)
        seen[#seen + 1] = general(pod:must "ip link show lo", side)
        args.conf.prevResult = { cniVersion = version, interfaces = { { name = "eth0", sandbox = pod.path } } }
        seen[#seen + 1] = told(must(side, "ADD", "loopback", args), side)
        must(side, "DEL", "loopback", args)
        return seen
      end)
    end
  end)

  it("both refuse what is not chained, or has no prefix length", function()
    for _, side in ipairs { "ours", "theirs" } do
      for _, name in ipairs { "tuning", "sbr" } do
        assert.are.equal(1, call(side, "ADD", name, { conf = { cniVersion = "1.0.0" } }).status)
      end
      local bare = { cniVersion = "1.0.0", ipam = { type = "static", addresses = { { address = "10.10.0.1" } } } }
      local outcome = call(side, "ADD", "static", { conf = bare })
      assert.truthy(outcome.json.msg:find("expected to be in CIDR notation", 1, true), outcome.stdout)
    end
  end)
end)
