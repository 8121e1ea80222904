// SPDX-License-Identifier: Apache-2.0
// nf_tables: tables, chains, rules, sets and their elements. Keys are those of `nft -j`.
#include "tab_nft.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>
#include <sys/socket.h>

#define MESSAGE(type) (NFNL_SUBSYS_NFTABLES << 8 | (type))
#define FAMILY \
	{ \
		MN_H(nfgenmsg, nfgen_family), .key = "family", .type = MN_ENUM, .names = families, \
					      .flags = MN_HEADER | MN_FILTER | MN_REQUIRED \
	}
#define TEXT(a, k, more) \
	{ \
		MN_A(a), .key = (k), .type = MN_STRING, .max = 255, .flags = (more) \
	}
#define PAD(a) \
	{ \
		MN_A(a), .type = MN_SKIP \
	}

// The first type of user data in tables, chains, rules and elements is their comment; in sets it is the
// eighth.
enum { COMMENT = 0, SET_COMMENT = 7 };

static const struct mn_name families[] = { { "inet", NFPROTO_INET }, { "ip", NFPROTO_IPV4 },
	{ "ip6", NFPROTO_IPV6 }, { "arp", NFPROTO_ARP }, { "bridge", NFPROTO_BRIDGE },
	{ "netdev", NFPROTO_NETDEV }, { 0 } };

static const struct mn_name table_flags[] = { { "dormant", NFT_TABLE_F_DORMANT },
	{ "owner", NFT_TABLE_F_OWNER }, { 0 } };

static const struct mn_row table_rows[] = {
	FAMILY,
	TEXT(NFTA_TABLE_NAME, "name", MN_REQUIRED),
	SOME_OF(NFTA_TABLE_FLAGS, "flags", table_flags),
	NUMBER(NFTA_TABLE_USE, "use", MN_READ),
	BIG(NFTA_TABLE_HANDLE, "handle", MN_READ),
	PAD(NFTA_TABLE_PAD),
	{ MN_A(NFTA_TABLE_USERDATA), .key = "comment", .type = MN_COMMENT, .aux = COMMENT, .max = 127 },
	NUMBER(NFTA_TABLE_OWNER, "owner", MN_READ),
};
static const struct mn_table table_table = MN_TABLE(table_rows, sizeof(struct nfgenmsg));

static const struct mn_name hooks[] = { { "prerouting", NF_INET_PRE_ROUTING }, { "input", NF_INET_LOCAL_IN },
	{ "forward", NF_INET_FORWARD }, { "output", NF_INET_LOCAL_OUT },
	{ "postrouting", NF_INET_POST_ROUTING }, { "ingress", NF_INET_INGRESS }, { 0 } };

static const struct mn_name verdict_policies[] = { { "drop", NF_DROP }, { "accept", NF_ACCEPT }, { 0 } };

static const struct mn_name chain_flags[] = { { "base", NFT_CHAIN_BASE }, { "offload", NFT_CHAIN_HW_OFFLOAD },
	{ "binding", NFT_CHAIN_BINDING }, { 0 } };

static const struct mn_row hook_rows[] = {
	ONE_OF(NFTA_HOOK_HOOKNUM, "hook", hooks),
	{ MN_A(NFTA_HOOK_PRIORITY), .key = "prio", .type = MN_INT, .size = 4, .flags = MN_NET },
	TEXT(NFTA_HOOK_DEV, "dev", 0),
};
static const struct mn_table hook_table = MN_TABLE(hook_rows, 0);

static const struct mn_row chain_rows[] = {
	FAMILY,
	TEXT(NFTA_CHAIN_TABLE, "table", MN_REQUIRED | MN_FILTER),
	TEXT(NFTA_CHAIN_NAME, "name", MN_REQUIRED),
	BIG(NFTA_CHAIN_HANDLE, "handle", MN_READ),
	{ MN_A(NFTA_CHAIN_HOOK), .type = MN_INLINE, .table = &hook_table },
	ONE_OF(NFTA_CHAIN_POLICY, "policy", verdict_policies),
	NUMBER(NFTA_CHAIN_USE, "use", MN_READ),
	TEXT(NFTA_CHAIN_TYPE, "type", 0),
	PAD(NFTA_CHAIN_COUNTERS),
	PAD(NFTA_CHAIN_PAD),
	SOME_OF(NFTA_CHAIN_FLAGS, "flags", chain_flags),
	NUMBER(NFTA_CHAIN_ID, "id", 0),
	{ MN_A(NFTA_CHAIN_USERDATA), .key = "comment", .type = MN_COMMENT, .aux = COMMENT, .max = 127 },
};
static const struct mn_table chain_table = MN_TABLE(chain_rows, sizeof(struct nfgenmsg));

