---@meta
-- SPDX-License-Identifier: Apache-2.0
-- The modules that require "mncni" gives a policy: signatures for editors (LuaCATS). Never loaded at run time.

---@class mncni.BridgeModule
local bridge = {}

---@class mncni.Bridge
---@field kind "bridge"
---@field ifname string

---Makes sure that the bridge is there and up, has the addresses, and that their families are forwarded. Never removed
---with a pod. With force, other ranges' addresses that are in the way are removed. Raises code 103 when something else
---has the name, or, without force, another range's gateway is on it.
---@param args mncni.BridgeArguments
---@return mncni.Bridge for master = and pod:result
function bridge.ensure(args) end

---What pod:veth takes as vlans, made of the number of an access VLAN (nil or 0: none) and a trunk; nil when there is
---neither. Untagged frames of a trunk without an access VLAN are in VLAN 1. Raises code 7 for a malformed entry.
---@param access? integer
---@param trunk? { id?: integer, minID?: integer, maxID?: integer }[]
---@return mncni.PortVlan[]?
function bridge.vlans(access, trunk) end

---@class mncni.BridgeArguments
---@field ifname string
---@field mtu? integer bytes; the kernel's unless set
---@field address? (mncni.Cidr|string)[] the gateways of the pods
---@field promisc? boolean takes frames for every address
---@field vlan_filtering? boolean for ports that are in VLANs
---@field call_iptables? boolean hands what it forwards to iptables and ip6tables, as kube-proxy's rules need it
---@field force? boolean removes addresses of other ranges that are in the way

---@class mncni.PortVlan in the words of `bridge -json vlan`
---@field vlan integer 1 to 4094
---@field vlanEnd? integer the last one of a range
---@field flags? ("PVID"|"Egress Untagged")[]

---Makes sure that the node has the addresses in a VLAN of the bridge, on a link "BRIDGE.VLAN" that is never removed with
---a pod. To be called after pod:commit(), when the pod's port is in the VLAN. Raises as ensure does, and code 7 for a
---name that is too long.
---@param args { bridge: mncni.Bridge|string, vlan: integer, port: mncni.Eth|string, address: (mncni.Cidr|string)[], force?: boolean }
---@return mncni.Bridge for pod:result
function bridge.vlan_gateway(args) end

---For the hook status: raises code 51 when something that is no bridge has the name. Changes nothing. With call_iptables
---false it does not warn where br_netfilter is missing.
---@param args { ifname: string, call_iptables?: boolean }
function bridge.status(args) end

---@class mncni.MasqueradeModule
local masquerade = {}

---Masquerades what sources send to anywhere but pods of this node, except and the node itself. The sets are the node's:
---what several networks ask for adds up. Where the agent keeps them, it alone says what is excepted.
---@param args { sources: (mncni.Cidr|string)[], except?: (mncni.Cidr|string)[] }
function masquerade.ensure(args) end

---The same as data, for what a policy of the agent desires. Lists may be long and overlap.
---@param args { sources: (mncni.Cidr|string)[], except?: (mncni.Cidr|string)[] }
---@return mncni.Ruleset
function masquerade.desired(args) end

---@class mncni.ForwardingModule
local forwarding = {}

---The node forwards the families of these addresses from now on.
---@param addresses mncni.Cidr[]
function forwarding.ensure(addresses) end

---@class mncni.LocalnetModule
local localnet = {}

---While the attachment lasts, packets from 127.0.0.1 that a rule of yours translates to the pod leave by the bridge,
---with its address as source. The last one to go sets route_localnet of the bridge to 0.
---@param args { bridge: mncni.Bridge|string, port: mncni.Eth|string }
function localnet.ensure(args) end

---@class mncni.PortMapping A port of the node that leads to the pod, as runtimes write it.
---@field hostPort integer
---@field containerPort integer
---@field protocol? "tcp"|"udp"|"sctp" tcp unless given
---@field hostIP? string an address of the node; all of both families unless given, of one with 0.0.0.0 or ::

---@class mncni.HostportArgs
---@field pod mncni.Pod
---@field mappings mncni.PortMapping[]
---@field addresses? mncni.Cidr[] those of the chain unless given
---@field snat? boolean masquerade what comes from 127.0.0.1 and from the pod's own side (true)
---@field masq_all? boolean masquerade everything (false)

---@class mncni.HostportModule
local hostport = {}

---For as long as the attachment lasts, ports of the node lead to the first of the pod's addresses of each family. Raises
---code 7 for what is no mapping; the commit raises 103 for a port that another pod has.
---@param args mncni.HostportArgs
function hostport.ensure(args) end

---For the hook status: raises code 50 when the kernel has no nftables.
function hostport.status() end

