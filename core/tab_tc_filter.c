// SPDX-License-Identifier: Apache-2.0
// Kinds of filters, and what they do with what matches.
#include "tab_tc.h"

#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_gact.h>
#include <linux/tc_act/tc_mirred.h>
#include <linux/if.h>

#define RTAB_SIZE 1024 // linux/pkt_sched.h, TC_RTAB_SIZE

static const struct mn_name verdicts[] = { { "unspec", (uint32_t)TC_ACT_UNSPEC }, { "pass", TC_ACT_OK },
	{ "reclassify", TC_ACT_RECLASSIFY }, { "drop", TC_ACT_SHOT }, { "pipe", TC_ACT_PIPE },
	{ "stolen", TC_ACT_STOLEN }, { 0 } };

static const struct mn_name mirrors[] = { { "egress redirect", TCA_EGRESS_REDIR },
	{ "egress mirror", TCA_EGRESS_MIRROR }, { "ingress redirect", TCA_INGRESS_REDIR },
	{ "ingress mirror", TCA_INGRESS_MIRROR }, { 0 } };

static const struct mn_row mirred_rows[] = {
	FIELD(TCA_MIRRED_PARMS, tc_mirred, index, "index", MN_UINT),
	FIELD_MORE(TCA_MIRRED_PARMS, tc_mirred, action, "action", MN_ENUM, MN_REQUIRED, .names = verdicts),
	FIELD_MORE(TCA_MIRRED_PARMS, tc_mirred, eaction, "eaction", MN_ENUM, MN_REQUIRED, .names = mirrors),
	FIELD_MORE(TCA_MIRRED_PARMS, tc_mirred, ifindex, "to_dev", MN_DEV, MN_REQUIRED),
	SKIP(TCA_MIRRED_TM),
	SKIP(TCA_MIRRED_PAD),
};
static const struct mn_table mirred_table = MN_TABLE(mirred_rows, 0);

static const struct mn_row gact_rows[] = {
	FIELD(TCA_GACT_PARMS, tc_gact, index, "index", MN_UINT),
	FIELD_MORE(TCA_GACT_PARMS, tc_gact, action, "action", MN_ENUM, MN_REQUIRED, .names = verdicts),
	SKIP(TCA_GACT_TM),
	SKIP(TCA_GACT_PAD),
};
static const struct mn_table gact_table = MN_TABLE(gact_rows, 0);

static const struct mn_row police_rows[] = {
	RATE64(TCA_POLICE_RATE64, "rate"),
	RATE64(TCA_POLICE_PEAKRATE64, "peakrate"),
	FIELD(TCA_POLICE_TBF, tc_police, index, "index", MN_UINT),
	FIELD_MORE(TCA_POLICE_TBF, tc_police, action, "action", MN_ENUM, MN_REQUIRED, .names = verdicts),
	RATE(TCA_POLICE_TBF, tc_police, rate, "rate", MN_REQUIRED),
	FIELD_MORE(TCA_POLICE_TBF, tc_police, burst, "burst", MN_BURST, MN_REQUIRED,
		.bit = MN_RATE_OF(tc_police, rate.rate, TCA_POLICE_RATE64)),
	FIELD(TCA_POLICE_TBF, tc_police, mtu, "mtu", MN_UINT),
	FIELD_MORE(TCA_POLICE_TBF, tc_police, rate.cell_log, NULL, MN_UINT, MN_PRESET, .bit = 3),
	// The kernel asks for the table of a rate, and does not look into it.
	{ MN_A(TCA_POLICE_RATE), .type = MN_SKIP, .flags = MN_PRESET, .bit = RTAB_SIZE },
	SKIP(TCA_POLICE_PEAKRATE),
	SKIP(TCA_POLICE_AVRATE),
	{ MN_A(TCA_POLICE_RESULT), .key = "conform", .type = MN_ENUM, .size = 4, .names = verdicts },
	SKIP(TCA_POLICE_TM),
	SKIP(TCA_POLICE_PAD),
};
static const struct mn_table police_table = MN_TABLE(police_rows, 0);

static const struct mn_variant action_kinds[] = {
	{ "mirred", NULL, &mirred_table },
	{ "gact", NULL, &gact_table },
	{ "police", NULL, &police_table },
	{ 0 },
};

static const struct mn_row action_rows[] = {
	{ MN_A(TCA_ACT_KIND), .key = "kind", .type = MN_STRING, .max = IFNAMSIZ - 1, .flags = MN_REQUIRED },
	{ MN_A(TCA_ACT_OPTIONS), .type = MN_VARIANT, .aux = TCA_ACT_KIND, .variants = action_kinds },
	SKIP(TCA_ACT_INDEX),
	SKIP(TCA_ACT_STATS),
	SKIP(TCA_ACT_PAD),
	{ MN_A(TCA_ACT_COOKIE), .key = "cookie", .type = MN_BYTES },
	SKIP(TCA_ACT_FLAGS),
	SKIP(TCA_ACT_HW_STATS),
	SKIP(TCA_ACT_USED_HW_STATS),
	SKIP(TCA_ACT_IN_HW_COUNT),
};
static const struct mn_table action_table = MN_TABLE(action_rows, 0);

