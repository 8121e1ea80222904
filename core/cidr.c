// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "cidr.h"

#include "text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define MAPPED_BITS 96 // RFC 4291 section 2.5.5.2: ::ffff:a.b.c.d

__extension__ typedef unsigned __int128 mn_u128;

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

static int refuse(struct mn_error *err, const char *text, const char *why)
{
	char shown[64];

	// What was given may be anything; what a person reads is ASCII.
	snprintf(shown, sizeof(shown), "%s", text);
	for (char *c = shown; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	mn_fail(err, EINVAL, "cidr", NULL, "\"%s\" %s", shown, why);
	if (err)
		err->errnum = 0; // the sentence says it all
	return -EINVAL;
}

// Reads a prefix length as it is written: digits only, without leading zeros. Returns -1 when it is not one.
static int parse_prefix(const char *text)
{
	size_t digits = strspn(text, "0123456789");
	int value = 0;

	if (digits == 0 || digits > 3 || text[digits] != '\0' || (digits > 1 && text[0] == '0'))
		return -1;
	for (size_t i = 0; i < digits; i++)
		value = value * 10 + (text[i] - '0');
	return value;
}

int mn_cidr_parse(const char *text, struct mn_cidr *cidr, struct mn_error *err)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	char address[INET6_ADDRSTRLEN];
	int prefix;

	memset(cidr, 0, sizeof(*cidr));
	if (memchr(text, '%', len))
		return refuse(err, text, "has a zone, which has no meaning here: give the address alone");
	if (len >= sizeof(address))
		return refuse(err, text, "is not an IPv4 or IPv6 address");
	memcpy(address, text, len);
	address[len] = '\0';
	if (inet_pton(AF_INET, address, cidr->bytes) == 1)
		cidr->family = AF_INET;
	else if (inet_pton(AF_INET6, address, cidr->bytes) == 1)
		cidr->family = AF_INET6;
	else
		return refuse(err, text, "is not an IPv4 or IPv6 address");
	prefix = (int)mn_cidr_bits(cidr);
	if (slash) {
		int given = parse_prefix(slash + 1);

		if (given < 0 || given > prefix)
			return refuse(err, text,
				cidr->family == AF_INET ? "has a prefix that is not a length from 0 to 32"
							: "has a prefix that is not a length from 0 to 128");
		prefix = given;
		cidr->has_prefix = true;
	}
	if (cidr->family == AF_INET6 && memcmp(cidr->bytes, mapped_prefix, sizeof(mapped_prefix)) == 0) {
		if (prefix < MAPPED_BITS)
			return refuse(
				err, text, "is an IPv4-mapped address with a prefix that is not IPv4's");
		prefix -= MAPPED_BITS;
		cidr->family = AF_INET;
		memmove(cidr->bytes, cidr->bytes + sizeof(mapped_prefix), 4);
		memset(cidr->bytes + 4, 0, 12);
	}
	cidr->prefix = (uint8_t)prefix;
	return 0;
}

char *mn_put_address(char to[INET6_ADDRSTRLEN], int family, const void *address)
{
	const uint8_t *bytes = address;

	if (family != AF_INET) {
		*to = '\0';
		inet_ntop(family, bytes, to, INET6_ADDRSTRLEN);
		return to + strlen(to);
	}
	// inet_ntop would have printf write it.
	for (size_t i = 0; i < 4; i++) {
		to = mn_put_decimal(to, bytes[i]);
		*to++ = '.';
	}
	*--to = '\0';
	return to;
}

const char *mn_cidr_address(const struct mn_cidr *cidr, char buf[MN_CIDR_TEXT])
{
	mn_put_address(buf, cidr->family, cidr->bytes);
	return buf;
}

const char *mn_cidr_format(const struct mn_cidr *cidr, char buf[MN_CIDR_TEXT])
{
	char *end = mn_put_address(buf, cidr->family, cidr->bytes);

	if (cidr->has_prefix) {
		*end++ = '/';
		*mn_put_decimal(end, cidr->prefix) = '\0';
	}
	return buf;
}

unsigned int mn_cidr_bits(const struct mn_cidr *cidr)
{
	return cidr->family == AF_INET ? 32 : 128;
}

static mn_u128 number(const struct mn_cidr *cidr)
{
	mn_u128 value = 0;

	for (unsigned int i = 0; i < mn_cidr_bits(cidr) / 8; i++)
		value = value << 8 | cidr->bytes[i];
	return value;
}

static struct mn_cidr with_number(struct mn_cidr cidr, mn_u128 value)
{
	for (unsigned int i = mn_cidr_bits(&cidr) / 8; i-- > 0; value >>= 8)
		cidr.bytes[i] = (uint8_t)value;
	return cidr;
}

// The bits that number addresses within a network of this prefix.
static mn_u128 host_mask(const struct mn_cidr *cidr, unsigned int prefix)
{
	unsigned int bits = mn_cidr_bits(cidr) - prefix;

	return bits == 128 ? ~(mn_u128)0 : ((mn_u128)1 << bits) - 1;
}

struct mn_cidr mn_cidr_first(const struct mn_cidr *cidr)
{
	return with_number(*cidr, number(cidr) & ~host_mask(cidr, cidr->prefix));
}

struct mn_cidr mn_cidr_last(const struct mn_cidr *cidr)
{
	return with_number(*cidr, number(cidr) | host_mask(cidr, cidr->prefix));
}

bool mn_cidr_is_host(const struct mn_cidr *cidr)
{
	return cidr->prefix == mn_cidr_bits(cidr) || (number(cidr) & host_mask(cidr, cidr->prefix)) != 0;
}

bool mn_cidr_next(struct mn_cidr *cidr)
{
	mn_u128 value = number(cidr);

	if (value == host_mask(cidr, 0))
		return false;
	*cidr = with_number(*cidr, value + 1);
	return true;
}

bool mn_cidr_nth(const struct mn_cidr *cidr, int64_t n, struct mn_cidr *out)
{
	mn_u128 mask = host_mask(cidr, cidr->prefix), first = number(cidr) & ~mask;
	mn_u128 offset = n < 0 ? (mn_u128) - (n + 1) : (mn_u128)n; // from the end that n counts from

	if (offset > mask)
		return false;
	*out = with_number(*cidr, n < 0 ? (first | mask) - offset : first + offset);
	return true;
}

int mn_cidr_compare(const struct mn_cidr *a, const struct mn_cidr *b)
{
	int order;

	if (a->family != b->family)
		return a->family == AF_INET ? -1 : 1;
	order = memcmp(a->bytes, b->bytes, sizeof(a->bytes));
	return order ? order : a->prefix - b->prefix;
}

// Tells whether the first `prefix` bits of two addresses of one family agree.
static bool agree(const struct mn_cidr *a, const struct mn_cidr *b, unsigned int prefix)
{
	return ((number(a) ^ number(b)) & ~host_mask(a, prefix)) == 0;
}

bool mn_cidr_contains(const struct mn_cidr *outer, const struct mn_cidr *inner)
{
	return outer->family == inner->family && (inner->prefix >= outer->prefix || mn_cidr_is_host(inner)) &&
		agree(outer, inner, outer->prefix);
}

bool mn_cidr_overlaps(const struct mn_cidr *a, const struct mn_cidr *b)
{
	return a->family == b->family && agree(a, b, a->prefix < b->prefix ? a->prefix : b->prefix);
}
