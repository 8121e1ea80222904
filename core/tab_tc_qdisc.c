// SPDX-License-Identifier: Apache-2.0
// Kinds of queueing disciplines and of classes.
#include "tab_tc.h"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#define TABLE(what, header) static const struct mn_table what##_table = MN_TABLE(what##_rows, header)

static const struct mn_row tbf_rows[] = {
	RATE64(TCA_TBF_RATE64, "rate"),
	RATE64(TCA_TBF_PRATE64, "peakrate"),
	RATE(TCA_TBF_PARMS, tc_tbf_qopt, rate, "rate", MN_REQUIRED),
	RATE(TCA_TBF_PARMS, tc_tbf_qopt, peakrate, "peakrate", 0),
	FIELD_MORE(TCA_TBF_PARMS, tc_tbf_qopt, limit, "limit", MN_UINT, MN_REQUIRED),
	FIELD_MORE(TCA_TBF_PARMS, tc_tbf_qopt, buffer, "burst", MN_BURST, MN_REQUIRED,
		.bit = MN_RATE_OF(tc_tbf_qopt, rate.rate, TCA_TBF_RATE64)),
	FIELD_MORE(TCA_TBF_PARMS, tc_tbf_qopt, mtu, "minburst", MN_BURST, 0,
		.bit = MN_RATE_OF(tc_tbf_qopt, peakrate.rate, TCA_TBF_PRATE64)),
	SKIP(TCA_TBF_RTAB),
	SKIP(TCA_TBF_PTAB),
	SKIP(TCA_TBF_BURST),
	SKIP(TCA_TBF_PBURST),
	SKIP(TCA_TBF_PAD),
};
TABLE(tbf, 0);

static const struct mn_row htb_rows[] = {
	// The kernel wants its own number there: linux/net/sched/sch_htb.c, HTB_VER >> 16.
	FIELD_MORE(TCA_HTB_INIT, tc_htb_glob, version, NULL, MN_UINT, MN_PRESET, .bit = 3),
	FIELD_MORE(TCA_HTB_INIT, tc_htb_glob, rate2quantum, "r2q", MN_UINT, MN_PRESET, .bit = 10),
	FIELD(TCA_HTB_INIT, tc_htb_glob, defcls, "default", MN_UINT), // minor number of a class
	FIELD_MORE(TCA_HTB_INIT, tc_htb_glob, direct_pkts, "direct_packets_stat", MN_UINT, MN_READ),
	NUMBER(TCA_HTB_DIRECT_QLEN, "direct_qlen", 4),
	SKIP(TCA_HTB_OFFLOAD),
};
TABLE(htb, 0);

// Times are in microseconds.
static const struct mn_row fq_codel_rows[] = {
	NUMBER(TCA_FQ_CODEL_TARGET, "target", 4),
	NUMBER(TCA_FQ_CODEL_LIMIT, "limit", 4),
	NUMBER(TCA_FQ_CODEL_INTERVAL, "interval", 4),
	{ MN_A(TCA_FQ_CODEL_ECN), .key = "ecn", .type = MN_BOOL, .size = 4 },
	{ MN_A(TCA_FQ_CODEL_FLOWS), .key = "flows", .type = MN_UINT, .size = 4, .min = 1, .max = 65536 },
	NUMBER(TCA_FQ_CODEL_QUANTUM, "quantum", 4),
	NUMBER(TCA_FQ_CODEL_CE_THRESHOLD, "ce_threshold", 4),
	NUMBER(TCA_FQ_CODEL_DROP_BATCH_SIZE, "drop_batch", 4),
	NUMBER(TCA_FQ_CODEL_MEMORY_LIMIT, "memory_limit", 4),
};
TABLE(fq_codel, 0);

static const struct mn_row fifo_rows[] = {
	{ MN_H(tc_fifo_qopt, limit), .key = "limit", .type = MN_UINT, .flags = MN_HEADER },
};
TABLE(fifo, sizeof(struct tc_fifo_qopt));

#define CHANCE(a, type_, member, k) FIELD(a, type_, member, k, MN_SHARE)

