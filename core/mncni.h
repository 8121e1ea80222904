// SPDX-License-Identifier: Apache-2.0
// libmncni: a bounded Lua state with the mncni module in it, for C programs that run network policies.
#ifndef MNCNI_H
#define MNCNI_H

#include <stddef.h>
#include <stdint.h>

// What went wrong, in parts. Every field is terminated; an empty string means that part does not apply.
struct mn_error {
	int errnum;          // positive errno, 0 when the failure has none
	int code;            // CNI error code when the place of failure knows it, else 0
	char op[32];         // "add", "open", ...
	char object[160];    // "link \"cbr0\"", a path, ...
	char netns[96];      // the namespace it happened in
	char message[512];   // what is wrong and what to do
	char extack[256];    // the kernel's own words
	char attribute[128]; // "mtu (IFLA_MTU)"
};

#endif
