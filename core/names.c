// SPDX-License-Identifier: Apache-2.0
#include "names.h"

#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b)
{
	const struct mn_name *x = a, *y = b;
	int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);

	return order ? order : (x->len > y->len) - (x->len < y->len);
}

void mn_names_sort(struct mn_name *names, size_t count)
{
	if (count > MN_NAMES_FEW) {
		qsort(names, count, sizeof(*names), by_text);
		return;
	}
	for (size_t i = 1; i < count; i++) {
		struct mn_name name = names[i];
		size_t at = i;

		for (; at > 0 && by_text(&names[at - 1], &name) > 0; at--)
			names[at] = names[at - 1];
		names[at] = name;
	}
}
