// SPDX-License-Identifier: Apache-2.0
// Expressions of nf_tables rules, one row table each.
#include "tab_nft.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>

#define REG(a, k) \
	{ \
		MN_A(a), .key = (k), .type = MN_UINT, .size = 4, .flags = MN_NET, .max = NFT_REG32_15 \
	}
#define INVERT(a) \
	{ \
		MN_A(a), .key = "invert", .type = MN_BOOL, .size = 4, .flags = MN_NET \
	}
#define DATA(a, k) \
	{ \
		MN_A(a), .key = (k), .type = MN_DATA \
	}
#define TABLE(what) static const struct mn_table what##_table = MN_TABLE(what##_rows, 0)

static const struct mn_name payload_bases[] = { { "link", NFT_PAYLOAD_LL_HEADER },
	{ "network", NFT_PAYLOAD_NETWORK_HEADER }, { "transport", NFT_PAYLOAD_TRANSPORT_HEADER },
	{ "inner", NFT_PAYLOAD_INNER_HEADER }, { 0 } };

static const struct mn_row payload_rows[] = {
	REG(NFTA_PAYLOAD_DREG, "dreg"),
	ONE_OF(NFTA_PAYLOAD_BASE, "base", payload_bases),
	NUMBER(NFTA_PAYLOAD_OFFSET, "offset", 0),
	NUMBER(NFTA_PAYLOAD_LEN, "len", 0),
	REG(NFTA_PAYLOAD_SREG, "sreg"),
	NUMBER(NFTA_PAYLOAD_CSUM_TYPE, "csum_type", 0),
	NUMBER(NFTA_PAYLOAD_CSUM_OFFSET, "csum_offset", 0),
	NUMBER(NFTA_PAYLOAD_CSUM_FLAGS, "csum_flags", 0),
};
TABLE(payload);

static const struct mn_name meta_keys[] = { { "len", NFT_META_LEN }, { "protocol", NFT_META_PROTOCOL },
	{ "priority", NFT_META_PRIORITY }, { "mark", NFT_META_MARK }, { "iif", NFT_META_IIF },
	{ "oif", NFT_META_OIF }, { "iifname", NFT_META_IIFNAME }, { "oifname", NFT_META_OIFNAME },
	{ "iiftype", NFT_META_IIFTYPE }, { "oiftype", NFT_META_OIFTYPE }, { "skuid", NFT_META_SKUID },
	{ "skgid", NFT_META_SKGID }, { "nftrace", NFT_META_NFTRACE }, { "rtclassid", NFT_META_RTCLASSID },
	{ "secmark", NFT_META_SECMARK }, { "nfproto", NFT_META_NFPROTO }, { "l4proto", NFT_META_L4PROTO },
	{ "ibrname", NFT_META_BRI_IIFNAME }, { "obrname", NFT_META_BRI_OIFNAME },
	{ "pkttype", NFT_META_PKTTYPE }, { "cpu", NFT_META_CPU }, { "iifgroup", NFT_META_IIFGROUP },
	{ "oifgroup", NFT_META_OIFGROUP }, { "cgroup", NFT_META_CGROUP }, { "random", NFT_META_PRANDOM },
	{ "ipsec", NFT_META_SECPATH }, { "iifkind", NFT_META_IIFKIND }, { "oifkind", NFT_META_OIFKIND },
	{ 0 } };

static const struct mn_row meta_rows[] = {
	REG(NFTA_META_DREG, "dreg"),
	ONE_OF(NFTA_META_KEY, "key", meta_keys),
	REG(NFTA_META_SREG, "sreg"),
};
TABLE(meta);

static const struct mn_name cmp_ops[] = { { "eq", NFT_CMP_EQ }, { "neq", NFT_CMP_NEQ }, { "lt", NFT_CMP_LT },
	{ "lte", NFT_CMP_LTE }, { "gt", NFT_CMP_GT }, { "gte", NFT_CMP_GTE }, { 0 } };

static const struct mn_row cmp_rows[] = {
	REG(NFTA_CMP_SREG, "sreg"),
	ONE_OF(NFTA_CMP_OP, "op", cmp_ops),
	DATA(NFTA_CMP_DATA, "data"),
};
TABLE(cmp);

