// SPDX-License-Identifier: Apache-2.0
// FNV-1a, 64 bits: names derived from identifiers. Not for anything that an adversary may choose freely.
#ifndef MNCNI_HASH_H
#define MNCNI_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t mn_hash(const char *data, size_t len)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)data[i]) * 0x100000001b3u;
	return hash;
}

#endif
