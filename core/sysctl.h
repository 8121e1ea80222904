// SPDX-License-Identifier: Apache-2.0
// Settings below /proc/sys/net, inside a network namespace. Nothing outside that directory can be named.
//
// Keys are written as sysctl(8) takes them: "net/ipv4/ip_forward" or "net.ipv4.ip_forward". Where the first
// separator is a dot, dots and slashes change places, so that an interface called eth0.100 is named either
// net/ipv4/conf/eth0.100/forwarding or net.ipv4.conf.eth0/100.forwarding. Empty parts, "." and ".." are
// refused.
#ifndef MNCNI_SYSCTL_H
#define MNCNI_SYSCTL_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

struct mn_sysctl {
	const char *key;
	const char *value; // what it shall be; differences of white space do not count
	bool optional;	   // a setting that the kernel does not have is passed over
	bool fresh;	   // of a link that was made just now: what it is need not be looked at, nor put back
	char *previous;	   // out: what it was, without the newline; NULL when it cannot be read. To be freed.
	bool changed;	   // out: it was not so already, and has been written
};

// Reads every setting of the list in one visit to the namespace (below 0: the caller's), into `previous`:
// NULL where the kernel has no such setting. The caller frees with mn_sysctl_free() whatever is returned.
int mn_sysctl_get(int netns, struct mn_sysctl *list, size_t count, struct mn_error *err);

// Makes every setting of the list what it shall be, in one visit to the namespace. When one fails, those
// before it are put back and *failed (may be NULL) is its position. The caller frees with mn_sysctl_free() in
// either case.
int mn_sysctl_set(int netns, struct mn_sysctl *list, size_t count, size_t *failed, struct mn_error *err);

void mn_sysctl_free(struct mn_sysctl *list, size_t count);

#endif
