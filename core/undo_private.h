// SPDX-License-Identifier: Apache-2.0
// What the parts of the undo share: undo.c (journals and their entries), undo_netlink.c (network namespaces).
#ifndef MNCNI_UNDO_PRIVATE_H
#define MNCNI_UNDO_PRIVATE_H

#include <cJSON.h>

#include "error.h"

// The string that an entry of a journal has under a key; NULL when there is none.
static inline const char *mn_undo_string(const cJSON *entry, const char *key)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, key));
}

// Says that an entry cannot be undone because of what it has under a key. Returns -EINVAL.
int mn_undo_bad_entry(struct mn_error *err, const char *op, const char *what);

// Each undoes one entry in an open network namespace, or, with netns -1, in the caller's. What is gone
// already is fine; what the kernel refuses to take back is left, with a CNI code.
int mn_undo_link(const cJSON *entry, int netns, struct mn_error *err);
int mn_undo_bridge(const cJSON *entry, int netns, struct mn_error *err);
int mn_undo_gateway(const cJSON *entry, int netns, struct mn_error *err);
int mn_undo_netlink(const cJSON *entry, int netns, struct mn_error *err);
int mn_undo_sysctl(const cJSON *entry, int netns, struct mn_error *err);

#endif
