---@meta
-- SPDX-License-Identifier: Apache-2.0
-- What a policy is made of and what it is given: signatures for editors (LuaCATS). Never loaded at run time.

---@class mncni.Policy What a policy's file returns. Every hook is optional.
---@field options? table<string, mncni.Option> what its configuration may hold
---@field add? fun(pod: mncni.Pod, conf: mncni.Conf): mncni.Result ADD: describes how the pod is wired
---@field del? fun(call: mncni.Call, conf: mncni.Conf) DEL, before what add did is undone
---@field check? fun(call: mncni.Call, conf: mncni.Conf) CHECK, after what add made was compared with the kernel
---@field status? fun(conf: mncni.Conf) STATUS: raises code 50 or 51
---@field gc? fun(valid: mncni.ValidAttachment[], conf: mncni.Conf) GC, after the network's own was collected
---@field chained? boolean it works on what the plugins before it in a chain have made: an ADD without their result is refused
---@field lost? fun(call: mncni.Call) of a chained policy, DEL: no whole journal tells what add made; removes it by its name
---@field desired? fun(world: mncni.AgentWorld, conf: table): mncni.Desired what the node agent is to keep so

---@class mncni.IpamPolicy A policy that gives addresses: it has lease, and no add.
---@field options? table<string, mncni.Option> what the "ipam" section may hold
---@field lease fun(request: mncni.IpamRequest, conf: mncni.Conf): mncni.IpamLease
---@field release? fun(request: mncni.IpamRequest, conf: mncni.Conf) gives back what the attachment holds
---@field check? fun(request: mncni.IpamRequest, conf: mncni.Conf, lease: mncni.IpamLease) raises code 106
---@field status? fun(conf: mncni.Conf, request: { reclaimable: fun(directory: string): string[] }) raises code 50 or 51
---@field gc? fun(valid: mncni.ValidAttachment[], conf: mncni.Conf): mncni.Freed[]? frees what is not in valid

---@alias mncni.OptionType "string"|"integer"|"number"|"boolean"|"cidr"|"list"|"table"

---@class mncni.Option The declaration of one option. JSON's null counts as not given.
---@field type mncni.OptionType
---@field default? any its value when it is not given
---@field auto? fun(conf: table): any computes what is not given, after everything that is given or has a default
---@field required? boolean
---@field choices? (string|number)[] the values allowed
---@field min? number of a number, of the bytes of a string, of the elements of a list
---@field max? number
---@field of? mncni.Option a list's elements, or the values of a table with free names
---@field fields? table<string, mncni.Option> a table's members
---@field doc? string one sentence for people

---@class mncni.Conf The options, checked and complete, by their names; and beside them:
---@field network string the network's name
---@field ipam? table as the configuration has it (not for an IPAM policy, whose options are that section)
---@field dns? table
---@field args? table
---@field runtimeConfig? table
---@field version? string cniVersion of the call; for an IPAM policy
---@field [string] any

---@class mncni.Call What del and check are told of the attachment.
---@field container string CNI_CONTAINERID
---@field ifname string
---@field network string
---@field netns? string path; DEL may come without one
---@field args table<string, string> CNI_ARGS
---@field annotations table<string, string> of the pod, where the runtime sends them
---@field config table the whole network configuration
---@field prev_result? table in the form of cniVersion 1.1.0

---@class mncni.ValidAttachment
---@field containerID string
---@field ifname string

---@class mncni.Freed
---@field address string
---@field container string
---@field ifname? string

---@class mncni.Pod Calls record steps; the host journals and sends them after add has returned.
---@field container string CNI_CONTAINERID
---@field ifname string
---@field network string
---@field netns string path
---@field args table<string, string> CNI_ARGS
---@field annotations table<string, string> of the pod, where the runtime sends them
---@field runtime table runtimeConfig
---@field config table the whole network configuration
---@field prev_result? table the result of the plugin before, in the form of cniVersion 1.1.0
---@field name? string of the Kubernetes pod
---@field namespace? string of the Kubernetes pod
---@field inside mncni.RecordedNet the pod's network
---@field host mncni.RecordedNet the node's network
local pod = {}

