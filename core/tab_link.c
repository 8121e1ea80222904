// SPDX-License-Identifier: Apache-2.0
// Links: RTM_*LINK, with bridges, their ports, veth pairs and VXLAN.
#include "tab_link_kinds.h"

#include <linux/if_arp.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

const struct mn_name mn_families[] = { { "inet", AF_INET }, { "inet6", AF_INET6 }, { "bridge", AF_BRIDGE },
	{ "mpls", AF_MPLS }, { 0 } };

// IFF_LOWER_UP and its like are not in net/if.h.
static const struct mn_name link_flags[] = { { "UP", IFF_UP }, { "BROADCAST", IFF_BROADCAST },
	{ "DEBUG", IFF_DEBUG }, { "LOOPBACK", IFF_LOOPBACK }, { "POINTOPOINT", IFF_POINTOPOINT },
	{ "NOTRAILERS", IFF_NOTRAILERS }, { "RUNNING", IFF_RUNNING }, { "NOARP", IFF_NOARP },
	{ "PROMISC", IFF_PROMISC }, { "ALLMULTI", IFF_ALLMULTI }, { "MASTER", IFF_MASTER },
	{ "SLAVE", IFF_SLAVE }, { "MULTICAST", IFF_MULTICAST }, { "PORTSEL", IFF_PORTSEL },
	{ "AUTOMEDIA", IFF_AUTOMEDIA }, { "DYNAMIC", IFF_DYNAMIC }, { "LOWER_UP", 1 << 16 },
	{ "DORMANT", 1 << 17 }, { "ECHO", 1 << 18 }, { 0 } };

static const struct mn_name link_types[] = { { "ether", ARPHRD_ETHER }, { "loopback", ARPHRD_LOOPBACK },
	{ "none", ARPHRD_NONE }, { "ppp", ARPHRD_PPP }, { "ipip", ARPHRD_TUNNEL },
	{ "tunnel6", ARPHRD_TUNNEL6 }, { "sit", ARPHRD_SIT }, { "gre", ARPHRD_IPGRE }, { "netlink", 824 },
	{ 0 } };

static const struct mn_name operstates[] = { { "UNKNOWN", 0 }, { "NOTPRESENT", 1 }, { "DOWN", 2 },
	{ "LOWERLAYERDOWN", 3 }, { "TESTING", 4 }, { "DORMANT", 5 }, { "UP", 6 }, { 0 } };

static const struct mn_name linkmodes[] = { { "DEFAULT", 0 }, { "DORMANT", 1 }, { "TESTING", 2 }, { 0 } };

static const struct mn_name addrgenmodes[] = { { "eui64", IN6_ADDR_GEN_MODE_EUI64 },
	{ "none", IN6_ADDR_GEN_MODE_NONE }, { "stable_secret", IN6_ADDR_GEN_MODE_STABLE_PRIVACY },
	{ "random", IN6_ADDR_GEN_MODE_RANDOM }, { 0 } };

static const struct mn_name groups[] = { { "default", 0 }, { 0 } };

static const struct mn_name port_states[] = { { "disabled", 0 }, { "listening", 1 }, { "learning", 2 },
	{ "forwarding", 3 }, { "blocking", 4 }, { 0 } };

// Attributes that are newer than Debian 12's headers.
enum {
	IFLA_DEVLINK_PORT_ = 62,
	IFLA_GSO_IPV4_MAX_SIZE_,
	IFLA_GRO_IPV4_MAX_SIZE_,
	IFLA_DPLL_PIN_,
	IFLA_MAX_PACING_OFFLOAD_HORIZON_,
	IFLA_NETNS_IMMUTABLE_,
	IFLA_HEADROOM_,
	IFLA_TAILROOM_,
	IFLA_BR_FDB_N_LEARNED_ = 48,
	IFLA_BR_FDB_MAX_LEARNED_,
	IFLA_BRPORT_MAB_ = 40,
	IFLA_BRPORT_MCAST_N_GROUPS_,
	IFLA_BRPORT_MCAST_MAX_GROUPS_,
	IFLA_BRPORT_NEIGH_VLAN_SUPPRESS_,
};
#define NEW_A(number) .attr = number##_, .name = #number

