// SPDX-License-Identifier: Apache-2.0
// The journal of an attachment: JSON lines, appended before each change, enough to undo without policy,
// configuration or namespace. Held under flock for as long as a call works on the attachment.
#ifndef MNCNI_JOURNAL_H
#define MNCNI_JOURNAL_H

#include <stdbool.h>

#include "error.h"

#define MN_JOURNAL_FORMAT 1
#define MN_LINK_GROUP 78 // that the links of pods are members of
#define MN_PATH_MAX 4096

struct mn_journal {
	int fd;	    // -1 when closed
	char *path; // the caller's, for as long as it is used; not changed when a function returns
};

struct mn_journal_key {
	const char *state_dir;
	const char *network;
	const char *container;
	const char *type;
	const char *ifname;
};

enum mn_undo_mode {
	MN_UNDO_DEL,	  // the attachment ends: shared objects stay
	MN_UNDO_ROLLBACK, // the attachment failed: what this call added to shared objects goes too
};

// Writes the path of the journal of key.
int mn_journal_path(char path[MN_PATH_MAX], const struct mn_journal_key *key, struct mn_error *err);

// Writes the directory that holds the journals of key's network (state_dir and network of key are used), or,
// without a network, the one that holds those of all networks.
int mn_journal_dir(char path[MN_PATH_MAX], const struct mn_journal_key *key, struct mn_error *err);

// Opens the journal at path, which stays the caller's, or makes an empty one when created is not NULL;
// *created tells which. Else a journal that does not exist is -ENOENT. Waits wait_ms for another process at
// work on it, then -EAGAIN (code 11).
int mn_journal_open(
	struct mn_journal *journal, char *path, unsigned int wait_ms, bool *created, struct mn_error *err);

// Appends one JSON document as a line, whole or not at all as far as a reader can tell.
int mn_journal_append(struct mn_journal *journal, const char *json, struct mn_error *err);

// Reads, without the lock and so perhaps while a call writes it, the journal at path into *text (malloc'ed,
// terminated). -ENOENT when there is none; -EINVAL, -EFBIG or -ELOOP for what cannot be a
// journal.
int mn_journal_peek(const char *path, char **text, struct mn_error *err);

// Reads everything into *text (malloc'ed, terminated).
int mn_journal_read(const struct mn_journal *journal, char **text, struct mn_error *err);

int mn_journal_remove(struct mn_journal *journal, struct mn_error *err);
void mn_journal_close(struct mn_journal *journal);

// The journal that a call of this process has begun and neither finished nor undone: what a host undoes when
// the call dies. NULL when there is none. Safe to read in a signal handler.
const char *mn_journal_active(void);
void mn_journal_set_active(const struct mn_journal *journal);

// Undoes what the journal lists, last entry first, and removes the journal once all of it is undone. What is
// gone already is fine. Of a journal of an earlier boot, only what is kept on disk is undone. Goes on after a
// failure, also one to read a line or an entry; the first one is returned and keeps the journal for a later
// try. A line that the end of the file cuts short was never followed by its change: it is passed over.
int mn_undo(struct mn_journal *journal, enum mn_undo_mode mode, struct mn_error *err);

// Reads everything into *text (malloc'ed) and looks at all lines: *first and *last of those that are whole
// lie in it, terminated, NULL where there is none. -EINVAL, and nothing to be freed, when one of them is no
// JSON object.
int mn_undo_look(const struct mn_journal *journal, char **text, const char **first, const char **last,
	struct mn_error *err);

#endif
