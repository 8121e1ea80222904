// SPDX-License-Identifier: Apache-2.0
// Kinds of links that stand on another one or on nothing: VLANs, macvlan, ipvlan, VRFs, tun and tap. The keys
// are those of `ip -json -details link`.
#include "tab_link_kinds.h"

#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/if_vlan.h>

const struct mn_name mn_vlan_protocols[] = { { "802.1Q", 0x8100 }, { "802.1ad", 0x88a8 }, { 0 } };

static const struct mn_name vlan_flags[] = { { "REORDER_HDR", VLAN_FLAG_REORDER_HDR },
	{ "GVRP", VLAN_FLAG_GVRP }, { "LOOSE_BINDING", VLAN_FLAG_LOOSE_BINDING }, { "MVRP", VLAN_FLAG_MVRP },
	{ "BRIDGE_BINDING", VLAN_FLAG_BRIDGE_BINDING }, { 0 } };

static const struct mn_row vlan_rows[] = {
	{ MN_A(IFLA_VLAN_ID), .key = "id", .type = MN_UINT, .size = 2, .max = 4094 },
	{ MN_A(IFLA_VLAN_PROTOCOL), .key = "protocol", .type = MN_ENUM, .size = 2, .flags = MN_NET,
		.names = mn_vlan_protocols },
	// A word of flags, and one that says which of them are meant: all.
	{ .attr = IFLA_VLAN_FLAGS,
		MN_H(ifla_vlan_flags, flags),
		.key = "flags",
		.type = MN_BITS,
		.flags = MN_STRUCT | MN_ONES,
		.aux = sizeof(struct ifla_vlan_flags),
		.names = vlan_flags },
};
const struct mn_table mn_vlan_table = MN_TABLE(vlan_rows, 0);

static const struct mn_name macvlan_modes[] = { { "private", MACVLAN_MODE_PRIVATE },
	{ "vepa", MACVLAN_MODE_VEPA }, { "bridge", MACVLAN_MODE_BRIDGE },
	{ "passthru", MACVLAN_MODE_PASSTHRU }, { "source", MACVLAN_MODE_SOURCE }, { 0 } };

static const struct mn_name macvlan_flags[] = { { "nopromisc", MACVLAN_FLAG_NOPROMISC },
	{ "nodst", MACVLAN_FLAG_NODST }, { 0 } };

// Of macvlan and macvtap.
static const struct mn_row macvlan_rows[] = {
	{ MN_A(IFLA_MACVLAN_MODE), .key = "mode", .type = MN_ENUM, .size = 4, .names = macvlan_modes },
	{ MN_A(IFLA_MACVLAN_FLAGS), .key = "flags", .type = MN_BITS, .size = 2, .names = macvlan_flags },
	{ MN_A(IFLA_MACVLAN_MACADDR_COUNT), .key = "macaddr_count", .type = MN_UINT, .size = 4,
		.flags = MN_READ },
	{ MN_A(IFLA_MACVLAN_BC_QUEUE_LEN), .key = "bcqueuelen", .type = MN_UINT, .size = 4 },
	{ MN_A(IFLA_MACVLAN_BC_QUEUE_LEN_USED), .key = "usedbcqueuelen", .type = MN_UINT, .size = 4,
		.flags = MN_READ },
};
const struct mn_table mn_macvlan_table = MN_TABLE(macvlan_rows, 0);

static const struct mn_name ipvlan_modes[] = { { "l2", IPVLAN_MODE_L2 }, { "l3", IPVLAN_MODE_L3 },
	{ "l3s", IPVLAN_MODE_L3S }, { 0 } };

// Neither: links of one master reach each other ("bridge" for `ip`).
static const struct mn_name ipvlan_flags[] = { { "private", IPVLAN_F_PRIVATE }, { "vepa", IPVLAN_F_VEPA },
	{ 0 } };

static const struct mn_row ipvlan_rows[] = {
	{ MN_A(IFLA_IPVLAN_MODE), .key = "mode", .type = MN_ENUM, .size = 2, .names = ipvlan_modes },
	{ MN_A(IFLA_IPVLAN_FLAGS), .key = "flags", .type = MN_BITS, .size = 2, .names = ipvlan_flags },
};
const struct mn_table mn_ipvlan_table = MN_TABLE(ipvlan_rows, 0);

static const struct mn_row vrf_rows[] = {
	{ MN_A(IFLA_VRF_TABLE), .key = "table", .type = MN_UINT, .size = 4, .min = 1, .max = UINT32_MAX },
};
const struct mn_table mn_vrf_table = MN_TABLE(vrf_rows, 0);

static const struct mn_row vrf_slave_rows[] = {
	{ MN_A(IFLA_VRF_PORT_TABLE), .key = "table", .type = MN_UINT, .size = 4, .flags = MN_READ },
};
const struct mn_table mn_vrf_slave_table = MN_TABLE(vrf_slave_rows, 0);

static const struct mn_name tun_types[] = { { "tun", IFF_TUN }, { "tap", IFF_TAP }, { 0 } };

#define SHOWN(a, k, t, n) \
	{ \
		MN_A(a), .key = (k), .type = (t), .size = (n), .flags = MN_READ \
	}

// rtnetlink cannot make these (core.tun does), nor change them.
static const struct mn_row tun_rows[] = {
	SHOWN(IFLA_TUN_OWNER, "user", MN_UINT, 4),
	SHOWN(IFLA_TUN_GROUP, "group", MN_UINT, 4),
	{ MN_A(IFLA_TUN_TYPE), .key = "type", .type = MN_ENUM, .size = 1, .names = tun_types,
		.flags = MN_READ },
	SHOWN(IFLA_TUN_PI, "pi", MN_BOOL, 1),
	SHOWN(IFLA_TUN_VNET_HDR, "vnet_hdr", MN_BOOL, 1),
	SHOWN(IFLA_TUN_PERSIST, "persist", MN_BOOL, 1),
	SHOWN(IFLA_TUN_MULTI_QUEUE, "multi_queue", MN_BOOL, 1),
	SHOWN(IFLA_TUN_NUM_QUEUES, "numqueues", MN_UINT, 4),
	SHOWN(IFLA_TUN_NUM_DISABLED_QUEUES, "numdisabled", MN_UINT, 4),
};
const struct mn_table mn_tun_table = MN_TABLE(tun_rows, 0);