#define SWITCH(a, k) \
	{ \
		MN_A(a), .key = (k), .type = MN_BOOL, .size = 1 \
	}
#define SWITCH_SHOWN(a, k) \
	{ \
		MN_A(a), .key = (k), .type = MN_BOOL, .size = 1, .flags = MN_READ \
	}
#define NUMBER(a, k, n) \
	{ \
		MN_A(a), .key = (k), .type = MN_UINT, .size = (n) \
	}
#define NUMBER_SHOWN(a, k, n) \
	{ \
		MN_A(a), .key = (k), .type = MN_UINT, .size = (n), .flags = MN_READ \
	}

// Times are in hundredths of a second, as `ip -json` shows them.
static const struct mn_row bridge_rows[] = {
	{ MN_A(IFLA_BR_FORWARD_DELAY), .key = "forward_delay", .type = MN_UINT, .size = 4, .max = 3000 },
	{ MN_A(IFLA_BR_HELLO_TIME), .key = "hello_time", .type = MN_UINT, .size = 4, .min = 100,
		.max = 1000 },
	{ MN_A(IFLA_BR_MAX_AGE), .key = "max_age", .type = MN_UINT, .size = 4, .min = 600, .max = 4000 },
	NUMBER(IFLA_BR_AGEING_TIME, "ageing_time", 4),
	{ MN_A(IFLA_BR_STP_STATE), .key = "stp_state", .type = MN_BOOL, .size = 4 },
	NUMBER(IFLA_BR_PRIORITY, "priority", 2),
	SWITCH(IFLA_BR_VLAN_FILTERING, "vlan_filtering"),
	{ MN_A(IFLA_BR_VLAN_PROTOCOL), .key = "vlan_protocol", .type = MN_ENUM, .size = 2, .flags = MN_NET,
		.names = mn_vlan_protocols },
	NUMBER(IFLA_BR_GROUP_FWD_MASK, "group_fwd_mask", 2),
	{ MN_A(IFLA_BR_ROOT_ID), .key = "root_id", .type = MN_BRIDGE_ID, .flags = MN_READ },
	{ MN_A(IFLA_BR_BRIDGE_ID), .key = "bridge_id", .type = MN_BRIDGE_ID, .flags = MN_READ },
	NUMBER_SHOWN(IFLA_BR_ROOT_PORT, "root_port", 2),
	NUMBER_SHOWN(IFLA_BR_ROOT_PATH_COST, "root_path_cost", 4),
	NUMBER_SHOWN(IFLA_BR_TOPOLOGY_CHANGE, "topology_change", 1),
	NUMBER_SHOWN(IFLA_BR_TOPOLOGY_CHANGE_DETECTED, "topology_change_detected", 1),
	NUMBER_SHOWN(IFLA_BR_HELLO_TIMER, "hello_timer", 8),
	NUMBER_SHOWN(IFLA_BR_TCN_TIMER, "tcn_timer", 8),
	NUMBER_SHOWN(IFLA_BR_TOPOLOGY_CHANGE_TIMER, "topology_change_timer", 8),
	NUMBER_SHOWN(IFLA_BR_GC_TIMER, "gc_timer", 8),
	{ MN_A(IFLA_BR_GROUP_ADDR), .key = "group_addr", .type = MN_MAC },
	{ MN_A(IFLA_BR_FDB_FLUSH), .key = "fdb_flush", .type = MN_FLAG },
	{ MN_A(IFLA_BR_MCAST_ROUTER), .key = "mcast_router", .type = MN_UINT, .size = 1, .max = 2 },
	SWITCH(IFLA_BR_MCAST_SNOOPING, "mcast_snooping"),
	SWITCH(IFLA_BR_MCAST_QUERY_USE_IFADDR, "mcast_query_use_ifaddr"),
	SWITCH(IFLA_BR_MCAST_QUERIER, "mcast_querier"),
	NUMBER(IFLA_BR_MCAST_HASH_ELASTICITY, "mcast_hash_elasticity", 4),
	NUMBER(IFLA_BR_MCAST_HASH_MAX, "mcast_hash_max", 4),
	NUMBER(IFLA_BR_MCAST_LAST_MEMBER_CNT, "mcast_last_member_cnt", 4),
	NUMBER(IFLA_BR_MCAST_STARTUP_QUERY_CNT, "mcast_startup_query_cnt", 4),
	NUMBER(IFLA_BR_MCAST_LAST_MEMBER_INTVL, "mcast_last_member_intvl", 8),
	NUMBER(IFLA_BR_MCAST_MEMBERSHIP_INTVL, "mcast_membership_intvl", 8),
	NUMBER(IFLA_BR_MCAST_QUERIER_INTVL, "mcast_querier_intvl", 8),
	NUMBER(IFLA_BR_MCAST_QUERY_INTVL, "mcast_query_intvl", 8),
	NUMBER(IFLA_BR_MCAST_QUERY_RESPONSE_INTVL, "mcast_query_response_intvl", 8),
	NUMBER(IFLA_BR_MCAST_STARTUP_QUERY_INTVL, "mcast_startup_query_intvl", 8),
	SWITCH(IFLA_BR_NF_CALL_IPTABLES, "nf_call_iptables"),
	SWITCH(IFLA_BR_NF_CALL_IP6TABLES, "nf_call_ip6tables"),
	SWITCH(IFLA_BR_NF_CALL_ARPTABLES, "nf_call_arptables"),
	{ MN_A(IFLA_BR_VLAN_DEFAULT_PVID), .key = "vlan_default_pvid", .type = MN_UINT, .size = 2,
		.max = 4094 },
	{ MN_A(IFLA_BR_PAD), .type = MN_SKIP },
	SWITCH(IFLA_BR_VLAN_STATS_ENABLED, "vlan_stats_enabled"),
	SWITCH(IFLA_BR_MCAST_STATS_ENABLED, "mcast_stats_enabled"),
	{ MN_A(IFLA_BR_MCAST_IGMP_VERSION), .key = "mcast_igmp_version", .type = MN_UINT, .size = 1, .min = 2,
		.max = 3 },
	{ MN_A(IFLA_BR_MCAST_MLD_VERSION), .key = "mcast_mld_version", .type = MN_UINT, .size = 1, .min = 1,
		.max = 2 },
	SWITCH(IFLA_BR_VLAN_STATS_PER_PORT, "vlan_stats_per_port"),
	{ NEW_A(IFLA_BR_FDB_N_LEARNED), .key = "fdb_n_learned", .type = MN_UINT, .size = 4,
		.flags = MN_READ },
	{ NEW_A(IFLA_BR_FDB_MAX_LEARNED), .key = "fdb_max_learned", .type = MN_UINT, .size = 4 },
};
static const struct mn_table bridge_table = MN_TABLE(bridge_rows, 0);

