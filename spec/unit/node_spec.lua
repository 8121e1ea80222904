-- SPDX-License-Identifier: Apache-2.0
-- Nodes, as policies of the agent see them.

local core = require "mncni.core"
local node = require "mncni.node"

local null = core.json.null

-- A Node as kubectl prints it, and changes to it: path -> value.
local function object(changes)
  local made = {
    metadata = { name = "n1", uid = "u1", labels = { zone = "a" }, annotations = { note = "b" } },
    spec = { podCIDR = "10.244.1.0/24", podCIDRs = { "10.244.1.0/24", "fd00:1::/64" }, providerID = "azure:///x" },
    status = { addresses = {
      { type = "Hostname", address = "n1" },
      { type = "ExternalIP", address = "192.0.2.1" },
      { type = "InternalIP", address = "10.0.0.2" },
      { type = "InternalIP", address = "10.0.0.3" },
      { type = "InternalIP", address = "FD01::0002" },
    } },
  }
  for path, value in pairs(changes or {}) do
    local at, last = made, nil
    for key in path:gmatch "[^.]+" do
      at, last = last and at[last] or at, math.tointeger(tonumber(key)) or key
    end
    at[last] = value
  end
  return made
end

local function texts(cidrs)
  local list = {}
  for i, cidr in ipairs(cidrs) do
    list[i] = tostring(cidr)
  end
  return list
end

