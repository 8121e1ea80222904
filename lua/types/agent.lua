---@meta
-- SPDX-License-Identifier: Apache-2.0
-- What policies of the node agent are given and return: signatures for editors (LuaCATS). Never loaded at run time.

---@alias mncni.Family "inet"|"inet6"

---@class mncni.Node A node of the cluster. Never changed once it is made.
---@field name string
---@field uid? string
---@field provider_id? string "azure:///subscriptions/..."
---@field addresses { type: string, address: string }[]
---@field pod_cidrs mncni.Cidr[] one of a family at most
---@field labels table<string, string>
---@field annotations table<string, string>
local node = {}

---The first InternalIP of the family, else the first ExternalIP.
---@param family mncni.Family
---@return string?
function node:address(family) end

---@class mncni.Reach How the kernel reaches a peer's address.
---@field address string
---@field dev? string
---@field gateway? string nil: on the link
---@field prefsrc? string
---@field mtu? integer
---@field lladdr? string the MAC address that answers, where it is known
---@field error? string why there is no way

---@class mncni.AgentWorld
---@field node mncni.Node this one
---@field peers mncni.Node[] all others, by name
---@field reach table<string, table<mncni.Family, mncni.Reach>> by the peer's name
---@field underlay table<mncni.Family, { dev: string, address: string, mtu: integer, lladdr?: string }>
---the links with this node's own addresses
---@field gateway table<mncni.Family, { address: string, lladdr?: string }> the default gateway
---@field fabric? table<mncni.Family, { forwards: boolean, sure: boolean, unknown?: boolean, why?: string }> whether the
---network between the nodes carries a packet to the next hop that a node chooses; nil where no peer is on the link
---@field advertised? string[] links on which the kernel follows router advertisements, sorted
---@field ready { ok: boolean, reasons: string[] } whether all but files and node stands in the kernel
---@field policies? table<string, string> the user's policies, name -> text
---@field desired? mncni.Desired what the policies listed before want

---@class mncni.ControllerWorld What a policy sees under --controller.
---@field nodes mncni.Node[] all of the cluster, by name; without addresses
---@field now integer seconds since 1970
---@field promised table<string, string[]> what is being written: node's name -> ranges. They are taken, and stay promised
---@field released { cidr: string, at: integer }[] ranges of nodes that are gone, and since when; the oldest first
---@field state? table what this policy returned as state the last time, maybe in another process
---@field policies? table<string, string> the user's policies, name -> text

---@class mncni.ControllerDesired What desired returns under --controller.
---@field nodes? table<string, { pod_cidrs?: (string|mncni.Cidr)[], events?: mncni.NodeEvent[] }> by the node's name;
---pod_cidrs is what a node without a range gets, one of a family
---@field ranges? { cidr: string, family: mncni.Family, used: integer, resting: integer, free: integer }[] for metrics
---@field state? table data to be seen again as world.state, at most 16 KiB as JSON
---@field warnings? string[]
---@field notes? string[]

---@class mncni.NodeEvent Said once, until it was gone for a while.
---@field type "Normal"|"Warning"
---@field reason string CamelCase
---@field message string

---@class mncni.NodeRangesModule
local noderanges = {}

---Notes what is taken: by nodes, by what is reserved, and for rest seconds by what became free.
---@param world mncni.ControllerWorld
---@param conf { reserved?: mncni.Cidr[], rest?: integer }
---@return mncni.NodeRanges
function noderanges.new(world, conf) end

---@class mncni.Pool

---@class mncni.NodeRanges
local ranges = {}

---A range of addresses to be given away in ranges of mask bits, in turn. Raises code 7 when it overlaps another one.
---@param cidr mncni.Cidr|string
---@param mask integer
---@return mncni.Pool
function ranges:pool(cidr, mask) end

---The nodes that have no range, by name.
---@return mncni.Node[]
function ranges:waiting() end

---Gives a node a range of each of the pools, of all or, with an Event, of none. What was promised stays.
---@param one mncni.Node
---@param pools mncni.Pool[]
function ranges:give(one, pools) end

---With an Event for each range that is outside of all pools, reserved, or another node's too.
---@return mncni.ControllerDesired
function ranges:result() end

---@class mncni.Desired What desired returns: everything is optional, and takes the keys of the verb `ensure`.
---@field links? mncni.Link[]
---@field addresses? mncni.Addr[]
---@field routes? mncni.Route[]
---@field neighbours? table[]
---@field fdb? table[]
---@field rules? table[]
---@field nft? mncni.Ruleset[]
---@field sysctls? table<string, string|{ value: string, after: string[] }> after: of these keys, to be set before
---@field files? mncni.File[] written in this order
---@field node? { conditions?: table[], annotations?: table<string, string> }
---@field warnings? string[] what an operator should know; told when it changes
---@field notes? string[] the same, where nothing is wrong
---@field unready? string[] what pods need and the policy could not provide: keeps the node from being ready

---@class mncni.File One of content, source, tree and link; or, for a directory of policies, mark and only.
---@field path string
---@field content? string
---@field source? string a file whose content is taken
---@field tree? string a directory whose files and links are to be in path
---@field link? string where a symbolic link leads
---@field mode? integer
---@field mark? string the end of a policy that somebody has installed
---@field only? table<string, boolean> paths; another policy with that mark is removed

