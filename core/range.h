// SPDX-License-Identifier: Apache-2.0
// Addresses without a prefix, and ordered sets of address ranges that are counted through by position.
#ifndef MNCNI_RANGE_H
#define MNCNI_RANGE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MN_ADDRESS_STRLEN INET6_ADDRSTRLEN

struct mn_address {
	uint8_t family;	   // AF_INET, AF_INET6; 0 = none
	uint8_t bytes[16]; // network order, 4 or 16 in use
};

struct mn_range {
	struct mn_address first;
	struct mn_address last;	   // included
	struct mn_address gateway; // never given out; may lie outside, may be none
};

// Ranges of which one attachment gets one address; their order is the order of allocation.
struct mn_range_set {
	struct mn_range *ranges;
	size_t n;
	unsigned index; // which set of its network this is, as in last_reserved_ip.INDEX
};

// Reads "10.1.2.3", "fd00::7", "::ffff:10.1.2.3" (which is 10.1.2.3) or either with "/24" behind; false
// otherwise.
bool mn_address_parse(const char *text, struct mn_address *address);

// Writes the address as Go's net.IP.String() spells it, which is how host-local names its files.
void mn_address_format(const struct mn_address *address, char buf[MN_ADDRESS_STRLEN]);

bool mn_address_equal(const struct mn_address *a, const struct mn_address *b);

// Orders by family, then by value: negative, 0 or positive.
int mn_address_compare(const struct mn_address *a, const struct mn_address *b);

// Tells how many positions the set has, gateways included. Of a huge range only the first 2^48 addresses
// count.
uint64_t mn_range_set_size(const struct mn_range_set *set);

// Tells where in the set the address stands; false when it is in none of the ranges.
bool mn_range_set_position(
	const struct mn_range_set *set, const struct mn_address *address, uint64_t *position);

// The address at a position below mn_range_set_size().
void mn_range_set_at(const struct mn_range_set *set, uint64_t position, struct mn_address *address);

// Tells whether the address is a gateway of any range of the set.
bool mn_range_set_is_gateway(const struct mn_range_set *set, const struct mn_address *address);

#endif