static const struct mn_name range_ops[] = { { "eq", NFT_RANGE_EQ }, { "neq", NFT_RANGE_NEQ }, { 0 } };

static const struct mn_row range_rows[] = {
	REG(NFTA_RANGE_SREG, "sreg"),
	ONE_OF(NFTA_RANGE_OP, "op", range_ops),
	DATA(NFTA_RANGE_FROM_DATA, "from"),
	DATA(NFTA_RANGE_TO_DATA, "to"),
};
TABLE(range);

static const struct mn_row lookup_rows[] = {
	{ MN_A(NFTA_LOOKUP_SET), .key = "set", .type = MN_STRING, .max = 255 },
	REG(NFTA_LOOKUP_SREG, "sreg"),
	REG(NFTA_LOOKUP_DREG, "dreg"),
	NUMBER(NFTA_LOOKUP_SET_ID, "set_id", 0),
	INVERT(NFTA_LOOKUP_FLAGS),
};
TABLE(lookup);

static const struct mn_name fib_results[] = { { "oif", NFT_FIB_RESULT_OIF },
	{ "oifname", NFT_FIB_RESULT_OIFNAME }, { "type", NFT_FIB_RESULT_ADDRTYPE }, { 0 } };

static const struct mn_name fib_flags[] = { { "saddr", NFTA_FIB_F_SADDR }, { "daddr", NFTA_FIB_F_DADDR },
	{ "mark", NFTA_FIB_F_MARK }, { "iif", NFTA_FIB_F_IIF }, { "oif", NFTA_FIB_F_OIF },
	{ "present", NFTA_FIB_F_PRESENT }, { 0 } };

static const struct mn_row fib_rows[] = {
	REG(NFTA_FIB_DREG, "dreg"),
	ONE_OF(NFTA_FIB_RESULT, "result", fib_results),
	SOME_OF(NFTA_FIB_FLAGS, "flags", fib_flags),
};
TABLE(fib);

static const struct mn_name nat_flags[] = { { "map_ips", NF_NAT_RANGE_MAP_IPS },
	{ "proto_specified", NF_NAT_RANGE_PROTO_SPECIFIED }, { "random", NF_NAT_RANGE_PROTO_RANDOM },
	{ "persistent", NF_NAT_RANGE_PERSISTENT }, { "fully-random", NF_NAT_RANGE_PROTO_RANDOM_FULLY },
	{ 0 } };

static const struct mn_name nat_types[] = { { "snat", NFT_NAT_SNAT }, { "dnat", NFT_NAT_DNAT }, { 0 } };

static const struct mn_name nat_families[] = { { "ip", NFPROTO_IPV4 }, { "ip6", NFPROTO_IPV6 }, { 0 } };

static const struct mn_row masq_rows[] = {
	SOME_OF(NFTA_MASQ_FLAGS, "flags", nat_flags),
	REG(NFTA_MASQ_REG_PROTO_MIN, "reg_proto_min"),
	REG(NFTA_MASQ_REG_PROTO_MAX, "reg_proto_max"),
};
TABLE(masq);

static const struct mn_row redir_rows[] = {
	REG(NFTA_REDIR_REG_PROTO_MIN, "reg_proto_min"),
	REG(NFTA_REDIR_REG_PROTO_MAX, "reg_proto_max"),
	SOME_OF(NFTA_REDIR_FLAGS, "flags", nat_flags),
};
TABLE(redir);

static const struct mn_row nat_rows[] = {
	ONE_OF(NFTA_NAT_TYPE, "type", nat_types),
	ONE_OF(NFTA_NAT_FAMILY, "family", nat_families),
	REG(NFTA_NAT_REG_ADDR_MIN, "reg_addr_min"),
	REG(NFTA_NAT_REG_ADDR_MAX, "reg_addr_max"),
	REG(NFTA_NAT_REG_PROTO_MIN, "reg_proto_min"),
	REG(NFTA_NAT_REG_PROTO_MAX, "reg_proto_max"),
	SOME_OF(NFTA_NAT_FLAGS, "flags", nat_flags),
};
TABLE(nat);

