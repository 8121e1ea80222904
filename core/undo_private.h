// SPDX-License-Identifier: Apache-2.0
// What the parts of the undo share: undo.c (journals and their entries), undo_netlink.c (network namespaces).
#ifndef MNCNI_UNDO_PRIVATE_H
#define MNCNI_UNDO_PRIVATE_H

#include <cJSON.h>

#include "error.h"
#include "nl.h"

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
int mn_undo_netlink(const cJSON *entry, int netns, struct mn_error *err);
int mn_undo_sysctl(const cJSON *entry, int netns, struct mn_error *err);

// A device that was moved into a pod; netns is -1 when that namespace is gone.
int mn_undo_move(const cJSON *entry, int netns, struct mn_error *err);

// The name of a link in an entry; NULL when there is none that a link can have.
const char *mn_undo_ifname(const cJSON *entry);

// One request and its answer. -errno without err filled in when the kernel refuses; reply may be NULL.
int mn_undo_talk(struct mn_nl *nl, struct nlmsghdr *nlh, const struct nlmsghdr **reply, struct mn_error *err);
struct nlmsghdr *mn_undo_link_request(
	char *buf, uint16_t type, uint16_t flags, int index, const char *ifname);

// Fills err, unless it is already, for what the kernel has refused; returns ret.
int mn_undo_refused(struct mn_error *err, int ret, const char *object);

#endif
