---@meta
-- SPDX-License-Identifier: Apache-2.0
-- Signatures for editors (LuaCATS). Never loaded at run time.

---@class mncni What require "mncni" gives. A part is loaded when it is first used.
---@field cidr mncni.core.cidr
---@field json mncni.core.json
---@field netns mncni.core.netns
---@field bridge mncni.BridgeModule
---@field masquerade mncni.MasqueradeModule
---@field hostport mncni.HostportModule
---@field forwarding mncni.ForwardingModule
---@field localnet mncni.LocalnetModule
---@field firewall mncni.FirewallModule
---@field ingress mncni.IngressModule
---@field uplink mncni.UplinkModule
---@field ipam mncni.IpamModule
---@field source_routing mncni.SourceRoutingModule
---@field static mncni.StaticModule
---@field store mncni.StoreModule
---@field collect mncni.CollectModule
---@field node mncni.NodeModule
---@field node_ranges mncni.NodeRangesModule
---@field routes mncni.RoutesModule
---@field conflist mncni.ConflistModule
---@field flannel mncni.FlannelModule
---@field tuning mncni.TuningModule
---@field pod mncni.PodModule
---@field policy mncni.PolicyModule
---@field recorded mncni.RecordedModule
---@field testing mncni.TestingModule
local mncni = {}

---Opens a network namespace: the caller's, or that of a handle, net, path, name or process id.
---@param what? mncni.Netns|mncni.Net|string|integer|{path?: string, name?: string, pid?: integer, fd?: integer}
---@return mncni.Net
function mncni.open(what) end

---Returns what f returns; nil and the error when f raises an error object with an errno or a code. Raises the rest.
---@param f fun(...): ...
---@return any ...
---@return mncni.Error? err
function mncni.try(f, ...) end

---Turns the table it is given into an error object, for error() to raise. Without a code a
---runtime is told 102 where it has an errno, else 100; 7 is for what the configuration should say otherwise.
---@param fields mncni.Error
---@return mncni.Error
function mncni.error(fields) end

---Tells whether a value is an error object.
---@param value any
---@return boolean
function mncni.is_error(value) end

---MTU, in bytes, of the device that carries the caller's default route; 1500 without one.
---@return integer
function mncni.route_mtu() end

---Prints help on a topic, a family ("link", "link.bridge") or a verb (host.link.add); without one, the topics.
---@param topic? string|function
function mncni.help(topic) end

---@class mncni.Net
---@field link mncni.LinkVerbs
---@field addr mncni.AddrVerbs
---@field route mncni.RouteVerbs
---@field rule mncni.Verbs
---@field neigh mncni.Verbs
---@field fdb mncni.Verbs
---@field vlan mncni.Verbs
---@field nsid mncni.Verbs
---@field qdisc mncni.Verbs
---@field class mncni.Verbs
---@field filter mncni.Verbs
---@field nft mncni.Nft
---@field sysctl mncni.Sysctl
---@field conntrack mncni.Conntrack
---@field netns? mncni.Netns nil when it is the caller's own namespace
---@field name? string
local net = {}

---Sends all steps at once. Raises the first refusal, with `index`; later steps may have been applied. With collect all are
---tried, and the refusals returned, by their place in the list.
---@param steps { [1]: string, [2]: string, [3]: table }[]
---@param collect? boolean not for links
---@param known? table<string, integer> the indexes of links that need not be looked up, by name
---@return true|table<integer, mncni.Error>
function net:batch(steps, collect, known) end

---Listens to the named groups from now on; usable in a generic for.
---@param args string[]|{all_netns?: boolean, timeout?: integer}
---@return mncni.Monitor
function net:monitor(args) end

---Closes the sockets. Closing twice is fine.
function net:close() end

---Each family has those of the verbs that its kind of object knows; help "rule" tells which. They take one table of
---arguments and raise a mncni.Error when the kernel refuses.
---@class mncni.Verbs
---@field add fun(args: table): true
---@field replace fun(args: table): true
---@field set fun(args: table): true
---@field append fun(args: table): true
---@field insert fun(args: table): true
---@field del fun(args: table): true
---@field flush fun(args: table): true
---@field get fun(args: table): table?
---@field list fun(filter?: table): fun(): table?
---@field ensure fun(want: table): table, boolean
---@field absent fun(args: table): boolean

---@class mncni.Link
---@field ifname? string at most 15 bytes
---@field ifindex? integer
---@field kind? "bridge"|"veth"|"vxlan"|"vlan"|"macvlan"|"macvtap"|"ipvlan"|"vrf"|"dummy"|string
---@field mtu? integer bytes
---@field address? string MAC
---@field master? string|integer|false the bridge it is a port of; false takes it out
---@field up? boolean
---@field group? integer|"default"
---@field ifalias? string
---@field txqlen? integer
---@field promisc? boolean
---@field operstate? string read only: "UP", "DOWN", ...
---@field netns? mncni.Netns|mncni.Net where to create it, or to move it
---@field peer? mncni.Link the other end of a veth
---@field bridge? table<string, integer|boolean|string>
---@field bridge_slave? table<string, integer|boolean|string>
---@field link? string|integer the link it stands on; with link_netnsid an index in that namespace
---@field link_netnsid? integer
---@field vlan? { id?: integer, protocol?: string, flags?: string[] }
---@field macvlan? { mode?: string, bcqueuelen?: integer, flags?: string[] }
---@field macvtap? { mode?: string, bcqueuelen?: integer, flags?: string[] }
---@field ipvlan? { mode?: string, flags?: string[] }
---@field vrf? { table?: integer }
---@field tun? table read only

