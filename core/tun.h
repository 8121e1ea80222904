// SPDX-License-Identifier: Apache-2.0
// TUN and TAP devices, which rtnetlink cannot make: they are asked of /dev/net/tun.
#ifndef MNCNI_TUN_H
#define MNCNI_TUN_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>

struct mn_tun {
	const char *ifname; // fewer than IFNAMSIZ bytes
	bool tap;	    // Ethernet frames rather than IP packets
	bool multi_queue;
	int64_t owner, group; // user and group that may attach to it; below 0: root alone
};

// Makes a device in the network namespace netns (below 0: the caller's); *fd is a queue of it. It lives as
// long as the descriptor, or for good after mn_tun_persist(). Returns -EBUSY when there is a link of the
// name.
int mn_tun_open(int netns, const struct mn_tun *what, int *fd, struct mn_error *err);
int mn_tun_persist(int fd, struct mn_error *err);

#endif