static const struct mn_row immediate_rows[] = {
	REG(NFTA_IMMEDIATE_DREG, "dreg"),
	DATA(NFTA_IMMEDIATE_DATA, "data"),
};
TABLE(immediate);

static const struct mn_row counter_rows[] = {
	BIG(NFTA_COUNTER_BYTES, "bytes", 0),
	BIG(NFTA_COUNTER_PACKETS, "packets", 0),
	{ MN_A(NFTA_COUNTER_PAD), .type = MN_SKIP },
};
TABLE(counter);

static const struct mn_name bitwise_ops[] = { { "bool", NFT_BITWISE_BOOL }, { "lshift", NFT_BITWISE_LSHIFT },
	{ "rshift", NFT_BITWISE_RSHIFT }, { 0 } };

static const struct mn_row bitwise_rows[] = {
	REG(NFTA_BITWISE_SREG, "sreg"),
	REG(NFTA_BITWISE_DREG, "dreg"),
	NUMBER(NFTA_BITWISE_LEN, "len", 0),
	DATA(NFTA_BITWISE_MASK, "mask"),
	DATA(NFTA_BITWISE_XOR, "xor"),
	ONE_OF(NFTA_BITWISE_OP, "op", bitwise_ops),
	DATA(NFTA_BITWISE_DATA, "data"),
};
TABLE(bitwise);

static const struct mn_name byteorder_ops[] = { { "ntoh", NFT_BYTEORDER_NTOH },
	{ "hton", NFT_BYTEORDER_HTON }, { 0 } };

static const struct mn_row byteorder_rows[] = {
	REG(NFTA_BYTEORDER_SREG, "sreg"),
	REG(NFTA_BYTEORDER_DREG, "dreg"),
	ONE_OF(NFTA_BYTEORDER_OP, "op", byteorder_ops),
	NUMBER(NFTA_BYTEORDER_LEN, "len", 0),
	NUMBER(NFTA_BYTEORDER_SIZE, "size", 0),
};
TABLE(byteorder);

static const struct mn_name ct_keys[] = { { "state", NFT_CT_STATE }, { "direction", NFT_CT_DIRECTION },
	{ "status", NFT_CT_STATUS }, { "mark", NFT_CT_MARK }, { "secmark", NFT_CT_SECMARK },
	{ "expiration", NFT_CT_EXPIRATION }, { "helper", NFT_CT_HELPER }, { "l3proto", NFT_CT_L3PROTOCOL },
	{ "saddr", NFT_CT_SRC }, { "daddr", NFT_CT_DST }, { "protocol", NFT_CT_PROTOCOL },
	{ "proto-src", NFT_CT_PROTO_SRC }, { "proto-dst", NFT_CT_PROTO_DST }, { "label", NFT_CT_LABELS },
	{ "packets", NFT_CT_PKTS }, { "bytes", NFT_CT_BYTES }, { "avgpkt", NFT_CT_AVGPKT },
	{ "zone", NFT_CT_ZONE }, { "event", NFT_CT_EVENTMASK }, { "id", NFT_CT_ID }, { 0 } };

static const struct mn_row ct_rows[] = {
	REG(NFTA_CT_DREG, "dreg"),
	ONE_OF(NFTA_CT_KEY, "key", ct_keys),
	{ MN_A(NFTA_CT_DIRECTION), .key = "direction", .type = MN_UINT, .size = 1, .max = 1 },
	REG(NFTA_CT_SREG, "sreg"),
};
TABLE(ct);

static const struct mn_name reject_types[] = { { "icmp", NFT_REJECT_ICMP_UNREACH },
	{ "tcp reset", NFT_REJECT_TCP_RST }, { "icmpx", NFT_REJECT_ICMPX_UNREACH }, { 0 } };

static const struct mn_row reject_rows[] = {
	ONE_OF(NFTA_REJECT_TYPE, "type", reject_types),
	{ MN_A(NFTA_REJECT_ICMP_CODE), .key = "code", .type = MN_UINT, .size = 1 },
};
TABLE(reject);

