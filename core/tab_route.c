// SPDX-License-Identifier: Apache-2.0
// Routes: RTM_*ROUTE.
#include "schema.h"

#include <linux/rtnetlink.h>
#include <netinet/in.h>

const struct mn_name mn_scopes[] = { { "global", RT_SCOPE_UNIVERSE }, { "site", RT_SCOPE_SITE },
	{ "link", RT_SCOPE_LINK }, { "host", RT_SCOPE_HOST }, { "nowhere", RT_SCOPE_NOWHERE }, { 0 } };

const struct mn_name mn_route_tables[] = { { "default", RT_TABLE_DEFAULT }, { "main", RT_TABLE_MAIN },
	{ "local", RT_TABLE_LOCAL }, { 0 } };

// 78 is ours; deploy carries the file that tells iproute2.
const struct mn_name mn_route_protocols[] = { { "unspec", RTPROT_UNSPEC }, { "redirect", RTPROT_REDIRECT },
	{ "kernel", RTPROT_KERNEL }, { "boot", RTPROT_BOOT }, { "static", RTPROT_STATIC },
	{ "gated", RTPROT_GATED }, { "ra", RTPROT_RA }, { "mrt", RTPROT_MRT }, { "zebra", RTPROT_ZEBRA },
	{ "bird", RTPROT_BIRD }, { "dnrouted", RTPROT_DNROUTED }, { "xorp", RTPROT_XORP },
	{ "ntk", RTPROT_NTK }, { "dhcp", RTPROT_DHCP }, { "keepalived", RTPROT_KEEPALIVED },
	{ "babel", RTPROT_BABEL }, { "mncni", 78 }, { "openr", RTPROT_OPENR }, { "bgp", RTPROT_BGP },
	{ "isis", RTPROT_ISIS }, { "ospf", RTPROT_OSPF }, { "rip", RTPROT_RIP }, { "eigrp", RTPROT_EIGRP },
	{ 0 } };

const struct mn_name mn_route_types[] = { { "unspec", RTN_UNSPEC }, { "unicast", RTN_UNICAST },
	{ "local", RTN_LOCAL }, { "broadcast", RTN_BROADCAST }, { "anycast", RTN_ANYCAST },
	{ "multicast", RTN_MULTICAST }, { "blackhole", RTN_BLACKHOLE }, { "unreachable", RTN_UNREACHABLE },
	{ "prohibit", RTN_PROHIBIT }, { "throw", RTN_THROW }, { "nat", RTN_NAT }, { 0 } };

const struct mn_name mn_ip_protocols[] = { { "icmp", IPPROTO_ICMP }, { "tcp", IPPROTO_TCP },
	{ "udp", IPPROTO_UDP }, { "icmpv6", IPPROTO_ICMPV6 }, { "sctp", IPPROTO_SCTP }, { 0 } };

static const struct mn_name hop_flags[] = { { "dead", RTNH_F_DEAD }, { "pervasive", RTNH_F_PERVASIVE },
	{ "onlink", RTNH_F_ONLINK }, { "offload", RTNH_F_OFFLOAD }, { "linkdown", RTNH_F_LINKDOWN },
	{ "unresolved", RTNH_F_UNRESOLVED }, { "trap", RTNH_F_TRAP }, { 0 } };

static const struct mn_name route_flags[] = { { "dead", RTNH_F_DEAD }, { "pervasive", RTNH_F_PERVASIVE },
	{ "onlink", RTNH_F_ONLINK }, { "offload", RTNH_F_OFFLOAD }, { "linkdown", RTNH_F_LINKDOWN },
	{ "unresolved", RTNH_F_UNRESOLVED }, { "trap", RTNH_F_TRAP }, { "notify", RTM_F_NOTIFY },
	{ "cloned", RTM_F_CLONED }, { "prefix", RTM_F_PREFIX }, { "lookup_table", RTM_F_LOOKUP_TABLE },
	{ "fibmatch", RTM_F_FIB_MATCH }, { "rt_offload", RTM_F_OFFLOAD }, { "rt_trap", RTM_F_TRAP },
	{ "rt_offload_failed", RTM_F_OFFLOAD_FAILED }, { 0 } };

static const struct mn_name prefs[] = { { "medium", 0 }, { "high", 1 }, { "low", 3 }, { 0 } };

static const struct mn_name locks[] = { { "mtu", 1 << RTAX_MTU }, { "window", 1 << RTAX_WINDOW },
	{ "rtt", 1 << RTAX_RTT }, { "rttvar", 1 << RTAX_RTTVAR }, { "ssthresh", 1 << RTAX_SSTHRESH },
	{ "cwnd", 1 << RTAX_CWND }, { "advmss", 1 << RTAX_ADVMSS }, { "reordering", 1 << RTAX_REORDERING },
	{ "hoplimit", 1 << RTAX_HOPLIMIT }, { "rto_min", 1 << RTAX_RTO_MIN }, { 0 } };

#define METRIC(a, k) \
	{ \
		MN_A(a), .key = (k), .type = MN_UINT, .size = 4 \
	}