---@class mncni.LinkVerbs
---@field add fun(args: mncni.Link): true
---@field replace fun(args: mncni.Link): true
---@field set fun(args: mncni.Link): true
---@field del fun(args: mncni.Link): true
---@field get fun(args: mncni.Link): mncni.Link?
---@field list fun(filter?: mncni.Link): fun(): mncni.Link?
---@field ensure fun(want: mncni.Link): mncni.Link, boolean
---@field absent fun(args: mncni.Link): boolean

---@class mncni.Addr
---@field dev? string|integer
---@field address? string|mncni.Cidr "10.0.0.2/24"
---@field peer? string|mncni.Cidr
---@field broadcast? string
---@field label? string
---@field scope? string|integer
---@field flags? string[] "nodad", "noprefixroute", ...
---@field valid_life_time? integer seconds
---@field preferred_life_time? integer seconds
---@field metric? integer
---@field family? "inet"|"inet6" read only

---@class mncni.AddrVerbs
---@field add fun(args: mncni.Addr): true
---@field replace fun(args: mncni.Addr): true
---@field del fun(args: mncni.Addr): true
---@field get fun(args: mncni.Addr): mncni.Addr?
---@field list fun(filter?: mncni.Addr): fun(): mncni.Addr?
---@field ensure fun(want: mncni.Addr): mncni.Addr, boolean
---@field absent fun(args: mncni.Addr): boolean

---@class mncni.Hop
---@field gateway? string|mncni.Cidr
---@field via? {family: "inet"|"inet6", host: string}
---@field dev? string|integer
---@field weight? integer 1 to 256
---@field flags? string[] "onlink"

---@class mncni.Route: mncni.Hop
---@field dst? string|mncni.Cidr "default" or a prefix
---@field prefsrc? string|mncni.Cidr
---@field table? string|integer
---@field protocol? string|integer "mncni" is 78; "boot" when not given
---@field scope? string|integer
---@field type? string "unicast", "blackhole", "unreachable", "prohibit", "throw", ...
---@field metric? integer
---@field metrics? table<string, integer|boolean|string|string[]> mtu, advmss, quickack, lock, ...
---@field nexthops? mncni.Hop[]
---@field tos? integer
---@field family? "inet"|"inet6"

---@class mncni.RouteVerbs
---@field add fun(args: mncni.Route): true
---@field replace fun(args: mncni.Route): true
---@field append fun(args: mncni.Route): true
---@field del fun(args: mncni.Route): true
---@field get fun(args: mncni.Route): mncni.Route? the kernel's look-up of a destination
---@field list fun(filter?: mncni.Route): fun(): mncni.Route?
---@field ensure fun(want: mncni.Route): mncni.Route, boolean
---@field absent fun(args: mncni.Route): boolean

---@class mncni.Nft
---@field table mncni.Verbs
---@field chain mncni.Verbs
---@field rule mncni.Verbs
---@field set mncni.Verbs
---@field element mncni.Verbs
---@field batch fun(steps: { [1]: string, [2]: string, [3]: table }[]): true one transaction, all or nothing
---@field add fun(object: string, args: table): true as nft[object].add(args)
---@field del fun(object: string, args: table): true
---@field get fun(object: string, args: table): table?
---@field list fun(object: string, filter?: table): fun(): table?

---@class mncni.Sysctl
---@field get fun(key: string): string?
---@field set fun(key: string, value: string|integer|boolean): string?, boolean previous value, whether it was changed
---@field batch fun(list: { [1]: string, [2]: string|integer|boolean, optional?: boolean }[]): mncni.SysctlChange[]

---@class mncni.Conntrack
---@field flush fun(args: mncni.ConntrackFilter): integer how many connections were forgotten: see mncni.core.conntrack

---@class mncni.SysctlChange
---@field key string
---@field previous? string nil for a setting that can only be written, or one that is optional and not there
---@field changed boolean

---@class mncni.Event
---@field event "new"|"del"|"overrun"
---@field object string
---@field value? table
---@field nsid? integer
---@field portid? integer
---@field seq? integer

---@class mncni.Monitor
local monitor = {}

---The next event; nil when the time is over.
---@param milliseconds? integer
---@return mncni.Event?
function monitor:next(milliseconds) end

---@return integer
function monitor:fd() end

---From now on without the events that the requests of that socket cause.
---@param portid integer of net:socket("route"):portid()
function monitor:leave_out(portid) end

function monitor:close() end

return mncni