static const struct mn_row limit_rows[] = {
	BIG(NFTA_LIMIT_RATE, "rate", 0),
	BIG(NFTA_LIMIT_UNIT, "unit", 0),
	NUMBER(NFTA_LIMIT_BURST, "burst", 0),
	NUMBER(NFTA_LIMIT_TYPE, "type", 0),
	INVERT(NFTA_LIMIT_FLAGS),
	{ MN_A(NFTA_LIMIT_PAD), .type = MN_SKIP },
};
TABLE(limit);

static const struct mn_row log_rows[] = {
	{ MN_A(NFTA_LOG_GROUP), .key = "group", .type = MN_UINT, .size = 2, .flags = MN_NET },
	{ MN_A(NFTA_LOG_PREFIX), .key = "prefix", .type = MN_STRING, .max = 127 },
	NUMBER(NFTA_LOG_SNAPLEN, "snaplen", 0),
	{ MN_A(NFTA_LOG_QTHRESHOLD), .key = "queue-threshold", .type = MN_UINT, .size = 2, .flags = MN_NET },
	NUMBER(NFTA_LOG_LEVEL, "level", 0),
	NUMBER(NFTA_LOG_FLAGS, "flags", 0),
};
TABLE(log);

static const struct mn_name rt_keys[] = { { "classid", NFT_RT_CLASSID }, { "nexthop4", NFT_RT_NEXTHOP4 },
	{ "nexthop6", NFT_RT_NEXTHOP6 }, { "mtu", NFT_RT_TCPMSS }, { "ipsec", NFT_RT_XFRM }, { 0 } };

static const struct mn_row rt_rows[] = {
	REG(NFTA_RT_DREG, "dreg"),
	ONE_OF(NFTA_RT_KEY, "key", rt_keys),
};
TABLE(rt);

// What iptables-nft writes where nf_tables has no words of its own, and the only words of some things that it
// reads: an extension of x_tables with its struct.
static const struct mn_row match_rows[] = {
	{ MN_A(NFTA_MATCH_NAME), .key = "name", .type = MN_STRING, .max = 29 },
	NUMBER(NFTA_MATCH_REV, "rev", 0),
	{ MN_A(NFTA_MATCH_INFO), .key = "info", .type = MN_BYTES },
};
TABLE(match);

static const struct mn_row target_rows[] = {
	{ MN_A(NFTA_TARGET_NAME), .key = "name", .type = MN_STRING, .max = 29 },
	NUMBER(NFTA_TARGET_REV, "rev", 0),
	{ MN_A(NFTA_TARGET_INFO), .key = "info", .type = MN_BYTES },
};
TABLE(target);

static const struct mn_variant kinds[] = {
	{ "bitwise", NULL, &bitwise_table },
	{ "byteorder", NULL, &byteorder_table },
	{ "cmp", NULL, &cmp_table },
	{ "counter", NULL, &counter_table },
	{ "ct", NULL, &ct_table },
	{ "fib", NULL, &fib_table },
	{ "immediate", NULL, &immediate_table },
	{ "limit", NULL, &limit_table },
	{ "log", NULL, &log_table },
	{ "lookup", NULL, &lookup_table },
	{ "masq", NULL, &masq_table },
	{ "match", NULL, &match_table },
	{ "meta", NULL, &meta_table },
	{ "nat", NULL, &nat_table },
	{ "notrack", NULL, &mn_nothing_table },
	{ "payload", NULL, &payload_table },
	{ "range", NULL, &range_table },
	{ "redir", NULL, &redir_table },
	{ "reject", NULL, &reject_table },
	{ "rt", NULL, &rt_table },
	{ "target", NULL, &target_table },
	{ 0 },
};

static const struct mn_row expr_rows[] = {
	{ MN_A(NFTA_EXPR_NAME), .key = "kind", .type = MN_STRING, .max = 31 },
	{ MN_A(NFTA_EXPR_DATA), .type = MN_VARIANT, .aux = NFTA_EXPR_NAME, .variants = kinds,
		.flags = MN_NESTED },
};
const struct mn_table mn_nft_expr_table = MN_TABLE(expr_rows, 0);