static const struct mn_row port_rows[] = {
	{ MN_A(IFLA_BRPORT_STATE), .key = "state", .type = MN_ENUM, .size = 1, .names = port_states },
	{ MN_A(IFLA_BRPORT_PRIORITY), .key = "priority", .type = MN_UINT, .size = 2, .max = 63 },
	{ MN_A(IFLA_BRPORT_COST), .key = "cost", .type = MN_UINT, .size = 4, .min = 1, .max = 65535 },
	SWITCH(IFLA_BRPORT_MODE, "hairpin"),
	SWITCH(IFLA_BRPORT_GUARD, "guard"),
	SWITCH(IFLA_BRPORT_PROTECT, "root_block"),
	SWITCH(IFLA_BRPORT_FAST_LEAVE, "fastleave"),
	SWITCH(IFLA_BRPORT_LEARNING, "learning"),
	SWITCH(IFLA_BRPORT_UNICAST_FLOOD, "flood"),
	SWITCH(IFLA_BRPORT_PROXYARP, "proxy_arp"),
	SWITCH(IFLA_BRPORT_LEARNING_SYNC, "learning_sync"),
	SWITCH(IFLA_BRPORT_PROXYARP_WIFI, "proxy_arp_wifi"),
	{ MN_A(IFLA_BRPORT_ROOT_ID), .key = "root_id", .type = MN_BRIDGE_ID, .flags = MN_READ },
	{ MN_A(IFLA_BRPORT_BRIDGE_ID), .key = "bridge_id", .type = MN_BRIDGE_ID, .flags = MN_READ },
	NUMBER_SHOWN(IFLA_BRPORT_DESIGNATED_PORT, "designated_port", 2),
	NUMBER_SHOWN(IFLA_BRPORT_DESIGNATED_COST, "designated_cost", 2),
	NUMBER_SHOWN(IFLA_BRPORT_ID, "id", 2),
	NUMBER_SHOWN(IFLA_BRPORT_NO, "no", 2),
	SWITCH_SHOWN(IFLA_BRPORT_TOPOLOGY_CHANGE_ACK, "topology_change_ack"),
	SWITCH_SHOWN(IFLA_BRPORT_CONFIG_PENDING, "config_pending"),
	NUMBER_SHOWN(IFLA_BRPORT_MESSAGE_AGE_TIMER, "message_age_timer", 8),
	NUMBER_SHOWN(IFLA_BRPORT_FORWARD_DELAY_TIMER, "forward_delay_timer", 8),
	NUMBER_SHOWN(IFLA_BRPORT_HOLD_TIMER, "hold_timer", 8),
	{ MN_A(IFLA_BRPORT_FLUSH), .key = "flush", .type = MN_FLAG },
	{ MN_A(IFLA_BRPORT_MULTICAST_ROUTER), .key = "multicast_router", .type = MN_UINT, .size = 1,
		.max = 3 },
	{ MN_A(IFLA_BRPORT_PAD), .type = MN_SKIP },
	SWITCH(IFLA_BRPORT_MCAST_FLOOD, "mcast_flood"),
	SWITCH(IFLA_BRPORT_MCAST_TO_UCAST, "mcast_to_unicast"),
	SWITCH(IFLA_BRPORT_VLAN_TUNNEL, "vlan_tunnel"),
	SWITCH(IFLA_BRPORT_BCAST_FLOOD, "bcast_flood"),
	NUMBER(IFLA_BRPORT_GROUP_FWD_MASK, "group_fwd_mask", 2),
	SWITCH(IFLA_BRPORT_NEIGH_SUPPRESS, "neigh_suppress"),
	SWITCH(IFLA_BRPORT_ISOLATED, "isolated"),
	{ MN_A(IFLA_BRPORT_BACKUP_PORT), .key = "backup_port", .type = MN_DEV, .size = 4 },
	SWITCH_SHOWN(IFLA_BRPORT_MRP_RING_OPEN, "mrp_ring_open"),
	SWITCH_SHOWN(IFLA_BRPORT_MRP_IN_OPEN, "mrp_in_open"),
	NUMBER(IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT, "mcast_eht_hosts_limit", 4),
	NUMBER_SHOWN(IFLA_BRPORT_MCAST_EHT_HOSTS_CNT, "mcast_eht_hosts_cnt", 4),
	SWITCH(IFLA_BRPORT_LOCKED, "locked"),
	{ NEW_A(IFLA_BRPORT_MAB), .key = "mab", .type = MN_BOOL, .size = 1 },
	{ NEW_A(IFLA_BRPORT_MCAST_N_GROUPS), .key = "mcast_n_groups", .type = MN_UINT, .size = 4,
		.flags = MN_READ },
	{ NEW_A(IFLA_BRPORT_MCAST_MAX_GROUPS), .key = "mcast_max_groups", .type = MN_UINT, .size = 4 },
	{ NEW_A(IFLA_BRPORT_NEIGH_VLAN_SUPPRESS), .key = "neigh_vlan_suppress", .type = MN_BOOL, .size = 1 },
};
static const struct mn_table port_table = MN_TABLE(port_rows, 0);

