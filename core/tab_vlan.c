// SPDX-License-Identifier: Apache-2.0
// VLANs of a bridge and its ports: link messages of the bridge's family, as `bridge vlan`.
#include "schema.h"

#include <linux/if_bridge.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

static const struct mn_name vlan_flags[] = { { "PVID", BRIDGE_VLAN_INFO_PVID },
	{ "Egress Untagged", BRIDGE_VLAN_INFO_UNTAGGED }, { 0 } };

static const struct mn_name owners[] = { { "master", BRIDGE_FLAGS_MASTER }, { "self", BRIDGE_FLAGS_SELF },
	{ 0 } };

// One element of the list: struct bridge_vlan_info once, or twice for a range. The flags come last, which
// decode_vlan() counts on.
static const struct mn_row info_rows[] = {
	{ MN_H(mn_vlan_range, vid), .key = "vlan", .type = MN_UINT, .flags = MN_HEADER, .min = 1,
		.max = 4094 },
	{ MN_H(mn_vlan_range, end), .key = "vlanEnd", .type = MN_UINT, .flags = MN_HEADER, .min = 1,
		.max = 4094 },
	{ MN_H(mn_vlan_range, flags), .key = "flags", .type = MN_BITS, .names = vlan_flags,
		.flags = MN_HEADER },
};
static const struct mn_table info_table = MN_TABLE(info_rows, sizeof(struct mn_vlan_range));

static const struct mn_row spec_rows[] = {
	{ MN_A(IFLA_BRIDGE_FLAGS), .key = "flags", .type = MN_BITS, .size = 2, .names = owners },
	{ MN_A(IFLA_BRIDGE_MODE), .type = MN_SKIP },
	{ MN_A(IFLA_BRIDGE_VLAN_INFO), .key = "vlans", .type = MN_VLANS, .table = &info_table,
		.flags = MN_REQUIRED },
};
static const struct mn_table spec_table = MN_TABLE(spec_rows, 0);

static const struct mn_row vlan_rows[] = {
	{ MN_H(ifinfomsg, ifi_index), .key = "dev", .type = MN_DEV, .flags = MN_HEADER | MN_ONLY_NAME },
	{ MN_H(ifinfomsg, ifi_index), .key = "ifindex", .type = MN_UINT, .flags = MN_HEADER,
		.max = 0x7fffffff },
	{ MN_A(IFLA_ADDRESS), .type = MN_SKIP },
	{ MN_A(IFLA_IFNAME), .type = MN_SKIP },
	{ MN_A(IFLA_MTU), .type = MN_SKIP },
	{ MN_A(IFLA_LINK), .type = MN_SKIP },
	{ MN_A(IFLA_MASTER), .key = "master", .type = MN_DEV, .size = 4, .flags = MN_READ },
	{ MN_A(IFLA_PROTINFO), .type = MN_SKIP },
	{ MN_A(IFLA_OPERSTATE), .type = MN_SKIP },
	{ MN_A(IFLA_AF_SPEC), .type = MN_INLINE, .table = &spec_table },
};
static const struct mn_table vlan_table = MN_TABLE(vlan_rows, sizeof(struct ifinfomsg));

const struct mn_object mn_vlan_object = {
	.name = "vlan",
	.table = &vlan_table,
	.protocol = NETLINK_ROUTE,
	.type_new = RTM_NEWLINK,
	.type_change = RTM_SETLINK,
	.type_del = RTM_DELLINK,
	.type_get = RTM_GETLINK,
	.family = AF_BRIDGE,
	.ident = { "dev", "ifindex" },
	.dump_to_get = true,
	.flags = {
		[MN_ADD] = NLM_F_REQUEST,
		[MN_DEL] = NLM_F_REQUEST,
	},
};
