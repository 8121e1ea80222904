// SPDX-License-Identifier: Apache-2.0
// What the parts of the undo share: undo.c (journals and their entries), undo_netlink.c (network namespaces),
// undo_nft.c (elements that others may have, too), undo_rules.c (rules of nf_tables).
#ifndef MNCNI_UNDO_PRIVATE_H
#define MNCNI_UNDO_PRIVATE_H

#include <cJSON.h>
#include <stdbool.h>
#include <stddef.h>

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
int mn_undo_gateway(const cJSON *entry, int netns, struct mn_error *err);
int mn_undo_netlink(const cJSON *entry, int netns, struct mn_error *err);
int mn_undo_sysctl(const cJSON *entry, int netns, struct mn_error *err);
int mn_undo_elements(const cJSON *entry, int netns, struct mn_error *err);
int mn_undo_conntrack(const cJSON *entry, int netns, struct mn_error *err);
int mn_undo_rules(const cJSON *entry, int netns, struct mn_error *err);

// Sends encoded requests in one go and looks at every answer. *gone tells whether something that one of them
// removes was not there. With restore they put back what may have no place any more.
int mn_undo_send(struct mn_nl *nl, char *bytes, size_t len, bool restore, bool *gone, struct mn_error *err);

// Turns hexadecimal digits into bytes, which are the caller's to free. -ENOMEM or -EINVAL.
int mn_undo_unhex(const char *hex, char **bytes, size_t *len);

// Whether a -errno of the kernel says that what was to go is gone already.
bool mn_undo_absent(int ret);

// Fills err, unless it is filled, for something that the kernel refuses to take back. Returns ret.
int mn_undo_refused(struct mn_error *err, int ret, const char *object);

// Tells whether the bytes are requests and nothing else: for nf_tables the whole of one transaction. Without
// its end the kernel says yes to each part and does none.
bool mn_undo_is_whole(const char *bytes, size_t len, bool netfilter);

// A device that was moved into a pod; netns is -1 when that namespace is gone.
int mn_undo_move(const cJSON *entry, int netns, struct mn_error *err);

// The name of a link in an entry; NULL when there is none that a link can have.
const char *mn_undo_ifname(const cJSON *entry);

// One request and its answer. -errno without err filled in when the kernel refuses; reply may be NULL.
int mn_undo_talk(struct mn_nl *nl, struct nlmsghdr *nlh, const struct nlmsghdr **reply, struct mn_error *err);
struct nlmsghdr *mn_undo_link_request(
	char *buf, uint16_t type, uint16_t flags, int index, const char *ifname);

#endif
