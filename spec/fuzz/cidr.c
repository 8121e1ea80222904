// SPDX-License-Identifier: Apache-2.0
// Fuzzes addresses: two texts, a line each, and what is computed with them.
#define _GNU_SOURCE
#include "fuzz.h"

#include "cidr.h"
#include "range.h"

#include <stdlib.h>
#include <string.h>

static bool same(const struct mn_cidr *a, const struct mn_cidr *b)
{
	return mn_cidr_compare(a, b) == 0;
}

// Parses a text; what is an address is printed in a form that parses to the same.
static bool read(const char *text, struct mn_cidr *cidr)
{
	char printed[MN_CIDR_TEXT], again[MN_CIDR_TEXT];
	struct mn_error err = { 0 };
	struct mn_cidr second;

	if (mn_cidr_parse(text, cidr, &err) < 0) {
		fuzz_require(*err.message, "refused without words");
		return false;
	}
	mn_cidr_format(cidr, printed);
	fuzz_require(mn_cidr_parse(printed, &second, NULL) == 0 && same(cidr, &second), "%s", printed);
	fuzz_require(strcmp(mn_cidr_format(&second, again), printed) == 0, "%s and %s", printed, again);
	return true;
}

static void step(const struct mn_cidr *cidr)
{
	struct mn_cidr first = mn_cidr_first(cidr), last = mn_cidr_last(cidr), other, next = *cidr;

	fuzz_require(mn_cidr_compare(&first, cidr) <= 0 && mn_cidr_compare(cidr, &last) <= 0,
		"out of its network");
	fuzz_require(mn_cidr_contains(cidr, &first) && mn_cidr_contains(cidr, &last), "without its ends");
	fuzz_require(mn_cidr_overlaps(cidr, cidr), "apart from itself");
	fuzz_require(mn_cidr_nth(cidr, 0, &other) && same(&other, &first), "first is not number 0");
	fuzz_require(mn_cidr_nth(cidr, -1, &other) && same(&other, &last), "last is not number -1");
	if (mn_cidr_next(&next))
		fuzz_require(mn_cidr_compare(&next, cidr) > 0, "next is not behind");
}

static void compare(const struct mn_cidr *a, const struct mn_cidr *b)
{
	int order = mn_cidr_compare(a, b), back = mn_cidr_compare(b, a);

	fuzz_require((order > 0) == (back < 0) && (order == 0) == (back == 0), "no order");
	fuzz_require(mn_cidr_overlaps(a, b) == mn_cidr_overlaps(b, a), "overlap one way only");
	if (mn_cidr_contains(a, b))
		fuzz_require(mn_cidr_overlaps(a, b), "contained without overlap");
}

// The store's own spelling of addresses comes back to itself, and a range finds the places of its members.
static void in_range(const char *first, const char *last)
{
	struct mn_range range = { .gateway = { 0 } };
	struct mn_range_set set = { .ranges = &range, .n = 1 };
	struct mn_address address, again;
	char printed[MN_ADDRESS_STRLEN];
	uint64_t position, size;

	if (!mn_address_parse(first, &range.first))
		return;
	mn_address_format(&range.first, printed);
	fuzz_require(
		mn_address_parse(printed, &again) && mn_address_equal(&range.first, &again), "%s", printed);
	if (!mn_address_parse(last, &range.last) || range.first.family != range.last.family ||
		mn_address_compare(&range.first, &range.last) > 0)
		return;
	size = mn_range_set_size(&set);
	fuzz_require(size > 0, "an empty range");
	for (int i = 0; i < 3; i++) {
		uint64_t at = i == 0 ? 0 : i == 1 ? size / 2 : size - 1;

		mn_range_set_at(&set, at, &address);
		fuzz_require(
			mn_range_set_position(&set, &address, &position) && position == at, "lost its place");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *first = fuzz_part(&data, &size, '\n'), *second = fuzz_part(&data, &size, '\n');
	struct mn_cidr a, b;
	bool good = first && read(first, &a);

	if (good)
		step(&a);
	if (second && read(second, &b) && good)
		compare(&a, &b);
	if (second)
		in_range(first, second);
	free(first);
	free(second);
	return 0;
}
