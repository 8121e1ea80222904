// SPDX-License-Identifier: Apache-2.0
// Traffic control: RTM_*QDISC, RTM_*TCLASS and RTM_*TFILTER. Rates are in bytes per second, bursts in bytes.
#include "tab_tc.h"

#include <linux/if_ether.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/if.h>
#include <string.h>

#define LINK(more) \
	{ MN_H(tcmsg, tcm_ifindex), .key = "dev", .type = MN_DEV, \
		.flags = MN_HEADER | MN_ONLY_NAME | (more) }, \
	{ \
		MN_H(tcmsg, tcm_ifindex), .key = "ifindex", .type = MN_UINT, .flags = MN_HEADER | (more), \
					  .max = 0x7fffffff \
	}
#define HANDLE(member, k, more) \
	{ \
		MN_H(tcmsg, member), .key = (k), .type = MN_HANDLE, .flags = MN_HEADER | (more) \
	}
#define KIND(kinds) \
	{ MN_A(TCA_KIND), .key = "kind", .type = MN_STRING, .max = IFNAMSIZ - 1 }, \
	{ \
		MN_A(TCA_OPTIONS), .type = MN_VARIANT, .aux = TCA_KIND, .variants = (kinds) \
	}
#define STATISTICS \
	SKIP(TCA_STATS), SKIP(TCA_XSTATS), SKIP(TCA_RATE), SKIP(TCA_FCNT), SKIP(TCA_STATS2), SKIP(TCA_STAB), \
		SKIP(TCA_PAD)

static const struct mn_row qdisc_rows[] = {
	LINK(0),
	HANDLE(tcm_handle, "handle", 0),
	HANDLE(tcm_parent, "parent", 0),
	KIND(mn_qdisc_kinds),
	STATISTICS,
	SKIP(TCA_DUMP_INVISIBLE),
	SKIP(TCA_HW_OFFLOAD),
	NUMBER(TCA_INGRESS_BLOCK, "ingress_block", 4),
	NUMBER(TCA_EGRESS_BLOCK, "egress_block", 4),
};
static const struct mn_table qdisc_table = MN_TABLE(qdisc_rows, sizeof(struct tcmsg));

static const struct mn_row class_rows[] = {
	LINK(MN_FILTER),
	HANDLE(tcm_handle, "handle", 0),
	HANDLE(tcm_parent, "parent", 0),
	KIND(mn_class_kinds),
	STATISTICS,
	SKIP(TCA_HW_OFFLOAD),
};
static const struct mn_table class_table = MN_TABLE(class_rows, sizeof(struct tcmsg));

static const struct mn_name protocols[] = { { "all", ETH_P_ALL }, { "ip", ETH_P_IP }, { "ipv6", ETH_P_IPV6 },
	{ "arp", ETH_P_ARP }, { "802.1Q", ETH_P_8021Q }, { "802.1ad", ETH_P_8021AD }, { 0 } };

// Both in one number, the protocol in network order in its lower half.
#define HALF(upper) \
	(offsetof(struct tcmsg, tcm_info) + ((upper) == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) ? 2 : 0))

static const struct mn_row filter_rows[] = {
	LINK(MN_FILTER),
	{ MN_H(tcmsg, tcm_handle), .key = "handle", .type = MN_UINT, .flags = MN_HEADER },
	HANDLE(tcm_parent, "parent", MN_FILTER),
	{ .name = "tcm_info",
		.key = "protocol",
		.type = MN_ENUM,
		.size = 2,
		.at = HALF(0),
		.flags = MN_HEADER | MN_NET | MN_PRESET,
		.bit = ETH_P_ALL,
		.names = protocols },
	{ .name = "tcm_info", .key = "prio", .type = MN_UINT, .size = 2, .at = HALF(1), .flags = MN_HEADER },
	KIND(mn_filter_kinds),
	STATISTICS,
	NUMBER(TCA_CHAIN, "chain", 4),
};
static const struct mn_table filter_table = MN_TABLE(filter_rows, sizeof(struct tcmsg));

static bool is_kind(const struct nlmsghdr *nlh, const char *name)
{
	const struct nlattr *kind = mn_attr_find(mnl_nlmsg_get_payload_offset(nlh, sizeof(struct tcmsg)),
		mnl_nlmsg_get_payload_len(nlh) - sizeof(struct tcmsg), TCA_KIND);

	return kind && strcmp(mnl_attr_get_str(kind), name) == 0;
}

// A link's qdisc is its root one unless said otherwise; those for what comes in have a place of their own.
static void finish_qdisc(struct nlmsghdr *nlh, enum mn_verb verb)
{
	struct tcmsg *message = mnl_nlmsg_get_payload(nlh);

	(void)verb;
	if (is_kind(nlh, "ingress") || is_kind(nlh, "clsact")) {
		message->tcm_parent = TC_H_INGRESS;
		message->tcm_handle = TC_H_MAKE(TC_H_INGRESS, 0);
	} else if (!message->tcm_parent) {
		message->tcm_parent = TC_H_ROOT;
	}
}

#define CHANGES(replace) \
	[MN_ADD] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL, \
	[MN_REPLACE] = NLM_F_REQUEST | NLM_F_CREATE | (replace), [MN_SET] = NLM_F_REQUEST, \
	[MN_DEL] = NLM_F_REQUEST

// The kernel answers a request for one only to those that listen, so a list is searched.
const struct mn_object mn_qdisc_object = {
	.name = "qdisc",
	.table = &qdisc_table,
	.protocol = NETLINK_ROUTE,
	.type_new = RTM_NEWQDISC,
	.type_del = RTM_DELQDISC,
	.type_get = RTM_GETQDISC,
	.ident = { "kind", "dev", "ifindex", "parent" },
	.group = "tc",
	.finish = finish_qdisc,
	.dump_to_get = true,
	.flags = { CHANGES(NLM_F_REPLACE) },
};

const struct mn_object mn_class_object = {
	.name = "class",
	.table = &class_table,
	.protocol = NETLINK_ROUTE,
	.type_new = RTM_NEWTCLASS,
	.type_del = RTM_DELTCLASS,
	.type_get = RTM_GETTCLASS,
	.ident = { "kind", "dev", "ifindex", "handle" },
	.list_by = "dev",
	.group = "tc",
	.dump_to_get = true,
	.flags = { CHANGES(0) },
};

const struct mn_object mn_filter_object = {
	.name = "filter",
	.table = &filter_table,
	.protocol = NETLINK_ROUTE,
	.type_new = RTM_NEWTFILTER,
	.type_del = RTM_DELTFILTER,
	.type_get = RTM_GETTFILTER,
	.ident = { "kind", "dev", "ifindex", "prio" },
	.one_by = "prio",
	.list_by = "dev",
	.group = "tc",
	.dump_to_get = true,
	.flags = { CHANGES(0), [MN_FLUSH] = NLM_F_REQUEST },
};
