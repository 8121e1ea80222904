// SPDX-License-Identifier: Apache-2.0
#include "range.h"

#include "cidr.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RANGE_MAX (UINT64_C(1) << 48)

bool mn_address_parse(const char *text, struct mn_address *address)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	char bare[MN_ADDRESS_STRLEN];
	size_t length = strcspn(text, "/");

	if (length >= sizeof(bare))
		return false;
	memcpy(bare, text, length);
	bare[length] = '\0';
	memset(address, 0, sizeof(*address));
	if (inet_pton(AF_INET, bare, address->bytes) == 1) {
		address->family = AF_INET;
		return true;
	}
	if (inet_pton(AF_INET6, bare, address->bytes) != 1)
		return false;
	address->family = AF_INET6;
	if (memcmp(address->bytes, mapped, sizeof(mapped)) == 0) {
		memmove(address->bytes, address->bytes + 12, 4);
		memset(address->bytes + 4, 0, 12);
		address->family = AF_INET;
	}
	return true;
}

// Unlike inet_ntop, never writes the low 32 bits of an IPv6 address in dotted form.
static void format6(const uint8_t bytes[16], char buf[MN_ADDRESS_STRLEN])
{
	uint16_t group[8];
	int gap = -1, gap_length = 1;
	char *at = buf;

	for (size_t i = 0; i < 8; i++)
		group[i] = (uint16_t)(bytes[2 * i] << 8 | bytes[2 * i + 1]);
	for (int i = 0; i < 8; i++) {
		int j = i;

		while (j < 8 && group[j] == 0)
			j++;
		if (j - i > gap_length) {
			gap = i;
			gap_length = j - i;
		}
		if (j > i)
			i = j - 1;
	}
	for (int i = 0; i < 8; i++) {
		if (i == gap) {
			*at++ = ':';
			*at++ = ':';
			i += gap_length - 1;
			continue;
		}
		if (i > 0 && at[-1] != ':')
			*at++ = ':';
		at += snprintf(at, 5, "%x", group[i]);
	}
	*at = '\0';
}

void mn_address_format(const struct mn_address *address, char buf[MN_ADDRESS_STRLEN])
{
	if (address->family == AF_INET6)
		format6(address->bytes, buf);
	else
		mn_put_address(buf, address->family, address->bytes);
}

int mn_address_compare(const struct mn_address *a, const struct mn_address *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->bytes, b->bytes, a->family == AF_INET ? 4 : 16);
}

bool mn_address_equal(const struct mn_address *a, const struct mn_address *b)
{
	return mn_address_compare(a, b) == 0;
}

// An address as a number, in two halves because 128-bit integers are not everywhere.
struct number {
	uint64_t high;
	uint64_t low;
};

static struct number to_number(const struct mn_address *address)
{
	struct number number = { 0 };
	int bytes = address->family == AF_INET ? 4 : 16;

	for (int i = 0; i < bytes; i++) {
		number.high = number.high << 8 | number.low >> 56;
		number.low = number.low << 8 | address->bytes[i];
	}
	return number;
}

// Distance from a up to b of the same family, capped at RANGE_MAX - 1; 0 when b is below a.
static uint64_t distance(const struct mn_address *a, const struct mn_address *b)
{
	struct number from = to_number(a), to = to_number(b);
	uint64_t high, low;

	if (mn_address_compare(a, b) > 0)
		return 0;
	low = to.low - from.low;
	high = to.high - from.high - (to.low < from.low ? 1 : 0);
	return high != 0 || low >= RANGE_MAX ? RANGE_MAX - 1 : low;
}

uint64_t mn_range_set_size(const struct mn_range_set *set)
{
	uint64_t size = 0;

	for (size_t i = 0; i < set->n; i++)
		size += distance(&set->ranges[i].first, &set->ranges[i].last) + 1;
	return size;
}

bool mn_range_set_position(
	const struct mn_range_set *set, const struct mn_address *address, uint64_t *position)
{
	uint64_t before = 0;

	for (size_t i = 0; i < set->n; i++) {
		const struct mn_range *range = &set->ranges[i];

		if (address->family == range->first.family &&
			mn_address_compare(address, &range->first) >= 0 &&
			mn_address_compare(address, &range->last) <= 0) {
			*position = before + distance(&range->first, address);
			return true;
		}
		before += distance(&range->first, &range->last) + 1;
	}
	return false;
}

void mn_range_set_at(const struct mn_range_set *set, uint64_t position, struct mn_address *address)
{
	size_t i = 0;
	struct number number;
	uint64_t low;

	for (; i + 1 < set->n; i++) {
		uint64_t size = distance(&set->ranges[i].first, &set->ranges[i].last) + 1;

		if (position < size)
			break;
		position -= size;
	}
	*address = set->ranges[i].first;
	number = to_number(address);
	low = number.low + position;
	if (low < number.low)
		number.high++;
	for (int byte = address->family == AF_INET ? 3 : 15; byte >= 0; byte--) {
		address->bytes[byte] = (uint8_t)low;
		low = low >> 8 | number.high << 56;
		number.high >>= 8;
	}
}

bool mn_range_set_is_gateway(const struct mn_range_set *set, const struct mn_address *address)
{
	for (size_t i = 0; i < set->n; i++) {
		if (mn_address_equal(&set->ranges[i].gateway, address))
			return true;
	}
	return false;
}