#define ACTIONS(a) \
	{ \
		MN_A(a), .key = "actions", .type = MN_LIST, .table = &action_table \
	}

// A packet matches where its four bytes at off, behind the network header, are val once masked.
static const struct mn_row match_rows[] = {
	{ MN_H(tc_u32_key, mask), .key = "mask", .type = MN_UINT, .flags = MN_HEADER | MN_NET },
	{ MN_H(tc_u32_key, val), .key = "val", .type = MN_UINT, .flags = MN_HEADER | MN_NET },
	{ MN_H(tc_u32_key, off), .key = "off", .type = MN_INT, .flags = MN_HEADER },
	{ MN_H(tc_u32_key, offmask), .key = "offmask", .type = MN_INT, .flags = MN_HEADER },
};
static const struct mn_table match_table = MN_TABLE(match_rows, sizeof(struct tc_u32_key));

static const struct mn_name selections[] = { { "terminal", TC_U32_TERMINAL }, { "offset", TC_U32_OFFSET },
	{ "varoffset", TC_U32_VAROFFSET }, { "eat", TC_U32_EAT }, { 0 } };

static const struct mn_row sel_rows[] = {
	{ MN_H(tc_u32_sel, flags), .key = "flags", .type = MN_BITS, .flags = MN_HEADER | MN_PRESET,
		.bit = TC_U32_TERMINAL, .names = selections },
	{ MN_H(tc_u32_sel, offshift), .key = "offshift", .type = MN_UINT, .flags = MN_HEADER },
	{ MN_H(tc_u32_sel, offmask), .key = "offmask", .type = MN_UINT, .flags = MN_HEADER | MN_NET },
	{ MN_H(tc_u32_sel, off), .key = "off", .type = MN_UINT, .flags = MN_HEADER },
	{ MN_H(tc_u32_sel, offoff), .key = "offoff", .type = MN_INT, .flags = MN_HEADER },
	{ MN_H(tc_u32_sel, hoff), .key = "hoff", .type = MN_INT, .flags = MN_HEADER },
	{ MN_H(tc_u32_sel, hmask), .key = "hmask", .type = MN_UINT, .flags = MN_HEADER | MN_NET },
	{ .name = "keys",
		.key = "keys",
		.type = MN_ARRAY,
		.at = offsetof(struct tc_u32_sel, nkeys),
		.max = 128,
		.table = &match_table },
};
static const struct mn_table sel_table = MN_TABLE(sel_rows, sizeof(struct tc_u32_sel));

static const struct mn_row u32_rows[] = {
	{ MN_A(TCA_U32_CLASSID), .key = "flowid", .type = MN_HANDLE, .size = 4 },
	NUMBER(TCA_U32_HASH, "hash", 4),
	NUMBER(TCA_U32_LINK, "link", 4),
	NUMBER(TCA_U32_DIVISOR, "divisor", 4),
	{ MN_A(TCA_U32_SEL), .key = "sel", .type = MN_NEST, .table = &sel_table },
	ACTIONS(TCA_U32_ACT),
	{ MN_A(TCA_U32_INDEV), .key = "indev", .type = MN_STRING, .max = IFNAMSIZ - 1 },
	SKIP(TCA_U32_PCNT),
	FIELD_MORE(TCA_U32_MARK, tc_u32_mark, val, "mark", MN_UINT, 0),
	FIELD_MORE(TCA_U32_MARK, tc_u32_mark, mask, "mark_mask", MN_UINT, 0),
	NUMBER(TCA_U32_FLAGS, "flags", 4),
	SKIP(TCA_U32_PAD),
};
static const struct mn_table u32_table = MN_TABLE(u32_rows, 0);

static const struct mn_row matchall_rows[] = {
	{ MN_A(TCA_MATCHALL_CLASSID), .key = "flowid", .type = MN_HANDLE, .size = 4 },
	ACTIONS(TCA_MATCHALL_ACT),
	NUMBER(TCA_MATCHALL_FLAGS, "flags", 4),
	SKIP(TCA_MATCHALL_PCNT),
	SKIP(TCA_MATCHALL_PAD),
};
static const struct mn_table matchall_table = MN_TABLE(matchall_rows, 0);

const struct mn_variant mn_filter_kinds[] = {
	{ "u32", "u32", &u32_table },
	{ "matchall", "matchall", &matchall_table },
	{ 0 },
};