// rtt and rttvar are in eighths and quarters of a millisecond, rto_min in milliseconds, as the kernel has
// them.
static const struct mn_row metric_rows[] = {
	{ MN_A(RTAX_LOCK), .key = "lock", .type = MN_BITS, .size = 4, .names = locks },
	METRIC(RTAX_MTU, "mtu"),
	METRIC(RTAX_WINDOW, "window"),
	METRIC(RTAX_RTT, "rtt"),
	METRIC(RTAX_RTTVAR, "rttvar"),
	METRIC(RTAX_SSTHRESH, "ssthresh"),
	METRIC(RTAX_CWND, "cwnd"),
	METRIC(RTAX_ADVMSS, "advmss"),
	METRIC(RTAX_REORDERING, "reordering"),
	{ MN_A(RTAX_HOPLIMIT), .key = "hoplimit", .type = MN_UINT, .size = 4, .max = 255 },
	METRIC(RTAX_INITCWND, "initcwnd"),
	METRIC(RTAX_FEATURES, "features"),
	METRIC(RTAX_RTO_MIN, "rto_min"),
	METRIC(RTAX_INITRWND, "initrwnd"),
	{ MN_A(RTAX_QUICKACK), .key = "quickack", .type = MN_BOOL, .size = 4 },
	{ MN_A(RTAX_CC_ALGO), .key = "congctl", .type = MN_STRING, .max = 15 },
	{ MN_A(RTAX_FASTOPEN_NO_COOKIE), .key = "fastopen_no_cookie", .type = MN_BOOL, .size = 4 },
};
static const struct mn_table metric_table = MN_TABLE(metric_rows, 0);

static const struct mn_row hop_rows[] = {
	{ MN_H(rtnexthop, rtnh_ifindex), .key = "dev", .type = MN_DEV, .flags = MN_HEADER | MN_ONLY_NAME },
	{ MN_H(rtnexthop, rtnh_ifindex), .key = "ifindex", .type = MN_UINT, .flags = MN_HEADER,
		.max = 0x7fffffff },
	{ MN_H(rtnexthop, rtnh_hops), .key = "weight", .type = MN_WEIGHT, .flags = MN_HEADER, .min = 1,
		.max = 256 },
	{ MN_H(rtnexthop, rtnh_flags), .key = "flags", .type = MN_BITS, .names = hop_flags,
		.flags = MN_HEADER },
	{ MN_A(RTA_GATEWAY), .key = "gateway", .type = MN_ADDRESS },
	{ MN_A(RTA_VIA), .key = "via", .type = MN_VIA },
};
static const struct mn_table hop_table = MN_TABLE(hop_rows, sizeof(struct rtnexthop));

static const struct mn_row route_rows[] = {
	{ MN_H(rtmsg, rtm_family), .key = "family", .type = MN_ENUM, .names = mn_families,
		.flags = MN_HEADER | MN_FILTER },
	{ MN_H(rtmsg, rtm_type), .key = "type", .type = MN_ENUM, .names = mn_route_types,
		.flags = MN_HEADER | MN_FILTER },
	{ MN_A(RTA_DST), .key = "dst", .type = MN_PREFIX, .flags = MN_DEFAULT,
		.aux = offsetof(struct rtmsg, rtm_dst_len) },
	{ MN_A(RTA_SRC), .key = "src", .type = MN_PREFIX, .aux = offsetof(struct rtmsg, rtm_src_len) },
	{ MN_A(RTA_GATEWAY), .key = "gateway", .type = MN_ADDRESS },
	{ MN_A(RTA_VIA), .key = "via", .type = MN_VIA },
	{ MN_A(RTA_OIF), .key = "dev", .type = MN_DEV, .size = 4, .flags = MN_FILTER | MN_ONLY_NAME },
	{ MN_A(RTA_OIF), .key = "ifindex", .type = MN_UINT, .size = 4, .flags = MN_FILTER,
		.max = 0x7fffffff },
	{ MN_A(RTA_IIF), .key = "iif", .type = MN_DEV, .size = 4 },
	{ MN_A(RTA_PREFSRC), .key = "prefsrc", .type = MN_ADDRESS },
	{ MN_H(rtmsg, rtm_table), .key = "table", .type = MN_ENUM, .names = mn_route_tables,
		.flags = MN_HEADER | MN_LOW | MN_FILTER },
	{ MN_A(RTA_TABLE), .key = "table", .type = MN_ENUM, .size = 4, .names = mn_route_tables,
		.flags = MN_FILTER },
	{ MN_H(rtmsg, rtm_protocol), .key = "protocol", .type = MN_ENUM, .names = mn_route_protocols,
		.flags = MN_HEADER | MN_FILTER },
	{ MN_H(rtmsg, rtm_scope), .key = "scope", .type = MN_ENUM, .names = mn_scopes, .flags = MN_HEADER },
	{ MN_H(rtmsg, rtm_tos), .key = "tos", .type = MN_UINT, .flags = MN_HEADER },
	{ MN_H(rtmsg, rtm_flags), .key = "flags", .type = MN_BITS, .names = route_flags, .flags = MN_HEADER },
	{ MN_A(RTA_PRIORITY), .key = "metric", .type = MN_UINT, .size = 4 },
	{ MN_A(RTA_METRICS), .key = "metrics", .type = MN_NEST, .table = &metric_table },
	{ MN_A(RTA_MULTIPATH), .key = "nexthops", .type = MN_HOPS, .table = &hop_table },
	{ MN_A(RTA_FLOW), .key = "flow", .type = MN_UINT, .size = 4 },
	{ MN_A(RTA_CACHEINFO), .type = MN_SKIP },
	{ MN_A(RTA_MARK), .key = "mark", .type = MN_UINT, .size = 4 },
	{ MN_A(RTA_PREF), .key = "pref", .type = MN_ENUM, .size = 1, .names = prefs },
	{ MN_A(RTA_EXPIRES), .key = "expires", .type = MN_UINT, .size = 4 },
	{ MN_A(RTA_PAD), .type = MN_SKIP },
	{ MN_A(RTA_UID), .key = "uid", .type = MN_UINT, .size = 4 },
	{ MN_A(RTA_TTL_PROPAGATE), .key = "ttl_propagate", .type = MN_BOOL, .size = 1 },
	{ MN_A(RTA_IP_PROTO), .key = "ipproto", .type = MN_ENUM, .size = 1, .names = mn_ip_protocols },
	{ MN_A(RTA_SPORT), .key = "sport", .type = MN_UINT, .size = 2, .flags = MN_NET },
	{ MN_A(RTA_DPORT), .key = "dport", .type = MN_UINT, .size = 2, .flags = MN_NET },
	{ MN_A(RTA_NH_ID), .key = "nhid", .type = MN_UINT, .size = 4 },
};
static const struct mn_table route_table = MN_TABLE(route_rows, sizeof(struct rtmsg));