static const struct mn_row veth_rows[] = {
	{ MN_A(VETH_INFO_PEER), .key = "peer", .type = MN_NEST, .table = &mn_link_table },
};
static const struct mn_table veth_table = MN_TABLE(veth_rows, 0);

static const struct mn_row vxlan_rows[] = {
	{ MN_A(IFLA_VXLAN_ID), .key = "id", .type = MN_UINT, .size = 4, .max = 16777215 },
	{ MN_A(IFLA_VXLAN_GROUP), .key = "group", .type = MN_IP, .size = 4 },
	{ MN_A(IFLA_VXLAN_LINK), .key = "link", .type = MN_DEV, .size = 4 },
	{ MN_A(IFLA_VXLAN_LOCAL), .key = "local", .type = MN_IP, .size = 4 },
	NUMBER(IFLA_VXLAN_TTL, "ttl", 1),
	NUMBER(IFLA_VXLAN_TOS, "tos", 1),
	SWITCH(IFLA_VXLAN_LEARNING, "learning"),
	NUMBER(IFLA_VXLAN_AGEING, "ageing", 4),
	NUMBER(IFLA_VXLAN_LIMIT, "limit", 4),
	{ MN_A(IFLA_VXLAN_PORT_RANGE), .key = "port_range", .type = MN_RANGE, .size = 2, .flags = MN_NET },
	SWITCH(IFLA_VXLAN_PROXY, "proxy"),
	SWITCH(IFLA_VXLAN_RSC, "rsc"),
	SWITCH(IFLA_VXLAN_L2MISS, "l2miss"),
	SWITCH(IFLA_VXLAN_L3MISS, "l3miss"),
	{ MN_A(IFLA_VXLAN_PORT), .key = "port", .type = MN_UINT, .size = 2, .flags = MN_NET },
	{ MN_A(IFLA_VXLAN_GROUP6), .key = "group6", .type = MN_IP, .size = 16 },
	{ MN_A(IFLA_VXLAN_LOCAL6), .key = "local6", .type = MN_IP, .size = 16 },
	SWITCH(IFLA_VXLAN_UDP_CSUM, "udp_csum"),
	SWITCH(IFLA_VXLAN_UDP_ZERO_CSUM6_TX, "udp_zero_csum6_tx"),
	SWITCH(IFLA_VXLAN_UDP_ZERO_CSUM6_RX, "udp_zero_csum6_rx"),
	SWITCH(IFLA_VXLAN_REMCSUM_TX, "remcsum_tx"),
	SWITCH(IFLA_VXLAN_REMCSUM_RX, "remcsum_rx"),
	{ MN_A(IFLA_VXLAN_GBP), .key = "gbp", .type = MN_FLAG },
	SWITCH(IFLA_VXLAN_COLLECT_METADATA, "external"),
	{ MN_A(IFLA_VXLAN_LABEL), .key = "label", .type = MN_UINT, .size = 4, .flags = MN_NET,
		.max = 0xfffff },
	{ MN_A(IFLA_VXLAN_GPE), .key = "gpe", .type = MN_FLAG },
	{ MN_A(IFLA_VXLAN_TTL_INHERIT), .key = "ttl_inherit", .type = MN_FLAG },
	{ MN_A(IFLA_VXLAN_DF), .key = "df", .type = MN_UINT, .size = 1, .max = 2 },
	SWITCH(IFLA_VXLAN_VNIFILTER, "vnifilter"),
};
static const struct mn_table vxlan_table = MN_TABLE(vxlan_rows, 0);