---For the hook lost: removes the ports of an attachment whose journal is lost.
---@param call mncni.Call
function hostport.lost(call) end

---For the hook gc: removes the network's ports that no attachment of valid has.
---@param valid mncni.ValidAttachment[]
---@param network string
function hostport.gc(valid, network) end

---@class mncni.FirewallModule
local firewall = {}

---For a chained policy: the node forwards what the pod's addresses send, and the answers, where its iptables would drop
---that. The chain `admin` ("CNI-ADMIN" unless given) of the tables ip filter and ip6 filter is asked first.
---@param args { pod: mncni.Pod, admin?: string }
function firewall.accept(args) end

---@class mncni.IngressModule
local ingress = {}

---For a chained policy: keeps pods of other attachments that are held from the pod's addresses, those behind another
---bridge ("same-bridge"), or all of them and whatever else is on its bridge ("isolated").
---@param args { pod: mncni.Pod, policy: "same-bridge"|"isolated" }
function ingress.hold(args) end

---@class mncni.UplinkModule
local uplink = {}

---The link of that name, as link.get returns it; of "" the default route's device. Raises code 7 when there is none.
---@param net mncni.Net
---@param name? string
---@return mncni.Link
function uplink.find(net, name) end

---For the hook status: raises code 50 when the node has no such link.
---@param args { master?: string, inside?: boolean } inside: it is the pod's, so nothing is looked at
function uplink.status(args) end

---A VLAN of a link of the node's, for pods to stand on. It belongs to the node and stays.
---@param args { master: string, id: integer, ifname?: string } ifname: master.id unless given
---@return mncni.Bridge vlan with its ifname
function uplink.vlan(args) end

---The device that the first of these keys names. Raises code 7 when none is given, or it is not there.
---@param net mncni.Net
---@param args { device?: string, hwaddr?: string, kernelpath?: string, deviceID?: string, pciBusID?: string }
---@return mncni.Link
function uplink.device(net, args) end

---@class mncni.Range
---@field subnet mncni.Cidr
---@field first mncni.Cidr
---@field last mncni.Cidr
---@field gateway mncni.Cidr

---@alias mncni.RangeSet mncni.Range[] an attachment gets one address of each set

---@class mncni.IpamModule Ranges as host-local configures them; what is wrong is raised with code 7.
local ipam = {}

---Reads one range { subnet, rangeStart, rangeEnd, gateway }; where ("ranges[1][1]") begins messages.
---@param given table
---@param where string
---@return mncni.Range
function ipam.range(given, where) end

---The range sets of a configuration: runtimeConfig.ipRanges, the subnet, then ranges.
---@param conf table
---@param runtime_ranges? table
---@param version? string cniVersion; before 0.3.0 a result has one address of a family
---@return mncni.RangeSet[]
function ipam.range_sets(conf, runtime_ranges, version) end

---A set as people read it: "10.1.2.1-10.1.2.254".
---@param set mncni.RangeSet
---@return string
function ipam.describe(set) end

---@param set mncni.RangeSet
---@param address mncni.Cidr
---@return mncni.Range? range that has the address
function ipam.find(set, address) end

---Which set gives which of the addresses that were asked for.
---@param sets mncni.RangeSet[]
---@param wanted? string[]
---@return table<integer, mncni.Cidr>
function ipam.assign(sets, wanted) end

---The routes of a configuration, checked.
---@param given? table[]
---@return table[]
function ipam.routes(given) end

---The dns part of a result from a resolv.conf; an empty table without a path.
---@param path? string
---@return table
function ipam.dns(path) end

---@class mncni.StaticModule Addresses that a configuration or the runtime names; what is wrong is raised with code 7.
local static = {}

---The addresses of runtimeConfig.ips, else of args.cni.ips, else of conf.addresses and IP, GATEWAY of CNI_ARGS.
---@param request { runtime_ips?: string[], args_ips?: string[], args?: table<string, string> }
---@param conf { addresses?: { address: string, gateway?: string }[], version?: string }
---@return { address: string, gateway?: string }[]
function static.addresses(request, conf) end

---Raises code 106 for the first address wanted that the other list does not have, or has with another gateway.
---@param wanted { address: string, gateway?: string }[]
---@param have { address: string, gateway?: string }[]
function static.check(wanted, have) end

---@class mncni.TuningModule What the plugin tuning may be asked for; what is wrong is raised with code 7.
local tuning = {}

---The settings as pod.inside.sysctl.set takes them, sorted by the keys given. Each must be in the node's allowlist, where
---there is one (/etc/cni/tuning/allowlist.conf, a regular expression a line).
---@param given table<string, string> keys as sysctl(8) writes them; IFNAME stands for the pod's interface
---@param ifname string
---@return { [1]: string, [2]: string }[] key and value
function tuning.sysctls(given, ifname) end

