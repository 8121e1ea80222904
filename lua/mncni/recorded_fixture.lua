-- SPDX-License-Identifier: Apache-2.0
-- Fixtures of the recorded net.
--
-- A fixture is a JSON file, or the same as a Lua table: an object whose keys are the names of namespaces. `host` and
-- `pod` are made in any case; `lo`, down, in each. A namespace may have, all optional:
--
--   "links"      list of objects with the keys of link.add; an ifindex is given out where it is missing. Links without
--                a "kind" stand for hardware. A veth names its other end as "peer": {"ifname", "netns": "pod"}.
--   "addresses"  list of {"dev", "address", ...} as for addr.add; the connected route comes by itself
--   "routes"     list of {"dst", "gateway", "dev", "metric", "protocol", ...} as `ip -json route` prints them
--   "rules"      list of {"priority", "table", ...}; the kernel's own three are always there
--   "neighbours" list of {"dev", "dst", "lladdr", ...}
--   "sysctls"    object of key -> value. A key that is not there does not exist, as bridge-nf-call-iptables without
--                br_netfilter. "net/ipv4/conf/default/KEY" gives every link a "net/ipv4/conf/LINK/KEY".
--   "nft"        list of steps {"verb", "object", "args"} as for nft.batch

local core = require "mncni.core"
local model = require "mncni.recorded_model"
local sysctl = require "mncni.recorded_sysctl"

local fixture = {}

-- A link of the fixture that has no kind is hardware: it is simply there.
local function load_link(space, given, verbs)
  if given.kind then
    if model.find_link(space, given.ifname) then
      return -- the other end of a veth, made with its peer
    end
    local args = model.copy(given)
    if args.peer and args.peer.netns then
      args.peer.netns = space.world:space_of(args.peer.netns).marker
    end
    verbs.link.add(space, args)
    return
  end
  local link = model.copy(given)
  link.up, link.space, link.group = false, space, link.group or 0
  link.mtu = link.mtu or (link.ifname == "lo" and 65536 or 1500)
  link.address = link.address or "00:00:00:00:00:00"
  link.txqlen = link.txqlen or 1000
  if link.ifname == "lo" then
    for i, have in ipairs(space.links) do
      if have.ifname == "lo" then
        table.remove(space.links, i)
      end
    end
    link.ifindex = 1
  end
  link.ifindex = space:next_index(link.ifindex)
  table.insert(space.links, link.ifname == "lo" and 1 or #space.links + 1, link)
  if given.up then
    verbs.link.set(space, { ifname = given.ifname, up = true })
  end
end

local known_parts = {
  links = true, addresses = true, routes = true, rules = true, neighbours = true, sysctls = true, nft = true,
}

-- load(space, given, verbs) puts what the fixture says of a namespace into it, by the verbs of the objects.
function fixture.load(space, given, verbs)
  for part in pairs(given) do
    if not known_parts[part] then
      error(core.error {
        op = "load", object = "fixture", code = 7,
        message = ("unknown part %q of namespace %q"):format(part, space.name),
      }, 0)
    end
  end
  for key, value in pairs(given.sysctls or {}) do
    space.sysctls[sysctl.key(key)] = sysctl.text(value)
  end
  for _, link in ipairs(given.links or {}) do
    load_link(space, link, verbs)
  end
  for _, addr in ipairs(given.addresses or {}) do
    local ok, err = pcall(verbs.addr.add, space, addr)
    if not ok and err.name ~= "EEXIST" then
      error(err, 0)
    end
  end
  for _, route in ipairs(given.routes or {}) do
    local ok, err = pcall(verbs.route.add, space, route)
    if not ok and not (err.name == "EEXIST" and route.protocol == "kernel") then
      error(err, 0)
    end
  end
  for _, rule in ipairs(given.rules or {}) do
    verbs.rule.add(space, rule)
  end
  for _, neigh in ipairs(given.neighbours or {}) do
    verbs.neigh.add(space, neigh)
  end
  for _, step in ipairs(given.nft or {}) do
    verbs["nft_" .. step.object][step.verb](space, step.args)
  end
end

-- The fixture in the JSON file at path.
function fixture.read(path)
  local file <close> = assert(io.open(path, "r"))
  return core.json.decode(file:read("a"))
end

return fixture
