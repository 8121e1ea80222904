// SPDX-License-Identifier: Apache-2.0
// What the tables of traffic control share: tab_tc.c (objects), tab_tc_qdisc.c and tab_tc_filter.c (kinds).
#ifndef MNCNI_TAB_TC_H
#define MNCNI_TAB_TC_H

#include "schema.h"

// A field of an attribute that is a struct.
#define FIELD(a, type_, member, k, sort) \
	{ \
		MN_A(a), .key = (k), .type = (sort), .flags = MN_STRUCT, .aux = sizeof(struct type_), \
			 .at = offsetof(struct type_, member), .size = sizeof(((struct type_ *)0)->member) \
	}
#define FIELD_MORE(a, type_, member, k, sort, more, ...) \
	{ \
		MN_A(a), .key = (k), .type = (sort), .flags = MN_STRUCT | (more), \
			 .aux = sizeof(struct type_), .at = offsetof(struct type_, member), \
			 .size = sizeof(((struct type_ *)0)->member), __VA_ARGS__ \
	}
// Rates are in bytes per second. The kernel works its tables out itself where it knows the link layer.
#define RATE(a, type_, member, k, more) \
	FIELD_MORE(a, type_, member.rate, k, MN_UINT, MN_LOW | (more), .bit = UINT32_MAX), \
		FIELD_MORE( \
			a, type_, member.linklayer, NULL, MN_UINT, MN_PRESET, .bit = TC_LINKLAYER_ETHERNET)
#define RATE64(a, k) \
	{ \
		MN_A(a), .key = (k), .type = MN_UINT, .size = 8 \
	}
#define NUMBER(a, k, n) \
	{ \
		MN_A(a), .key = (k), .type = MN_UINT, .size = (n) \
	}
#define SKIP(a) \
	{ \
		MN_A(a), .type = MN_SKIP \
	}

extern const struct mn_variant mn_qdisc_kinds[], mn_class_kinds[], mn_filter_kinds[];

#endif