static bool has(const struct nlmsghdr *nlh, uint16_t attr)
{
	return mn_attr_find(mnl_nlmsg_get_payload_offset(nlh, sizeof(struct rtmsg)),
		       mnl_nlmsg_get_payload_len(nlh) - sizeof(struct rtmsg), attr) != NULL;
}

static uint8_t default_scope(const struct nlmsghdr *nlh, const struct rtmsg *route)
{
	switch (route->rtm_type) {
	case RTN_LOCAL:
	case RTN_NAT:
		return RT_SCOPE_HOST;
	case RTN_BROADCAST:
	case RTN_MULTICAST:
	case RTN_ANYCAST:
		return RT_SCOPE_LINK;
	case RTN_UNICAST:
		return has(nlh, RTA_GATEWAY) || has(nlh, RTA_VIA) || has(nlh, RTA_MULTIPATH) ||
				has(nlh, RTA_NH_ID) || route->rtm_family == AF_INET6
			? RT_SCOPE_UNIVERSE
			: RT_SCOPE_LINK;
	default:
		return RT_SCOPE_UNIVERSE;
	}
}

static void prepare(void *header, enum mn_verb verb)
{
	struct rtmsg *route = header;

	if (verb != MN_GET)
		route->rtm_scope = RT_SCOPE_NOWHERE;
}

// What `ip route` fills in. A scope that was not given stands at "nowhere" until here.
static void finish(struct nlmsghdr *nlh, enum mn_verb verb)
{
	struct rtmsg *route = mnl_nlmsg_get_payload(nlh);

	if (route->rtm_family == AF_UNSPEC)
		route->rtm_family = AF_INET;
	if (verb == MN_GET) {
		if (route->rtm_family == AF_INET) // asked to say which table; IPv6 says so unasked
			route->rtm_flags |= RTM_F_LOOKUP_TABLE;
		return;
	}
	if (verb != MN_DEL) {
		if (route->rtm_type == RTN_UNSPEC)
			route->rtm_type = RTN_UNICAST;
		if (route->rtm_protocol == RTPROT_UNSPEC)
			route->rtm_protocol = RTPROT_BOOT;
		if (route->rtm_scope == RT_SCOPE_NOWHERE)
			route->rtm_scope = default_scope(nlh, route);
	}
	if (route->rtm_table == RT_TABLE_UNSPEC && !has(nlh, RTA_TABLE)) {
		bool local = route->rtm_type == RTN_LOCAL || route->rtm_type == RTN_BROADCAST ||
			route->rtm_type == RTN_ANYCAST || route->rtm_type == RTN_NAT;

		route->rtm_table = local ? RT_TABLE_LOCAL : RT_TABLE_MAIN;
	}
}

const struct mn_object mn_route_object = {
	.name = "route",
	.table = &route_table,
	.protocol = NETLINK_ROUTE,
	.type_new = RTM_NEWROUTE,
	.type_del = RTM_DELROUTE,
	.type_get = RTM_GETROUTE,
	.ident = { "dst", "type", "dev" },
	.prepare = prepare,
	.finish = finish,
	.flags = {
		[MN_ADD] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
		[MN_REPLACE] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE,
		[MN_APPEND] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND,
		[MN_SET] = NLM_F_REQUEST | NLM_F_REPLACE,
		[MN_DEL] = NLM_F_REQUEST,
	},
};
