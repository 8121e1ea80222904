-- SPDX-License-Identifier: Apache-2.0
-- The recorded net answers as the kernel does: the same steps on both give the same refusals and leave the same.
local mncni = require "mncni"
local recorded = require "mncni.recorded"

local steps = {
  { "link", "add", { ifname = "br0", kind = "bridge" } },
  { "link", "add", { ifname = "br0", kind = "bridge" } },
  { "link", "add", { ifname = "x0", kind = "brigde" } },
  { "link", "set", { ifname = "none", up = true } },
  { "link", "del", { ifname = "none" } },
  { "link", "del", { ifname = "lo" } },
  { "link", "add", { ifname = "v0", kind = "veth", peer = { ifname = "br0" } } },
  { "link", "add", { ifname = "v0", kind = "veth", peer = { ifname = "v1", up = true } } },
  { "link", "add", { ifname = "v0", kind = "veth", mtu = 1400, peer = { ifname = "v1", mtu = 1300 } } },
  { "link", "add", { ifname = "v2", kind = "veth", master = "none", peer = { ifname = "v3" } } },
  { "link", "set", { ifname = "v0", mtu = 10 } },
  { "link", "set", { ifname = "v0", mtu = 100000 } },
  { "link", "set", { ifname = "v0", address = "01:00:00:00:00:01" } },
  { "link", "set", { ifname = "v0", master = "v1" } },
  { "link", "set", { ifname = "v0", bridge_slave = { hairpin = true } } },
  { "link", "add", { ifname = "br1", kind = "bridge" } },
  { "link", "set", { ifname = "br1", master = "br0" } },
  { "link", "del", { ifname = "br1" } },
  { "route", "add", { dst = "10.0.0.0/8", gateway = "10.9.9.9" } },
  { "route", "add", { dst = "10.0.0.0/8", dev = "br0" } },
  { "route", "add", { dst = "10.0.0.0/8", gateway = "10.9.9.9", dev = "br0", flags = { "onlink" } } },
  { "route", "add", { dst = "10.0.0.0/8", gateway = "10.9.9.9", flags = { "onlink" } } },
  { "route", "add", { dst = "fd01::/64", dev = "br0" } },
  { "route", "add", { dst = "fd01::/64", gateway = "fd00::2" } },
  { "link", "set", { ifname = "br0", up = true } },
  { "link", "set", { ifname = "v0", up = true } },
  { "link", "set", { ifname = "v1", up = true } },
  { "link", "set", { ifname = "v1", master = "br0" } },
  { "link", "set", { ifname = "v1", bridge_slave = { hairpin = true } } },
  { "addr", "add", { dev = "v0", address = "10.0.0.1/24" } },
  { "addr", "add", { dev = "v0", address = "10.0.0.1/24" } },
  { "addr", "add", { dev = "none", address = "10.0.0.1/24" } },
  { "addr", "add", { dev = "v0", address = "fd00::1/64", flags = { "nodad" } } },
  { "addr", "add", { dev = "v0", address = "fd00::1/64", flags = { "nodad" } } },
  { "addr", "del", { dev = "v0", address = "10.0.0.9/24" } },
  { "addr", "del", { dev = "v0", address = "fd00::9/64" } },
  { "addr", "add", { dev = "v0", address = "10.7.0.1/32" } },
  { "addr", "add", { dev = "v0", address = "10.8.0.1/24", flags = { "noprefixroute" } } },
  { "route", "add", { dst = "default", gateway = "10.0.0.2" } },
  { "route", "add", { dst = "default", gateway = "10.0.0.3" } },
  { "route", "add", { dst = "default", gateway = "10.0.0.3", metric = 5 } },
  { "route", "add", { dst = "10.1.0.0/16", gateway = "10.99.0.1" } },
  { "route", "add", { dst = "10.1.0.1/16", gateway = "10.0.0.2" } },
  { "route", "add", { dst = "10.1.0.0/16" } },
  { "route", "add", { dst = "10.1.0.0/16", dev = "v0", prefsrc = "1.2.3.4" } },
  { "route", "add", { dst = "10.1.0.0/16", dev = "v0", prefsrc = "10.0.0.1", protocol = "mncni" } },
  { "route", "add", { dst = "10.2.0.0/16", type = "blackhole", metric = 1024 } },
  { "route", "add", { dst = "fd01::/64", gateway = "fd00::2" } },
  { "route", "add", { dst = "fd01::/64", gateway = "fd00::3" } },
  { "route", "add", { dst = "fd02::/64", gateway = "fd00::1" } },
  { "route", "add", { dst = "fd03::/64", type = "unreachable" } },
  { "route", "add", { dst = "10.3.0.0/16", nexthops = { { gateway = "10.0.0.2" },
    { gateway = "10.0.0.3", weight = 2 } } } },
  { "route", "replace", { dst = "10.1.0.0/16", gateway = "10.0.0.4", protocol = "mncni" } },
  { "route", "del", { dst = "10.77.0.0/16" } },
  { "route", "del", { dst = "fd77::/64" } },
  { "route", "del", { dst = "10.2.0.0/16", protocol = "static" } },
  { "rule", "add", { src = "10.0.0.0/8", table = 100, priority = 7 } },
  { "rule", "add", { src = "10.0.0.0/8", table = 100, priority = 7 } },
  { "rule", "add", { src = "10.0.0.0/8", table = 101 } },
  { "rule", "del", { src = "10.9.0.0/16", table = 100 } },
  { "neigh", "del", { dev = "v0", dst = "10.0.0.5" } },
  { "neigh", "add", { dev = "v0", dst = "10.0.0.5", lladdr = "02:00:00:00:00:05", state = { "permanent" } } },
  { "neigh", "add", { dev = "v0", dst = "10.0.0.5", lladdr = "02:00:00:00:00:05", state = { "permanent" } } },
  { "addr", "add", { dev = "v0", address = "10.5.0.1/24" } },
  { "route", "add", { dst = "10.6.0.0/16", gateway = "10.5.0.2", prefsrc = "10.5.0.1" } },
  { "addr", "del", { dev = "v0", address = "10.5.0.1/24" } },
}