---An Ethernet address as the kernel writes it.
---@param text string
---@return string
function tuning.mac(text) end

---@class mncni.SourceRoutingModule
---@field FIRST_TABLE integer for an address; those below are for people
local routing = {}

---@class mncni.SourceRoutingArguments
---@field ifname string
---@field addresses { address: mncni.Cidr, gateway?: string }[]
---@field routes mncni.Route[] of the interface, as list returns them
---@field rules table[] of the pod
---@field taken (integer|string)[] the tables that routes of the pod are in
---@field table? integer the only one to use, which keeps its routes
---@field gateways mncni.Cidr[] each for addresses of its subnet, before the result's
---@field hints? boolean the routes stay in the main table, with the address as source

---@class mncni.SourceRouting
---@field rules table[] to add
---@field add mncni.Route[]
---@field del mncni.Route[]
---@field back mncni.Route[] to add after that

---Which rules and routes route what the addresses send by tables of their own. Pure.
---@param args mncni.SourceRoutingArguments
---@return mncni.SourceRouting
function routing.plan(args) end

---@class mncni.StoreModule Leases in <conf.dataDir>/<conf.network>, the files that host-local keeps.
---@field DEADLINE integer milliseconds to wait for the lock before code 11
local store = {}

---@param conf { dataDir: string, network: string }
---@return string
function store.path(conf) end

---@param conf { dataDir: string, network: string }
---@param create? boolean
---@return mncni.Store? store nil when there is none yet and create is not set
function store.open(conf, create) end

---Reserves an address of each set. Raises code 104 when a set has none or a wanted one is taken, 7 when one was asked
---for that no set can give, 11 when the lock is not to be had, 5 when the directory cannot be written; nothing stays
---reserved then.
---@param request mncni.IpamRequest
---@param conf { dataDir: string, network: string }
---@param sets mncni.RangeSet[]
---@return { address: string, gateway: string }[]
function store.lease(request, conf, sets) end

---Frees what the attachment holds. Raises code 5 when something cannot be freed.
---@param request mncni.IpamRequest
---@param conf { dataDir: string, network: string }
function store.release(request, conf) end

---Raises code 106 unless the lease's addresses are reserved for the attachment.
---@param request mncni.IpamRequest
---@param conf { dataDir: string, network: string }
---@param sets mncni.RangeSet[]
---@param lease? mncni.IpamLease
function store.check(request, conf, sets, lease) end

---Raises code 50 when a lease would fail now. Takes no lock and changes nothing.
---@param conf { dataDir: string, network: string }
---@param sets mncni.RangeSet[]
---@param request? { reclaimable: fun(directory: string): string[] }
function store.status(conf, sets, request) end

---Frees what no attachment of valid has, and what an earlier boot left.
---@param valid mncni.ValidAttachment[]
---@param conf { dataDir: string, network: string }
---@return mncni.Freed[]
function store.gc(valid, conf) end

---@class mncni.StoreRanges
---@field ranges mncni.Range[]
---@field index integer number of the set, from 0

---@class mncni.Attachment
---@field container string
---@field ifname string

---@class mncni.Store An open directory of reservations; `<close>` closes it.
local handle = {}

---The address to journal and publish next; nil when none is free. Nothing is reserved yet.
---@param args { ranges: mncni.Range[], index: integer, lost?: string } lost: one that publish answered "taken" for
---@return string?
function handle:plan(args) end

---@param args { address: string, container: string, ifname: string }
---@return "reserved"|"held"|"taken" outcome held: by this attachment before
function handle:publish(args) end

---plan and publish in one.
---@param args { ranges: mncni.Range[], index: integer, container: string, ifname: string }
---@return string?
function handle:reserve(args) end

---Frees the addresses, or all that a look through the directory finds; returns how many. Raises code 5.
---@param args { container: string, ifname: string, addresses?: string[] }
---@return integer
function handle:release(args) end

---@param args { address: string, container: string, ifname: string }
---@return boolean
function handle:holds(args) end

---The addresses of an attachment, by reading every file.
---@param args mncni.Attachment
---@return string[]
function handle:find(args) end

---@return { address: string, container?: string, ifname?: string, stale?: boolean }[] stale: of an earlier boot
function handle:list() end

---@param args { ranges: mncni.Range[], index?: integer }
---@return integer taken
---@return integer size
function handle:count(args) end

---@param args mncni.StoreRanges
---@return boolean
function handle:has_room(args) end

---Raises what stands in the way of writing. Changes nothing.
function handle:writable() end

---@return string
function handle:path() end

function handle:close() end