// Delays are in nanoseconds, the rate is in bytes per second, chances are from 0 to 1.
static const struct mn_row netem_rows[] = {
	{ MN_H(tc_netem_qopt, limit), .key = "limit", .type = MN_UINT, .flags = MN_HEADER | MN_PRESET,
		.bit = 1000 },
	{ MN_H(tc_netem_qopt, loss), .key = "loss", .type = MN_SHARE, .flags = MN_HEADER },
	{ MN_H(tc_netem_qopt, gap), .key = "gap", .type = MN_UINT, .flags = MN_HEADER },
	{ MN_H(tc_netem_qopt, duplicate), .key = "duplicate", .type = MN_SHARE, .flags = MN_HEADER },
	{ MN_A(TCA_NETEM_LATENCY64), .key = "delay", .type = MN_UINT, .size = 8 },
	{ MN_A(TCA_NETEM_JITTER64), .key = "jitter", .type = MN_UINT, .size = 8 },
	CHANCE(TCA_NETEM_CORR, tc_netem_corr, delay_corr, "delay_correlation"),
	CHANCE(TCA_NETEM_CORR, tc_netem_corr, loss_corr, "loss_correlation"),
	CHANCE(TCA_NETEM_CORR, tc_netem_corr, dup_corr, "duplicate_correlation"),
	CHANCE(TCA_NETEM_REORDER, tc_netem_reorder, probability, "reorder"),
	CHANCE(TCA_NETEM_REORDER, tc_netem_reorder, correlation, "reorder_correlation"),
	CHANCE(TCA_NETEM_CORRUPT, tc_netem_corrupt, probability, "corrupt"),
	CHANCE(TCA_NETEM_CORRUPT, tc_netem_corrupt, correlation, "corrupt_correlation"),
	RATE64(TCA_NETEM_RATE64, "rate"),
	FIELD_MORE(TCA_NETEM_RATE, tc_netem_rate, rate, "rate", MN_UINT, MN_LOW, .bit = UINT32_MAX),
	FIELD(TCA_NETEM_RATE, tc_netem_rate, packet_overhead, "rate_overhead", MN_INT),
	{ MN_A(TCA_NETEM_ECN), .key = "ecn", .type = MN_BOOL, .size = 4 },
	SKIP(TCA_NETEM_LOSS),
	SKIP(TCA_NETEM_PAD),
	SKIP(TCA_NETEM_SLOT),
	{ .attr = 15, .name = "TCA_NETEM_PRNG_SEED", .key = "seed", .type = MN_UINT, .size = 8 },
};
TABLE(netem, sizeof(struct tc_netem_qopt));

const struct mn_variant mn_qdisc_kinds[] = {
	{ "tbf", "tbf", &tbf_table },
	{ "htb", "htb", &htb_table },
	{ "fq_codel", "fq_codel", &fq_codel_table },
	{ "pfifo", "pfifo", &fifo_table },
	{ "bfifo", "bfifo", &fifo_table },
	{ "netem", "netem", &netem_table },
	{ 0 },
};

static const struct mn_row class_htb_rows[] = {
	RATE64(TCA_HTB_RATE64, "rate"),
	RATE64(TCA_HTB_CEIL64, "ceil"),
	RATE(TCA_HTB_PARMS, tc_htb_opt, rate, "rate", MN_REQUIRED),
	RATE(TCA_HTB_PARMS, tc_htb_opt, ceil, "ceil", MN_REQUIRED),
	FIELD_MORE(TCA_HTB_PARMS, tc_htb_opt, buffer, "burst", MN_BURST, MN_REQUIRED,
		.bit = MN_RATE_OF(tc_htb_opt, rate.rate, TCA_HTB_RATE64)),
	FIELD_MORE(TCA_HTB_PARMS, tc_htb_opt, cbuffer, "cburst", MN_BURST, MN_REQUIRED,
		.bit = MN_RATE_OF(tc_htb_opt, ceil.rate, TCA_HTB_CEIL64)),
	FIELD(TCA_HTB_PARMS, tc_htb_opt, quantum, "quantum", MN_UINT),
	FIELD_MORE(TCA_HTB_PARMS, tc_htb_opt, level, "level", MN_UINT, MN_READ),
	FIELD(TCA_HTB_PARMS, tc_htb_opt, prio, "prio", MN_UINT),
	SKIP(TCA_HTB_CTAB),
	SKIP(TCA_HTB_RTAB),
	SKIP(TCA_HTB_PAD),
	SKIP(TCA_HTB_OFFLOAD),
};
TABLE(class_htb, 0);

const struct mn_variant mn_class_kinds[] = {
	{ "htb", "htb", &class_htb_table },
	{ 0 },
};
