// SPDX-License-Identifier: Apache-2.0
// Addresses: RTM_*ADDR.
#include "schema.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <linux/if.h>

static const struct mn_name addr_flags[] = { { "secondary", IFA_F_SECONDARY }, { "nodad", IFA_F_NODAD },
	{ "optimistic", IFA_F_OPTIMISTIC }, { "dadfailed", IFA_F_DADFAILED }, { "home", IFA_F_HOMEADDRESS },
	{ "deprecated", IFA_F_DEPRECATED }, { "tentative", IFA_F_TENTATIVE },
	{ "permanent", IFA_F_PERMANENT }, { "mngtmpaddr", IFA_F_MANAGETEMPADDR },
	{ "noprefixroute", IFA_F_NOPREFIXROUTE }, { "autojoin", IFA_F_MCAUTOJOIN },
	{ "stable-privacy", IFA_F_STABLE_PRIVACY }, { 0 } };

static const struct mn_name addr_protocols[] = { { "unspec", IFAPROT_UNSPEC },
	{ "kernel_lo", IFAPROT_KERNEL_LO }, { "kernel_ra", IFAPROT_KERNEL_RA },
	{ "kernel_ll", IFAPROT_KERNEL_LL }, { 0 } };

static const struct mn_row addr_rows[] = {
	{ MN_H(ifaddrmsg, ifa_family), .key = "family", .type = MN_ENUM, .names = mn_families,
		.flags = MN_HEADER | MN_FILTER },
	{ MN_H(ifaddrmsg, ifa_index), .key = "dev", .type = MN_DEV,
		.flags = MN_HEADER | MN_FILTER | MN_ONLY_NAME },
	{ MN_H(ifaddrmsg, ifa_index), .key = "ifindex", .type = MN_UINT, .flags = MN_HEADER | MN_FILTER,
		.max = 0x7fffffff },
	{ MN_A(IFA_LOCAL), .key = "address", .type = MN_PREFIX, .flags = MN_FULL,
		.aux = offsetof(struct ifaddrmsg, ifa_prefixlen) },
	{ MN_A(IFA_ADDRESS), .key = "peer", .type = MN_PREFIX, .flags = MN_FULL,
		.aux = offsetof(struct ifaddrmsg, ifa_prefixlen) },
	{ MN_A(IFA_BROADCAST), .key = "broadcast", .type = MN_ADDRESS },
	{ MN_A(IFA_ANYCAST), .key = "anycast", .type = MN_ADDRESS, .flags = MN_READ },
	{ MN_A(IFA_MULTICAST), .key = "multicast", .type = MN_ADDRESS, .flags = MN_READ },
	{ MN_A(IFA_LABEL), .key = "label", .type = MN_STRING, .max = IFNAMSIZ - 1 },
	{ MN_H(ifaddrmsg, ifa_scope), .key = "scope", .type = MN_ENUM, .names = mn_scopes,
		.flags = MN_HEADER },
	{ MN_H(ifaddrmsg, ifa_flags), .key = "flags", .type = MN_BITS, .names = addr_flags,
		.flags = MN_HEADER | MN_LOW },
	{ MN_A(IFA_FLAGS), .key = "flags", .type = MN_BITS, .size = 4, .names = addr_flags },
	{ MN_A(IFA_CACHEINFO), .key = "valid_life_time", .type = MN_UINT, .size = 4,
		.flags = MN_STRUCT | MN_ONES, .at = offsetof(struct ifa_cacheinfo, ifa_valid),
		.aux = sizeof(struct ifa_cacheinfo) },
	{ MN_A(IFA_CACHEINFO), .key = "preferred_life_time", .type = MN_UINT, .size = 4,
		.flags = MN_STRUCT | MN_ONES, .at = offsetof(struct ifa_cacheinfo, ifa_prefered),
		.aux = sizeof(struct ifa_cacheinfo) },
	{ MN_A(IFA_RT_PRIORITY), .key = "metric", .type = MN_UINT, .size = 4 },
	{ MN_A(IFA_TARGET_NETNSID), .key = "target_netnsid", .type = MN_INT, .size = 4, .flags = MN_READ },
	{ MN_A(IFA_PROTO), .key = "protocol", .type = MN_ENUM, .size = 1, .names = addr_protocols },
};
static const struct mn_table addr_table = MN_TABLE(addr_rows, sizeof(struct ifaddrmsg));

// An address that ends is not preferred for longer than it is valid.
static void finish(struct nlmsghdr *nlh, enum mn_verb verb)
{
	const struct nlattr *attr = mn_attr_find(mnl_nlmsg_get_payload_offset(nlh, sizeof(struct ifaddrmsg)),
		mnl_nlmsg_get_payload_len(nlh) - sizeof(struct ifaddrmsg), IFA_CACHEINFO);
	struct ifa_cacheinfo *times;

	(void)verb;
	if (!attr)
		return;
	times = mnl_attr_get_payload(attr);
	if (times->ifa_prefered == UINT32_MAX)
		times->ifa_prefered = times->ifa_valid;
}

const struct mn_object mn_addr_object = {
	.name = "addr",
	.table = &addr_table,
	.protocol = NETLINK_ROUTE,
	.type_new = RTM_NEWADDR,
	.type_del = RTM_DELADDR,
	.type_get = RTM_GETADDR,
	.ident = { "address", "dev", "ifindex" },
	.dump_to_get = true,
	.finish = finish,
	.flags = {
		[MN_ADD] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
		[MN_REPLACE] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE,
		[MN_SET] = NLM_F_REQUEST | NLM_F_REPLACE,
		[MN_DEL] = NLM_F_REQUEST,
	},
};