---@class mncni.CollectModule Removes attachments that are proven dead, as `mncni gc` does.
---@field GRACE integer seconds for which an attachment is left alone after it was made
---@field WAIT integer milliseconds to wait for a call that works on an attachment
---@field ENOUGH integer how many are removed at most for a range that is exhausted
---@field BUSY string why what another call works on is left
local collect = {}

---@class mncni.CollectArguments
---@field state_dir string where the journals are
---@field network? string of all networks unless set
---@field grace? integer seconds; GRACE unless set
---@field proof? boolean true: what is finished and proven dead needs no grace
---@field limit? integer how many to remove at most
---@field dry_run? boolean true: change nothing
---@field stores? string[] directories of addresses; with it, addresses without a journal are looked at as well
---@field log? fun(item: mncni.Collected, reason: string) told of each removal; a line on stderr unless set

---@class mncni.Collected
---@field network? string
---@field container? string
---@field ifname? string
---@field path? string of the journal
---@field dir? string of the address store
---@field addresses string[]
---@field reason string

---Raises only when it cannot look at all.
---@param args mncni.CollectArguments
---@return { removed: mncni.Collected[], kept: mncni.Collected[], failed: mncni.Collected[], alive: integer } report
---kept: in doubt
function collect.run(args) end

---Removes up to ENOUGH dead attachments of a network: what request.collect() of an IPAM policy does.
---@param state_dir string
---@param network string
function collect.relieve(state_dir, network) end

---The addresses of the store in dir that relieve would free. Changes nothing.
---@param state_dir string
---@param network string
---@param dir string
---@return string[]
function collect.reclaimable(state_dir, network, dir) end

---One line for people.
---@param item mncni.Collected
---@return string
function collect.describe(item) end

---@class mncni.PodModule
local pods = {}

---The name of the host's end that pod:veth gives: the same for the same container and interface.
---@param container string
---@param ifname string
---@return string
function pods.host_ifname(container, ifname) end

---The same MAC address for the same text, locally administered.
---@param text string
---@return string
function pods.mac(text) end

---The alias of the host's end, which names the attachment.
---@param network string
---@param container string
---@param ifname string
---@param part? string the plugin's name, of a link besides the pod's own
---@return string
function pods.alias(network, container, ifname, part) end

---@class mncni.PolicyModule
local policies = {}

---The policy of that name; nil when there is none. Raises code 7 for a file that may not be trusted, 100 for one that
---does not load.
---@param name string
---@return mncni.Policy|mncni.IpamPolicy|nil
function policies.get(name) end

---The same; raises code 7 when there is none.
---@param name string
---@return mncni.Policy|mncni.IpamPolicy
function policies.load(name) end

---Every policy that can be named.
---@return { name: string, source: string }[] source: a path, or "built in"
function policies.names() end

---@param name string
---@return string? path or "built in"
function policies.source(name) end

---@class mncni.RecordedModule
local recorded = {}

---Namespaces that exist only as tables: what a policy would do, without a kernel. Refuses what the kernel would refuse.
---@param fixture? string|table path of a JSON file, or the same as a table: see lua/mncni/recorded_fixture.lua
---@return mncni.World
function recorded.new(fixture) end

---@class mncni.World
---@field host mncni.Net
---@field pod mncni.Net
---@field namespaces table<string, mncni.Net>
---@field log { netns: string, verb: string, object: string, args: table, line: string }[]
---@field netns table stands in for mncni.netns
local world = {}

---What was changed since it was made, as command lines.
---@return string[]
function world.lines() end

---Empties the log.
function world.clear() end

---Makes one more namespace, with that part of a fixture in it.
---@param name string
---@param part? table
---@return mncni.Netns
function world.add(name, part) end

---Stands in for mncni.open.
---@param what? any
---@return mncni.Net
function world.open(what) end

---Calls fn while mncni.open and mncni.netns are the world's.
---@param fn fun(...): ...
---@return any ...
function world.run(fn, ...) end

---@class mncni.FlannelEnv
---@field subnets mncni.Cidr[] of this node, at most one of each family
---@field networks mncni.Cidr[] of the cluster
---@field mtu integer
---@field ip_masq boolean whether flanneld masquerades

---@class mncni.FlannelModule
local flannel = {}

---What a subnet.env says. Raises code 11 while there is no such file, code 6 when it cannot be understood.
---@param path string
---@return mncni.FlannelEnv
function flannel.env(path) end

---The same of a text.
---@param text string
---@param path string for messages
---@return mncni.FlannelEnv
function flannel.parse(text, path) end

---Ends what flannel's own plugin made for the container of a call; nothing for others.
---@param call table what del is given
---@param data_dir string
function flannel.forget(call, data_dir) end
