// SPDX-License-Identifier: Apache-2.0
// One IPv4 or IPv6 address with a prefix length: parse, print, compare and step.
#ifndef MNCNI_CIDR_H
#define MNCNI_CIDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define MN_CIDR_TEXT 50 // the longest text, with its prefix and the terminator

struct mn_cidr {
	uint8_t family; // AF_INET or AF_INET6
	uint8_t prefix; // the full length when the text gave none
	bool has_prefix;
	uint8_t bytes[16]; // network byte order; an IPv4 address takes the first four, the rest is zero
};

// Reads "10.244.1.7/24", "fd00::7/64" or an address without a prefix; IPv4-mapped IPv6 becomes IPv4.
int mn_cidr_parse(const char *text, struct mn_cidr *cidr, struct mn_error *err);

// Writes the canonical text (IPv6 as RFC 5952 has it), with the prefix when the value has one. Returns buf.
const char *mn_cidr_format(const struct mn_cidr *cidr, char buf[MN_CIDR_TEXT]);

// Writes the address alone. Returns buf.
const char *mn_cidr_address(const struct mn_cidr *cidr, char buf[MN_CIDR_TEXT]);

// Writes the address of one family; returns where its terminator is. Another family's is "".
char *mn_put_address(char to[INET6_ADDRSTRLEN], int family, const void *address);

// Returns the length of the family's addresses: 32 or 128 bits.
unsigned int mn_cidr_bits(const struct mn_cidr *cidr);

// Returns cidr with its host bits cleared, or all set.
struct mn_cidr mn_cidr_first(const struct mn_cidr *cidr);
struct mn_cidr mn_cidr_last(const struct mn_cidr *cidr);

// Tells whether the value denotes one address: it has host bits set, or no host bits at all.
bool mn_cidr_is_host(const struct mn_cidr *cidr);

// Steps to the following address, across byte borders and out of the network; false at the family's last one.
bool mn_cidr_next(struct mn_cidr *cidr);

// Sets out to the address number n of the network, counted from 0, or from the end when n is negative (-1 is
// the last); false when the network is smaller than that.
bool mn_cidr_nth(const struct mn_cidr *cidr, int64_t n, struct mn_cidr *out);

// Orders IPv4 before IPv6, then by address, then short prefixes before long ones: negative, 0 or positive.
int mn_cidr_compare(const struct mn_cidr *a, const struct mn_cidr *b);

// Tells whether outer's network holds inner: its whole network, or its address when it is a host.
bool mn_cidr_contains(const struct mn_cidr *outer, const struct mn_cidr *inner);

// Tells whether the networks of a and b have an address in common.
bool mn_cidr_overlaps(const struct mn_cidr *a, const struct mn_cidr *b);

#endif
