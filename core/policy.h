// SPDX-License-Identifier: Apache-2.0
// Where policy files are, and reading them once they are proven to be trustworthy.
#ifndef MNCNI_POLICY_H
#define MNCNI_POLICY_H

#include "error.h"

#define MN_POLICY_DIRECTORY "/etc/mncni/policies"
#define MN_POLICY_MAX ((size_t)1 << 20) // bytes of one file

struct mn_policy_file {
	char *text; // malloc'd
	size_t size;
	char *path; // malloc'd, as it was looked for
};

void mn_policy_file_clear(struct mn_policy_file *file);

// Returns the directories to look in: $MNCNI_POLICY_PATH, or MN_POLICY_DIRECTORY where that is unset.
const char *mn_policy_path(void);

// Says whether a name can be a policy's: [A-Za-z0-9][A-Za-z0-9_.-]*, at most 200 characters.
bool mn_policy_name_ok(const char *name);

// Calls visit for every directory of a colon list in order (an empty element is none) until it returns
// non-zero, and returns that.
int mn_policy_each_directory(const char *path, int (*visit)(const char *directory, void *data), void *data);

// Reads DIRECTORY/name.lua from the first directory that has one; slashes in name are subdirectories (made by
// the caller from the dots of a module name). -ENOENT when no directory has it, with err untouched; otherwise
// -errno with code 7: a file or directory that may not be trusted ends the search, so that nothing else is
// taken in its place.
int mn_policy_read(const char *path, const char *name, struct mn_policy_file *file, struct mn_error *err);

// Calls visit with the name of every *.lua file in a trusted directory. A directory that is not there has
// none.
int mn_policy_list(
	const char *directory, int (*visit)(const char *name, void *data), void *data, struct mn_error *err);

#endif