---The addresses that the "ipam" section of the configuration gives this attachment. Answered at once. Raises code 104
---when no address is free, 103 when the pod has an interface of that name already, 7 when ipam is unusable. With gateway,
---addresses to which ipam gives none have the first one of their subnet as gateway.
---@param ipam? table
---@param options? { gateway?: boolean }
---@return mncni.Lease
function pod:lease(ipam, options) end

---A veth pair: one end the pod's interface, made inside its namespace, the other on the host.
---@param args mncni.VethArguments
---@return mncni.Eth
function pod:veth(args) end

---The pod's interface as a link of its own, made inside its namespace. Raises code 7 for a master that is not there or an
---MTU above its.
---@param args mncni.LinkArguments
---@return mncni.Eth
function pod:link(args) end

---The pod's interface as a TAP device that stays.
---@param args mncni.TapArguments
---@return mncni.Eth
function pod:tap(args) end

---A device of the node's, moved into the pod; it comes back when the attachment ends.
---@param args { link: mncni.Link, lease?: mncni.Lease } link: what the module uplink finds
---@return mncni.Eth
function pod:device(args) end

---For a chained policy: puts the interface, with its addresses and routes, into a VRF of the pod's.
---@param args { ifname: string, table?: integer } the VRF's name, made when missing, and its routing table
function pod:vrf(args) end

---Has another plugin of CNI_PATH add the same interface. Its DEL follows by itself.
---@param type string
---@param config? table in place of the call's own configuration
---@return table result in the form of cniVersion 1.1.0
function pod:delegate(type, config) end

---Has another policy wire the pod, as it would with that configuration.
---@param name string
---@param config table as JSON has it
---@return any result what that policy's add returns, for one's own to return
function pod:wire(name, config) end

---An interface that the pod has anyway, for pod:result, which reports its addresses.
---@param ifname string
---@return mncni.Part
function pod:interface(ifname) end

---What add returns: a list of what the calls returned, in the order in which interfaces are to be reported.
---@param parts { [integer]: mncni.Bridge|mncni.Eth|mncni.Lease|mncni.Part, dns?: table } dns replaces the lease's
---@return mncni.Result
function pod:result(parts) end

---Sends what was recorded so far, for a policy that must look at the outcome. Raises what the kernel refuses.
function pod:commit() end

---A line for people: in the runtime's log and, when the call succeeds, in its record.
---@param message string
function pod:warn(message) end

---For a chained policy: what the plugins before it gave this interface.
---@param family? "inet"|"inet6" both unless given
---@return mncni.Cidr[]
function pod:addresses(family) end

---For a chained policy: the node's end of the pod's veth, as pod.host.link.get returns it. Raises code 7 if it has none.
---@return table link
function pod:host_link() end

---A link on the node that belongs to this attachment and goes with it, up.
---@param args { ifname: string, kind: string, mtu?: integer }
---@return { ifname: string }
function pod:node_link(args) end

---The MAC address that was asked for: runtimeConfig.mac, else args.cni.mac, else MAC of CNI_ARGS.
---@return string?
function pod:wanted_mac() end

---A net whose changes (add, append, replace, set and del of the family) are recorded; get and list are answered at
---once, as the kernel is then. There is no ensure and no absent: what is shared is for the modules.
---@class mncni.RecordedNet
---@field link mncni.LinkVerbs
---@field addr mncni.AddrVerbs
---@field route mncni.RouteVerbs
---@field rule mncni.Verbs
---@field neigh mncni.Verbs
---@field fdb mncni.Verbs
---@field vlan mncni.Verbs
---@field qdisc mncni.Verbs
---@field class mncni.Verbs
---@field filter mncni.Verbs
---@field sysctl { get: (fun(key: string, ...: string): string?), set: fun(key: string, value: string|integer|boolean) }