describe("a node", function()
  it("is made of what Kubernetes says of it", function()
    local one = assert(node.from(object()))
    assert.same({ "n1", "u1", "azure:///x", "a", "b" },
      { one.name, one.uid, one.provider_id, one.labels.zone, one.annotations.note })
    assert.same({ "10.244.1.0/24", "fd00:1::/64" }, texts(one.pod_cidrs))
    assert.equal("inet6", one.pod_cidrs[2].family)
  end)

  it("is reached by its first InternalIP of a family, else by its first ExternalIP", function()
    local one = node.from(object())
    assert.same({ "10.0.0.2", "fd01::2" }, { one:address "inet", one:address "inet6" })
    one = node.from(object { ["status.addresses"] = {
      { type = "ExternalIP", address = "192.0.2.1" }, { type = "ExternalIP", address = "192.0.2.2" },
    } })
    assert.equal("192.0.2.1", one:address "inet")
    assert.is_nil(one:address "inet6")
  end)

  it("has one spelling of an address, whatever Kubernetes wrote", function()
    local one = node.from(object { ["status.addresses"] = {
      { type = "InternalIP", address = "::ffff:10.0.0.9" }, { type = "InternalIP", address = "2001:DB8:0::1" },
    } })
    assert.same({ "10.0.0.9", "2001:db8::1" }, { one:address "inet", one:address "inet6" })
  end)

  it("is not reached where no node can be", function()
    for _, address in ipairs { "127.0.0.1", "0.0.0.0", "224.0.0.1", "::", "::1", "fe80::1", "ff02::1" } do
      local one = node.from(object { ["status.addresses"] = { { type = "InternalIP", address = address } } })
      assert.is_nil(one:address "inet")
      assert.is_nil(one:address "inet6")
    end
  end)

  it("may have neither range nor address yet, nor what is null", function()
    local one = node.from { metadata = { name = "n1" } }
    assert.same({ {}, {}, {}, {} }, { one.pod_cidrs, one.addresses, one.labels, one.annotations })
    assert.is_nil(one:address "inet")
    one = node.from(object {
      ["spec.podCIDRs"] = null, ["spec.podCIDR"] = null, ["metadata.labels"] = null, ["status.addresses"] = null,
      ["spec.providerID"] = null, ["metadata.uid"] = null,
    })
    assert.same({ {}, {}, {} }, { one.pod_cidrs, one.addresses, one.labels })
    assert.is_nil(one.provider_id)
  end)

  it("has the range of podCIDR where podCIDRs is not there or empty", function()
    assert.same({ "10.244.1.0/24" }, texts(node.from(object { ["spec.podCIDRs"] = {} }).pod_cidrs))
    assert.same({ "10.244.1.0/24" }, texts(node.from(object { ["spec.podCIDRs"] = null }).pod_cidrs))
    assert.same({}, node.from(object { ["spec.podCIDRs"] = {}, ["spec.podCIDR"] = "" }).pod_cidrs)
    assert.same({ "10.9.0.0/24" }, texts(node.from(object { ["spec.podCIDRs"] = { "10.9.0.0/24" } }).pod_cidrs))
  end)

  it("has ranges without host bits, each once", function()
    local one = node.from(object { ["spec.podCIDRs"] = { "10.244.1.7/24", "10.244.1.0/24", "fd00:1::5/64" } })
    assert.same({ "10.244.1.0/24", "fd00:1::/64" }, texts(one.pod_cidrs))
  end)

  it("is there while it is being deleted", function()
    assert.truthy(node.from(object { ["metadata.deletionTimestamp"] = "2024-01-01T00:00:00Z" }))
  end)

  for what, case in pairs {
    ["a range that is none"] = { { ["spec.podCIDRs.2"] = "10.244/24" },
      'node "n1": spec.podCIDRs[1]: "10.244/24" is not an address range such as "10.244.1.0/24"' },
    ["an address as range"] = { { ["spec.podCIDRs"] = {}, ["spec.podCIDR"] = "10.244.1.0" },
      'node "n1": spec.podCIDR: "10.244.1.0" is not an address range such as "10.244.1.0/24"' },
    ["a number as range"] = { { ["spec.podCIDRs.1"] = 10 },
      'node "n1": spec.podCIDRs[0]: "10" is not an address range' },
    ["two ranges of one family"] = { { ["spec.podCIDRs.2"] = "10.244.2.0/24" },
      'node "n1": spec.podCIDRs[1]: 10.244.2.0/24 is the second range of its family; the first is 10.244.1.0/24' },
    ["an address that is none"] = { { ["status.addresses.3.address"] = "10.0.0" },
      'node "n1": status.addresses[2]: "10.0.0" is not an IPv4 or IPv6 address' },
    ["a range as address"] = { { ["status.addresses.3.address"] = "10.0.0.0/24" }, "is not an IPv4 or IPv6 address" },
    ["an address without a type"] = { { ["status.addresses.2.type"] = null },
      'node "n1": status.addresses[1] has no type' },
    ["a word for an address"] = { { ["status.addresses.1"] = "n1" },
      'node "n1": status.addresses[0] is a string, not an object' },
    ["a list of labels"] = { { ["metadata.labels"] = { "a" } }, "metadata.labels is a list, not an object" },
    ["a label that is a number"] = { { ["metadata.labels.zone"] = 5 },
      'metadata.labels["zone"] is a number, not a string' },
    ["a word for its spec"] = { { spec = "x" }, 'node "n1": spec is a string, not a table' },
    ["no name"] = { { ["metadata.name"] = null }, "a node: it has no metadata.name" },
    ["an empty name"] = { { ["metadata.name"] = "" }, "it has no metadata.name" },
    ["no metadata"] = { { metadata = null }, "a node: it has no metadata.name" },
  } do
    it("is malformed with " .. what .. ", and the reason says so", function()
      local one, reason, name = node.from(object(case[1]))
      assert.is_nil(one)
      assert.is_truthy(reason:find(case[2], 1, true), reason)
      assert.equal(reason:match '^node "([^"]+)"', name ~= "" and name or nil)
    end)
  end

  it("is malformed for a reason in whole characters, however long they are", function()
    for n = 1, 4 do
      local address = ("a"):rep(n) .. ("é"):rep(40)
      local _, reason = node.from(object { ["status.addresses"] = { { type = "InternalIP", address = address } } })
      assert.is_truthy(utf8.len(reason), reason)
      assert.is_truthy(reason:find("a" .. ("é"):rep(20), 1, true), reason)
    end
  end)

  it("is malformed when it is no object at all", function()
    for _, value in ipairs { "x", 5, true, null } do
      local one, reason = node.from(value)
      assert.is_nil(one)
      assert.matches("^a node: it is a %a+, not an object$", reason)
    end
  end)

  it("is made, or there is a reason, whatever stands wherever", function()
    local junk = { "", "x", "10.0.0.1/24", ("x"):rep(70000), 0, -1, 1.5, 1e308, true, false, null,
      core.json.array {}, {}, { {} }, { null }, { a = { b = {} } }, "\0", "\xff" }
    local function walk(value, path)
      for key, member in pairs(value) do
        local at = path == "" and tostring(key) or path .. "." .. key
        for _, what in ipairs(junk) do
          local one, reason = node.from(object { [at] = what })
          assert.is_true(one ~= nil or #reason < 300, at)
        end
        if type(member) == "table" then
          walk(member, at)
        end
      end
    end
    walk(object(), "")
  end)

  it("can be made by hand, and mistakes are raised", function()
    local one = node.new { name = "n1", addresses = { "10.0.0.2" }, pod_cidrs = { core.cidr "10.244.1.0/24" } }
    assert.same({ { type = "InternalIP", address = "10.0.0.2" } }, one.addresses)
    assert.same({ "10.244.1.0/24" }, texts(one.pod_cidrs))
    for fields, message in pairs {
      [{ name = "n1", adresses = {} }] = 'unknown key "adresses"; did you mean "addresses"?',
      [{ name = "n1", pod_cidrs = { "x" } }] = 'node "n1": spec.podCIDRs[0]: "x" is not an address range',
      [{}] = "it has no metadata.name",
    } do
      local ok, err = pcall(node.new, fields)
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find(message, 1, true), tostring(err))
    end
  end)

  it("is the same as another one when no policy can see a difference", function()
    local one = node.from(object())
    assert.is_true(node.same(one, node.from(object { ["status.conditions"] = {}, ["metadata.resourceVersion"] = "9" })))
    for path, value in pairs {
      ["metadata.labels.zone"] = "b", ["metadata.annotations.more"] = "x", ["spec.podCIDRs.1"] = "10.9.0.0/24",
      ["status.addresses.3.address"] = "10.0.0.9", ["metadata.uid"] = "u2", ["spec.providerID"] = null,
    } do
      assert.is_false(node.same(one, node.from(object { [path] = value })), path)
    end
  end)
end)