static const struct mn_row rule_rows[] = {
	FAMILY,
	TEXT(NFTA_RULE_TABLE, "table", MN_REQUIRED | MN_FILTER),
	TEXT(NFTA_RULE_CHAIN, "chain", MN_REQUIRED | MN_FILTER),
	BIG(NFTA_RULE_HANDLE, "handle", 0),
	{ MN_A(NFTA_RULE_EXPRESSIONS), .key = "expr", .type = MN_LIST, .aux = NFTA_LIST_ELEM,
		.table = &mn_nft_expr_table, .flags = MN_NESTED },
	PAD(NFTA_RULE_COMPAT),
	BIG(NFTA_RULE_POSITION, "position", 0),
	{ MN_A(NFTA_RULE_USERDATA), .key = "comment", .type = MN_COMMENT, .aux = COMMENT, .max = 127 },
	PAD(NFTA_RULE_PAD),
	NUMBER(NFTA_RULE_ID, "id", 0),
	NUMBER(NFTA_RULE_POSITION_ID, "position_id", 0),
	NUMBER(NFTA_RULE_CHAIN_ID, "chain_id", 0),
};
static const struct mn_table rule_table = MN_TABLE(rule_rows, sizeof(struct nfgenmsg));

// nft's own numbers; the kernel only carries them. The size of each type is in type_size().
static const struct mn_name key_types[] = { { "ipv4_addr", 7 }, { "ipv6_addr", 8 }, { "ether_addr", 9 },
	{ "ether_type", 10 }, { "inet_proto", 12 }, { "inet_service", 13 }, { "mark", 19 },
	{ "iface_index", 20 }, { "ifname", 41 }, { 0 } };

static const struct mn_name data_types[] = { { "ipv4_addr", 7 }, { "ipv6_addr", 8 }, { "ether_addr", 9 },
	{ "inet_proto", 12 }, { "inet_service", 13 }, { "mark", 19 }, { "verdict", NFT_DATA_VERDICT },
	{ 0 } };

static const struct mn_name set_flags[] = { { "anonymous", NFT_SET_ANONYMOUS },
	{ "constant", NFT_SET_CONSTANT }, { "interval", NFT_SET_INTERVAL }, { "map", NFT_SET_MAP },
	{ "timeout", NFT_SET_TIMEOUT }, { "dynamic", NFT_SET_EVAL }, { "object", NFT_SET_OBJECT },
	{ "concat", NFT_SET_CONCAT }, { "expr", NFT_SET_EXPR }, { 0 } };

static const struct mn_name set_policies[] = { { "performance", NFT_SET_POL_PERFORMANCE },
	{ "memory", NFT_SET_POL_MEMORY }, { 0 } };

static const struct mn_row desc_rows[] = {
	NUMBER(NFTA_SET_DESC_SIZE, "size", 0),
};
static const struct mn_table desc_table = MN_TABLE(desc_rows, 0);

static const struct mn_row set_rows[] = {
	FAMILY,
	TEXT(NFTA_SET_TABLE, "table", MN_REQUIRED | MN_FILTER),
	TEXT(NFTA_SET_NAME, "name", MN_REQUIRED),
	SOME_OF(NFTA_SET_FLAGS, "flags", set_flags),
	{ MN_A(NFTA_SET_KEY_TYPE), .key = "type", .type = MN_ENUM, .size = 4, .flags = MN_NET | MN_JOINED,
		.names = key_types },
	{ MN_A(NFTA_SET_KEY_LEN), .key = "key_len", .type = MN_UINT, .size = 4, .flags = MN_NET, .max = 64 },
	{ MN_A(NFTA_SET_DATA_TYPE), .key = "map", .type = MN_ENUM, .size = 4, .flags = MN_NET | MN_JOINED,
		.names = data_types },
	{ MN_A(NFTA_SET_DATA_LEN), .key = "data_len", .type = MN_UINT, .size = 4, .flags = MN_NET,
		.max = 64 },
	ONE_OF(NFTA_SET_POLICY, "policy", set_policies),
	{ MN_A(NFTA_SET_DESC), .type = MN_INLINE, .table = &desc_table },
	NUMBER(NFTA_SET_ID, "id", 0),
	BIG(NFTA_SET_TIMEOUT, "timeout", 0),
	NUMBER(NFTA_SET_GC_INTERVAL, "gc_interval", 0),
	{ MN_A(NFTA_SET_USERDATA), .key = "comment", .type = MN_COMMENT, .aux = SET_COMMENT, .max = 127 },
	PAD(NFTA_SET_PAD),
	BIG(NFTA_SET_HANDLE, "handle", MN_READ),
	// Newer than Debian 12's headers.
	{ .attr = 19,
		.name = "NFTA_SET_TYPE",
		.key = "backend",
		.type = MN_STRING,
		.max = 255,
		.flags = MN_READ },
	{ .attr = 20,
		.name = "NFTA_SET_COUNT",
		.key = "count",
		.type = MN_UINT,
		.size = 4,
		.flags = MN_NET | MN_READ },
};
static const struct mn_table set_table = MN_TABLE(set_rows, sizeof(struct nfgenmsg));

