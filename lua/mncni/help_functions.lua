-- SPDX-License-Identifier: Apache-2.0
-- Topic of help() -> its functions: how each is called, and the first sentence of its entry in lua/types.
-- Made by `make reference`; to be changed there.
return {
  bridge = {
    {
      "ensure{ifname, mtu, address, promisc, vlan_filtering, call_iptables, force}",
      "Makes sure that the bridge is there and up, has the addresses, and that their families are forwarded",
    },
    {
      "vlans(access, trunk)",
      "What pod:veth takes as vlans, made of the number of an access VLAN (nil or 0: none) and a trunk; nil" ..
      " when there is neither",
    },
    {
      "vlan_gateway{bridge, vlan, port, address, force}",
      "Makes sure that the node has the addresses in a VLAN of the bridge, on a link \"BRIDGE.VLAN\" that is " ..
      "never removed with a pod",
    },
    {
      "status{ifname, call_iptables}",
      "For the hook status: raises code 51 when something that is no bridge has the name",
    },
  },
  masquerade = {
    {
      "ensure{sources, except}",
      "Masquerades what sources send to anywhere but pods of this node, except and the node itself",
    },
    {
      "desired{sources, except}",
      "The same as data, for what a policy of the agent desires",
    },
  },
  forwarding = {
    {
      "ensure(addresses)",
      "The node forwards the families of these addresses from now on",
    },
  },
  localnet = {
    {
      "ensure{bridge, port}",
      "While the attachment lasts, packets from 127.0.0.1 that a rule of yours translates to the pod leave " ..
      "by the bridge, with its address as source",
    },
  },
  hostport = {
    {
      "ensure(args)",
      "For as long as the attachment lasts, ports of the node lead to the first of the pod's addresses of e" ..
      "ach family",
    },
    {
      "status()",
      "For the hook status: raises code 50 when the kernel has no nftables",
    },
    {
      "lost(call)",
      "For the hook lost: removes the ports of an attachment whose journal is lost",
    },
    {
      "gc(valid, network)",
      "For the hook gc: removes the network's ports that no attachment of valid has",
    },
  },
  firewall = {
    {
      "accept{pod, admin}",
      "For a chained policy: the node forwards what the pod's addresses send, and the answers, where its ip" ..
      "tables would drop that",
    },
  },
  ingress = {
    {
      "hold{pod, policy}",
      "For a chained policy: keeps pods of other attachments that are held from the pod's addresses, those " ..
      "behind another bridge (\"same-bridge\"), or all of them and whatever else is on its bridge (\"isolated\"" ..
      ")",
    },
  },
  uplink = {
    {
      "find(net, name)",
      "The link of that name, as link.get returns it; of \"\" the default route's device",
    },
    {
      "status{master, inside}",
      "For the hook status: raises code 50 when the node has no such link",
    },
    {
      "vlan{master, id, ifname}",
      "A VLAN of a link of the node's, for pods to stand on",
    },
    {
      "device(net, {device, hwaddr, kernelpath, deviceID, pciBusID})",
      "The device that the first of these keys names",
    },
  },
  ipam = {
    {
      "range(given, where)",
      "Reads one range { subnet, rangeStart, rangeEnd, gateway }; where (\"ranges[1][1]\") begins messages",
    },
    {
      "range_sets(conf, runtime_ranges, version)",
      "The range sets of a configuration: runtimeConfig.ipRanges, the subnet, then ranges",
    },
    {
      "describe(set)",
      "A set as people read it: \"10.1.2.1-10.1.2.254\"",
    },
    {
      "find(set, address)",
      "",
    },
    {
      "assign(sets, wanted)",
      "Which set gives which of the addresses that were asked for",
    },
    {
      "routes(given)",
      "The routes of a configuration, checked",
    },
    {
      "dns(path)",
      "The dns part of a result from a resolv.conf; an empty table without a path",
    },
  },
  static = {
    {
      "addresses({runtime_ips, args_ips, args}, {addresses, version})",
      "The addresses of runtimeConfig.ips, else of args.cni.ips, else of conf.addresses and IP, GATEWAY of " ..
      "CNI_ARGS",
    },
    {
      "check(wanted, have)",
      "Raises code 106 for the first address wanted that the other list does not have, or has with another " ..
      "gateway",
    },
  },
  tuning = {
    {
      "sysctls(given, ifname)",
      "The settings as pod.inside.sysctl.set takes them, sorted by the keys given",
    },
    {
      "mac(text)",
      "An Ethernet address as the kernel writes it",
    },
  },
  source_routing = {
    {
      "plan{ifname, addresses, routes, rules, taken, table, gateways, hints}",
      "Which rules and routes route what the addresses send by tables of their own",
    },
  },
  store = {
    {
      "path{dataDir, network}",
      "",
    },
    {
      "open({dataDir, network}, create)",
      "",
    },
    {
      "lease(request, {dataDir, network}, sets)",
      "Reserves an address of each set",
    },
    {
      "release(request, {dataDir, network})",
      "Frees what the attachment holds",
    },
    {
      "check(request, {dataDir, network}, sets, lease)",
      "Raises code 106 unless the lease's addresses are reserved for the attachment",
    },
    {
      "status({dataDir, network}, sets, {reclaimable})",
      "Raises code 50 when a lease would fail now",
    },
    {
      "gc(valid, {dataDir, network})",
      "Frees what no attachment of valid has, and what an earlier boot left",
    },
    {
      "handle:plan{ranges, index, lost}",
      "The address to journal and publish next; nil when none is free",
    },
    {
      "handle:publish{address, container, ifname}",
      "",
    },
    {
      "handle:reserve{ranges, index, container, ifname}",
      "plan and publish in one",
    },
    {
      "handle:release{container, ifname, addresses}",
      "Frees the addresses, or all that a look through the directory finds; returns how many",
    },
    {
      "handle:holds{address, container, ifname}",
      "",
    },
    {
      "handle:find(args)",
      "The addresses of an attachment, by reading every file",
    },
    {
      "handle:list()",
      "",
    },
    {
      "handle:count{ranges, index}",
      "",
    },
    {
      "handle:has_room(args)",
      "",
    },
    {
      "handle:writable()",
      "Raises what stands in the way of writing",
    },
    {
      "handle:path()",
      "",
    },
    {
      "handle:close()",
      "",
    },
  },
  collect = {
    {
      "run{state_dir, network, grace, proof, limit, dry_run, stores, log}",
      "Raises only when it cannot look at all",
    },
    {
      "relieve(state_dir, network)",
      "Removes up to ENOUGH dead attachments of a network: what request.collect() of an IPAM policy does",
    },
    {
      "reclaimable(state_dir, network, dir)",
      "The addresses of the store in dir that relieve would free",
    },
    {
      "describe(item)",
      "One line for people",
    },
  },
  pod = {
    {
      "host_ifname(container, ifname)",
      "The name of the host's end that pod:veth gives: the same for the same container and interface",
    },
    {
      "mac(text)",
      "The same MAC address for the same text, locally administered",
    },
    {
      "alias(network, container, ifname, part)",
      "The alias of the host's end, which names the attachment",
    },
    {
      "pod:lease(ipam, {gateway})",
      "The addresses that the \"ipam\" section of the configuration gives this attachment",
    },
    {
      "pod:veth{master, mtu, hairpin, isolated, guard, address, host_ifname, vlans, keep_default_vlan, up, dad}",
      "A veth pair: one end the pod's interface, made inside its namespace, the other on the host",
    },
    {
      "pod:link{kind, master, inside, mtu, address, options, lease}",
      "The pod's interface as a link of its own, made inside its namespace",
    },
    {
      "pod:tap{mtu, address, multi_queue, owner, group, master, lease}",
      "The pod's interface as a TAP device that stays",
    },
    {
      "pod:device{link, lease}",
      "A device of the node's, moved into the pod; it comes back when the attachment ends",
    },
    {
      "pod:vrf{ifname, table}",
      "For a chained policy: puts the interface, with its addresses and routes, into a VRF of the pod's",
    },
    {
      "pod:delegate(type, config)",
      "Has another plugin of CNI_PATH add the same interface",
    },
    {
      "pod:wire(name, config)",
      "Has another policy wire the pod, as it would with that configuration",
    },
    {
      "pod:interface(ifname)",
      "An interface that the pod has anyway, for pod:result, which reports its addresses",
    },
    {
      "pod:result(parts)",
      "What add returns: a list of what the calls returned, in the order in which interfaces are to be repo" ..
      "rted",
    },
    {
      "pod:commit()",
      "Sends what was recorded so far, for a policy that must look at the outcome",
    },
    {
      "pod:warn(message)",
      "A line for people: in the runtime's log and, when the call succeeds, in its record",
    },
    {
      "pod:addresses(family)",
      "For a chained policy: what the plugins before it gave this interface",
    },
    {
      "pod:host_link()",
      "For a chained policy: the node's end of the pod's veth, as pod.host.link.get returns it",
    },
    {
      "pod:node_link{ifname, kind, mtu}",
      "A link on the node that belongs to this attachment and goes with it, up",
    },
    {
      "pod:wanted_mac()",
      "The MAC address that was asked for: runtimeConfig.mac, else args.cni.mac, else MAC of CNI_ARGS",
    },
    {
      "eth:address(what, {noprefixroute})",
      "Gives the interface an address with its prefix length, or every address of a lease",
    },
    {
      "eth:settle()",
      "Sends what was recorded and waits, 10 s at most, until IPv6's duplicate address detection is done; n" ..
      "eeded where the veth was made with dad",
    },
    {
      "eth:route(route)",
      "Adds one route through the interface, with the keys of `ip route`",
    },
    {
      "eth:routes(lease, {default})",
      "Adds a lease's routes, behind those of the same destination that the pod has",
    },
    {
      "lease:has(family)",
      "Whether it has an address of the family",
    },
  },
  policy = {
    {
      "get(name)",
      "The policy of that name; nil when there is none",
    },
    {
      "load(name)",
      "The same; raises code 7 when there is none",
    },
    {
      "names()",
      "Every policy that can be named",
    },
    {
      "source(name)",
      "",
    },
  },
  recorded = {
    {
      "new(fixture)",
      "Namespaces that exist only as tables: what a policy would do, without a kernel",
    },
    {
      "lines()",
      "What was changed since it was made, as command lines",
    },
    {
      "clear()",
      "Empties the log",
    },
    {
      "add(name, part)",
      "Makes one more namespace, with that part of a fixture in it",
    },
    {
      "open(what)",
      "Stands in for mncni.open",
    },
    {
      "run(fn, ...)",
      "Calls fn while mncni.open and mncni.netns are the world's",
    },
  },
  flannel = {
    {
      "env(path)",
      "What a subnet.env says",
    },
    {
      "parse(text, path)",
      "The same of a text",
    },
    {
      "forget(call, data_dir)",
      "Ends what flannel's own plugin made for the container of a call; nothing for others",
    },
  },
  node_ranges = {
    {
      "new(world, {reserved, rest})",
      "Notes what is taken: by nodes, by what is reserved, and for rest seconds by what became free",
    },
    {
      "ranges:pool(cidr, mask)",
      "A range of addresses to be given away in ranges of mask bits, in turn",
    },
    {
      "ranges:waiting()",
      "The nodes that have no range, by name",
    },
    {
      "ranges:give(one, pools)",
      "Gives a node a range of each of the pools, of all or, with an Event, of none",
    },
    {
      "ranges:result()",
      "With an Event for each range that is outside of all pools, reserved, or another node's too",
    },
  },
  node = {
    {
      "from(object)",
      "Makes a node of a decoded Kubernetes Node; nil, the reason and its name when it is malformed",
    },
    {
      "new(fields)",
      "Makes one by hand",
    },
    {
      "same(a, b)",
      "Whether no policy can see a difference between them",
    },
    {
      "node:address(family)",
      "The first InternalIP of the family, else the first ExternalIP",
    },
  },
  routes = {
    {
      "mac(address)",
      "The MAC address of a tunnel, made of its node's address",
    },
    {
      "link_local(mac)",
      "The IPv6 address of a link that goes with a MAC address",
    },
    {
      "fabric(world, family, presumed)",
      "Why the network will not carry a packet to the next hop that a node chose, or that this is not known" ..
      "; nil when it will",
    },
    {
      "notes(fabric)",
      "The same for people, one line for each family",
    },
    {
      "warnings()",
      "",
    },
    {
      "pod_cidrs(world, warnings)",
      "Iterates over the ranges that can be routed to peers: peer, range, and its text",
    },
    {
      "cluster(world, cidrs, warnings)",
      "Those of the cluster's ranges that can be made unreachable",
    },
    {
      "forwarding(world, family, sysctls)",
      "Adds what makes this node a router of a family, without losing the default routes of router advertis" ..
      "ements",
    },
    {
      "tunnels(world, device)",
      "",
    },
    {
      "way(world, peer, family, tunnels, mode, fabric)",
      "",
    },
    {
      "told:add(reason, name)",
      "",
    },
    {
      "told:of(name)",
      "The reasons noted of one node",
    },
    {
      "told:lines()",
      "One line for each reason",
    },
  },
  conflist = {
    {
      "mtu(world)",
      "The largest packet, in bytes, that every way to another node takes",
    },
    {
      "is_masqueraded(world)",
      "Whether the agent masquerades what pods send",
    },
    {
      "ipam(cidrs)",
      "A section for host-local",
    },
    {
      "text{version, versions, name, plugin, portmap, bandwidth}",
      "The configuration list as JSON text",
    },
  },
  testing = {
    {
      "load(policy)",
      "The hooks of a policy: a path of a file, a name as a configuration has it, or a table of hooks",
    },
    {
      "node{name, subnets, links, addresses, routes, rules, neighbours, sysctls, nft}",
      "Makes a node of tables, with a link eth0 that has addresses and default routes of both families unle" ..
      "ss links are given",
    },
    {
      "world{node, peers, reach}",
      "What desired sees of a cluster: this node n2 and its peers n3, n4, ... on its link",
    },
    {
      "desired(policy, world, conf)",
      "What a policy of the agent desires, its options checked, once the agent would take it",
    },
    {
      "node:pod(given)",
      "The pod of that name, made when first asked for: a namespace with nothing but lo in it",
    },
    {
      "node:add(policy, pod, conf)",
      "ADD: has a policy wire the pod",
    },
    {
      "node:lease(ipam, pod)",
      "What an IPAM policy gives the pod",
    },
    {
      "node:close()",
      "Removes the files of its addresses",
    },
  },
}