---@class mncni.LinkArguments
---@field kind string "macvlan", "ipvlan", "vlan", "dummy", ...
---@field master? string the link it stands on, by name; the default route's device when empty
---@field inside? boolean the master is the pod's, too
---@field mtu? integer bytes; 0: its master's
---@field address? string MAC
---@field options? table of the kind, with the keys of `ip -json -details link`
---@field lease? mncni.Lease addresses that it has before it is up

---@class mncni.TapArguments
---@field mtu? integer bytes
---@field address? string MAC
---@field multi_queue? boolean
---@field owner? integer number of the user who may attach to it; root unless given
---@field group? integer number of the group that may
---@field master? string a bridge of the pod's
---@field lease? mncni.Lease addresses that it has before it is up

---@class mncni.VethArguments
---@field master? mncni.Bridge|string the bridge that the host's end is a port of
---@field mtu? integer bytes
---@field hairpin? boolean frames may go back out of the port that they came in by; false unless set
---@field isolated? boolean the port exchanges frames with no other isolated port; false unless set
---@field guard? boolean|mncni.Lease true: the pod sends from its MAC address only; a lease: and from its addresses only
---@field address? string MAC address inside; what the runtime asked for unless set
---@field host_ifname? string of the host's end; made from container and interface unless set
---@field vlans? mncni.PortVlan[] that the port is in, on a bridge that filters VLANs, as bridge.vlans makes them
---@field keep_default_vlan? boolean it stays in the bridge's default VLAN as well; false unless set
---@field up? boolean false: the interface inside stays down
---@field dad? boolean IPv6's duplicate address detection, for eth:settle() to wait for; off unless set

---@class mncni.Eth
---@field ifname string inside the pod
---@field host_ifname? string of a veth
---@field host_mac? string
---@field mac? string known once the link is there: after pod:commit()
---@field mtu? integer
local eth = {}

---Gives the interface an address with its prefix length, or every address of a lease. With noprefixroute its subnet gets
---no route.
---@param what string|mncni.Lease
---@param options? { noprefixroute?: boolean }
function eth:address(what, options) end

---Sends what was recorded and waits, 10 s at most, until IPv6's duplicate address detection is done; needed where the
---veth was made with dad. Raises code 103 for an address that another host has, 11 when it takes too long.
function eth:settle() end

---Adds one route through the interface, with the keys of `ip route`.
---@param route mncni.Route
function eth:route(route) end

---Adds a lease's routes, behind those of the same destination that the pod has. One without gw goes through the
---lease's gateway of its family. With default, a family that has a gateway and no default route gets one.
---@param lease mncni.Lease
---@param options? { default?: boolean }
function eth:routes(lease, options) end

---@class mncni.Lease: mncni.IpamLease What pod:lease returns.
---@field gateways mncni.Cidr[] each with its subnet's prefix length, as a bridge takes them
---@field subnets mncni.Cidr[]
local lease = {}

---Whether it has an address of the family.
---@param family "inet"|"inet6"
---@return boolean
function lease:has(family) end

---@class mncni.Part Something that pod:result reports.
---@class mncni.Result What pod:result makes, or a CNI result in the form of cniVersion 1.1.0.

---@class mncni.IpamLease
---@field addresses { address: string, gateway?: string }[] address with its prefix length
---@field routes? { dst: string, gw?: string, mtu?: integer, advmss?: integer, priority?: integer, table?: integer, scope?: integer }[]
---@field dns? { nameservers?: string[], domain?: string, search?: string[], options?: string[] }

---@class mncni.IpamRequest Who wants addresses, and which.
---@field network string
---@field container string
---@field ifname string
---@field args table<string, string> CNI_ARGS
---@field annotations table<string, string>
---@field wanted string[] addresses asked for: IP of CNI_ARGS, args.cni.ips, runtimeConfig.ips
---@field args_ips? string[] args.cni.ips
---@field runtime_ips? string[] runtimeConfig.ips
---@field ranges? table runtimeConfig.ipRanges
---@field journal { undo: fun(self: table, entry: table) } writes down the way back before something durable happens
---@field collect fun() removes dead attachments of the network, for a range that is exhausted