static const struct mn_variant kinds[] = {
	{ "bridge", "bridge", &bridge_table },
	{ "veth", NULL, &veth_table },
	{ "vxlan", "vxlan", &vxlan_table },
	{ "vlan", "vlan", &mn_vlan_table },
	{ "macvlan", "macvlan", &mn_macvlan_table },
	{ "macvtap", "macvtap", &mn_macvlan_table },
	{ "ipvlan", "ipvlan", &mn_ipvlan_table },
	{ "vrf", "vrf", &mn_vrf_table },
	{ "tun", "tun", &mn_tun_table },
	{ 0 },
};

static const struct mn_variant slave_kinds[] = {
	{ "bridge", "bridge_slave", &port_table },
	{ "vrf", "vrf_slave", &mn_vrf_slave_table },
	{ 0 },
};

static const struct mn_row info_rows[] = {
	{ MN_A(IFLA_INFO_KIND), .key = "kind", .type = MN_STRING, .max = 15 },
	{ MN_A(IFLA_INFO_DATA), .type = MN_VARIANT, .aux = IFLA_INFO_KIND, .variants = kinds },
	{ MN_A(IFLA_INFO_XSTATS), .type = MN_SKIP },
	{ MN_A(IFLA_INFO_SLAVE_KIND), .key = "slave_kind", .type = MN_STRING, .max = 15, .flags = MN_READ },
	{ MN_A(IFLA_INFO_SLAVE_DATA), .type = MN_VARIANT, .aux = IFLA_INFO_SLAVE_KIND,
		.variants = slave_kinds, .flags = MN_LATER },
};
static const struct mn_table info_table = MN_TABLE(info_rows, 0);