static const struct mn_name elem_flags[] = { { "interval_end", NFT_SET_ELEM_INTERVAL_END },
	{ "catchall", NFT_SET_ELEM_CATCHALL }, { 0 } };

// Times are in milliseconds.
static const struct mn_row elem_rows[] = {
	{ MN_A(NFTA_SET_ELEM_KEY), .key = "key", .type = MN_DATA },
	{ MN_A(NFTA_SET_ELEM_KEY_END), .key = "key_end", .type = MN_DATA },
	{ MN_A(NFTA_SET_ELEM_DATA), .key = "data", .type = MN_DATA },
	SOME_OF(NFTA_SET_ELEM_FLAGS, "flags", elem_flags),
	BIG(NFTA_SET_ELEM_TIMEOUT, "timeout", 0),
	BIG(NFTA_SET_ELEM_EXPIRATION, "expires", 0),
	{ MN_A(NFTA_SET_ELEM_USERDATA), .key = "comment", .type = MN_COMMENT, .aux = COMMENT, .max = 127 },
	PAD(NFTA_SET_ELEM_PAD),
};
const struct mn_table mn_nft_elem_table = MN_TABLE(elem_rows, 0);

static const struct mn_row element_rows[] = {
	FAMILY,
	TEXT(NFTA_SET_ELEM_LIST_TABLE, "table", MN_REQUIRED | MN_FILTER),
	TEXT(NFTA_SET_ELEM_LIST_SET, "name", MN_REQUIRED | MN_FILTER),
	NUMBER(NFTA_SET_ELEM_LIST_SET_ID, "set_id", 0),
	{ MN_A(NFTA_SET_ELEM_LIST_ELEMENTS), .key = "elem", .type = MN_LIST, .aux = NFTA_LIST_ELEM,
		.table = &mn_nft_elem_table, .flags = MN_NESTED },
};
static const struct mn_table element_table = MN_TABLE(element_rows, sizeof(struct nfgenmsg));

static const struct mn_row gen_rows[] = {
	{ MN_H(nfgenmsg, nfgen_family), .key = "family", .type = MN_ENUM, .names = families,
		.flags = MN_HEADER },
	NUMBER(NFTA_GEN_ID, "id", MN_READ),
	NUMBER(NFTA_GEN_PROC_PID, "pid", MN_READ),
	TEXT(NFTA_GEN_PROC_NAME, "process", MN_READ),
};
static const struct mn_table gen_table = MN_TABLE(gen_rows, sizeof(struct nfgenmsg));

static uint32_t type_size(uint32_t type)
{
	switch (type) {
	case 8:
	case 41:
		return 16;
	case 9:
		return 6;
	case 12:
		return 1;
	case 10:
	case 13:
		return 2;
	default:
		return 4;
	}
}

// Each part of what is joined has registers of four bytes of its own.
static uint32_t key_size(uint32_t type)
{
	uint32_t size = 0;

	if (type <= MN_JOINED_MASK)
		return type_size(type);
	for (; type; type >>= MN_JOINED_BITS)
		size += (type_size(type & MN_JOINED_MASK) + 3) & ~3U;
	return size;
}

static const struct nlattr *set_attr(const struct nlmsghdr *nlh, uint16_t attr)
{
	return mn_attr_find(mnl_nlmsg_get_payload_offset(nlh, sizeof(struct nfgenmsg)),
		mnl_nlmsg_get_payload_len(nlh) - sizeof(struct nfgenmsg), attr);
}

