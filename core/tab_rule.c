// SPDX-License-Identifier: Apache-2.0
// Routing rules: RTM_*RULE.
#include "schema.h"

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

static const struct mn_name actions[] = { { "to_table", FR_ACT_TO_TBL }, { "goto", FR_ACT_GOTO },
	{ "nop", FR_ACT_NOP }, { "blackhole", FR_ACT_BLACKHOLE }, { "unreachable", FR_ACT_UNREACHABLE },
	{ "prohibit", FR_ACT_PROHIBIT }, { 0 } };

static const struct mn_name rule_flags[] = { { "permanent", FIB_RULE_PERMANENT }, { "not", FIB_RULE_INVERT },
	{ "unresolved", FIB_RULE_UNRESOLVED }, { "iif_detached", FIB_RULE_IIF_DETACHED },
	{ "oif_detached", FIB_RULE_OIF_DETACHED }, { "find_saddr", FIB_RULE_FIND_SADDR }, { 0 } };

static const struct mn_row rule_rows[] = {
	{ MN_H(fib_rule_hdr, family), .key = "family", .type = MN_ENUM, .names = mn_families,
		.flags = MN_HEADER | MN_FILTER },
	{ MN_A(FRA_PRIORITY), .key = "priority", .type = MN_UINT, .size = 4 },
	{ MN_A(FRA_SRC), .key = "src", .type = MN_PREFIX, .aux = offsetof(struct fib_rule_hdr, src_len) },
	{ MN_A(FRA_DST), .key = "dst", .type = MN_PREFIX, .aux = offsetof(struct fib_rule_hdr, dst_len) },
	{ MN_A(FRA_FWMARK), .key = "fwmark", .type = MN_UINT, .size = 4 },
	{ MN_A(FRA_FWMASK), .key = "fwmask", .type = MN_UINT, .size = 4 },
	{ MN_A(FRA_IIFNAME), .key = "iif", .type = MN_STRING, .max = IFNAMSIZ - 1 },
	{ MN_A(FRA_OIFNAME), .key = "oif", .type = MN_STRING, .max = IFNAMSIZ - 1 },
	{ MN_H(fib_rule_hdr, table), .key = "table", .type = MN_ENUM, .names = mn_route_tables,
		.flags = MN_HEADER | MN_LOW },
	{ MN_A(FRA_TABLE), .key = "table", .type = MN_ENUM, .size = 4, .names = mn_route_tables },
	{ MN_H(fib_rule_hdr, action), .key = "action", .type = MN_ENUM, .names = actions,
		.flags = MN_HEADER },
	{ MN_H(fib_rule_hdr, tos), .key = "tos", .type = MN_UINT, .flags = MN_HEADER },
	{ MN_H(fib_rule_hdr, flags), .key = "flags", .type = MN_BITS, .names = rule_flags,
		.flags = MN_HEADER },
	{ MN_A(FRA_GOTO), .key = "goto", .type = MN_UINT, .size = 4 },
	{ MN_A(FRA_FLOW), .key = "flow", .type = MN_UINT, .size = 4 },
	{ MN_A(FRA_TUN_ID), .key = "tun_id", .type = MN_UINT, .size = 8, .flags = MN_NET },
	{ MN_A(FRA_SUPPRESS_IFGROUP), .key = "suppress_ifgroup", .type = MN_INT, .size = 4 },
	{ MN_A(FRA_SUPPRESS_PREFIXLEN), .key = "suppress_prefixlength", .type = MN_INT, .size = 4 },
	{ MN_A(FRA_PAD), .type = MN_SKIP },
	{ MN_A(FRA_L3MDEV), .key = "l3mdev", .type = MN_BOOL, .size = 1 },
	{ MN_A(FRA_UID_RANGE), .key = "uidrange", .type = MN_RANGE, .size = 4 },
	{ MN_A(FRA_PROTOCOL), .key = "protocol", .type = MN_ENUM, .size = 1, .names = mn_route_protocols },
	{ MN_A(FRA_IP_PROTO), .key = "ipproto", .type = MN_ENUM, .size = 1, .names = mn_ip_protocols },
	{ MN_A(FRA_SPORT_RANGE), .key = "sport", .type = MN_RANGE, .size = 2 },
	{ MN_A(FRA_DPORT_RANGE), .key = "dport", .type = MN_RANGE, .size = 2 },
};
static const struct mn_table rule_table = MN_TABLE(rule_rows, sizeof(struct fib_rule_hdr));

static bool has(const struct nlmsghdr *nlh, uint16_t attr)
{
	return mn_attr_find(mnl_nlmsg_get_payload_offset(nlh, NLMSG_ALIGN(sizeof(struct fib_rule_hdr))),
		       mnl_nlmsg_get_payload_len(nlh) - NLMSG_ALIGN(sizeof(struct fib_rule_hdr)),
		       attr) != NULL;
}

// As `ip rule` does: a rule that says nothing else sends to a table, and to main unless it says which.
static void finish(struct nlmsghdr *nlh, enum mn_verb verb)
{
	struct fib_rule_hdr *rule = mnl_nlmsg_get_payload(nlh);

	if (!rule->family)
		rule->family = AF_INET;
	if (verb == MN_DEL)
		return;
	if (!rule->action)
		rule->action = has(nlh, FRA_GOTO) ? FR_ACT_GOTO : FR_ACT_TO_TBL;
	if (rule->action == FR_ACT_TO_TBL && !rule->table && !has(nlh, FRA_TABLE) && !has(nlh, FRA_L3MDEV))
		rule->table = RT_TABLE_MAIN;
}

const struct mn_object mn_rule_object = {
	.name = "rule",
	.table = &rule_table,
	.protocol = NETLINK_ROUTE,
	.type_new = RTM_NEWRULE,
	.type_del = RTM_DELRULE,
	.type_get = RTM_GETRULE,
	.ident = { "priority", "src", "dst", "table" },
	.dump_to_get = true,
	.finish = finish,
	.flags = {
		[MN_ADD] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
		// The kernel cannot replace a rule: one that differs in anything is another.
		[MN_REPLACE] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
		[MN_DEL] = NLM_F_REQUEST,
	},
};