// A link that is being created has no IPv6 yet to set this for: EAFNOSUPPORT.
static const struct mn_row inet6_rows[] = {
	{ MN_A(IFLA_INET6_FLAGS), .type = MN_SKIP },
	{ MN_A(IFLA_INET6_CONF), .type = MN_SKIP },
	{ MN_A(IFLA_INET6_STATS), .type = MN_SKIP },
	{ MN_A(IFLA_INET6_CACHEINFO), .type = MN_SKIP },
	{ MN_A(IFLA_INET6_ICMP6STATS), .type = MN_SKIP },
	{ MN_A(IFLA_INET6_TOKEN), .key = "token", .type = MN_IP, .size = 16, .flags = MN_LATER },
	{ MN_A(IFLA_INET6_ADDR_GEN_MODE), .key = "addrgenmode", .type = MN_ENUM, .size = 1,
		.names = addrgenmodes, .flags = MN_LATER },
	{ MN_A(IFLA_INET6_RA_MTU), .type = MN_SKIP },
};
static const struct mn_table inet6_table = MN_TABLE(inet6_rows, 0);

static const struct mn_row af_rows[] = {
	{ .attr = AF_INET, .name = "AF_INET", .type = MN_SKIP },
	{ .attr = AF_INET6, .name = "AF_INET6", .type = MN_INLINE, .table = &inet6_table },
};
static const struct mn_table af_table = MN_TABLE(af_rows, 0);

