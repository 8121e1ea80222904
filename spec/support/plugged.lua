-- SPDX-License-Identifier: Apache-2.0
-- A node whose up0 is plugged into a network outside, pods beside it, and plugins that are called as a runtime does: ours
-- by the names of their policies, and Debian's reference plugins of the same names.

local cni = require "spec.support.cni"
local core = require "mncni.core"
local mncni = require "mncni"
local spaces = require "spec.support.netns"

local plugged = {}

plugged.reference = "/usr/lib/cni"

local BIN = spaces.must("realpath %s", (os.getenv "MNCNI_BUILD" or "build") .. "/bin/mncni")

-- What a spec could leave behind in the namespace that it runs in: links, and names of namespaces.
local function left()
  return spaces.must "ip -o link | cut -d: -f 2; ls -A /run/netns"
end

local Node = {}
Node.__index = Node

-- new{ names of policies } makes the node: up0 has 10.1.0.1/24, outside (a namespace of its own) has 10.1.0.254/24, and
-- fd00:1::1 and fd00:1::fe.
function plugged.new(names)
  local node = setmetatable({ scratch = spaces.must "mktemp -d", pods = {}, before = left() }, Node)
  spaces.must("cd %s && mkdir bin policies && for name in mncni host-local " .. table.concat(names, " ")
    .. "; do ln -s %s bin/$name; done", node.scratch, BIN)
  node.space, node.outside = spaces.new "node", spaces.new "outside"
  node.space:must [[
    ip link add up0 up type veth peer name out0 netns outside
    ip addr add 10.1.0.1/24 dev up0
    ip addr add fd00:1::1/64 dev up0 nodad]]
  node.outside:must [[
    ip link set out0 up
    ip addr add 10.1.0.254/24 dev out0
    ip addr add fd00:1::fe/64 dev out0 nodad]]
  return node
end

-- Ends it, and fails when anything is left.
function Node:close()
  spaces.cleanup()
  spaces.must("rm -rf %s", self.scratch)
  assert(left() == self.before, "left behind: " .. left())
end

-- The pod of that name, made when first asked for.
function Node:pod(name)
  if not self.pods[name] then
    self.pods[name] = spaces.new(name)
  end
  return self.pods[name]
end

-- IPAM of the network outside: fd00:1::/64 beside 10.1.0.0/24 with both = true.
function Node:ipam(both)
  local ranges = { { { subnet = "10.1.0.0/24", rangeStart = "10.1.0.10", gateway = "10.1.0.254" } } }
  if both then
    ranges[2] = { { subnet = "fd00:1::/64", rangeStart = "fd00:1::10", gateway = "fd00:1::fe" } }
  end
  return { type = "host-local", ranges = ranges, dataDir = self.scratch .. "/networks" }
end

-- run(command, { type =, pod = name, container =, ifname =, conf = more of the configuration, version =, args =, netns =,
-- reference = true for Debian's plugin, prev = prevResult }) calls a plugin in the node's namespace; see cni.exec.
function Node:run(command, args)
  local conf = {
    cniVersion = args.version or "1.0.0", name = "testnet", type = args.type, prevResult = args.prev,
  }
  for key, value in pairs(args.conf or {}) do
    conf[key] = value
  end
  local bin = args.reference and plugged.reference or self.scratch .. "/bin"
  return self.space:run(cni.exec, {
    bin = bin .. "/" .. args.type, command = command, container = args.container or args.pod, stdin = conf,
    netns = args.netns or args.pod and self:pod(args.pod).path, ifname = args.ifname or "eth0", args = args.args,
    path = bin,
    env = { MNCNI_STATE_DIR = self.scratch .. "/state", MNCNI_POLICY_PATH = self.scratch .. "/policies" },
  })
end

-- run that must succeed; returns the document.
function Node:must(command, args)
  local out = self:run(command, args)
  if out.status ~= 0 then
    error(("%s of %s: %s%s"):format(command, args.type, out.stdout, out.stderr), 2)
  end
  return out.json
end

-- run that must fail with the code; returns the document.
function Node:refused(command, code, args)
  local out = self:run(command, args)
  if out.status == 0 or not out.json or out.json.code ~= code then
    error(("%s of %s should fail with code %d: %s%s"):format(command, args.type, code, out.stdout, out.stderr), 2)
  end
  return out.json
end

-- A link of a pod, or of the node without a pod's name; nil when there is none.
function Node:link(pod, ifname)
  local net <close> = mncni.open((pod and self:pod(pod) or self.space).ns)
  return net.link.get { ifname = ifname or "eth0" }
end

-- Whether a namespace reaches an address: "pod name", "node" or "outside".
function Node:reaches(from, address)
  local space = ({ node = self.space, outside = self.outside })[from] or self:pod(from)
  local _, status = space:sh("ping -c 1 -W 3 %s", address)
  return status == 0
end

-- What a plugin left in a pod, as text that is the same for two plugins: links with kind, state, flags of their kind and
-- MTU, addresses, routes of all tables, and rules.
function Node:state_of(pod, ifname)
  local space = self:pod(pod)
  ifname = ifname or "eth0"
  local link = self:link(pod, ifname) or {}
  if link.up then -- the kernel gives an IPv6 address its route in its own time
    space:must([[for i in $(seq 250); do
      [ $(ip -6 -o addr show dev %s scope global | wc -l) = \
        $(ip -6 route show table local type local dev %s | grep -vc fe80) ] && break
      sleep 0.02
    done]], ifname, ifname)
  end
  local text = {
    ("%s %s mtu %s %s"):format(tostring(link.kind), link.up and "up" or "down", tostring(link.mtu),
      core.json.encode(link[link.kind or ""] or {})),
    space:must("ip -o addr show dev %s scope global | awk '{ print $2, $3, $4 }'", ifname),
    space:must "ip -4 route show table all | grep -v ^broadcast | sort",
    space:must "ip -6 route show table all | grep -v -e fe80 -e ff00 -e ^anycast | sed 's/ pref .*//' | sort",
    space:must "ip rule; ip -6 rule",
  }
  return table.concat(text, "\n")
end

-- ADD and DEL of ours and of Debian's plugin, one after the other: what both returned and left in the pod. Fails where
-- that is not the same. MAC addresses count where the configuration gives them (mac = true), and what says nothing (empty
-- dns) does not.
function Node:same_as_reference(args)
  local found = {}
  for i, reference in ipairs { false, true } do
    local each = { reference = reference }
    for key, value in pairs(args) do
      each[key] = value
    end
    local result = self:must("ADD", each)
    for _, interface in ipairs(result.interfaces) do
      interface.mac = args.mac and interface.mac or nil
    end
    result.dns = result.dns and next(result.dns) and result.dns or nil
    found[i] = { result = result, state = self:state_of(args.pod, args.ifname) }
    self:must("DEL", each)
    self.space:must("rm -rf %s", self.scratch .. "/networks")
  end
  local assert = require "luassert"
  assert.equal(found[2].state, found[1].state)
  assert.same(found[2].result, found[1].result)
end

-- Whether no attachment, address or file of one is left in the node's own state.
function Node:nothing_kept()
  local known = "! -name 'last_reserved*' ! -name lock ! -name '*.ring' ! -name .mncni"
  return spaces.must("find %s %s -type f " .. known .. " 2>/dev/null || :", self.scratch .. "/state",
    self.scratch .. "/networks")
end

return plugged