local function of(args)
  args.family, args.table = "inet", args.table or "t"
  return args
end

local base = { name = "post", type = "nat", hook = "postrouting", prio = 100, policy = "accept" }
local source = { kind = "payload", dreg = 1, base = "network", offset = 12, len = 4 }

local function with(args, more)
  local made = {}
  for _, from in ipairs { args, more } do
    for key, value in pairs(from) do
      made[key] = value
    end
  end
  return of(made)
end

local nft_steps = {
  { "table", "add", { family = "inet", name = "t" } },
  { "table", "add", { family = "inet", name = "t" } },
  { "table", "replace", { family = "inet", name = "t" } },
  { "table", "del", { family = "inet", name = "none" } },
  { "chain", "add", of { table = "none", name = "post" } },
  { "chain", "add", of(with(base, {})) },
  { "chain", "add", of(with(base, {})) },
  { "chain", "replace", with(base, { prio = 101 }) },
  { "chain", "replace", with(base, { policy = "drop" }) },
  { "set", "add", of { name = "s", type = "ipv4_addr", flags = { "interval" } } },
  { "set", "add", of { name = "s", type = "ipv4_addr", flags = { "interval" } } },
  { "set", "replace", of { name = "s", type = "ipv4_addr", flags = { "interval" } } },
  { "set", "replace", of { name = "s", type = "ipv6_addr", flags = { "interval" } } },
  { "set", "add", of { name = "untyped" } },
  { "element", "add", of { name = "s", elem = { "10.0.0.0/8", "192.168.1.0/24" } } },
  { "element", "add", of { name = "s", elem = { "10.0.0.0/8" } } },
  { "element", "add", of { name = "s", elem = { "10.1.0.0/16" } } },
  { "element", "replace", of { name = "s", elem = { "10.0.0.0/8" } } },
  { "element", "replace", of { name = "s", elem = { "10.1.0.0/16" } } },
  { "element", "replace", of { name = "s", elem = { "8.0.0.0/5" } } },
  { "element", "add", of { name = "none", elem = { "8.0.0.0/5" } } },
  { "element", "del", of { name = "s", elem = { "10.1.0.0/16" } } },
  { "element", "del", of { name = "s", elem = { "192.168.1.0/24" } } },
  { "element", "del", of { name = "s", elem = { "192.168.1.0/24" } } },
  { "element", "add", of { name = "s", elem = { "172.16.0.7" } } },
  { "rule", "add", of { chain = "post", expr = { source, { kind = "lookup", sreg = 1, set = "none" } } } },
  { "rule", "add", of { chain = "post", comment = "a", expr = { source, { kind = "lookup", sreg = 1, set = "s" } } } },
  { "rule", "insert", of { chain = "post", comment = "b", expr = { { kind = "counter" } } } },
  { "rule", "add", of { chain = "none", expr = { { kind = "counter" } } } },
  { "rule", "del", of { chain = "post", handle = 99 } },
  { "set", "del", of { name = "s" } },
  { "set", "del", of { name = "none" } },
  { "chain", "del", of { name = "none" } },
  { "chain", "add", of { name = "spare" } },
  { "chain", "del", of { name = "spare" } },
}

