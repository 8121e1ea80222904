// SPDX-License-Identifier: Apache-2.0
// Files that others read while we write them.
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

#endif
