// SPDX-License-Identifier: Apache-2.0
// Files that others read while we write them, and that others write while we read them.
#ifndef MNCNI_FILE_H
#define MNCNI_FILE_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// Puts a file of this content and mode in the place of what is at path: whoever opens it sees the old one or
// the whole new one, after a power cut too. Directories that are missing are made (0755). Returns 0 or
// -errno; nothing is left behind on failure.
int mn_file_replace(const char *path, const void *content, size_t size, mode_t mode, struct mn_error *err);

// Makes a symbolic link at path, where nothing may be. Directories that are missing are made (0755). Returns
// 0 or -errno.
int mn_file_link(const char *path, const char *target, struct mn_error *err);

// Tells whether both are regular files of the same content; one that cannot be read is not.
bool mn_file_same(const char *path, const char *other);

// Reads a regular file whole, with a terminating NUL that is not counted: *text is the caller's to free.
// Never waits: what is no regular file (a FIFO, a device) is refused, and so is one of more than max bytes.
// Returns 0 or -errno.
int mn_file_read(const char *path, size_t max, char **text, size_t *size, struct mn_error *err);

#endif