static const struct mn_row link_rows[] = {
	{ MN_H(ifinfomsg, ifi_index), .key = "ifindex", .type = MN_UINT, .flags = MN_HEADER,
		.max = 0x7fffffff },
	{ MN_A(IFLA_IFNAME), .key = "ifname", .type = MN_STRING, .max = IFNAMSIZ - 1 },
	{ MN_A(IFLA_LINKINFO), .type = MN_INLINE, .table = &info_table },
	{ MN_H(ifinfomsg, ifi_type), .key = "link_type", .type = MN_ENUM, .names = link_types,
		.flags = MN_HEADER | MN_READ },
	{ MN_H(ifinfomsg, ifi_flags), .key = "flags", .type = MN_BITS, .names = link_flags,
		.flags = MN_HEADER | MN_READ },
	{ MN_H(ifinfomsg, ifi_flags), .key = "up", .type = MN_ONEBIT, .bit = IFF_UP, .flags = MN_HEADER },
	{ MN_H(ifinfomsg, ifi_flags), .key = "promisc", .type = MN_ONEBIT, .bit = IFF_PROMISC,
		.flags = MN_HEADER },
	{ MN_H(ifinfomsg, ifi_flags), .key = "allmulti", .type = MN_ONEBIT, .bit = IFF_ALLMULTI,
		.flags = MN_HEADER },
	{ MN_H(ifinfomsg, ifi_flags), .key = "arp", .type = MN_ONEBIT, .bit = IFF_NOARP, .flags = MN_HEADER,
		.aux = 1 },
	{ MN_A(IFLA_ADDRESS), .key = "address", .type = MN_MAC },
	{ MN_A(IFLA_BROADCAST), .key = "broadcast", .type = MN_MAC },
	{ MN_A(IFLA_MTU), .key = "mtu", .type = MN_UINT, .size = 4 },
	{ MN_A(IFLA_LINK), .key = "link", .type = MN_DEV, .size = 4, .flags = MN_FOREIGN,
		.aux = IFLA_LINK_NETNSID },
	{ MN_A(IFLA_QDISC), .key = "qdisc", .type = MN_STRING, .max = 15, .flags = MN_READ },
	{ MN_A(IFLA_STATS), .type = MN_SKIP },
	{ MN_A(IFLA_MASTER), .key = "master", .type = MN_DEV, .size = 4, .flags = MN_FILTER },
	{ MN_A(IFLA_TXQLEN), .key = "txqlen", .type = MN_UINT, .size = 4 },
	{ MN_A(IFLA_MAP), .type = MN_SKIP },
	{ MN_A(IFLA_OPERSTATE), .key = "operstate", .type = MN_ENUM, .size = 1, .names = operstates },
	{ MN_A(IFLA_LINKMODE), .key = "linkmode", .type = MN_ENUM, .size = 1, .names = linkmodes },
	{ MN_A(IFLA_NET_NS_FD), .key = "netns", .type = MN_NETNS, .aux = IFLA_NET_NS_PID },
	{ MN_A(IFLA_IFALIAS), .key = "ifalias", .type = MN_STRING, .max = 255, .flags = MN_LATER },
	{ MN_A(IFLA_STATS64), .type = MN_SKIP },
	{ MN_A(IFLA_AF_SPEC), .type = MN_INLINE, .table = &af_table },
	{ MN_A(IFLA_GROUP), .key = "group", .type = MN_ENUM, .size = 4, .names = groups },
	{ MN_A(IFLA_EXT_MASK), .type = MN_SKIP },
	{ MN_A(IFLA_PROMISCUITY), .key = "promiscuity", .type = MN_UINT, .size = 4, .flags = MN_READ },
	{ MN_A(IFLA_ALLMULTI), .key = "allmulti_count", .type = MN_UINT, .size = 4, .flags = MN_READ },
	NUMBER(IFLA_NUM_TX_QUEUES, "num_tx_queues", 4),
	NUMBER(IFLA_NUM_RX_QUEUES, "num_rx_queues", 4),
	{ MN_A(IFLA_CARRIER), .key = "carrier", .type = MN_BOOL, .size = 1 },
	{ MN_A(IFLA_CARRIER_CHANGES), .type = MN_SKIP },
	{ MN_A(IFLA_LINK_NETNSID), .key = "link_netnsid", .type = MN_INT, .size = 4 },
	{ MN_A(IFLA_PROTO_DOWN), .key = "proto_down", .type = MN_BOOL, .size = 1 },
	NUMBER(IFLA_GSO_MAX_SEGS, "gso_max_segs", 4),
	NUMBER(IFLA_GSO_MAX_SIZE, "gso_max_size", 4),
	{ MN_A(IFLA_PAD), .type = MN_SKIP },
	{ MN_A(IFLA_XDP), .type = MN_SKIP },
	{ MN_A(IFLA_EVENT), .type = MN_SKIP },
	{ MN_A(IFLA_NEW_NETNSID), .key = "new_netnsid", .type = MN_INT, .size = 4, .flags = MN_READ },
	{ MN_A(IFLA_CARRIER_UP_COUNT), .type = MN_SKIP },
	{ MN_A(IFLA_CARRIER_DOWN_COUNT), .type = MN_SKIP },
	{ MN_A(IFLA_NEW_IFINDEX), .key = "new_ifindex", .type = MN_UINT, .size = 4, .max = 0x7fffffff },
	{ MN_A(IFLA_MIN_MTU), .key = "min_mtu", .type = MN_UINT, .size = 4, .flags = MN_READ },
	{ MN_A(IFLA_MAX_MTU), .key = "max_mtu", .type = MN_UINT, .size = 4, .flags = MN_READ },
	{ MN_A(IFLA_PROP_LIST), .key = "altnames", .type = MN_STRINGS, .aux = IFLA_ALT_IFNAME,
		.flags = MN_READ | MN_NESTED },
	{ MN_A(IFLA_PERM_ADDRESS), .key = "permaddr", .type = MN_MAC, .flags = MN_READ },
	{ MN_A(IFLA_GRO_MAX_SIZE), .key = "gro_max_size", .type = MN_UINT, .size = 4 },
	{ MN_A(IFLA_TSO_MAX_SIZE), .key = "tso_max_size", .type = MN_UINT, .size = 4, .flags = MN_READ },
	{ MN_A(IFLA_TSO_MAX_SEGS), .key = "tso_max_segs", .type = MN_UINT, .size = 4, .flags = MN_READ },
	{ NEW_A(IFLA_DEVLINK_PORT), .type = MN_SKIP },
	{ NEW_A(IFLA_GSO_IPV4_MAX_SIZE), .key = "gso_ipv4_max_size", .type = MN_UINT, .size = 4 },
	{ NEW_A(IFLA_GRO_IPV4_MAX_SIZE), .key = "gro_ipv4_max_size", .type = MN_UINT, .size = 4 },
	{ NEW_A(IFLA_DPLL_PIN), .type = MN_SKIP },
	{ NEW_A(IFLA_MAX_PACING_OFFLOAD_HORIZON), .type = MN_SKIP },
	{ NEW_A(IFLA_NETNS_IMMUTABLE), .key = "netns_immutable", .type = MN_BOOL, .size = 1,
		.flags = MN_READ },
	{ NEW_A(IFLA_HEADROOM), .type = MN_SKIP },
	{ NEW_A(IFLA_TAILROOM), .type = MN_SKIP },
};
const struct mn_table mn_link_table = MN_TABLE(link_rows, sizeof(struct ifinfomsg));

const struct mn_object mn_link_object = {
	.name = "link",
	.table = &mn_link_table,
	.protocol = NETLINK_ROUTE,
	.type_new = RTM_NEWLINK,
	.type_del = RTM_DELLINK,
	.type_get = RTM_GETLINK,
	.ident = { "ifname", "ifindex", "group" },
	.flags = {
		[MN_ADD] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
		// The kernel refuses NLM_F_REPLACE for links; without it an existing one is changed.
		[MN_REPLACE] = NLM_F_REQUEST | NLM_F_CREATE,
		[MN_SET] = NLM_F_REQUEST,
		[MN_DEL] = NLM_F_REQUEST,
	},
};
