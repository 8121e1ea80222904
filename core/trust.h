// SPDX-License-Identifier: Apache-2.0
// Opens files that root may believe: nobody but root and the effective user can have put or changed them.
#ifndef MNCNI_TRUST_H
#define MNCNI_TRUST_H

#include "error.h"

// Opens a regular file (or, with directory, a directory) for reading after checking it and every directory
// and symbolic link on the way to it, each on its descriptor. Returns the descriptor; -ENOENT when it is not
// there; -EPERM when somebody else could change it (code 7; the message says who, and what cures it); another
// -errno.
int mn_trust_open(const char *path, bool directory, struct mn_error *err);

// Reads a trusted file whole, with a terminating NUL that is not counted. *text is the caller's to free.
// -EFBIG beyond max bytes, -EAGAIN when the file changes all the time; otherwise as mn_trust_open().
int mn_trust_read(const char *path, size_t max, char **text, size_t *size, struct mn_error *err);

#endif