local function name_of(step)
  return ("%s %s %s"):format(step[2], step[1], step[3].ifname or step[3].dst or step[3].address or step[3].src or "")
end

local function play(net, list)
  local answers = {}
  for i, step in ipairs(list) do
    local ok, err = pcall(net[step[1]][step[2]], step[3])
    answers[i] = ("%d %s: %s"):format(i, name_of(step),
      ok and "done" or ("%s %s"):format(err.name or err.message or tostring(err), err.extack or ""))
  end
  return answers
end

local function listed(net, object, filter, keys)
  local lines = {}
  for value in net[object].list(filter) do
    local words = {}
    for _, key in ipairs(keys) do
      words[#words + 1] = ("%s=%s"):format(key, tostring(value[key]))
    end
    lines[#lines + 1] = table.concat(words, " ")
  end
  table.sort(lines)
  return lines
end

describe("the recorded net and the kernel, given the same steps,", function()
  local real, model, real_answers, model_answers

  setup(function()
    real, model = mncni.netns.create(), recorded.new().pod
    real_answers, model_answers = play(real, steps), play(model, steps)
  end)

  teardown(function()
    real:close()
  end)

  it("refuse the same, in the same words", function()
    assert.same(real_answers, model_answers)
  end)

  it("have the same links, addresses, routes, rules and neighbours in the end", function()
    local without_link_local = function(lines)
      local kept = {}
      for _, line in ipairs(lines) do
        kept[#kept + 1] = not line:find "fe80" and not line:find "ff00" and line or nil
      end
      return kept
    end
    local function both(object, filter, keys)
      assert.same(without_link_local(listed(real, object, filter, keys)), listed(model, object, filter, keys))
    end
    both("link", {}, { "ifname", "kind", "mtu", "master", "up", "group", "link" })
    both("addr", {}, { "dev", "address", "family", "scope", "label" })
    local route_keys = { "dst", "gateway", "dev", "prefsrc", "protocol", "scope", "type", "metric", "table" }
    both("route", { family = "inet", table = "main" }, route_keys)
    both("route", { family = "inet6", table = "main" }, route_keys)
    both("rule", { family = "inet" }, { "priority", "src", "table", "action", "family" })
    both("neigh", { dev = "v0", state = { "permanent" } }, { "dst", "dev", "lladdr", "family" })
  end)

  it("send traffic the same way", function()
    for _, dst in ipairs { "10.1.2.3", "10.3.1.1", "203.0.113.9", "10.0.0.77", "fd01::5" } do
      local r, m = real.route.get { dst = dst }, model.route.get { dst = dst }
      assert.equal(r.dev, m.dev, dst)
      assert.equal(r.type, m.type, dst)
      if dst ~= "10.3.1.1" then -- which of two next hops is taken depends on a hash
        assert.equal(r.gateway, m.gateway, dst)
      end
    end
    assert.equal(real.route.get { dst = "fd09::1" }, model.route.get { dst = "fd09::1" })
  end)

  it("have the same tables, chains, sets, elements and rules", function()
    assert.same(play(real.nft, nft_steps), play(model.nft, nft_steps))
    local function both(object, filter, keys)
      assert.same(listed(real.nft, object, filter, keys), listed(model.nft, object, filter, keys))
    end
    both("table", {}, { "family", "name" })
    both("chain", { family = "inet", table = "t" }, { "name", "type", "hook", "prio", "policy" })
    both("set", { family = "inet", table = "t" }, { "name", "type" })
    both("element", of { name = "s" }, { "elem", "name", "table", "family" })
    for _, address in ipairs { "10.1.2.3", "11.0.0.1", "172.16.0.7", "172.16.0.8" } do
      local where = of { name = "s", elem = { address } }
      local r, m = real.nft.element.get(where), model.nft.element.get(where)
      assert.equal(r and r.elem, m and m.elem, address)
    end
    local order = function(net)
      local comments = {}
      for rule in net.nft.rule.list { family = "inet", table = "t", chain = "post" } do
        comments[#comments + 1] = rule.comment
      end
      return comments
    end
    assert.same({ "b", "a" }, order(real))
    assert.same(order(real), order(model))
  end)
end)