---@class mncni.Ruleset Objects of one nftables table.
---@field family string
---@field table string mncni, or one whose name begins with mncni-
---@field comment string of every rule; ends with a revision
---@field chains { name: string, type?: string, hook?: string, prio?: integer, policy?: string, comment?: string, shared?: boolean }[]
---shared: the plugin makes it, too, so that it stays when this is no longer wanted
---@field sets { name: string, type: string, flags?: string[], elem?: string[], owned?: boolean, shared?: boolean }[]
---elem: what it has to hold; owned: and nothing else
---@field rules { chain: string, expr: table[] }[]

---@class mncni.NodeFields
---@field name string
---@field uid? string
---@field provider_id? string
---@field addresses? (string|{ type: string, address: string })[]
---@field pod_cidrs? (string|mncni.Cidr)[]
---@field labels? table<string, string>
---@field annotations? table<string, string>

---@class mncni.NodeModule
local nodes = {}

---Makes a node of a decoded Kubernetes Node; nil, the reason and its name when it is malformed.
---@param object any
---@return mncni.Node? node
---@return string? reason
---@return string? name
function nodes.from(object) end

---Makes one by hand. A plain address is an InternalIP. Raises what is wrong.
---@param fields mncni.NodeFields
---@return mncni.Node
function nodes.new(fields) end

---Whether no policy can see a difference between them.
---@param a mncni.Node
---@param b mncni.Node
---@return boolean
function nodes.same(a, b) end

---@class mncni.Tunnel
---@field family mncni.Family on the outside
---@field dev string
---@field address string this node's, on the outside
---@field mac string
---@field mtu? integer
---@field vxlan table

---@class mncni.Way
---@field gateway? string
---@field dev? string
---@field tunnel? mncni.Tunnel with it, mac and address are the peer's, and gateway and dev are not given
---@field mac? string
---@field link_local? string IPv6 address that goes with mac
---@field address? string

---@class mncni.Warnings
local told = {}

---@param reason string
---@param name string of the node
function told:add(reason, name) end

---The reasons noted of one node.
---@param name string
---@return string[]
function told:of(name) end

---One line for each reason.
---@return string[]
function told:lines() end

---@class mncni.RoutesModule
---@field OVERHEAD table<mncni.Family, integer> bytes that VXLAN puts in front of a packet, by the outer family
local ways = {}

---The MAC address of a tunnel, made of its node's address.
---@param address string
---@return string
function ways.mac(address) end

---The IPv6 address of a link that goes with a MAC address.
---@param mac string
---@return string
function ways.link_local(mac) end

---Why the network will not carry a packet to the next hop that a node chose, or that this is not known; nil when it will.
---@param world mncni.AgentWorld
---@param family mncni.Family
---@param presumed? boolean that it will, where it is not known
---@return string?
function ways.fabric(world, family, presumed) end

---The same for people, one line for each family.
---@param fabric table<mncni.Family, string>
---@return string[]
function ways.notes(fabric) end

---@return mncni.Warnings
function ways.warnings() end

---Iterates over the ranges that can be routed to peers: peer, range, and its text.
---@param world mncni.AgentWorld
---@param warnings mncni.Warnings learn of the others
---@return fun(): mncni.Node?, mncni.Cidr?, string?
function ways.pod_cidrs(world, warnings) end

---Those of the cluster's ranges that can be made unreachable.
---@param world mncni.AgentWorld
---@param cidrs mncni.Cidr[]
---@param warnings mncni.Warnings
---@return mncni.Cidr[]
function ways.cluster(world, cidrs, warnings) end

---Adds what makes this node a router of a family, without losing the default routes of router advertisements.
---@param world mncni.AgentWorld
---@param family mncni.Family
---@param sysctls table<string, string|{ value: string, after: string[] }>
function ways.forwarding(world, family, sysctls) end

---@param world mncni.AgentWorld
---@param device string
---@return mncni.Tunnel[] the better first
function ways.tunnels(world, device) end

---@param world mncni.AgentWorld
---@param peer mncni.Node
---@param family mncni.Family
---@param tunnels mncni.Tunnel[]
---@param mode "auto"|"direct"|"vxlan"
---@param fabric table<mncni.Family, string>
---@return mncni.Way?
---@return string? reason
---@return mncni.Node? of what node, where it is not the peer's
function ways.way(world, peer, family, tunnels, mode, fabric) end

---@class mncni.ConflistModule
local conflist = {}

---The largest packet, in bytes, that every way to another node takes.
---@param world mncni.AgentWorld
---@return integer?
function conflist.mtu(world) end

---Whether the agent masquerades what pods send.
---@param world mncni.AgentWorld
---@return boolean
function conflist.is_masqueraded(world) end

---A section for host-local.
---@param cidrs mncni.Cidr[]
---@return table
function conflist.ipam(cidrs) end

---The configuration list as JSON text.
---@param args { version: string, versions: string[], name: string, plugin: table, portmap?: boolean, bandwidth?: boolean }
---@return string
function conflist.text(args) end
