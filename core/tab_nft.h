// SPDX-License-Identifier: Apache-2.0
// Rows that the tables of nf_tables are made of: numbers are in network order.
#ifndef MNCNI_TAB_NFT_H
#define MNCNI_TAB_NFT_H

#include "schema.h"

#define NUMBER(a, k, more) \
	{ \
		MN_A(a), .key = (k), .type = MN_UINT, .size = 4, .flags = MN_NET | (more) \
	}
#define BIG(a, k, more) \
	{ \
		MN_A(a), .key = (k), .type = MN_UINT, .size = 8, .flags = MN_NET | (more) \
	}
#define ONE_OF(a, k, n) \
	{ \
		MN_A(a), .key = (k), .type = MN_ENUM, .size = 4, .flags = MN_NET, .names = (n) \
	}
#define SOME_OF(a, k, n) \
	{ \
		MN_A(a), .key = (k), .type = MN_BITS, .size = 4, .flags = MN_NET, .names = (n) \
	}

#endif
