// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "nearest.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define LONGEST 48 // names beyond this are not compared: nobody mistypes them from memory

static unsigned int smaller(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

// Counts insertions, deletions, substitutions and swaps of neighbours that turn a into b, without regard to
// case.
static unsigned int distance(const char *a, size_t alen, const char *b, size_t blen)
{
	unsigned int rows[3][LONGEST + 1];
	unsigned int *older = rows[0], *old = rows[1], *row = rows[2];

	memset(rows, 0, sizeof(rows));
	for (size_t j = 0; j <= blen; j++)
		old[j] = (unsigned int)j;
	for (size_t i = 1; i <= alen; i++) {
		unsigned int *spare = older;
		int ca = tolower((unsigned char)a[i - 1]);

		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= blen; j++) {
			int cb = tolower((unsigned char)b[j - 1]);

			row[j] = smaller(smaller(old[j], row[j - 1]) + 1, old[j - 1] + (ca != cb));
			if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
				cb == tolower((unsigned char)a[i - 2]))
				row[j] = smaller(row[j], older[j - 2] + 1);
		}
		older = old;
		old = row;
		row = spare;
	}
	return old[blen];
}

void mn_nearest_start(struct mn_nearest *search, const char *wanted)
{
	search->wanted = wanted;
	search->found = NULL;
	search->distance = ~0U;
}

void mn_nearest_offer(struct mn_nearest *search, const char *candidate)
{
	size_t alen = strnlen(search->wanted, LONGEST + 1), blen = strnlen(candidate, LONGEST + 1);
	unsigned int longer = (unsigned int)(alen > blen ? alen : blen), limit = (longer + 1) / 3, steps;

	if (alen == 0 || alen > LONGEST || blen > LONGEST)
		return;
	steps = distance(search->wanted, alen, candidate, blen);
	if (steps > limit && alen >= 3 && strncasecmp(search->wanted, candidate, alen) == 0)
		steps = limit; // an abbreviation
	if (steps < longer && steps <= limit && steps < search->distance) {
		search->found = candidate;
		search->distance = steps;
	}
}

const char *mn_nearest(const char *wanted, const char *const *known)
{
	struct mn_nearest search;

	mn_nearest_start(&search, wanted);
	for (; *known; known++)
		mn_nearest_offer(&search, *known);
	return search.found;
}
