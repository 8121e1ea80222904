-- SPDX-License-Identifier: Apache-2.0
-- The table inet mncni of a node that has both: the agent keeps it, and the plugin gets along.

local mncni = require "mncni"
local nodes = require "spec.support.node"
local ruleset = require "mncni.ruleset"
local spaces = require "spec.support.netns"

local ranges = { sources = { "10.244.1.0/24" }, except = { "10.244.0.0/16", "169.254.0.0/16", "fe80::/10" } }

describe("masquerading that the agent keeps", function()
  local node

  before_each(function()
    node = nodes.new { pods = { "web", "db" } }
  end)

  after_each(function()
    node:cleanup()
  end)

  -- What the agent does when it looks: the transaction that it sent, or nil.
  local function agent(args)
    return node.space:run(function()
      local host <close> = mncni.open()
      local batch = ruleset.replace(host, mncni.masquerade.desired(args or ranges))
      if batch then
        host.nft.batch(batch)
      end
      return batch
    end)
  end

  local function elements(name)
    local text = node.space:must("nft -j list set inet mncni %s", name)
    local list = {}
    for _, item in ipairs(mncni.json.decode(text).nftables[2].set.elem or {}) do
      list[#list + 1] = type(item) == "string" and item or ("%s/%d"):format(item.prefix.addr, item.prefix.len)
    end
    table.sort(list)
    return list
  end

  it("is there after its first look, and is not touched by the next", function()
    assert.truthy(agent())
    assert.is_nil(agent())
    assert.same({ "10.244.0.0/16", "169.254.0.0/16" }, elements "nonmasq4")
    assert.same({ "fe80::/10" }, elements "nonmasq6")
    assert.same({ "10.244.1.0/24" }, elements "masq4")
    assert.matches("masquerade fully%-random comment \"mncni: masquerade %d+\"", node:sh "nft list table inet mncni")
  end)

  it("has nothing added by an ADD that comes later, and CHECK asks for nothing of that", function()
    agent()
    local web = { pod = "web" } -- asks for 10.0.0.0/8 not to be masqueraded
    local result = node:add(web)
    assert.same({ "10.244.0.0/16", "169.254.0.0/16" }, elements "nonmasq4")
    assert.is_nil(agent())
    assert.is_nil(node:check(web, result))
    node:must("DEL", web)
    assert.is_nil(agent())
  end)

  it("takes over what an ADD made before, whose CHECK goes on", function()
    local web = { pod = "web" }
    local result = node:add(web)
    assert.same({ "10.0.0.0/8" }, elements "nonmasq4")
    assert.truthy(agent())
    assert.same({ "10.244.0.0/16", "169.254.0.0/16" }, elements "nonmasq4")
    assert.is_nil(node:check(web, result))
    local db = { pod = "db" }
    result = node:add(db)
    assert.is_nil(node:check(db, result))
    assert.is_nil(agent())
  end)

  it("keeps the ranges of other networks of the node", function()
    agent()
    local other = { pod = "web", conf = {
      name = "other", bridge = "cbr9",
      ipam = { type = "host-local", ranges = { { { subnet = "10.99.0.0/24" } } } },
    } }
    node:add(other)
    assert.same({ "10.244.1.0/24", "10.99.0.0/24" }, elements "masq4")
    assert.is_nil(agent())
  end)

  it("is still looked at by CHECK: rules, and the pods' own range", function()
    agent()
    local web = { pod = "web" }
    local result = node:add(web)
    node.space:must "nft delete element inet mncni masq4 '{ 10.244.1.0/24 }'"
    assert.matches("masq4", node:check(web, result))
    agent()
    assert.is_nil(node:check(web, result))
    node.space:must "nft flush chain inet mncni postrouting"
    assert.matches("rule 1", node:check(web, result))
    agent()
    assert.is_nil(node:check(web, result))
  end)

  it("has its rules and its mark back after the plugin had to make them anew", function()
    agent()
    node.space:must "nft flush chain inet mncni postrouting"
    node:add { pod = "web" }
    assert.is_nil(agent())
    assert.same({ "10.244.0.0/16", "169.254.0.0/16" }, elements "nonmasq4")
    node.space:must "nft delete chain inet mncni agent"
    assert.truthy(agent())
    assert.is_nil(agent())
  end)

  it("goes back to the plugin when its mark is taken away", function()
    agent()
    node.space:must "nft delete chain inet mncni agent"
    local web = { pod = "web" }
    local result = node:add(web)
    assert.same({ "10.0.0.0/8", "169.254.0.0/16" }, elements "nonmasq4")
    assert.is_nil(node:check(web, result))
  end)

  it("is made before the first pod as well as after it, with the same outcome", function()
    agent()
    node:add { pod = "web" }
    local before = node:sh "nft list table inet mncni"
    node.space:must "nft delete table inet mncni"
    node:must("DEL", { pod = "web" })
    node:add { pod = "web" }
    agent()
    local function sorted(text)
      local lines = {}
      for line in text:gmatch "[^\n]+" do
        lines[#lines + 1] = line
      end
      table.sort(lines)
      return lines
    end
    assert.same(sorted(before), sorted(node:sh "nft list table inet mncni"))
  end)

  it("follows thousands of nodes, and one of them that changes, in one transaction", function()
    local function of(changed)
      local list = { "fe80::/10" }
      for i = 0, 4999 do
        list[#list + 1] = ("10.%d.%d.0/24"):format(i // 250, i % 250 + (i == changed and 1 or 0))
        list[#list + 1] = ("fd00:0:0:%x::/64"):format(i + 1)
      end
      return { sources = { "10.244.1.0/24" }, except = list }
    end
    agent(of())
    assert.is_nil(agent(of()))
    assert.equal(5000, #elements "nonmasq4")
    local batch = agent(of(4999)) -- 10.19.249.0/24 is 10.19.250.0/24 now
    assert.same({ { "10.19.249.0/24" }, { "10.19.250.0/24" } }, { batch[1][3].elem, batch[2][3].elem })
    assert.is_nil(agent(of(4999)))
    assert.truthy(agent())
    assert.same({ "10.244.0.0/16", "169.254.0.0/16" }, elements "nonmasq4")
  end)

  it("lets pods' packets go as the sets say, and gives those that leave the node's address", function()
    agent { sources = { "10.244.1.0/24", "fd00:0:0:1::/64" }, except = { "198.51.100.0/24" } }
    local web = { pod = "web", conf = { ipMasq = false } }
    node:add(web)
    local far = spaces.new "far"
    node.space:must("ip link set up1 netns %s", "far")
    far:must "ip link set up1 up && ip addr add 192.0.2.1/24 dev up1 && ip addr add 198.51.100.1/32 dev up1"
    far:must "ip route add 10.244.1.0/24 via 192.0.2.10"
    far:must "nft add table inet seen && nft 'add set inet seen from { type ipv4_addr . ipv4_addr; flags dynamic; }'"
    far:must "nft 'add chain inet seen input { type filter hook input priority 0; }'"
    far:must "nft add rule inet seen input icmp type echo-request add @from { ip daddr . ip saddr }"
    node.space:must "ip route add 198.51.100.0/24 via 192.0.2.1"
    node:pod("web"):must "ping -c1 -W2 192.0.2.1 && ping -c1 -W2 198.51.100.1"
    local seen = far:must "nft list set inet seen from"
    assert.truthy(seen:find("192.0.2.1 . 192.0.2.10", 1, true), seen)
    assert.matches("198.51.100.1 . 10.244.1.%d+", seen)
  end)
end)