// What nft keeps in a set's user data: the keys' byte order, without which it prints names of links as "".
static void put_byte_order(struct nlmsghdr *nlh, uint32_t type)
{
	uint8_t userdata[6] = { 0, sizeof(uint32_t) }; // NFTNL_UDATA_SET_KEYBYTEORDER, length
	uint32_t host = 1;

	if (type != 19 && type != 20 && type != 41) // mark, iface_index, ifname
		return;
	memcpy(userdata + 2, &host, sizeof(host));
	mnl_attr_put(nlh, NFTA_SET_USERDATA, sizeof(userdata), userdata);
}

// The kernel wants to be told how long a key is, and a number that is unique in the transaction.
static void finish_set(struct nlmsghdr *nlh, enum mn_verb verb)
{
	static uint32_t last_id;
	const struct nlattr *type = set_attr(nlh, NFTA_SET_KEY_TYPE),
			    *data = set_attr(nlh, NFTA_SET_DATA_TYPE);

	if (verb != MN_ADD && verb != MN_REPLACE)
		return;
	if (type && !set_attr(nlh, NFTA_SET_KEY_LEN))
		mnl_attr_put_u32(nlh, NFTA_SET_KEY_LEN, htonl(key_size(ntohl(mnl_attr_get_u32(type)))));
	if (data && !set_attr(nlh, NFTA_SET_DATA_LEN) && ntohl(mnl_attr_get_u32(data)) != NFT_DATA_VERDICT)
		mnl_attr_put_u32(nlh, NFTA_SET_DATA_LEN, htonl(key_size(ntohl(mnl_attr_get_u32(data)))));
	if (type && !set_attr(nlh, NFTA_SET_USERDATA))
		put_byte_order(nlh, ntohl(mnl_attr_get_u32(type)));
	if (!set_attr(nlh, NFTA_SET_ID))
		mnl_attr_put_u32(nlh, NFTA_SET_ID, htonl(++last_id));
}

#define OBJECT(type_) \
	.protocol = NETLINK_NETFILTER, .type_new = MESSAGE(NFT_MSG_NEW##type_), \
	.type_del = MESSAGE(NFT_MSG_DEL##type_), .type_get = MESSAGE(NFT_MSG_GET##type_)

// The kernel knows no replacing of these: what is there already stays, or is changed where it can be.
#define CHANGES \
	.flags = { \
		[MN_ADD] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL, \
		[MN_REPLACE] = NLM_F_REQUEST | NLM_F_CREATE, \
		[MN_DEL] = NLM_F_REQUEST, \
	}

const struct mn_object mn_nft_table_object = {
	.name = "nft_table",
	.table = &table_table,
	OBJECT(TABLE),
	.ident = { "family", "name" },
	CHANGES,
};

const struct mn_object mn_nft_chain_object = {
	.name = "nft_chain",
	.table = &chain_table,
	OBJECT(CHAIN),
	.ident = { "family", "table", "name" },
	CHANGES,
};

const struct mn_object mn_nft_rule_object = {
	.name = "nft_rule",
	.table = &rule_table,
	OBJECT(RULE),
	.ident = { "family", "table", "chain", "handle" },
	.flags = {
		[MN_ADD] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND,
		[MN_APPEND] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND,
		[MN_INSERT] = NLM_F_REQUEST | NLM_F_CREATE,
		[MN_REPLACE] = NLM_F_REQUEST | NLM_F_REPLACE,
		[MN_DEL] = NLM_F_REQUEST,
		[MN_FLUSH] = NLM_F_REQUEST,
	},
	.one_by = "handle",
};

const struct mn_object mn_nft_set_object = {
	.name = "nft_set",
	.table = &set_table,
	OBJECT(SET),
	.ident = { "family", "table", "name" },
	.finish = finish_set,
	CHANGES,
};

const struct mn_object mn_nft_element_object = {
	.name = "nft_element",
	.table = &element_table,
	OBJECT(SETELEM),
	.ident = { "family", "table", "name" },
	.flags = {
		[MN_ADD] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
		[MN_REPLACE] = NLM_F_REQUEST | NLM_F_CREATE,
		[MN_DEL] = NLM_F_REQUEST,
		[MN_FLUSH] = NLM_F_REQUEST,
	},
	.one_by = "elem",
};

const struct mn_object mn_nft_gen_object = {
	.name = "nft_gen",
	.table = &gen_table,
	.protocol = NETLINK_NETFILTER,
	.type_new = MESSAGE(NFT_MSG_NEWGEN),
	.type_del = MESSAGE(NFT_MSG_NEWGEN),
	.type_get = MESSAGE(NFT_MSG_GETGEN),
	.ident = { "id" },
};
