// SPDX-License-Identifier: Apache-2.0
// Names in the order of their bytes.
#ifndef MNCNI_NAMES_H
#define MNCNI_NAMES_H

#include <stddef.h>

#define MN_NAMES_FEW 16 // so many are sorted without a call for each comparison

struct mn_name {
	const char *text; // somebody else's
	size_t len;
	int at; // where what it names is on a stack; 0 for nowhere
};

void mn_names_sort(struct mn_name *names, size_t count);

#endif
