// SPDX-License-Identifier: Apache-2.0
// Connection tracking entries: forgetting those that a changed host port has made wrong.
#ifndef MNCNI_CONNTRACK_H
#define MNCNI_CONNTRACK_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Which entries are meant; the original direction is that of the first packet.
struct mn_conntrack_filter {
	uint8_t family;		 // AF_INET, AF_INET6
	uint8_t protocol;	 // IPPROTO_*
	uint8_t ports[8192];	 // a bit for each port that the original direction may go to
	const uint8_t (*to)[16]; // and the addresses, to_count of them; 0: any
	size_t to_count;
	bool has_answerer;
	uint8_t answerer[16]; // who answers, behind all translation, with has_answerer
};

// Puts a port into the filter.
void mn_conntrack_add_port(struct mn_conntrack_filter *filter, uint16_t port);

// Removes the entries in an open network namespace, or, with netns -1, in the caller's. *count tells how many
// there were. A kernel that cannot list them has none that could be removed: that is no error.
int mn_conntrack_flush(
	int netns, const struct mn_conntrack_filter *filter, size_t *count, struct mn_error *err);

#endif
