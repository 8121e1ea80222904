// SPDX-License-Identifier: Apache-2.0
// Numbers by which one namespace knows others: RTM_*NSID.
#include "schema.h"

#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>

static const struct mn_row nsid_rows[] = {
	{ MN_A(NETNSA_NSID), .key = "nsid", .type = MN_INT, .size = 4, .min = -1, .max = 0x7fffffff },
	{ MN_A(NETNSA_FD), .key = "netns", .type = MN_NETNS, .aux = NETNSA_PID },
	{ MN_A(NETNSA_TARGET_NSID), .key = "target_nsid", .type = MN_INT, .size = 4 },
	{ MN_A(NETNSA_CURRENT_NSID), .key = "current_nsid", .type = MN_INT, .size = 4, .flags = MN_READ },
};
static const struct mn_table nsid_table = MN_TABLE(nsid_rows, sizeof(struct rtgenmsg));

const struct mn_object mn_nsid_object = {
	.name = "nsid",
	.table = &nsid_table,
	.protocol = NETLINK_ROUTE,
	.type_new = RTM_NEWNSID,
	.type_del = RTM_DELNSID,
	.type_get = RTM_GETNSID,
	.ident = { "nsid" },
	.flags = {
		[MN_ADD] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
		[MN_DEL] = NLM_F_REQUEST,
	},
};
