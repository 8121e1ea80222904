// SPDX-License-Identifier: Apache-2.0
// Neighbours and bridge forwarding entries: RTM_*NEIGH.
#include "schema.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

static const struct mn_name states[] = { { "incomplete", NUD_INCOMPLETE }, { "reachable", NUD_REACHABLE },
	{ "stale", NUD_STALE }, { "delay", NUD_DELAY }, { "probe", NUD_PROBE }, { "failed", NUD_FAILED },
	{ "noarp", NUD_NOARP }, { "permanent", NUD_PERMANENT }, { 0 } };

static const struct mn_name neigh_flags[] = { { "use", NTF_USE }, { "self", NTF_SELF },
	{ "master", NTF_MASTER }, { "proxy", NTF_PROXY }, { "extern_learn", NTF_EXT_LEARNED },
	{ "offload", NTF_OFFLOADED }, { "sticky", NTF_STICKY }, { "router", NTF_ROUTER }, { 0 } };

static const struct mn_row neigh_rows[] = {
	{ MN_H(ndmsg, ndm_family), .key = "family", .type = MN_ENUM, .names = mn_families,
		.flags = MN_HEADER | MN_FILTER },
	{ MN_A(NDA_DST), .key = "dst", .type = MN_ADDRESS },
	{ MN_H(ndmsg, ndm_ifindex), .key = "dev", .type = MN_DEV, .flags = MN_HEADER | MN_ONLY_NAME },
	{ MN_H(ndmsg, ndm_ifindex), .key = "ifindex", .type = MN_UINT, .flags = MN_HEADER,
		.max = 0x7fffffff },
	{ MN_A(NDA_LLADDR), .key = "lladdr", .type = MN_MAC },
	{ MN_H(ndmsg, ndm_state), .key = "state", .type = MN_BITS, .names = states, .flags = MN_HEADER },
	{ MN_H(ndmsg, ndm_flags), .key = "flags", .type = MN_BITS, .names = neigh_flags,
		.flags = MN_HEADER | MN_FILTER },
	{ MN_H(ndmsg, ndm_type), .key = "type", .type = MN_ENUM, .names = mn_route_types,
		.flags = MN_HEADER | MN_READ },
	{ MN_A(NDA_CACHEINFO), .type = MN_SKIP },
	{ MN_A(NDA_PROBES), .key = "probes", .type = MN_UINT, .size = 4, .flags = MN_READ },
	{ MN_A(NDA_PROTOCOL), .key = "protocol", .type = MN_ENUM, .size = 1, .names = mn_route_protocols },
};
static const struct mn_table neigh_table = MN_TABLE(neigh_rows, sizeof(struct ndmsg));

static const struct mn_row fdb_rows[] = {
	{ MN_H(ndmsg, ndm_family), .key = "family", .type = MN_ENUM, .names = mn_families,
		.flags = MN_HEADER | MN_FILTER },
	{ MN_A(NDA_LLADDR), .key = "mac", .type = MN_MAC },
	{ MN_H(ndmsg, ndm_ifindex), .key = "dev", .type = MN_DEV,
		.flags = MN_HEADER | MN_ONLY_NAME | MN_FILTER },
	{ MN_H(ndmsg, ndm_ifindex), .key = "ifindex", .type = MN_UINT, .flags = MN_HEADER | MN_FILTER,
		.max = 0x7fffffff },
	{ MN_A(NDA_DST), .key = "dst", .type = MN_IP },
	{ MN_A(NDA_VLAN), .key = "vlan", .type = MN_UINT, .size = 2, .max = 4094 },
	{ MN_A(NDA_PORT), .key = "port", .type = MN_UINT, .size = 2, .flags = MN_NET },
	{ MN_A(NDA_VNI), .key = "vni", .type = MN_UINT, .size = 4, .max = 16777215 },
	{ MN_A(NDA_IFINDEX), .key = "via", .type = MN_DEV, .size = 4 },
	{ MN_A(NDA_MASTER), .key = "master", .type = MN_DEV, .size = 4, .flags = MN_FILTER },
	{ MN_A(NDA_LINK_NETNSID), .key = "link_netnsid", .type = MN_INT, .size = 4 },
	{ MN_A(NDA_SRC_VNI), .key = "src_vni", .type = MN_UINT, .size = 4, .max = 16777215 },
	{ MN_H(ndmsg, ndm_state), .key = "state", .type = MN_BITS, .names = states, .flags = MN_HEADER },
	{ MN_H(ndmsg, ndm_flags), .key = "flags", .type = MN_BITS, .names = neigh_flags, .flags = MN_HEADER },
	{ MN_A(NDA_CACHEINFO), .type = MN_SKIP },
	{ MN_A(NDA_NH_ID), .key = "nhid", .type = MN_UINT, .size = 4 },
	{ MN_A(NDA_PROTOCOL), .key = "protocol", .type = MN_ENUM, .size = 1, .names = mn_route_protocols },
};
static const struct mn_table fdb_table = MN_TABLE(fdb_rows, sizeof(struct ndmsg));

// As `ip neigh` and `bridge fdb` do: an entry made by hand is permanent, and one of a bridge's forwarding
// table belongs to the link itself unless it is said to belong to its master.
static void finish(struct nlmsghdr *nlh, enum mn_verb verb)
{
	struct ndmsg *entry = mnl_nlmsg_get_payload(nlh);
	bool bridge = entry->ndm_family == AF_BRIDGE;

	// A link's own forwarding entry is deleted only by a message that calls it permanent.
	if (verb != MN_GET && (verb != MN_DEL || bridge) && !entry->ndm_state &&
		!(entry->ndm_flags & NTF_PROXY))
		entry->ndm_state = NUD_PERMANENT;
	if (verb != MN_GET && bridge && !(entry->ndm_flags & (NTF_MASTER | NTF_SELF)))
		entry->ndm_flags |= NTF_SELF;
}

#define CHANGES \
	.flags = { \
		[MN_ADD] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL, \
		[MN_REPLACE] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE, \
		[MN_APPEND] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND, \
		[MN_SET] = NLM_F_REQUEST | NLM_F_REPLACE, \
		[MN_DEL] = NLM_F_REQUEST, \
	}

const struct mn_object mn_neigh_object = {
	.name = "neigh",
	.table = &neigh_table,
	.protocol = NETLINK_ROUTE,
	.type_new = RTM_NEWNEIGH,
	.type_del = RTM_DELNEIGH,
	.type_get = RTM_GETNEIGH,
	.ident = { "dst", "dev", "ifindex" },
	.finish = finish,
	CHANGES,
};

const struct mn_object mn_fdb_object = {
	.name = "fdb",
	.table = &fdb_table,
	.protocol = NETLINK_ROUTE,
	.type_new = RTM_NEWNEIGH,
	.type_del = RTM_DELNEIGH,
	.type_get = RTM_GETNEIGH,
	.family = AF_BRIDGE,
	.ident = { "mac", "dst", "dev", "ifindex" },
	.finish = finish,
	.dump_to_get = true,
	CHANGES,
};
