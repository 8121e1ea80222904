// SPDX-License-Identifier: Apache-2.0
// The Lua files that the build compiled into the library; the list ends with an entry without a name.
#ifndef MNCNI_EMBED_H
#define MNCNI_EMBED_H

#include <stddef.h>

struct mn_embedded {
	const char *name; // "mncni.pod", or "policy naivebridge"
	const unsigned char *code;
	size_t size;
};

extern const struct mn_embedded mn_embedded[];

#endif
